"""Is a method as right as it is confident? Does it doubt what it cannot know?"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from plkd.evaluation.metrics import calibration_error, match_truth, reliability
from plkd.figures.labels import plain
from plkd.figures.style import new_figure

GROUPS = {"right": "#0072B2", "wrong": "#D55E00", "not in the reference": "#000000"}
N_BINS = 15


def plot_confidence(
    predictions: Mapping[str, pd.DataFrame],
    truth: pd.DataFrame,
    reference_labels: Collection[str],
) -> Figure:
    """Draw, for each method, the reliability diagram and who gets which confidence.

    Parameters
    ----------
    predictions
        Prediction tables by the method's name to show.
    truth
        Columns `cell_id` and `label`.
    reference_labels
        Labels that the reference has.
    """
    figure, grid = new_figure(
        max(3.0 * len(predictions), 3.6), 6.2, 2, len(predictions), squeeze=False,
        sharex=True, sharey="row", height_ratios=[1.25, 1],
    )  # fmt: skip
    for (name, table), (above, below) in zip(predictions.items(), grid.T, strict=True):
        matched = match_truth(table, truth)
        seen = matched["true_label"].isin(set(reference_labels)).to_numpy()
        right = (matched["true_label"] == matched["label"]).to_numpy(dtype=bool)
        confidence = matched["confidence"].to_numpy(dtype=float)
        _draw_reliability(above, confidence[seen], right[seen])
        above.set_title(f"{plain(name)}\n{_summary(confidence[seen], right[seen])}", fontsize=8.5)
        groups = {"right": seen & right, "wrong": seen & ~right, "not in the reference": ~seen}
        for group, members in groups.items():
            _draw_histogram(below, confidence[members], group)
        below.set_xlabel("confidence")
        below.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), handlelength=1.2)
    grid[0, 0].set_ylabel("accuracy")
    grid[1, 0].set_ylabel("% of the group's cells")
    return figure


def _draw_reliability(axes: Axes, confidence: np.ndarray, right: np.ndarray) -> None:
    bins = reliability(confidence, right, N_BINS)
    axes.bar(
        bins["lower"], bins["accuracy"], width=bins["upper"] - bins["lower"], align="edge",
        color="#cfe6f5", edgecolor="white", linewidth=0.6,
    )  # fmt: skip
    axes.plot([0, 1], [0, 1], color="#444444", linewidth=1, linestyle="--")
    # The area of a point shows how many cells stand behind it: bins of few cells mean little.
    axes.scatter(
        bins["confidence"], bins["accuracy"], s=4 + 150 * bins["n"] / max(len(right), 1),
        color="#0072B2", alpha=0.85, linewidths=0, zorder=3, clip_on=False,
    )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)


def _summary(confidence: np.ndarray, right: np.ndarray) -> str:
    if not len(right):
        return "no cell to score"
    return (
        f"accuracy {right.mean():.3f}, mean confidence {confidence.mean():.3f}\n"
        f"calibration error {calibration_error(confidence, right, N_BINS):.3f}"
    )


def _draw_histogram(axes: Axes, confidence: np.ndarray, group: str) -> None:
    if not len(confidence):
        return
    axes.hist(
        confidence, bins=list(np.linspace(0, 1, N_BINS + 1)), histtype="step", linewidth=1.4,
        weights=np.full(len(confidence), 100 / len(confidence)), color=GROUPS[group],
        label=f"{group} ({len(confidence):,})",
    )  # fmt: skip
