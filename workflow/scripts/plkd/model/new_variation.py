"""Directions in which the cells of a query vary and those of the reference do not.

How far a cell lies from the reference is measured where the reference varies (:mod:`novelty`). A
type that the reference lacks may look like one of its types there: B cells have genes of their own,
but among T cells and monocytes these genes are silent, so nothing looks at them. The query knows
them: what its cells do beyond the principal components of the reference is decomposed once more,
and directions along which cells vary more than those of the reference are kept. How far out along
them a cell lies, beside cells of the reference, counts like its distance; and because new cells
come in groups, the mean of the cells around a cell counts as much as the cell itself. (No cell like
those of the reference comes out odder for it: means of surprises vary less than these.)

Without such directions, as in a query like the reference, cells are judged by their distance alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from plkd.model.novelty import Novelty, surprise_of

_LEAST_CELLS = 50  # of fewer, noise decides where the directions point
_DIRECTIONS = 5
_VARIES_MORE = 1.2  # variance of the cells, as a multiple of that of the known ones
_SURE = 2.0  # standard errors
_NO_VARIANCE = 1e-6  # but for rounding
_WITHIN = 0.25  # share of a query that is of known types, for certain
_GROUPS, _CELLS_PER_GROUP, _NEAREST_GROUPS = 100, 10, 3
_NAMED = 5
_LEAST_APART = 1e-6  # squared: whoever lies nearer to a centre than rounding is of it


@dataclass(frozen=True)
class NewVariation:
    """Of one query; :func:`find_new_variation` gives one.

    Attributes
    ----------
    axes
        From log-normalised genes to places along the directions, float32 (genes, directions).
    origin
        Where the reference lies along them, float32 (directions,).
    lengths
        How far from there cells lie that are known, ascending, float32 (cells,).
    centres
        Of groups of the query's cells, in the space where distances are measured and along the
        directions, float32 (groups, width + directions).
    surprises
        Of the cells of each group, mean, float32 (groups,).
    leading
        Places of the genes that set the query apart along the directions, int64 (some genes,).
    """

    axes: NDArray[np.float32]
    origin: NDArray[np.float32]
    lengths: NDArray[np.float32]
    centres: NDArray[np.float32]
    surprises: NDArray[np.float32]
    leading: NDArray[np.int64]

    def surprise(self, novelty: Novelty, cells: sparse.csr_matrix) -> NDArray[np.float32]:
        """How odd the expression of cells (cells, genes) is, (cells,).

        By distance and along the directions; half of it that of the groups around them.
        """
        along = np.asarray(cells @ self.axes, dtype=np.float32) - self.origin
        near = novelty.place(cells)
        own = novelty.surprise_at(near) + _surprise_along(self.lengths, along)
        around = _of_groups(np.hstack([near, along]), self.centres, self.surprises)
        return ((own + around) / 2).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; :meth:`from_dict` reads it."""
        return {field.name: getattr(self, field.name).tolist() for field in fields(self)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> NewVariation:
        """Rebuild from what :meth:`to_dict` gave."""
        arrays: dict[str, Any] = {n: np.asarray(v, np.float32) for n, v in content.items()}
        return cls(**{**arrays, "leading": np.asarray(content["leading"], np.int64)})


def find_new_variation(
    novelty: Novelty, cells: sparse.csr_matrix, seed: int = 0
) -> NewVariation | None:
    """Find in which directions cells of a query vary and those of the reference do not.

    Parameters
    ----------
    novelty
        What is remembered of the reference. Without known cells nothing can be found.
    cells
        Some cells of the query, log-normalised, CSR (cells, genes).
    seed
        Seed of the halves into which they are cut, and of the groups.

    Returns
    -------
    NewVariation or None
        None if the query varies as the reference does, or has fewer than 50 cells.
    """
    known, spread = novelty.known, novelty.spread
    if known is None or spread is None or cells.shape[0] < _LEAST_CELLS:
        return None
    scaled = _new_directions(novelty.components, spread, known, cells, seed)
    if not scaled.shape[1]:
        return None
    along = np.asarray(known @ scaled, dtype=np.float32)
    origin = along.mean(axis=0)
    out = np.asarray(cells @ scaled, dtype=np.float32) - origin
    lengths = np.sort(np.linalg.norm(along - origin, axis=1))
    # another batch lies off as a whole: its nearest cells are of known types, wherever they lie
    further = np.quantile(np.linalg.norm(out, axis=1), _WITHIN) / np.quantile(lengths, _WITHIN)
    lengths = (lengths * max(float(further), 1.0)).astype(np.float32)

    near = novelty.place(cells)
    own = novelty.surprise_at(near) + _surprise_along(lengths, out)
    centres, surprises = _groups(np.hstack([near, out]), own, seed)
    more = np.maximum(out.var(axis=0) - along.var(axis=0), 0.0)
    weights = (scaled * spread[:, None]) ** 2 @ more
    leading = np.argsort(-weights, kind="stable")[:_NAMED]
    return NewVariation(scaled, origin, lengths, centres, surprises, leading)


def _new_directions(
    components: NDArray[np.floating],
    spread: NDArray[np.floating],
    known: sparse.csr_matrix,
    cells: sparse.csr_matrix,
    seed: int,
) -> NDArray[np.float32]:
    """Directions in which cells surely vary more than known ones, (genes, five at most).

    One half of the cells says where the directions point, the other whether they are more than
    chance: along noise that one half has by chance, the other varies as the reference does. What
    lies along the reference's components is not new; these are orthonormal in units of the spread.
    """
    order = np.random.default_rng([seed, 11]).permutation(cells.shape[0])
    directions = _leading_directions(components, spread, cells[order[::2]], seed)
    ours, theirs = (np.asarray(part @ directions) for part in (cells[order[1::2]], known))
    (variance, error), (least, least_error) = _log_variance(ours), _log_variance(theirs)
    sure = variance - least > np.log(_VARIES_MORE) + _SURE * np.hypot(error, least_error)
    return directions[:, sure]


def _leading_directions(
    components: NDArray[np.floating],
    spread: NDArray[np.floating],
    cells: sparse.csr_matrix,
    seed: int,
) -> NDArray[np.float32]:
    """Directions in which cells vary most but for the components, (genes, five at most)."""
    from sklearn.utils.extmath import randomized_svd

    # in double precision, so that the number of threads does not show in single precision
    beyond = cells.toarray().astype(np.float64) / spread
    beyond -= beyond.mean(axis=0)
    explained = components * spread[:, None]
    beyond -= (beyond @ explained) @ explained.T
    n_axes = min(_DIRECTIONS, min(beyond.shape) - 1)
    if n_axes < 1 or not beyond.any():
        return np.zeros((cells.shape[1], 0), dtype=np.float32)
    axes = randomized_svd(beyond, n_axes, random_state=seed)[2].T
    return (axes / spread[:, None]).astype(np.float32)


def _log_variance(
    places: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logarithm of the variance of places (cells, directions), and its standard error.

    From the fourth moment, because few cells far out make a variance uncertain.
    """
    squares = (places.astype(np.float64) - places.mean(axis=0)) ** 2
    variance = np.maximum(squares.mean(axis=0), _NO_VARIANCE)
    return np.log(variance), squares.std(axis=0) / variance / np.sqrt(len(places))


def _surprise_along(
    lengths: NDArray[np.floating], along: NDArray[np.floating]
) -> NDArray[np.float64]:
    return surprise_of(lengths, np.linalg.norm(along, axis=1))


def _groups(
    places: NDArray[np.float32], own: NDArray[np.float64], seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centres of groups of cells, and how odd the cells of each are in the mean."""
    from sklearn.cluster import KMeans

    n_groups = max(min(_GROUPS, len(places) // _CELLS_PER_GROUP), 1)
    found = KMeans(n_groups, n_init=1, max_iter=20, random_state=seed)
    found.fit(places.astype(np.float64))  # as precise with any number of threads
    sizes = np.bincount(found.labels_, minlength=n_groups)
    sums = np.bincount(found.labels_, own, minlength=n_groups)
    surprises = sums / np.maximum(sizes, 1)
    return found.cluster_centers_.astype(np.float32), surprises.astype(np.float32)


def _of_groups(
    places: NDArray[np.floating],
    centres: NDArray[np.float32],
    surprises: NDArray[np.float32],
) -> NDArray[np.float64]:
    """What is found of the groups around cells: the mean of the nearest, by closeness, (cells,)."""
    squares = (centres.astype(np.float64) ** 2).sum(axis=1)
    apart = (places.astype(np.float64) ** 2).sum(axis=1)[:, None] + squares
    apart -= 2 * places.astype(np.float64) @ centres.T.astype(np.float64)
    n_nearest = min(_NEAREST_GROUPS, len(centres))
    nearest = np.argpartition(apart, n_nearest - 1, axis=1)[:, :n_nearest]
    close = 1.0 / np.maximum(np.take_along_axis(apart, nearest, axis=1), _LEAST_APART)
    found: NDArray[np.float64] = (surprises[nearest] * close).sum(axis=1) / close.sum(axis=1)
    return found
