"""How little a cell resembles the reference: the score by which cells come out as unknown.

A classifier keeps of a cell what tells the known labels apart, and may well be sure that a new type
is the label it resembles. Expression knows better: a model therefore remembers where cells of its
reference lie, and a cell without neighbours there is new. Both are asked, how far the cell is from
its neighbours and how much the Student doubts, and each answer is compared with those for cells of
the reference that were held out, so that the score means the same whatever the reference is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, svds
from scipy.spatial import KDTree
from scipy.special import entr

from plkd.model.reference import Reference
from plkd.utils.devices import usable_threads

FAR = "far from every reference cell"
BETWEEN = "between labels"
"""Why a cell is unknown."""

_COMPONENTS = 8  # more of them hold batches and noise rather than types
_ALL_COMPONENTS = 20  # beyond which what a query does is new
_NEIGHBOURS = 6  # two thirds of them, 4, where one of three folds is held out
_CELLS = 10_000  # remembered; a query of a million is then compared with them in half a minute
_LEAF = 20  # of the tree, where a query is fastest
_LEAST_HELD_OUT = 20  # of fewer cells no share of 5 % can be told
_OTHER_STUDY = 1.6  # so much odder cells of another study are to a reference of one batch
_OF_DOUBT = 0.25  # distance leads: a Student is often sure of a type that it does not know
_LEAST_SPREAD = (
    0.3  # of a gene within labels, in log-normalised units: rare genes do not count more
)


@dataclass(frozen=True)
class Novelty:
    """What a model remembers of its reference's expression, and how odd held-out cells were.

    Attributes
    ----------
    components
        From log-normalised genes to principal components, those that explain most first, float32
        (genes, components); neighbours are sought in the first `width` of them.
    centre
        What is subtracted there, float32 (components,).
    cells
        Remembered cells of the reference in this space, float32 (remembered cells, width).
    neighbours
        To which of its nearest remembered cells the distance of a cell is measured.
    distances, doubts, surprises
        Of held-out cells of the reference, ascending, float32 (held-out cells,): distance; entropy
        of the Student's probabilities; both together, see :meth:`scores`.
    of_one_batch
        Whether they were held out from cells of their own batch, so that they do not tell how far
        out another batch lies.
    spread
        Of every gene within labels, in units of which it counts, float32 (genes,).
    known
        Cells of the reference, evenly over its labels, with which is compared what varies in a
        query (:mod:`plkd.model.new_variation`), CSR (known cells, genes). None, as the spread, in
        models that keep no cells or were made before such things were sought.
    """

    components: NDArray[np.float32]
    centre: NDArray[np.float32]
    cells: NDArray[np.float32]
    neighbours: int
    distances: NDArray[np.float32]
    doubts: NDArray[np.float32]
    surprises: NDArray[np.float32]
    of_one_batch: bool = False
    spread: NDArray[np.float32] | None = None
    known: sparse.csr_matrix | None = None

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        n_genes, n_components = self.components.shape
        if (
            not n_genes
            or self.centre.shape != (n_components,)
            or self.cells.ndim != 2
            or self.cells.shape[1] > n_components
        ):
            raise ValueError(
                f"components {self.components.shape}, centre {self.centre.shape}, cells "
                f"{self.cells.shape}"
            )
        if self.spread is not None and self.spread.shape != (n_genes,):
            raise ValueError(f"components {self.components.shape}, spread {self.spread.shape}")
        if self.known is not None and self.known.shape[1] != n_genes:
            raise ValueError(f"components {self.components.shape}, known {self.known.shape}")
        if not 1 <= self.neighbours <= len(self.cells):
            raise ValueError(f"neighbour {self.neighbours} of {len(self.cells)} cells")
        if not len(self.distances) == len(self.doubts) == len(self.surprises) >= 1:
            raise ValueError("as many distances as doubts and surprises are needed")

    def place(self, cells: sparse.csr_matrix) -> NDArray[np.float32]:
        """Where cells (cells, genes) lie in the space where neighbours are sought."""
        width = self.cells.shape[1]
        return _placed(cells, self.components[:, :width], self.centre[:width])

    def distance(
        self, cells: sparse.csr_matrix, *, remembered: bool = False
    ) -> NDArray[np.float32]:
        """How far cells (cells, genes) are from their nearest remembered cells, (cells,).

        With `remembered` they are some of these, and do not count as their own neighbours.
        """
        neighbours = min(self.neighbours + remembered, len(self.cells))
        return _distance(self._tree, self.place(cells), neighbours)

    def surprise(self, cells: sparse.csr_matrix) -> NDArray[np.float32]:
        """How odd the expression of cells (cells, genes) is by their distance, (cells,).

        Minus the logarithm of the share of held-out cells that lie as far out.
        """
        return self.surprise_at(self.place(cells)).astype(np.float32)

    def surprise_at(self, places: NDArray[np.float32]) -> NDArray[np.float64]:
        """As :meth:`surprise`, of cells that lie there, (cells, width)."""
        return surprise_of(self.distances, _distance(self._tree, places, self.neighbours))

    def scores(
        self,
        surprise: NDArray[np.floating],
        doubt: NDArray[np.floating],
        *,
        new_directions: bool = False,
    ) -> NDArray[np.float32]:
        """Share of the reference's held-out cells that are less odd than each cell.

        Parameters
        ----------
        surprise
            How odd the expression of the cells is, (cells,): from :meth:`surprise` or, with
            `new_directions`, from :meth:`plkd.model.new_variation.NewVariation.surprise`.
        doubt
            Entropy of the Student's probabilities, (cells,).

        Returns
        -------
        float32 array of shape (cells,)
            From 0 to 1; of cells like the reference's a share alpha is above 1 - alpha.
        """
        both = surprise + _OF_DOUBT * surprise_of(self.doubts, doubt)
        if not new_directions:
            return (1.0 - share_above(self.surprises, both)).astype(np.float32)
        if self.of_one_batch:
            both = both / _OTHER_STUDY
        return (1.0 - _share_above_with_another(self.surprises, both)).astype(np.float32)

    def is_far(
        self, surprise: NDArray[np.floating], doubt: NDArray[np.floating]
    ) -> NDArray[np.bool_]:
        """Whether expression rather than doubt makes each cell odd, (cells,)."""
        return np.asarray(surprise) >= surprise_of(self.doubts, doubt)

    @cached_property
    def _tree(self) -> KDTree:
        return KDTree(self.cells, leafsize=_LEAF)


def fit_novelty(
    reference: Reference,
    folds: Iterable[tuple[NDArray[np.intp], NDArray[np.intp]]],
    doubt: NDArray[np.floating],
    *,
    of_one_batch: bool = False,
    n_known: int = 500,
    seed: int = 0,
) -> Novelty | None:
    """Remember a reference, and see how odd cells of it look to the others.

    Parameters
    ----------
    reference
        Labelled cells.
    folds
        Pairs of rows: cells that are there, and cells that were held out from whom gave `doubt`.
    doubt
        Entropy of the probabilities that a Student who has not seen a cell gives to its labels,
        (cells,); NaN where there is none.
    of_one_batch
        Whether held-out cells are of the batches of those that are there.
    n_known
        How many cells are kept as they are, to compare a query with; 0: none.
    seed
        Seed of the choice of remembered and of kept cells.

    Returns
    -------
    Novelty or None
        None if fewer than 20 cells were judged, from which no share of 5 % can be told.
    """
    if np.isfinite(doubt).sum() < _LEAST_HELD_OUT:
        return None
    remembered = np.zeros(len(doubt), dtype=bool)
    remembered[reference.some(_CELLS, seed)] = True
    neighbours = min(_NEIGHBOURS, int(remembered.sum()))
    distance = np.full(len(doubt), np.nan, dtype=np.float32)
    for fit, held_out in folds:
        # also the components are those of the others: cells lie further out on their own
        others = reference.take(fit[remembered[fit]])
        components, centre = _components(others, _spread_within(others) + _LEAST_SPREAD)
        tree = KDTree(_placed(others.cells, components, centre))
        # among fewer cells the nearest are further away: as many fewer of them are looked at
        nearest = max(neighbours * len(others.codes) / int(remembered.sum()), 1.0)
        places = _placed(reference.cells[held_out], components, centre)
        distance[held_out] = _distance(tree, places, nearest)
    judged = np.isfinite(doubt) & np.isfinite(distance)
    distances, doubts = np.sort(distance[judged]), np.sort(doubt[judged].astype(np.float32))
    surprises = surprise_of(distances, distance[judged])
    surprises += _OF_DOUBT * surprise_of(doubts, doubt[judged])
    whole = reference.take(np.flatnonzero(remembered))
    spread = _spread_within(whole) + _LEAST_SPREAD
    components, centre = _components(whole, spread, _ALL_COMPONENTS)
    places = _placed(whole.cells, components[:, :_COMPONENTS], centre[:_COMPONENTS])
    return Novelty(
        components,
        centre,
        places,
        neighbours,
        distances,
        doubts,
        np.sort(surprises.astype(np.float32)),
        of_one_batch,
        spread.astype(np.float32) if n_known else None,
        sparse.csr_matrix(whole.cells[whole.evenly(n_known, seed)]) if n_known else None,
    )


def entropy(probabilities: NDArray[np.floating]) -> NDArray[np.floating]:
    """Entropy of probabilities (cells, labels), in nats, (cells,)."""
    return np.asarray(entr(probabilities).sum(axis=1))


def share_above(
    reference: NDArray[np.floating], values: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Share of a reference that is as large as each value, (values,), never zero.

    Beyond the highest twentieth of the reference the share falls exponentially, as fast as it does
    there, so that values above all of the reference still differ.

    Parameters
    ----------
    reference
        Ascending, (n,).
    values
        Any, (values,).
    """
    n_all = len(reference)
    share = (n_all - np.searchsorted(reference, values, side="left") + 1) / (n_all + 1)
    n_tail = max(n_all // 20, 1)
    start = float(reference[-n_tail])
    fall = float(np.mean(reference[-n_tail:])) - start
    if fall > 0:
        beyond = np.asarray(values) > start
        excess = (np.asarray(values, dtype=np.float64)[beyond] - start) / fall
        share[beyond] = (n_tail + 1) / (n_all + 1) * np.exp(-excess)
    return np.maximum(share, _LEAST_SHARE)


_LEAST_SHARE = 1e-300  # its logarithm is finite


def surprise_of(
    reference: NDArray[np.floating], values: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Minus the logarithm of :func:`share_above`, (values,); several are added up (Fisher)."""
    return -np.log(share_above(reference, values))


def _share_above_with_another(
    surprises: NDArray[np.floating], values: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Share of ascending surprises that are as large as each value once another is added to them.

    The other is that of a cell like any other, independent of the first: minus the logarithm of a
    share between 0 and 1, so that a share exp(-x) of them is above x.
    """
    known = surprises.astype(np.float64)
    place = np.searchsorted(known, values, side="left")
    sums = np.concatenate([[-np.inf], np.logaddexp.accumulate(known)])[place]
    share = len(known) - place + np.exp(sums - np.asarray(values, dtype=np.float64))
    return np.maximum(share / len(known), _LEAST_SHARE)


def _placed(
    cells: sparse.csr_matrix, components: NDArray[np.float32], centre: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Cells (cells, genes) in the space of the components, (cells, width)."""
    return np.asarray(cells @ components, dtype=np.float32) - centre


def _distance(tree: KDTree, places: NDArray[np.float32], neighbours: float) -> NDArray[np.float32]:
    """Distance of each place to its k-th nearest in a tree, between two where k is, (places,)."""
    ranks = [math.floor(neighbours), math.ceil(neighbours)]
    found, _ = tree.query(places, k=ranks, workers=usable_threads())
    return (found[:, 0] + (neighbours - ranks[0]) * (found[:, 1] - found[:, 0])).astype(np.float32)


def _components(
    reference: Reference, spread: NDArray[np.float64], n_components: int = _COMPONENTS
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Principal components of the genes in units of their spread within labels, and the centre.

    Those that explain most come first. A cell counts by the root of its label's size less, so that
    rare labels have their say in where the components point. The cells stay sparse.
    """
    cells, codes = reference.cells[:], reference.codes
    n_cells, n_genes = cells.shape
    weight = np.bincount(codes)[codes] ** -0.5
    weight /= weight.sum()
    mean = np.asarray(weight @ cells).ravel() / spread
    scaled = sparse.csr_matrix(cells @ sparse.diags_array(1.0 / spread))
    variance = np.asarray(weight @ scaled.multiply(scaled)).ravel() - mean**2
    if variance.max() < _NO_VARIANCE:
        return np.zeros((n_genes, 1), dtype=np.float32), np.zeros(1, dtype=np.float32)
    root = np.sqrt(weight)
    centred = LinearOperator(
        cells.shape,
        matvec=lambda v: root * (scaled @ v.ravel() - mean @ v.ravel()),
        rmatvec=lambda v: scaled.T @ (root * v.ravel()) - mean * (root @ v.ravel()),
        dtype=np.float64,
    )
    width = max(min(n_components, n_cells - 1, n_genes - 1), 1)
    start = np.random.default_rng(0).standard_normal(min(n_cells, n_genes))
    _, _, axes = svds(centred, k=width, v0=start)
    axes = axes[::-1]
    components = (axes.T / spread[:, None]).astype(np.float32)
    return components, (mean @ axes.T).astype(np.float32)


_NO_VARIANCE = 1e-6  # but for rounding


def _spread_within(reference: Reference) -> NDArray[np.float64]:
    """Standard deviation of every gene around the mean of each cell's label, (genes,)."""
    cells, codes = reference.cells[:], reference.codes
    sizes = np.bincount(codes, minlength=len(reference.labels))
    members = sparse.csr_matrix(
        (np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(len(sizes), len(codes))
    )
    sums = (members @ cells).toarray()
    squares = np.asarray(cells.multiply(cells).sum(axis=0)).ravel()
    within = squares - (sums**2 / np.maximum(sizes, 1)[:, None]).sum(axis=0)
    return np.sqrt(np.maximum(within, 0.0) / len(codes))
