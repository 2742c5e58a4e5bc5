"""Attributed cells, kept in one file; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from plkd.errors import InputError
from plkd.utils.files import intact, whole_file
from plkd.utils.text import listed

if TYPE_CHECKING:
    import shap


@dataclass(frozen=True)
class AttributedCells:
    """Cells with the attributions of the logit of their label.

    Attributes
    ----------
    cell_ids
        Names, (cells,).
    genes, labels
        Names.
    codes
        Predicted label of every cell, its position in `labels`, int array (cells,).
    values
        What every gene adds to the logit of the cell's label, float32 array (cells, genes).
    cells
        Log-normalised expression, CSR float32 (cells, genes).
    background_mean
        Mean expression of the background, float32 array (genes,).
    base
        Mean logit of the background, float64 array (labels,).
    error
        Error of additivity of every cell, float64 array (cells,).
    entering
        The cells as they enter the networks, moved onto the reference; None: as they are.
    """

    cell_ids: np.ndarray
    genes: list[str]
    labels: list[str]
    codes: np.ndarray
    values: np.ndarray
    cells: sparse.csr_matrix
    background_mean: np.ndarray
    base: np.ndarray
    error: np.ndarray
    entering: sparse.csr_matrix | None = None

    @property
    def entered(self) -> sparse.csr_matrix:
        """What entered the networks, CSR float32 (cells, genes)."""
        return self.cells if self.entering is None else self.entering

    def save(self, path: str | Path) -> None:
        """Write everything into one packed ``.npz``, whole or not at all."""
        arrays: dict[str, Any] = {
            "cell_ids": np.asarray(self.cell_ids, dtype=str),
            "genes": np.asarray(self.genes, dtype=str),
            "labels": np.asarray(self.labels, dtype=str),
            "codes": self.codes,
            "attributions": self.values,
            "expression": self.cells.data,
            "expression_genes": self.cells.indices,
            "expression_starts": self.cells.indptr,
            "background_mean": self.background_mean,
            "base_logits": self.base,
            "additivity_error": self.error,
        }
        if self.entering is not None:
            arrays["entering"] = self.entering.toarray()
        with whole_file(path) as temporary:
            np.savez_compressed(temporary, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> AttributedCells:
        """Read what :meth:`save` wrote.

        Raises
        ------
        InputError
            If the file is absent or damaged, or its parts do not belong together.
        """
        with intact(path, "attribute_genes"), np.load(path, allow_pickle=False) as file:
            shape = file["attributions"].shape
            parts = (file["expression"], file["expression_genes"], file["expression_starts"])
            cells = sparse.csr_matrix(parts, shape=shape)
            cells.check_format(full_check=True)
            read = cls(
                cell_ids=file["cell_ids"],
                genes=file["genes"].tolist(),
                labels=file["labels"].tolist(),
                codes=file["codes"],
                values=file["attributions"],
                cells=cells,
                background_mean=file["background_mean"],
                base=file["base_logits"],
                error=file["additivity_error"],
                entering=sparse.csr_matrix(file["entering"]) if "entering" in file else None,
            )
            sizes = (len(read.cell_ids), len(read.genes)), (len(read.codes), read.error.size)
            if sizes != (shape, (shape[0], shape[0])) or read.background_mean.size != shape[1]:
                raise ValueError("its parts are of different sizes")
            if not np.isin(read.codes, np.arange(len(read.labels))).all():
                raise ValueError("a cell has a label that is none of the labels")
        return read

    def to_shap(self, label: str | None = None) -> shap.Explanation:
        """Give the attributions as the package shap knows them, for its plots.

        Parameters
        ----------
        label
            The cells of one label; None for all, each with the attribution of its own label.

        Returns
        -------
        shap.Explanation
            `values` and `data` (cells, genes), `base_values` (cells,), `feature_names` the genes;
            with a label, `output_names` is the label.

        Raises
        ------
        InputError
            If no cell has the label.
        """
        import shap

        chosen = np.arange(len(self.codes))
        if label is not None:
            chosen = np.flatnonzero(np.asarray(self.labels)[self.codes] == label)
            if not len(chosen):
                there = [self.labels[code] for code in np.unique(self.codes)]
                raise InputError(f"no attributed cell is labelled '{label}'; there are "
                                 f"{listed(there, 20)}.")  # fmt: skip
        return shap.Explanation(
            self.values[chosen].astype(np.float64),
            base_values=self.base[self.codes[chosen]],
            data=self.cells[chosen].toarray(),
            feature_names=list(self.genes),
            output_names=label,
        )
