"""Cells on a slide: what is said of those around a cell may say more of it than it says itself.

A label that names a region (a cortical layer) is that of the cells around, a label that names a
kind of cell is not. Which of the two a reference has, its own held-out cells tell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree

from plkd.model.calibration import fit_temperature

NEIGHBOURS = (5, 10, 20, 40)
"""How many cells around a cell are tried."""

_LEAST_LIKELY = 0.02  # a few cells whose label is wrong do not decide
_TINY = 1e-8


@dataclass(frozen=True)
class Surroundings:
    """How the cells around a cell have a say in its label.

    Attributes
    ----------
    neighbours
        How many of the nearest cells on its slide count as much as itself; 0: the cell is alone.
    temperature
        The logarithms of the mean are divided by this: means of many are less sure than right.
    """

    neighbours: int = 0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.neighbours < 0 or not self.temperature > 0:
            raise ValueError(f"{self}: expected neighbours of at least 0, a temperature above 0")

    def probabilities(
        self,
        alone: NDArray[np.floating],
        places: NDArray[np.floating],
        slides: NDArray[np.generic] | None,
    ) -> NDArray[np.float32]:
        """What is said of cells and of those around them; arguments as for :func:`smoothed`."""
        around = smoothed(alone, places, slides, self.neighbours)
        sharper = (around / around.max(axis=1, keepdims=True)) ** (1 / self.temperature)
        return np.asarray(sharper / sharper.sum(axis=1, keepdims=True), dtype=np.float32)


ALONE = Surroundings()


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


def find_surroundings(
    logits: NDArray[np.floating],
    codes: NDArray[np.integer],
    known: NDArray[np.bool_],
    places: NDArray[np.floating],
    slides: NDArray[np.generic] | None,
) -> Surroundings:
    """How many cells around a cell make its true label most likely.

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
    Surroundings
        With the fewest of :data:`NEIGHBOURS` that are within a standard error of the best, so that
        a region which is small on another slide is kept, if the labels are likelier by two standard
        errors than those of the cells alone, else :data:`ALONE`. The cells of a label on a slide
        depend on each other; errors are those over such regions.
    """
    if not known.any():
        return ALONE
    truth = codes[known]
    _, regions = np.unique(
        np.stack([truth, np.zeros_like(truth) if slides is None else _codes(slides)[known]]),
        axis=1,
        return_inverse=True,
    )

    def sharpened(logits: NDArray[np.floating]) -> tuple[float, NDArray[np.float64]]:
        """Their temperature, and the probabilities with it, (cells, labels)."""
        said = torch.from_numpy(np.asarray(logits, dtype=np.float64))
        temperature = fit_temperature(said[known], torch.from_numpy(truth))
        return temperature, torch.softmax(said / temperature, dim=1).numpy()

    def likelihood(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean logarithm of the true label's probability, (regions,)."""
        logs = np.log(probabilities[np.flatnonzero(known), truth].clip(min=_LEAST_LIKELY))
        return np.bincount(regions, logs) / np.bincount(regions)

    _, alone = sharpened(logits)
    tried = {ALONE: likelihood(alone)}
    for neighbours in NEIGHBOURS:
        around = smoothed(alone, places, slides, neighbours)
        temperature, probabilities = sharpened(np.log(around + _TINY))
        tried[Surroundings(neighbours, temperature)] = likelihood(probabilities)
    best = max(tried.values(), key=np.mean)
    enough = next(one for one, found in tried.items() if _is_within(best - found, errors=1.0))
    return ALONE if _is_within(tried[enough] - tried[ALONE], errors=2.0) else enough


def _is_within(gain: NDArray[np.float64], *, errors: float) -> bool:
    """Whether a gain (regions,) is no more than so many standard errors of its mean."""
    return bool(gain.mean() <= errors * gain.std() / len(gain) ** 0.5)


def _codes(names: NDArray[np.generic]) -> NDArray[np.intp]:
    return np.unique(names, return_inverse=True)[1]
