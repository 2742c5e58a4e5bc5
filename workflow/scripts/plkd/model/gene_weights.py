"""Weights of the genes at the entrance of the models, learnt on the reference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial.distance import pdist, squareform

from plkd.io.blocks import Cells, chunks_of

_LEAST_VARIANCE = 0.05  # added to a gene's variance within labels: rare genes are not blown up
_LEAST_WEIGHT = 0.01  # training noise is divided by the weights


def separation(
    cells: Cells,
    codes: NDArray[np.integer],
    n_labels: int,
    *,
    rows: NDArray[np.intp] | None = None,
) -> NDArray[np.float32]:
    """How well every gene separates the labels: an effect size, not a significance.

    The range of the labels' means over the standard deviation within labels (root of the mean of
    the labels' variances), scaled so that the sum of the genes' variances within labels stays as it
    was. A gene that differs between labels by much counts more than one that differs by little,
    however surely: across batches it is the small differences that do not hold.

    Parameters
    ----------
    cells
        Log-normalised expression (cells, genes), CSR or on disk.
    codes
        Label of every cell, its position among the labels, integers of shape (cells,).
    n_labels
        Number of labels.
    rows
        Of these cells alone, ascending; None for all. Every label has at least one.

    Returns
    -------
    float32 array of shape (genes,)
        Weights, above zero.
    """
    means, squares = label_means(cells, codes, n_labels, rows=rows)
    variances = squares - means**2
    within = variances.clip(min=0.0).mean(axis=0)
    weights = np.ptp(means, axis=0) / np.sqrt(within + _LEAST_VARIANCE)
    spread = float(weights**2 @ within)
    if spread == 0.0:  # one label, or no gene varies: nothing to learn from
        return np.ones(cells.shape[1], dtype=np.float32)
    weights *= np.sqrt(within.sum() / spread)
    return weights.clip(min=_LEAST_WEIGHT).astype(np.float32)


def label_distance(
    cells: Cells,
    codes: NDArray[np.integer],
    n_labels: int,
    weights: NDArray[np.floating] | None = None,
    *,
    rows: NDArray[np.intp] | None = None,
) -> float:
    """Mean distance from a cell's label to the nearest other label: the size of the task's signal.

    Euclidean distance between the labels' means, after the genes were multiplied by `weights`
    (genes,); zero for a single label. Other parameters are those of :func:`separation`.
    """
    if n_labels < 2:
        return 0.0
    means, _ = label_means(cells, codes, n_labels, rows=rows)
    distances = squareform(pdist(means if weights is None else means * weights))
    np.fill_diagonal(distances, np.inf)
    return float(distances.min(axis=1)[codes if rows is None else codes[rows]].mean())


def label_means(
    cells: Cells,
    codes: NDArray[np.integer],
    n_labels: int,
    *,
    rows: NDArray[np.intp] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of values and of squares per label, each of shape (n_labels, genes).

    Parameters are those of :func:`separation`; of a label without cells all is zero.
    """
    chosen = np.arange(len(codes)) if rows is None else rows
    counts = np.bincount(codes[chosen], minlength=n_labels).astype(np.float64)
    means, squares = np.zeros((2, n_labels, cells.shape[1]))
    for chunk, values in chunks_of(cells):
        first, last = np.searchsorted(chosen, (chunk.start, chunk.stop))
        some = chosen[first:last]
        own, places = codes[some], np.arange(len(some))
        member = sparse.csr_array((1.0 / counts[own], (own, places)), shape=(n_labels, len(some)))
        part = sparse.csr_array(values[some - chunk.start], dtype=np.float64)
        means += (member @ part).toarray()
        squares += (member @ part.power(2)).toarray()
    return means, squares
