"""Annotated matrices on disk (h5ad, zarr): open, look, and read only what is asked for."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem, sparse_dataset
from scipy import sparse

from plkd.errors import InputError
from plkd.logs import logger
from plkd.scale import MatrixScale, detect_scale

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
CHUNK_ROWS = 4096
SCALE_ROWS = 200


@contextmanager
def reading(path: str | Path, what: str = "the file") -> Iterator[None]:
    """Turn whatever a reader raises on a damaged or foreign file into one clear message.

    Raises
    ------
    InputError
        If the block fails for any reason but memory.
    """
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # readers raise OSError, KeyError, ValueError, TypeError, ..
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"'{path}': {what} cannot be read ({reason}). The file may be damaged or of another "
            "format: check `reader`, or get the file anew."
        ) from error


@contextmanager
def open_store(path: str | Path) -> Iterator[Any]:
    """Open an h5ad file or a zarr folder for reading, as a group of h5py or zarr.

    Raises
    ------
    InputError
        If it is missing, empty, truncated, not HDF5, or not an annotated matrix.
    """
    path = existing(path)
    if path.is_dir():
        import zarr

        with reading(path, "the zarr folder"):
            store = zarr.open_group(str(path), mode="r")
        _check_is_annotated(store, path)
        yield store
    else:
        with open_hdf5(path) as store:
            _check_is_annotated(store, path)
            yield store


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file; tell a truncated one from one that never was HDF5."""
    with path.open("rb") as handle:
        start = handle.read(len(HDF5_SIGNATURE))
    if start != HDF5_SIGNATURE:
        found = "an empty file" if not start else f"a file that begins with {start!r}"
        packed = " It is compressed: unpack it with gunzip." if start[:2] == b"\x1f\x8b" else ""
        raise InputError(f"'{path}' is not an HDF5 file (found {found}).{packed}")
    try:
        store = h5py.File(path, "r")
    except OSError as error:
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
        If there is nothing, a link that leads nowhere, or no permission.
    """
    path = Path(path)
    if not path.exists():
        what = "is a link to a file that is gone" if path.is_symlink() else "does not exist"
        raise InputError(f"'{path}' {what}; correct its path")
    if not os.access(path, os.R_OK):
        raise InputError(f"'{path}' cannot be read; change its permissions")
    return path


def slot_name(layer: str | None, use_raw: bool) -> str:
    """Name of the slot of a matrix, as people write it."""
    return "raw.X" if use_raw else f"layers['{layer}']" if layer else "X"


def find_matrix(store: Any, path: Path, layer: str | None = None, use_raw: bool = False) -> Any:
    """Open a matrix of the store without reading it.

    Returns
    -------
    h5py or zarr array, or sparse data set of anndata
        Rows are read by slicing. Shape (n_cells, n_columns).

    Raises
    ------
    InputError
        If there is no such matrix (the message lists the ones there are) or it holds no numbers.
    """
    if layer is not None and use_raw:
        raise InputError(f"'{path}': give either `layer` or `use_raw: true`, not both")
    slots = _matrices(store)
    name = slot_name(layer, use_raw)
    if name not in slots:
        raise InputError(f"'{path}' has no {name}; its matrices are: {_listed(slots)}")
    with reading(path, name):
        matrix = _opened(slots[name])
    if not (np.issubdtype(matrix.dtype, np.number) or matrix.dtype == bool):
        raise InputError(
            f"'{path}', {name}: the values have the type '{matrix.dtype}', not numbers; expected "
            "counts or log-normalised expression"
        )
    return matrix


def read_matrix(matrix: Any, path: Path) -> sparse.csr_matrix:
    """Read a whole matrix as CSR; a dense one passes through memory in chunks."""
    with reading(path, "the matrix"):
        if _is_sparse(matrix):
            return sparse.csr_matrix(matrix.to_memory())
        chunks = [chunk for _, chunk in row_chunks(matrix, path)]
        return sparse.vstack(chunks, format="csr") if chunks else sparse.csr_matrix(matrix.shape)


def row_chunks(
    matrix: Any, path: Path, chunk_size: int = CHUNK_ROWS
) -> Iterator[tuple[slice, sparse.csr_matrix]]:
    """Go through a matrix in memory or on disk by rows: (rows, CSR of these rows)."""
    if getattr(matrix, "format", None) == "csc" and not sparse.issparse(matrix):
        logger.warning("'%s' is stored by columns (CSC): all of it is read at once", path)
        matrix = read_matrix(matrix, path)
    for start in range(0, matrix.shape[0], chunk_size):
        rows = slice(start, min(start + chunk_size, matrix.shape[0]))
        with reading(path, f"rows {rows.start} to {rows.stop} of the matrix"):
            chunk = sparse.csr_matrix(matrix[rows])
        yield rows, chunk


def read_annotations(store: Any, path: Path, use_raw: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the tables of the cells (`obs`) and of the genes (`var`, or `raw.var`)."""
    with reading(path, "the table of cells or genes"):
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
    """`obsm['spatial']` as float32 (n_cells, n_dimensions), if there is one."""
    obsm = store.get("obsm")
    if obsm is None or isinstance(obsm, h5py.Dataset) or "spatial" not in obsm:
        return None
    with reading(path, "obsm['spatial']"):
        return np.asarray(read_elem(obsm["spatial"]), dtype=np.float32)


def matrix_scales(path: str | Path) -> dict[str, MatrixScale]:
    """Scale of every matrix of a file, by the setting that selects it (``layer: counts``).

    Only some rows of each are read. Matrices that are not numbers are left out.
    """
    scales = {}
    with open_store(path) as store:
        for name, slot in _matrices(store).items():
            matrix = _opened(slot)
            if np.issubdtype(matrix.dtype, np.number):
                scales[_setting(name)] = detect_scale(matrix, SCALE_ROWS)
    return scales


def _setting(name: str) -> str:
    if name.startswith("layers"):
        return f"layer: {name[len('layers[') + 1 : -2]}"
    return {"X": "X (no `layer`)", "raw.X": "use_raw: true"}[name]


def _matrices(store: Any) -> dict[str, Any]:
    found = {"X": store["X"]} if "X" in store else {}
    for key in ("raw/X", "raw.X"):  # the second one before anndata 0.7
        if key in store:
            found["raw.X"] = store[key]
    for layer in sorted(store["layers"]) if "layers" in store else ():
        found[slot_name(layer, False)] = store["layers"][layer]
    return found


def _opened(slot: Any) -> Any:
    return slot if hasattr(slot, "shape") else sparse_dataset(slot)


def _is_sparse(matrix: Any) -> bool:
    return hasattr(matrix, "to_memory")


def _listed(names: Any) -> str:
    return ", ".join(names) or "none"


def _check_is_annotated(store: Any, path: Path) -> None:
    if "obs" not in store or "var" not in store:
        raise InputError(
            f"'{path}' is not an annotated matrix (h5ad or zarr): it has no `obs` and `var` but "
            f"{_listed(sorted(store))}. Set another `reader`, or `auto`."
        )
