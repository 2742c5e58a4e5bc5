"""Which cells become the query, and which genes the model sees."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from plkd.errors import InputError

MIN_CELLS_PER_BATCH = 50  # dispersions of fewer cells rank genes by chance


def split_cells(labels: Sequence[str], query_fraction: float, seed: int) -> NDArray[np.bool_]:
    """Choose the query cells of a labelled data set, stratified by label.

    Parameters
    ----------
    labels
        Label of each cell (n_cells,).
    query_fraction
        Share of the cells that become the query, above 0 and below 1.
    seed
        Seed of the choice.

    Returns
    -------
    bool array (n_cells,)
        True for query cells. Every label keeps a reference cell.

    Raises
    ------
    InputError
        If the fraction is out of range or some labels have too few cells.
    """
    from sklearn.model_selection import train_test_split

    if not 0 < query_fraction < 1:
        raise InputError(f"`split.query_fraction` is {query_fraction}; expected between 0 and 1")
    label_of = np.asarray(labels, dtype=object)
    sizes = Counter(label_of)
    single = sorted(label for label, n in sizes.items() if n < 2)
    if single:
        raise InputError(
            f"labels with a single cell cannot be split into reference and query: {single}. Leave "
            "them out with `drop_labels` (or `min_cells_per_label: 2`), or give a separate `query`."
        )
    try:
        _, chosen = train_test_split(
            np.arange(label_of.size), test_size=query_fraction, stratify=label_of, random_state=seed
        )
    except ValueError as error:  # fewer cells on one side than labels
        raise InputError(
            f"{label_of.size} cells of {len(sizes)} labels cannot be split with "
            f"`split.query_fraction` {query_fraction} ({error}). The rarest labels are "
            f"{sorted(sizes, key=lambda label: sizes[label])[:5]}: leave them out with "
            "`drop_labels`, change `query_fraction`, or give a separate `query`."
        ) from error
    is_query = np.zeros(label_of.size, dtype=bool)
    is_query[chosen] = True
    for label in sorted(set(sizes) - set(label_of[~is_query])):
        is_query[np.flatnonzero(label_of == label)[0]] = False
    return is_query


def select_genes(
    X: sparse.csr_matrix,
    batches: Sequence[str],
    n_genes: int | Literal["all"],
    candidates: NDArray[np.bool_],
) -> pd.DataFrame:
    """Choose highly variable genes of the reference (section 4.3 of the paper), batch by batch.

    Scanpy's dispersions (flavour "seurat") are computed in each batch, so that genes that only
    differ between batches do not count; genes are ranked by the number of batches in which they
    are among the first `n_genes`, then by their mean normalised dispersion.

    Parameters
    ----------
    X
        log1p(CP10k) of the reference (n_cells, n_genes).
    batches
        Batch of each cell. Batches below 50 cells are ranked together with the next smallest.
    n_genes
        How many to choose; ``all``, or at least as many as there are candidates: all candidates,
        without ranking.
    candidates
        bool array (n_genes,): which genes may be chosen.

    Returns
    -------
    DataFrame
        One row per column of `X`: `mean` (float), `rank` (Int64, 1 = most variable, missing where
        not ranked), `selected` (bool).

    Raises
    ------
    InputError
        If the genes cannot be ranked, because none varies.
    """
    table = pd.DataFrame(
        {
            "mean": np.asarray(X.mean(axis=0, dtype=np.float64)).ravel(),
            "rank": pd.array([pd.NA] * X.shape[1], dtype="Int64"),
            "selected": candidates.copy(),
        }
    )
    places = np.flatnonzero(candidates)
    if n_genes == "all" or n_genes >= places.size:
        return table
    ranks = _rank_by_dispersion(X[:, places], merge_small_batches(batches), n_genes)
    table.loc[places, "rank"] = ranks
    table["selected"] = (table["rank"] <= n_genes).fillna(False).astype(bool)
    return table


def merge_small_batches(
    batches: Sequence[str], min_cells: int = MIN_CELLS_PER_BATCH
) -> NDArray[np.object_]:
    """Join the smallest batch with the next one until each has `min_cells`, or one is left."""
    merged = np.asarray(batches, dtype=object).copy()
    while True:
        sizes = sorted((n, str(name)) for name, n in Counter(merged).items())
        if len(sizes) < 2 or sizes[0][0] >= min_cells:
            return merged
        (_, smallest), (_, following) = sizes[:2]
        merged[np.isin(merged, [smallest, following])] = f"{smallest}+{following}"


def _rank_by_dispersion(
    X: sparse.csr_matrix, batches: NDArray[np.object_], n_genes: int
) -> NDArray[np.intp]:
    import scanpy as sc

    obs = pd.DataFrame({"batch": pd.Categorical(batches)}, index=np.arange(X.shape[0]).astype(str))
    adata = ad.AnnData(X, obs=obs)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = sc.pp.highly_variable_genes(
                adata,
                flavor="seurat",
                n_top_genes=n_genes,
                batch_key="batch" if len(obs["batch"].cat.categories) > 1 else None,
                inplace=False,
            )
    except (IndexError, ValueError) as error:  # scanpy, where no dispersion can be computed
        raise InputError(
            f"the {X.shape[1]:,} genes of {X.shape[0]:,} reference cells cannot be ranked by how "
            f"variable they are ({error}): too few cells, or no gene varies within a batch. Set "
            "`prepare.n_genes: all`."
        ) from error
    n_batches = found.get("highly_variable_nbatches", pd.Series(0, index=found.index))
    dispersion = found["dispersions_norm"].fillna(-np.inf)
    order = np.lexsort((-dispersion.to_numpy(dtype=float), -n_batches.to_numpy(dtype=float)))
    ranks = np.empty(order.size, dtype=np.intp)
    ranks[order] = np.arange(1, order.size + 1)
    return ranks
