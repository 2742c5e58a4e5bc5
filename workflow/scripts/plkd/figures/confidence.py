"""Is a method as right as it is confident? Does it doubt what it cannot know?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from plkd.figures.labels import plain
from plkd.figures.style import new_figure

GROUPS = {
    "right": ("right", "#0072B2"),
    "wrong": ("wrong", "#D55E00"),
    "unseen": ("not in the reference", "#000000"),
}


def plot_confidence(confidence: pd.DataFrame, methods: Mapping[str, str]) -> Figure:
    """Draw, for each method, the reliability diagram and who gets which confidence.

    Parameters
    ----------
    confidence
        Columns `method` and those of :func:`plkd.evaluation.metrics.confidence_table`.
    methods
        Names to show of the methods to draw, by id.
    """
    figure, grid = new_figure(
        max(3.0 * len(methods), 3.6), 6.2, 2, len(methods), squeeze=False,
        sharex=True, sharey="row", height_ratios=[1.25, 1],
    )  # fmt: skip
    for (method, name), (above, below) in zip(methods.items(), grid.T, strict=True):
        bins = confidence[confidence["method"] == method]
        scored = bins.assign(n=bins["right"] + bins["wrong"]).query("n > 0")
        scored = scored.assign(accuracy=scored["right"] / scored["n"])
        _draw_reliability(above, scored)
        above.set_title(f"{plain(name)}\n{_summary(scored)}", fontsize=8.5)
        for group in GROUPS:
            _draw_histogram(below, bins, group)
        below.set_xlabel("confidence")
        below.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), handlelength=1.2)
    grid[0, 0].set_ylabel("accuracy")
    grid[1, 0].set_ylabel("% of the group's cells")
    return figure


def _draw_reliability(axes: Axes, bins: pd.DataFrame) -> None:
    axes.bar(
        bins["lower"], bins["accuracy"], width=bins["upper"] - bins["lower"], align="edge",
        color="#cfe6f5", edgecolor="white", linewidth=0.6,
    )  # fmt: skip
    axes.plot([0, 1], [0, 1], color="#444444", linewidth=1, linestyle="--")
    # The area of a point shows how many cells stand behind it: bins of few cells mean little.
    axes.scatter(
        bins["confidence"], bins["accuracy"], s=4 + 150 * bins["n"] / max(bins["n"].sum(), 1),
        color="#0072B2", alpha=0.85, linewidths=0, zorder=3, clip_on=False,
    )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)


def _summary(bins: pd.DataFrame) -> str:
    if bins.empty:
        return "no cell to score"
    gap = np.average((bins["accuracy"] - bins["confidence"]).abs(), weights=bins["n"])
    return (
        f"accuracy {bins['right'].sum() / bins['n'].sum():.3f}, "
        f"mean confidence {np.average(bins['confidence'], weights=bins['n']):.3f}\n"
        f"calibration error {gap:.3f}"
    )


def _draw_histogram(axes: Axes, bins: pd.DataFrame, group: str) -> None:
    total = int(bins[group].sum())
    if not total:
        return
    text, colour = GROUPS[group]
    axes.stairs(
        100 * bins[group] / total, [*bins["lower"], bins["upper"].iloc[-1]], linewidth=1.4,
        color=colour, label=f"{text} ({total:,})",
    )  # fmt: skip
