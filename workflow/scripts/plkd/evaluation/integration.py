"""How well an embedding mixes batches and keeps types apart: scores beside those of scib.

All are of cells in a space of few dimensions: arrays (n_cells, n_dimensions). kBET and LISI of scib
need R and a binary that is built for other systems; here they are in numpy. Of scib's kBET this is
the test and the size of a neighbourhood. But neighbours are the nearest cells, as in scib-metrics,
and every cell is tested. scib finds neighbours by diffusion over a graph and tests a tenth of the
cells again and again; parts of a type that the graph does not connect and that are smaller than
three neighbourhoods it leaves out, and a type of which these are more than a quarter counts as
rejected throughout.

Steps that only gather scores import this too, so what loads slowly is imported where it is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from plkd.evaluation.columns import RUN_COLUMNS
from plkd.evaluation.geometry import (
    MOST_CELLS,
    graph_connectivity,
    mixing_in_types,
    silhouette_widths,
)
from plkd.utils.neighbours import NEIGHBOURS, nearest_in_blocks
from plkd.utils.tables import Columns

SCORES = (
    "kbet", "kbet_per_label", "cell_type_asw", "cell_type_asw_scaled", "batch_asw", "bras",
    "graph_connectivity", "ilisi", "clisi", "ari", "nmi",
)  # fmt: skip
SPACE_COLUMNS: Columns = {
    **dict.fromkeys(("method", "cells"), str), "n_cells": int, "n_batches": int, "n_types": int,
    **dict.fromkeys(SCORES, float),
}  # fmt: skip
"""Columns of :func:`score_integration`."""
INTEGRATION_COLUMNS: Columns = {**RUN_COLUMNS, **SPACE_COLUMNS}
"""The same of a run."""
PERPLEXITY = 30
PAIRED = "paired"
"""What the query is called where it is the reference's own cells, measured in another modality."""
ALPHA = 0.05
"""Level of the test of a neighbourhood."""
LEAST_CELLS = 10
"""Types with fewer cells are left out of the per-type kBET, as in scib."""
_BLOCK = 20_000  # cells whose neighbours are weighed at a time


def kbet_acceptance(
    embedding: ArrayLike, batches: ArrayLike, k: int | None = None, alpha: float = ALPHA
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
    return _accepted(_nearest(X, k)[1], codes, alpha)


def kbet_per_label(
    embedding: ArrayLike, labels: ArrayLike, batches: ArrayLike, alpha: float = ALPHA
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
    distance, around = _nearest(np.asarray(embedding, dtype=np.float64), 3 * perplexity)
    return _effective_numbers(distance, around, [groups], perplexity)[0]


def ilisi(embedding: ArrayLike, batches: Sequence[str]) -> float:
    """Median LISI of the batches, from 0 (apart) to 1 (mixed); NaN for a single batch."""
    return _mixed(lisi(embedding, batches), len(set(batches)))


def clisi(embedding: ArrayLike, labels: Sequence[str]) -> float:
    """Median LISI of the types, from 0 (mixed) to 1 (apart); NaN for a single type."""
    return 1 - _mixed(lisi(embedding, labels), len(set(labels)))


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
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

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
        Of k-means and of the cells whose silhouettes are looked at.
    """
    X = np.asarray(embedding, dtype=np.float64)
    labels, batches = (cells[name].astype(str).to_numpy(object) for name in ("label", "batch"))
    codes, names = pd.factorize(batches)
    n_types, n_batches = len(set(labels)), len(names)
    k = min(_kbet_size(len(X), n_batches), len(X))
    # one search for all that looks at neighbours
    distance, around = _nearest(X, max(k, 3 * PERPLEXITY, NEIGHBOURS))
    asw = np.nan
    if 1 < n_types < len(X):
        asw = float(silhouette_widths(X, labels, seed=seed).mean())
    of_batches, of_types = _effective_numbers(
        distance[:, : 3 * PERPLEXITY], around[:, : 3 * PERPLEXITY], [batches, labels], PERPLEXITY
    )
    scores = {
        "kbet": _accepted(around[:, :k], codes) if n_batches > 1 else np.nan,
        "kbet_per_label": kbet_per_label(X, labels, batches),
        "cell_type_asw": asw,
        "cell_type_asw_scaled": (asw + 1) / 2,
        "batch_asw": _mean(mixing_in_types(X, labels, batches, seed=seed)),
        "bras": bras(X, labels, batches),
        "graph_connectivity": graph_connectivity(around[:, :NEIGHBOURS], labels),
        "ilisi": _mixed(of_batches, n_batches),
        "clisi": 1 - _mixed(of_types, n_types),
        **cluster_scores(embedding, list(labels), seed),
    }
    return {name: scores[name] for name in SCORES}


def groups_of_cells(
    cells: pd.DataFrame, reference_labels: Sequence[str], paired: bool = False
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
    paired
        The query is the reference's own cells, measured in another modality.

    Returns
    -------
    dict
        Positions of cells with a label: `all`; `query` (the cells that were held out), or `paired`
        in its place where training has seen their labels; `unseen` (cells of types that the
        reference lacks), where there are two types of ten cells.
    """
    known = cells["label"].notna()
    query = known & (cells["role"] == "query")
    strange = query & ~cells["label"].isin(set(reference_labels))
    groups = {"all": known, PAIRED if paired else "query": query, "unseen": strange}
    sizes = cells.loc[strange, "label"].value_counts()
    if (sizes >= LEAST_CELLS).sum() < 2:
        del groups["unseen"]
    return {name: np.flatnonzero(members) for name, members in groups.items() if members.any()}


def score_integration(
    spaces: Mapping[str, NDArray[np.float32]],
    cells: pd.DataFrame,
    groups: Mapping[str, NDArray[np.intp]],
    *,
    max_cells: int = MOST_CELLS,
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
        Of a larger group so many are drawn by chance: neighbours take quadratic time.
    seed
        Of the draws and of k-means.

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


def _nearest(X: NDArray[np.float64], k: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Distances and positions of the k nearest cells of each cell, itself the first."""
    parts = [(distance, around) for _, distance, around in nearest_in_blocks(X, k)]
    distances, positions = zip(*parts, strict=True)
    return np.concatenate(distances), np.concatenate(positions)


def _accepted(around: NDArray[np.intp], batches: NDArray[np.intp], alpha: float = ALPHA) -> float:
    """Share of neighbourhoods in which the batches, as numbers, are as in all cells."""
    from scipy.stats import chi2

    n_cells, k = around.shape
    n_batches = batches.max() + 1
    expected = np.bincount(batches) / n_cells * k
    of_batches = np.zeros((n_cells, n_batches))
    for one in range(n_batches):
        of_batches[:, one] = (batches[around] == one).sum(axis=1)
    statistic = ((of_batches - expected) ** 2 / expected).sum(axis=1)
    return float((chi2.sf(statistic, n_batches - 1) >= alpha).mean())


def _effective_numbers(
    distance: NDArray[np.float64],
    around: NDArray[np.intp],
    groupings: Sequence[ArrayLike],
    perplexity: int,
) -> list[NDArray[np.float64]]:
    """LISI of every grouping, from the nearest cells, of which each cell itself is the first."""
    n_cells, k = around.shape
    if k < 2:
        return [np.ones(n_cells) for _ in groupings]  # a single cell
    found = []
    factors = [pd.factorize(np.asarray(groups, dtype=object)) for groups in groupings]
    for start in range(0, n_cells, _BLOCK):
        rows = slice(start, start + _BLOCK)
        weights = _with_perplexity(distance[rows, 1:], min(perplexity, k / 3))
        near = around[rows, 1:]
        shares = [
            np.stack([(weights * (codes[near] == one)).sum(axis=1) for one in range(len(names))])
            for codes, names in factors
        ]
        found.append([1 / (share**2).sum(axis=0) for share in shares])
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def _mixed(numbers: NDArray[np.float64], n_groups: int) -> float:
    """Median of effective numbers of groups, from 0 (one group) to 1 (all alike)."""
    return float((np.median(numbers) - 1) / (n_groups - 1)) if n_groups > 1 else np.nan


def _mean(of_types: NDArray[np.float64]) -> float:
    known = of_types[~np.isnan(of_types)]
    return float(known.mean()) if len(known) else np.nan


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
