"""Small multiples: one panel per label, in rows that fit a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from plkd.figures.labels import short
from plkd.figures.style import new_figure

GENE_ROW = 0.16  # inches


def label_panels(
    titles: Sequence[str],
    n_rows: int,
    *,
    columns: int = 4,
    width: float = 2.3,
    head: float = 0.55,
) -> tuple[Figure, list[Any]]:
    """Make a figure of one panel per title, each for `n_rows` rows of text.

    Returns
    -------
    The figure and the axes, one per title.
    """
    n_columns = max(1, min(columns, len(titles)))
    n_lines = math.ceil(len(titles) / n_columns)
    height = head + GENE_ROW * max(n_rows, 3)
    figure, axes = new_figure(
        width * n_columns, height * n_lines + 0.5, n_lines, n_columns, squeeze=False
    )
    panels = list(axes.ravel())
    for panel in panels[len(titles) :]:
        panel.remove()
    for panel, title in zip(panels, titles, strict=False):
        panel.set_title(short(title, 30), fontsize=8)
        panel.tick_params(labelsize=7)
        panel.tick_params(axis="y", length=0)
    return figure, panels[: len(titles)]
