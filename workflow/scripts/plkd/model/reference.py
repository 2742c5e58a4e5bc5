"""The labelled cells that models learn from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from plkd.errors import InputError
from plkd.io.blocks import Cells, CellsOnDisk
from plkd.utils.draws import relabelled

_FEW = 5
_MOST_HELD_OUT = 20_000  # cells say enough of how a training goes, and calibrate it


@dataclass(frozen=True)
class Reference:
    """Labelled cells to learn from.

    Attributes
    ----------
    cells
        Log-normalised expression (cells, genes), CSR float32 or on disk.
    codes
        Label of every cell, its position in `labels`, int array of shape (cells,).
    genes, labels
        Names.
    batches
        Batch of every cell, its position among the batches, int array (cells,); None for one batch.
    places
        Where cells of a slide are, (cells, dimensions); None for cells without places.
    """

    cells: Cells
    codes: np.ndarray
    genes: list[str]
    labels: list[str]
    batches: np.ndarray | None = None
    places: np.ndarray | None = None

    @classmethod
    def from_names(
        cls, cells: Any, labels: Any, genes: Any, batches: Any = None, places: Any = None
    ) -> Reference:
        """Build from names of labels, and of batches, of shape (cells,); both are sorted by name.

        A categorical column keeps its names apart from the cells, which may be many. The cells are
        a matrix, or :class:`~plkd.io.blocks.CellsOnDisk`.

        Raises
        ------
        InputError
            If a cell has no label, or all have the same.
        """
        n_missing = int(pd.isna(labels).sum())
        if n_missing:
            raise InputError(
                f"{n_missing} cells of the reference have no label: leave them out or label them."
            )
        codes, label_names = _coded(labels)
        if len(label_names) < 2:
            raise InputError(
                f"the reference has {len(label_names)} label(s); at least two are needed to tell "
                "cells apart."
            )
        return cls(
            cells if isinstance(cells, CellsOnDisk) else sparse.csr_matrix(cells, dtype=np.float32),
            codes,
            [str(g) for g in genes],
            label_names,
            None if batches is None else _coded(batches)[0],
            None if places is None else np.asarray(places),
        )

    def take(self, rows: np.ndarray) -> Reference:
        """Some of the cells, under the same labels."""
        return replace(
            self,
            cells=self.cells[rows],
            codes=self.codes[rows],
            batches=None if self.batches is None else self.batches[rows],
            places=None if self.places is None else self.places[rows],
        )

    def only(self, rows: np.ndarray) -> tuple[Reference, np.ndarray]:
        """Some of the cells under the labels that they have, and the places of these labels."""
        places, codes = np.unique(self.codes[rows], return_inverse=True)
        part = self.take(rows)
        return replace(part, codes=codes, labels=[self.labels[i] for i in places]), places

    def some(self, n_cells: int, seed: int) -> np.ndarray:
        """Ascending rows of about `n_cells` cells, drawn by chance from every label alike.

        Of a label that would lose nearly all of its cells the first few are kept.
        """
        n_all = len(self.codes)
        if n_all <= n_cells:
            return np.arange(n_all)
        rng = np.random.default_rng([seed, 8])
        order = rng.permutation(n_all)
        order = order[np.argsort(self.codes[order], kind="stable")]  # by label, each shuffled
        evenly = order[np.linspace(0, n_all - 1, n_cells).round().astype(int)]
        place = np.arange(n_all) - np.searchsorted(self.codes[order], self.codes[order])
        return np.union1d(evenly, order[place < _FEW])

    def evenly(self, n_cells: int, seed: int) -> np.ndarray:
        """Ascending rows of `n_cells` cells, drawn by chance, of every label as many as of others.

        Labels with fewer cells than their share give all they have, and the others more.
        """
        order = np.random.default_rng([seed, 6]).permutation(len(self.codes))
        quotas = _even_quotas(np.bincount(self.codes, minlength=len(self.labels)), n_cells)
        chosen = [order[self.codes[order] == i][:quota] for i, quota in enumerate(quotas)]
        return np.sort(np.concatenate(chosen))

    def with_label_noise(self, share: float, seed: int) -> Reference:
        """The same cells, a share of them (rounded) with another label, each as likely as the next.

        Every label keeps a cell that had it. The choice depends on `seed` alone.
        """
        rng = np.random.default_rng([seed, 5])
        codes = relabelled(self.codes, len(self.labels), share, rng)
        return replace(self, codes=codes)


def _coded(names: Any) -> tuple[np.ndarray, list[str]]:
    """Position of every cell's name among the names, as texts in order, and these."""
    values = pd.Categorical(names)
    texts = np.asarray(values.categories, dtype=str)
    used, codes = np.unique(values.codes, return_inverse=True)
    found, place = np.unique(texts[used], return_inverse=True)
    return place[codes], found.tolist()


def split_validation(
    codes: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Hold out cells of every label.

    Parameters
    ----------
    codes
        Label of every cell, its position among the labels, integers of shape (cells,).
    fraction
        Share of each label to hold out, rounded to the nearest cell; a label keeps at least one
        cell for training, and labels of one or two cells are not held out. Of a reference of
        millions the share is smaller, so that 20,000 cells are held out, and five of a rare label.

    Returns
    -------
    training, validation
        Sorted cell indices.
    """
    rng = np.random.default_rng([seed, 1])
    enough = _MOST_HELD_OUT / len(codes)
    held_out = []
    for label in np.unique(codes):
        members = np.flatnonzero(codes == label)
        n_held = min(round(len(members) * fraction), len(members) - 1) if len(members) > 2 else 0
        n_held = min(n_held, max(round(len(members) * enough), _FEW))
        held_out.append(rng.permutation(members)[:n_held])
    validation = np.sort(np.concatenate(held_out))
    training = np.setdiff1d(np.arange(len(codes)), validation)
    return training, validation


def _even_quotas(sizes: np.ndarray, total: int) -> np.ndarray:
    """Cells to take of groups of these sizes, as even as the sizes allow; they sum to `total`."""
    quotas = np.zeros(len(sizes), dtype=int)
    total = min(total, int(sizes.sum()))
    while quotas.sum() < total:
        open_groups = np.flatnonzero(quotas < sizes)
        left = total - int(quotas.sum())
        each = max(left // len(open_groups), 1)
        taken = open_groups[:left] if left < len(open_groups) else open_groups
        quotas[taken] = np.minimum(quotas[taken] + each, sizes[taken])
    return quotas
