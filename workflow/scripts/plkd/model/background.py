"""What a model remembers of its reference: a few cells, and what is typical of every label.

An explanation says why a cell is labelled so *rather than as an average cell*; the average cell is
the background. It travels with the model, so that `plkd explain` needs the model's folder alone.

Cells are drawn evenly over the labels, and every label has the same weight. Drawn as they come, the
commonest type would dominate: its own markers would be "average" and be credited with little, and
a rare type would be compared with that one type.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from plkd.model.gene_weights import label_means
from plkd.model.imputation import Imputer
from plkd.model.reference import Reference


@dataclass(frozen=True)
class Background:
    """A weighted sample of reference cells, the mean of every label, how genes go together.

    Attributes
    ----------
    cells
        Log-normalised expression, CSR float32 of shape (background cells, genes).
    codes
        Position of each of these cells' label among the labels, int array (background cells,).
    label_means
        Mean log-normalised expression of every label over the whole reference, float32 array
        (labels, genes).
    imputer
        How its genes go together, for queries that lack some.
    """

    cells: sparse.csr_matrix
    codes: np.ndarray
    label_means: np.ndarray
    imputer: Imputer

    @classmethod
    def sample(cls, reference: Reference, n_cells: int, seed: int) -> Background:
        """Draw a background from a reference, evenly over its labels.

        Labels with fewer cells than their share give all they have, and the others more. Without
        any cell (`n_cells` = 0) the means of the labels stand for them, so that no cell of the
        reference is in the model's folder.

        Parameters
        ----------
        reference
            Labelled cells.
        n_cells
            How many cells; every label gives at least one unless it is 0.
        seed
            Seed of the choice.
        """
        n_labels = len(reference.labels)
        means = label_means(reference.cells, reference.codes, n_labels)[0].astype(np.float32)
        if n_cells == 0:
            imputer = Imputer.fit(reference, seed)
            return cls(sparse.csr_matrix(means), np.arange(n_labels), means, imputer)
        chosen = reference.evenly(max(n_cells, n_labels), seed)
        return cls(
            sparse.csr_matrix(reference.cells[chosen]),
            reference.codes[chosen].copy(),
            means,
            # these cells show later what filling in genes is worth for others
            Imputer.fit(reference, seed, without=chosen),
        )

    @property
    def weights(self) -> np.ndarray:
        """Weight of every cell, float64 (background cells,): labels weigh the same; sum one."""
        sizes = np.bincount(self.codes, minlength=len(self.label_means))
        weights = 1.0 / sizes[self.codes]
        return weights / weights.sum()

    def mean(self) -> np.ndarray:
        """Weighted mean expression of the cells, float64 array of shape (genes,)."""
        return np.asarray(self.weights @ self.cells).ravel()
