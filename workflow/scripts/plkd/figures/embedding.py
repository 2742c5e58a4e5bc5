"""Cells of reference and query on the plane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from plkd.figures.labels import label_colours, plain, short
from plkd.figures.style import new_figure

NO_LABEL = "no label"
_GREY = "#bbbbbb"


def plot_embedding(
    coordinates: pd.DataFrame,
    reference_labels: Sequence[str],
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
    reference_labels
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
    unseen = sorted(set(labels) - set(reference_labels) - {NO_LABEL})
    present = [name for name in reference_labels if name in set(labels)] + unseen
    rows: dict[str, list[str]] = {"label": present, "role": ["reference", "query"]}
    batches = sorted(shuffled["batch"].astype(str).unique())
    if len(batches) > 1 and len(shuffled[["batch", "role"]].drop_duplicates()) > 2:
        rows["batch"] = batches

    legends = {key: _legend_texts(key, names, unseen) for key, names in rows.items()}
    legend_width = max(0.4 + _n_columns(t) * (0.35 + 0.062 * max(map(len, t), default=0))
                       for t in [*legends.values(), ["* not in the reference"]])  # fmt: skip
    figure, grid = new_figure(
        3.0 * len(spaces) + legend_width, 3.0 * len(rows) + 0.5, len(rows), len(spaces) + 1,
        squeeze=False, width_ratios=[3.0] * len(spaces) + [legend_width],
    )  # fmt: skip
    colours = {
        "label": label_colours([*reference_labels, *unseen]),
        "role": {"reference": "#E69F00", "query": "#0072B2"},
        "batch": label_colours(batches),
    }
    for column, (space, title) in enumerate(spaces.items()):
        cells = shuffled[shuffled["space"] == space]
        for axes, (key, names) in zip(grid[:, column], rows.items(), strict=True):
            _scatter(axes, cells, cells[key].astype(str), colours[key])
            if key == "label":
                _number_groups(axes, cells, names)
            axes.set_title(plain(title) if key == "label" else "")
    titles = {"label": "cell type" + ("\n* not in the reference" if unseen else "")}
    for (key, names), axes in zip(rows.items(), grid[:, -1], strict=True):
        axes.set_axis_off()
        _add_legend(
            axes, legends[key], [colours[key][name] for name in names], titles.get(key, key)
        )
    if subtitle:
        figure.supxlabel(plain(subtitle), fontsize=8, color="#555555")
    return figure


def plot_integration(
    coordinates: pd.DataFrame,
    reference_labels: Sequence[str],
    *,
    spaces: dict[str, str],
    subtitle: str = "",
    seed: int = 0,
) -> Figure:
    """Draw UMAPs of several embeddings of the same cells: a row each, by batch and by cell type.

    Parameters
    ----------
    coordinates
        As for :func:`plot_embedding`.
    reference_labels
        Labels of the reference, which fixes the colours; other labels come after them.
    spaces
        Titles of the rows, by the values of `space`.
    subtitle
        What a reader must know.
    seed
        Of the order in which points cover each other.
    """
    shuffled = coordinates[coordinates["label"].notna()].sample(frac=1, random_state=seed)
    labels, batches = (shuffled[name].astype(str) for name in ("label", "batch"))
    unseen = sorted(set(labels) - set(reference_labels))
    columns = {
        "batch": sorted(batches.unique()),
        "label": [name for name in reference_labels if name in set(labels)] + unseen,
    }
    colours = {
        "batch": label_colours(columns["batch"]),
        "label": label_colours([*reference_labels, *unseen]),
    }
    texts = {key: _legend_texts(key, names, unseen) for key, names in columns.items()}
    per_column = max(4, int(14 * len(spaces)))
    widths = {
        key: 0.3 + (1 + (len(one) - 1) // per_column) * (0.35 + 0.062 * max(map(len, one)))
        for key, one in texts.items()
    }
    figure, grid = new_figure(
        6.0 + sum(widths.values()), 3.0 * len(spaces) + 0.5, len(spaces), 4, squeeze=False,
        width_ratios=[3.0, widths["batch"], 3.0, widths["label"]],
    )  # fmt: skip
    for row, (space, title) in zip(grid, spaces.items(), strict=True):
        cells = shuffled[shuffled["space"] == space]
        for axes, key in zip(row[::2], columns, strict=True):
            _scatter(axes, cells, cells[key].astype(str), colours[key])
            if key == "label":
                _number_groups(axes, cells, columns[key])
        row[0].set_ylabel(plain(title), fontsize=10)
        for axes in row[1::2]:
            axes.remove()
    for axes, key in zip(grid[0, ::2], columns, strict=True):
        axes.set_title({"batch": "by batch", "label": "by cell type"}[key])
    for place, key in zip((1, 3), columns, strict=True):
        # beside all rows: one that is longer than the first would push the others down
        axes = figure.add_subplot(grid[0, 0].get_gridspec()[:, place])
        axes.set_axis_off()
        handles = [_dot(colours[key][name]) for name in columns[key]]
        axes.legend(
            handles, [f" {text}" for text in texts[key]], alignment="left", loc="upper left",
            title="* not in the reference" if key == "label" and unseen else None,
            title_fontsize=7.5, ncols=1 + (len(handles) - 1) // per_column, borderaxespad=0,
            handletextpad=0.2, columnspacing=0.8, fontsize=7.5, bbox_to_anchor=(0, 1),
        )  # fmt: skip
    if subtitle:
        figure.supxlabel(plain(subtitle), fontsize=8, color="#555555")
    return figure


def _dot(colour: str) -> Line2D:
    return Line2D([], [], linestyle="", marker="o", markersize=5, color=colour)


def _scatter(axes: Axes, cells: pd.DataFrame, groups: pd.Series, colours: dict[str, str]) -> None:
    size = float(np.clip(12_000 / max(len(cells), 1), 0.8, 14))
    axes.scatter(
        cells["umap1"], cells["umap2"], s=size, linewidths=0, alpha=0.8, rasterized=True,
        c=[colours.get(group, _GREY) for group in groups],
    )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_box_aspect(1)
    axes.spines[:].set(color="#cccccc", linewidth=0.8)
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


def _legend_texts(key: str, names: Sequence[str], unseen: Sequence[str]) -> list[str]:
    """Cell types bear the numbers that stand in the map, and a star if the reference lacks them."""
    if key != "label":
        return [short(name) for name in names]
    return [
        f"{number} {short(name)}{' *' if name in unseen else ''}"
        for number, name in enumerate(names, start=1)
    ]


def _n_columns(texts: Sequence[str]) -> int:
    return 1 + (len(texts) - 1) // 18


def _add_legend(axes: Axes, texts: Sequence[str], colours: Sequence[str], title: str) -> None:
    handles = [_dot(colour) for colour in colours]
    axes.legend(
        # matplotlib leaves out entries that begin with "_"
        handles, [f" {text}" for text in texts], title=title, title_fontsize=8, alignment="left",
        loc="center left", bbox_to_anchor=(0, 0.5), borderaxespad=0, ncols=_n_columns(texts),
        handletextpad=0.2, columnspacing=0.8, fontsize=7.5,
    )  # fmt: skip
