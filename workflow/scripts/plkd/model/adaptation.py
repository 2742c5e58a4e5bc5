"""Confidence for a query that says less of its cells than the reference does.

Shallow cells, and cells of which genes were not measured, say less; a network that has learnt from
better cells does not know that. Cells of the reference which it remembers do: they are made as
shallow as the query's, they lose the genes that it lacks, and what is then said of them, set
against what is said of the whole cells, tells by how much certainty is too high.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import log_softmax

from plkd.model.background import Background
from plkd.model.trained_network import TrainedNetwork
from plkd.utils.logs import logger

SAMPLE = 2000
"""Cells of a query that are looked at."""

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
    """

    depth: float = 1.0
    temperature: float = 1.0

    def of(self, network: TrainedNetwork) -> TrainedNetwork:
        """The network with its confidence lowered."""
        calibration = network.calibration
        return replace(
            network,
            calibration=replace(
                calibration, temperature=calibration.temperature * self.temperature
            ),
        )


def rows_to_look_at(n_cells: int) -> NDArray[np.intp]:
    """Ascending places of at most :data:`SAMPLE` cells, in blocks spread over a query."""
    if n_cells <= SAMPLE:
        return np.arange(n_cells)
    size = SAMPLE // _BLOCKS
    starts = np.linspace(0, n_cells - size, _BLOCKS).astype(np.intp)
    return np.unique(starts[:, None] + np.arange(size))


def adapt(
    network: TrainedNetwork, cells: sparse.csr_matrix, measured: NDArray[np.bool_]
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
    """
    background = network.background
    if background is None or not network.settings.background_cells or not cells.shape[0]:
        return Adaptation()
    weights = _like_the_query(background, network.predict(cells)[0].argmax(axis=1))
    counts = _Counts.of(background.cells)
    shown = float(cells[:, measured].getnnz(axis=1).mean())
    depth = _depth(counts.counts[:, measured], weights, shown)
    if measured.all() and depth == 1.0:
        return Adaptation()
    whole = network.predict(background.cells)[0].astype(np.float64)
    only_measured = sparse.diags_array(measured.astype(np.float32))
    losses = np.zeros(len(_TEMPERATURES))
    for draw in range(_DRAWS):
        worse = sparse.csr_matrix(counts.thinned(depth, draw) @ only_measured)
        said = network.predict(background.imputer.fill(worse, measured))[0].astype(np.float64)
        log_odds = np.log(said.clip(min=_LEAST_LIKELY))
        for i, temperature in enumerate(_TEMPERATURES):
            losses[i] -= weights @ (whole * log_softmax(log_odds / temperature, axis=1)).sum(axis=1)
    found = Adaptation(depth, float(_TEMPERATURES[losses.argmin()]))
    if found.temperature > _WORTH_SAYING:
        logger.info(
            "the query has %.0f %% of the model's genes, and shows as many of them in a cell as "
            "the reference at %.0f %% of its counts: logits are divided by %.2f, so that "
            "confidence is lower",
            *(100 * measured.mean(), 100 * depth, found.temperature),
        )
    return found


_LEAST_LIKELY = 1e-30
_WORTH_SAYING = 1.05


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
