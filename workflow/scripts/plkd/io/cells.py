"""Read cells from the formats they are published in, at once or in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from plkd.errors import InputError
from plkd.io.formats import (
    is_hdf5,
    open_text,
    read_10x_h5,
    read_10x_mtx,
    read_csv,
    read_loom,
    separator_of,
)
from plkd.io.gene_names import GeneTable, resolve_gene_names
from plkd.io.genes import GeneColumns
from plkd.io.normalisation import SAMPLED_ROWS, MatrixScale, detect_scale
from plkd.io.stores import (
    CHUNK_ROWS,
    RNA_MODALITIES,
    check_shape,
    existing,
    find_matrix,
    held,
    open_hdf5,
    open_store,
    read_annotations,
    read_coordinates,
    reading,
    row_chunks,
    same_modality,
    sample_of,
    scales_of,
)
from plkd.utils.logs import logger
from plkd.utils.text import listed

READERS = ("auto", "h5ad", "h5mu", "10x_h5", "10x_mtx", "csv", "loom", "zarr")
STORES = ("h5ad", "h5mu", "zarr")


@dataclass
class CellFile:
    """An open file of cells, read chunk by chunk.

    Attributes
    ----------
    path
        The file.
    obs
        Table of the cells, its index the cell ids.
    var
        Table of the genes (or peaks), its index :attr:`genes`; of columns that were added up, the
        row of the first.
    names_report
        What became of the names in the file, see :func:`plkd.io.gene_names.resolve_gene_names`.
    """

    path: Path
    obs: pd.DataFrame
    var: pd.DataFrame
    names_report: dict[str, Any]
    _columns: GeneColumns
    _stored: Any
    _read_spatial: Callable[[], np.ndarray | None]
    _read_scales: Callable[[], dict[str, MatrixScale]]

    @property
    def genes(self) -> list[str]:
        """Clean, unique gene names: the columns of every chunk."""
        return self._columns.genes

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.obs)

    @cached_property
    def _matrix(self) -> Any:
        return held(self._stored, self.path)

    @cached_property
    def scale(self) -> MatrixScale:
        """What the values are, from rows sampled over the file."""
        return detect_scale(sample_of(self._matrix, self.path, SAMPLED_ROWS))

    @cached_property
    def spatial(self) -> np.ndarray | None:
        """``obsm['spatial']`` as float32 (n_cells, n_dimensions), if there is one."""
        coordinates = self._read_spatial()
        if coordinates is not None and (coordinates.ndim != 2 or len(coordinates) != self.n_cells):
            raise InputError(
                f"'{self.path}', obsm['spatial']: its shape is {coordinates.shape}; expected "
                f"one row of coordinates for each of {self.n_cells} cells"
            )
        return coordinates

    def other_scales(self) -> dict[str, MatrixScale]:
        """Scale of every matrix of the file, by the setting that selects it."""
        return self._read_scales()

    def chunks(
        self, chunk_size: int = CHUNK_ROWS, wanted: NDArray[np.bool_] | None = None
    ) -> Iterator[tuple[slice, sparse.csr_matrix]]:
        """Yield (rows, CSR (n_rows, n_genes)) from the first cell to the last.

        With `wanted`, a bool array (n_cells,), chunks without a wanted cell are not read.
        """
        scale = self.scale if self._columns.n_merged else None
        for rows, chunk in row_chunks(self._matrix, self.path, chunk_size, wanted):
            yield rows, self._columns.merge(_compact(chunk, self.path), scale)

    def take(self, cells: NDArray[np.intp]) -> sparse.csr_matrix:
        """Some cells, by their ascending places in the file: CSR (n_taken, n_genes)."""
        wanted = np.zeros(self.n_cells, dtype=bool)
        wanted[cells] = True
        taken = [chunk[wanted[rows]] for rows, chunk in self.chunks(wanted=wanted)]
        if not taken:
            return sparse.csr_matrix((0, len(self.genes)), dtype=np.float32)
        return sparse.csr_matrix(sparse.vstack(taken, format="csr"))


@contextmanager
def open_cells(
    path: str | Path,
    *,
    reader: str = "auto",
    layer: str | None = None,
    use_raw: bool = False,
    modality: str | None = None,
    gene_symbols_key: str | None = None,
    gene_table: Mapping[str, Any] | None = None,
    transpose: bool = False,
    obs_columns: Sequence[str] = (),
) -> Iterator[CellFile]:
    """Open a matrix of cells x genes, with clean and unique gene names, for reading in chunks.

    A large h5ad or h5mu file or zarr folder is never in memory as a whole; the other formats are
    read at once, as CSR.

    Parameters
    ----------
    path
        File, or folder for ``10x_mtx`` and ``zarr``.
    reader
        One of `READERS`; ``auto`` looks into the file.
    layer, use_raw
        Matrix to take instead of `X` (h5ad, h5mu, zarr; `layer` of loom as well).
    modality
        Of a file with several modalities (h5mu) the one to take; of one that mixes features (`var`
        column ``feature_types``) the type to take. Default: the genes.
    gene_symbols_key
        Column of `var` with the gene names, instead of its index.
    gene_table
        A table that renames genes: the arguments of :meth:`plkd.io.gene_names.GeneTable.read`.
    transpose
        The rows of a ``csv`` are genes and its columns cells.
    obs_columns
        Columns of a ``csv`` (cells in rows) that describe the cells where they occur.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another format, or lacks the matrix, the column or
        the modality.
    """
    path = existing(path)
    reader = _chosen_reader(path, reader)
    _check_options(path, reader, layer, use_raw, transpose)
    table = None if gene_table is None else GeneTable.from_config(gene_table)

    def opened(
        obs: pd.DataFrame,
        var: pd.DataFrame,
        matrix: Any,
        spatial: Callable[[], np.ndarray | None],
        scales: Callable[[], dict[str, MatrixScale]],
        feature_type: str | None,
    ) -> CellFile:
        check_shape(matrix, path, len(obs), len(var))
        obs.index = obs.index.astype(str)
        names, report = resolve_gene_names(
            _feature_names(var, path, gene_symbols_key, feature_type), table
        )
        columns = GeneColumns.from_names(names)
        report["merged"] = columns.n_merged
        if not columns.as_stored:
            logger.info(
                "'%s': %d genes with the name of another are added to it, %d columns left out",
                path,
                columns.n_merged,
                columns.n_unnamed,
            )
        var = var.iloc[columns.first_columns].copy()
        var.index = pd.Index(columns.genes, dtype=object)
        return CellFile(path, obs, var, report, columns, matrix, spatial, scales)

    if reader in STORES:
        with open_store(path, modality) as store:
            matrix = find_matrix(store, path, layer, use_raw)
            obs, var = read_annotations(store, path, use_raw)
            yield opened(
                obs,
                var,
                matrix,
                lambda: read_coordinates(store, path),
                lambda: scales_of(store, path),
                modality if store.name == "/" else None,
            )
    else:
        adata = _read_at_once(path, reader, layer, transpose, obs_columns)
        spatial = adata.obsm.get("spatial")
        yield opened(
            adata.obs.copy(),
            adata.var.copy(),
            adata.X,
            lambda: None if spatial is None else np.asarray(spatial, dtype=np.float32),
            dict,
            modality,
        )


def read_cells(path: str | Path, **options: Any) -> ad.AnnData:
    """Read a matrix of cells x genes at once; the options are those of :func:`open_cells`.

    Returns
    -------
    AnnData
        X: CSR (n_cells, n_genes), float32, or integers as they were stored; `obs`, `var` and
        ``obsm['spatial']``.

    Raises
    ------
    InputError
        As :func:`open_cells`.
    """
    with open_cells(path, **options) as cells:
        X = cells.take(np.arange(cells.n_cells))
        obsm = {} if cells.spatial is None else {"spatial": cells.spatial}
        return ad.AnnData(X, obs=cells.obs, var=cells.var, obsm=obsm)


def iterate_cells(
    path: str | Path, *, chunk_size: int = CHUNK_ROWS, **options: Any
) -> Iterator[tuple[slice, sparse.csr_matrix]]:
    """Yield (rows, CSR chunk) of a file; the options are those of :func:`open_cells`."""
    with open_cells(path, **options) as cells:
        yield from cells.chunks(chunk_size)


def read_obs(path: str | Path, **options: Any) -> pd.DataFrame:
    """Table of the cells alone; the options are those of :func:`open_cells`."""
    with open_cells(path, **options) as cells:
        return cells.obs


def read_var_names(path: str | Path, **options: Any) -> list[str]:
    """Clean, unique gene names alone: the columns that :func:`iterate_cells` gives."""
    with open_cells(path, **options) as cells:
        return cells.genes


def detect_reader(path: str | Path) -> str:
    """Name the reader for a file by its content (a link or a copy may have lost its suffix).

    Raises
    ------
    InputError
        If no reader knows the content.
    """
    path = existing(path)
    if path.is_dir():
        if any((path / name).exists() for name in (".zgroup", "zarr.json", ".zattrs")):
            return "zarr"
        if list(path.glob("*matrix.mtx*")):
            return "10x_mtx"
        names = listed(sorted(p.name for p in path.iterdir()), 10)
        raise InputError(
            f"'{path}' is neither a zarr folder nor one with a 10x matrix.mtx (found {names})"
        )
    if is_hdf5(path):
        with open_hdf5(path) as store, reading(path):
            keys = set(store)
            if {"obs", "var", "mod"} <= keys:
                return "h5mu"
            if {"obs", "var"} <= keys:
                return "h5ad"
            if {"row_attrs", "col_attrs"} <= keys:
                return "loom"
            if any("barcodes" in store[key] for key in keys if hasattr(store[key], "keys")):
                return "10x_h5"
        raise InputError(
            f"'{path}' is an HDF5 file of an unknown kind (found {', '.join(sorted(keys))}); "
            "expected h5ad, h5mu, loom or 10x"
        )
    if path.suffix in (".h5ad", ".h5mu", ".h5", ".hdf5", ".loom"):
        with open_hdf5(path):  # not HDF5: raises
            pass
    with open_text(path) as handle, reading(path, "the text"):
        line = handle.readline(10_000_000)
    if line.startswith("%%MatrixMarket"):
        return "10x_mtx"
    if separator_of(line):
        return "csv"
    raise InputError(
        f"'{path}': the format is not known. Expected one of {', '.join(READERS[1:])}; "
        "set `reader` if it is one of these."
    )


def _chosen_reader(path: Path, reader: str) -> str:
    if reader not in READERS:
        raise InputError(f"reader '{reader}' is not known; expected one of {', '.join(READERS)}")
    return detect_reader(path) if reader == "auto" else reader


def _check_options(
    path: Path, reader: str, layer: str | None, use_raw: bool, transpose: bool
) -> None:
    if use_raw and reader not in STORES:
        raise InputError(f"'{path}': `use_raw` is for h5ad, h5mu and zarr, not for '{reader}'")
    if layer is not None and reader not in (*STORES, "loom"):
        raise InputError(f"'{path}': `layer` is for h5ad, h5mu, zarr and loom, not for '{reader}'")
    if transpose and reader != "csv":
        raise InputError(f"'{path}': `transpose` is for csv, not for '{reader}'")


def _read_at_once(
    path: Path, reader: str, layer: str | None, transpose: bool, obs_columns: Sequence[str]
) -> ad.AnnData:
    if reader == "10x_h5":
        return read_10x_h5(path)
    if reader == "10x_mtx":
        return read_10x_mtx(path)
    if reader == "loom":
        return read_loom(path, layer)
    return read_csv(path, transpose, obs_columns)


def _feature_names(
    var: pd.DataFrame, path: Path, gene_symbols_key: str | None, modality: str | None
) -> list[object]:
    """Names of the columns; an empty one for a feature that was not asked for (ATAC, antibody)."""
    if gene_symbols_key is not None and gene_symbols_key not in var:
        raise InputError(
            f"'{path}': var has no column '{gene_symbols_key}' (`gene_symbols_key`); its columns "
            f"are: {', '.join(map(str, var.columns)) or 'none'}"
        )
    names: list[object] = list(var.index if gene_symbols_key is None else var[gene_symbols_key])
    if "feature_types" not in var:
        if modality is None:
            return names
        raise InputError(
            f"'{path}': var has no column 'feature_types' to find the `modality` '{modality}' in; "
            "leave `modality` out"
        )
    types = var["feature_types"].astype(str)
    wanted = RNA_MODALITIES if modality is None else same_modality(modality)
    is_wanted = types.str.casefold().isin(wanted).to_numpy()
    if modality is not None and not is_wanted.any():
        found = ", ".join(f"'{name}' ({n:,})" for name, n in types.value_counts().items())
        raise InputError(
            f"'{path}', var['feature_types']: no feature is '{modality}' (`modality`); there are "
            f"{found or 'none'}"
        )
    if is_wanted.all() or not is_wanted.any():
        return names
    logger.info("'%s': %d features of another type left out", path, (~is_wanted).sum())
    return [name if wanted else "" for name, wanted in zip(names, is_wanted, strict=True)]


def _compact(X: sparse.csr_matrix, path: Path) -> sparse.csr_matrix:
    """CSR in four bytes per value where no integer is lost."""
    if X.dtype == np.int64 and (X.nnz == 0 or np.abs(X.data).max() < 2**31):
        return X.astype(np.int32)
    if X.dtype == bool or X.dtype.kind == "f":
        return X.astype(np.float32, copy=False)
    if X.dtype.kind not in "iu":
        raise InputError(f"'{path}': the values have the type '{X.dtype}', not numbers")
    return X
