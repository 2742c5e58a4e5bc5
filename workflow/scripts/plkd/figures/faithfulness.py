"""Deletion and insertion curves: does what explanations name carry the label?"""

from __future__ import annotations

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from plkd.figures.style import PALETTE, new_figure

_FOUND = "adds most to the label"  # of genes: attribution; of tokens: contribution
RANKINGS = {
    "attribution": (PALETTE[0], "-", "o", _FOUND),
    "contribution": (PALETTE[0], "-", "o", _FOUND),
    "attention": (PALETTE[3], "--", "s", "most attended"),
    "difference": (PALETTE[2], "-.", "^", "largest difference of means"),
    "expression": (PALETTE[5], "--", "D", "highest expression"),
    "random": (PALETTE[6], ":", "", "random"),
}
_MODEL = {"student": "Student", "teacher": "Teacher"}
_VALUE = {"zero": "zero", "mean": "their mean"}


def plot_faithfulness(curves: pd.DataFrame, areas: pd.DataFrame) -> Figure:
    """Draw the curves, deletion above and insertion below, a column per set of items.

    Parameters
    ----------
    curves
        As of :func:`plkd.evaluation.faithfulness.summarise_curves`.
    areas
        As of :func:`plkd.evaluation.faithfulness.summarise_areas`.
    """
    sets = list(dict.fromkeys(map(tuple, curves[["model", "items", "replaced_by"]].to_numpy())))
    figure, axes = new_figure(
        0.6 + 2.6 * len(sets), 5.4, 2, len(sets), squeeze=False, sharey=True, sharex="col"
    )
    handles: dict[str, Artist] = {}
    for column, (model, items, value) in enumerate(sets):
        here = curves.query("model == @model and items == @items and replaced_by == @value")
        area = areas.query("model == @model and items == @items and replaced_by == @value")
        for row, curve in enumerate(("deletion", "insertion")):
            panel = axes[row][column]
            for ranking, (colour, line, marker, text) in RANKINGS.items():
                table = here[(here["curve"] == curve) & (here["ranking"] == ranking)]
                if table.empty:
                    continue
                chosen = (area["curve"] == curve) & (area["ranking"] == ranking)
                found = area.loc[chosen, "area"]
                (handle,) = panel.plot(
                    table["k"], table["mean"], color=colour, linestyle=line, marker=marker,
                    markersize=3.5, linewidth=1.4,
                    label=f"{found.iloc[0]:.2f}",
                )  # fmt: skip
                error = table["sd"].fillna(0) / table["cells"] ** 0.5
                panel.fill_between(
                    table["k"], table["mean"] - error, table["mean"] + error, color=colour,
                    alpha=0.15, linewidth=0,
                )  # fmt: skip
                handles.setdefault(text, handle)
            panel.set_xscale("symlog", linthresh=1)
            ticks = [k for k in (0, 1, 5, 20, 100) if k <= here["k"].max()]
            panel.set_xticks(ticks, [str(k) for k in ticks])
            panel.minorticks_off()
            panel.set_ylim(0, 1)
            panel.legend(
                title="area",
                title_fontsize=7,
                fontsize=7,
                loc="best",
                handlelength=1.6,
            )
        axes[0][column].set_title(f"{_MODEL[model]}: {items}\n{_VALUE[value]} in their place")
        axes[1][column].set_xlabel(items)
    axes[0][0].set_ylabel("probability of the label,\nso many taken away")
    axes[1][0].set_ylabel("probability of the label,\nonly so many left")
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside upper center",
        ncols=min(len(handles), 6),
    )
    return figure
