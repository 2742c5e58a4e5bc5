"""The cells of a batch moved onto the reference, by what all of them have too much or too little.

Whatever shifts all cells of a batch alike (chemistry, ambient RNA, how long a sample lay about) is
in the mean of its cells, beside what its mixture of labels does to that mean. So the mean is
compared with the mean of the reference's labels, in the mixture that a model sees in the batch;
what is left is taken off every cell, the cells are labelled anew, and so on until nothing changes.
Unlike mere centring, this leaves a batch of other proportions, or of a single label, as it is.

A batch of a type that the reference lacks would be moved onto what it resembles most. Therefore
no batch is moved further than held-out batches of the reference ask for (twice as far at most), and
how far a cell lies from the reference is measured where it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

Probabilities = Callable[[NDArray[np.float32]], NDArray[np.floating]]
"""Dense log-normalised cells (cells, genes) -> probabilities (cells, labels)."""

ONE_BATCH = ""
"""Name of the batch of cells of which none is known."""

CELLS_OF_BATCH = 2000
"""Of which an offset is found."""

_STEPS = 8
_AS_MANY_CELLS = 20  # of no offset weigh as much as the batch's own
_MARGIN = 2.0  # of another study, beside the batches of one


@dataclass(frozen=True)
class Offsets:
    """By how much the cells of every batch lie off the reference.

    Attributes
    ----------
    batches
        Their names.
    values
        Of log-normalised expression, float32 array (batches, genes).
    """

    batches: tuple[str, ...]
    values: NDArray[np.float32]

    @property
    def mean_length(self) -> float:
        """Euclidean length of an offset, mean over batches."""
        return float(np.linalg.norm(self.values, axis=1).mean())

    @cached_property
    def rows(self) -> NDArray[np.float32]:
        """The offsets, and nothing for batches that are not known, (batches + 1, genes)."""
        return np.concatenate([self.values, np.zeros_like(self.values[:1])])

    def codes(self, batches: NDArray[np.str_]) -> NDArray[np.intp]:
        """Place of the offset of each cell's batch among :attr:`rows`, (cells,)."""
        place = {name: i for i, name in enumerate(self.batches)}
        names, inverse = np.unique(batches, return_inverse=True)
        found = [place.get(str(name), len(self.batches)) for name in names]
        return np.array(found, dtype=np.intp)[inverse]

    def moved(self, cells: sparse.csr_matrix, batches: NDArray[np.str_]) -> sparse.csr_matrix:
        """A few cells (cells, genes) where a network sees them; hardly anything of them is zero."""
        return sparse.csr_matrix(cells.toarray() - self.rows[self.codes(batches)])

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; :meth:`from_dict` reads it."""
        return {"batches": list(self.batches), "values": self.values.tolist()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Offsets:
        """Rebuild from what :meth:`to_dict` gave."""
        values = np.asarray(content["values"], dtype=np.float32)
        return cls(tuple(content["batches"]), values)


def find_offsets(
    say: Probabilities,
    label_means: NDArray[np.floating],
    cells: sparse.csr_matrix,
    batches: NDArray[np.str_],
    largest: float = np.inf,
) -> Offsets:
    """Find by how much the cells of every batch lie off the reference.

    Parameters
    ----------
    say
        What a model, calibrated, says of cells.
    label_means
        Mean log-normalised expression of the reference's labels, (labels, genes).
    cells
        Some cells of every batch, log-normalised, CSR (cells, genes).
    batches
        Of each of them, (cells,).
    largest
        Euclidean length that an offset may have; a longer one is shortened.
    """
    names = np.unique(batches)
    found = np.zeros((len(names), cells.shape[1]), dtype=np.float32)
    for offset, name in zip(found, names, strict=True):
        rows = np.flatnonzero(batches == name)
        rows = rows[:: -(-len(rows) // CELLS_OF_BATCH)]
        here = cells[rows].toarray().astype(np.float32, copy=False)
        mean, n_cells = here.mean(axis=0, dtype=np.float64), len(here)
        for _ in range(_STEPS):
            mixture = say(here - offset).mean(axis=0, dtype=np.float64)
            off = (mean - mixture @ label_means) * n_cells / (n_cells + _AS_MANY_CELLS)
            length = float(np.linalg.norm(off))
            offset[:] = off * min(1.0, largest / length) if length > 0 else 0.0
    return Offsets(tuple(map(str, names)), found)


def probabilities_of(
    logits: Callable[[Tensor], Tensor], temperature: float = 1.0, device: str | torch.device = "cpu"
) -> Probabilities:
    """What a model says, from dense tensors of cells to their logits."""

    def say(cells: NDArray[np.float32]) -> NDArray[np.floating]:
        with torch.inference_mode():
            said = logits(torch.from_numpy(cells).to(device)).double()
            probabilities: NDArray[np.floating] = torch.softmax(said / temperature, 1).cpu().numpy()
        return probabilities

    return say


def farthest_allowed(offsets: Sequence[Offsets]) -> float:
    """How far a batch of a query may be moved, by the offsets of held-out batches."""
    return _MARGIN * max(float(np.linalg.norm(one.values, axis=1).max()) for one in offsets)
