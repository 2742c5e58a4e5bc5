"""Gene networks of the labels: one ring of genes per label, with the pathways beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import networkx as nx
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from plkd.figures.labels import label_colours, plain, short
from plkd.figures.pathways import pathway_labels
from plkd.figures.style import add_heading, new_figure

_WIDTH, _HEIGHT = 7.4, 3.5  # of one label, inches


def plot_networks(
    networks: Mapping[str, nx.Graph],
    genes: pd.DataFrame,
    pathways: Mapping[str, list[str]],
    names: Mapping[str, str],
    *,
    title: str = "",
    columns: int = 2,
) -> Figure:
    """Draw the network of every label.

    Genes stand on a ring, those of a pathway side by side, with their names outside. The larger a
    gene's dot, the better its rank by the Q statistic (in bold: the first, if it is one). Lines:
    similar embeddings, the more similar the darker. Colours: the first of the label's pathways that
    has the gene; the pathways are listed beside the ring.

    Parameters
    ----------
    networks
        label -> network (:func:`plkd.interpret.networks.build_network`).
    genes
        Genes of all networks: `label` and the columns of
        :func:`plkd.interpret.networks.rank_genes`.
    pathways
        label -> its pathways, best first.
    names
        pathway -> name.
    title
        Title of the figure.
    columns
        Labels side by side.
    """
    columns = max(min(columns, len(networks)), 1)
    rows = max(-(-len(networks) // columns), 1)
    figure, grid = new_figure(
        _WIDTH * columns, 0.4 + _HEIGHT * rows, rows, 2 * columns,
        squeeze=False, width_ratios=[1.0, 0.95] * columns,
    )  # fmt: skip
    panels = grid.reshape(-1, 2)
    for (label, graph), (ring, key) in zip(networks.items(), panels, strict=False):
        table = genes[genes["label"] == label]
        _draw(ring, key, graph, table, pathways[label], names)
        ring.set_title(short(label, 40), fontweight="bold")
    for axes in panels.ravel():
        axes.set_axis_off()
    add_heading(figure, title)
    # more room, because the names of the first row come close to the title
    cast(ConstrainedLayoutEngine, figure.get_layout_engine()).set(h_pad=0.12)
    return figure


def _draw(
    ring: Axes,
    key: Axes,
    graph: nx.Graph,
    table: pd.DataFrame,
    pathways: list[str],
    names: Mapping[str, str],
) -> None:
    colours = label_colours(pathways)
    first = {
        gene: joined.split(";")[0]
        for gene, joined in zip(table["gene"], table["pathway"], strict=True)
    }
    order = sorted(graph, key=lambda gene: (pathways.index(first[gene]), gene))
    place = dict(zip(order, _on_a_ring(len(order)), strict=True))
    shared = dict(zip(table["gene"], table["rank"].rank(), strict=True))  # ties: the mean rank
    for one, other, data in graph.edges(data=True):
        ring.plot(
            *np.array([place[one], place[other]]).T, color="#555555", zorder=1,
            alpha=min(0.15 + data["weight"], 1), linewidth=0.4 + 1.2 * data["weight"],
        )  # fmt: skip
    n = max(len(order), 1)
    for gene, (x, y) in place.items():
        better = 1 - (shared[gene] - 1) / n
        ring.scatter(
            x, y, s=18 + 150 * better**1.5, color=colours[first[gene]], zorder=2,
            edgecolors="white", linewidths=0.6,
        )  # fmt: skip
        angle = np.degrees(np.arctan2(y, x))
        left = x < -1e-9
        ring.text(
            1.13 * x, 1.13 * y, plain(gene), fontsize=7.5, rotation=angle + 180 if left else angle,
            rotation_mode="anchor", ha="right" if left else "left", va="center",
            fontweight="bold" if shared[gene] == 1 else "normal",
        )  # fmt: skip
    ring.set_xlim(-1.75, 1.75)
    ring.set_ylim(-1.7, 1.7)
    ring.set_aspect("equal")
    if not graph.number_of_edges():
        ring.text(0, 0, "no two genes\nare similar", ha="center", va="center", color="#888888")
    elif "expected_edges" in graph.graph:
        by_chance = graph.graph["expected_edges"]
        said = f"{graph.number_of_edges()} similar pairs\n{by_chance:.0f} by chance"
        ring.text(-1.75, -1.7, said, fontsize=7, color="#666666", va="bottom")
    texts = pathway_labels({pathway: names.get(pathway, pathway) for pathway in pathways})
    key.set_xlim(0, 1)
    key.set_ylim(0, 1)
    for position, pathway in enumerate(pathways):
        height = 0.9 - 0.083 * position
        used = pathway in first.values()
        key.scatter(
            0.02, height, s=34, color=colours[pathway] if used else "none",
            edgecolors=colours[pathway], clip_on=False,
        )  # fmt: skip
        key.text(
            0.06, height, f"{position + 1}. {texts[pathway]}", fontsize=6.8, va="center",
        )  # fmt: skip


def _on_a_ring(n: int) -> list[tuple[float, float]]:
    """Points of a circle, clockwise from the top."""
    angles = np.pi / 2 - 2 * np.pi * (np.arange(n) + 0.5) / max(n, 1)
    return list(zip(np.cos(angles).tolist(), np.sin(angles).tolist(), strict=True))
