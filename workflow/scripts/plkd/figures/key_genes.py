"""Figures of key genes: which they are, how large the pools, how stable, how many known."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from plkd.figures.attribution import name_rows
from plkd.figures.labels import plain, short
from plkd.figures.panels import label_panels
from plkd.figures.style import PALETTE, new_figure

_RANKINGS = {
    "attribution": (PALETTE[0], "o", "attribution"),
    "attribution_present": (PALETTE[4], "s", "attribution, genes that are expressed"),
    "key_genes": (PALETTE[1], "^", "key genes"),
    "wilcoxon": (PALETTE[5], "D", "Wilcoxon test"),
    "pathways": (PALETTE[0], "o", "pathways of the Teacher"),
}

_CONFIRMED, _UNCONFIRMED = PALETTE[0], "#9cc4e0"


def plot_key_genes(keys: pd.DataFrame, *, top: int = 12) -> Figure:
    """Draw the genes that every label expresses by the Student's ranks, key genes dark (Figure 5).

    Figure 5 of the paper shows key genes alone. They are few, and a label may have none; a label's
    genes are easier to judge where the ones that it expresses lead, and the Teacher confirms some.

    Parameters
    ----------
    keys
        As of :func:`plkd.interpret.key_genes.key_genes`.
    top
        Largest number of genes in a panel.
    """
    pools = dict(iter(keys.groupby("label", sort=False)))
    shown = {label: _leading(table, top) for label, table in pools.items()}
    titles = [
        f"{short(label, 22)} ({table['key'].sum()} of {table['in_network'].sum()})"
        for label, table in pools.items()
    ]
    n_rows = max(3, max((len(table) for table in shown.values()), default=0))
    figure, panels = label_panels(titles, n_rows)
    for panel, table in zip(panels, shown.values(), strict=True):
        rows = np.arange(1, len(table) + 1)
        colours = [_CONFIRMED if key else _UNCONFIRMED for key in table["key"]]
        panel.barh(rows, table["mean_abs_attribution"], color=colours, height=0.75)
        stars = np.where(table["marker"].fillna(False).astype(bool), " *", "")
        names = [f"{gene}{star}" for gene, star in zip(table["gene"], stars, strict=True)]
        name_rows(panel, pd.Series(names, dtype=str), n_rows)
        panel.set_xlim(0, None)
        panel.xaxis.get_major_locator().set_params(nbins=4)
        if table.empty:
            panel.text(
                0.5, 0.5, "none expressed", transform=panel.transAxes, ha="center", fontsize=8
            )
            panel.set_xticks([])
    handles = [
        Patch(color=_CONFIRMED, label="key gene: in the Teacher's network too"),
        Patch(color=_UNCONFIRMED, label="the Student's alone"),
    ]
    if keys["marker"].fillna(False).any():
        handles.append(Patch(color="none", label="* known marker"))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    figure.supxlabel("mean |attribution| (logit) of genes that the label expresses", fontsize=9)
    return figure


def _leading(keys: pd.DataFrame, top: int) -> pd.DataFrame:
    """The first genes of a label that it expresses more than others, by the Student's ranks."""
    expressed = keys[keys["in_attribution"] & keys["present"].fillna(False).astype(bool)]
    return expressed.sort_values("attribution_rank").head(top)


def plot_stability(table: pd.DataFrame) -> Figure:
    """Draw the Jaccard index of top genes between runs: mean, lowest and highest pair, chance.

    Parameters
    ----------
    table
        As of :func:`plkd.interpret.key_genes.stability`.
    """
    labels = list(table["label"].unique())
    figure, axes = new_figure(6.5, 1.3 + 0.32 * max(len(labels), 2))
    tops = sorted(table["top"].unique())
    offsets = np.linspace(-0.22, 0.22, len(tops))
    row = {label: i for i, label in enumerate(labels)}
    for i, top in enumerate(tops):
        here = table[table["top"] == top]
        rows = here["label"].map(row) + offsets[i]
        colour = PALETTE[i]
        axes.hlines(rows, here["lowest"], here["highest"], color=colour, linewidth=1)
        axes.plot(
            here["jaccard"], rows, linestyle="", marker="os^"[i % 3], color=colour, markersize=5,
            label=f"top {top} (by chance {here['chance'].mean():.3f})", clip_on=False,
        )  # fmt: skip
    axes.set_yticks(range(len(labels)), [short(label) for label in labels])
    axes.set_ylim(max(len(labels), 1) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xlabel("Jaccard index of the top genes of two runs: mean, lowest and highest")
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    if labels:
        figure.legend(loc="outside upper center", ncols=len(tops))
    else:
        axes.text(0.5, 0.5, "no label occurs in two runs", transform=axes.transAxes, ha="center")
    return figure


def plot_recovery(recovery: pd.DataFrame, *, item: str = "gene") -> Figure:
    """Draw the ranks of known markers as a table: a row per marker, a column per ranking.

    Parameters
    ----------
    recovery
        As of :func:`plkd.evaluation.marker_recovery.recovery_table`.
    item
        Column that names the markers.
    """
    columns = [name for name in recovery.columns if name.endswith("_rank")]
    shown = recovery.sort_values("label", kind="stable").reset_index(drop=True)
    ranks = shown[columns].to_numpy(dtype=float, na_value=np.nan)
    labels = np.select([ranks <= 10, ranks <= 20, ranks <= 100], [3, 2, 1], 0)
    colours = ["#ffffff", "#e3edf5", "#9cc4e0", PALETTE[0]]
    figure, axes = new_figure(2.6 + 1.15 * len(columns), 1.2 + 0.2 * max(len(shown), 2))
    for (i, j), value in np.ndenumerate(labels):
        axes.add_patch(_square(j, i, colours[value]))
        rank = ranks[i, j]
        text = "–" if np.isnan(rank) else f"{rank:.0f}"
        if not shown["measured"][i]:
            text = "not in the model"
        axes.text(
            j, i, text, ha="center", va="center", fontsize=7,
            color="white" if value == 3 else "#333333",
        )  # fmt: skip
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    names = [_RANKINGS.get(name.removesuffix("_rank"), ("", "", name))[2] for name in columns]
    axes.set_xticks(range(len(columns)), [name.replace(", ", ",\n") for name in names])
    axes.xaxis.tick_top()
    first = ~shown["label"].duplicated()
    axes.set_yticks(
        range(len(shown)),
        [
            f"{short(label, 28)}   {plain(name)}" if begins else plain(name)
            for label, name, begins in zip(shown["label"], shown[item], first, strict=True)
        ],
    )
    for i in np.flatnonzero(first)[1:]:
        axes.axhline(i - 0.5, color="#888888", linewidth=0.6)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    handles = [
        Patch(color=colours[3], label="top 10"),
        Patch(color=colours[2], label="top 20"),
        Patch(color=colours[1], label="top 100"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _square(x: float, y: float, colour: str) -> Patch:
    return Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="white", linewidth=1)
