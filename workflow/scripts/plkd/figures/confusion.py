"""Confusion matrix as a heat map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from plkd.figures.labels import plain, short
from plkd.figures.style import new_figure


def plot_confusion(
    confusion: pd.DataFrame, reference_labels: Sequence[str], *, title: str = ""
) -> Figure:
    """Draw which labels the cells of every true label got.

    Parameters
    ----------
    confusion
        Columns `true`, `predicted`, `n`, `n_unknown` of one method
        (:func:`plkd.evaluation.metrics.confusion_table`).
    reference_labels
        Labels of the reference, in the order to show them. Those that the query neither holds nor
        gets are left out; true labels that are not among them come last, below a line.
    title
        Title of the figure.
    """
    known_cells = confusion.assign(n=confusion["n"] - confusion["n_unknown"])
    counts = known_cells.pivot_table(
        index="true", columns="predicted", values="n", aggfunc="sum", fill_value=0
    )
    unknown = confusion.groupby("true")["n_unknown"].sum()
    counts = counts.loc[:, counts.any()]
    known = [name for name in reference_labels if name in counts.index or name in counts.columns]
    rows = [name for name in known if name in counts.index]
    n_known = len(rows)
    rows += sorted(set(counts.index) - set(known))
    columns = known + sorted(set(counts.columns) - set(known))
    matrix = counts.reindex(index=rows, columns=columns, fill_value=0).to_numpy(dtype=float)
    matrix = np.column_stack([matrix, unknown.reindex(rows).to_numpy(dtype=float)])
    totals = matrix.sum(axis=1)
    share = 100 * np.divide(matrix, totals[:, None], where=totals[:, None] > 0, out=matrix * 0)

    cell = 0.62 if max(matrix.shape, default=0) <= 12 else 0.27
    names = [*map(short, columns), "unknown"]
    margin = 0.07 * max(map(len, names), default=0)
    figure, axes = new_figure(
        max(4.2, 2.2 + margin + cell * len(names)), max(2.8, 1.0 + margin + cell * len(rows))
    )
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=100, aspect="equal")
    _write_shares(axes, matrix, share, with_counts=cell > 0.5)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(
        range(len(rows)),
        [f"{short(name)} ({total:,.0f})" for name, total in zip(rows, totals, strict=True)],
    )
    axes.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#e4e4e4", linewidth=0.6)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.axvline(len(columns) - 0.5, color="#444444", linewidth=1.0)
    if n_known < len(rows):
        axes.axhline(n_known - 0.5, color="#D55E00", linewidth=1.4)
        for tick in axes.get_yticklabels()[n_known:]:
            tick.set_color("#D55E00")
    axes.set_xlabel("predicted label")
    axes.set_ylabel("true label (cells)" + ("; orange: not in the reference"
                                            if n_known < len(rows) else ""))  # fmt: skip
    axes.set_title(plain(title))
    figure.colorbar(image, ax=axes, label="% of the true label", shrink=0.6, aspect=18, pad=0.02)
    return figure


def _write_shares(axes: Axes, matrix: NDArray, share: NDArray, *, with_counts: bool) -> None:
    """Write the shares (and counts) of the filled fields into them."""
    for row, column in zip(*np.nonzero(matrix), strict=True):
        value = share[row, column]
        percent = f"{value:.0f}" if value >= 0.5 else "<1"
        text = f"{percent}%\n{matrix[row, column]:,.0f}" if with_counts else percent
        if with_counts or value >= 0.5:
            axes.text(
                column, row, text, ha="center", va="center",
                fontsize=7 if with_counts else 6, color="white" if value > 55 else "#222222",
            )  # fmt: skip
