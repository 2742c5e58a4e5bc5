"""What Teacher and Student take, beside the paper's paragraph on efficiency (section 4.1)."""

from __future__ import annotations

import pandas as pd

from plkd.utils.tables import Columns

EFFICIENCY_COLUMNS: Columns = {
    "dataset": str, "variant": str, "model": str, "seeds": int, "parameters": float,
    "share": float, "paper_parameters": float, "paper_share": float, "n_reference": "Int64",
    "n_passed": "Int64", "training_seconds": float, "prediction_seconds": float,
    "cells_per_second": float, "peak_mb": float, "peak_gpu_mb": float, "machine": str,
}  # fmt: skip
"""Columns of :func:`efficiency_table`."""


def efficiency_table(costs: pd.DataFrame, of_paper: pd.DataFrame) -> pd.DataFrame:
    """Size and speed of Teacher and Student on every data set, means over seeds.

    Parameters
    ----------
    costs
        Columns of :data:`plkd.evaluation.costs.COST_COLUMNS`.
    of_paper
        The paper's numbers of parameters: columns `method` (teacher, student), `value`.

    Returns
    -------
    DataFrame
        `share` is the number of parameters as a share of the Teacher's; `cells_per_second` went
        through the network, the start of the program and reading the cells included; memory is the
        largest.
    """
    ours = costs[costs["method"].isin(of_paper["method"])]
    mean = ["parameters", "n_reference", "n_passed", "training_seconds", "prediction_seconds"]
    rows = ours.groupby(["dataset", "variant", "method"], sort=False).agg(
        seeds=("seed", "nunique"),
        **{name: (name, "mean") for name in mean},
        **{name: (name, "max") for name in ("peak_mb", "peak_gpu_mb")},
        machine=("machine", lambda names: "; ".join(sorted(set(names)))),
    )
    table = rows.reset_index().rename(columns={"method": "model"})
    table["cells_per_second"] = table["n_passed"] / table["prediction_seconds"]
    said = of_paper.set_index("method")["value"].astype(float)
    table["paper_parameters"] = table["model"].map(said)
    table["paper_share"] = table["paper_parameters"] / said["teacher"]
    teachers = table[table["model"] == "teacher"].set_index(["dataset", "variant"])["parameters"]
    of_run = pd.MultiIndex.from_frame(table[["dataset", "variant"]])
    table["share"] = table["parameters"] / teachers.reindex(of_run).to_numpy()
    whole = dict.fromkeys(("n_reference", "n_passed"), "Int64")
    return table[list(EFFICIENCY_COLUMNS)].astype(whole)
