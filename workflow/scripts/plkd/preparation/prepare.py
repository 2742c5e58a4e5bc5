"""The stage `prepare`: reference and query on one scale, over the same genes, the truth apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from plkd.errors import InputError
from plkd.io.cells import CellFile, open_cells, read_obs
from plkd.io.genes import GOOD_OVERLAP, GeneOverlap, match_genes, naming_hint, take_genes
from plkd.io.h5ad_writer import growing_h5ad
from plkd.io.normalisation import TARGET_SUM, to_log_normalised
from plkd.preparation.chunks import walk
from plkd.preparation.side import Side, SourceSettings, check_values, choose_cells, labelled_cells
from plkd.preparation.variable_genes import GeneSums, merge_small_batches, select_genes, split_cells
from plkd.utils.files import whole_file, write_json
from plkd.utils.logs import logger
from plkd.utils.tables import write_tsv


@dataclass(frozen=True)
class PrepareSettings:
    """The keys of `prepare` in a data set's configuration."""

    n_genes: int | Literal["all"] = 2000
    min_cells_per_gene: int = 3
    min_genes_per_cell: int = 0
    min_cells_per_label: int = 2
    gene_universe: Literal["shared", "reference"] = "shared"
    min_gene_overlap: float = 0.1

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | None) -> PrepareSettings:
        """Take the known keys that are set; the others keep their defaults."""
        names = {one.name for one in fields(cls)}
        return cls(**{k: v for k, v in (config or {}).items() if k in names and v is not None})

    def __post_init__(self) -> None:
        if self.gene_universe not in ("shared", "reference"):
            raise InputError(
                f"`prepare.gene_universe` is '{self.gene_universe}'; expected shared or reference"
            )
        if self.n_genes != "all" and self.n_genes < 1:
            raise InputError(f"`prepare.n_genes` is {self.n_genes}; expected at least 1, or all")


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
    reference_path: str | Path,
    query_path: str | Path | None,
    outputs: PreparedPaths,
) -> dict[str, Any]:
    """Run the whole stage and write its files.

    Parameters
    ----------
    config
        The data set's configuration; absent keys take their defaults.
    reference_path, query_path
        The fetched files; no query when `split` makes it out of the reference.
    outputs
        Where the files go. The query file has no labels: its columns are `batch` and
        `source_row`.

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
    with ExitStack() as files:
        reference, query, notes = _open_sides(
            config, reference_path, query_path, settings, files.enter_context
        )
        notes = [*reference.warnings, *query.warnings, *notes]
        places, overlap = match_genes(query.genes, reference.genes)
        _check_overlap(overlap, query.genes, reference.genes, settings, notes)
        in_query = np.zeros(len(reference.genes), dtype=bool)
        in_query[places[places >= 0]] = True

        sums, has_counts = measure(reference, query)
        candidates = (sums.cells_with >= settings.min_cells_per_gene) & (
            in_query | (settings.gene_universe == "reference")
        )
        if not candidates.any():
            raise InputError(
                f"no gene is in at least {settings.min_cells_per_gene} reference cells "
                "(`min_cells_per_gene`) and measured in the query; nothing can be selected"
            )
        genes = select_genes(sums, settings.n_genes, candidates)
        genes.insert(0, "gene", reference.genes)
        genes.insert(1, "in_query", in_query)
        selected = genes["selected"].to_numpy()
        number = np.cumsum(selected) - 1
        columns = {
            "reference": np.where(selected, number, -1),
            "query": np.where((places >= 0) & selected[places], number[places], -1),
        }
        report = _report(config, settings, reference, query, genes, overlap, notes)
        for note in notes:
            logger.warning("%s", note)
        with (
            whole_file(outputs.reference) as reference_file,
            whole_file(outputs.query) as query_file,
        ):
            paths = {"reference": reference_file, "query": query_file}
            frames = {
                side.role: _frame(side, genes[selected], config) for side in (reference, query)
            }
            write_sides((reference, query), frames, columns, has_counts, paths)
        with whole_file(outputs.truth) as temporary:
            pq.write_table(_truth(query), temporary)
        write_tsv(genes, outputs.genes)
        write_json(outputs.report, report)
    return report


def source_rows(prepared: str | Path) -> NDArray[np.intp]:
    """Rows of the source file that the cells of a prepared file come from, (n_cells,)."""
    return read_obs(prepared)["source_row"].to_numpy(dtype=np.intp)


def measure(reference: Side, query: Side) -> tuple[GeneSums, dict[str, bool]]:
    """Add up the genes of the reference, and see for each side whether it has counts.

    Counts that have to be recovered are counts only if every cell has them; what is found is
    written into the reports of the sides.

    Returns
    -------
    sums : GeneSums
        Of all genes of the reference.
    has_counts : dict
        By role.
    """
    batches = merge_small_batches(list(reference.batches))
    codes, names = pd.factorize(batches, sort=True)
    sums = GeneSums.zeros(len(names), len(reference.genes))
    sides = (reference, query)
    has_counts = {
        side.role: side.scale.kind == "counts" or side.scale.counts_recoverable for side in sides
    }
    to_recover = {side.role for side in sides if side.scale.counts_recoverable}
    needed = [side for side in sides if side is reference or side.role in to_recover]
    for side, here, X in walk(needed, "measuring genes"):
        if side is reference:
            sums.add(to_log_normalised(X, side.scale), codes[here])
        if side.role in to_recover and has_counts[side.role]:
            has_counts[side.role] = side.counts(X) is not None
    for side in sides:
        found = "stored" if side.scale.kind == "counts" else "recovered"
        side.report["counts"] = found if has_counts[side.role] else "unknown"
    return sums, has_counts


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
                growing_h5ad(
                    paths[side.role],
                    frames[side.role],
                    ["X", "layers/counts"] if has_counts[side.role] else ["X"],
                )
            )
            for side in sides
        }
        for side, _, X in walk(sides, "writing"):
            places, n_genes = columns[side.role], frames[side.role].n_vars
            append = appends[side.role]
            append("X", take_genes(to_log_normalised(X, side.scale), places, n_genes))
            if has_counts[side.role]:
                counts = side.counts(X)
                assert counts is not None  # every cell has them, or `measure` had said so
                append("layers/counts", take_genes(counts, places, n_genes))


def _open_sides(
    config: Mapping[str, Any],
    reference_path: str | Path,
    query_path: str | Path | None,
    settings: PrepareSettings,
    enter: Callable[[AbstractContextManager[CellFile]], CellFile],
) -> tuple[Side, Side, list[str]]:
    """Reference and query with their cells chosen; a file that serves both is opened once."""
    source = SourceSettings.from_config(config["reference"])
    query_source = SourceSettings.from_config(config.get("query") or {})
    columns = [*source.obs_columns, *query_source.obs_columns]
    least = settings.min_genes_per_cell
    opened = enter(open_cells(reference_path, source.reading, obs_columns=columns))
    reference = choose_cells(opened, source, "reference")

    if query_path is None:
        split = config.get("split")
        if split is None:
            raise InputError("the data set has neither `query` nor `split`: add one of them")
        (reference,) = check_values([reference], least)
        reference = labelled_cells(reference, source, reference_path, settings.min_cells_per_label)
        is_query = split_cells(
            list(reference.labels), split.get("query_fraction", 0.5), split.get("seed", 0)
        )
        query = replace(reference.take(is_query), role="query")
        query.warnings.clear()
        return reference.take(~is_query), query, []

    same_file = Path(query_path).resolve() == Path(reference_path).resolve()
    if not (same_file and source.reading == query_source.reading):
        opened = enter(open_cells(query_path, query_source.reading, obs_columns=columns))
    query = choose_cells(opened, query_source, "query")
    reference, query = check_values([reference, query], least)
    reference = labelled_cells(reference, source, reference_path, settings.min_cells_per_label)
    query.labels[np.isin(query.labels, query_source.drop_labels)] = None
    notes = []
    shared = int(reference.cell_ids.isin(query.cell_ids).sum())
    if shared and (same_file or shared > 0.5 * len(query.cell_ids)):
        notes.append(
            f"{shared:,} cell ids are in reference and query: if they are the same cells, the "
            "evaluation says nothing about new cells"
        )
    return reference, query, notes


def _check_overlap(
    overlap: GeneOverlap,
    query_genes: Sequence[str],
    reference_genes: Sequence[str],
    settings: PrepareSettings,
    notes: list[str],
) -> None:
    if overlap.n_found == 0 or overlap.share < settings.min_gene_overlap:
        raise InputError(
            f"reference genes in the query: {overlap.describe()}; at least "
            f"{settings.min_gene_overlap:.0%} are needed (`prepare.min_gene_overlap`). "
            f"{naming_hint(reference_genes, query_genes)} For a small gene panel that is named "
            "alike, lower `min_gene_overlap`."
        )
    if overlap.share < GOOD_OVERLAP:
        notes.append(
            f"reference genes in the query: {overlap.describe()}; below {GOOD_OVERLAP:.0%} labels "
            "become less certain"
        )


def _frame(side: Side, genes: pd.DataFrame, config: Mapping[str, Any]) -> ad.AnnData:
    """All of a prepared file but its matrices.

    `obs` has the batch, the row in the source file, and the label if the side is the reference.
    """
    obs = pd.DataFrame(
        {"batch": pd.Categorical(side.batches.astype(str)), "source_row": side.rows},
        index=side.cell_ids,
    )
    if side.role == "reference":
        obs["label"] = pd.Categorical(side.labels.astype(str))
    frame = ad.AnnData(
        obs=obs,
        var=pd.DataFrame({"in_query": genes["in_query"].to_numpy()}, index=list(genes["gene"])),
        uns={
            "plkd": {
                "scale": {"kind": side.scale.kind, "description": side.scale.describe()},
                "target_sum": TARGET_SUM,
                "dataset": str(config.get("name", "")),
            }
        },
    )
    if side.spatial is not None:
        frame.obsm["spatial"] = side.spatial
    return frame


def _report(
    config: Mapping[str, Any],
    settings: PrepareSettings,
    reference: Side,
    query: Side,
    genes: pd.DataFrame,
    overlap: GeneOverlap,
    notes: list[str],
) -> dict[str, Any]:
    """All that was read, dropped, found and chosen, for people and for the HTML report."""
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
