"""Which cells become the query, and which genes the model sees."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from plkd.errors import InputError
from plkd.utils.text import listed

MIN_CELLS_PER_BATCH = 50  # dispersions of fewer cells rank genes by chance
MEAN_BINS = 20  # of scanpy and Seurat
ROUNDING = 1e-10  # a variance below this share of the mean square is rounding


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
            f"{listed(sorted(sizes, key=lambda label: sizes[label]))}: leave them out with "
            "`drop_labels`, change `query_fraction`, or give a separate `query`."
        ) from error
    is_query = np.zeros(label_of.size, dtype=bool)
    is_query[chosen] = True
    for label in sorted(set(sizes) - set(label_of[~is_query])):
        is_query[np.flatnonzero(label_of == label)[0]] = False
    return is_query


@dataclass(frozen=True)
class GeneSums:
    """What the choice of genes needs to know of the reference, added up chunk by chunk.

    Memory grows with batches x genes.

    Attributes
    ----------
    cells_of_batch
        Number of cells of each batch, int array (n_batches,).
    linear, squares
        Sums of expm1(X) and of its squares, float64 (n_batches, n_genes).
    logged
        Sum of X over all cells, float64 (n_genes,).
    cells_with
        Number of cells above zero, int array (n_genes,).
    """

    cells_of_batch: NDArray[np.intp]
    linear: NDArray[np.float64]
    squares: NDArray[np.float64]
    logged: NDArray[np.float64]
    cells_with: NDArray[np.intp]

    @classmethod
    def zeros(cls, n_batches: int, n_genes: int) -> GeneSums:
        """Sums over no cells."""
        return cls(
            np.zeros(n_batches, dtype=np.intp),
            np.zeros((n_batches, n_genes)),
            np.zeros((n_batches, n_genes)),
            np.zeros(n_genes),
            np.zeros(n_genes, dtype=np.intp),
        )

    def add(self, X: sparse.csr_matrix, batches: NDArray[np.intp]) -> None:
        """Add some cells.

        Parameters
        ----------
        X
            log1p(CP10k), CSR (n_cells, n_genes) without stored zeros.
        batches
            Number of each cell's batch, (n_cells,).
        """
        n_genes = X.shape[1]
        present, member = np.unique(batches, return_inverse=True)
        of_batch = sparse.csr_matrix(
            (np.ones(X.shape[0]), (member, np.arange(X.shape[0]))),
            shape=(present.size, X.shape[0]),
        )
        linear = np.expm1(X.data).astype(np.float64)  # as scanpy: the function in float32
        for sums, values in ((self.linear, linear), (self.squares, linear**2)):
            part = sparse.csr_matrix((values, X.indices, X.indptr), shape=X.shape)
            sums[present] += (of_batch @ part).toarray()
        self.cells_of_batch[present] += np.bincount(member, minlength=present.size)
        self.logged[:] += np.bincount(X.indices, X.data, n_genes)
        self.cells_with[:] += np.bincount(X.indices, minlength=n_genes)

    def moments(self, batch: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and variance (n - 1 in the denominator) of expm1(X) in a batch, (n_genes,) each."""
        n = self.cells_of_batch[batch]
        mean, mean_of_squares = self.linear[batch] / n, self.squares[batch] / n
        variance = mean_of_squares - mean**2
        variance[variance < ROUNDING * mean_of_squares] = 0.0  # a gene that does not vary
        return mean, variance * (n / max(n - 1, 1))


def select_genes(
    sums: GeneSums, n_genes: int | Literal["all"], candidates: NDArray[np.bool_]
) -> pd.DataFrame:
    """Choose highly variable genes of the reference (section 4.3 of the paper), batch by batch.

    The genes and their order are those of ``scanpy.pp.highly_variable_genes`` (flavour "seurat",
    with `batch_key`): dispersions are normalised in each batch, so that genes that only differ
    between batches do not count; genes are ranked by the number of batches in which they are among
    the first `n_genes`, then by their mean normalised dispersion. Own code, because scanpy wants
    the matrix and has no door for its moments.

    Parameters
    ----------
    sums
        Of log1p(CP10k) of the reference.
    n_genes
        How many to choose; ``all``, or at least as many as there are candidates: all candidates,
        without ranking.
    candidates
        bool array (n_genes,): which genes may be chosen.

    Returns
    -------
    DataFrame
        One row per gene: `mean` (float), `rank` (Int64, 1 = most variable, missing where not
        ranked), `selected` (bool).

    Raises
    ------
    InputError
        If the genes cannot be ranked, because none varies.
    """
    n_cells = int(sums.cells_of_batch.sum())
    table = pd.DataFrame(
        {
            "mean": sums.logged / n_cells,
            "rank": pd.array([pd.NA] * sums.logged.size, dtype="Int64"),
            "selected": candidates.copy(),
        }
    )
    places = np.flatnonzero(candidates)
    if n_genes == "all" or n_genes >= places.size:
        return table
    table.loc[places, "rank"] = _rank_by_dispersion(sums, places, n_genes)
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


def _rank_by_dispersion(sums: GeneSums, places: NDArray[np.intp], n_genes: int) -> NDArray[np.intp]:
    n_batches = sums.cells_of_batch.size
    dispersions = np.zeros((n_batches, places.size))
    often = np.zeros(places.size, dtype=np.intp)
    for batch in range(n_batches):
        mean, variance = (moment[places] for moment in sums.moments(batch))
        # With batches, scanpy leaves out the genes that a batch lacks, and counts them as average.
        used = mean > 0 if n_batches > 1 else np.ones(places.size, dtype=bool)
        found = _normalised_dispersions(mean[used], variance[used])
        known = np.sort(found[~np.isnan(found)])[::-1]
        if known.size == 0:
            raise InputError(
                f"the {places.size:,} genes of {sums.cells_of_batch[batch]:,} reference cells "
                "cannot be ranked by how variable they are: too few cells, or no gene varies "
                "within a batch. Set `prepare.n_genes: all`."
            )
        dispersions[batch, used] = found
        if n_batches > 1:
            often[used] += np.nan_to_num(found, nan=-np.inf) >= known[min(n_genes, known.size) - 1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # genes that vary in no batch: NaN, the last of all
        average = np.nan_to_num(np.nanmean(dispersions, axis=0), nan=-np.inf)
    order = np.lexsort((-average, -often))
    ranks = np.empty(order.size, dtype=np.intp)
    ranks[order] = np.arange(1, order.size + 1)
    return ranks


def _normalised_dispersions(
    mean: NDArray[np.float64], variance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Seurat's: log(variance / mean), standardised among genes of similar mean; NaN if constant."""
    if mean.size == 0:
        return np.empty(0)
    mean = np.where(mean == 0, 1e-12, mean)
    with np.errstate(divide="ignore"):
        dispersion = pd.Series(np.log(np.where(variance > 0, variance / mean, np.nan)))
    bins = pd.cut(pd.Series(np.log1p(mean)), bins=MEAN_BINS)
    groups = dispersion.groupby(bins, observed=True)
    average, deviation = groups.transform("mean"), groups.transform("std")
    alone = deviation.isna()  # a bin of one gene: its normalised dispersion is 1
    deviation, average = deviation.where(~alone, average), average.where(~alone, 0.0)
    return ((dispersion - average) / deviation).to_numpy()
