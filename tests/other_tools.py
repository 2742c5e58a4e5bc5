"""Files as other programs write them, or leave them behind, and what becomes of each.

One table for the tests (`tests/unit/test_inputs_of_other_tools.py`) and for the documentation
(`docs/reference/inputs.md`, which ``python tests/other_tools.py`` writes).
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from plkd.settings.datasets import AS_IT_IS, ReadingOptions
from simulated import make_cells

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "inputs.md"
N_GENES, TYPES = 110, 4


def query_cells() -> ad.AnnData:
    """Counts of sixty cells of four types, and what is measured of each."""
    return make_cells(60, N_GENES, types=TYPES, batches=["new"], seed=5)


def reference_cells() -> ad.AnnData:
    """Counts of the labelled cells."""
    return make_cells(160, N_GENES, types=TYPES, seed=1)


@dataclass(frozen=True)
class Query:
    """A query that is the plain counts of :func:`query_cells` in some guise, or nearly.

    Attributes
    ----------
    what
        The input, in words.
    outcome
        What becomes of it, in words.
    make
        Writes it to a folder; gives the path, or an AnnData.
    refused
        Regular expression of the error; None if it is taken.
    warned
        Regular expression of a warning that both ways give.
    same
        Share of the cells that get the label that they get from plain counts.
    values
        Whether the prepared values are those of the plain counts, too.
    unknown
        Rows that get no label but come back as unknown.
    reading
        How it is read.
    cells
        The plain counts, where they are others.
    """

    what: str
    outcome: str
    make: Callable[[Path], Path | ad.AnnData]
    refused: str | None = None
    warned: str | None = None
    same: float = 1.0
    values: bool = True
    unknown: tuple[int, ...] = ()
    reading: ReadingOptions = AS_IT_IS
    cells: Callable[[], ad.AnnData] = query_cells


@dataclass(frozen=True)
class Reference:
    """Labels and batches of a reference in some guise: what they are after reading.

    Attributes
    ----------
    what, outcome, refused, warned
        As those of :class:`Query`.
    make
        Writes the reference with the labels in ``cell_type``, and the same as batches in ``site``;
        gives the path, or an AnnData.
    labels
        The labels, and the batches.
    """

    what: str
    outcome: str
    make: Callable[[Path], Path | ad.AnnData]
    labels: tuple[str, ...] = ()
    refused: str | None = None
    warned: str | None = None


# --------------------------------------------------------------------------------- how to make them


def changed(
    change: Callable[[ad.AnnData], ad.AnnData | None],
    store: Callable[[h5py.File], None] | None = None,
    cells: Callable[[], ad.AnnData] = query_cells,
) -> Callable[[Path], Path]:
    """An h5ad of the cells after a change, and after one of the file itself."""

    def make(folder: Path) -> Path:
        given = cells()
        found = change(given)
        path = folder / "given.h5ad"
        with ad.settings.override(allow_write_nullable_strings=True):
            (given if found is None else found).write_h5ad(path)
        if store is not None:
            with h5py.File(path, "r+") as file:
                store(file)
        return path

    return make


def in_file(store: Callable[[h5py.File], None]) -> Callable[[Path], Path]:
    return changed(lambda cells: None, store)


def with_X(change: Callable[[sparse.csr_matrix], object]) -> Callable[[Path], Path]:
    def apply(cells: ad.AnnData) -> None:
        cells.X = change(cells.X)

    return changed(apply)


def with_names(name: Callable[[int, str], str], symbols: str = "") -> Callable[[Path], Path]:
    """Genes by other names, the symbols kept in a column."""

    def apply(cells: ad.AnnData) -> None:
        if symbols:
            cells.var[symbols] = cells.var_names.to_numpy()
        cells.var_names = [name(i, gene) for i, gene in enumerate(cells.var_names)]

    return changed(apply)


def as_table(change: Callable[[pd.DataFrame], pd.DataFrame], **options: object):
    """A csv of the counts after a change."""

    def make(folder: Path) -> Path:
        change(query_cells().to_df().astype(int)).to_csv(folder / "given.csv", **options)
        return folder / "given.csv"

    return make


def with_value(value: float) -> Callable[[Path], Path]:
    """One value of the 31st cell is another."""

    def change(X: sparse.csr_matrix) -> sparse.csr_matrix:
        X.data[X.indptr[30]] = value
        return X

    return with_X(change)


def z_scores(X: sparse.csr_matrix) -> np.ndarray:
    dense = np.log1p(X.toarray())
    return (dense - dense.mean(0)) / (dense.std(0) + 1e-9)


def raw_with_index_column(file: h5py.File) -> None:
    table = file["raw/var"]
    table.move(table.attrs["_index"], "_index_")
    table.move("_index_", "_index")
    table.attrs["_index"] = "_index"
    table.attrs["column-order"] = ["_index"]


def mixed_indices(file: h5py.File) -> None:
    for name, dtype in (("indices", np.int32), ("indptr", np.int64)):
        values = file["X"][name][...].astype(dtype)
        del file["X"][name]
        file["X"][name] = values


def repeated_places(file: h5py.File) -> None:
    """The first value of the 31st cell in two parts."""
    X = file["X"]
    start = int(X["indptr"][30])
    parts = {name: X[name][...] for name in ("data", "indices", "indptr")}
    values = parts["data"][start], parts["indices"][start]
    parts["data"] = np.insert(parts["data"], start, values[0] - 1)
    parts["data"][start + 1] = 1
    parts["indices"] = np.insert(parts["indices"], start, values[1])
    parts["indptr"][31:] += 1
    for name, array in parts.items():
        del X[name]
        X[name] = array


def reversed_rows(file: h5py.File) -> None:
    X = file["X"]
    starts = X["indptr"][...]
    for first, last in pairwise(starts):
        for name in ("data", "indices"):
            X[name][first:last] = X[name][first:last][::-1]


def negative_pointer(file: h5py.File) -> None:
    file["X/indptr"][30] = -5


def half_precision(file: h5py.File) -> None:
    dense = query_cells().X.toarray().astype(np.float16)
    del file["X"]
    file["X"] = dense


def compound_tables(file: h5py.File) -> None:
    """Tables of cells and genes as records, as before anndata 0.7."""
    for name in ("obs", "var"):
        index = file[name][file[name].attrs["_index"]].asstr()[...]
        records = np.zeros(len(index), dtype=[("index", "S30"), ("number", "i8")])
        records["index"] = index
        del file[name]
        file[name] = records
    for name in ("uns", "obsm", "varm", "obsp", "varp", "layers"):
        del file[name]
    for name in list(file.attrs):
        del file.attrs[name]


def packed(folder: Path) -> Path:
    path = folder / "given.h5ad.gz"
    query_cells().write_h5ad(folder / "given.h5ad")
    path.write_bytes(gzip.compress((folder / "given.h5ad").read_bytes()))
    return path


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "given.h5ad")
    return folder / "given.h5ad"


def both_studies(cells: ad.AnnData) -> None:
    cells.obs["Study"], cells.obs["study"] = "one", "other"


def as_zarr(change: Callable[[ad.AnnData], None]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        cells = query_cells()
        change(cells)
        cells.write_zarr(folder / "given.zarr")
        return folder / "given.zarr"

    return make


def nullable_texts(cells: ad.AnnData) -> None:
    cells.obs["note"] = pd.array(["a", None] * 30, dtype="string")
    cells.obs.index = cells.obs.index.astype("string")


def decimal_commas(folder: Path) -> Path:
    cells = query_cells().to_df() / 2
    cells.to_csv(folder / "given.csv", sep=";", decimal=",")
    return folder / "given.csv"


def in_columns(folder: Path) -> Path:
    query_cells().to_df().astype(int).T.to_csv(folder / "given.csv")
    return folder / "given.csv"


def labelled(values: object) -> Callable[[Path], Path]:
    """A reference whose labels are `values`, two of them, in turn."""

    def change(cells: ad.AnnData) -> None:
        cells.obs["cell_type"] = cells.obs["site"] = values

    return changed(change, cells=reference_cells)


def in_memory(values: list[str], dtype: str) -> Callable[[Path], ad.AnnData]:
    def make(folder: Path) -> ad.AnnData:
        cells = reference_cells()
        cells.obs["cell_type"] = cells.obs["site"] = pd.array(values, dtype=dtype)
        return cells

    return make


def labelled_csv(names: tuple[str, str]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        table = reference_cells().to_df().astype(int)
        table["cell_type"] = table["site"] = list(names) * 80
        table.to_csv(folder / "given.csv")
        return folder / "given.csv"

    return make


def quality_columns(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(nCount_RNA=table.sum(axis=1), **{"percent.mt": 1.5, "orig.ident": "s1"})


def total_row(table: pd.DataFrame) -> pd.DataFrame:
    table.loc["Total"] = table.sum()
    return table


def antibodies(cells: ad.AnnData) -> ad.AnnData:
    extra = np.random.default_rng(0).poisson(5, (60, 10))
    names = [*cells.var_names, *(f"AB_{i}" for i in range(10))]
    return ad.AnnData(
        sparse.hstack([cells.X, sparse.csr_matrix(extra, dtype=np.float32)], format="csr"),
        obs=cells.obs,
        var=pd.DataFrame(index=names),
    )


def typed_antibodies(cells: ad.AnnData) -> ad.AnnData:
    cells = antibodies(cells)
    cells.var["feature_types"] = ["Gene Expression"] * N_GENES + ["Antibody Capture"] * 10
    return cells


def logged(X: sparse.csr_matrix, total: float = 1e4) -> sparse.csr_matrix:
    X = sparse.csr_matrix(X, dtype=np.float64)
    return X.multiply(total / X.sum(axis=1)).tocsr().log1p().astype(np.float32)


def off(X: sparse.csr_matrix) -> sparse.csr_matrix:
    """Some per cent off: no value is a multiple of a count any more."""
    X = X.copy()
    X.data *= np.random.default_rng(0).lognormal(0, 0.05, X.nnz).astype(np.float32)
    return X


def one_cell_times_20(X: sparse.csr_matrix) -> sparse.csr_matrix:
    X = logged(X)
    X.data[X.indptr[30] : X.indptr[31]] *= 20
    return X


def one_value_of_60(X: sparse.csr_matrix) -> sparse.csr_matrix:
    return logged_with(X, 60)


def logged_with(X: sparse.csr_matrix, value: float) -> sparse.csr_matrix:
    X = logged(X)
    X.data[X.indptr[30]] = value
    return X


def half_logged(X: sparse.csr_matrix) -> sparse.csr_matrix:
    return sparse.vstack([X[:30], logged(X)[30:]], format="csr")


def some_genes(cells: ad.AnnData) -> ad.AnnData:
    return cells[:, np.arange(N_GENES) % 2 == 0].copy()


def log2_of_per_million(cells: ad.AnnData) -> ad.AnnData:
    cells.X = logged(off(cells.X), 1e6) / np.float32(np.log(2))
    return cells[:, np.arange(N_GENES) % 10 != 0].copy()


def thinned(X: sparse.csr_matrix) -> sparse.csr_matrix:
    X = X.copy()
    X.data = np.random.default_rng(0).binomial(X.data.astype(int), 0.1).astype(np.float32)
    X.eliminate_zeros()
    return X


def single_label() -> ad.AnnData:
    cells = query_cells()
    return cells[cells.obs["cell_type"] == "B cell"].copy()


def many_cells() -> ad.AnnData:
    return make_cells(4097, N_GENES, types=TYPES, batches=["new"], seed=6)


def no_change(cells: ad.AnnData) -> None:
    """Leave them as they are."""


def with_obs(**columns: object) -> Callable[[Path], Path]:
    def change(cells: ad.AnnData) -> None:
        for name, values in columns.items():
            cells.obs[name] = values

    return changed(change)


def with_uns(cells: ad.AnnData) -> None:
    cells.uns["log1p"] = {}
    cells.X = logged(cells.X)


def with_raw(cells: ad.AnnData) -> None:
    cells.raw = cells.copy()
    cells.X = z_scores(cells.X)


def z_scores_with_counts(cells: ad.AnnData) -> None:
    cells.layers["counts"] = cells.X.copy()
    cells.X = z_scores(cells.X)


def names_twice(cells: ad.AnnData) -> None:
    cells.obs_names = [f"c{i // 2}" for i in range(cells.n_obs)]


WORDS = ["T cell", "B cell"]
LABELS = ("B cell", "T cell")
LOST = "are left out"
NO_BATCH = "1 cells without a value in 'site' form the batch 'missing'"
NAMED = r"given.h5ad', X, cell 's5-cell00030' \(row 30\), gene '\w+': the value"

QUERIES = (
    # --- as it should be, and nearly
    Query("raw counts, without `raw`", "as it is", changed(no_change)),
    Query("counts by columns (CSC)", "as it is", with_X(lambda X: X.tocsc())),
    Query("counts as a dense matrix", "as it is", with_X(lambda X: X.toarray())),
    Query("counts as 64-bit integers", "as it is", with_X(lambda X: X.astype(np.int64))),
    Query("counts in half precision (float16)", "as it is", in_file(half_precision)),
    Query("64-bit row starts beside 32-bit columns", "as it is", in_file(mixed_indices)),
    Query("columns of a row in no order", "as it is", in_file(reversed_rows)),
    Query("a column named twice in a row", "added up, with a warning", in_file(repeated_places),
          warned="they are added up, as scipy does"),
    Query("row starts below zero", "refused as damage", in_file(negative_pointer),
          refused="given.h5ad'.*`indptr` does not ascend"),
    Query("a single cell", "as it is", changed(lambda cells: cells[:1].copy()),
          cells=lambda: query_cells()[:1].copy()),
    Query("no cell", "refused", changed(lambda cells: cells[:0].copy()),
          refused="given.h5ad' has no cells"),
    Query("4,097 cells, one more than are read at a time", "as it is",
          changed(no_change, cells=many_cells), cells=many_cells),
    Query("cells of a single label", "as it is", changed(no_change, cells=single_label),
          cells=single_label),
    Query("cells with a tenth of the counts", "most labels as of all counts", with_X(thinned),
          same=0.8, values=False),
    Query("half of the genes missing", "most labels as of all genes, with a warning",
          changed(some_genes), warned="55 of .*110 genes", same=0.9, values=False),
    # --- what values are
    Query("log1p of counts per 10,000", "undone, the counts recovered", with_X(logged)),
    Query("log1p of counts per million", "brought to 10,000",
          with_X(lambda X: logged(X, 1e6))),
    Query("three cells, log1p of counts per million", "brought to 10,000",
          changed(lambda cells: ad.AnnData(logged(cells.X, 1e6)[:3], obs=cells.obs[:3],
                                           var=cells.var)),
          cells=lambda: query_cells()[:3].copy()),
    Query("log1p of counts, not normalised", "normalised", with_X(lambda X: X.log1p())),
    Query("counts per million, not logged", "brought to log1p of 10,000",
          with_X(lambda X: logged(X, 1e6).expm1())),
    Query("`uns['log1p'] = {}`, as h5ad files keep it", "not looked at", changed(with_uns)),
    Query("fractional counts (ambient RNA taken off), all below 15",
          "taken as linear, not as logged; a warning",
          with_X(lambda X: off(X / 20)), warned="neither whole nor logged.*say `scale`",
          same=0.9, values=False),
    Query("the same, said to be linear", "no warning", with_X(lambda X: off(X / 20)),
          reading=ReadingOptions(scale="linear"), same=0.9, values=False),
    Query("log2(TPM + 1) of some genes, values up to 19", "base 2 seen from the totals; a warning",
          changed(log2_of_per_million), warned="base 2.*say `scale`", same=0.9, values=False),
    Query("the same, said to be log2", "a warning on the totals alone",
          changed(log2_of_per_million), warned="logged, but not of counts per 10,000",
          reading=ReadingOptions(scale="log2"), same=0.9, values=False),
    Query("logarithms said to be counts", "refused", with_X(logged),
          refused="X: `scale` says counts, but the values of 100% of the cells are not whole",
          reading=ReadingOptions(scale="counts")),
    Query("logarithms, one cell times 20", "this cell unknown, all others as they are",
          with_X(one_cell_times_20), warned=f"1 cells .*{LOST}", unknown=(30,)),
    Query("logarithms, a single value of 60", "this cell unknown, all others as they are",
          with_X(one_value_of_60), warned=f"1 cells .*{LOST}", unknown=(30,)),
    Query("counts, a single value of 0.5", "this cell unknown, all others as they are",
          with_value(0.5), warned=f"1 cells .*{LOST}", unknown=(30,)),
    Query("counts of some cells, logarithms of the others", "refused", with_X(half_logged),
          refused="X holds values .* of two kinds: 50% of the cells"),
    Query("z-scores", "refused, the layer with counts named", changed(z_scores_with_counts),
          refused=r"X holds scaled values.*Use one of: layer: counts \(raw counts"),
    Query("z-scores, the counts in `raw`", "refused, `raw` named", changed(with_raw),
          refused=r"X holds scaled values.*Use one of: use_raw: true \(raw counts"),
    Query("z-scores, read by `use_raw`", "as it is", changed(with_raw),
          reading=ReadingOptions(use_raw=True)),
    Query("one value that is missing (NaN)", "refused, the cell and the gene named",
          with_value(np.nan), refused=f"{NAMED} nan is missing"),
    Query("one value that is infinite", "refused, the cell and the gene named",
          with_value(np.inf), refused=f"{NAMED} inf is infinite"),
    Query("one value of -1", "refused, the cell and the gene named", with_value(-1.0),
          refused=f"{NAMED} -1 is negative"),
    Query("one value of -1 among logarithms", "the same, and not called z-scores",
          with_X(lambda X: logged_with(X, -1)), refused=f"{NAMED} -1 is negative"),
    # --- how genes are named
    Query("Ensembl ids, symbols in `feature_name`", "the symbols are used",
          with_names(lambda i, gene: f"ENSG{i:011d}", "feature_name")),
    Query("mouse capitals", "compared without regard to case",
          with_names(lambda i, gene: gene.capitalize())),
    Query("`GRCh38_` before every name", "taken off", with_names(lambda i, gene: f"GRCh38_{gene}")),
    Query("symbol and Ensembl id in one name", "the id taken off",
          with_names(lambda i, gene: f"{gene}_ENSG{i:011d}.3")),
    Query("numbers as names, symbols in `feature_name`", "refused, the column proposed",
          with_names(lambda i, gene: str(i), "feature_name"),
          refused="'feature_name' of `var` of .*given.h5ad' has 100%.*`gene_symbols_key: "),
    Query("numbers as names, no symbols", "refused, with how the names look",
          with_names(lambda i, gene: str(i)), refused="look like '0', '1', '2'"),
    Query("an h5ad with the cells in columns", "refused: turn it round",
          changed(lambda cells: cells.T.copy()), refused=r"adata.T"),
    Query("a column `_index` in `raw.var` (of SeuratDisk)", "not looked at",
          changed(with_raw, raw_with_index_column), reading=ReadingOptions(use_raw=True)),
    # --- what else is in the file
    Query("`Study` and `study` side by side", "both kept", changed(both_studies)),
    Query("the same in a zarr folder", "both kept", as_zarr(both_studies)),
    Query("a column that mixes text and NaN", "kept",
          with_obs(note=np.array(["a", np.nan] * 30, dtype=object))),
    Query("nullable texts in `obs` and as names", "kept", changed(nullable_texts)),
    Query("`obs` and `var` as records, before anndata 0.7", "as it is", in_file(compound_tables)),
    Query("names of cells that occur twice", "numbers in tables, the names as they are in the copy",
          changed(names_twice), warned="30 cells have the name of another"),
    Query("`.h5ad.gz`", "refused: unpack it", packed, refused="given.h5ad.gz'.*gunzip"),
    Query("a pipe", "refused", pipe, refused="given.h5ad' is a pipe"),
    # --- tables of text
    Query("csv", "as it is", as_table(lambda table: table)),
    Query("csv with `nCount_RNA`, `percent.mt`, `orig.ident`", "these go to `obs`, with a warning",
          as_table(quality_columns), warned="'nCount_RNA'.* are no genes but measures"),
    Query("csv with a row `Total`", "left out, with a warning", as_table(total_row),
          warned="'Total' holds the totals"),
    Query("csv with decimal commas", "refused", decimal_commas, refused="has a decimal comma"),
    Query("csv with the cells in columns", "refused: transpose it", in_columns,
          refused="transpose: true"),
    Query("the same, transposed", "as it is", in_columns, reading=ReadingOptions(transpose=True)),
    # --- what is not expression
    Query("ten antibodies among the genes, by `feature_types`", "left out",
          changed(typed_antibodies)),
    Query("ten antibodies among the genes, by name alone", "a warning: they count in the totals",
          changed(antibodies), warned="look like antibodies by their names", same=0.9,
          values=False),
)  # fmt: skip

REFERENCES = (
    Reference("labels 0 and 1 as integers", "their digits", labelled([0, 1] * 80), ("0", "1")),
    Reference("labels 0 and 1, one missing, so stored as floats", "their digits; the cell left out",
              labelled([np.nan, *([0.0, 1.0] * 80)[1:]]), ("0", "1"), warned=NO_BATCH),
    Reference("truth values", "True and False", labelled([True, False] * 80), ("False", "True")),
    Reference("nullable integers", "their digits",
              labelled(pd.array([1, 2] * 80, dtype="Int64")), ("1", "2")),
    Reference("nullable truth values", "True and False",
              labelled(pd.array([True, False] * 80, dtype="boolean")), ("False", "True")),
    Reference("nullable texts", "as they are",
              labelled(pd.array([*WORDS * 79, *WORDS], dtype="string")), LABELS),
    Reference("texts of Arrow", "as they are", in_memory(WORDS * 80, "string[pyarrow]"), LABELS),
    Reference("categories, one cell without", "the cell left out",
              labelled(pd.Categorical([None, *(WORDS * 80)[1:]])), LABELS, warned=NO_BATCH),
    Reference("texts mixed with NaN", "the cells without left out",
              labelled(np.array([np.nan, *(WORDS * 80)[1:]], dtype=object)), LABELS,
              warned=NO_BATCH),
    Reference("labels that differ by a blank at the end", "one label, with a warning",
              labelled(["B cell ", "B cell", "T cell", "T cell"] * 40), LABELS,
              warned="are taken as one: 'B cell', 'B cell '"),
    Reference("the texts NA, None and unassigned", "labels, with a warning",
              labelled(["NA", "None", "unassigned", "B cell"] * 40),
              ("B cell", "NA", "None", "unassigned"),
              warned="'NA', 'None', 'unassigned' in 'cell_type' are taken as labels"),
    Reference("labels 01 and 1 of a csv", "as they are written", labelled_csv(("01", "1")),
              ("01", "1")),
    Reference("labels NA and null of a csv", "as they are written, with a warning",
              labelled_csv(("NA", "null")), ("NA", "null"), warned="'NA', 'null' in 'cell_type'"),
    Reference("a single label", "refused", labelled(["B cell"] * 160),
              refused="given.h5ad', obs\\['cell_type'\\]: at least two labels are needed"),
)  # fmt: skip


# -------------------------------------------------------------------------------------- the page

START_OF_TABLES = "## A query\n"


def page(text: str) -> str:
    """The page with its tables as the rows above say; what stands before them is left as it is."""
    lines = [text.partition(START_OF_TABLES)[0] + START_OF_TABLES]
    lines += ["| input | what becomes of it |", "|---|---|"]
    lines += [f"| {row.what} | {row.outcome} |" for row in QUERIES]
    lines += ["", "## Labels and batches of a reference", ""]
    lines += ["| input | what becomes of it |", "|---|---|"]
    lines += [f"| {row.what} | {row.outcome} |" for row in REFERENCES]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
