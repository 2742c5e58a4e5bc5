"""F1 score of every label, method beside method."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from plkd.figures.labels import plain, short
from plkd.figures.style import PALETTE, new_figure

MARKERS = "osD^vPX*"


def plot_per_label(per_label: pd.DataFrame, methods: Mapping[str, str]) -> Figure:
    """Draw the F1 of every label, the most abundant one on top.

    Parameters
    ----------
    per_label
        Columns `method`, `label`, `n`, `n_reference`, `f1`, `abundance`
        (:func:`plkd.evaluation.metrics.per_label_table` with the method's id).
    methods
        Names to show of the methods to draw, by id, in the order of the legend.
    """
    shown = per_label[per_label["method"].isin(methods)]
    labels = shown.drop_duplicates("label").assign(total=lambda t: t["n"] + t["n_reference"])
    labels = labels.sort_values("total", ascending=False, kind="stable").reset_index(drop=True)
    row = {name: i for i, name in enumerate(labels["label"])}

    figure, axes = new_figure(7.0, 1.6 + 0.3 * max(len(labels), 2))
    offsets = np.linspace(-0.2, 0.2, len(methods)) if len(methods) > 1 else [0.0]
    for i, (method, name) in enumerate(methods.items()):
        table = shown[shown["method"] == method]
        axes.plot(
            table["f1"],
            table["label"].map(row) + offsets[i],
            linestyle="",
            marker=MARKERS[i % len(MARKERS)],
            markersize=5,
            markeredgecolor="white",
            markeredgewidth=0.4,
            color=PALETTE[i % len(PALETTE)],
            label=plain(name),
            clip_on=False,
        )
    axes.set_yticks(
        range(len(labels)),
        [
            f"{short(name)}  ({n:,} + {n_reference:,})"
            for name, n, n_reference in labels[["label", "n", "n_reference"]].itertuples(
                index=False
            )
        ],
    )
    axes.set_ylim(max(len(labels), 1) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xlabel("F1")
    axes.set_ylabel("label (cells in query + reference)")
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    for position in range(1, len(labels), 2):
        axes.axhspan(position - 0.5, position + 0.5, color="#f4f4f4", zorder=0, linewidth=0)
    for group, members in labels.groupby("abundance", sort=False):
        first, last = members.index.min(), members.index.max()
        axes.text(1.04, (first + last) / 2, group, rotation=270, va="center",
                  transform=axes.get_yaxis_transform())  # fmt: skip
        axes.plot([1.03, 1.03], [first - 0.4, last + 0.4], color="#888888", linewidth=1,
                  transform=axes.get_yaxis_transform(), clip_on=False)  # fmt: skip
    figure.legend(loc="outside upper center", ncols=min(len(methods), 4) or 1)
    return figure
