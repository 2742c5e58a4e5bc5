"""Silhouettes and connected parts of a space, of as many cells as there are.

Nothing here holds the distances of all cells to all: what is needed of them is added up block by
block. Where time would grow with their square, cells are drawn, and compared with all.

Steps that only gather scores import this too, so what loads slowly is imported where it is needed.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

MOST_CELLS = 300_000
"""Of more cells so many are drawn for all scores: neighbours of all take quadratic time."""
MOST_WIDTHS = 10_000
"""Cells whose silhouette width is looked at, drawn of more; the others are there to be far or near.
"""
_BLOCK = 2**24  # distances that are held at a time


def silhouette_widths(
    embedding: ArrayLike, groups: ArrayLike, most: int = MOST_WIDTHS, seed: int = 0
) -> NDArray[np.float64]:
    """Silhouette width of every cell, or of cells that are drawn, each compared with all cells.

    Parameters
    ----------
    embedding
        Of shape (n_cells, n_dimensions).
    groups
        One per cell; at least two, and fewer than cells.
    most
        Of more cells so many are drawn.
    seed
        Of the draw.

    Returns
    -------
    Array of shape (min(n_cells, most),), from -1 to 1; 0 of a cell that is alone in its group

    Examples
    --------
    >>> silhouette_widths([[0.0], [1.0], [9.0]], ["a", "a", "b"]).round(2).tolist()
    [0.89, 0.88, 0.0]
    """
    from sklearn.metrics import pairwise_distances

    X = np.asarray(embedding, dtype=np.float64)
    codes, names = pd.factorize(np.asarray(groups, dtype=object))
    members = np.eye(len(names))[codes]
    sizes = members.sum(axis=0)
    drawn = np.arange(len(X))
    if len(X) > most:
        drawn = np.sort(np.random.default_rng(seed).choice(len(X), most, replace=False))
    widths = np.zeros(len(drawn))
    step = max(1, _BLOCK // len(X))
    for start in range(0, len(drawn), step):
        rows = drawn[start : start + step]
        place = np.arange(len(rows))
        distance = pairwise_distances(X[rows], X)
        distance[place, rows] = 0  # to itself, but for what is rounded
        sums = distance @ members
        own = codes[rows]
        inside = sums[place, own] / np.maximum(sizes[own] - 1, 1)
        means = sums / sizes
        means[place, own] = np.inf
        outside = means.min(axis=1)
        largest = np.maximum(inside, outside)
        width = np.divide(outside - inside, largest, out=np.zeros(len(rows)), where=largest > 0)
        widths[start : start + step] = np.where(sizes[own] > 1, width, 0)
    return widths


def mixing_in_types(
    embedding: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike,
    most: int = MOST_WIDTHS,
    seed: int = 0,
) -> NDArray[np.float64]:
    """How well groups (batches, modalities) lie in one another, within every type of cells.

    Parameters
    ----------
    embedding
        Of shape (n_cells, n_dimensions).
    labels, groups
        One per cell.
    most, seed
        As for :func:`silhouette_widths`, of each type.

    Returns
    -------
    Array of shape (n_types,)
        1 minus the absolute silhouette width of the groups, mean over the cells of a type; NaN for
        a type in one group alone, or with one cell a group.
    """
    X = np.asarray(embedding)
    groups = np.asarray(groups, dtype=object)
    codes, names = pd.factorize(np.asarray(labels, dtype=object), sort=True)
    means = np.full(len(names), np.nan)
    for one in range(len(names)):
        of_type = codes == one
        if 1 < len(set(groups[of_type])) < of_type.sum():
            widths = silhouette_widths(X[of_type], groups[of_type], most, seed)
            means[one] = (1 - np.abs(widths)).mean()
    return means


def graph_connectivity(around: NDArray[np.integer], labels: ArrayLike) -> float:
    """Share of a type's cells in its largest connected part, mean over the types (scib, scglue).

    Parameters
    ----------
    around
        Positions of the nearest cells of each, of shape (n_cells, n_neighbours).
    labels
        One per cell.

    Returns
    -------
    float
        NaN for fewer than three cells.
    """
    if len(around) < 3:
        return np.nan
    codes, names = pd.factorize(np.asarray(labels, dtype=object))
    row, column = np.nonzero(codes[around] == codes[:, None])
    edges = (np.ones(len(row), dtype=bool), (row, around[row, column]))
    graph = sparse.csr_matrix(edges, shape=(len(around), len(around)))
    part = connected_components(graph, directed=False)[1]  # a part is of one type
    largest = np.zeros(len(names))
    np.maximum.at(largest, codes, np.bincount(part)[part])
    return float((largest / np.bincount(codes)).mean())
