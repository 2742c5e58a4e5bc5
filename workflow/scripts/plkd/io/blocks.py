"""Cells that do not fit into memory: rows of a matrix on disk, read in shuffled blocks.

A disk gives neighbouring rows quickly and scattered ones slowly. To learn from cells in random
order all the same, blocks of neighbours are drawn by chance, as many of them as memory holds at a
time (a window), and the cells of a window are shuffled. The order depends on the number of cells
alone, not on where they are: a model learns the same from cells in memory and from cells on disk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from plkd.io.hdf5_values import read_values
from plkd.io.stores import readable

BLOCK_CELLS = 512  # neighbours that are read together
WINDOW_CELLS = 2**17  # in memory at a time, and shuffled; fewer cells are all in one window
CHUNK_CELLS = 2**14  # of a pass from the first cell to the last


@dataclass(frozen=True)
class CellsOnDisk:
    """Expression of the cells of an h5ad, CSR float32 in ``X``, read when rows are asked for.

    Attributes
    ----------
    path
        The file.
    starts
        Where each row starts among the values, and where the last one ends, integers (cells + 1,).
    shape
        Cells and genes.

    Examples
    --------
    >>> cells = CellsOnDisk.of("prepared/reference.h5ad")  # doctest: +SKIP
    >>> cells[np.array([7, 3, 7])]  # three rows, CSR  # doctest: +SKIP
    """

    path: Path
    starts: NDArray[np.integer]
    shape: tuple[int, int]

    @classmethod
    def of(cls, path: str | Path) -> CellsOnDisk:
        """The cells of a file that :mod:`plkd.preparation.prepare` wrote."""
        with readable(Path(path)), h5py.File(path) as file:
            n_cells, n_genes = map(int, file["X"].attrs["shape"])
            return cls(Path(path), file["X/indptr"][:], (n_cells, n_genes))

    @property
    def nbytes(self) -> int:
        """What values and columns would take in memory."""
        return 8 * int(self.starts[-1])

    def __getitem__(self, rows: slice | NDArray[np.integer]) -> sparse.csr_matrix:
        """Some rows, in any order and as often as they are asked for: CSR float32 (rows, genes)."""
        with readable(self.path), h5py.File(self.path) as file:
            if isinstance(rows, slice):
                first, last, _ = rows.indices(self.shape[0])
                return self._stretch(file, first, max(first, last))
            places, order = np.unique(rows, return_inverse=True)
            ends = np.flatnonzero(np.diff(places // BLOCK_CELLS)) + 1
            parts = [
                self._stretch(file, block[0], block[-1] + 1)[block - block[0]]
                for block in np.split(places, ends)
                if len(block)
            ]
        if not parts:
            return sparse.csr_matrix((0, self.shape[1]), dtype=np.float32)
        found = parts[0] if len(parts) == 1 else sparse.vstack(parts, format="csr")
        ascending = len(order) == len(places) and bool((order[1:] > order[:-1]).all())
        return sparse.csr_matrix(found if ascending else found[order])

    def _stretch(self, file: h5py.File, first: int, last: int) -> sparse.csr_matrix:
        begin, end = int(self.starts[first]), int(self.starts[last])
        values = read_values(file["X/data"], begin, end)
        columns = read_values(file["X/indices"], begin, end)
        starts = self.starts[first : last + 1] - begin
        parts = (values.astype(np.float32, copy=False), columns, starts)
        return sparse.csr_matrix(parts, shape=(last - first, self.shape[1]), copy=False)


Cells: TypeAlias = sparse.csr_matrix | CellsOnDisk
"""Log-normalised expression (cells, genes); rows are taken alike in memory and on disk."""


def chunks_of(cells: Cells) -> Iterator[tuple[slice, sparse.csr_matrix]]:
    """Yield (rows, their expression) from the first cell to the last."""
    for start in range(0, cells.shape[0], CHUNK_CELLS):
        rows = slice(start, min(start + CHUNK_CELLS, cells.shape[0]))
        yield rows, cells[rows]


def in_windows(
    order: NDArray[np.intp], n_cells: int, rng: np.random.Generator
) -> list[NDArray[np.intp]]:
    """Rearrange cells in random order so that each window of them lies in a few blocks.

    Parameters
    ----------
    order
        Rows in random order, of `n_cells`; some may be absent, others there several times.
    n_cells
        Of the matrix that they are rows of.
    rng
        By which the blocks of a window are chosen.

    Returns
    -------
    list of arrays
        The same rows, window after window, each in random order. One window if all fit into it.
    """
    if n_cells <= WINDOW_CELLS:
        return [order]
    blocks = rng.permutation(math.ceil(n_cells / BLOCK_CELLS))
    window = (blocks * BLOCK_CELLS // WINDOW_CELLS)[order // BLOCK_CELLS]
    by_window = order[np.argsort(window, kind="stable")]
    return np.split(by_window, np.bincount(window).cumsum()[:-1])


def batches_of(
    cells: Cells,
    windows: Sequence[NDArray[np.intp]],
    size: int,
    share: Callable[[int], slice] = slice,
) -> Iterator[tuple[NDArray[np.intp], sparse.csr_matrix]]:
    """Yield (rows, expression of a share of them), `size` rows at a time; the last may be fewer.

    While a window of cells on disk is used, the next one is read.

    Parameters
    ----------
    cells
        In memory or on disk.
    windows
        Of :func:`in_windows`.
    size
        Cells of a batch.
    share
        Which of so many cells of a batch to give; by default all.
    """
    if not isinstance(cells, CellsOnDisk):
        order = np.concatenate(windows)
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            yield rows, cells[rows[share(len(rows))]]
        return
    rows, held = np.empty(0, dtype=np.intp), cells[:0]
    for window, found in _read_ahead(cells, windows):
        rows, held = np.concatenate([rows, window]), sparse.vstack([held, found], format="csr")
        whole = len(rows) // size * size  # what is left over waits for the next window
        for start in range(0, whole, size):
            own = share(size)
            yield rows[start : start + size], held[start + (own.start or 0) : start + own.stop]
        rows, held = rows[whole:], held[whole:]
    if len(rows):
        yield rows, held[share(len(rows))]


def _read_ahead(
    cells: CellsOnDisk, windows: Sequence[NDArray[np.intp]]
) -> Iterator[tuple[NDArray[np.intp], sparse.csr_matrix]]:
    """Windows with their cells, each read while the one before is used."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(cells.__getitem__, windows[0])
        for number, window in enumerate(windows):
            found = coming.result()
            if number + 1 < len(windows):
                coming = reader.submit(cells.__getitem__, windows[number + 1])
            yield window, found
