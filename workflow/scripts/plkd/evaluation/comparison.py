"""Which method is better, and how sure that is: over transfers, and over draws of cells."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plkd.utils.tables import Columns

SCORES = ("macro_f1", "accuracy")
LEAST_CELLS = 20
"""Of a batch; the scores of fewer cells are mostly luck."""
COMPARISON_COLUMNS: Columns = {
    "over": str, "score": str, "method": str, "against": str, "pairs": int, "difference": float,
    "lower": float, "upper": float, "better": int, "worse": int, "p_value": float,
    "adjusted_p_value": float,
}  # fmt: skip
"""Columns of :func:`compare`."""
RANK_COLUMNS: Columns = {
    "score": str, "method": str, "transfers": int, "rank": float, "critical_difference": float,
    "friedman_p_value": float,
}  # fmt: skip
"""Columns of :func:`mean_ranks`."""
TRUST_COLUMNS: Columns = {
    "method": str, "transfers": int,
    **dict.fromkeys(
        ("accuracy", "mean_confidence", "calibration_error", "top95_coverage", "top95_size",
         "set_coverage", "set_size", "share_shared_unknown", "share_unseen_unknown",
         "auroc_unseen", "unseen_found"), float,
    ),
}  # fmt: skip
"""Columns of :func:`trust_table`."""
CHOICE_COLUMNS: Columns = {
    "method": str, "transfers": int, "macro_f1": float, "macro_f1_lower": float,
    "macro_f1_upper": float, "accuracy": float, "accuracy_lower": float, "accuracy_upper": float,
    "share_best": float, "share_as_good": float, "calibration_error": float, "auroc_unseen": float,
    "training_seconds": float, "prediction_seconds": float, "seconds": float, "cpu_seconds": float,
    "peak_mb": float, "peak_gpu_mb": float, "parameters": float, "reason": str,
}  # fmt: skip
"""Columns of :func:`choice_table`."""


def by_entry(
    table: pd.DataFrame, names: Collection[str], controls: Collection[str]
) -> pd.DataFrame:
    """Table of runs in which our models of several variants are methods of their own.

    Parameters
    ----------
    table
        Columns `variant`, `method` and others.
    names
        Ids of the methods, our models of several variants as ``<method>@<variant>``
        (:func:`plkd.figures.benchmark.entries`).
    controls
        Ids of methods that are left out.

    Returns
    -------
    DataFrame
        Without `variant`; other methods, which do not depend on it, stand there once.
    """
    table = table[~table["method"].isin(list(controls))]
    entry = [
        one if (one := f"{method}@{variant}") in names else method
        for method, variant in zip(table["method"], table["variant"], strict=True)
    ]
    table = table.assign(method=entry).drop(columns="variant")
    keys = ("dataset", "seed", "method", "draw", "label", "batch")
    return table.drop_duplicates([name for name in keys if name in table])


def scores_by_transfer(
    metrics: pd.DataFrame, score: str, by: Sequence[str] = ("dataset",)
) -> pd.DataFrame:
    """Mean over seeds of a score: data sets in rows, methods in columns, NaN where one failed.

    Parameters
    ----------
    metrics
        Columns `dataset`, `method` and the score: of one variant of our models.
    by
        Columns that name the rows.
    """
    return metrics.pivot_table(
        index=list(by), columns="method", values=score, aggfunc="mean", dropna=False
    )


def compare(
    metrics: pd.DataFrame, against: str, *, over: Sequence[str] = ("dataset",), seed: int = 0
) -> pd.DataFrame:
    """Compare all methods with one of them on the data sets, or batches, that both could label.

    Parameters
    ----------
    metrics
        As for :func:`scores_by_transfer`.
    against
        The method that the others are compared with.
    over
        Columns that name what is paired: ``dataset``, or ``dataset`` and ``batch``.
    seed
        Of the draws behind the intervals.

    Returns
    -------
    DataFrame
        For every score and other method: what is paired (`over`) and how often (`pairs`), the mean
        `difference` (the method minus `against`) with the 95 % interval of 2,000 draws of pairs
        (`lower`, `upper`), in how many the method is `better` and `worse`, the `p_value` of
        Wilcoxon's signed rank test and that adjusted for the number of methods (Holm). The test
        needs at least six pairs to be able to say anything at 5 %.
    """
    from scipy.stats import wilcoxon

    rows = []
    for score in SCORES:
        table = scores_by_transfer(metrics, score, over)
        p_values = []
        for method in table.columns.drop(against):
            both = table[[method, against]].dropna()
            difference = (both[method] - both[against]).to_numpy()
            differs = len(difference) and np.any(difference != 0)
            p_values.append(float(wilcoxon(difference).pvalue) if differs else np.nan)
            lower, upper = mean_interval(difference, seed=seed)
            rows.append(
                {
                    "over": over[-1], "score": score, "method": method, "against": against,
                    "pairs": len(both), "difference": _mean(difference),
                    "lower": lower, "upper": upper,
                    "better": int((difference > 0).sum()), "worse": int((difference < 0).sum()),
                    "p_value": p_values[-1],
                }
            )  # fmt: skip
        adjusted = holm(p_values)
        for row, p_value in zip(rows[len(rows) - len(p_values) :], adjusted, strict=True):
            row["adjusted_p_value"] = p_value
    return pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS))


def compare_over_both(metrics: pd.DataFrame, batches: pd.DataFrame, against: str) -> pd.DataFrame:
    """:func:`compare` over data sets and, where a query has several batches, over batches.

    Parameters
    ----------
    metrics
        As for :func:`compare`.
    batches
        Columns `dataset`, `batch`, `method`, `n_cells` and the scores
        (:func:`plkd.evaluation.tables.batch_scores` of every run). Batches of fewer than
        :data:`LEAST_CELLS` cells do not count.
    against
        The method that the others are compared with.
    """
    large = batches[batches["n_cells"] >= LEAST_CELLS]
    tables = [compare(metrics, against)]
    if large.groupby("dataset")["batch"].nunique().gt(1).any() and against in set(large["method"]):
        tables.append(compare(large, against, over=("dataset", "batch")))
    return pd.concat(tables, ignore_index=True)


def mean_interval(values: NDArray[np.floating], *, seed: int = 0) -> tuple[float, float]:
    """95 % interval of a mean by 2,000 draws with replacement; NaN for fewer than two values."""
    if len(values) < 2:
        return np.nan, np.nan
    draws = np.random.default_rng(seed).integers(len(values), size=(2000, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """Holm's step-down adjustment of p-values; NaN is no test and stays.

    >>> holm([0.01, 0.04, float("nan"), 0.03]).round(2).tolist()
    [0.03, 0.06, nan, 0.06]
    """
    values = np.asarray(p_values, dtype=float)
    tested = np.flatnonzero(~np.isnan(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    adjusted = np.full(len(values), np.nan)
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(values[order] * factors))
    return adjusted


def mean_ranks(metrics: pd.DataFrame) -> pd.DataFrame:
    """Mean rank of the methods over the data sets that all of them could label; 1 is best.

    Methods that could not label every data set are left out.

    Returns
    -------
    DataFrame
        For every score and method its mean `rank`, the best first; beside it Nemenyi's
        `critical_difference` at 5 % (mean ranks that are closer are not told apart) and the p-value
        of Friedman's test that all are alike. Both are NaN for fewer than two data sets or three
        methods.
    """
    from scipy.stats import friedmanchisquare, studentized_range

    tables = []
    for score in SCORES:
        table = scores_by_transfer(metrics, score).dropna(axis="columns")
        n_datasets, n_methods = table.shape
        ranks = table.rank(axis="columns", ascending=False).mean().sort_values(kind="stable")
        critical, p_value = np.nan, np.nan
        if n_datasets > 1 and n_methods > 2:
            q = studentized_range.ppf(0.95, n_methods, np.inf) / np.sqrt(2)
            critical = q * np.sqrt(n_methods * (n_methods + 1) / (6 * n_datasets))
            p_value = float(friedmanchisquare(*table.to_numpy().T).pvalue)
        columns = {
            "score": score,
            "method": ranks.index,
            "transfers": n_datasets,
            "rank": ranks.to_numpy(),
            "critical_difference": critical,
            "friedman_p_value": p_value,
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def choice_table(
    metrics: pd.DataFrame, resampled: pd.DataFrame, costs: pd.DataFrame
) -> pd.DataFrame:
    """What one needs to know to choose a method: how good, how sure, at what cost.

    Parameters
    ----------
    metrics, costs
        One row per data set, seed and method, of one variant of our models.
    resampled
        Columns `dataset`, `seed`, `method`, `draw`, `accuracy`, `macro_f1`
        (:func:`plkd.evaluation.resampling.resampled_scores` of every run).

    Returns
    -------
    DataFrame
        One row per method, the best macro F1 first, those that could not label every data set
        behind, with the first `reason`. Scores are means over data sets of means over seeds, their
        intervals hold 95 % of the draws of cells; `share_best` is the share of the draws in which
        no other method has a higher macro F1, `share_as_good` of those in which that of the first
        method is not higher. Times are summed over data sets (the median over seeds of each),
        memory is the largest.
    """
    n_datasets = metrics["dataset"].nunique()
    scores = ["macro_f1", "accuracy", "calibration_error", "auroc_unseen"]
    per_dataset = metrics.groupby(["method", "dataset"])[scores].mean()
    found = per_dataset["macro_f1"].dropna().groupby("method").size()
    table = per_dataset.groupby("method").mean().assign(transfers=found)
    table["transfers"] = table["transfers"].fillna(0).astype(int)
    draws = resampled.groupby(["method", "draw", "dataset"])[list(SCORES)].mean()
    draws = draws.groupby(["method", "draw"]).mean()
    complete = table.index[table["transfers"] == n_datasets]
    for score in SCORES:
        drawn = draws.pivot_table(index="draw", columns="method", values=score)
        table[f"{score}_lower"] = drawn.quantile(0.025)
        table[f"{score}_upper"] = drawn.quantile(0.975)
    best = draws.pivot_table(index="draw", columns="method", values="macro_f1")
    best = best.reindex(columns=complete)
    winner = best.eq(best.max(axis=1), axis="index")
    table["share_best"] = winner.div(winner.sum(axis=1), axis="index").mean()
    first = best[[table.loc[complete, "macro_f1"].idxmax()] if len(complete) else []]
    table["share_as_good"] = best.ge(first.mean(axis=1), axis="index").mean()
    times = ["training_seconds", "prediction_seconds", "seconds", "cpu_seconds"]
    spent = costs.groupby(["method", "dataset"])[times].median()
    table = table.join(spent.groupby("method").sum(min_count=1))
    table = table.join(costs.groupby("method")[["peak_mb", "peak_gpu_mb", "parameters"]].max())
    reasons = costs[costs["reason"] != ""].groupby("method")["reason"].first()
    table["reason"] = reasons.reindex(table.index).fillna("")
    table["whole"] = table["transfers"] == n_datasets
    table = table.sort_values(["whole", "macro_f1"], ascending=False, kind="stable")
    return table.rename_axis("method").reset_index()[list(CHOICE_COLUMNS)]


def trust_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """How far the probabilities of methods are to be believed, and what they make of unseen cells.

    Parameters
    ----------
    metrics
        One row per data set, seed and method, of one variant of our models: columns of
        :data:`plkd.evaluation.tables.METRIC_COLUMNS`.

    Returns
    -------
    DataFrame
        One row per method that has scores, the least calibration error first: means over data sets
        of means over seeds. What concerns unseen cells is of the data sets that have some.
    """
    scores = list(TRUST_COLUMNS)[2:]
    per_dataset = metrics.groupby(["method", "dataset"])[scores].mean()
    per_dataset = per_dataset[per_dataset["accuracy"].notna()]
    table = per_dataset.groupby("method").mean()
    table.insert(0, "transfers", per_dataset.groupby("method").size())
    return table.sort_values("calibration_error", kind="stable").reset_index()


def _mean(values: NDArray[np.floating]) -> float:
    return float(values.mean()) if len(values) else np.nan
