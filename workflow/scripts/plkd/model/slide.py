"""Cells on a slide: what is said of those around a cell may say more of it than it says itself.

A label that names a region (a cortical layer) is that of the cells around, a label that names a
kind of cell is not. Which of the two a reference has, its own held-out cells tell.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree

from plkd.model.calibration import fit_temperature

NEIGHBOURS = (5, 10, 20, 40)
"""How many cells around a cell are tried."""

_LEAST_LIKELY = 0.02  # a few cells whose label is wrong do not decide
_ERRORS = 2.0


def smoothed(
    probabilities: NDArray[np.floating],
    places: NDArray[np.floating],
    slides: NDArray[np.generic] | None,
    neighbours: int,
) -> NDArray[np.float32]:
    """Mean of what is said of every cell and of the nearest cells on its slide.

    Parameters
    ----------
    probabilities
        Of every cell, (cells, labels).
    places
        Where the cells are, (cells, dimensions), in any unit.
    slides
        Slide of every cell, (cells,); None: one slide.
    neighbours
        How many cells around a cell count as much as itself; of a small slide all.

    Returns
    -------
    float32 array (cells, labels)
    """
    found = np.empty(probabilities.shape, dtype=np.float32)
    names = np.zeros(len(places), dtype=int) if slides is None else slides
    for slide in np.unique(names):
        cells = np.flatnonzero(names == slide)
        own = np.asarray(probabilities[cells], dtype=np.float32)
        k = min(neighbours + 1, len(cells))
        around = KDTree(places[cells]).query(places[cells], k=k)[1].reshape(len(cells), k)
        # of cells in one place each is still among its own neighbours
        lost = np.flatnonzero((around != np.arange(len(cells))[:, None]).all(axis=1))
        around[lost, -1] = lost
        for label in range(own.shape[1]):  # all at once would be cells x neighbours x labels
            found[cells, label] = own[around, label].mean(axis=1)
    return found


def find_neighbours(
    logits: NDArray[np.floating],
    codes: NDArray[np.integer],
    known: NDArray[np.bool_],
    places: NDArray[np.floating],
    slides: NDArray[np.generic] | None,
) -> int:
    """How many cells around a cell make its true label most likely; 0 if none do.

    Parameters
    ----------
    logits
        What was said of cells by a network that had not seen them, (cells, labels).
    codes
        Their labels, (cells,).
    known
        Whether a cell's label was among those that the network knew, (cells,).
    places, slides
        As for :func:`smoothed`.

    Returns
    -------
    int
        One of :data:`NEIGHBOURS` if the labels are likelier by two standard errors than without,
        else 0.
    """
    if not known.any():
        return 0
    said = torch.from_numpy(np.asarray(logits, dtype=np.float64))
    temperature = fit_temperature(said[known], torch.from_numpy(codes[known]))
    alone = torch.softmax(said / temperature, dim=1).numpy()

    def likelihood(probabilities: NDArray[np.floating]) -> NDArray[np.floating]:
        of_truth = probabilities[np.flatnonzero(known), codes[known]]
        return np.log(of_truth.clip(min=_LEAST_LIKELY))

    before = likelihood(alone)
    gains = {n: likelihood(smoothed(alone, places, slides, n)) - before for n in NEIGHBOURS}
    best = max(gains, key=lambda n: float(gains[n].mean()))
    gain = gains[best]
    return best if gain.mean() > _ERRORS * gain.std() / len(gain) ** 0.5 else 0
