"""From a file of cells, or an AnnData, to what a model takes: its genes, on its scale."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from plkd.errors import InputError
from plkd.io.cells import CellFile, CellSource, open_cells
from plkd.io.counts import not_zero
from plkd.io.genes import GOOD_OVERLAP, GeneOverlap, match_genes
from plkd.io.normalisation import log_normalised_genes
from plkd.io.scale import MatrixScale
from plkd.io.stores import Pieces
from plkd.io.symbols import advice_on_names, with_symbols_of_file
from plkd.model.adaptation import adapt, rows_to_look_at
from plkd.model.alignment import ONE_BATCH
from plkd.model.trained_network import TrainedNetwork
from plkd.preparation.side import NO_COUNTS, NO_MODEL_GENES, OTHER_SCALE
from plkd.settings.datasets import AS_IT_IS, ReadingOptions
from plkd.utils.logs import logger

CHUNK_CELLS = 2048  # larger pieces are not faster, and take more memory
MINIMUM_OVERLAP = 0.1  # share of the model's genes below which labels and reasons would be noise


@dataclass(frozen=True)
class ModelInput:
    """Cells in the genes and the scale of a model, read when they are asked for.

    Genes of the model that the cells lack are filled in from those that they have.

    Attributes
    ----------
    network
        The model's, its confidence lowered as far as these cells say less than the reference's.
    overlap
        Which genes of the model the cells have.
    depth
        At which share of their counts cells of the reference would be like these, at most 1.
    batches
        Names of the cells' batches, (cells,); they are all of one unless a column says otherwise.
    """

    network: TrainedNetwork
    overlap: GeneOverlap
    depth: float
    batches: NDArray[np.str_]
    _cells: CellFile
    _columns: NDArray[np.intp]

    @classmethod
    def of(
        cls,
        network: TrainedNetwork,
        overlap: GeneOverlap,
        cells: CellFile,
        columns: NDArray[np.intp],
        batch_key: str | None = None,
    ) -> ModelInput:
        """Cells for a network, after a look at some of them."""
        batches = _batches(cells, batch_key)
        given = cls(network, overlap, 1.0, batches, cells, columns)
        rows = rows_to_look_at(network, batches)
        rows, some = given.brought(rows, cells.take(rows))
        found = adapt(network, some, given.measured, batches[rows])
        return replace(given, network=found.of(network), depth=found.depth)

    @property
    def name(self) -> str:
        """The file, for messages."""
        return str(self._cells.path)

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Which genes of the model the cells have, (genes,)."""
        return np.isin(np.arange(self.overlap.n_wanted), self._columns)

    @property
    def obs(self) -> pd.DataFrame:
        """Table of the cells, its index the cell ids."""
        return self._cells.obs

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self._cells.n_cells

    @property
    def scale(self) -> MatrixScale:
        """What the values are in the file."""
        return self._cells.scale

    def chunks(
        self, chunk_cells: int = CHUNK_CELLS
    ) -> Iterator[tuple[NDArray[np.intp], sparse.csr_matrix]]:
        """Yield (rows, log-normalised CSR float32 (n_rows, n_genes)), in the order of the file.

        Cells of which nothing can be said are left out, see :meth:`reasons`.
        """
        for rows, read in self.pieces(chunk_cells):
            yield self.brought(np.arange(rows.start, rows.stop), read())

    def pieces(self, chunk_cells: int = CHUNK_CELLS) -> Pieces:
        """Rows, and what reads their values and genes of the file, for :meth:`brought`."""
        return self._cells.pieces(chunk_cells)

    def brought(
        self, rows: NDArray[np.intp], X: sparse.csr_matrix
    ) -> tuple[NDArray[np.intp], sparse.csr_matrix]:
        """Places and log-normalised expression of those cells of which something can be said.

        Parameters
        ----------
        rows
            Ascending places of cells in the file.
        X
            Their values there, (cells, genes of the file).
        """
        outlying = self._cells.outlying(rows, X, self.scale)
        cells = self._normalised(X)
        said = (np.diff(cells.indptr) > 0) & ~outlying
        if not said.all():
            rows, cells = rows[said], cells[said]
        return rows, self.network.filled(cells, self.measured)

    def take(self, rows: NDArray[np.intp]) -> sparse.csr_matrix:
        """Some cells by their ascending places: log-normalised CSR float32 (n_taken, n_genes)."""
        return self.network.filled(self._normalised(self._cells.take(rows)), self.measured)

    def reasons(
        self, rows: NDArray[np.intp], X: sparse.csr_matrix | None = None
    ) -> NDArray[np.object_]:
        """Why nothing can be said of some cells, by their ascending places; "" of the others.

        `X` are their values in the file, (cells, genes of the file), where they are at hand.
        """
        X = self._cells.take(rows) if X is None else X
        outlying = self._cells.outlying(rows, X, self.scale)
        reasons = np.full(rows.size, "", dtype=object)
        reasons[np.diff(self._normalised(X).indptr) == 0] = NO_MODEL_GENES
        reasons[not_zero(X) == 0] = NO_COUNTS
        reasons[outlying] = OTHER_SCALE
        return reasons

    def _normalised(self, X: sparse.csr_matrix) -> sparse.csr_matrix:
        """The model's genes of cells, log-normalised; those that they lack are empty."""
        target_sum = self.network.normalisation.target_sum
        return log_normalised_genes(X, self.scale, self._columns, self.overlap.n_wanted, target_sum)


@contextmanager
def model_input(
    query: CellSource,
    model: TrainedNetwork,
    reading: ReadingOptions = AS_IT_IS,
    *,
    batch_key: str | None = None,
    minimum_overlap: float = MINIMUM_OVERLAP,
) -> Iterator[ModelInput]:
    """Open cells as they come, counts or logged, genes in any order, for a model.

    Genes of the model that the cells lack are filled in; a warning says so if there are many.

    Parameters
    ----------
    query
        File or folder of cells, or an AnnData, which is not changed.
    model
        Whose genes and normalisation the cells are brought to.
    reading
        How to read the query.
    batch_key
        Column of obs with the batches, which are moved onto the reference one by one where its own
        batches ask for it; None: all cells are of one.
    minimum_overlap
        Smallest share of the model's genes that the cells must have.

    Raises
    ------
    InputError
        If the cells cannot be read or brought to log1p, there are none, or they have too few of the
        model's genes.
    """
    named = [] if batch_key is None else [batch_key]
    with open_cells(query, reading, obs_columns=named) as cells:
        yield as_model_input(cells, model, batch_key=batch_key, minimum_overlap=minimum_overlap)


def as_model_input(
    cells: CellFile,
    model: TrainedNetwork,
    *,
    batch_key: str | None = None,
    minimum_overlap: float = MINIMUM_OVERLAP,
) -> ModelInput:
    """As :func:`model_input`, of cells that are open already."""
    if cells.n_cells == 0:
        raise InputError(f"'{cells.path}' has no cells.")
    cells = with_symbols_of_file(cells, model.genes)
    columns, overlap = match_genes(cells.genes, model.genes)
    _check_overlap(overlap, minimum_overlap, cells, model.genes)
    logger.info(
        "'%s': %d cells, %s; the total of a cell is that of %d genes",
        *(cells.path, cells.n_cells, cells.scale.describe(), len(cells.genes)),
    )
    cells.require_usable(cells.scale)
    for text in cells.scale.doubts():
        logger.warning("'%s': %s", cells.path, text)
    return ModelInput.of(model, overlap, cells, columns, batch_key)


def _batches(cells: CellFile, batch_key: str | None) -> NDArray[np.str_]:
    """Names of the cells' batches, (cells,)."""
    if batch_key is None:
        return np.broadcast_to(np.array(ONE_BATCH), cells.n_cells)
    if batch_key not in cells.obs:
        raise InputError(
            f"'{cells.path}': obs has no column '{batch_key}' with the batches of the cells; its "
            f"columns are: {', '.join(map(str, cells.obs.columns)) or 'none'}."
        )
    return cells.obs[batch_key].astype(str).to_numpy(dtype=str)


def _check_overlap(
    overlap: GeneOverlap, minimum: float, cells: CellFile, model_genes: list[str]
) -> None:
    found = f"'{cells.path}' has {overlap.n_found} of the model's {overlap.n_wanted} genes"
    if overlap.n_found == 0 or overlap.share < minimum:
        hint = advice_on_names(cells, model_genes, (f"'{cells.path}'", "the model"), None)
        raise InputError(f"{found}; at least {minimum:.0%} are needed. {hint}")
    if overlap.share < GOOD_OVERLAP:
        logger.warning(
            "%s (%.0f %%); the others are filled in as they go with these in the reference",
            *(found, 100 * overlap.share),
        )
    else:
        logger.info("%s (%.0f %%)", found, 100 * overlap.share)
