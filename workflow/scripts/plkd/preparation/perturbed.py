"""Prepared cells made harder: wrong labels, fewer genes or cells, a shallower query."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from plkd.errors import InputError
from plkd.utils.draws import relabelled

PERTURBATIONS = ("label_noise", "genes", "cells", "depth")
"""Share of the reference's cells with a wrong label; share of the genes, of the reference's cells,
of the query's counts that is left."""
LEAST_CELLS = 2
"""Of a label, that stay whatever share is asked for."""


def perturb(
    reference: ad.AnnData, query: ad.AnnData, kind: str, level: float, *, seed: int = 0
) -> tuple[ad.AnnData, ad.AnnData]:
    """Make a transfer harder in one respect.

    Parameters
    ----------
    reference, query
        Prepared cells: X log1p of counts per 10,000, ``layers['counts']``, and of the reference
        ``obs['label']``; not changed.
    kind
        One of :data:`PERTURBATIONS`.
    level
        Between 0 and 1.
    seed
        Of the draw.

    Returns
    -------
    reference, query : AnnData
        Copies.

    Raises
    ------
    InputError
        If the query has no counts to be thinned.

    Notes
    -----
    Of counts that are thinned the total of a cell falls by `level` in the mean; that of the genes
    which are not among the prepared ones is taken to fall by just that.
    """
    rng = np.random.default_rng([seed, PERTURBATIONS.index(kind)])
    reference, query = reference.copy(), query.copy()
    if kind == "label_noise":
        label = reference.obs["label"].cat
        codes = relabelled(label.codes.to_numpy(), len(label.categories), level, rng)
        reference.obs["label"] = pd.Categorical.from_codes(codes, label.categories)
    elif kind == "genes":
        n_kept = max(1, round(level * reference.n_vars))
        genes = np.sort(rng.choice(reference.n_vars, n_kept, replace=False))
        reference, query = reference[:, genes].copy(), query[:, genes].copy()
    elif kind == "cells":
        reference = reference[_of_every_label(reference.obs["label"], level, rng)].copy()
    else:
        _thin(query, level, rng)
    return reference, query


def _of_every_label(
    labels: pd.Series, share: float, rng: np.random.Generator
) -> NDArray[np.integer]:
    """Rows of a share of the cells of every label."""
    order = rng.permutation(len(labels))
    codes = labels.cat.codes.to_numpy()[order]
    n_kept = np.maximum(np.round(share * np.bincount(codes)), LEAST_CELLS)
    place = pd.Series(codes).groupby(codes).cumcount().to_numpy()
    return np.sort(order[place < n_kept[codes]])


def _thin(query: ad.AnnData, share: float, rng: np.random.Generator) -> None:
    """Keep every count with a probability, and make X anew."""
    if "counts" not in query.layers:
        raise InputError(
            "the query has no counts (`layers['counts']`), so it cannot be made shallower: give "
            "`robustness` without `depth`, or data with counts"
        )
    counts = sparse.csr_matrix(query.layers["counts"])
    X = sparse.csr_matrix(query.X)
    cells = np.repeat(np.arange(query.n_obs), np.diff(counts.indptr))
    # counts per 10,000 of one count, the same for all genes of a cell
    sums = np.asarray(counts.sum(axis=1)).ravel(), np.asarray(X.expm1().sum(axis=1)).ravel()
    unit = sums[1] / np.maximum(sums[0], 1)
    counts.data = rng.binomial(np.round(counts.data).astype(int), share).astype(np.float32)
    X = counts.copy()
    X.data = np.log1p(X.data * unit[cells] / share).astype(np.float32)
    for matrix in (counts, X):
        matrix.eliminate_zeros()
    query.X, query.layers["counts"] = X, counts
