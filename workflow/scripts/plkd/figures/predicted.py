"""What the Student says of the query: maps of its cells, and the markers of its labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from plkd.figures.labels import label_colours, plain, short
from plkd.figures.style import SEQUENTIAL, add_heading, new_figure

UNKNOWN = "unknown"
_GREY = "#bbbbbb"
_LARGEST_DOT = 90.0


def plot_predicted(
    cells: pd.DataFrame, reference_labels: Sequence[str], *, title: str = ""
) -> Figure:
    """Draw the query by predicted label, confidence and unknown score, beside its true labels.

    Parameters
    ----------
    cells
        `umap1`, `umap2`, `label` (predicted), `confidence`, `unknown`, `unknown_score`, and `truth`
        (null: not known); one row per cell that is drawn.
    reference_labels
        Labels of the reference, which fixes the colours.
    title
        Title of the figure.
    """
    truth = cells["truth"].astype(object)
    unseen = sorted(set(truth.dropna()) - set(reference_labels))
    colours = label_colours([*reference_labels, *unseen])
    cells = cells.sample(frac=1, random_state=0)
    said = cells["label"].astype(object).where(~cells["unknown"].astype(bool), UNKNOWN)
    panels: dict[str, pd.Series] = {"predicted label (grey: unknown)": said}
    if cells["truth"].notna().any():
        panels["true label" + (" (*: not in the reference)" if unseen else "")] = cells["truth"]
    numbers = {"confidence": cells["confidence"], "unknown score": cells["unknown_score"]}
    present = [name for name in [*reference_labels, *unseen]
               if name in set(said) | set(truth.dropna())]  # fmt: skip
    texts = [f"{short(name)}{' *' if name in unseen else ''}" for name in present]
    n_columns = 1 + (len(texts) - 1) // 22
    legend = 0.4 + n_columns * (0.35 + 0.062 * max(map(len, texts), default=4))
    figure, grid = new_figure(
        6.6 + legend, 6.6, 2, 3, squeeze=False, width_ratios=[3.0, 3.3, legend]
    )
    for axes, (name, values) in zip(grid[:, 0], panels.items(), strict=False):
        _points(axes, cells, [colours.get(one, _GREY) for one in values])
        axes.set_title(name)
    if len(panels) == 1:
        grid[1, 0].set_axis_off()
    for axes, (name, values) in zip(grid[:, 1], numbers.items(), strict=True):
        drawn = _points(axes, cells, values.to_numpy(dtype=float), cmap=SEQUENTIAL, vmin=0, vmax=1)
        axes.set_title(name)
        figure.colorbar(drawn, ax=axes, shrink=0.6, aspect=18, pad=0.02)
    for axes in grid[:, 2]:
        axes.set_axis_off()
    handles = [Line2D([], [], linestyle="", marker="o", markersize=5, color=colours[name])
               for name in present]  # fmt: skip
    grid[0, 2].legend(
        handles, [f" {text}" for text in texts], loc="upper left", borderaxespad=0, ncols=n_columns,
        handletextpad=0.2, columnspacing=0.8, fontsize=7.5, alignment="left",
    )  # fmt: skip
    add_heading(figure, plain(title))
    return figure


def plot_markers(
    expression: NDArray[np.floating],
    genes: Sequence[str],
    groups: dict[str, pd.Series],
    reference_labels: Sequence[str],
    *,
    title: str = "",
) -> Figure:
    """Draw markers of the labels as dots, in the cells of each predicted and of each true label.

    Parameters
    ----------
    expression
        Log-normalised, (cells, genes).
    genes
        Names, those of a label side by side.
    groups
        Title of a panel (predicted, true) -> label of every cell, null for those of none.
    reference_labels
        The order of the rows; others come after them.
    title
        Title of the figure.
    """
    rows = {name: _present(labels, reference_labels) for name, labels in groups.items()}
    means = {
        name: [expression[(labels == one).to_numpy()].mean(axis=0) for one in rows[name]]
        for name, labels in groups.items()
    }
    every = [one for part in means.values() for one in part]
    highest = np.max([np.full(len(genes), 1e-6), *every], axis=0)
    height = 1.4 + sum(0.22 * len(names) + 0.5 for names in rows.values())
    figure, grid = new_figure(
        2.6 + 0.2 * max(len(genes), 8), height, len(groups), 1, squeeze=False, sharex=True,
        height_ratios=[max(len(names), 1) for names in rows.values()],
    )  # fmt: skip
    dots = None
    for axes, (name, labels) in zip(grid[:, 0], groups.items(), strict=True):
        for row, label in enumerate(rows[name]):
            share = (expression[(labels == label).to_numpy()] > 0).mean(axis=0)
            dots = axes.scatter(
                np.arange(len(genes)), np.full(len(genes), row), s=_LARGEST_DOT * share,
                c=means[name][row] / highest, cmap="Blues", vmin=0, vmax=1, edgecolors="#888888",
                linewidths=0.3,
            )  # fmt: skip
        sizes = [int((labels == label).sum()) for label in rows[name]]
        axes.set_yticks(
            range(len(sizes)),
            [f"{short(one)} ({n:,})" for one, n in zip(rows[name], sizes, strict=True)],
        )
        axes.set_ylim(len(sizes) - 0.4, -0.6)
        axes.set_xlim(-0.7, len(genes) - 0.3)
        axes.set_title(name)
        axes.tick_params(length=0)
    grid[-1, 0].set_xticks(range(len(genes)), [plain(gene) for gene in genes], rotation=90)
    if dots is not None:
        bar = figure.colorbar(dots, ax=grid[:, 0], shrink=0.5, aspect=18, pad=0.02)
        bar.set_label("mean expression, of the highest")
    handles = [
        Line2D([], [], linestyle="", marker="o", color="#888888", label=f"{share:.0%}",
               markersize=float(np.sqrt(_LARGEST_DOT * share)))
        for share in (0.1, 0.5, 1.0)
    ]  # fmt: skip
    figure.legend(
        handles=handles, loc="outside lower center", ncols=3, title="cells that express the gene",
        title_fontsize=8,
    )  # fmt: skip
    add_heading(figure, plain(title))
    return figure


def marker_genes(
    label_means: NDArray[np.floating], genes: Sequence[str], per_label: int = 3
) -> list[str]:
    """Genes that set each label apart from the label next to it in them, label by label.

    Parameters
    ----------
    label_means
        Mean expression of every label in the reference, (labels, genes).
    genes
        Names.
    per_label
        How many of each label; a gene of several is taken once.
    """
    chosen: list[str] = []
    for label in range(len(label_means)):
        others = np.delete(label_means, label, axis=0)
        ahead = label_means[label] - (others.max(axis=0) if len(others) else 0.0)
        for place in np.argsort(-ahead, kind="stable")[:per_label]:
            if ahead[place] > 0 and genes[place] not in chosen:
                chosen.append(genes[place])
    return chosen


def _present(labels: pd.Series, reference_labels: Sequence[str]) -> list[str]:
    """Labels that occur, those of the reference first."""
    there = set(labels.dropna())
    return [*(one for one in reference_labels if one in there),
            *sorted(there - set(reference_labels))]  # fmt: skip


def _points(axes: Axes, cells: pd.DataFrame, colours: Any, **options: Any) -> PathCollection:
    size = float(np.clip(12_000 / max(len(cells), 1), 0.8, 14))
    drawn: PathCollection = axes.scatter(
        cells["umap1"], cells["umap2"], s=size, c=colours, linewidths=0, alpha=0.85,
        rasterized=True, **options,
    )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_box_aspect(1)
    axes.spines[:].set(color="#cccccc", linewidth=0.8)
    axes.spines[:].set_visible(True)
    return drawn
