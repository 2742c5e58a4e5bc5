"""Files of HDF5, written so that a full disk is one error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, Literal

import anndata as ad
import h5py
from anndata.io import write_elem

Mode = Literal["w", "r+"]


@contextmanager
def hdf5_file(path: str | Path, mode: Mode = "w") -> Iterator[h5py.File]:
    """Open an HDF5 file for writing; what the disk refused is raised when it is closed.

    Where a write fails, HDF5 cannot close the file, and the process crashes at its end. It is
    therefore given a file that notes the first failure and drops what comes after it.

    Raises
    ------
    OSError
        If the disk is full, or anything else is wrong with it.
    """
    with checked_hdf5_file(path, mode) as (file, _):
        yield file


@contextmanager
def checked_hdf5_file(
    path: str | Path, mode: Mode = "w"
) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """Like :func:`hdf5_file`, with a function that raises at once what the disk refused so far."""
    with _NotingFile(path, "w+" if mode == "w" else mode) as disk:
        try:
            with h5py.File(disk, mode) as file:
                yield file, disk.check
        except Exception as error:  # what was dropped may have been missed
            if disk.error is None:
                raise
            raise disk.error from error
        disk.check()


class _NotingFile(FileIO):
    """A file whose writes never fail; :attr:`error` is the first one that did."""

    error: OSError | None = None

    def write(self, content: Any, /) -> int:
        """Write, or drop the bytes."""
        if self.error is None:
            try:
                done = 0
                view = memoryview(content).cast("B")
                while done < len(view):  # the system may take a part
                    done += super().write(view[done:]) or 0
            except OSError as error:
                self.error = error
        return len(memoryview(content).cast("B"))

    def truncate(self, size: int | None = None, /) -> int:
        """Set the size, if it is still of use."""
        if self.error is None:
            try:
                return super().truncate(size)
            except OSError as error:
                self.error = error
        return size or 0

    def check(self) -> None:
        """Raise what went wrong."""
        if self.error is not None:
            raise self.error


def write_h5ad(cells: ad.AnnData, path: str | Path, **storage: Any) -> None:
    """Write an AnnData; `storage` is as of ``h5py``: ``compression="gzip"``, ..

    Texts of few values become categories, as anndata makes them.
    """
    cells.strings_to_categoricals()
    if cells.raw is not None:
        cells.strings_to_categoricals(cells.raw.var)
    with hdf5_file(path) as file:
        write_elem(file, "/", cells, dataset_kwargs=storage)
