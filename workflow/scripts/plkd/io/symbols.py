"""Other names that a file holds for its genes: used, or proposed where they are needed."""

from __future__ import annotations

from collections.abc import Sequence

from plkd.io.cells import CellFile
from plkd.io.ensembl import are_ids
from plkd.io.genes import match_genes, naming_hint
from plkd.utils.logs import logger

SYMBOL_COLUMNS = (
    "feature_name",  # CELLxGENE
    *("gene_name", "gene_names", "gene_symbol", "gene_symbols", "gene_short_name"),
    *("Symbol", "symbol", "symbols", "SYMBOL"),
)
"""Columns of `var` that hold symbols in files whose genes are named by Ensembl ids."""
HELPS = 0.5  # share of the other names that a proposed setting finds


def with_symbols_of_file(cells: CellFile, others: Sequence[str]) -> CellFile:
    """Name genes by a column of symbols, where the file goes by Ensembl ids and the others do not.

    Of several such columns the one that finds most of the other names is taken, if that is more
    than the ids find (:func:`plkd.io.genes.match_genes` knows the symbols of many). Genes without a
    symbol keep their id. Nothing is done where the user has said what the genes are called by
    (`gene_symbols_key`, `gene_table`).

    Parameters
    ----------
    cells
        An open file.
    others
        Names that its genes will be compared with.

    Returns
    -------
    CellFile
        The same cells. If they were renamed, the log says so, and so does ``symbols`` in
        :attr:`~plkd.io.cells.CellFile.names_report`: the column, and the share of the other names
        that was found before and after.
    """
    told = cells.reading.gene_symbols_key is not None or cells.reading.gene_table is not None
    if told or not are_ids(cells.genes) or are_ids(others):
        return cells
    _, before = match_genes(cells.genes, others)
    best, found, column = cells, before, ""
    for name in SYMBOL_COLUMNS:
        if name in cells.var:
            named = cells.named_by(name)
            _, overlap = match_genes(named.genes, others)
            if overlap.n_found > found.n_found:
                best, found, column = named, overlap, name
    if best is not cells:
        logger.info(
            "'%s': its genes are named by Ensembl ids; the symbols in var['%s'] are used, which "
            "find %d of %d genes, the ids %d",
            *(cells.path, column, found.n_found, found.n_wanted, before.n_found),
        )
        best.names_report["symbols"] = {
            "column": column,
            "overlap_before": before.share,
            "overlap": found.share,
        }
    return best


def advice_on_names(
    cells: CellFile, others: Sequence[str], called: tuple[str, str], other_cells: CellFile | None
) -> str:
    """What to do about genes that hardly overlap: a setting that helps, or how they are named.

    Parameters
    ----------
    cells
        An open file.
    others
        Names that its genes were compared with.
    called
        What messages call the two.
    other_cells
        Where the other names come from, if that is a file, too.
    """
    own = _better_names(cells, others, called[0])
    if own is None and other_cells is not None:
        own = _better_names(other_cells, cells.genes, called[1])
    return own or naming_hint(cells.genes, others, called)


def _better_names(cells: CellFile, others: Sequence[str], called: str) -> str | None:
    """The setting by which a file finds most of the other names, if one finds half of them."""
    rows = list(dict.fromkeys(cells.obs.index))
    if match_genes(rows, others)[1].share > HELPS:
        remedy = (
            "set `transpose: true` (`--transpose`)"
            if cells.reader == "csv"
            else "turn the matrix round (`adata.T`) and write it anew"
        )
        return f"The cells of {called} are named like genes: it has the cells in columns, {remedy}."
    best, column = HELPS, None
    for name in cells.var.select_dtypes(exclude=["number", "bool"]).columns:
        found = match_genes(cells.named_by(name).genes, others)[1].share
        if found > best:
            best, column = found, name
    if column is None:
        return None
    return (
        f"The column '{column}' of `var` of {called} has {best:.0%} of the other names: set "
        f"`gene_symbols_key: {column}` there (`--gene-symbols-key {column}`)."
    )
