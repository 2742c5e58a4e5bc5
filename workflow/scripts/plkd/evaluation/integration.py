"""How well an embedding mixes batches and keeps types apart: scores beside those of scib.

kBET and LISI of scib need R and a binary that is built for other systems; these are the same tests
in numpy. All are of cells in a space of few dimensions: arrays (n_cells, n_dimensions).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.neighbors import NearestNeighbors

from plkd.evaluation.metrics import embedding_metrics
from plkd.utils.tables import Columns

SCORES = (
    "kbet", "kbet_per_label", "cell_type_asw", "cell_type_asw_scaled", "batch_asw", "bras",
    "graph_connectivity", "ilisi", "clisi", "ari", "nmi",
)  # fmt: skip
INTEGRATION_COLUMNS: Columns = {
    **dict.fromkeys(("dataset", "variant"), str), "seed": int,
    **dict.fromkeys(("method", "cells"), str), "n_cells": int, "n_batches": int, "n_types": int,
    **dict.fromkeys(SCORES, float),
}  # fmt: skip
"""Columns of :func:`score_integration` after the names of the run."""
PERPLEXITY = 30
LEAST_CELLS = 10
"""Types with fewer cells are left out of the per-type kBET, as in scib."""


def kbet_acceptance(
    embedding: ArrayLike, batches: ArrayLike, k: int | None = None, alpha: float = 0.05
) -> float:
    """Share of cells around which the batches are as in all cells (kBET, Büttner et al. 2019).

    Parameters
    ----------
    embedding
        Array of shape (n_cells, n_dimensions).
    batches
        One per cell.
    k
        Cells of a neighbourhood, the cell itself included; default: a quarter of the mean size of a
        batch, from 10 to 70, as in scib.
    alpha
        Level of the chi-squared test of every neighbourhood.

    Returns
    -------
    float
        1 minus kBET's rejection rate, NaN for a single batch.

    Examples
    --------
    >>> import numpy as np
    >>> apart = np.repeat([0.0, 100.0], 50) + np.arange(100) / 100
    >>> kbet_acceptance(apart[:, None], ["a"] * 50 + ["b"] * 50)
    0.0
    """
    X = np.asarray(embedding, dtype=np.float64)
    codes, names = pd.factorize(np.asarray(batches, dtype=object))
    if len(names) < 2:
        return np.nan
    k = min(k or _kbet_size(len(X), len(names)), len(X))
    around = codes[_neighbours(X, k)[1]]
    expected = np.bincount(codes) / len(codes) * k
    observed = np.stack([(around == one).sum(axis=1) for one in range(len(names))], axis=1)
    statistic = ((observed - expected) ** 2 / expected).sum(axis=1)
    return float((chi2.sf(statistic, len(names) - 1) >= alpha).mean())


def kbet_per_label(
    embedding: ArrayLike, labels: ArrayLike, batches: ArrayLike, alpha: float = 0.05
) -> float:
    """Mean over the types of :func:`kbet_acceptance` among the cells of a type.

    Batches that hold the types in different shares do not count as badly mixed here. Types with
    fewer than ten cells or in one batch alone are left out; NaN if none is left.
    """
    X, batches = np.asarray(embedding, dtype=np.float64), np.asarray(batches, dtype=object)
    labels = np.asarray(labels, dtype=object)
    rates = []
    for members in _groups(labels):
        if len(members) >= LEAST_CELLS and len(set(batches[members])) > 1:
            rates.append(kbet_acceptance(X[members], batches[members], alpha=alpha))
    return float(np.mean(rates)) if rates else np.nan


def lisi(
    embedding: ArrayLike, groups: ArrayLike, perplexity: int = PERPLEXITY
) -> NDArray[np.float64]:
    """Effective number of groups around each cell (LISI, Korsunsky et al. 2019).

    The inverse Simpson index of the groups among three times `perplexity` neighbours, weighted by
    Gaussians whose width gives each neighbourhood this perplexity.

    Returns
    -------
    Array of shape (n_cells,), from 1 (one group) to the number of groups

    Examples
    --------
    >>> import numpy as np
    >>> float(lisi(np.arange(200.0)[:, None], [0, 1] * 100).round(2).min())
    2.0
    """
    X = np.asarray(embedding, dtype=np.float64)
    codes, names = pd.factorize(np.asarray(groups, dtype=object))
    k = min(3 * perplexity, len(X))
    distance, around = _neighbours(X, k)
    distance, around = distance[:, 1:], around[:, 1:]
    weights = _with_perplexity(distance, min(perplexity, k / 3))
    shares = np.stack(
        [(weights * (codes[around] == one)).sum(axis=1) for one in range(len(names))], axis=1
    )
    return 1 / (shares**2).sum(axis=1)


def ilisi(embedding: ArrayLike, batches: Sequence[str]) -> float:
    """Median LISI of the batches, from 0 (apart) to 1 (mixed); NaN for a single batch."""
    n = len(set(batches))
    return float((np.median(lisi(embedding, batches)) - 1) / (n - 1)) if n > 1 else np.nan


def clisi(embedding: ArrayLike, labels: Sequence[str]) -> float:
    """Median LISI of the types, from 0 (mixed) to 1 (apart); NaN for a single type."""
    n = len(set(labels))
    return float((n - np.median(lisi(embedding, labels))) / (n - 1)) if n > 1 else np.nan


def bras(embedding: ArrayLike, labels: ArrayLike, batches: ArrayLike) -> float:
    """Batch removal adapted silhouette (Rautenstrauch and Ohler 2025), 1 where batches are mixed.

    The silhouette of batches within a type, with cosine distances, and the mean distance to the
    cells of all other batches in place of the nearest; 1 minus its absolute value, mean over the
    types. A type in one batch alone, or with one cell a batch, is left out; NaN if none is left.

    Notes
    -----
    The sum of cosine distances to a group is a product with the sum of its unit vectors, so no
    distance is computed cell by cell.
    """
    X = np.asarray(embedding, dtype=np.float64)
    length = np.linalg.norm(X, axis=1, keepdims=True)
    unit = np.divide(X, length, out=np.zeros_like(X), where=length > 0)
    batches, means = np.asarray(batches, dtype=object), []
    for members in _groups(np.asarray(labels, dtype=object)):
        codes, names = pd.factorize(batches[members])
        if not 1 < len(names) < len(members):
            continue
        x, of = unit[members], np.eye(len(names))[codes]
        size = of.sum(axis=0)
        sums = size - x @ (x.T @ of)  # cosine distances to the cells of every batch
        own, n_own = (sums * of).sum(axis=1), size[codes]
        own -= 1 - (x * x).sum(axis=1)  # of a cell without direction to itself
        inside = own / np.maximum(n_own - 1, 1)
        outside = (sums * (1 - of)).sum(axis=1) / (len(x) - n_own)
        largest = np.maximum(inside, outside)
        width = np.divide(outside - inside, largest, out=np.zeros_like(own), where=largest > 0)
        width[n_own == 1] = 0
        means.append(float((1 - np.abs(width)).mean()))
    return float(np.mean(means)) if means else np.nan


def cluster_scores(embedding: ArrayLike, labels: Sequence[str], seed: int = 0) -> dict[str, float]:
    """`ari` and `nmi` of the types with as many k-means clusters; NaN for a single type."""
    n = len(set(labels))
    if n < 2:
        return {"ari": np.nan, "nmi": np.nan}
    found = KMeans(n, n_init=10, random_state=seed).fit_predict(np.asarray(embedding))
    return {
        "ari": float(adjusted_rand_score(labels, found)),
        "nmi": float(normalized_mutual_info_score(labels, found)),
    }


def integration_scores(
    embedding: NDArray[np.float32], cells: pd.DataFrame, seed: int = 0
) -> dict[str, float]:
    """All :data:`SCORES` of one embedding, where more is better mixed or better kept apart.

    Parameters
    ----------
    embedding
        Array of shape (n_cells, n_dimensions).
    cells
        `label` and `batch`, both known, of the cells.
    seed
        Of k-means and the neighbour graph.
    """
    labels, batches = (list(cells[name].astype(str)) for name in ("label", "batch"))
    scores = embedding_metrics(embedding, labels, batches, max_cells=len(cells), seed=seed)
    scores |= {
        "kbet": kbet_acceptance(embedding, batches),
        "kbet_per_label": kbet_per_label(embedding, labels, batches),
        "bras": bras(embedding, labels, batches),
        "ilisi": ilisi(embedding, batches),
        "clisi": clisi(embedding, labels),
        **cluster_scores(embedding, labels, seed),
    }
    return {name: scores[name] for name in SCORES}


def groups_of_cells(
    cells: pd.DataFrame, reference_labels: Sequence[str]
) -> dict[str, NDArray[np.intp]]:
    """The cells that embeddings are scored on: all, and those that no training has seen.

    An embedding that labels have trained tells the types of these very cells apart whatever it is
    worth, so it is also scored on what it has not seen.

    Parameters
    ----------
    cells
        `role`, `label` (null where not known).
    reference_labels
        Labels that the reference has.

    Returns
    -------
    dict
        Positions of cells with a label: `all`; `query` (the batches that were held out); `unseen`
        (cells of types that the reference lacks), where there are two types of ten cells.
    """
    known = cells["label"].notna()
    query = known & (cells["role"] == "query")
    strange = query & ~cells["label"].isin(set(reference_labels))
    groups = {"all": known, "query": query, "unseen": strange}
    sizes = cells.loc[strange, "label"].value_counts()
    if (sizes >= LEAST_CELLS).sum() < 2:
        del groups["unseen"]
    return {name: np.flatnonzero(members) for name, members in groups.items() if members.any()}


def score_integration(
    spaces: Mapping[str, NDArray[np.float32]],
    cells: pd.DataFrame,
    groups: Mapping[str, NDArray[np.intp]],
    *,
    max_cells: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Score several embeddings of the same cells.

    Parameters
    ----------
    spaces
        Embeddings by method, each of shape (n_cells, n_dimensions).
    cells
        `label` and `batch` of the cells.
    groups
        Positions of the cells to score, by name (:func:`groups_of_cells`).
    max_cells
        Of a larger group so many are drawn by chance: the silhouettes take quadratic time.
    seed
        Of the draw, k-means and neighbour graphs.

    Returns
    -------
    DataFrame
        `method`, `cells` (the group), `n_cells`, `n_batches`, `n_types` and :data:`SCORES`.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for group, members in groups.items():
        if len(members) > max_cells:
            members = np.sort(rng.choice(members, max_cells, replace=False))
        chosen = cells.iloc[members]
        counts = {
            "n_cells": len(members),
            "n_batches": chosen["batch"].nunique(),
            "n_types": chosen["label"].nunique(),
        }
        for method, embedding in spaces.items():
            scores = integration_scores(embedding[members], chosen, seed)
            rows.append({"method": method, "cells": group, **counts, **scores})
    return pd.DataFrame(rows)


def _kbet_size(n_cells: int, n_batches: int) -> int:
    return min(70, max(10, n_cells // n_batches // 4))


def _neighbours(X: NDArray[np.float64], k: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Distances and positions of the k nearest cells of each cell, itself the first."""
    distance, around = NearestNeighbors(n_neighbors=k).fit(X).kneighbors(X)
    return distance, around


def _groups(names: NDArray[np.object_]) -> list[NDArray[np.intp]]:
    """Positions of the members of every group."""
    codes = pd.factorize(names, sort=True)[0]
    return [np.flatnonzero(codes == one) for one in range(codes.max() + 1)]


def _with_perplexity(
    distance: NDArray[np.float64], perplexity: float, steps: int = 50, tolerance: float = 1e-5
) -> NDArray[np.float64]:
    """Weights exp(-beta d) of neighbours, row by row, that have this perplexity and add up to 1."""
    n = len(distance)
    beta, low, high = np.ones(n), np.zeros(n), np.full(n, np.inf)
    nearest = distance.min(axis=1, keepdims=True)  # no difference to the weights, but to underflow
    for _ in range(steps):
        weights = np.exp(-(distance - nearest) * beta[:, None])
        weights /= weights.sum(axis=1, keepdims=True)
        logs = np.log(weights, out=np.zeros_like(weights), where=weights > 0)
        excess = -(weights * logs).sum(axis=1) - np.log(perplexity)
        if (np.abs(excess) <= tolerance).all():
            break
        wide = excess > tolerance
        narrow = excess < -tolerance
        low[wide], high[narrow] = beta[wide], beta[narrow]
        doubled = np.isinf(high)
        middle = np.where(doubled, beta * 2, (low + high) / 2)
        beta = np.where(wide | narrow, middle, beta)
    return weights
