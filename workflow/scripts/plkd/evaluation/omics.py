"""How well one space holds two modalities: the scores of GLUE's benchmark, which the paper takes.

The definitions are those of ``scglue.metrics`` (package scglue 0.4), to whose values a test holds
them. "Modality" is where a cell was measured: gene expression or chromatin accessibility.

Steps that only gather scores import this too, so what loads slowly is imported where it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from plkd.evaluation.columns import RUN_COLUMNS
from plkd.evaluation.geometry import graph_connectivity, mixing_in_types, silhouette_widths
from plkd.evaluation.integration import PAIRED
from plkd.utils.neighbours import NEIGHBOURS, nearest_in_blocks
from plkd.utils.tables import Columns

SHARE = 0.01
"""Share of all cells that are a cell's neighbours."""
BIOLOGY = ("mean_average_precision", "cell_type_asw", "neighbour_conservation")
MIXING = ("seurat_alignment", "omics_asw", "graph_connectivity")
SCORES = (*BIOLOGY, *MIXING, "biology", "batch_removal", "overall")
SPACE_COLUMNS: Columns = {
    **dict.fromkeys(("method", "cells"), str), "n_cells": int, "n_types": int,
    **dict.fromkeys(SCORES, float),
}  # fmt: skip
"""Columns of :func:`score_omics`."""
OMICS_COLUMNS: Columns = {**RUN_COLUMNS, **SPACE_COLUMNS}
"""The same of a run."""
N_COMPONENTS = 50
OVERALL = {"biology": 0.6, "batch_removal": 0.4}


def mean_average_precision(
    embedding: ArrayLike, labels: ArrayLike, neighbours: float = SHARE
) -> float:
    """Mean over the cells of the average precision of their neighbours' types.

    Of a cell's neighbours, the nearest first, those of its own type are hits; the average precision
    is the mean, over the hits, of the share of hits up to there; 0 without any. NaN for one cell.
    """
    X, codes = np.asarray(embedding), _codes(labels)
    if len(X) < 2:
        return np.nan
    total = 0.0
    for rows, around in _neighbours(X, _n_neighbours(len(X), neighbours)):
        hit = codes[around] == codes[rows, None]
        precision = np.cumsum(hit, axis=1) / np.arange(1, hit.shape[1] + 1)
        total += ((precision * hit).sum(axis=1) / np.maximum(hit.sum(axis=1), 1)).sum()
    return float(total / len(X))


def seurat_alignment(
    embedding: ArrayLike,
    modalities: ArrayLike,
    neighbours: float = SHARE,
    repeats: int = 4,
    seed: int = 0,
) -> float:
    """Seurat alignment score: 1 where a cell's neighbours are of all modalities alike.

    Every modality is drawn down to the size of the smallest; mean over `repeats` draws, which are
    one where all are of one size.
    """
    X, codes = np.asarray(embedding), _codes(modalities)
    rng = np.random.RandomState(seed)  # the generator that the published code draws with
    sizes = np.bincount(codes)
    size, n_groups = sizes.min(), len(sizes)
    scores = []
    for _ in range(repeats if size < sizes.max() else 1):
        drawn = np.concatenate(
            [
                rng.choice(np.flatnonzero(codes == one), size, replace=False)
                for one in range(n_groups)
            ]
        )
        k, of_drawn = _n_neighbours(len(drawn), neighbours), codes[drawn]
        own = sum(
            (of_drawn[around] == of_drawn[rows, None]).sum()
            for rows, around in _neighbours(X[drawn], k)
        ) / len(drawn)
        scores.append(min((k - own) * n_groups / (k * (n_groups - 1)), 1.0))
    return float(np.mean(scores))


def omics_asw(
    embedding: ArrayLike, labels: ArrayLike, modalities: ArrayLike, seed: int = 0
) -> float:
    """1 minus the absolute silhouette of the modalities within a type, mean over the types.

    A type whose silhouette cannot be computed (of one modality) counts as perfectly mixed.
    """
    means = mixing_in_types(embedding, labels, modalities, seed=seed)
    return float(np.nan_to_num(means, nan=1.0).mean())


def neighbour_conservation(
    embedding: ArrayLike,
    before: Mapping[str, NDArray[np.floating]],
    modalities: ArrayLike,
    neighbours: float = SHARE,
) -> float:
    """How many neighbours within a modality stay the same when modalities are put together.

    Jaccard index of a cell's neighbours of its own modality before and after, mean over the cells,
    then over the modalities. NaN where a modality is one cell, which has no neighbours.

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
        if k < 1:
            return np.nan
        total = 0.0
        pairs = zip(_neighbours(after, k), _neighbours(own, k), strict=True)
        for (_, around), (_, around_before) in pairs:
            sets = [_as_sets(one, len(after)) for one in (around, around_before)]
            shared = np.asarray(sets[0].multiply(sets[1]).sum(axis=1)).ravel()
            total += (shared / (2 * k - shared)).sum()
        means.append(total / len(after))
    return float(np.mean(means))


def expression_components(
    X: sparse.csr_matrix, n: int = N_COMPONENTS, seed: int = 0
) -> NDArray[np.float32]:
    """The own space of gene expression: principal components of the scaled, capped genes.

    Parameters
    ----------
    X
        Log-normalised variable genes, of shape (n_cells, n_genes); scaled values are dense.
    n
        Number of components.
    seed
        Of the solver.
    """
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    n = min(n, *(size - 1 for size in X.shape))
    if n < 1:
        return _no_components(X)
    scaled = StandardScaler(copy=False).fit_transform(X.astype(np.float32).toarray())
    np.minimum(scaled, 10, out=scaled)
    return PCA(n, copy=False, random_state=seed).fit_transform(scaled)


def accessibility_components(
    peaks: sparse.csr_matrix, n: int = N_COMPONENTS, seed: int = 0
) -> NDArray[np.float32]:
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
    from sklearn.preprocessing import normalize
    from sklearn.utils.extmath import randomized_svd

    sums = np.asarray(peaks.sum(axis=0)).ravel()
    weighted = peaks[:, sums > 0].astype(np.float32)
    n = min(n, *(size - 1 for size in weighted.shape))
    if n < 1:
        return _no_components(peaks)
    weighted = normalize(weighted, norm="l1", copy=False)
    weighted.data *= (weighted.shape[0] / sums[sums > 0]).astype(np.float32)[weighted.indices]
    weighted = normalize(weighted, norm="l1", copy=False)
    weighted.data *= 1e4
    np.log1p(weighted.data, out=weighted.data)
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
        Of draws.

    Returns
    -------
    dict
        `biology` is the mean of :data:`BIOLOGY`, `batch_removal` of :data:`MIXING`, `overall` 0.6
        of the one and 0.4 of the other, without scaling over methods. With one modality there is
        nothing to mix: `seurat_alignment`, `omics_asw`, `batch_removal` and `overall` are NaN.
    """
    labels, modalities = (
        cells[name].astype(str).to_numpy(object) for name in ("label", "modality")
    )
    mixed = len(set(modalities)) > 1
    several = 1 < len(set(labels)) < len(labels)
    nearest = [around for _, _, around in nearest_in_blocks(embedding, NEIGHBOURS)]
    scores = {
        "mean_average_precision": mean_average_precision(embedding, labels),
        "cell_type_asw": (float(silhouette_widths(embedding, labels, seed=seed).mean()) + 1) / 2
        if several
        else np.nan,
        "neighbour_conservation": neighbour_conservation(embedding, before, modalities),
        "seurat_alignment": seurat_alignment(embedding, modalities, seed=seed) if mixed else np.nan,
        "omics_asw": omics_asw(embedding, labels, modalities, seed) if mixed else np.nan,
        "graph_connectivity": graph_connectivity(np.concatenate(nearest), labels),
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
    paired: bool = False,
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
        Of draws.
    paired
        The query is the reference's own cells: the labels of these have been trained on.

    Returns
    -------
    DataFrame
        `method`, `cells` (all; query: the accessibility, of cells whose labels no training has
        seen; paired: the accessibility of the reference's own cells), `n_cells`, `n_types` and
        :data:`SCORES`.
    """
    query = (cells["modality"] == "query").to_numpy()
    groups = {"all": np.ones(len(cells), bool), PAIRED if paired else "query": query}
    rows = []
    for group, members in groups.items():
        chosen = cells[members]
        counts = {"n_cells": int(members.sum()), "n_types": chosen["label"].nunique()}
        for method, embedding in spaces.items():
            scores = omics_scores(embedding[members], chosen, before, seed)
            rows.append({"method": method, "cells": group, **counts, **scores})
    return pd.DataFrame(rows)


def _n_neighbours(n_cells: int, share: float) -> int:
    return max(round(n_cells * share), 1)


def _neighbours(X: NDArray[np.floating], k: int) -> Iterator[tuple[slice, NDArray[np.intp]]]:
    """Positions of the `k` nearest cells of each, the nearest first, itself left out, in blocks."""
    for rows, _, around in nearest_in_blocks(X, min(k, len(X) - 1) + 1):
        yield rows, around[:, 1:]


def _codes(names: ArrayLike) -> NDArray[np.intp]:
    """Names as numbers, in the order of the names."""
    return pd.factorize(np.asarray(names).astype(str), sort=True)[0]


def _no_components(X: sparse.csr_matrix) -> NDArray[np.float32]:
    """Where there is nothing to tell cells apart by: all in one place."""
    return np.zeros((X.shape[0], 1), np.float32)


def _as_sets(neighbours: NDArray[np.intp], n: int) -> sparse.csr_matrix:
    """Membership of the neighbours, a row per cell."""
    n_rows, k = neighbours.shape
    ones = np.ones(neighbours.size, dtype=np.float32)
    starts = np.arange(0, neighbours.size + 1, k)
    return sparse.csr_matrix((ones, neighbours.ravel(), starts), shape=(n_rows, n))
