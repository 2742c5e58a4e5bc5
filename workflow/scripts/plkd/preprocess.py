"""The stage `prepare`: reference and query on one scale, over the same genes, the truth apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import sparse

from plkd.cleaning import Side, SourceSettings, clean_side, labelled_cells
from plkd.errors import InputError
from plkd.expected import compare_counts, require_expected
from plkd.files import whole_file, write_json
from plkd.genes import GOOD_OVERLAP, GeneOverlap, match_genes, naming_hint, take_genes
from plkd.io import read_cells, read_obs
from plkd.logs import logger
from plkd.scale import TARGET_SUM, to_log_normalised
from plkd.selection import select_genes, split_cells


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
    reference, query, notes = _read_sides(config, reference_path, query_path, settings)
    notes = [*reference.warnings, *query.warnings, *notes]

    reference_X = to_log_normalised(reference.X, reference.scale)
    query_X = to_log_normalised(query.X, query.scale)
    places, overlap = match_genes(query.genes, reference.genes)
    _check_overlap(overlap, query.genes, reference.genes, settings, notes)

    in_query = np.zeros(len(reference.genes), dtype=bool)
    in_query[places[places >= 0]] = True
    often_enough = reference_X.getnnz(axis=0) >= settings.min_cells_per_gene
    candidates = often_enough & (in_query | (settings.gene_universe == "reference"))
    if not candidates.any():
        raise InputError(
            f"no gene is in at least {settings.min_cells_per_gene} reference cells "
            "(`min_cells_per_gene`) and measured in the query; nothing can be selected"
        )
    genes = select_genes(reference_X, list(reference.batches), settings.n_genes, candidates)
    genes.insert(0, "gene", reference.genes)
    genes.insert(1, "in_query", in_query)
    selected = genes["selected"].to_numpy()

    genes_selected = np.cumsum(selected) - 1
    own_places = np.where(selected, genes_selected, -1)
    query_places = np.where((places >= 0) & selected[places], genes_selected[places], -1)
    tables = {
        "reference": _prepared(reference, reference_X, own_places, genes[selected], config),
        "query": _prepared(query, query_X, query_places, genes[selected], config),
    }
    tables["reference"].obs["label"] = pd.Categorical(reference.labels.astype(str))
    report = _report(config, settings, reference, query, genes, overlap, notes)
    comparison = compare_counts(config.get("expected") or {}, report)
    notes += require_expected(comparison)
    report["expected"] = comparison.to_dict("records")
    for note in notes:
        logger.warning("%s", note)
    _write(outputs, tables, query, genes, report)
    return report


def query_reading(config: Mapping[str, Any]) -> dict[str, Any]:
    """How to read the file that the query comes from, for :func:`plkd.io.read_cells`."""
    return SourceSettings.from_config(config.get("query") or config["reference"]).reading


def source_rows(prepared: str | Path) -> NDArray[np.intp]:
    """Rows of the source file that the cells of a prepared file come from, (n_cells,)."""
    return read_obs(prepared)["source_row"].to_numpy(dtype=np.intp)


def _read_sides(
    config: Mapping[str, Any],
    reference_path: str | Path,
    query_path: str | Path | None,
    settings: PrepareSettings,
) -> tuple[Side, Side, list[str]]:
    """Reference and query with their cells chosen; a file that serves both is read once."""
    source = SourceSettings.from_config(config["reference"])
    query_source = SourceSettings.from_config(config.get("query") or {})
    columns = [*source.obs_columns, *query_source.obs_columns]
    least = settings.min_genes_per_cell
    adata = read_cells(reference_path, **source.reading, obs_columns=columns)
    reference = clean_side(adata, reference_path, source, "reference", least)
    reference = labelled_cells(reference, source, reference_path, settings.min_cells_per_label)

    if query_path is None:
        split = config.get("split")
        if split is None:
            raise InputError("the data set has neither `query` nor `split`: add one of them")
        is_query = split_cells(
            list(reference.labels), split.get("query_fraction", 0.5), split.get("seed", 0)
        )
        query = reference.take(is_query)
        query.warnings.clear()
        return reference.take(~is_query), query, []

    same_file = Path(query_path).resolve() == Path(reference_path).resolve()
    if not (same_file and source.reading == query_source.reading):
        adata = read_cells(query_path, **query_source.reading, obs_columns=columns)
    query = clean_side(adata, query_path, query_source, "query", least)
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


def _prepared(
    side: Side,
    X: sparse.csr_matrix,
    places: NDArray[np.intp],
    genes: pd.DataFrame,
    config: Mapping[str, Any],
) -> ad.AnnData:
    """One side over the selected genes; `obs` has the batch and the row in the source file."""
    adata = ad.AnnData(
        take_genes(X, places, len(genes)),
        obs=pd.DataFrame(
            {"batch": pd.Categorical(side.batches.astype(str)), "source_row": side.rows},
            index=side.cell_ids,
        ),
        var=pd.DataFrame({"in_query": genes["in_query"].to_numpy()}, index=list(genes["gene"])),
    )
    counts = side.counts()
    if counts is not None:
        adata.layers["counts"] = take_genes(counts, places, len(genes))
    if side.spatial is not None:
        adata.obsm["spatial"] = side.spatial
    adata.uns["plkd"] = {
        "scale": {"kind": side.scale.kind, "description": side.scale.describe()},
        "target_sum": TARGET_SUM,
        "dataset": str(config.get("name", "")),
    }
    return adata


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
        "description": config.get("description"),
        "organism": config.get("organism"),
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
        "cells": side.X.shape[0],
        "cells_without_label": side.X.shape[0] - sum(labels.values()),
        "labels": dict(sorted(labels.items())),
        "batches": dict(sorted(Counter(side.batches).items())),
    }


def _truth(query: Side) -> pa.Table:
    """The query's labels; typed, because pandas would lose the type where none is known."""
    text = pa.schema([(name, pa.string()) for name in ("cell_id", "label", "batch")])
    columns = {"cell_id": query.cell_ids, "label": query.labels, "batch": query.batches}
    return pa.Table.from_pandas(pd.DataFrame(columns), schema=text, preserve_index=False)


def _write(
    outputs: PreparedPaths,
    tables: Mapping[str, ad.AnnData],
    query: Side,
    genes: pd.DataFrame,
    report: Mapping[str, Any],
) -> None:
    with whole_file(outputs.reference) as temporary:
        tables["reference"].write_h5ad(temporary, compression="gzip")
    with whole_file(outputs.query) as temporary:
        tables["query"].write_h5ad(temporary, compression="gzip")
    with whole_file(outputs.truth) as temporary:
        pq.write_table(_truth(query), temporary)
    with whole_file(outputs.genes) as temporary:
        genes.to_csv(temporary, sep="\t", index=False, float_format="%.6g")
    write_json(outputs.report, report)
