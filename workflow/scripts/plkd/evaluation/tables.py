"""Tables of the evaluation: all methods of one run, and all runs of a benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import h5py
import pandas as pd
from anndata.io import read_elem

from plkd.errors import InputError
from plkd.evaluation.metrics import (
    abundance_table,
    annotation_metrics,
    confusion_table,
    per_label_table,
)
from plkd.prediction.table import read_predictions
from plkd.utils.tables import Columns, read_tsv

_RUN: Columns = {"dataset": str, "variant": str, "seed": int, "method": str}
RUN_COLUMNS = list(_RUN)

METRIC_COLUMNS: Columns = {**_RUN, "n_cells": int, "n_unseen": int}
"""Columns of the scores of one run that are no fractions; the others are the scores."""

SUMMARY_COLUMNS: Columns = {
    "dataset": str,
    "variant": str,
    "method": str,
    "n_seeds": int,
}
"""Columns of :func:`summarise` that are no scores."""

METHOD_COLUMNS: Columns = dict.fromkeys(
    ("id", "name", "kind", "task", "env", "device", "input", "description"), str
)
"""Columns of the registry of methods, ``config/methods.tsv``."""


def label_counts(reference: str | Path) -> dict[str, int]:
    """Cells of every label of a prepared reference, the most frequent first; reads only `obs`.

    Raises
    ------
    InputError
        If the file has no `label` column in `obs`.
    """
    with h5py.File(reference) as handle:
        if "obs/label" not in handle:
            raise InputError(
                f"'{reference}' has no obs['label']; expected a prepared reference "
                "(results/<dataset>/prepared/reference.h5ad)"
            )
        labels = pd.Series(read_elem(handle["obs/label"])).astype(str)
    return {str(label): int(n) for label, n in labels.value_counts().items()}


def read_methods(paths: Iterable[str | Path]) -> dict[str, pd.DataFrame]:
    """Read the prediction tables of several methods; a method's id is its file's name."""
    return {Path(path).stem: read_predictions(path) for path in paths}


def read_registry(path: str | Path) -> pd.DataFrame:
    """Read the registry of methods: the other `METHOD_COLUMNS`, all of them text, by `id`."""
    return read_tsv(path, METHOD_COLUMNS).set_index("id")


def evaluate(
    predictions: Mapping[str, pd.DataFrame],
    truth: pd.DataFrame,
    reference_counts: Mapping[str, int],
) -> dict[str, pd.DataFrame]:
    """Score several methods on one query.

    Parameters
    ----------
    predictions
        Prediction table of every method, by its id.
    truth
        Columns `cell_id` and `label` of the query.
    reference_counts
        Cells of every label in the reference (:func:`label_counts`).

    Returns
    -------
    dict of DataFrame
        `metrics` (one row per method), `per_label`, `abundance` and `confusion` (long tables);
        each begins with the column `method`.
    """
    tables: dict[str, list[pd.DataFrame]] = {
        "metrics": [],
        "per_label": [],
        "abundance": [],
        "confusion": [],
    }
    for method, table in predictions.items():
        per_label = per_label_table(table, truth, reference_counts)
        metrics = annotation_metrics(table, truth, reference_counts.keys())
        for name, rows in (
            ("metrics", pd.DataFrame([metrics])),
            ("per_label", per_label),
            ("abundance", abundance_table(per_label)),
            ("confusion", confusion_table(table, truth)),
        ):
            rows.insert(0, "method", method)
            tables[name].append(rows)
    evaluated = {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}
    counts = ["n_cells", "n_unseen"]
    evaluated["metrics"][counts] = evaluated["metrics"][counts].astype(int)
    return evaluated


def summarise(metrics: pd.DataFrame) -> pd.DataFrame:
    """Mean, standard deviation and number of the seeds of every data set, variant and method.

    Parameters
    ----------
    metrics
        Columns `dataset`, `variant`, `seed`, `method` and one column per score.

    Returns
    -------
    DataFrame
        `dataset`, `variant`, `method`, `n_seeds`, then `<score>_mean` and `<score>_sd` (NaN for one
        seed); within data set and variant sorted by macro F1, the best first.
    """
    group = ["dataset", "variant", "method"]
    scores = [name for name in metrics.columns if name not in RUN_COLUMNS]
    grouped = metrics.groupby(group, sort=False)
    mean, sd = grouped[scores].mean().add_suffix("_mean"), grouped[scores].std().add_suffix("_sd")
    columns = [f"{score}_{statistic}" for score in scores for statistic in ("mean", "sd")]
    summary = pd.concat([mean, sd], axis=1)[columns]
    summary.insert(0, "n_seeds", grouped["seed"].nunique())
    return summary.reset_index().sort_values(
        ["dataset", "variant", "macro_f1_mean"],
        ascending=[True, True, False],
        kind="stable",
        ignore_index=True,
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
        `variant`, `method`, `n_datasets`, `n_seeds`, then for accuracy and macro F1 the mean over
        data sets of the mean over seeds, the standard deviation over seeds of the mean over data
        sets (NaN for one seed), the least of the data sets, and on how many of them no other is
        better (`<score>_best`); the best macro F1 first. Only what was run on every data set.
    """
    scores = ["accuracy", "macro_f1"]
    runs = ["variant", "method"]
    per_dataset = metrics.groupby([*runs, "dataset"])[scores].mean()
    complete = per_dataset.groupby(runs).size() == metrics["dataset"].nunique()
    per_seed = metrics.groupby([*runs, "seed"])[scores].mean()
    best = per_dataset == per_dataset.groupby("dataset").transform("max")
    columns: dict[str, pd.Series] = {"n_datasets": per_dataset.groupby(runs).size()}
    columns["n_seeds"] = metrics.groupby(runs)["seed"].nunique()
    for score in scores:
        columns[f"{score}_mean"] = per_dataset.groupby(runs)[score].mean()
        columns[f"{score}_sd"] = per_seed.groupby(runs)[score].std()
        columns[f"{score}_least"] = per_dataset.groupby(runs)[score].min()
        columns[f"{score}_best"] = best.groupby(runs)[score].sum()
    table = pd.DataFrame(columns)[complete].reset_index()
    return table.sort_values("macro_f1_mean", ascending=False, kind="stable", ignore_index=True)
