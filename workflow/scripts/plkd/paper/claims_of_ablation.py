"""Claims on what losses, mask and wrong labels do (Table 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from plkd.paper.numbers import FULL, OURS
from plkd.paper.verdicts import (
    OPEN,
    Evidence,
    Verdict,
    digits,
    judged,
    never_rises,
    run_here,
    short_name,
)

NOISE = {"noise_10": "10 %", "noise_15": "15 %", "noise_20": "20 %"}
"""Changes of Table 5 by the share of wrong labels."""


def losses_matter(evidence: Evidence) -> Verdict:
    bounds = {"accuracy": 0.02, "adjusted_rand_index": 0.05}
    return _ablation(evidence, "no_losses", bounds, pd.Series.ge, "at least")


def mask_not_needed(evidence: Evidence) -> Verdict:
    # the paper calls a loss of .012 and .052 "not obvious"
    bounds = {"accuracy": 0.03, "adjusted_rand_index": 0.06}
    return _ablation(evidence, "no_mask", bounds, pd.Series.lt, "under")


def _ablation(
    evidence: Evidence,
    change: str,
    bounds: Mapping[str, float],
    enough: Callable[[pd.Series, pd.Series], pd.Series],
    rule: str,
) -> Verdict:
    costs, theirs = _costs_of(evidence)
    cost = costs.get(change, pd.Series(dtype=float)).dropna()
    if cost.empty:
        return OPEN, f"no such ablation of `{evidence.variant}` in this run"
    bound = cost.index.get_level_values("measure").map(bounds).to_series(cost.index)
    said = ", ".join(f"{short_name(measure)} {value}" for measure, value in bounds.items())
    met, n = enough(cost, bound), cost.index.get_level_values("dataset").nunique()
    text = (
        f"{met.sum()} of {len(met)} losses without it (data set, model, measure) are {rule} "
        f"{said}, to hold all; mean of {n}: {_losses(cost)}"
    )
    if change in theirs:
        text += f"; the paper's: {_losses(theirs[change].dropna())}"
    return judged(bool(met.all()), text)


def _losses(cost: pd.Series) -> str:
    mean = cost.groupby(["method", "measure"]).mean().rename("cost").reset_index()
    return ", ".join(
        f"{one.method} {short_name(str(one.measure))} {one.cost:.3f}" for one in mean.itertuples()
    )


def noise_lowers(evidence: Evidence) -> Verdict:
    table = evidence.results["table5"]
    ours = run_here(table[(table["variant"] == evidence.variant) & table["method"].isin(OURS)])
    levels = [FULL, *NOISE]
    grid = ours.pivot_table(
        index=["dataset", "method", "measure"], columns="condition", values="here"
    ).reindex(columns=levels)
    grid = grid[grid[FULL].notna() & grid[list(NOISE)].notna().any(axis=1)]
    if grid.empty:
        return OPEN, f"no wrong labels with `{evidence.variant}` in this run"
    rows = ours.set_index(["dataset", "method", "measure", "condition"])
    falls = []
    for cell in grid.index:
        ran = grid.loc[cell].dropna()
        in_order = rows.loc[[(*cell, level) for level in ran.index]]
        falls.append(never_rises(in_order) and ran.iloc[-1] < ran.iloc[0])
    means = grid.groupby(["method", "measure"]).mean()
    said = "; ".join(
        f"{model} {short_name(measure)} {digits(means.loc[(model, measure)])}"
        for model, measure in means.index
    )
    text = (
        f"{sum(falls)} of {len(falls)} scores (data set, model, measure) fall from share to share "
        "and in all; to hold all, a rise within two standard errors of the seeds allowed; means "
        f"at 0, 10, 15, 20 %: {said}"
    )
    return judged(all(falls), text, _levels_not_run(grid))


def student_resists(evidence: Evidence) -> Verdict:
    costs, theirs = (costs.reindex(columns=list(NOISE)) for costs in _costs_of(evidence))
    n_less, n, said = _compared_losses(costs)
    if not n:
        return OPEN, f"no wrong labels with `{evidence.variant}` in this run"
    n_less_theirs, n_theirs, said_theirs = _compared_losses(theirs)
    text = (
        f"the Student loses less in {n_less} of {n} (data set, share, measure), to hold all; mean "
        f"losses at 10, 15, 20 %: {said}; in the paper's own Table 5 in {n_less_theirs} of "
        f"{n_theirs}: {said_theirs}"
    )
    return judged(n_less == n, text, _levels_not_run(costs))


def _compared_losses(costs: pd.DataFrame) -> tuple[int, int, str]:
    """In how many cells the Student loses less, of how many, and the mean losses."""
    long = costs.melt(var_name="level", value_name="cost", ignore_index=False).reset_index()
    by_model = long.pivot_table(
        index=["dataset", "level", "measure"], columns="method", values="cost"
    )
    by_model = by_model.reindex(columns=list(OURS)).dropna()
    means = costs.groupby(["measure", "method"]).mean()
    said = "; ".join(
        f"{model} {short_name(measure)} {digits(means.loc[(measure, model)])}"
        for measure, model in means.index
    )
    return int((by_model["student"] < by_model["teacher"]).sum()), len(by_model), said


def _levels_not_run(grid: pd.DataFrame) -> list[str]:
    """Shares of wrong labels that a row of the grid has no number of."""
    lacking = [share for level, share in NOISE.items() if grid[level].isna().any()]
    return [f"{', '.join(lacking)} of wrong labels"] if lacking else []


def _costs_of(evidence: Evidence) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What changes cost in this run, and in the paper."""
    table = evidence.results["table5"]
    ours = table[(table["variant"] == evidence.variant) & table["method"].isin(OURS)]
    return _costs(ours, "here"), _costs(table, "paper")


def _costs(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """What changes cost: full less changed; a row per data set, model and measure."""
    keys = ["dataset", "method", "measure"]
    known = table.dropna(subset=column).drop_duplicates([*keys, "condition"])
    grid = known.pivot_table(index=keys, columns="condition", values=column)
    if FULL not in grid:
        return grid.iloc[:0, :0]
    return grid.rsub(grid[FULL], axis=0).drop(columns=FULL)
