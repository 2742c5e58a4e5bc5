"""What the page of a query shows, gathered from its cells, its labels and the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from plkd.interpret.cell_choice import ChosenCells
from plkd.interpret.explain import Explanation, explain_cells
from plkd.interpret.sampling import sample_per_label
from plkd.model.forecast import lost_labels
from plkd.model.trained_model import Model
from plkd.model.trained_network import TrainedNetwork
from plkd.pages.palette import colours
from plkd.pages.remarks import DOUBTFUL
from plkd.prediction.summary import label_table
from plkd.prediction.table import label_probabilities
from plkd.utils.devices import one_thread_each
from plkd.utils.progress import ProgressBar

EXPLAINED_CELLS = 30
"""Cells of a label whose genes and pathways are looked at."""
KEY_GENES, KEY_PATHWAYS = 10, 6
"""Of every label."""
MOST_GENES = 100
"""That the map can be coloured by; a hundred take 3 MB for 100,000 cells."""
ALTERNATIVES = 3
"""Labels of a cell beside its own."""
LEVELS = 63
"""Steps of a gene's expression on the map, from its least to its highest."""
UNPLACED = 65535
"""Place of a cell that is not on the map."""


class CellsOfModel(Protocol):
    """Cells in the genes and on the scale of a model, a few at a time."""

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Which genes of the model they have, (genes,)."""

    @property
    def batches(self) -> NDArray[np.str_]:
        """Names of their batches, (cells,)."""

    def chunks(self) -> Iterator[tuple[NDArray[np.intp], sparse.csr_matrix]]:
        """Yield (rows, log-normalised cells)."""

    def take(self, rows: NDArray[np.intp], /) -> sparse.csr_matrix:
        """Some cells by their ascending rows."""


@dataclass(frozen=True)
class LabelledQuery:
    """A query with its labels.

    Attributes
    ----------
    name
        What it is called.
    cells
        Its cells as the model takes them.
    network
        The Student as it labels them.
    rows
        Ascending rows of the labelled cells there, (labelled cells,).
    table
        Their prediction table.
    places
        Where they are on the map, float32 (labelled cells, 2); NaN for those that are not.
    gene_overlap
        Share of the model's genes that the query has.
    batches, truth
        Batch, and true label ("" where it is not known), of every labelled cell, or None.
    left_out
        Why cells got no label -> how many.
    """

    name: str
    cells: CellsOfModel
    network: TrainedNetwork
    rows: NDArray[np.intp]
    table: pd.DataFrame
    places: NDArray[np.float32]
    gene_overlap: float
    batches: NDArray[Any] | None = None
    truth: NDArray[Any] | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PageContent:
    """What stands on the page of a query.

    Attributes
    ----------
    facts
        Everything but the single cells, ready for JSON.
    columns
        One array per column of the cells, first axis the cells, in few bytes: `x` and `y`,
        `label`, `confidence`, `score`, .. and `gene:<name>`.
    cell_ids
        Names of the cells.
    """

    facts: dict[str, Any]
    columns: dict[str, NDArray[Any]]
    cell_ids: list[str]


@one_thread_each()
def page_content(
    query: LabelledQuery, model: Model, *, seed: int = 0, progress: bool = True
) -> PageContent:
    """Gather what the page of a query shows.

    Parameters
    ----------
    query
        The cells with their labels.
    model
        Which gave the labels.
    seed
        Seed of the choice of the cells that are explained.
    progress
        Show a progress bar.
    """
    table = query.table
    labels = model.labels
    codes = pd.Index(labels).get_indexer(pd.Index(table["label"]))
    reasons = _explanations(query, model, seed, progress)
    genes = _genes_to_show(reasons, table, query.network.new_genes)
    detected, expression = _read_cells(query, pd.Index(model.genes).get_indexer(pd.Index(genes)))
    highest = expression.max(axis=0, initial=0)
    expected = _expected_depth(model, codes, query.cells.measured)
    facts = {
        "name": query.name,
        "n_cells": len(table),
        "colours": colours(40),
        "left_out": dict(query.left_out),
        "model": _about_model(model),
        "gene_overlap": query.gene_overlap,
        "new_genes": query.network.new_genes,
        "overall": _about_cells(table, detected, expected, slice(None)),
        "labels": _about_labels(query, model, codes, reasons),
        "batches": _about_batches(query, detected, expected, codes, labels),
        "genes": [
            {"name": name, "highest": float(top)} for name, top in zip(genes, highest, strict=True)
        ],
        "forecast": model.cross_fitting,
        "truth": _about_truth(query, model),
        "reasons": sorted(set(table["reason"])),
    }
    return PageContent(
        facts, _columns(query, model, codes, facts) | _quantised(genes, expression, highest),
        table["cell_id"].astype(str).tolist(),
    )  # fmt: skip


def _explanations(
    query: LabelledQuery, model: Model, seed: int, progress: bool
) -> dict[str, Explanation]:
    """Why labels were given, by label: of cells that are not flagged unknown."""
    if model.background is None:
        return {}
    known = np.flatnonzero(~query.table["unknown"].to_numpy(dtype=bool))
    names = query.table["label"].to_numpy(dtype=object)[known]
    chosen = known[sample_per_label(names, EXPLAINED_CELLS, seed)]
    cells = query.cells.take(query.rows[chosen])
    entering = query.network.entering(cells, query.cells.batches[query.rows[chosen]])
    probabilities = label_probabilities(query.table.iloc[chosen])
    chosen_names = query.table["label"].to_numpy(dtype=object)[chosen]
    sizes = pd.Series(names).value_counts()
    found = {}
    for label in ProgressBar(sizes.index, desc="explaining", unit="label", disable=not progress):
        members = np.flatnonzero(chosen_names == label)
        ids = query.table["cell_id"].to_numpy(dtype=str)[chosen[members]]
        found[str(label)] = explain_cells(
            model,
            ChosenCells(
                ids,
                cells[members],
                entering[members],
                probabilities[members],
                int(sizes[label]),
                str(label),
            ),
        )
    return found


def _key_genes(found: Explanation) -> pd.DataFrame:
    """The genes that speak most for a label against the runner-up, of those that its cells have."""
    genes = found.genes
    return genes[(genes["against_runner_up"] > 0) & (genes["expression"] > 0)].head(KEY_GENES)


def _genes_to_show(
    reasons: Mapping[str, Explanation], table: pd.DataFrame, new_genes: list[str]
) -> list[str]:
    """Those that are new, and key genes of all labels: the first of each before any second."""
    ordered = table["label"].value_counts().index
    lists = [_key_genes(reasons[name])["gene"].tolist() for name in ordered if name in reasons]
    ranks = range(max(map(len, lists), default=0))
    turns = (names[rank] for rank in ranks for names in lists if rank < len(names))
    return list(dict.fromkeys([*new_genes, *turns]))[:MOST_GENES]


def _read_cells(
    query: LabelledQuery, columns: NDArray[np.intp]
) -> tuple[NDArray[np.int32], NDArray[np.float16]]:
    """Number of measured genes above zero in every cell, and expression (cells, columns)."""
    detected = np.zeros(len(query.rows), dtype=np.int32)
    expression = np.zeros((len(query.rows), len(columns)), dtype=np.float16)
    for rows, chunk in query.cells.chunks():
        labelled = np.isin(rows, query.rows)
        places = np.searchsorted(query.rows, rows[labelled])
        cells = chunk[labelled]
        detected[places] = cells[:, query.cells.measured].getnnz(axis=1)
        expression[places] = cells[:, columns].toarray()
    return detected, expression


def _expected_depth(
    model: Model, codes: NDArray[np.intp], measured: NDArray[np.bool_]
) -> NDArray[np.floating] | None:
    """Measured genes above zero in reference cells of every cell's label; None without cells."""
    background = model.background
    if background is None or model.settings.background_cells == 0:
        return None
    seen = background.cells[:, measured].getnnz(axis=1)
    mean = [seen[background.codes == code].mean() for code in range(len(model.labels))]
    return np.maximum(mean, 1.0)[codes]


def _about_model(model: Model) -> dict[str, Any]:
    student = model.require("student")
    known = {name: str(value) for name, value in model.provenance.items() if isinstance(value, str)}
    return {
        "n_labels": len(model.labels),
        "n_genes": len(model.genes),
        "n_cells": sum(model.cells_per_label.values()),
        "alpha": student.calibration.alpha,
        "unknown_above": student.unknown_above,
        "seed": model.seed,
        "provenance": known,
    }


def _about_cells(
    table: pd.DataFrame,
    detected: NDArray[np.int32],
    expected: NDArray[np.floating] | None,
    some: NDArray[np.bool_] | slice,
) -> dict[str, Any]:
    """What is said of all cells, or of a batch."""
    cells, seen = table[some], detected[some]
    return {
        "cells": len(cells),
        "unknown": int(cells["unknown"].sum()),
        "reasons": {str(k): int(n) for k, n in cells["reason"].value_counts().items() if k},
        "expected_precision": float(cells["confidence"].mean()),
        # a cell of the reference is odder than half of the reference's held-out cells
        "oddness": float(cells["unknown_score"].mean()),
        "detected": float(np.median(seen)),
        "depth": None if expected is None else float(np.median(seen / expected[some])),
    }


def _about_labels(
    query: LabelledQuery,
    model: Model,
    codes: NDArray[np.intp],
    reasons: Mapping[str, Explanation],
) -> list[dict[str, Any]]:
    """One entry per label of the model, in its order."""
    said = {str(row["label"]): row for row in label_table(query.table).to_dict("records")}
    held_out = {one["label"]: one for one in model.cross_fitting.get("labels", [])}
    lost = {one["label"] for one in lost_labels(model.cross_fitting)}
    in_reference = model.cells_per_label
    total = max(sum(in_reference.values()), 1)
    entries = []
    for place, (label, colour) in enumerate(
        zip(model.labels, colours(len(model.labels)), strict=True)
    ):
        entry: dict[str, Any] = {
            "name": label,
            "place": place,
            "colour": colour,
            "cells": 0,
            "share": 0.0,
            "unknown": 0,
            "reference_cells": in_reference[label],
            "reference_share": in_reference[label] / total,
        }
        entry |= {k: held_out.get(label, {}).get(k) for k in ("recall", "precision", "taken_for")}
        entry["lost"] = label in lost
        entry["doubtful"] = False
        if label in said:
            row = said[label]
            entry |= {name: row[name] for name in ("cells", "share", "unknown")}
            entry["expected_precision"] = float(row["expected_precision"])
            entry["doubtful"] = round(entry["expected_precision"], 2) < DOUBTFUL
            entry["next_label"] = None
            if pd.notna(row["next_label"]):
                entry["next_label"] = str(row["next_label"])
                entry["next_probability"] = float(row["next_probability"])
        if label in reasons:
            entry |= _why(reasons[label])
        entries.append(entry)
    return entries


def _why(found: Explanation) -> dict[str, Any]:
    """Key genes and pathways of a label, ready for JSON."""
    why: dict[str, Any] = {
        "n_explained": found.n_explained,
        "runner_up": found.runner_up,
        "genes": [
            {
                "name": row["gene"],
                "adds": float(row["against_runner_up"]),
                "here": float(row["expression"]),
                "runner_up": float(row["typical_of_runner_up"]),
            }
            for row in _key_genes(found).to_dict("records")
        ],
        "pathways": [],
        "outside": found.outside[1],
    }
    if found.pathways is not None:
        leading = found.pathways[
            found.pathways["is_pathway"] & (found.pathways["contribution"] > 0)
        ]
        why["pathways"] = [
            {"name": row["pathway"], "adds": float(row["contribution"])}
            for row in leading.head(KEY_PATHWAYS).to_dict("records")
        ]
    return why


def _about_batches(
    query: LabelledQuery,
    detected: NDArray[np.int32],
    expected: NDArray[np.floating] | None,
    codes: NDArray[np.intp],
    labels: list[str],
) -> list[dict[str, Any]]:
    """One entry per batch with what its cells are; none where there is a single one."""
    if query.batches is None:
        return []
    names = pd.unique(query.batches)
    if len(names) < 2:
        return []
    entries = []
    for name in sorted(names, key=str):
        inside = query.batches == name
        entries.append(
            {
                "name": str(name),
                **_about_cells(query.table, detected, expected, inside),
                "composition": np.bincount(codes[inside], minlength=len(labels)).tolist(),
            }
        )
    return entries


def _about_truth(query: LabelledQuery, model: Model) -> dict[str, Any] | None:
    """How many labels are right, where true labels are known."""
    if query.truth is None or not np.any(query.truth != ""):
        return None
    shared = np.isin(query.truth, model.labels)
    unseen = (query.truth != "") & ~shared
    right = query.table["label"].to_numpy(dtype=object)[shared] == query.truth[shared]
    return {
        "cells": int(shared.sum()),
        "accuracy": float(right.mean()) if shared.any() else None,
        "expected": float(query.table["confidence"].to_numpy()[shared].mean())
        if shared.any()
        else None,
        "unseen": int(unseen.sum()),
        "unseen_unknown": int(query.table["unknown"].to_numpy(dtype=bool)[unseen].sum()),
    }


def _columns(
    query: LabelledQuery, model: Model, codes: NDArray[np.intp], facts: dict[str, Any]
) -> dict[str, NDArray[Any]]:
    """Columns of the cells but for genes; names of batches and true labels go to the facts."""
    table = query.table
    probabilities = label_probabilities(table)
    probabilities[np.arange(len(table)), codes] = -1.0
    n_others = min(ALTERNATIVES, len(model.labels) - 1)
    others = np.argsort(-probabilities, axis=1, kind="stable")[:, :n_others]
    columns: dict[str, NDArray[Any]] = {
        **dict(zip("xy", _quantised_places(query.places), strict=True)),
        "label": codes.astype(np.uint16),
        "confidence": _in_16_bits(table["confidence"]),
        "score": _in_16_bits(table["unknown_score"]),
        "unknown": table["unknown"].to_numpy(dtype=np.uint8),
        "reason": pd.Index(facts["reasons"])
        .get_indexer(pd.Index(table["reason"]))
        .astype(np.uint8),
    }
    for rank in range(n_others):
        columns[f"other{rank}"] = others[:, rank].astype(np.uint16)
        columns[f"probability{rank}"] = _in_16_bits(
            np.take_along_axis(probabilities, others[:, rank : rank + 1], axis=1)[:, 0]
        )
    for name, values in (("batch", query.batches), ("truth", query.truth)):
        if values is not None and not (name == "truth" and facts["truth"] is None):
            places, names = pd.factorize(np.asarray(values, dtype=object), sort=True)
            columns[name] = places.astype(np.uint16)
            facts[f"{name}_names"] = [str(one) for one in names]
    return columns


def _in_16_bits(shares: Any) -> NDArray[np.uint16]:
    """Shares from 0 to 1 in steps of 1/65535."""
    return np.round(np.asarray(shares, dtype=np.float64) * 65535).astype(np.uint16)


def _quantised_places(places: NDArray[np.float32]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Both coordinates in 65,535 steps of the longer side, so that no distance is distorted."""
    placed = np.isfinite(places).all(axis=1)
    whole = np.full(places.shape, UNPLACED, dtype=np.uint16)
    if placed.any():
        least = places[placed].min(axis=0)
        side = max(float((places[placed].max(axis=0) - least).max()), 1e-9)
        whole[placed] = np.round((places[placed] - least) / side * (UNPLACED - 1))
    return whole[:, 0], whole[:, 1]


def _quantised(
    genes: list[str], expression: NDArray[np.float16], highest: NDArray[np.float16]
) -> dict[str, NDArray[np.uint8]]:
    """Expression of every gene in :data:`LEVELS` steps; what is above zero stays so."""
    columns = {}
    for column, (gene, top) in enumerate(zip(genes, highest, strict=True)):
        values = expression[:, column].astype(np.float32)
        steps = np.ceil(values / max(float(top), 1e-6) * LEVELS)
        columns[f"gene:{gene}"] = np.clip(steps, 0, LEVELS).astype(np.uint8)
    return columns
