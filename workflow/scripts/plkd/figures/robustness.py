"""How scores fall when the task is made harder."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from plkd.figures.labels import plain
from plkd.figures.style import PALETTE, new_figure

TITLES = {
    "label_noise": "reference cells with a wrong label",
    "genes": "genes that are left",
    "cells": "reference cells that are left",
    "depth": "counts of the query that are left",
}
_DASHES = ("-", "--", ":", "-.")


def plot_robustness(
    table: pd.DataFrame, names: Mapping[str, str], kinds: Mapping[str, str]
) -> Figure:
    """Draw macro F1 by what was done to the cells, a panel for each and a line for every method.

    Parameters
    ----------
    table
        Columns `kind`, `level`, `method`, `macro_f1`
        (:func:`plkd.evaluation.robustness.robustness_table`).
    names, kinds
        Name and kind (ours, baseline, rival, control) of the methods by id; they are drawn in this
        order.
    """
    panels = [kind for kind in TITLES if kind in set(table["kind"])]
    methods = [method for method in names if method in set(table["method"])]
    figure, grid = new_figure(
        2.6 * max(len(panels), 1) + 2.2, 3.4, 1, max(len(panels), 1), squeeze=False, sharey=True
    )
    for kind, axes in zip(panels, grid[0], strict=False):
        for place, method in enumerate(methods):
            line = table[(table["kind"] == kind) & (table["method"] == method)]
            line = line.sort_values("level")
            ours = kinds[method] == "ours"
            axes.plot(
                line["level"], line["macro_f1"], marker="o", markersize=4 if ours else 2.5,
                linewidth=2.2 if ours else 1.1, color=PALETTE[place % len(PALETTE)],
                linestyle=_DASHES[place // len(PALETTE) % len(_DASHES)],
                zorder=3 if ours else 2, label=plain(names[method]),
            )  # fmt: skip
        levels = sorted(set(table.loc[table["kind"] == kind, "level"]))
        if kind != "label_noise":
            axes.set_xscale("log", base=2)
            axes.invert_xaxis()  # what is harder is to the right
            axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(levels)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        axes.set_title(TITLES[kind], fontsize=9)
        axes.grid()
    grid[0, 0].set_ylabel("macro F1")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center")
    return figure
