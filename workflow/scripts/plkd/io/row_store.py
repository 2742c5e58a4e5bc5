"""A matrix that comes column by column, put in the order of its rows once, in a temporary file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy import sparse

from plkd.utils.files import scratch_file

Values: TypeAlias = tuple[NDArray[np.integer], NDArray[np.integer], NDArray[Any]]
"""Rows, columns and values at these places."""

BUCKET_ROWS = 2048  # neighbours that are read together; as many as a model labels at a time
_ROW = np.dtype(np.uint16)  # within a bucket; numpy sorts 16 bits in linear time


class RowStore:
    """Rows of a sparse matrix on disk, read by slicing in any thread.

    Values are written as they come, those of a piece bucket by bucket: a bucket is some
    neighbouring rows. To read a bucket is to read its part of every piece. So each value is written
    once, and memory holds a piece, later a bucket, however many values there are.

    Parameters
    ----------
    pieces
        All values, column after column, as many at a time as memory may hold.
    shape, dtype
        Those of the matrix.
    n_values
        How many there are, if it is known: nothing is begun where the disk has no room for them.

    Raises
    ------
    InputError
        If there is no room for the temporary file.

    Examples
    --------
    >>> columns = sparse.csc_matrix([[0, 5.0], [6, 7]]).tocoo()
    >>> with RowStore([(columns.row, columns.col, columns.data)], (2, 2), float) as rows:
    ...     rows[1:2].toarray()
    array([[6., 7.]])
    """

    def __init__(
        self,
        pieces: Iterable[Values],
        shape: tuple[int, int],
        dtype: DTypeLike,
        n_values: int = 0,
    ) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype).newbyteorder("=")
        column = np.min_scalar_type(max(shape[1] - 1, 0))
        self._record = np.dtype([("row", _ROW), ("column", column), ("value", self.dtype)])
        self._starts: list[NDArray[np.int64]] = []  # of each piece: of its buckets, and its end
        self._file = scratch_file(n_values * self._record.itemsize)
        try:
            for piece in pieces:
                self._append(*piece)
            self._file.flush()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RowStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the room on the disk back."""
        self._file.close()

    def __getitem__(self, rows: slice) -> sparse.csr_matrix:
        """Rows `start` to `stop` as CSR, columns ascending."""
        start, stop, _ = rows.indices(self.shape[0])
        if start >= stop:
            return sparse.csr_matrix((0, self.shape[1]), dtype=self.dtype)
        parts = []
        for number in range(start // BUCKET_ROWS, -(-stop // BUCKET_ROWS)):
            first = number * BUCKET_ROWS
            parts.append(self._bucket(number)[max(start - first, 0) : stop - first])
        return parts[0] if len(parts) == 1 else sparse.vstack(parts, format="csr")

    def _append(
        self,
        rows: NDArray[np.integer],
        columns: NDArray[np.integer],
        values: NDArray[Any],
    ) -> None:
        n_buckets = -(-self.shape[0] // BUCKET_ROWS)
        buckets = (rows // BUCKET_ROWS).astype(np.min_scalar_type(max(n_buckets - 1, 0)))
        order = np.argsort(buckets, kind="stable")  # leaves columns in their order
        records = np.empty(len(rows), dtype=self._record)
        for name, of_values in (
            ("row", rows % BUCKET_ROWS),
            ("column", columns),
            ("value", values),
        ):
            records[name] = of_values[order]
        sizes = np.bincount(buckets, minlength=n_buckets)
        begin = self._starts[-1][-1] if self._starts else 0
        self._starts.append(begin + self._record.itemsize * np.append(0, np.cumsum(sizes)))
        self._file.write(records.tobytes())

    def _bucket(self, number: int) -> sparse.csr_matrix:
        """All rows of a bucket, the last of which may be shorter."""
        extents = [(int(starts[number]), int(starts[number + 1])) for starts in self._starts]
        ends = np.append(0, np.cumsum([end - start for start, end in extents], dtype=np.int64))
        content = np.empty(ends[-1], dtype=np.uint8)
        for (start, _), (first, last) in zip(extents, pairwise(ends), strict=True):
            if os.preadv(self._file.fileno(), [content[first:last].data], start) != last - first:
                raise OSError("the temporary file with the rows of the matrix is cut off")
        records = content.view(self._record)
        n_rows = min(BUCKET_ROWS, self.shape[0] - number * BUCKET_ROWS)
        starts = np.searchsorted(records["column"], np.arange(self.shape[1] + 1))
        shape = n_rows, self.shape[1]
        by_columns = records["value"].copy(), records["row"].astype(np.int32), starts
        return sparse.csc_matrix(by_columns, shape).tocsr()  # adds nothing up
