"""Genes that a query lacks, filled in from those that it has.

A network that meets a gene at zero in every cell takes it for silent. What goes with the other
genes of the cell in the reference is a better guess: the expectation under a probabilistic
principal component model of the reference (Tipping and Bishop 1999), given what was measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from plkd.model.reference import Reference

_COMPONENTS = 40
_CELLS = 5000  # of the reference, from which the components are learnt
# Of the guess so much is filled in: what goes together in the reference does not always do so in
# another study. Between two studies of blood cells all of it is as bad as nothing, half of it loses
# half as much as either, and within a study it is hardly worse than all.
_TRUST = 0.5
_LEAST_SPREAD = 0.1  # of a gene, in log-normalised units: rare genes do not count more


@dataclass(frozen=True)
class Imputer:
    """How the genes of the reference go together.

    Attributes
    ----------
    mean, spread
        Of every gene, log-normalised, float32 (genes,). A gene counts in units of its spread.
    loadings
        Genes on latent variables of variance one, float32 (genes, width).
    noise
        Variance of a gene that the latent variables do not explain.
    """

    mean: NDArray[np.float32]
    spread: NDArray[np.float32]
    loadings: NDArray[np.float32]
    noise: float

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        if not len(self.mean) == len(self.spread) == len(self.loadings):
            raise ValueError(
                f"mean {self.mean.shape}, spread {self.spread.shape}, loadings "
                f"{self.loadings.shape}"
            )
        if not (self.noise > 0 and (self.spread > 0).all()):
            raise ValueError(f"noise {self.noise}, least spread {self.spread.min()}")

    @classmethod
    def fit(
        cls, reference: Reference, seed: int, without: NDArray[np.intp] | None = None
    ) -> Imputer:
        """Learn from some cells of a reference.

        Parameters
        ----------
        reference
            Labelled cells.
        seed
            Seed of the choice of cells.
        without
            Rows that are left out, unless hardly any others would be left.
        """
        from sklearn.decomposition import PCA

        rows = reference.some(_CELLS, seed)
        others = rows if without is None else np.setdiff1d(rows, without)
        cells = reference.cells[others if len(others) > len(rows) / 2 else rows]
        mean = np.asarray(cells.mean(axis=0), dtype=np.float64).ravel()
        squares = np.asarray(cells.multiply(cells).mean(axis=0), dtype=np.float64).ravel()
        spread = np.sqrt(np.maximum(squares - mean**2, 0.0)) + _LEAST_SPREAD
        scaled = sparse.csr_matrix(cells @ sparse.diags_array(1.0 / spread), dtype=np.float64)
        width = min(_COMPONENTS, min(scaled.shape) - 1)
        loadings, noise = np.zeros((len(mean), 1)), 1.0
        if width > 0:
            found = PCA(width, svd_solver="arpack", random_state=seed).fit(scaled)
            noise = max(float(found.noise_variance_), _LEAST_NOISE)
            explained = np.sqrt(np.maximum(found.explained_variance_ - noise, 0.0))
            loadings = found.components_.T * explained
        return cls(
            mean.astype(np.float32), spread.astype(np.float32), loadings.astype(np.float32), noise
        )

    def fill(self, cells: sparse.csr_matrix, measured: NDArray[np.bool_]) -> sparse.csr_matrix:
        """Fill in the genes that were not measured.

        Parameters
        ----------
        cells
            Log-normalised, CSR (cells, genes); genes that were not measured are zero.
        measured
            Which genes were, (genes,).

        Returns
        -------
        csr_matrix
            float32 (cells, genes); what was measured is as it was.
        """
        if measured.all() or not cells.shape[0]:
            return cells
        seen, unseen = self.loadings[measured].astype(np.float64), self.loadings[~measured]
        precision = seen.T @ seen + self.noise * np.eye(seen.shape[1])
        to_latent = np.zeros((len(measured), seen.shape[1]))
        to_latent[measured] = np.linalg.solve(precision, seen.T).T / self.spread[measured, None]
        latent = cells @ to_latent - self.mean @ to_latent
        guess = (latent @ unseen.T) * self.spread[~measured] + self.mean[~measured]
        filled = cells.toarray().astype(np.float32, copy=False)
        filled[:, ~measured] = _TRUST * np.maximum(guess, 0.0)
        return sparse.csr_matrix(filled)


_LEAST_NOISE = 1e-3
