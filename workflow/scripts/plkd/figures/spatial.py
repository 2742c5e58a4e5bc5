"""Labels on the slide: where the cells or spots of each slice lie, and what they were called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from plkd.figures.labels import label_colours, plain, short
from plkd.figures.style import SEQUENTIAL, add_heading, new_figure

SLICES_PER_FIGURE = 4
SLICES_IN_A_ROW = 6
MAX_FIGURES = 6
PANEL = 2.6  # inches
N_AROUND = 20  # cells of one label that make a place for its number
GREY = "#d0d0d0"
AGREEMENT = {"right": GREY, "wrong": "#D55E00", "not in the reference": "#000000"}
_TITLES = {
    "true_label": "true labels",
    "label": "Student's labels",
    "slide_label": "with the cells around",
    "confidence": "confidence",
    "agreement": "wrong cells",
}


def slide_table(
    predictions: pd.DataFrame,
    truth: pd.DataFrame,
    spatial: NDArray[np.floating],
    reference_labels: Sequence[str],
    slide_labels: NDArray[np.object_] | None = None,
) -> pd.DataFrame:
    """What the figure shows, one row per cell of the query.

    Parameters
    ----------
    predictions
        Prediction table of the prepared query.
    truth
        Columns `cell_id`, `label` (null where not known) and `batch`.
    spatial
        Coordinates (n_cells, 2 or more), in the order of `predictions`; the first two are drawn.
    reference_labels
        Labels that the reference has.
    slide_labels
        Label of every cell by what is said of the cells around as well; None: there is none.

    Returns
    -------
    DataFrame
        ``x``, ``y``, ``slice`` (the batch), ``label``, ``confidence``, ``true_label`` (null where
        not known), ``agreement`` (right, wrong, not in the reference, or null) and, if given,
        ``slide_label``.
    """
    known = truth.set_index("cell_id").loc[predictions["cell_id"]]
    true = known["label"].to_numpy(dtype=object)
    is_known = known["label"].notna().to_numpy()
    label = predictions["label"].astype(str).to_numpy(dtype=object)
    agreement = np.where(true == label, "right", "wrong").astype(object)
    agreement[is_known & ~known["label"].isin(set(reference_labels)).to_numpy()] = (
        "not in the reference"
    )
    agreement[~is_known] = None
    table = pd.DataFrame(
        {
            "x": spatial[:, 0],
            "y": spatial[:, 1],
            "slice": known["batch"].astype(str).to_numpy(),
            "label": label,
            "confidence": predictions["confidence"].to_numpy(dtype=float),
            "true_label": true,
            "agreement": agreement,
        }
    )
    return table if slide_labels is None else table.assign(slide_label=slide_labels)


def plot_slides(
    cells: pd.DataFrame, reference_labels: Sequence[str], *, subtitle: str = ""
) -> Iterator[Figure]:
    """Draw a row per slice: true labels, the Student's, its confidence, and where it is wrong.

    Where there are labels with the cells around, they stand beside the Student's.

    Parameters
    ----------
    cells
        From :func:`slide_table`.
    reference_labels
        Labels of the reference, which fixes colours and numbers as in the map of the cells.
    subtitle
        What a reader must know.

    Yields
    ------
    Figure
        With at most `SLICES_PER_FIGURE` slices each, and at most `MAX_FIGURES` of them; titles say
        which slices are shown, and how many are not.

    Notes
    -----
    Both axes have one scale and y points down, as on the slide. Without true labels the first and
    the last column are left out. Points are as large as the distance between neighbours allows.
    """
    slices = sorted(cells["slice"].unique())
    shown = slices[: SLICES_PER_FIGURE * MAX_FIGURES]
    known = cells["true_label"].dropna().astype(str)
    named = {*known, *cells["label"], *cells.get("slide_label", ())}
    unseen = sorted(set(known) - set(reference_labels))
    labels = [*reference_labels, *unseen]
    colours = label_colours(labels)
    legend = {
        name: f"{number} {short(name)}{' *' if name in unseen else ''}"
        for number, name in enumerate(labels, start=1)
        if name in named
    }
    for start in range(0, len(shown), SLICES_PER_FIGURE):
        page = shown[start : start + SLICES_PER_FIGURE]
        title = ""
        if len(slices) > SLICES_PER_FIGURE:
            title = f"slices {start + 1} to {start + len(page)} of {len(slices)}"
            if len(shown) < len(slices):
                title += f" (of which the first {len(shown)} are drawn)"
        yield _page(cells, page, legend, bool(unseen), colours, title, subtitle)


def plot_truth_above(
    cells: pd.DataFrame, reference_labels: Sequence[str], *, title: str = ""
) -> Figure:
    """Draw slices side by side: the true labels above, the Student's below (the paper's Figure 4).

    Parameters
    ----------
    cells
        From :func:`slide_table`; of more than `SLICES_IN_A_ROW` slices the first are drawn.
    reference_labels
        Labels of the reference, which fixes the colours.
    title
        Of the figure.
    """
    slices = sorted(cells["slice"].unique())
    shown = slices[:SLICES_IN_A_ROW]
    members = [cells[cells["slice"] == name] for name in shown]
    named = {*cells["true_label"].dropna().astype(str), *cells["label"]}
    labels = [*reference_labels, *sorted(named - set(reference_labels))]
    colours = label_colours(labels)
    height = PANEL * max(map(_aspect, members))
    texts = [name for name in labels if name in named]
    n_columns = 1 + (len(texts) - 1) // 22
    width = 0.5 + n_columns * (0.35 + 0.062 * max(len(short(name)) for name in texts))
    figure, grid = new_figure(
        PANEL * len(shown) + width, 2 * height + 0.8, 2, len(shown) + 1, squeeze=False,
        width_ratios=[PANEL] * len(shown) + [width],
    )  # fmt: skip
    for column, (name, one) in enumerate(zip(shown, members, strict=True)):
        size = _point_size(one, height)
        for axes, key in zip(grid[:, column], ("true_label", "label"), strict=True):
            _draw(axes, one, key, colours, size)
        grid[0, column].set_title(short(name, 26), fontsize=9)
        grid[1, column].set_xlabel(_accuracy(one), fontsize=8)
    grid[0, 0].set_ylabel("truth")
    grid[1, 0].set_ylabel("prediction")
    for axes in grid[:, -1]:
        axes.set_axis_off()
    figure.legend(
        [_dot(colours[name]) for name in texts], [f" {short(name)}" for name in texts],
        loc="center right", ncols=n_columns, handletextpad=0.2, columnspacing=0.8, fontsize=7.5,
        borderaxespad=0.2,
    )  # fmt: skip
    if len(slices) > len(shown):
        title += f" ({len(shown)} of {len(slices)} slices)"
    if title:
        add_heading(figure, plain(title))
    return figure


def _page(
    cells: pd.DataFrame,
    slices: Sequence[str],
    legend: dict[str, str],
    has_unseen: bool,
    colours: dict[str, str],
    title: str,
    subtitle: str,
) -> Figure:
    columns = [name for name in _TITLES if name in cells]
    if cells["true_label"].isna().all():
        columns = [name for name in columns if name not in ("true_label", "agreement")]
    texts = list(legend.values())
    members = [cells[cells["slice"] == name] for name in slices]
    heights = [PANEL * _aspect(one) for one in members]
    height = sum(heights) + 0.3 * len(slices) + 1.1
    n_columns = 1 + (len(texts) - 1) // min(18, max(4, int((height - 0.6) / 0.18)))
    legend_width = 0.5 + n_columns * (0.35 + 0.062 * max(map(len, texts)))
    figure, grid = new_figure(
        PANEL * len(columns) + legend_width, height, len(slices) + 1, len(columns) + 1,
        squeeze=False, width_ratios=[PANEL] * len(columns) + [legend_width],
        height_ratios=[*heights, 0.4],
    )  # fmt: skip
    numbers = {name: text.split(" ", 1)[0] for name, text in legend.items()}
    for row, (name, one) in enumerate(zip(slices, members, strict=True)):
        size = _point_size(one, heights[row])
        for axes, column in zip(grid[row], columns, strict=False):
            _draw(axes, one, column, colours, size)
            if column in ("true_label", "label", "slide_label"):
                _number_groups(axes, one, column, numbers)
            if row == 0:
                axes.set_title(_TITLES[column])
        grid[row, 0].set_ylabel(f"{short(name, 26)}\n{len(one):,} cells", fontsize=8)
        if "agreement" in columns:
            grid[row, len(columns) - 1].set_xlabel(_accuracy(one), fontsize=8)
            if "slide_label" in columns:
                place = columns.index("slide_label")
                grid[row, place].set_xlabel(_accuracy(one, "slide_label"), fontsize=8)
    for axes in [*grid[:, -1], *grid[-1]]:
        axes.set_axis_off()
    _add_legends(
        figure, grid, columns, texts, [colours[name] for name in legend], n_columns, has_unseen
    )
    if title:
        add_heading(figure, title)
    if subtitle:
        figure.supxlabel(plain(subtitle), fontsize=8, color="#555555")
    return figure


def _draw(
    axes: Axes, cells: pd.DataFrame, column: str, colours: dict[str, str], size: float
) -> None:
    common: dict[str, Any] = {"s": size, "linewidths": 0, "rasterized": True}
    if column == "confidence":
        order = np.argsort(-cells["confidence"].to_numpy(), kind="stable")  # the doubtful on top
        axes.scatter(
            cells["x"].to_numpy()[order], cells["y"].to_numpy()[order],
            c=cells["confidence"].to_numpy()[order], cmap=SEQUENTIAL, vmin=0, vmax=1, **common,
        )  # fmt: skip
    else:
        values = cells[column].astype(object).where(cells[column].notna(), None)
        if column == "agreement":
            colours = AGREEMENT
            rank = {"right": 0, "not in the reference": 1, "wrong": 2}
            order = np.argsort([rank.get(value, -1) for value in values], kind="stable")
        else:
            order = np.arange(len(cells))
        axes.scatter(
            cells["x"].to_numpy()[order], cells["y"].to_numpy()[order],
            c=[colours.get(values.iloc[i], "#f0f0f0") for i in order], **common,
        )  # fmt: skip
    axes.set_aspect("equal", adjustable="box")
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(color="#cccccc", linewidth=0.8)
    axes.spines[:].set_visible(True)


def _add_legends(
    figure: Figure,
    grid: NDArray[np.object_],
    columns: Sequence[str],
    texts: Sequence[str],
    colours: Sequence[str],
    n_columns: int,
    has_unseen: bool,
) -> None:
    """Labels to the right of the panels; the scale of confidence and the kinds of error below."""
    title = "label" + ("\n* not in the reference" if has_unseen else "")
    figure.legend(
        [_dot(colour) for colour in colours], [f" {text}" for text in texts], title=title,
        title_fontsize=8, alignment="left", loc="center right", ncols=n_columns,
        handletextpad=0.2, columnspacing=0.8, fontsize=7.5, borderaxespad=0.2,
    )  # fmt: skip
    place = columns.index("confidence")
    bar = figure.colorbar(
        grid[0, place].collections[0], cax=grid[-1, place].inset_axes((0.15, 0.6, 0.7, 0.35)),
        orientation="horizontal",
    )  # fmt: skip
    bar.ax.tick_params(labelsize=7)
    if "agreement" in columns:
        shown = ["right", "wrong", *(["not in the reference"] if has_unseen else [])]
        grid[-1, columns.index("agreement")].legend(
            [_dot(AGREEMENT[kind]) for kind in shown], shown, loc="upper center", ncols=2,
            handletextpad=0.2, columnspacing=0.8, fontsize=7.5, borderaxespad=0,
        )  # fmt: skip


def _number_groups(axes: Axes, cells: pd.DataFrame, column: str, numbers: dict[str, str]) -> None:
    """Write each label's number on the cell that has the most cells of its label around it."""
    for name, number in numbers.items():
        places = cells.loc[cells[column] == name, ["x", "y"]].to_numpy(dtype=float)
        if not len(places):
            continue
        k = min(len(places), N_AROUND)
        distance = cKDTree(places).query(places, k=k)[0].reshape(len(places), -1)[:, -1]
        x, y = places[distance.argmin()]
        axes.text(
            x, y, number, ha="center", va="center", fontsize=6.5, fontweight="bold",
            path_effects=[withStroke(linewidth=1.8, foreground="white")],
        )  # fmt: skip


def _dot(colour: str) -> Line2D:
    return Line2D([], [], linestyle="", marker="o", markersize=5, color=colour)


def _accuracy(cells: pd.DataFrame, column: str = "label") -> str:
    """Of the labels of a column, among cells whose true label the reference has."""
    counted = cells[cells["agreement"].isin(["right", "wrong"])]
    if not len(counted):
        return "no cell to score"
    return f"accuracy {(counted[column] == counted['true_label']).mean():.3f}"


def _aspect(cells: pd.DataFrame) -> float:
    """Height of a slice by its width, within what a row of panels can bear."""
    width, height = np.ptp(cells["x"].to_numpy()), np.ptp(cells["y"].to_numpy())
    return float(np.clip(height / width if width > 0 else 1.0, 0.35, 1.6))


def _point_size(cells: pd.DataFrame, height: float) -> float:
    """Area in points² of dots that just touch their neighbours."""
    places = cells[["x", "y"]].to_numpy(dtype=float)
    if len(places) < 2:
        return 20.0
    nearest = cKDTree(places).query(places, k=2)[0][:, 1]
    extent = np.ptp(places, axis=0)
    scale = min(PANEL / max(extent[0], 1e-9), height / max(extent[1], 1e-9)) * 72 * 0.9
    return float(np.clip((np.median(nearest) * scale) ** 2, 0.3, 40))
