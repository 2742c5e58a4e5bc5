"""Read cells from the formats they are published in, at once or in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from plkd.errors import InputError
from plkd.formats import (
    first_bytes,
    open_text,
    read_10x_h5,
    read_10x_mtx,
    read_csv,
    read_loom,
    separator_of,
)
from plkd.genes import GeneColumns, merge_duplicates
from plkd.logs import logger
from plkd.scale import MatrixScale, detect_scale
from plkd.stores import (
    CHUNK_ROWS,
    HDF5_SIGNATURE,
    existing,
    find_matrix,
    open_hdf5,
    open_store,
    read_annotations,
    read_coordinates,
    read_matrix,
    reading,
    row_chunks,
)

READERS = ("auto", "h5ad", "10x_h5", "10x_mtx", "csv", "loom", "zarr")
GENE_FEATURE_TYPES = ("Gene Expression", "GEX")


def read_cells(
    path: str | Path,
    *,
    reader: str = "auto",
    layer: str | None = None,
    use_raw: bool = False,
    gene_symbols_key: str | None = None,
    transpose: bool = False,
    obs_columns: Sequence[str] = (),
) -> ad.AnnData:
    """Read a matrix of cells x genes with clean, unique gene names.

    Only the asked matrix, `obs`, `var` and ``obsm['spatial']`` are read. Of a file that mixes gene
    expression with other features (`var` column ``feature_types``) only the genes are kept.

    Parameters
    ----------
    path
        File, or folder for ``10x_mtx`` and ``zarr``.
    reader
        One of `READERS`; ``auto`` looks into the file.
    layer, use_raw
        Matrix to take instead of `X` (h5ad, zarr; `layer` of loom as well).
    gene_symbols_key
        Column of `var` with the gene names, instead of its index.
    transpose
        The rows of a ``csv`` are genes and its columns cells.
    obs_columns
        Columns of a ``csv`` (cells in rows) that describe the cells where they occur.

    Returns
    -------
    AnnData
        X: CSR (n_cells, n_genes), float32, or integers as they were stored.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another format, or lacks the matrix or column.
    """
    path = existing(path)
    reader = _chosen_reader(path, reader)
    _check_options(path, reader, layer, use_raw, transpose)
    if reader in ("h5ad", "zarr"):
        adata = _read_store(path, layer, use_raw)
    elif reader == "10x_h5":
        adata = read_10x_h5(path)
    elif reader == "10x_mtx":
        adata = read_10x_mtx(path)
    elif reader == "loom":
        adata = read_loom(path, layer)
    else:
        adata = read_csv(path, transpose, obs_columns)
    adata.obs_names = adata.obs_names.astype(str)
    adata.X = _compact(adata.X, path)
    adata.var_names = pd.Index(_gene_names(adata.var, path, gene_symbols_key))
    return merge_duplicates(adata)


@dataclass
class CellFile:
    """An open file of cells, read chunk by chunk.

    Attributes
    ----------
    path
        The file.
    obs
        Table of the cells, its index the cell ids.
    """

    path: Path
    obs: pd.DataFrame
    _columns: GeneColumns
    _matrix: Any

    @property
    def genes(self) -> list[str]:
        """Clean, unique gene names: the columns of every chunk."""
        return self._columns.genes

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.obs)

    @cached_property
    def scale(self) -> MatrixScale:
        """What the values are, from rows sampled over the file."""
        return detect_scale(self._matrix)

    def chunks(self, chunk_size: int = CHUNK_ROWS) -> Iterator[tuple[slice, sparse.csr_matrix]]:
        """Yield (rows, CSR (n_rows, n_genes)) from the first cell to the last."""
        scale = self.scale if self._columns.n_merged else None
        for rows, chunk in row_chunks(self._matrix, self.path, chunk_size):
            yield rows, self._columns.merge(chunk, scale)


@contextmanager
def open_cells(
    path: str | Path,
    *,
    reader: str = "auto",
    layer: str | None = None,
    use_raw: bool = False,
    gene_symbols_key: str | None = None,
    transpose: bool = False,
) -> Iterator[CellFile]:
    """Open cells for reading in chunks; the parameters are those of :func:`read_cells`.

    An h5ad file or zarr folder is never in memory as a whole (unless it is stored by columns);
    the other formats are read at once, as CSR.
    """
    path = existing(path)
    reader = _chosen_reader(path, reader)
    _check_options(path, reader, layer, use_raw, transpose)
    if reader in ("h5ad", "zarr"):
        with open_store(path) as store:
            matrix = find_matrix(store, path, layer, use_raw)
            obs, var = read_annotations(store, path, use_raw)
            obs.index = obs.index.astype(str)
            columns = GeneColumns.from_names(_gene_names(var, path, gene_symbols_key))
            yield CellFile(path, obs, columns, matrix)
    else:
        adata = read_cells(
            path,
            reader=reader,
            layer=layer,
            gene_symbols_key=gene_symbols_key,
            transpose=transpose,
        )
        yield CellFile(path, adata.obs, GeneColumns.from_names(adata.var_names), adata.X)


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
        names = ", ".join(sorted(p.name for p in path.iterdir())[:10]) or "nothing"
        raise InputError(
            f"'{path}' is neither a zarr folder nor one with a 10x matrix.mtx (found {names})"
        )
    start = first_bytes(path)
    if start.startswith(HDF5_SIGNATURE):
        with open_hdf5(path) as store:
            keys = set(store)
            if {"obs", "var"} <= keys:
                return "h5ad"
            if {"row_attrs", "col_attrs"} <= keys:
                return "loom"
            if any("barcodes" in store[key] for key in keys if hasattr(store[key], "keys")):
                return "10x_h5"
        raise InputError(
            f"'{path}' is an HDF5 file of an unknown kind (found {', '.join(sorted(keys))}); "
            "expected h5ad, loom or 10x"
        )
    if path.suffix in (".h5ad", ".h5", ".hdf5", ".loom"):
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
    if use_raw and reader not in ("h5ad", "zarr"):
        raise InputError(f"'{path}': `use_raw` is for h5ad and zarr, not for '{reader}'")
    if layer is not None and reader not in ("h5ad", "zarr", "loom"):
        raise InputError(f"'{path}': `layer` is for h5ad, zarr and loom, not for '{reader}'")
    if transpose and reader != "csv":
        raise InputError(f"'{path}': `transpose` is for csv, not for '{reader}'")


def _read_store(path: Path, layer: str | None, use_raw: bool) -> ad.AnnData:
    with open_store(path) as store:
        matrix = find_matrix(store, path, layer, use_raw)
        obs, var = read_annotations(store, path, use_raw)
        X = read_matrix(matrix, path)
        spatial = read_coordinates(store, path)
    if X.shape != (len(obs), len(var)):
        raise InputError(
            f"'{path}': the matrix is {X.shape[0]} x {X.shape[1]}, but there are {len(obs)} cells "
            f"and {len(var)} genes; write the file anew"
        )
    return ad.AnnData(X, obs=obs, var=var, obsm={} if spatial is None else {"spatial": spatial})


def _gene_names(var: pd.DataFrame, path: Path, gene_symbols_key: str | None) -> list[object]:
    """Names of the columns; an empty one for a feature that is not a gene (ATAC, antibody)."""
    if gene_symbols_key is not None and gene_symbols_key not in var:
        raise InputError(
            f"'{path}': var has no column '{gene_symbols_key}' (`gene_symbols_key`); its columns "
            f"are: {', '.join(map(str, var.columns)) or 'none'}"
        )
    names: list[object] = list(var.index if gene_symbols_key is None else var[gene_symbols_key])
    if "feature_types" in var:
        is_gene = var["feature_types"].isin(GENE_FEATURE_TYPES).to_numpy()
        if is_gene.any() and not is_gene.all():
            logger.info("'%s': %d features that are not genes left out", path, (~is_gene).sum())
            return [name if gene else "" for name, gene in zip(names, is_gene, strict=True)]
    return names


def _compact(X: Any, path: Path) -> sparse.csr_matrix:
    """CSR in four bytes per value where no integer is lost."""
    X = sparse.csr_matrix(X)
    if X.dtype == np.int64 and (X.nnz == 0 or np.abs(X.data).max() < 2**31):
        return X.astype(np.int32)
    if X.dtype == bool or X.dtype.kind == "f":
        return X.astype(np.float32)
    if X.dtype.kind not in "iu":
        raise InputError(f"'{path}': the values have the type '{X.dtype}', not numbers")
    return X
