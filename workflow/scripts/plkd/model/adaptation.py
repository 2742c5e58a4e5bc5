"""Confidence, and the limit of the unknown, for a query that differs from the reference as a whole.

Shallow cells, and cells of which genes were not measured, say less; a network that has learnt from
better cells does not know that. Cells of the reference which it remembers do: they are made as
shallow as the query's, they lose the genes that it lacks, and what is then said of them, set
against what is said of the whole cells, tells by how much certainty is too high, and by how much
cells lie further out without being of another kind.

Prediction sets are as large as held-out cells of the reference want them, and no smaller than they
have to be to hold the true label as often as they promise if the network's own probabilities on
the query are right: where it is less sure than it was of held-out cells, sets grow.

Before that, where held-out batches of the reference were labelled better for it, the cells of every
batch of the query are moved onto the reference (:mod:`plkd.model.alignment`).

All cells of another study lie further out. A reference of several batches knows by how much, one of
a single batch has to take it from the query's own nearest cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import log_softmax

from plkd.model.alignment import ONE_BATCH, Offsets, find_offsets, probabilities_of
from plkd.model.background import Background
from plkd.model.new_variation import NewVariation, find_new_variation
from plkd.model.trained_network import TrainedNetwork
from plkd.utils.logs import logger
from plkd.utils.text import listed

SAMPLE = 2000
"""Cells of a query that are looked at."""

OF_EVERY_BATCH = 200
"""Cells of a batch that are looked at, however many batches there are."""

_BLOCKS = 20  # in which they lie together: a compressed file is read in part
_DRAWS = 5  # thinned copies of every remembered cell
_TEMPERATURES = np.geomspace(1.0, 10.0, 100)


@dataclass(frozen=True)
class Adaptation:
    """How much less the cells of a query say than those of the reference.

    Attributes
    ----------
    depth
        At which share of their counts, at most 1, cells of the reference show as many genes as the
        query's.
    temperature
        By which the logits are divided once more, at least 1.
    distance
        By which the cells lie further from the reference than its own, at least 1.
    conformal_threshold
        Below which that of the prediction sets must not be.
    offsets
        By how much the cells of its batches are moved; None: they are not.
    new_variation
        In which directions its cells vary and the reference does not; None: in none.
    """

    depth: float = 1.0
    temperature: float = 1.0
    distance: float = 1.0
    conformal_threshold: float = 0.0
    offsets: Offsets | None = None
    new_variation: NewVariation | None = None

    def of(self, network: TrainedNetwork) -> TrainedNetwork:
        """The network, its confidence lowered, its sets larger, its limit of the unknown out."""
        calibration, novelty = network.calibration, network.novelty
        if novelty is not None:
            novelty = replace(novelty, distances=novelty.distances * np.float32(self.distance))
        temperature = calibration.temperature * self.temperature
        calibration = replace(
            calibration,
            temperature=temperature,
            conformal_threshold=max(calibration.conformal_threshold, self.conformal_threshold),
        )
        return replace(
            network,
            calibration=calibration,
            novelty=novelty,
            offsets=self.offsets,
            new_variation=self.new_variation,
        )

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; :meth:`from_dict` reads it."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in _WITH_ARRAYS:
            plain[name] = None if plain[name] is None else plain[name].to_dict()
        return plain

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Adaptation:
        """Rebuild from what :meth:`to_dict` gave."""
        found = dict(content)
        for name, kind in _WITH_ARRAYS.items():
            found[name] = None if found[name] is None else kind.from_dict(found[name])
        return cls(**found)


_WITH_ARRAYS: dict[str, type[Offsets] | type[NewVariation]] = {
    "offsets": Offsets,
    "new_variation": NewVariation,
}


def rows_to_look_at(network: TrainedNetwork, batches: NDArray[np.str_]) -> NDArray[np.intp]:
    """Ascending places of some cells of a query, in blocks spread over it.

    They are at most :data:`SAMPLE`; if batches are to be moved, of every batch an equal share of
    them, and no fewer than :data:`OF_EVERY_BATCH` if it has them.
    """
    if not network.largest_offset or not len(batches):
        return _spread(len(batches), SAMPLE)
    names, codes = np.unique(batches, return_inverse=True)
    most = max(SAMPLE // len(names), OF_EVERY_BATCH)
    order = np.argsort(codes, kind="stable")
    parts = np.split(order, np.searchsorted(codes[order], np.arange(1, len(names))))
    return np.sort(np.concatenate([part[_spread(len(part), most)] for part in parts]))


def _spread(n_all: int, n_cells: int) -> NDArray[np.intp]:
    """About `n_cells` ascending places of `n_all`, in blocks."""
    if n_all <= n_cells:
        return np.arange(n_all)
    size = n_cells // _BLOCKS
    starts = np.linspace(0, n_all - size, _BLOCKS).astype(np.intp)
    return np.unique(starts[:, None] + np.arange(size))


def adapt(
    network: TrainedNetwork,
    cells: sparse.csr_matrix,
    measured: NDArray[np.bool_],
    batches: NDArray[np.str_] | None = None,
) -> Adaptation:
    """See how much less the cells of a query say.

    Parameters
    ----------
    network
        Which is to label them. Without a background with cells nothing can be seen.
    cells
        Some of them, log-normalised, CSR (cells, genes), genes that were not measured filled in.
    measured
        Which genes the query has, (genes,).
    batches
        Of these cells, (cells,); None: they are all of one.
    """
    if batches is None:
        batches = np.full(cells.shape[0], ONE_BATCH)
    offsets = _offsets(network, cells, batches)
    network = replace(network, offsets=offsets)
    found = replace(_worse(network, cells, measured, batches), offsets=offsets)
    if not cells.shape[0]:
        return found
    found = replace(found, new_variation=_new_variation(found.of(network), cells))
    said = found.of(network).predict(cells, batches)[0]
    return replace(found, conformal_threshold=_threshold(said, network.calibration.alpha))


def _new_variation(network: TrainedNetwork, cells: sparse.csr_matrix) -> NewVariation | None:
    """In which directions the query varies and the reference does not."""
    if network.novelty is None:
        return None
    found = find_new_variation(network.novelty, cells)
    if found is not None:
        logger.info(
            "the query's cells vary in ways that the reference's do not, in %s above all: cells "
            "and groups of cells that lie out there count as odd",
            listed(replace(network, new_variation=found).new_genes),
        )
    return found


def _offsets(
    network: TrainedNetwork, cells: sparse.csr_matrix, batches: NDArray[np.str_]
) -> Offsets | None:
    """By how much the batches of a query lie off the reference; None if they are not moved."""
    largest, background = network.largest_offset, network.background
    if not largest or background is None or not cells.shape[0]:
        return None
    say = probabilities_of(
        lambda x: network.network(x)[0], network.calibration.temperature, network.device
    )
    offsets = find_offsets(say, background.label_means, cells, batches, largest)
    lengths = np.linalg.norm(offsets.values, axis=1)
    logger.info(
        "%s moved onto the reference, by %.1f (mean over batches); %.1f would be allowed",
        "the cells are" if len(lengths) == 1 else f"the cells of {len(lengths)} batches are each",
        *(offsets.mean_length, largest),
    )
    far = [
        name for name, one in zip(offsets.batches, lengths, strict=True) if one > 0.999 * largest
    ]
    if far:
        logger.warning(
            "%s further from the reference than its own batches from one another, so the labels "
            "there deserve a look",
            f"batches lie ({listed(far)})" if any(far) else "the query lies",
        )
    return offsets


def _worse(
    network: TrainedNetwork,
    cells: sparse.csr_matrix,
    measured: NDArray[np.bool_],
    batches: NDArray[np.str_],
) -> Adaptation:
    """As :func:`adapt`, but for the prediction sets."""
    further = _further_out(network, cells)
    background = network.background
    if background is None or not network.settings.background_cells or not cells.shape[0]:
        return Adaptation(distance=further)
    weights = _like_the_query(background, network.predict(cells, batches)[0].argmax(axis=1))
    counts = _Counts.of(background.cells)
    shown = float(cells[:, measured].getnnz(axis=1).mean())
    depth = _depth(counts.counts[:, measured], weights, shown)
    if measured.all() and depth == 1.0:
        return Adaptation(distance=further)
    only_measured = sparse.diags_array(measured.astype(np.float32))
    worse = sparse.vstack([counts.thinned(depth, draw) @ only_measured for draw in range(_DRAWS)])
    worse = background.imputer.fill(sparse.csr_matrix(worse), measured)
    temperature = _temperature(network, background.cells, worse, weights)
    further = max(further, _further_out_if_worse(network, background.cells, worse, weights))
    if temperature > _WORTH_SAYING or further > _WORTH_SAYING:
        logger.info(
            "the query has %.0f %% of the model's genes, and shows as many of them in a cell as "
            "the reference at %.0f %% of its counts: logits are divided by %.2f, distances by %.2f",
            *(100 * measured.mean(), 100 * depth, temperature, further),
        )
    return Adaptation(depth, temperature, further)


_WORTH_SAYING = 1.05


def _threshold(probabilities: NDArray[np.floating], alpha: float) -> float:
    """Least threshold at which sets hold a share 1 - alpha of the probability of all cells.

    A set holds the label of largest probability, and those of at least 1 - threshold.
    """
    ordered = np.sort(probabilities.astype(np.float64), axis=1)
    missing = (1.0 - alpha) * len(ordered) - ordered[:, -1].sum()
    others = np.sort(ordered[:, :-1], axis=None)[::-1]
    if missing <= 0 or not others.size:
        return 0.0
    place = int(np.searchsorted(others.cumsum(), missing))
    return 1.0 - float(others[min(place, others.size - 1)])


def _temperature(
    network: TrainedNetwork,
    whole: sparse.csr_matrix,
    worse: sparse.csr_matrix,
    weights: NDArray[np.float64],
) -> float:
    """By which logits are divided for worse copies of cells to say what is said of the cells."""
    expected = network.predict(whole)[0].astype(np.float64)
    said = np.log(network.predict(worse)[0].astype(np.float64).clip(min=_LEAST_LIKELY))
    said = said.reshape(-1, *expected.shape)
    losses = [
        -(weights @ (expected * log_softmax(said / t, axis=2)).sum(axis=(0, 2)))
        for t in _TEMPERATURES
    ]
    return float(_TEMPERATURES[int(np.argmin(losses))])


_LEAST_LIKELY = 1e-30


def _further_out_if_worse(
    network: TrainedNetwork,
    whole: sparse.csr_matrix,
    worse: sparse.csr_matrix,
    weights: NDArray[np.float64],
) -> float:
    """By which worse copies of cells lie further out than the cells, at least 1."""
    if network.novelty is None:
        return 1.0
    near = network.novelty.distance(whole, remembered=True)
    far = network.novelty.distance(worse)
    copies = np.tile(weights, len(far) // len(near))
    return max(_weighted_median(far, copies) / max(_weighted_median(near, weights), _NOWHERE), 1.0)


def _further_out(network: TrainedNetwork, cells: sparse.csr_matrix) -> float:
    """By which the nearest cells of a query lie further out than those of the reference."""
    novelty = network.novelty
    if novelty is None or not novelty.of_one_batch or not cells.shape[0]:
        return 1.0
    near = max(float(np.quantile(novelty.distances, _NEAREST)), _NOWHERE)
    ratio = float(np.quantile(novelty.distance(cells), _NEAREST)) / near
    return min(ratio, _MOST_FURTHER) if ratio > _WORTH_SAYING else 1.0


_NEAREST = 0.1  # share of a query that will be of known types
_MOST_FURTHER = 1.5  # a query that lies further out is of something else
_NOWHERE = 1e-6


def _weighted_median(values: NDArray[np.floating], weights: NDArray[np.float64]) -> float:
    order = np.argsort(values)
    return float(values[order][np.searchsorted(weights[order].cumsum(), weights.sum() / 2)])


def _like_the_query(background: Background, codes: NDArray[np.integer]) -> NDArray[np.float64]:
    """Weight of every remembered cell, (cells,): its label's share of the query."""
    n_labels = len(background.label_means)
    share = np.bincount(codes, minlength=n_labels) / len(codes)
    remembered = np.bincount(background.codes, minlength=n_labels)
    weights = share[background.codes] / remembered[background.codes]
    return weights / weights.sum()


def _depth(counts: sparse.csr_matrix, weights: NDArray[np.float64], shown: float) -> float:
    """Share of the counts at which cells show so many genes in the weighted mean, at most 1."""

    def genes(depth: float) -> float:
        seen = counts.copy()
        seen.data = 1.0 - (1.0 - depth) ** seen.data
        return float(weights @ np.asarray(seen.sum(axis=1)).ravel())

    if shown >= genes(1.0):
        return 1.0
    low, high = _LEAST_DEPTH, 1.0
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if genes(middle) < shown else (low, middle)
    return (low * high) ** 0.5


_LEAST_DEPTH = 0.01
_HALVINGS = 20


@dataclass(frozen=True)
class _Counts:
    """Counts behind log-normalised cells, CSR (cells, genes), and what one of each cell is worth.

    The least that a cell shows of a gene is taken for one count.
    """

    counts: sparse.csr_matrix
    worth: NDArray[np.float64]

    @classmethod
    def of(cls, cells: sparse.csr_matrix) -> _Counts:
        linear = cells.astype(np.float64).expm1()
        linear.eliminate_zeros()
        least = np.ones(linear.shape[0])
        filled = np.diff(linear.indptr) > 0
        if filled.any():
            least[filled] = np.minimum.reduceat(linear.data, linear.indptr[:-1][filled])
        counts = sparse.csr_matrix(sparse.diags_array(1.0 / least) @ linear)
        counts.data = np.rint(counts.data)
        return cls(counts, least)

    def thinned(self, depth: float, seed: int) -> sparse.csr_matrix:
        """Log-normalised cells of which a share of the counts was seen."""
        seen = self.counts.copy()
        if depth < 1.0:
            rng = np.random.default_rng(seed)
            seen.data = rng.binomial(seen.data.astype(np.int64), depth).astype(np.float64)
        worth = sparse.diags_array(self.worth / depth)
        return sparse.csr_matrix((worth @ seen).log1p(), dtype=np.float32)
