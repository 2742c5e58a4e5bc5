"""Figures of the Student's attributions: the strongest genes of every label, and cell by cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from plkd.figures.labels import plain
from plkd.figures.panels import label_panels
from plkd.figures.style import PALETTE, SEQUENTIAL, add_heading
from plkd.interpret.attributed_cells import AttributedCells

PRESENT, ABSENT = PALETTE[0], PALETTE[5]
PRESENCE = {
    True: (PRESENT, "expressed more than in the background"),
    False: (ABSENT, "expressed less: known by its absence"),
}


def plot_top_genes(genes: pd.DataFrame, *, top: int = 10) -> Figure:
    """Draw the genes of largest mean absolute attribution, a panel per label.

    Parameters
    ----------
    genes
        As :func:`plkd.interpret.key_genes.gene_table` gives them.
    top
        Genes per label.
    """
    shown = genes[genes["rank"] <= top]
    labels = list(shown["label"].unique())
    figure, panels = label_panels(
        [f"{label} ({n} cells)" for label, n in _cells(genes).items()], top
    )
    for panel, label in zip(panels, labels, strict=True):
        table = shown[shown["label"] == label]
        panel.barh(
            table["rank"],
            table["mean_abs_attribution"],
            color=[PRESENCE[bool(p)][0] for p in table["present"]],
            height=0.75,
        )
        name_rows(panel, table["gene"], top)
        panel.set_xlim(0, None)
        panel.xaxis.get_major_locator().set_params(nbins=4)
    presence_legend(figure)
    figure.supxlabel("mean |attribution| (logit)", fontsize=9)
    return figure


def plot_beeswarm(attributed: AttributedCells, genes: pd.DataFrame, *, top: int = 10) -> Figure:
    """Draw the attributions of the top genes cell by cell, a panel per label.

    Parameters
    ----------
    attributed
        The cells.
    genes
        Their table, :func:`plkd.interpret.key_genes.gene_table`.
    top
        Genes per label.
    """
    shown = genes[genes["rank"] <= top]
    labels = list(shown["label"].unique())
    column = {gene: i for i, gene in enumerate(attributed.genes)}
    expression = attributed.cells.tocsc()
    figure, panels = label_panels(
        [f"{label} ({n} cells)" for label, n in _cells(genes).items()], top
    )
    points = None
    for panel, label in zip(panels, labels, strict=True):
        cells = np.flatnonzero(attributed.codes == attributed.labels.index(label))
        table = shown[shown["label"] == label]
        panel.axvline(0, color="#888888", linewidth=0.7, zorder=0)
        for rank, gene in table[["rank", "gene"]].itertuples(index=False):
            everywhere = expression[:, column[gene]].toarray()[:, 0]
            values = attributed.values[cells, column[gene]]
            highest = float(everywhere.max()) or 1.0
            points = _swarm(panel, values, rank, everywhere[cells] / highest)
        name_rows(panel, table["gene"], top)
        panel.xaxis.get_major_locator().set_params(nbins=4)
    if points is not None:
        bar = figure.colorbar(points, ax=panels, location="bottom", shrink=0.4, aspect=40, pad=0.02)
        bar.set_ticks([0, 1], labels=["not expressed", "highest of all cells shown"])
        bar.set_label("expression of the gene")
        bar.outline.set_visible(False)
    add_heading(figure, "What each gene adds to the logit of the label, one point per cell")
    return figure


def presence_legend(figure: Figure) -> None:
    """Say what the two colours of bars mean."""
    handles = [Patch(color=colour, label=text) for colour, text in PRESENCE.values()]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)


def name_rows(panel: Any, names: pd.Series, n_rows: int) -> None:
    """Label the rows 1, 2, .. of a panel with names, the first on top."""
    panel.set_yticks(range(1, len(names) + 1), [plain(name) for name in names])
    panel.set_ylim(max(n_rows, len(names)) + 0.6, 0.4)


def _cells(genes: pd.DataFrame) -> dict[str, int]:
    first = genes.drop_duplicates("label")
    return dict(zip(first["label"], first["cells"], strict=True))


def _swarm(
    panel: Any, values: NDArray[np.float32], row: int, colours: NDArray[np.float32]
) -> PathCollection:
    """Points along a row, spread where they are dense."""
    spread = np.zeros(len(values))
    if len(values) > 1 and np.ptp(values) > 0:
        bins = np.floor((values - values.min()) / np.ptp(values) * 24).astype(int)
        for code in np.unique(bins):
            members = np.flatnonzero(bins == code)
            share = min(1.0, len(members) / 8)
            spread[members] = np.linspace(-1, 1, len(members)) * share if len(members) > 1 else 0
    order = np.argsort(colours, kind="stable")
    points: PathCollection = panel.scatter(
        values[order], row + 0.32 * spread[order], c=colours[order], cmap=SEQUENTIAL,
        vmin=0, vmax=1, s=5, linewidths=0, rasterized=len(values) > 200,
    )  # fmt: skip
    return points
