"""Readers of the formats that are not stores of anndata: 10x, loom, and tables of text."""

from __future__ import annotations

import csv
import gzip
import io
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO, cast

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from plkd.errors import InputError
from plkd.io.feature_names import TOTAL, is_quality
from plkd.io.stores import Notice, open_hdf5, readable
from plkd.utils.logs import logger
from plkd.utils.progress import ProgressBar
from plkd.utils.text import listed

CSV_CHUNK_VALUES = 20_000_000
_MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "none", "<na>")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")
_HDF5 = b"\x89HDF\r\n\x1a\n"
LOOM_CELLS = ("CellID", "obs_names", "cell_names", "barcode", "barcodes", "index")
LOOM_GENES = ("Gene", "var_names", "gene_names", "gene_name", "gene_symbol", "symbol", "index")
LONGEST_LINE = 2**26  # characters: a value for each of ten million cells is not published as text


def read_10x_h5(path: Path) -> ad.AnnData:
    """Read the HDF5 file of Cell Ranger, version 2 or 3, all features."""
    import scanpy as sc

    with open_hdf5(path), readable(path, "the 10x file"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Variable names are not unique")
        return sc.read_10x_h5(path, gex_only=False)


def read_10x_mtx(path: Path) -> ad.AnnData:
    """Read matrix, features and barcodes, packed or not, with or without a common prefix.

    Scanpy's reader takes two of the spellings in circulation only (all packed; all plain with
    ``genes.tsv``).
    """
    from scipy.io import mminfo, mmread

    matrices = sorted(path.glob("*matrix.mtx*")) if path.is_dir() else [path]
    if len(matrices) != 1:
        names = ", ".join(p.name for p in matrices) or "none"
        raise InputError(f"'{path}': expected one file *matrix.mtx[.gz], found {names}")
    prefix = matrices[0].name.split("matrix.mtx")[0]
    folder = matrices[0].parent
    features = _10x_table(folder, prefix, ("features.tsv", "genes.tsv"))
    barcodes = _10x_table(folder, prefix, ("barcodes.tsv",))
    with readable(matrices[0], "the matrix"):
        n_rows, n_columns, *_ = mminfo(matrices[0])
        if (n_columns, n_rows) != (len(barcodes), len(features)):
            raise InputError(
                f"'{matrices[0]}' has {n_rows} rows and {n_columns} columns, but there are "
                f"{len(features)} features and {len(barcodes)} barcodes"
            )
        X = sparse.csr_matrix(mmread(matrices[0]).T)
    n_columns = features.shape[1]
    var = pd.DataFrame(
        {"gene_ids": features[0].to_numpy()}, index=features[min(1, n_columns - 1)].to_numpy()
    )
    if n_columns > 2:
        var["feature_types"] = features[2].to_numpy()
    return ad.AnnData(X, obs=pd.DataFrame(index=barcodes[0].to_numpy()), var=var)


def _10x_table(folder: Path, prefix: str, names: Sequence[str]) -> pd.DataFrame:
    for name in names:
        for path in (folder / f"{prefix}{name}", folder / f"{prefix}{name}.gz"):
            if path.exists():
                with open_text(path) as handle, readable(path):
                    return pd.read_csv(
                        handle, sep="\t", header=None, dtype=str, keep_default_na=False
                    )
    raise InputError(f"'{folder}' lacks the file {prefix}{names[0]}[.gz] beside the matrix")


def read_loom(path: Path) -> ad.AnnData:
    """Read a loom file: main matrix, layers, and the attributes of cells and genes.

    Loom fixes no name for the names of cells and genes: those of loompy, anndata, scanpy and SCope
    are known.
    """
    with open_hdf5(path) as store:
        cells, genes = (
            _loom_names(store[axis], known)
            for axis, known in (("col_attrs", LOOM_CELLS), ("row_attrs", LOOM_GENES))
        )
    with readable(path, "the loom file"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # anndata would prefer a layer 'spliced' to the main matrix if it were not told.
        adata = ad.io.read_loom(path, sparse=True, X_name="", obs_names=cells, var_names=genes)
    adata.obs_names, adata.var_names = (
        names.astype(str).rename(None) for names in (adata.obs_names, adata.var_names)
    )
    return adata


def _loom_names(attributes: h5py.Group, known: Sequence[str]) -> str:
    """The attribute with the names of an axis; the first of the known ones if there is none."""
    found = {name.casefold(): name for name in attributes}
    return next((found[name.casefold()] for name in known if name.casefold() in found), known[0])


def read_csv(
    path: Path, transpose: bool, obs_columns: Sequence[str], notice: Notice = logger.warning
) -> ad.AnnData:
    """Read a table with names in the first row and column, in chunks, packed or not.

    Commas, tabs or semicolons; genes may occur twice; the corner may be absent (R). Names and
    `obs_columns`, which alone may hold text, stay as they are written: 01, NA, None.

    What is no count is taken out of the matrix, with a notice: measures of the cells become columns
    of `obs`, and totals of the rows or columns are left out.
    """
    separator, names = _csv_header(path)
    about_cells = [
        i
        for i, name in enumerate(names)
        if not transpose and (name in obs_columns or is_quality(name))
    ]
    values = [i for i in range(len(names)) if i not in set(about_cells)]
    blocks: list[sparse.csr_matrix] = []
    tables: list[pd.DataFrame] = []
    # Own column labels, because pandas would rename genes that occur twice; texts, because it
    # takes numbers for places.
    with (
        open_text(path) as handle,
        readable(path, "the table"),
        ProgressBar(desc=f"reading {path.name}", unit=" rows", leave=False) as bar,
    ):
        for frame in pd.read_csv(
            handle,
            sep=separator,
            header=None,
            skiprows=1,
            names=["names", *map(str, range(len(names)))],
            index_col=0,
            chunksize=max(1, CSV_CHUNK_VALUES // len(names)),
            dtype=dict.fromkeys(["names", *map(str, about_cells)], str),
            na_filter=False,
        ):
            frame.columns = pd.RangeIndex(len(names))
            blocks.append(_csv_values(frame[values], names, path))
            tables.append(frame[about_cells])
            bar.update(len(frame))
    X = sparse.vstack(blocks, format="csr")
    rows = pd.concat(tables)
    rows.columns = [names[i] for i in about_cells]
    rows.index = rows.index.astype(str).rename(None)
    columns = pd.DataFrame(index=pd.Index([names[i] for i in values], dtype=object))
    row_kept, column_kept = _are_no_totals(X, rows.index), _are_no_totals(X.T, columns.index)
    totals = [*rows.index[~row_kept], *columns.index[~column_kept]]
    if totals:
        notice(f"'{path}': {listed(totals)} holds the totals of the others and is left out")
    X, rows, columns = X[row_kept][:, column_kept], rows[row_kept], columns[column_kept]
    if transpose:
        cells = ad.AnnData(X.T.tocsr(), obs=columns, var=rows)
        measures = np.array([is_quality(name) for name in rows.index], dtype=bool)
        for place in np.flatnonzero(measures):
            cells.obs[rows.index[int(place)]] = X[[place]].toarray().ravel()
        cells = cells[:, ~measures].copy()
    else:
        measures = np.array([name not in obs_columns for name in rows.columns], dtype=bool)
        for name in rows.columns[measures]:
            with suppress(ValueError):
                rows[name] = pd.to_numeric(rows[name])
        cells = ad.AnnData(X, obs=rows, var=columns)
    if measures.any():
        named = (rows.index if transpose else rows.columns)[measures]
        notice(
            f"'{path}': {listed(named)} are no genes but measures of the cells, by their names; "
            "they are put into obs"
        )
    return cells


def _are_no_totals(X: sparse.spmatrix, names: pd.Index) -> np.ndarray:
    """Which rows to keep: all but those that are called a total and are one."""
    keep = np.ones(len(names), dtype=bool)
    for place in [i for i, name in enumerate(names) if TOTAL.fullmatch(name)]:
        own = X.tocsr()[[place]].toarray().ravel()
        others = np.asarray(X.sum(axis=0)).ravel() - own
        keep[place] = not np.allclose(own, others, rtol=1e-3)
    return keep


def _csv_header(path: Path) -> tuple[str | None, list[str]]:
    """Separator of a table, and the names of its columns but the first."""
    with open_text(path) as handle, readable(path, "the header"):
        separator = separator_of(handle.readline())
        handle.seek(0)
        lines = csv.reader(handle, delimiter=separator or ",")
        header, first = next(lines, []), next(lines, [])
    if len(first) == len(header) + 1:  # written by R: no name above the row names
        header = ["", *header]
    if len(header) < 2 or len(first) != len(header):
        raise InputError(
            f"'{path}' is not a table of cells and genes: its header has {len(header)} fields and "
            f"its first row {len(first)}. Expected names in the first row and first column."
        )
    return separator, header[1:]


def _csv_values(frame: pd.DataFrame, names: Sequence[str], path: Path) -> sparse.csr_matrix:
    """Some rows of a table as numbers; its columns are places among the names."""
    for place in frame.select_dtypes(exclude=["number", "bool"]).columns:
        column = frame[place]
        number = pd.to_numeric(column, errors="coerce").isna()
        row, text = column.index[number][0], str(column[number].iloc[0])
        where = f"'{path}', row '{row}', column '{names[cast(int, place)]}'"
        if text.strip().casefold() in _MISSING:
            raise InputError(
                f"{where}: a value is missing ('{text}'), or the row has fewer fields than the "
                "header. Expected a number; write 0 where nothing was counted."
            )
        if _DECIMAL_COMMA.fullmatch(text):
            raise InputError(
                f"{where}: '{text}' has a decimal comma. Write the table with decimal points (in R "
                "by write.csv, not write.csv2)."
            )
        raise InputError(
            f"{where}: expected numbers, found '{text}'. A column that describes the cells can be "
            "named as `labels_key` or `batch_key`; take others out."
        )
    return sparse.csr_matrix(frame.to_numpy())


def is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5 by its signature, which may stand behind a header (h5mu)."""
    return bool(h5py.is_hdf5(path))


def is_packed_hdf5(path: Path) -> bool:
    """Whether a file unpacks to HDF5 (``.h5ad.gz``)."""
    with suppress(OSError, EOFError, zlib.error), gzip.open(path, "rb") as handle:
        return handle.read(len(_HDF5)) == _HDF5
    return False


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """Open a text in UTF-8, packed with gzip or not, of which no line is longer than allowed.

    Raises
    ------
    InputError
        On reading: if a line is longer than `LONGEST_LINE`.
    """
    with path.open("rb") as handle:
        packed = handle.read(2) == b"\x1f\x8b"
    with (
        (gzip.open if packed else open)(path, "rb") as raw,
        _BoundedText(cast(BinaryIO, raw), encoding="utf-8-sig", newline="") as text,
    ):
        text.path = path
        yield text


class _BoundedText(io.TextIOWrapper):
    """A text that refuses a line longer than `LONGEST_LINE` instead of filling the memory."""

    path: Path
    _since_newline = 0

    def read(self, size: int | None = -1, /) -> str:
        """Read some characters, in pieces that may not all lack the end of a line."""
        text = super().read(size)
        newline = max(text.rfind("\n"), text.rfind("\r"))
        self._since_newline = (
            self._since_newline + len(text) if newline < 0 else len(text) - newline - 1
        )
        self._check(self._since_newline)
        return text

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]
        """Read to the end of the line."""
        line = super().readline(size if size >= 0 else LONGEST_LINE + 1)
        self._check(len(line))
        return line

    def _check(self, length: int) -> None:
        if length > LONGEST_LINE:
            raise InputError(
                f"'{self.path}' has a line of more than {LONGEST_LINE:,} characters; expected a "
                "table with one cell, or one gene, in a line"
            )


def separator_of(line: str) -> str | None:
    """The most frequent of tab, comma and semicolon."""
    counts = {separator: line.count(separator) for separator in "\t,;"}
    best = max(counts, key=lambda separator: counts[separator])
    return best if counts[best] else None
