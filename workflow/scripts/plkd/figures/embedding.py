"""Cells of reference and query on the plane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from plkd.figures import new_figure
from plkd.figures.labels import class_colours, plain, short

NO_LABEL = "no label"
_GREY = "#bbbbbb"


def plot_embedding(
    coordinates: pd.DataFrame,
    reference_classes: Sequence[str],
    *,
    spaces: dict[str, str] | None = None,
    subtitle: str = "",
    seed: int = 0,
) -> Figure:
    """Draw UMAPs: one column per space, rows coloured by cell type, by role and by batch.

    Parameters
    ----------
    coordinates
        Columns `space`, `umap1`, `umap2`, `label` (null: not known), `role` (reference or query)
        and `batch`; one row per cell and space.
    reference_classes
        Labels of the reference, which fixes the colours; other labels come after them.
    spaces
        Titles of the columns, by the values of `space`; default: the values themselves.
    subtitle
        What a reader must know, e.g. how many cells were drawn.
    seed
        Of the order in which points cover each other.

    Notes
    -----
    Each cell type bears a number, so that the figure can be read without its colours. The row of
    batches is left out where the batches are the same groups as the roles, or one only.
    """
    spaces = spaces or {str(space): str(space) for space in coordinates["space"].unique()}
    shuffled = coordinates.sample(frac=1, random_state=seed)
    labels = shuffled["label"].astype(object).where(shuffled["label"].notna(), NO_LABEL).astype(str)
    shuffled = shuffled.assign(label=labels)
    unseen = sorted(set(labels) - set(reference_classes) - {NO_LABEL})
    present = [name for name in reference_classes if name in set(labels)] + unseen
    rows: dict[str, list[str]] = {"label": present, "role": ["reference", "query"]}
    batches = sorted(shuffled["batch"].astype(str).unique())
    if len(batches) > 1 and len(shuffled[["batch", "role"]].drop_duplicates()) > 2:
        rows["batch"] = batches

    n_legend_columns = 1 + (len(present) - 1) // 20
    figure, grid = new_figure(
        3.1 * len(spaces) + 2.4 * n_legend_columns, 3.0 * len(rows) + 0.5,
        len(rows), len(spaces), squeeze=False,
    )  # fmt: skip
    colours = {
        "label": class_colours([*reference_classes, *unseen]),
        "role": {"reference": "#E69F00", "query": "#0072B2"},
        "batch": class_colours(batches),
    }
    for column, (space, title) in enumerate(spaces.items()):
        cells = shuffled[shuffled["space"] == space]
        for axes, (key, names) in zip(grid[:, column], rows.items(), strict=True):
            _scatter(axes, cells, cells[key].astype(str), colours[key])
            if key == "label":
                _number_groups(axes, cells, names)
            axes.set_title(plain(title) if key == "label" else "")
    for key, axes in zip(rows, grid[:, -1], strict=True):
        names = rows[key]
        texts = [
            f"{i} {short(name)}{' *' if name in unseen else ''}" if key == "label" else short(name)
            for i, name in enumerate(names, start=1)
        ]
        heading = {"label": "cell type" + (" (* not in the reference)" if unseen else "")}
        _add_legend(axes, texts, [colours[key][name] for name in names], heading.get(key, key))
    if subtitle:
        figure.supxlabel(plain(subtitle), fontsize=8, color="#555555")
    return figure


def _scatter(axes: Axes, cells: pd.DataFrame, groups: pd.Series, colours: dict[str, str]) -> None:
    size = float(np.clip(12_000 / max(len(cells), 1), 0.8, 14))
    axes.scatter(
        cells["umap1"], cells["umap2"], s=size, linewidths=0, alpha=0.8, rasterized=True,
        c=[colours.get(group, _GREY) for group in groups],
    )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#cccccc")
    axes.spines[:].set_visible(True)


def _number_groups(axes: Axes, cells: pd.DataFrame, names: Sequence[str]) -> None:
    """Write each group's number where its cells are densest around the median."""
    for number, name in enumerate(names, start=1):
        members = cells.loc[cells["label"] == name, ["umap1", "umap2"]].to_numpy()
        if not len(members):
            continue
        # The member nearest to the median: a median alone may fall between two islands.
        distance = np.linalg.norm(members - np.median(members, axis=0), axis=1)
        x, y = members[distance.argmin()]
        axes.text(
            x, y, str(number), ha="center", va="center", fontsize=7.5, fontweight="bold",
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )  # fmt: skip


def _add_legend(axes: Axes, texts: Sequence[str], colours: Sequence[str], title: str) -> None:
    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=5, color=colour) for colour in colours
    ]
    axes.legend(
        # matplotlib leaves out entries that begin with "_"
        handles, [f" {text}" for text in texts], title=title, alignment="left",
        loc="center left", bbox_to_anchor=(1.02, 0.5), ncols=1 + (len(texts) - 1) // 20,
        handletextpad=0.2, columnspacing=0.8, fontsize=7.5,
    )  # fmt: skip
