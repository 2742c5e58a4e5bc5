"""Which method to use: how good each is, how sure that is, what it costs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from plkd.figures.benchmark import KIND_COLOURS
from plkd.figures.labels import plain, short
from plkd.figures.style import new_figure


def plot_choice(choice: pd.DataFrame, names: Mapping[str, str], kinds: Mapping[str, str]) -> Figure:
    """Draw score, chance to be the best, and cost of every method, the best on top.

    Parameters
    ----------
    choice
        Columns `method`, `macro_f1`, `macro_f1_lower`, `macro_f1_upper`, `share_best`,
        `cpu_seconds`, `reason`
        (:func:`plkd.evaluation.comparison.choice_table`).
    names, kinds
        Name and kind (ours, baseline, rival, control) of the methods by id.
    """
    n_methods = len(choice)
    figure, (score, sure, time) = new_figure(
        9.0, 1.0 + 0.26 * max(n_methods, 3), 1, 3, width_ratios=[2.2, 1, 1.4], sharey=True
    )
    colours = [KIND_COLOURS[kinds[method]] for method in choice["method"]]
    columns = ["macro_f1", "macro_f1_lower", "macro_f1_upper", "share_best", "cpu_seconds"]
    values = choice[columns].to_numpy(dtype=float)
    for row, (mean, lower, upper, best, cost) in enumerate(values):
        colour = colours[row]
        if np.isnan(mean):
            reason = short(choice["reason"].iloc[row], 60)
            score.text(0.01, row, reason, va="center", fontsize=7, color="#888888",
                       transform=score.get_yaxis_transform())  # fmt: skip
            continue
        score.plot([lower, upper], [row, row], color=colour, lw=1.5)
        score.plot(mean, row, "o", color=colour, markersize=5)
        sure.barh(row, best, color=colour, height=0.6)
        time.plot(cost, row, "o", color=colour, markersize=5)
    score.set_yticks(range(n_methods), [plain(names[method]) for method in choice["method"]])
    score.set_ylim(max(n_methods, 1) - 0.5, -0.5)
    low = choice.loc[choice["method"].map(kinds) != "control", "macro_f1"].min()
    score.set_xlim(max(0.0, np.floor(low * 10 - 0.5) / 10) if low > 0 else 0, 1)
    score.set_xlabel("macro F1, 95 % of draws of cells")
    sure.set_xlim(0, 1)
    sure.set_xlabel("chance to be best")
    if choice["cpu_seconds"].gt(0).any():
        _on_log_scale(time)
    time.set_xlabel("processor seconds, all of it")
    for axes in (score, sure, time):
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
    return figure


def _on_log_scale(axes: Axes) -> None:
    """Draw the x axis in powers of ten, with few numbers, and these in full."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    decades = np.log10(high / low)
    between = (1, 2, 5) if decades < 1.5 else (1, 3) if decades < 3 else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=between, numticks=5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def plot_ranks(ranks: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """Draw mean ranks of the methods and bars over those that are not told apart.

    Parameters
    ----------
    ranks
        Of one score: `method`, `transfers`, `rank`, `critical_difference`, `friedman_p_value`
        (:func:`plkd.evaluation.comparison.mean_ranks`), the best first.
    names
        Names of the methods by id.
    """
    n_methods = len(ranks)
    figure, axes = new_figure(7.0, 1.0 + 0.22 * max(n_methods, 3))
    place = ranks["rank"].to_numpy()
    critical = float(ranks["critical_difference"].iloc[0]) if n_methods else np.nan
    axes.plot(place, np.arange(n_methods), "o", color=KIND_COLOURS["ours"], markersize=5)
    for row, rank in enumerate(place):
        if not np.isnan(critical):
            axes.plot([rank - critical / 2, rank + critical / 2], [row, row], color="#888888", lw=1)
    axes.set_yticks(range(n_methods), [plain(names[method]) for method in ranks["method"]])
    axes.set_ylim(max(n_methods, 1) - 0.5, -0.5)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0.5, max(n_methods, 1) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.set_xlabel("mean rank by macro F1 (1 is best)")
    if not np.isnan(critical):
        n_transfers, p_value = ranks[["transfers", "friedman_p_value"]].iloc[0]
        axes.set_title(
            f"{n_transfers:.0f} transfers; bars that overlap are not told apart at 5 % (Nemenyi); "
            f"Friedman p = {p_value:.2g}",
            fontsize=8,
        )
    return figure


def plot_f1_map(per_label: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """Draw the F1 of every label by every method as a map, a panel per data set.

    Parameters
    ----------
    per_label
        Columns `dataset`, `method`, `label`, `n`, `f1` (means over seeds).
    names
        Names of the methods to draw by id, in order.
    """
    panels = list(per_label.groupby("dataset", sort=True))
    heights = [max(table["label"].nunique(), 1) for _, table in panels]
    figure, grid = new_figure(
        2.6 + 0.42 * len(names), 1.6 + sum(0.45 + 0.24 * n for n in heights), len(panels), 1,
        squeeze=False, height_ratios=[0.45 + 0.24 * n for n in heights],
    )  # fmt: skip
    for (dataset, table), axes in zip(panels, grid[:, 0], strict=True):
        cells = table.groupby("label")["n"].max().sort_values(ascending=False, kind="stable")
        values = table.pivot_table(index="label", columns="method", values="f1", aggfunc="mean")
        values = values.reindex(index=cells.index, columns=list(names))
        image = axes.imshow(values, vmin=0, vmax=1, aspect="auto")
        axes.set_yticks(range(len(cells)), [f"{short(name)}  ({n:,})" for name, n in cells.items()])
        last = axes is grid[-1, 0]
        axes.set_xticks(
            range(len(names)), [plain(name) if last else "" for name in names.values()],
            rotation=60, ha="right", rotation_mode="anchor",
        )  # fmt: skip
        axes.set_title(short(dataset), fontweight="bold")
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        for (row, column), value in np.ndenumerate(values.to_numpy(dtype=float)):
            if not np.isnan(value):
                light = sum(to_rgb(image.cmap(image.norm(value)))) > 1.5
                axes.text(
                    column, row, f"{value:.2f}".removeprefix("0"), ha="center", va="center",
                    fontsize=6.5, color="black" if light else "white",
                )  # fmt: skip
    return figure
