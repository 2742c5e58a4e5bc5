"""Go through the cells of reference and query chunk by chunk, each file once for both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from plkd.io.cells import CellFile
from plkd.utils.progress import ProgressBar


class SomeCells(Protocol):
    """Cells of an open file."""

    @property
    def cells(self) -> CellFile:
        """The file."""

    @property
    def rows(self) -> NDArray[np.intp]:
        """Ascending rows of the file."""


Chosen = TypeVar("Chosen", bound=SomeCells)


def chunks_of(
    sides: Sequence[Chosen], doing: str, *, progress: bool = True
) -> Iterator[tuple[Chosen, slice, sparse.csr_matrix]]:
    """Yield (side, which of its cells, their values as CSR) until all cells of all sides were seen.

    Sides of the same open file are served from the same chunks; chunks that none needs are not
    read. The cells of a side come in their order.

    Parameters
    ----------
    sides
        Each with an open file and the rows to read of it.
    doing
        What the pass does, for the progress bar.
    progress
        Show it.
    """
    files = {id(side.cells): side.cells for side in sides}
    n_cells = sum(side.rows.size for side in sides)
    with ProgressBar(total=n_cells, desc=doing, unit=" cells", disable=not progress) as bar:
        for cells in files.values():
            users = [side for side in sides if side.cells is cells]
            wanted = np.zeros(cells.n_cells, dtype=bool)
            for side in users:
                wanted[side.rows] = True
            for rows, chunk in cells.chunks(wanted=wanted):
                for side in users:
                    first, last = np.searchsorted(side.rows, [rows.start, rows.stop])
                    if first == last:
                        continue
                    whole = last - first == chunk.shape[0]
                    yield (
                        side,
                        slice(int(first), int(last)),
                        chunk if whole else chunk[side.rows[first:last] - rows.start],
                    )
                    bar.update(int(last - first))
