"""How well one space holds two modalities: the scores of GLUE's benchmark, which the paper takes.

The definitions are those of ``scglue.metrics`` (package scglue 0.4), to whose values a test holds
them. "Modality" is where a cell was measured: gene expression or chromatin accessibility.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_samples, silhouette_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler, normalize
from sklearn.utils.extmath import randomized_svd

from plkd.evaluation.metrics import embedding_metrics
from plkd.utils.tables import Columns

NEIGHBOURS = 0.01
"""Share of all cells that are a cell's neighbours."""
BIOLOGY = ("mean_average_precision", "cell_type_asw", "neighbour_conservation")
MIXING = ("seurat_alignment", "omics_asw", "graph_connectivity")
SCORES = (*BIOLOGY, *MIXING, "biology", "batch_removal", "overall")
OMICS_COLUMNS: Columns = {
    **dict.fromkeys(("dataset", "variant"), str), "seed": int,
    **dict.fromkeys(("method", "cells"), str), "n_cells": int, "n_types": int,
    **dict.fromkeys(SCORES, float),
}  # fmt: skip
"""Columns of the scores of multi-omics integration."""
N_COMPONENTS = 50
OVERALL = {"biology": 0.6, "batch_removal": 0.4}


def mean_average_precision(
    embedding: ArrayLike, labels: ArrayLike, neighbours: float = NEIGHBOURS
) -> float:
    """Mean over the cells of the average precision of their neighbours' types.

    Of a cell's neighbours, the nearest first, those of its own type are hits; the average precision
    is the mean, over the hits, of the share of hits up to there; 0 without any.
    """
    X, labels = np.asarray(embedding), np.asarray(labels, dtype=object)
    hit = labels[_neighbours(X, _n_neighbours(len(X), neighbours))] == labels[:, None]
    precision = np.cumsum(hit, axis=1) / np.arange(1, hit.shape[1] + 1)
    n_hits = hit.sum(axis=1)
    of_cells = (precision * hit).sum(axis=1) / np.maximum(n_hits, 1)
    return float(of_cells.mean())


def seurat_alignment(
    embedding: ArrayLike,
    modalities: ArrayLike,
    neighbours: float = NEIGHBOURS,
    repeats: int = 4,
    seed: int = 0,
) -> float:
    """Seurat alignment score: 1 where a cell's neighbours are of all modalities alike.

    Every modality is drawn down to the size of the smallest; mean over `repeats` draws.
    """
    X, modalities = np.asarray(embedding), np.asarray(modalities, dtype=object)
    rng = np.random.RandomState(seed)  # the generator that the published code draws with
    groups = [np.flatnonzero(modalities == name) for name in np.unique(modalities.astype(str))]
    size, n_groups = min(map(len, groups)), len(groups)
    scores = []
    for _ in range(repeats):
        drawn = np.concatenate([rng.choice(members, size, replace=False) for members in groups])
        k = _n_neighbours(len(drawn), neighbours)
        around = _neighbours(X[drawn], k)
        own = (modalities[drawn][around] == modalities[drawn][:, None]).sum(axis=1).mean()
        scores.append(min((k - own) * n_groups / (k * (n_groups - 1)), 1.0))
    return float(np.mean(scores))


def omics_asw(embedding: ArrayLike, labels: ArrayLike, modalities: ArrayLike) -> float:
    """1 minus the absolute silhouette of the modalities within a type, mean over the types.

    A type whose silhouette cannot be computed (of one modality) counts as perfectly mixed.
    """
    X = np.asarray(embedding)
    labels, modalities = (np.asarray(one).astype(str) for one in (labels, modalities))
    means = []
    for name in np.unique(labels):
        members = labels == name
        n_modalities = len(set(modalities[members]))
        if 1 < n_modalities < members.sum():
            width = silhouette_samples(X[members], modalities[members])
            means.append(float((1 - np.abs(width)).mean()))
        else:
            means.append(1.0)
    return float(np.mean(means))


def neighbour_conservation(
    embedding: ArrayLike,
    before: Mapping[str, NDArray[np.floating]],
    modalities: ArrayLike,
    neighbours: float = NEIGHBOURS,
) -> float:
    """How many neighbours within a modality stay the same when modalities are put together.

    Jaccard index of a cell's neighbours of its own modality before and after, mean over the cells,
    then over the modalities.

    Parameters
    ----------
    embedding
        Of shape (n_cells, n_dimensions).
    before
        Embedding of every modality's own, its cells in the order that they have in `embedding`.
    modalities
        One per cell.
    """
    X, modalities = np.asarray(embedding), np.asarray(modalities).astype(str)
    means = []
    for name in np.unique(modalities):
        after, own = X[modalities == name], before[name]
        k = min(_n_neighbours(len(X), neighbours), len(after) - 1)
        pair = [_as_sets(_neighbours(space, k), len(after)) for space in (after, own)]
        shared = np.asarray(pair[0].multiply(pair[1]).sum(axis=1)).ravel()
        means.append(float((shared / (2 * k - shared)).mean()))
    return float(np.mean(means))


def expression_components(
    X: sparse.csr_matrix, n: int = N_COMPONENTS, seed: int = 0
) -> NDArray[np.float32]:
    """The own space of gene expression: principal components of the scaled, capped genes.

    Parameters
    ----------
    X
        Log-normalised variable genes, of shape (n_cells, n_genes); some ten thousand cells, because
        scaled values are dense.
    n
        Number of components.
    seed
        Of the solver.
    """
    scaled = np.clip(StandardScaler().fit_transform(X.toarray()), None, 10)
    return PCA(min(n, *(size - 1 for size in X.shape)), random_state=seed).fit_transform(scaled)


def accessibility_components(
    peaks: sparse.csr_matrix, n: int = N_COMPONENTS, seed: int = 0
) -> NDArray[np.float64]:
    """The own space of chromatin accessibility: latent semantic indexing of the peaks, as in GLUE.

    Counts are weighted by the rarity of their peak, brought to a sum of 10,000 per cell and logged;
    of the singular vectors every cell is scaled to mean 0 and variance 1.

    Parameters
    ----------
    peaks
        Counts of shape (n_cells, n_peaks).
    n, seed
        Number of components; seed of the solver.
    """
    peaks = peaks[:, np.asarray(peaks.sum(axis=0)).ravel() > 0].astype(np.float64)
    idf = peaks.shape[0] / np.asarray(peaks.sum(axis=0)).ravel()
    weighted = normalize(normalize(peaks, norm="l1") @ sparse.diags(idf), norm="l1")
    weighted = (weighted * 1e4).log1p()
    n = min(n, *(size - 1 for size in weighted.shape))
    vectors = randomized_svd(weighted, n, n_iter=15, random_state=seed)[0]
    spread = vectors.std(axis=1, ddof=1, keepdims=True)
    return (vectors - vectors.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)


def omics_scores(
    embedding: NDArray[np.floating],
    cells: pd.DataFrame,
    before: Mapping[str, NDArray[np.floating]],
    seed: int = 0,
) -> dict[str, float]:
    """All :data:`SCORES` of one embedding of two modalities.

    Parameters
    ----------
    embedding
        Of shape (n_cells, n_dimensions).
    cells
        `label` and `modality` of the cells.
    before
        As for :func:`neighbour_conservation`.
    seed
        Of draws and of the neighbour graph.

    Returns
    -------
    dict
        `biology` is the mean of :data:`BIOLOGY`, `batch_removal` of :data:`MIXING`, `overall` 0.6
        of the one and 0.4 of the other, without scaling over methods. With one modality there is
        nothing to mix: `seurat_alignment`, `omics_asw`, `batch_removal` and `overall` are NaN.
    """
    labels, modalities = (cells[name].astype(str).to_numpy() for name in ("label", "modality"))
    mixed = len(set(modalities)) > 1
    several = 1 < len(set(labels)) < len(labels)
    graph = embedding_metrics(
        embedding.astype(np.float32), list(labels), ["one"] * len(labels),
        max_cells=len(labels), seed=seed,
    )["graph_connectivity"]  # fmt: skip
    scores = {
        "mean_average_precision": mean_average_precision(embedding, labels),
        "cell_type_asw": (float(silhouette_score(embedding, labels)) + 1) / 2
        if several
        else np.nan,
        "neighbour_conservation": neighbour_conservation(embedding, before, modalities),
        "seurat_alignment": seurat_alignment(embedding, modalities, seed=seed) if mixed else np.nan,
        "omics_asw": omics_asw(embedding, labels, modalities) if mixed else np.nan,
        "graph_connectivity": graph,
    }
    scores["biology"] = float(np.mean([scores[name] for name in BIOLOGY]))
    scores["batch_removal"] = float(np.mean([scores[name] for name in MIXING]))
    scores["overall"] = sum(share * scores[name] for name, share in OVERALL.items())
    return scores


def score_omics(
    spaces: Mapping[str, NDArray[np.floating]],
    cells: pd.DataFrame,
    before: Mapping[str, NDArray[np.floating]],
    seed: int = 0,
) -> pd.DataFrame:
    """Score several embeddings of the same cells of two modalities.

    Parameters
    ----------
    spaces
        Embeddings by method, each of shape (n_cells, n_dimensions).
    cells
        `label` and `modality` (reference or query) of the cells.
    before
        Own space of every modality (:func:`expression_components`,
        :func:`accessibility_components`), its cells in the order of `cells`.
    seed
        Of draws and of the neighbour graph.

    Returns
    -------
    DataFrame
        `method`, `cells` (all, or query: the modality whose labels no training has seen),
        `n_cells`, `n_types` and :data:`SCORES`.
    """
    query = (cells["modality"] == "query").to_numpy()
    rows = []
    for group, members in {"all": np.ones(len(cells), bool), "query": query}.items():
        chosen = cells[members]
        counts = {"n_cells": int(members.sum()), "n_types": chosen["label"].nunique()}
        for method, embedding in spaces.items():
            scores = omics_scores(embedding[members], chosen, before, seed)
            rows.append({"method": method, "cells": group, **counts, **scores})
    return pd.DataFrame(rows)


def _n_neighbours(n_cells: int, share: float) -> int:
    return max(round(n_cells * share), 1)


def _neighbours(X: NDArray[np.floating], k: int) -> NDArray[np.intp]:
    """Positions of the `k` nearest cells of each, the nearest first, itself left out."""
    k = min(k, len(X) - 1)
    return NearestNeighbors(n_neighbors=k + 1).fit(X).kneighbors(X, return_distance=False)[:, 1:]


def _as_sets(neighbours: NDArray[np.intp], n: int) -> sparse.csr_matrix:
    """Membership of the neighbours, a row per cell."""
    n_rows, k = neighbours.shape
    ones = np.ones(neighbours.size)
    starts = np.arange(0, neighbours.size + 1, k)
    return sparse.csr_matrix((ones, neighbours.ravel(), starts), shape=(n_rows, n))
