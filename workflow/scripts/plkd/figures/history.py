"""Training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from plkd.figures.labels import plain
from plkd.figures.style import new_figure, palette

_NO_LOSS = ("epoch", "step", "seconds", "learning_rate")


def plot_history(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw losses and accuracies over the epochs, one row per model.

    Parameters
    ----------
    histories
        Training history by the model's name: `epoch`, any loss columns (`loss`, `clustering`,
        `cross_entropy` ..), any accuracies (columns whose names hold `accuracy`), optionally
        `learning_rate`.
    """
    figure, grid = new_figure(9.5, 2.9 * len(histories), len(histories), 3, squeeze=False)
    for (title, history), (losses, accuracies, rate) in zip(histories.items(), grid, strict=True):
        numbers = history.select_dtypes("number").dropna(axis="columns", how="all")
        names = [str(name) for name in numbers.columns]
        accuracy_columns = [name for name in names if "accuracy" in name]
        loss_columns = [
            name for name in names if name not in accuracy_columns and name not in _NO_LOSS
        ]
        _draw(losses, numbers, loss_columns, f"{title}: losses")
        _draw(accuracies, numbers, accuracy_columns, f"{title}: accuracy")
        if accuracy_columns:
            accuracies.set_ylim(top=1.0)
        _draw(rate, numbers, [c for c in names if c == "learning_rate"], f"{title}: learning rate")
        rate.ticklabel_format(axis="y", style="plain", useOffset=False)
    return figure


def _draw(axes: Axes, history: pd.DataFrame, columns: Sequence[str], title: str) -> None:
    """Draw some columns of a history into one panel; an empty panel disappears."""
    if not columns:
        axes.set_axis_off()
        return
    epochs = history["epoch"] if "epoch" in history else history.index + 1
    for colour, column in zip(palette(len(columns)), columns, strict=True):
        axes.plot(
            epochs, history[column], color=colour, marker="o" if len(history) <= 30 else "",
            markersize=3, label=plain(column.replace("_", " ")),
        )  # fmt: skip
    axes.set_title(plain(title))
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y")
    if len(columns) > 1:
        axes.legend()
