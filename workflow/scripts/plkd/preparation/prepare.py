"""The stage `prepare`: reference and query on one scale, over the same genes, the truth apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import sparse

from plkd.errors import InputError
from plkd.io.cells import CellFile, CellSource, open_cells
from plkd.io.genes import GOOD_OVERLAP, GeneOverlap, match_genes, take_genes
from plkd.io.h5ad_writer import chunked_h5ad
from plkd.io.normalisation import log_normalised_genes, to_log_normalised
from plkd.io.scale import TARGET_SUM
from plkd.io.symbols import advice_on_names, with_symbols_of_file
from plkd.preparation.chunks import chunks_of
from plkd.preparation.prepared import PreparedCells, sample_rows
from plkd.preparation.side import Side, check_values, choose_cells
from plkd.preparation.sides import Sides, open_sides, reference_side
from plkd.preparation.variable_genes import GeneSums, merge_small_batches, select_genes
from plkd.settings.datasets import AS_IT_IS, PrepareSettings, ReadingOptions, SourceSettings
from plkd.utils.files import whole_file, write_json
from plkd.utils.logs import logger
from plkd.utils.tables import write_tsv


@dataclass(frozen=True)
class PreparedPaths:
    """The files of the stage."""

    reference: Path
    query: Path
    truth: Path
    genes: Path
    report: Path

    @classmethod
    def in_folder(cls, folder: str | Path) -> PreparedPaths:
        """Their names in ``results/<dataset>/prepared``."""
        folder = Path(folder)
        return cls(
            folder / "reference.h5ad",
            folder / "query.h5ad",
            folder / "truth.parquet",
            folder / "genes.tsv",
            folder / "report.json",
        )


def prepare_dataset(
    config: Mapping[str, Any],
    reference: CellSource,
    query: CellSource | None,
    outputs: PreparedPaths,
) -> dict[str, Any]:
    """Run the whole stage and write its files.

    Parameters
    ----------
    config
        The data set's configuration; absent keys take their defaults.
    reference, query
        The fetched files; no query when `split` makes it out of the reference.
    outputs
        Where the files go. The query file has no labels.

    Returns
    -------
    dict
        The report, as written.

    Raises
    ------
    InputError
        If the data or the settings cannot be used.
    """
    settings = PrepareSettings.from_config(config.get("prepare"))
    with open_sides(config, reference, query, settings) as sides:
        places, overlap = match_genes(sides.query.genes, sides.reference.genes)
        notes = [*sides.reference.warnings, *sides.query.warnings, *sides.notes]
        called = _called(sides.reference.cells.path), _called(sides.query.cells.path, "query")
        notes += check_overlap(
            overlap,
            settings,
            lambda: advice_on_names(
                sides.query.cells, sides.reference.genes, called[::-1], sides.reference.cells
            ),
        )
        sums, has_counts = measure([sides.reference, sides.query])
        genes = choose_genes(sums, sides.reference.genes, places, settings)
        report = _report(config, settings, sides, genes, overlap, notes)
        for note in notes:
            logger.warning("%s", note)
        _write(sides, genes, places, has_counts, outputs, str(config.get("name", "")))
        noticed = [*sides.reference.cells.warnings, *sides.query.cells.warnings]
        report["warnings"] = [*notes, *dict.fromkeys(noticed)]
        write_json(outputs.report, report)
    return report


def prepare_reference(
    reference: CellSource,
    source: SourceSettings,
    settings: PrepareSettings | None = None,
    *,
    query: CellSource | Sequence[str] | None = None,
    query_reading: ReadingOptions = AS_IT_IS,
    progress: bool = True,
) -> tuple[PreparedCells, pd.DataFrame]:
    """Prepare a reference alone, in memory: the very cells, genes and values of the whole stage.

    Parameters
    ----------
    reference
        Labelled cells: a file, or an AnnData, which is not changed.
    source
        Which cells: `labels_key`, `batch_key`, `keep`, `drop`, `drop_labels`, and how to read them.
    settings
        Filters and choice of genes; None for the defaults.
    query
        Cells, or names of genes, that the choice of genes is restricted to, as
        :func:`prepare_dataset` restricts it to the genes of its query.
    query_reading
        How to read the query.
    progress
        Show progress bars.

    Returns
    -------
    cells : PreparedCells
        The reference.
    genes : DataFrame
        All its genes, see :func:`choose_genes`.

    Raises
    ------
    InputError
        As :func:`prepare_dataset`.
    """
    settings = settings or PrepareSettings()
    with open_cells(reference, source.reading, obs_columns=source.obs_columns) as opened:
        places = None
        notes: list[str] = []
        if query is not None:
            query_genes = _genes_of(query, query_reading, opened.genes)
            opened = with_symbols_of_file(opened, query_genes)
            places, overlap = match_genes(query_genes, opened.genes)
            advice = partial(_advice, opened, query, query_reading, query_genes)
            notes = check_overlap(overlap, settings, advice)
        side = reference_side(opened, source, settings, progress=progress)
        for note in [*side.warnings, *notes]:
            logger.warning("%s", note)
        sums, _ = measure([side], progress=progress)
        genes = choose_genes(sums, side.genes, places, settings)
        columns, n_genes = _columns(genes), int(genes["selected"].sum())
        parts = [
            log_normalised_genes(X, side.scale, columns, n_genes)
            for _, _, X in chunks_of([side], "preparing", progress=progress)
        ]
        frame = _frame(side, genes[genes["selected"]], "")
        frame.X = sparse.vstack(parts, format="csr")
    return PreparedCells.of(frame), genes


def sample_of_query(
    query: CellSource,
    genes: Sequence[str],
    n_cells: int,
    settings: PrepareSettings | None = None,
    *,
    reading: ReadingOptions = AS_IT_IS,
    progress: bool = True,
) -> sparse.csr_matrix:
    """Some cells of a query in the genes of a prepared reference, those that the stage would give.

    Parameters
    ----------
    query
        A file, or an AnnData, which is not changed.
    genes
        Of the reference, in order.
    n_cells
        At most so many; see :meth:`plkd.preparation.prepared.PreparedCells.sample`.
    settings
        Filters of cells; None for the defaults.
    reading
        How to read the query.
    progress
        Show progress bars.

    Returns
    -------
    csr_matrix
        Log-normalised expression, float32 (cells, genes).

    Raises
    ------
    InputError
        If the query cannot be read.
    """
    settings = settings or PrepareSettings()
    with open_cells(query, reading) as opened:
        opened = with_symbols_of_file(opened, genes)
        chosen = choose_cells(opened, SourceSettings(reading=reading), "query")
        (side,) = check_values([chosen], settings.min_genes_per_cell, progress=progress)
        columns, overlap = match_genes(opened.genes, genes)
        rows = side.rows[sample_rows(side.n_cells, n_cells)]
        return log_normalised_genes(opened.take(rows), side.scale, columns, overlap.n_wanted)


def measure(sides: Sequence[Side], *, progress: bool = True) -> tuple[GeneSums, dict[str, bool]]:
    """Add up the genes of the reference, the first side, and see which sides have counts.

    Counts that have to be recovered are counts only if every cell has them; what is found is
    written into the reports of the sides.

    Returns
    -------
    sums : GeneSums
        Of all genes of the reference.
    has_counts : dict
        By role.
    """
    reference = sides[0]
    batches = merge_small_batches(list(reference.batches))
    codes, names = pd.factorize(batches, sort=True)
    sums = GeneSums.zeros(len(names), len(reference.genes))
    has_counts = {
        side.role: side.scale.kind == "counts" or side.scale.counts_recoverable for side in sides
    }
    to_recover = {side.role for side in sides if side.scale.counts_recoverable}
    needed = [side for side in sides if side is reference or side.role in to_recover]
    for side, here, X in chunks_of(needed, "measuring genes", progress=progress):
        if side is reference:
            sums.add(to_log_normalised(X, side.scale), codes[here])
        if side.role in to_recover and has_counts[side.role]:
            has_counts[side.role] = side.counts(X) is not None
    for side in sides:
        found = "stored" if side.scale.kind == "counts" else "recovered"
        side.report["counts"] = found if has_counts[side.role] else "unknown"
    return sums, has_counts


def choose_genes(
    sums: GeneSums,
    genes: Sequence[str],
    places: NDArray[np.intp] | None,
    settings: PrepareSettings,
) -> pd.DataFrame:
    """Choose among the genes of the reference.

    Parameters
    ----------
    sums, genes
        Of the reference.
    places
        Place of each gene of the query among them, or -1; None without a query.
    settings
        Of the choice.

    Returns
    -------
    DataFrame
        One row per gene of the reference: `gene`, `in_query` (all of them without a query), and the
        columns of :func:`plkd.preparation.variable_genes.select_genes`.

    Raises
    ------
    InputError
        If there is nothing to choose from.
    """
    in_query = np.full(len(genes), places is None)
    if places is not None:
        in_query[places[places >= 0]] = True
    candidates = (sums.cells_with >= settings.min_cells_per_gene) & (
        in_query | (settings.gene_universe == "reference")
    )
    if not candidates.any():
        raise InputError(
            f"no gene is in at least {settings.min_cells_per_gene} reference cells "
            "(`min_cells_per_gene`) and measured in the query; nothing can be selected"
        )
    table = select_genes(sums, settings.n_genes, candidates)
    table.insert(0, "gene", list(genes))
    table.insert(1, "in_query", in_query)
    return table


def write_sides(
    sides: Sequence[Side],
    frames: Mapping[str, ad.AnnData],
    columns: Mapping[str, NDArray[np.intp]],
    has_counts: Mapping[str, bool],
    paths: Mapping[str, Path],
) -> None:
    """Write the selected genes of some sides, chunk by chunk.

    Parameters
    ----------
    sides
        Cells to write.
    frames
        By role: all of the file but its matrices.
    columns
        By role: for each gene of the side its column in the file, or -1.
    has_counts
        By role: whether there is a layer ``counts``.
    paths
        By role: the h5ad to write.
    """
    with ExitStack() as open_files:
        appends = {
            side.role: open_files.enter_context(
                chunked_h5ad(
                    paths[side.role],
                    frames[side.role],
                    ["X", "layers/counts"] if has_counts[side.role] else ["X"],
                )
            )
            for side in sides
        }
        for side, _, X in chunks_of(sides, "writing"):
            places, n_genes = columns[side.role], frames[side.role].n_vars
            append = appends[side.role]
            append("X", log_normalised_genes(X, side.scale, places, n_genes))
            if has_counts[side.role]:
                counts = side.counts(X)
                assert counts is not None  # every cell has them, or `measure` had said so
                append("layers/counts", take_genes(counts, places, n_genes))


def check_overlap(
    overlap: GeneOverlap, settings: PrepareSettings, advice: Callable[[], str]
) -> list[str]:
    """Refuse genes that are hardly shared; a warning about few shared genes is given back.

    `advice` is asked what to do if they are.

    Raises
    ------
    InputError
        If the overlap is below ``min_gene_overlap``.
    """
    if overlap.n_found == 0 or overlap.share < settings.min_gene_overlap:
        raise InputError(
            f"reference genes in the query: {overlap.describe()}; at least "
            f"{settings.min_gene_overlap:.0%} are needed (`prepare.min_gene_overlap`). "
            f"{advice()} For a small gene panel that is named alike, lower `min_gene_overlap`."
        )
    if overlap.share < GOOD_OVERLAP:
        return [
            f"reference genes in the query: {overlap.describe()}; below {GOOD_OVERLAP:.0%} labels "
            "become less certain"
        ]
    return []


def _called(path: Path, role: str = "reference") -> str:
    return f"the {role} '{path}'"


def _advice(
    reference: CellFile,
    query: CellSource | Sequence[str],
    reading: ReadingOptions,
    query_genes: Sequence[str],
) -> str:
    """What to do about a query that hardly has a gene of the reference."""
    called = _called(reference.path), "the query"
    if isinstance(query, str | Path | ad.AnnData):
        with open_cells(query, reading) as asked:
            return advice_on_names(asked, reference.genes, called[::-1], reference)
    return advice_on_names(reference, query_genes, called, None)


def _genes_of(
    source: CellSource | Sequence[str], reading: ReadingOptions, others: Sequence[str]
) -> list[str]:
    """Names of the genes of a query, by its symbols where the others need them."""
    if isinstance(source, str | Path | ad.AnnData):
        with open_cells(source, reading) as cells:
            return with_symbols_of_file(cells, others).genes
    return list(map(str, source))


def _columns(genes: pd.DataFrame) -> NDArray[np.intp]:
    """Column of each gene of the reference among the selected ones, or -1."""
    selected = genes["selected"].to_numpy()
    return np.where(selected, np.cumsum(selected) - 1, -1)


def _write(
    sides: Sides,
    genes: pd.DataFrame,
    places: NDArray[np.intp],
    has_counts: Mapping[str, bool],
    outputs: PreparedPaths,
    dataset: str,
) -> None:
    """Write everything but the report; both files of cells from one pass."""
    both = (sides.reference, sides.query)
    columns = _columns(genes)
    of_side = {
        "reference": columns,
        "query": np.where(places >= 0, columns[places], -1),
    }
    frames = {side.role: _frame(side, genes[genes["selected"]], dataset) for side in both}
    with (
        whole_file(outputs.reference) as reference_file,
        whole_file(outputs.query) as query_file,
    ):
        paths = {"reference": reference_file, "query": query_file}
        write_sides(both, frames, of_side, has_counts, paths)
    with whole_file(outputs.truth) as temporary:
        pq.write_table(_truth(sides.query), temporary)
    write_tsv(genes, outputs.genes)


def _frame(side: Side, genes: pd.DataFrame, dataset: str) -> ad.AnnData:
    """All of a prepared file but its matrices, see :class:`PreparedCells`."""
    obs = pd.DataFrame(
        {"batch": pd.Categorical(side.batches.astype(str)), "source_row": side.rows},
        index=side.cell_ids,
    )
    if not side.source_ids.equals(side.cell_ids):
        obs["source_id"] = np.asarray(side.source_ids, dtype=object)
    if side.role == "reference":
        obs["label"] = pd.Categorical(side.labels.astype(str))
    frame = ad.AnnData(
        obs=obs,
        var=pd.DataFrame({"in_query": genes["in_query"].to_numpy()}, index=list(genes["gene"])),
        uns={
            "plkd": {
                "scale": {"kind": side.scale.kind, "description": side.scale.describe()},
                "target_sum": TARGET_SUM,
                "dataset": dataset,
            }
        },
    )
    if side.role == "query" and len(side.left_out):
        frame.uns["plkd"]["left_out"] = side.left_out.rename(index=str)
    if side.spatial is not None:
        frame.obsm["spatial"] = side.spatial
    return frame


def _report(
    config: Mapping[str, Any],
    settings: PrepareSettings,
    sides: Sides,
    genes: pd.DataFrame,
    overlap: GeneOverlap,
    notes: list[str],
) -> dict[str, Any]:
    """All that was read, dropped, found and chosen, for people and for the HTML report."""
    reference, query = sides.reference, sides.query
    known, asked = set(reference.labels), Counter(query.labels[~pd.isna(query.labels)])
    unseen = {label: asked[label] for label in sorted(set(asked) - known)}
    if unseen:
        notes.append(
            f"{sum(unseen.values()):,} query cells have labels that the reference lacks: "
            f"{', '.join(unseen)}; no method can name them, they should come out as unknown"
        )
    n_selected = int(genes["selected"].sum())
    return {
        "dataset": config.get("name"),
        "reference": _side_report(reference),
        "query": _side_report(query),
        "genes": {
            "reference": len(genes),
            "query": len(query.genes),
            "overlap": overlap.as_dict(),
            "universe": settings.gene_universe,
            "asked": settings.n_genes,
            "selected": n_selected,
            "selected_in_query": int((genes["selected"] & genes["in_query"]).sum()),
            "ranked": bool(genes["rank"].notna().any()),
        },
        "labels": {
            "shared": sorted(known & set(asked)),
            "only_in_reference": sorted(known - set(asked)) if asked else [],
            "only_in_query": unseen,
        },
        "split": dict(config["split"]) if config.get("split") else None,
        "warnings": notes,
    }


def _side_report(side: Side) -> dict[str, Any]:
    labels = Counter(side.labels[~pd.isna(side.labels)])
    return side.report | {
        "cells": side.n_cells,
        "cells_without_label": side.n_cells - sum(labels.values()),
        "labels": dict(sorted(labels.items())),
        "batches": dict(sorted(Counter(side.batches).items())),
    }


def _truth(query: Side) -> pa.Table:
    """The query's labels; typed, because pandas would lose the type where none is known."""
    text = pa.schema([(name, pa.string()) for name in ("cell_id", "label", "batch")])
    columns = {"cell_id": query.cell_ids, "label": query.labels, "batch": query.batches}
    return pa.Table.from_pandas(pd.DataFrame(columns), schema=text, preserve_index=False)
