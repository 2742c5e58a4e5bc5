"""Which of the draws that make a label rare (Figure 7) the cells of a data set allow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from plkd.settings.datasets import LEAST_MINOR, Imbalance
from plkd.utils.tables import Columns
from plkd.utils.text import visible

DRAW_COLUMNS: Columns = {
    "name": str, "dataset": str, "major": str, "minor": str, "ratio": int, "draw": int,
    "minor_in_reference": int, "minor_in_query": int, "reason": str,
}  # fmt: skip
"""Columns of :func:`draws_table`."""


def draws_table(
    draws: Mapping[str, Mapping[str, Any]], reports: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """Say of every draw how many cells of the rare label it has, or why it cannot be made.

    Parameters
    ----------
    draws
        By name: `dataset`, `major`, `minor`, `ratio`, `draw`.
    reports
        What the preparation of every data set that is drawn from counted
        (``prepared/report.json``), by its name.

    Returns
    -------
    DataFrame
        Columns of :data:`DRAW_COLUMNS`; `reason` is empty where both sides have enough. Of a data
        set that is split, both sides are drawn from together.

    Examples
    --------
    >>> report = {"reference": {"labels": {"T": 900, "mast": 4}}, "query": {"labels": {"T": 150}}}
    >>> draw = {"dataset": "lung", "major": "T", "minor": "mast", "ratio": 100, "draw": 0}
    >>> draws_table({"rare": draw}, {"lung": report})["reason"].item()
    "the query has 150 cells of 'T' and 0 of 'mast': too few for 2 at 100 to 1"
    """
    rows = [{"name": name, **draw, **_possible(draw, reports)} for name, draw in draws.items()]
    return pd.DataFrame(rows, columns=list(DRAW_COLUMNS))


def _possible(draw: Mapping[str, Any], reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    report = reports[draw["dataset"]]
    counts = {side: Counter(report[side]["labels"]) for side in ("reference", "query")}
    if report.get("split"):
        counts = dict.fromkeys(counts, counts["reference"] + counts["query"])
    asked = Imbalance(draw["major"], draw["minor"], draw["ratio"])
    told: dict[str, Any] = {"reason": ""}
    for side, labels in counts.items():
        major, minor = (labels[visible(name)] for name in (asked.major, asked.minor))
        told[f"minor_in_{side}"] = n_drawn = asked.n_minor(major, minor)
        if n_drawn < LEAST_MINOR and not told["reason"]:
            told["reason"] = (
                f"the {side} has {major:,} cells of '{asked.major}' and {minor:,} of "
                f"'{asked.minor}': too few for {LEAST_MINOR} at {asked.ratio} to 1"
            )
    return told
