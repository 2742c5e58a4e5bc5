"""Which cells of a reference are held out together, so that the others can be asked about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from plkd.model.reference import Reference

By = Literal["batch", "cell"]


@dataclass(frozen=True)
class Folds:
    """Which cells are held out together.

    Attributes
    ----------
    of_cell
        Fold of every cell, int array (cells,).
    by
        Whole batches, or cells.
    """

    of_cell: NDArray[np.intp]
    by: By

    def __iter__(self) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Yield (rows to fit, rows held out), fold by fold."""
        for fold in np.unique(self.of_cell):
            held_out = self.of_cell == fold
            yield np.flatnonzero(~held_out), np.flatnonzero(held_out)


def make_folds(reference: Reference, n_folds: int, seed: int) -> Folds:
    """Whole batches where they hold the labels between them, else cells of every label.

    Parameters
    ----------
    reference
        With or without batches.
    n_folds
        How many; more batches than that are put together, the largest ones apart.
    seed
        Seed of the choice of cells.
    """
    by_batch = _batches_in_folds(reference, n_folds)
    if by_batch is not None:
        return Folds(by_batch, "batch")
    rng = np.random.default_rng([seed, 9])
    of_cell = np.empty(len(reference.codes), dtype=np.intp)
    for label in range(len(reference.labels)):
        members = rng.permutation(np.flatnonzero(reference.codes == label))
        of_cell[members] = (np.arange(len(members)) + rng.integers(n_folds)) % n_folds
    return Folds(of_cell, "cell")


def _batches_in_folds(reference: Reference, n_folds: int) -> NDArray[np.intp] | None:
    """Fold of every cell by its batch; None if that would leave few labels to learn from."""
    if reference.batches is None:
        return None
    sizes = np.bincount(reference.batches)
    if len(sizes) < 2:
        return None
    filled = np.zeros(min(n_folds, len(sizes)))
    fold_of = np.empty(len(sizes), dtype=np.intp)
    for batch in np.argsort(-sizes, kind="stable"):
        fold_of[batch] = filled.argmin()
        filled[fold_of[batch]] += sizes[batch]
    folds = fold_of[reference.batches]
    seen = 0
    for fold in range(len(filled)):
        elsewhere = np.unique(reference.codes[folds != fold])
        if len(elsewhere) < 2:
            return None
        seen += int(np.isin(reference.codes[folds == fold], elsewhere).sum())
    return folds if seen >= _LEAST_SEEN * len(folds) else None


_LEAST_SEEN = 0.5  # share of cells whose label the other batches have
