"""The style that all figures share, and how they are made and written.

Figures are made with :func:`new_figure`, without ``pyplot``: no window, no global state, and the
Agg renderer whatever the machine offers.

>>> with style():
...     figure, axes = new_figure(6, 4)
...     axes.plot([0, 1], [0, 1])
...     save_figure(figure, "line.png", "line.pdf")
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from plkd.utils.files import whole_file

# Okabe and Ito (2008), distinguishable with every common kind of colour blindness; yellow comes
# last because it is faint on white.
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#E69F00",
    "#000000",
    "#F0E442",
)
# For ordered values; perceptually even, readable in grey and with colour blindness.
SEQUENTIAL = "cividis"

_SETTINGS: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.grid": False,
    "axes.labelsize": 9,
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.facecolor": "white",
    "figure.titlesize": 11,
    "font.size": 9,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "image.cmap": SEQUENTIAL,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text stays text, so that a figure can be edited for a paper
    "savefig.bbox": "tight",  # titles at the edge are not cut off
    "savefig.dpi": 200,
    "savefig.pad_inches": 0.08,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}


@contextmanager
def style() -> Iterator[None]:
    """Use the shared fonts, sizes and colours inside the block, and leave the rest of Python alone.

    Saving belongs inside the block too, because some settings are read only then.
    """
    with matplotlib.rc_context(_SETTINGS):
        yield


def new_figure(
    width: float, height: float, nrows: int = 1, ncols: int = 1, **subplots: Any
) -> tuple[Figure, Any]:
    """Make a figure with constrained layout.

    Parameters
    ----------
    width, height
        Size in inches.
    nrows, ncols
        Rows and columns of panels.
    **subplots
        Further arguments of :meth:`matplotlib.figure.Figure.subplots`.

    Returns
    -------
    The figure, and its axes: one, or an array of them, as ``Figure.subplots`` gives.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(nrows, ncols, **subplots)


def add_heading(figure: Figure, text: str) -> None:
    """Title of a whole figure: at its left edge, in lines that are no longer than it is wide."""
    heading = figure.suptitle(text, x=0.01, ha="left")
    size = heading.get_fontproperties().get_size_in_points()
    letters = int(72 * figure.get_figwidth() / (_LETTER * size))
    lines = [line for given in text.split("\n") for line in textwrap.wrap(given, letters) or [""]]
    heading.set_text("\n".join(lines))


_LETTER = 0.55  # width of one in the mean, of the size of the font


def palette(n: int) -> list[str]:
    """Give `n` colours: Okabe-Ito first, then the same hues darker, then lighter, then again."""
    shades = [
        *PALETTE,
        *(_blend(colour, "black", 0.4) for colour in PALETTE if colour != "#000000"),
        *(_blend(colour, "white", 0.5) for colour in PALETTE),
    ]
    return [shades[i % len(shades)] for i in range(n)]


def save_figure(figure: Figure, png_path: str | Path, pdf_path: str | Path) -> None:
    """Write a figure as PNG and as PDF, each whole or not at all, without dates inside.

    It is laid out once, which takes as long as drawing it, and so both files show the same.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    inside = figure.get_tightbbox().padded(_SETTINGS["savefig.pad_inches"])
    with whole_file(png_path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches=inside)
    with whole_file(pdf_path) as temporary:
        figure.savefig(temporary, format="pdf", bbox_inches=inside, metadata={"CreationDate": None})


def _blend(colour: str, other: str, share: float) -> str:
    (r, g, b), (r2, g2, b2) = to_rgb(colour), to_rgb(other)
    keep = 1 - share
    return to_hex((keep * r + share * r2, keep * g + share * g2, keep * b + share * b2))
