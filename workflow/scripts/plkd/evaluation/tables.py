"""Tables of the evaluation: all methods of one run, and all runs of a benchmark."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import pandas as pd

from plkd.evaluation.metrics import (
    abundance_table,
    annotation_metrics,
    confidence_table,
    confusion_table,
    per_label_table,
)
from plkd.prediction.table import read_predictions
from plkd.utils.files import intact
from plkd.utils.tables import Columns
from plkd.utils.text import listed

SHARE_PAIRED = 0.9
"""Share of the cells of the smaller side from which on two sides are the same, by their names."""

RUN_COLUMNS: Columns = {
    "dataset": str, "variant": str, "seed": int, "method": str,
}  # fmt: skip
# The tables of one run, and the types of their columns.
METRIC_COLUMNS: Columns = {
    **RUN_COLUMNS,
    "n_cells": int,
    "accuracy": float,
    "balanced_accuracy": float,
    "macro_f1": float,
    "weighted_f1": float,
    "adjusted_rand_index": float,
    "calibration_error": float,
    "mean_confidence": float,
    "set_coverage": float,
    "set_size": float,
    "top95_coverage": float,
    "top95_size": float,
    "accuracy_when_known": float,
    "share_shared_unknown": float,
    "share_unknown": float,
    "n_unseen": int,
    "share_unseen_unknown": float,
    "auroc_unseen": float,
    "unseen_found": float,
}
PER_LABEL_COLUMNS: Columns = {
    "method": str, "label": str, "n": int, "n_reference": int, "precision": float,
    "recall": float, "f1": float, "abundance": str,
}  # fmt: skip
CONFUSION_COLUMNS: Columns = {
    "method": str, "true": str, "predicted": str, "n": int, "n_unknown": int,
}  # fmt: skip
CONFIDENCE_COLUMNS: Columns = {
    "method": str, "lower": float, "upper": float, "right": int, "wrong": int, "unseen": int,
    "confidence": float,
}  # fmt: skip

BATCH_COLUMNS: Columns = {
    "method": str, "batch": str, "n_cells": int, "accuracy": float, "macro_f1": float,
}  # fmt: skip
"""Columns of :func:`batch_scores`."""

ABUNDANCE_COLUMNS: Columns = {
    "method": str, "abundance": str, "n_labels": int, "f1": float, "recall": float,
    "precision": float,
}  # fmt: skip

# What a person compares methods by; all other scores are in the table of all runs.
_READ_FIRST = ("accuracy", "macro_f1")
_READ_NEXT = ("balanced_accuracy", "calibration_error", "share_unknown", "auroc_unseen")

SUMMARY_COLUMNS: Columns = {
    "dataset": str, "variant": str, "method": str, "cells": int, "seeds": int,
    "accuracy": float, "accuracy_sd": float, "macro_f1": float, "macro_f1_sd": float,
    **dict.fromkeys(_READ_NEXT, float),
}  # fmt: skip
"""Columns of :func:`summarise`."""
OVERALL_COLUMNS: Columns = {
    "variant": str, "method": str, "datasets": int, "seeds": int,
    "accuracy": float, "accuracy_sd": float, "accuracy_least": float, "accuracy_best": int,
    "macro_f1": float, "macro_f1_sd": float, "macro_f1_least": float, "macro_f1_best": int,
}  # fmt: skip
"""Columns of :func:`overall`."""


def label_counts(reference: str | Path) -> dict[str, int]:
    """Cells of every label of a prepared reference, the most frequent first; reads only `obs`.

    Raises
    ------
    InputError
        If it is no prepared reference.
    """
    from plkd.preparation.prepared import PreparedCells  # anndata: the other tables need none

    labels = pd.Series(PreparedCells.read(reference).labels)
    return {str(label): int(n) for label, n in labels.value_counts().items()}


def read_methods(paths: Iterable[str | Path]) -> dict[str, pd.DataFrame]:
    """Read the prediction tables of several methods; a method's id is its file's name."""
    rules = {"student": "predict", "teacher": "predict", "true_labels": "true_labels"}
    names = {Path(path).stem: path for path in paths}
    return {
        name: read_predictions(path, made_by=rules.get(name, "method"))
        for name, path in names.items()
    }


def read_truth(path: str | Path) -> pd.DataFrame:
    """Read the labels of a query (``prepared/truth.parquet``): `cell_id`, `label`.

    Raises
    ------
    InputError
        If the file is absent, damaged, or not as rule prepare writes it.
    """
    with intact(path, "prepare"):
        table = pd.read_parquet(path)
        lacking = {"cell_id", "label"} - set(table)
        if lacking:
            raise ValueError(f"there is no column {listed(sorted(lacking))}")
        if not table["cell_id"].is_unique:
            raise ValueError("a cell stands there twice")
    return table


def evaluate(
    predictions: Mapping[str, pd.DataFrame],
    truth: pd.DataFrame,
    reference_counts: Mapping[str, int],
) -> dict[str, pd.DataFrame]:
    """Score several methods on one query.

    Parameters
    ----------
    predictions
        Prediction table of every method, by its id; one without cells is of a method that could not
        run.
    truth
        Columns `cell_id` and `label` of the query.
    reference_counts
        Cells of every label in the reference (:func:`label_counts`).

    Returns
    -------
    dict of DataFrame
        `metrics` (one row per method, without scores where it could not run), `per_label`,
        `abundance`, `confusion` and `confidence` (long tables); each begins with the column
        `method`.
    """
    tables: dict[str, list[pd.DataFrame]] = {
        name: [] for name in ("metrics", "per_label", "abundance", "confusion", "confidence")
    }
    for method, table in predictions.items():
        if table.empty and len(truth):
            tables["metrics"].append(
                pd.DataFrame({"method": [method], "n_cells": 0, "n_unseen": 0})
            )
            continue
        per_label = per_label_table(table, truth, reference_counts)
        metrics = annotation_metrics(table, truth, reference_counts.keys())
        for name, rows in (
            ("metrics", pd.DataFrame([metrics])),
            ("per_label", per_label),
            ("abundance", abundance_table(per_label)),
            ("confusion", confusion_table(table, truth)),
            ("confidence", confidence_table(table, truth, reference_counts.keys())),
        ):
            rows.insert(0, "method", method)
            tables[name].append(rows)
    evaluated = {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}
    counts = ["n_cells", "n_unseen"]
    evaluated["metrics"][counts] = evaluated["metrics"][counts].astype(int)
    return evaluated


def batch_scores(
    predictions: Mapping[str, pd.DataFrame],
    truth: pd.DataFrame,
    reference_labels: Collection[str],
) -> pd.DataFrame:
    """Score several methods on every batch of a query.

    Parameters
    ----------
    predictions
        As for :func:`evaluate`.
    truth
        Columns `cell_id`, `label` and `batch` of the query.
    reference_labels
        Labels that the reference has.

    Returns
    -------
    DataFrame
        `method`, `batch`, `n_cells` (shared cells), `accuracy`, `macro_f1`: a row for every method
        with predictions and batch with shared cells.
    """
    shared = truth[truth["label"].isin(set(reference_labels))]
    kept = ("n_cells", "accuracy", "macro_f1")
    rows = []
    for method, table in predictions.items():
        found = table[table["cell_id"].isin(shared["cell_id"])].set_index("cell_id")
        for batch, cells in shared.groupby("batch", observed=True):
            if found.empty:
                continue
            some = found.loc[cells["cell_id"]].reset_index()
            scores = annotation_metrics(some, cells, reference_labels)
            rows.append({"method": method, "batch": batch, **{k: scores[k] for k in kept}})
    table = pd.DataFrame(rows, columns=list(BATCH_COLUMNS))
    return table.astype({"n_cells": int})


def summarise(metrics: pd.DataFrame, controls: Collection[str] = ()) -> pd.DataFrame:
    """Mean over the seeds of the scores that methods are compared by.

    Parameters
    ----------
    metrics
        Columns of :data:`METRIC_COLUMNS`.
    controls
        Methods that are no rivals: they come last.

    Returns
    -------
    DataFrame
        `dataset`, `variant`, `method`, `cells` (of the query, with a label that the reference has),
        `seeds`, `accuracy` and `macro_f1` with their standard deviations over seeds
        (``<score>_sd``, NaN for one seed), `balanced_accuracy`, `calibration_error`,
        `share_unknown`, `auroc_unseen`; within data set and variant the best macro F1 first.
    """
    grouped = metrics.groupby(["dataset", "variant", "method"], sort=False)
    columns = {"cells": grouped["n_cells"].max(), "seeds": grouped["seed"].nunique()}
    for score in _READ_FIRST:
        columns |= {score: grouped[score].mean(), f"{score}_sd": grouped[score].std()}
    columns |= {score: grouped[score].mean() for score in _READ_NEXT}
    summary = pd.DataFrame(columns).reset_index()
    return (
        summary.assign(control=summary["method"].isin(set(controls)))
        .sort_values(
            ["dataset", "variant", "control", "macro_f1"],
            ascending=[True, True, True, False],
            kind="stable",
            ignore_index=True,
        )
        .drop(columns="control")
    )


def overall(metrics: pd.DataFrame) -> pd.DataFrame:
    """What every variant and method is worth over all data sets, each data set counting the same.

    Parameters
    ----------
    metrics
        As of :func:`summarise`.

    Returns
    -------
    DataFrame
        `variant`, `method`, `datasets`, `seeds`, then for `accuracy` and `macro_f1` the mean over
        data sets of the mean over seeds, the standard deviation over seeds of the mean over data
        sets (``<score>_sd``, NaN for one seed), the least of the data sets (``<score>_least``), and
        on how many of them no other is better (``<score>_best``); the best macro F1 first. Only
        what was run on every data set.
    """
    scores = list(_READ_FIRST)
    runs = ["variant", "method"]
    n_datasets = metrics["dataset"].nunique()
    metrics = metrics.dropna(subset=scores)
    per_dataset = metrics.groupby([*runs, "dataset"])[scores].mean()
    complete = per_dataset.groupby(runs).size() == n_datasets
    per_seed = metrics.groupby([*runs, "seed"])[scores].mean()
    best = per_dataset == per_dataset.groupby("dataset").transform("max")
    columns: dict[str, pd.Series] = {"datasets": per_dataset.groupby(runs).size()}
    columns["seeds"] = metrics.groupby(runs)["seed"].nunique()
    for score in scores:
        columns[score] = per_dataset.groupby(runs)[score].mean()
        columns[f"{score}_sd"] = per_seed.groupby(runs)[score].std()
        columns[f"{score}_least"] = per_dataset.groupby(runs)[score].min()
        columns[f"{score}_best"] = best.groupby(runs)[score].sum()
    table = pd.DataFrame(columns)[complete].reset_index()
    return table.sort_values("macro_f1", ascending=False, kind="stable", ignore_index=True)
