"""Annotated matrices on disk (h5ad, h5mu, zarr): open, look, read only what is asked for."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem, sparse_dataset
from numpy.typing import NDArray
from scipy import sparse

from plkd.errors import InputError
from plkd.io.hdf5_values import read_values
from plkd.io.row_store import RowStore, Values
from plkd.io.scale import MatrixScale, detect_scale, sampled_blocks
from plkd.utils.logs import logger
from plkd.utils.text import listed

Matrices = Mapping[str, Callable[[], Any]]
"""By the name of a slot (``X``, ``raw.X``, ``layers['counts']``) what opens the matrix there."""

Notice = Callable[[str], None]
"""Is told, in a sentence, what was not quite as it should be, and what was made of it."""

Pieces = Iterator[tuple[slice, Callable[[], sparse.csr_matrix]]]
"""Rows of a matrix, and what reads them when it is called, in whichever thread."""

CHUNK_ROWS = 4096
BLOCK_ROWS = 2048  # as many as a model labels at a time: where these begin does not change labels
DENSE_CHUNK_VALUES = 2**25  # of a dense matrix at a time
DECODED_VALUES = 2**24  # a matrix with fewer stays in memory once it was read
HELD_BYTES = 2**28  # a smaller matrix stored by columns is in memory, for a moment twice
SCANNED_VALUES = 2**22  # of a larger one, read at a time
SCALE_ROWS = 200
RNA_MODALITIES = ("rna", "gex", "gene expression")


class Notices:
    """Notices on a file: each is logged as a warning and kept, once however often it comes."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, text: str) -> None:
        """Log and keep."""
        if text not in self.texts:
            self.texts.append(text)
            logger.warning("%s", text)


@contextmanager
def readable(path: str | Path, what: str = "the file") -> Iterator[None]:
    """Turn whatever a reader raises on a damaged or foreign file into one clear message.

    Raises
    ------
    InputError
        If the block fails for any reason.
    """
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(
            f"'{path}': {what} asks for more memory than there is ({error}). Give the job more "
            "memory or convert the file to h5ad, which is read in chunks; a damaged file may ask "
            "for anything: get it anew."
        ) from error
    except Exception as error:  # readers raise OSError, KeyError, ValueError, TypeError, ..
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"'{path}': {what} cannot be read ({reason}). The file may be damaged or of another "
            "format: check `reader`, or get the file anew."
        ) from error


@contextmanager
def open_store(path: str | Path, modality: str | None = None) -> Iterator[Any]:
    """Open an h5ad or h5mu file or a zarr folder for reading, as a group of h5py or zarr.

    Of a file with several modalities the group of the asked one is given; without `modality` the
    only one, or the one called rna or gex.

    Raises
    ------
    InputError
        If it is missing, empty, truncated, not HDF5, or not an annotated matrix, or the modality
        is not there or has to be chosen.
    """
    path = existing(path)
    if path.is_dir():
        import zarr

        with readable(path, "the zarr folder"):
            # What is consolidated lacks one of two names that differ by case alone.
            store = zarr.open_group(str(path), mode="r", use_consolidated=False)
        yield _annotated(store, path, modality)
    else:
        with open_hdf5(path) as store:
            yield _annotated(store, path, modality)


def modality_group(store: Any, path: Path, modality: str | None) -> str | None:
    """Name of the group (``mod/rna``) that holds a modality; None in a file without modalities.

    Raises
    ------
    InputError
        If the modality is not there, or there are several to choose from.
    """
    if "mod" not in store or not hasattr(store["mod"], "keys"):
        return None
    names = sorted(store["mod"])
    if modality is None and len(names) == 1:
        return f"mod/{names[0]}"
    wanted = RNA_MODALITIES if modality is None else same_modality(modality)
    exact = [name for name in names if name == modality]
    found = exact or [name for name in names if name.casefold() in wanted]
    if len(found) != 1:
        asked = "none is called rna" if modality is None else f"there is no '{modality}'"
        raise InputError(
            f"'{path}' holds the modalities {listed(names)}, and {asked}; name one of them as "
            "`modality`"
        )
    return f"mod/{found[0]}"


def same_modality(name: str) -> tuple[str, ...]:
    """All spellings of a modality or feature type, in lower case (GEX is Gene Expression)."""
    known = (
        RNA_MODALITIES,
        ("atac", "peaks"),
        ("prot", "protein", "adt", "antibody capture"),
    )
    return next((names for names in known if name.casefold() in names), (name.casefold(),))


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file; tell a truncated one from one that never was HDF5."""
    if not h5py.is_hdf5(path):
        with path.open("rb") as handle:
            start = handle.read(8)
        found = "an empty file" if not start else f"a file that begins with {start!r}"
        packed = " It is compressed: unpack it with gunzip." if start[:2] == b"\x1f\x8b" else ""
        raise InputError(f"'{path}' is not an HDF5 file (found {found}).{packed}")
    try:
        store = h5py.File(path, "r")
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        cut = "truncated" in str(error)
        raise InputError(
            f"'{path}' is {'a truncated' if cut else 'a damaged'} HDF5 file ({error}). "
            "Copy or download it again."
        ) from error
    with store:
        yield store


def existing(path: str | Path) -> Path:
    """Give the path back if something is there that can be read.

    Raises
    ------
    InputError
        If there is nothing, a link that leads nowhere, a pipe, no permission, or no path at all.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(
            f"cells can be read from a file, a folder or an AnnData; found {type(path).__name__}. "
            "Of several modalities give one, such as mdata['rna']."
        )
    path = Path(path)
    if not path.exists():
        what = "is a link to a file that is gone" if path.is_symlink() else "does not exist"
        raise InputError(f"'{path}' {what}; correct its path")
    if not (path.is_file() or path.is_dir()):
        raise InputError(
            f"'{path}' is a pipe or a device, which cannot be read more than once; write its "
            "content to a file and give that"
        )
    if not os.access(path, os.R_OK):
        raise InputError(f"'{path}' cannot be read; change its permissions")
    return path


def slot_name(layer: str | None, use_raw: bool) -> str:
    """Name of the slot of a matrix, as people write it."""
    return "raw.X" if use_raw else f"layers['{layer}']" if layer else "X"


def matrices_of(store: Any) -> Matrices:
    """All matrices of a store by the names of their slots; each is opened, not read, by a call."""

    def opened(slot: Any) -> Callable[[], Any]:
        return lambda: slot if hasattr(slot, "shape") else sparse_dataset(slot)

    found = {"X": opened(store["X"])} if "X" in store else {}
    for key in ("raw/X", "raw.X"):  # the second one before anndata 0.7
        if key in store:
            found["raw.X"] = opened(store[key])
    for layer in sorted(store["layers"]) if "layers" in store else ():
        found[slot_name(layer, False)] = opened(store["layers"][layer])
    return found


def find_matrix(
    matrices: Matrices, path: Path, layer: str | None = None, use_raw: bool = False
) -> Any:
    """Open one of the matrices without reading it.

    Returns
    -------
    array of numpy, scipy, h5py or zarr, or sparse data set of anndata
        Rows are read by slicing. Shape (n_cells, n_columns).

    Raises
    ------
    InputError
        If there is no such matrix (the message lists the ones there are) or it holds no numbers.
    """
    if layer is not None and use_raw:
        raise InputError(f"'{path}': give either `layer` or `use_raw: true`, not both")
    name = slot_name(layer, use_raw)
    if name not in matrices:
        found = listed(list(matrices), len(matrices), quote="")
        raise InputError(f"'{path}' has no {name}; its matrices are: {found}")
    with readable(path, name):
        matrix = matrices[name]()
        kind = np.dtype(matrix.dtype)  # read from the file only now
    if kind.kind not in "biufc":
        raise InputError(
            f"'{path}', {name}: the values have the type '{kind}', not numbers; expected "
            "counts or log-normalised expression"
        )
    return matrix


def check_shape(matrix: Any, path: Path, n_cells: int, n_columns: int) -> None:
    """Refuse a matrix that does not fit the tables of its cells and genes.

    Raises
    ------
    InputError
        With both shapes.
    """
    with readable(path, "the matrix"):
        shape = tuple(matrix.shape)
        if _is_stored_sparse(matrix) and len(shape) == 2:
            n_compressed = matrix.group["indptr"].shape[0] - 1
            shape = (n_compressed, shape[1]) if matrix.format == "csr" else (shape[0], n_compressed)
            lengths = [matrix.group[name].shape[0] for name in ("data", "indices")]
            if shape != tuple(matrix.shape) or lengths[0] != lengths[1]:
                raise InputError(
                    f"'{path}': the matrix says that it is {matrix.shape[0]} x {matrix.shape[1]}, "
                    f"but its parts make {' x '.join(map(str, shape))} with {lengths[0]} values at "
                    f"{lengths[1]} places; write the file anew"
                )
    if shape != (n_cells, n_columns):
        raise InputError(
            f"'{path}': the matrix is {' x '.join(map(str, shape))}, but there are {n_cells} cells "
            f"and {n_columns} genes; write the file anew"
        )


def row_chunks(
    matrix: Any,
    path: Path,
    chunk_size: int = CHUNK_ROWS,
    wanted: NDArray[np.bool_] | None = None,
    notice: Notice = logger.warning,
) -> Iterator[tuple[slice, sparse.csr_matrix]]:
    """Go through a matrix in memory or on disk by rows: (rows, canonical CSR of these rows).

    Parameters and errors are those of :func:`row_pieces`.
    """
    for rows, read in row_pieces(matrix, path, chunk_size, wanted, notice):
        yield rows, read()


def row_pieces(
    matrix: Any,
    path: Path,
    chunk_size: int = CHUNK_ROWS,
    wanted: NDArray[np.bool_] | None = None,
    notice: Notice = logger.warning,
) -> Pieces:
    """Divide a matrix in memory or on disk by rows; each piece is read when it is asked for.

    Parameters
    ----------
    matrix
        Rows are read by slicing. What is stored by columns (CSC) on disk is written by rows first,
        into a temporary file that is there until the last piece was asked for.
    path
        Its file, for messages.
    chunk_size
        Rows at a time; fewer where they are long and dense, whole blocks of :data:`BLOCK_ROWS`.
    wanted
        bool array (n_rows,): of each piece what lies between its first and its last wanted row is
        read, and nothing of one that has none.
    notice
        Is told that values of one place were added up.

    Raises
    ------
    InputError
        If a piece cannot be read, or is no matrix: columns out of range.
    """
    n_rows, n_columns = matrix.shape
    if _is_by_columns(matrix):
        with _by_rows(matrix, path, wanted) as by_rows:
            yield from row_pieces(by_rows, path, chunk_size, wanted, notice)
        return
    if _is_dense(matrix):
        fits = _dense_rows(n_columns)
        chunk_size = min(chunk_size, max(fits - fits % BLOCK_ROWS, BLOCK_ROWS))
    for start in range(0, n_rows, chunk_size):
        rows = slice(start, min(start + chunk_size, n_rows))
        if wanted is not None:
            places = np.flatnonzero(wanted[rows])
            if not places.size:
                continue
            rows = slice(start + int(places[0]), start + int(places[-1]) + 1)
        yield rows, partial(_read_rows, matrix, path, rows, notice)


def _read_rows(matrix: Any, path: Path, rows: slice, notice: Notice) -> sparse.csr_matrix:
    with readable(path, f"rows {rows.start} to {rows.stop} of the matrix"):
        chunk, added_up = _canonical(_sliced(matrix, rows))
    if added_up:
        notice(
            f"'{path}': cells have several values for one gene in the same column (the matrix "
            "names columns twice); they are added up, as scipy does"
        )
    return chunk


def held(matrix: Any, path: Path, notice: Notice = logger.warning) -> Any:
    """Take a matrix on disk into memory as CSR if it is small, so that it is decoded once.

    A larger one is given back as it is, to be read in chunks as often as it is gone through. One
    that is stored by columns (CSC) may be larger; beyond that it is written by rows, once, into a
    temporary file (:class:`plkd.io.row_store.RowStore`) that has to be closed.

    Raises
    ------
    InputError
        As :func:`row_chunks`.
    """
    if sparse.issparse(matrix):
        return matrix.tocsr()
    if _is_by_columns(matrix):
        parts = [matrix.group[name] for name in ("data", "indices")]
        if sum(part.shape[0] * part.dtype.itemsize for part in parts) > HELD_BYTES:
            return _by_rows(matrix, path)
        with readable(path, "the matrix"):
            whole = matrix.to_memory()
            whole.check_format(full_check=True)
            return whole.tocsr()
    n_values = (
        matrix.group["data"].shape[0] if _is_stored_sparse(matrix) else math.prod(matrix.shape)
    )
    if n_values > DECODED_VALUES or matrix.shape[0] == 0:
        return matrix
    chunks = [chunk for _, chunk in row_chunks(matrix, path, notice=notice)]
    return sparse.vstack(chunks, format="csr")


def _by_rows(matrix: Any, path: Path, wanted: NDArray[np.bool_] | None = None) -> RowStore:
    """Rows of a matrix stored by columns, which is read once; those not wanted are empty."""
    n_values, pieces = 0, _scan(matrix, path)
    if wanted is None:
        n_values = matrix.group["data"].shape[0]
        logger.info("'%s' is stored by columns (CSC): it is written by rows for the while", path)
    else:
        pieces = ((r[here], c[here], v[here]) for r, c, v in pieces if (here := wanted[r]).any())
    dtype = _wide_enough(np.empty(0, dtype=matrix.dtype)).dtype
    return RowStore(pieces, matrix.shape, dtype, n_values)


def _scan(matrix: Any, path: Path) -> Iterator[Values]:
    """Pieces of a matrix stored by columns; each value of the file is read once."""
    group, indptr = matrix.group, matrix.group["indptr"][...].astype(np.int64)
    n_values = group["data"].shape[0]
    if indptr[0] != 0 or indptr[-1] != n_values or (np.diff(indptr) < 0).any():
        raise InputError(f"'{path}': the matrix's `indptr` does not fit its {n_values} values")
    (chunk,) = group["data"].chunks or (1,)
    at_once = max(SCANNED_VALUES - SCANNED_VALUES % chunk, chunk)  # no chunk is unpacked twice
    columns = np.arange(matrix.shape[1], dtype=np.int32)
    for start in range(0, n_values, at_once):
        stop = min(start + at_once, n_values)
        with readable(path, f"values {start} to {stop} of the matrix"):
            rows, data = (read_values(group[name], start, stop) for name in ("indices", "data"))
        if rows.size and not (rows.min() >= 0 and rows.max() < matrix.shape[0]):
            raise InputError(f"'{path}': the matrix names rows that it does not have")
        yield rows, np.repeat(columns, np.diff(indptr.clip(start, stop))), _wide_enough(data)


def sample_of(
    matrix: Any, path: Path, n_rows: int, notice: Notice = logger.warning
) -> sparse.csr_matrix:
    """Some rows, in blocks spread over the matrix."""
    wanted = np.zeros(matrix.shape[0], dtype=bool)
    for block in sampled_blocks(matrix.shape[0], n_rows):
        wanted[block] = True
    chunks = [chunk[wanted[rows]] for rows, chunk in row_chunks(matrix, path, 256, wanted, notice)]
    return sparse.vstack(chunks, format="csr") if chunks else sparse.csr_matrix(matrix.shape)


def _sliced(matrix: Any, rows: slice) -> sparse.csr_matrix:
    """Rows of a matrix as CSR; of a stored one the parts are checked before they are put together.

    Own code for stored CSR, because anndata's passes them unchecked to code that trusts them.
    """
    if not _is_stored_sparse(matrix):
        if not _is_dense(matrix):
            return sparse.csr_matrix(matrix[rows])
        fits = _dense_rows(matrix.shape[1])
        stretches = (
            np.asarray(matrix[start : min(start + fits, rows.stop)])
            for start in range(rows.start, rows.stop, fits)
        )
        return sparse.csr_matrix(
            sparse.vstack([sparse.csr_matrix(_wide_enough(one)) for one in stretches])
        )
    group = matrix.group
    indptr = group["indptr"][rows.start : rows.stop + 1].astype(np.int64)
    first, last = int(indptr[0]), int(indptr[-1])
    if first < 0 or last > group["data"].shape[0] or (np.diff(indptr) < 0).any():
        raise ValueError("its `indptr` does not ascend or points behind the end of the values")
    data = _wide_enough(read_values(group["data"], first, last))
    parts = data, read_values(group["indices"], first, last), indptr - first
    if parts[1].size and not (parts[1].min() >= 0 and parts[1].max() < matrix.shape[1]):
        raise ValueError(f"its `indices` name columns that are not among the {matrix.shape[1]}")
    return sparse.csr_matrix(parts, shape=(rows.stop - rows.start, matrix.shape[1]))


def _wide_enough(values: NDArray[Any]) -> NDArray[Any]:
    """The same values; half precision, which scipy has no sparse matrices of, as float32."""
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _canonical(chunk: sparse.csr_matrix) -> tuple[sparse.csr_matrix, bool]:
    """Refuse what is no matrix, before code that trusts the indices sees it; sort the rest.

    Values of the same place are added up; whether there were any is said.
    """
    chunk.check_format(full_check=True)
    if chunk.has_canonical_format:
        return chunk, False
    n_values = chunk.nnz
    narrow = chunk.dtype.kind in "iub" and chunk.dtype.itemsize < 4  # sums would overflow
    chunk = chunk.astype(np.int32) if narrow else chunk.copy()  # it may be a user's matrix
    chunk.sum_duplicates()
    return chunk, chunk.nnz < n_values


def read_annotations(store: Any, path: Path, use_raw: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the tables of the cells (`obs`) and of the genes (`var`, or `raw.var`)."""
    with readable(path, "the table of cells or genes"):
        if "encoding-type" in store["obs"].attrs:
            obs = read_elem(store["obs"])
            var = read_elem(store["raw/var" if use_raw else "var"])
        else:  # written before anndata 0.7
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                old = ad.read_h5ad(path, backed="r")
            obs, var = old.obs, old.raw.var if use_raw else old.var
            old.file.close()
    return obs.copy(), var.copy()


def read_coordinates(store: Any, path: Path) -> np.ndarray | None:
    """`obsm['spatial']` as float32 (n_cells, n_dimensions), if there is one.

    Raises
    ------
    InputError
        If it cannot be read, or does not hold numbers for every cell.
    """
    obsm = store.get("obsm")
    if obsm is None or isinstance(obsm, h5py.Dataset) or "spatial" not in obsm:
        return None
    with readable(path, "obsm['spatial']"):
        return np.asarray(read_elem(obsm["spatial"]), dtype=np.float32)


def read_everything(store: Any, path: Path) -> ad.AnnData:
    """Read an open store (see :func:`open_store`) with all that it holds."""
    with readable(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = store.name == "/" and "encoding-type" not in store["obs"].attrs  # anndata before 0.7
        return ad.read_h5ad(path) if old else read_elem(store)


def scales_of(matrices: Matrices, path: Path, but: str) -> dict[str, MatrixScale]:
    """Scale of the matrices but one, by the setting that selects each (``layer: counts``).

    Only some rows of each are read. Matrices that are not numbers, or that cannot be read, are left
    out.
    """
    scales = {}
    for name, opened in matrices.items():
        if name == but:
            continue
        with suppress(InputError):
            with readable(path, name):
                matrix = opened()
                numeric = np.issubdtype(matrix.dtype, np.number)
            if numeric:
                rows = sample_of(matrix, path, SCALE_ROWS)
                scales[_setting(name)] = detect_scale(rows)
    return scales


def _setting(name: str) -> str:
    if name.startswith("layers"):
        return f"layer: {name[len('layers[') + 1 : -2]}"
    return {"X": "X (no `layer`)", "raw.X": "use_raw: true"}[name]


def _is_stored_sparse(matrix: Any) -> bool:
    return hasattr(matrix, "to_memory")


def _is_dense(matrix: Any) -> bool:
    return not (
        sparse.issparse(matrix) or _is_stored_sparse(matrix) or isinstance(matrix, RowStore)
    )


def _dense_rows(n_columns: int) -> int:
    return max(1, DENSE_CHUNK_VALUES // max(n_columns, 1))


def _is_by_columns(matrix: Any) -> bool:
    return _is_stored_sparse(matrix) and matrix.format == "csc"


def _annotated(store: Any, path: Path, modality: str | None) -> Any:
    with readable(path):
        name = modality_group(store, path, modality)
        group = store if name is None else store[name]
        slots = set(group)
    if not {"obs", "var"} <= slots:
        raise InputError(
            f"'{path}' is not an annotated matrix (h5ad, h5mu or zarr): it has no `obs` and `var` "
            f"but {listed(sorted(slots))}. Set another `reader`, or `auto`."
        )
    return group
