"""What steps ask a scheduler for. Standard library only: Snakemake imports this module.

A step asks for what it holds of each of its inputs, which depends on how it reads them: whole, in
pieces, or a sample and the names of all cells. What steps take is measured in
``tests/benchmarks/README.md``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

LIBRARIES_MB = 1200
"""Of libraries, of which steps with few cells take up to two thirds, and pieces of cells."""
LIGHT_MB = 600
"""The same of steps without a model."""
MAP_MB = 2000
"""The same of steps that map or draw a sample of cells, one of 20,000 at most."""
SCORING_MB = 2000
"""The same where some distances of all cells to all are held, and a sample of 10,000 is mapped."""


@dataclass(frozen=True)
class Held:
    """What a step has in memory of an input.

    Attributes
    ----------
    per_mb
        MB for each MB on disk.
    sample_mb
        Beside that so many MB of cells that are drawn, or all cells if they take less.
    sample_per_mb
        MB that these take for each MB on disk.

    Examples
    --------
    >>> WHOLE.of(100)
    800
    >>> NAMES.and_sample(500).of(10), NAMES.and_sample(500).of(1000)
    (83.0, 800.0)
    """

    per_mb: float
    sample_mb: float = 0
    sample_per_mb: float = 8

    def of(self, size_mb: float) -> float:
        """MB of an input that has so many."""
        return self.per_mb * size_mb + min(self.sample_per_mb * size_mb, self.sample_mb)

    def and_sample(self, most_mb: float, per_mb: float = 8) -> Held:
        """The same, and cells that are drawn, which take so many MB at most."""
        return replace(self, sample_mb=most_mb, sample_per_mb=per_mb)


WHOLE = Held(8)
"""Cells in memory: sparse matrices unpack to a few times their size, and are there twice. Tables of
predictions: 1,100 bytes of a cell that takes 190 on disk."""
PIECES = Held(1)
"""Cells that are read piece by piece, and some tens of bytes of each that stay."""
NAMES = Held(0.3)
"""Names, batches and labels of cells: 250 to 350 bytes of a cell that takes 1,100 on disk."""
LABELLED = Held(2)
"""Cells that are labelled piece by piece: predictions and embedding of all of them."""
TRUTH = Held(40)
"""True labels, whose names are packed well: 500 bytes of a cell that takes 15 on disk."""
EMBEDDED = Held(2)
"""Embeddings, which hardly unpack: 450 bytes of a cell that takes 300 on disk."""
MOST_SCORED = 300_000
"""Cells whose neighbours are looked at; of more so many are drawn."""
SCORED = EMBEDDED.and_sample(MOST_SCORED * 4.1e-3, per_mb=14)
"""The same of cells whose neighbours are looked at: 90 of them, and what is made of these, are
4,100 bytes of a cell."""
DENSE = NAMES.and_sample(MOST_SCORED * 25e-3, per_mb=24)
"""The same, with the genes of those cells written out, zeros too: 25,000 bytes of a cell."""

MINUTES = 60
"""Of a step that says nothing else; those of the cluster profiles."""
MINUTES_PER_MB = 0.01
"""Of a step that goes through all cells: four times what preparing a million takes."""
ACTIVITY_MINUTES_PER_MB = 0.02
"""Of a step that makes genes of peaks or fragments: four times what 100,000 cells take."""
TRAINING_MINUTES_PER_MB = 0.007
"""Of an epoch: four times what it takes on one core."""


def is_read_in_pieces(path: str) -> bool:
    """Whether a file of cells is read piece by piece, by its name; others are read whole.

    A step that finds another format than its file's name says is given more when it is tried again.
    """
    return str(path).endswith((".h5ad", ".h5mu", ".zarr"))


def is_copied_in_pieces(path: str) -> bool:
    """Whether it is copied into an h5ad piece by piece; of an h5mu a part is taken out."""
    return str(path).endswith((".h5ad", ".zarr"))


@cache
def folder_mb(path: str) -> float:
    """Size of a folder with all that lies below (10x mtx, zarr); looked up once."""
    files = (one for one in Path(path).rglob("*") if one.is_file())
    return sum(one.stat().st_size for one in files) / 2**20


def memory_in_mb(held_mb: Iterable[float], attempt: int, base_mb: float = LIBRARIES_MB) -> int:
    """Memory of a job that holds so much of its inputs; one that ran out is given more."""
    return int(base_mb + sum(held_mb)) * attempt


def minutes(size_mb: float, attempt: int, per_mb: float = MINUTES_PER_MB) -> int:
    """Run time of a job that goes through so many MB; one that ran out is given more."""
    return int(MINUTES + per_mb * size_mb) * attempt


INTEGRATION_MINUTES = 1.6e-9
"""Of a pair of cells in a space: four times what scores of integration take on one core, of all
cells and of the query."""
OMICS_MINUTES = 6e-9
"""The same of multi-omics integration, where every hundredth cell is a neighbour."""
CELLS_PER_MB = 3500
"""Of an embedding on disk."""


def scoring_minutes(embedding_mb: float, n_spaces: int, per_pair: float, attempt: int) -> int:
    """Run time of a job that compares all cells with all, in every space.

    Parameters
    ----------
    embedding_mb
        Size of an embedding of all cells on disk.
    n_spaces
        Number of embeddings.
    per_pair
        Minutes of a pair of cells.
    attempt
        A job that ran out is given more.

    Examples
    --------
    >>> scoring_minutes(20, 12, INTEGRATION_MINUTES, 1)  # 70,000 cells
    154
    """
    n_pairs = min(CELLS_PER_MB * embedding_mb, MOST_SCORED) ** 2
    return int(MINUTES + per_pair * n_pairs * n_spaces) * attempt
