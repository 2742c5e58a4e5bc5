"""How much of a score stays when the task is made harder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from plkd.utils.tables import Columns

ROBUSTNESS_COLUMNS: Columns = {
    "kind": str, "level": float, "method": str, "transfers": int, "accuracy": float,
    "macro_f1": float, "macro_f1_lost": float,
}  # fmt: skip
"""Columns of :func:`robustness_table`."""
_SCORES = ["accuracy", "macro_f1"]


def untouched(kind: str) -> float:
    """The level at which nothing is changed: no wrong label, or all of the genes, cells, counts."""
    return 0.0 if kind == "label_noise" else 1.0


def robustness_table(metrics: pd.DataFrame, made: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Scores of methods by what was done to the cells.

    Parameters
    ----------
    metrics
        Columns `dataset`, `seed`, `method`, `accuracy`, `macro_f1` of all runs: of the data sets as
        they are, and of those made of them.
    made
        Of every data set that was made: `dataset` (of which), `kind`, `level`
        (:func:`plkd.preparation.perturbed.perturb`).

    Returns
    -------
    DataFrame
        For every kind, level and method the means over data sets of the means over seeds, and how
        much macro F1 is lost beside the cells as they are (`macro_f1_lost`), which are the first
        level of every kind. A method that could not label a data set at some level is left out of
        it there, see `transfers`.
    """
    means = metrics.groupby(["dataset", "method"], sort=False)[_SCORES].mean().reset_index()
    whole = means[~means["dataset"].isin(list(made))]
    parts = []
    for kind in dict.fromkeys(str(one["kind"]) for one in made.values()):
        parts.append(whole.assign(kind=kind, level=untouched(kind)))
        for name, one in made.items():
            if one["kind"] == kind:
                some = means[means["dataset"] == name]
                parts.append(some.assign(dataset=one["dataset"], kind=kind, level=one["level"]))
    table = pd.concat(parts, ignore_index=True).dropna(subset=_SCORES)
    first = table["level"] == table["kind"].map(untouched)
    keys = ["kind", "dataset", "method"]
    at_first = table[first].set_index(keys)["macro_f1"].rename("whole")
    table = table.join(at_first, on=keys)
    table["macro_f1_lost"] = table["whole"] - table["macro_f1"]
    grouped = table.groupby(["kind", "level", "method"], sort=False)
    out = grouped[[*_SCORES, "macro_f1_lost"]].mean()
    out.insert(0, "transfers", grouped["dataset"].nunique())
    return out.reset_index()[list(ROBUSTNESS_COLUMNS)]
