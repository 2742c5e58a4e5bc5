"""An h5ad whose matrices are written chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
from anndata.io import sparse_dataset, write_elem
from scipy import sparse

from plkd.utils.hdf5 import checked_hdf5_file

Append = Callable[[str, sparse.csr_matrix], None]

_CHUNK_VALUES = 2**16


@contextmanager
def chunked_h5ad(
    path: Path, frame: ad.AnnData, matrices: Sequence[str] = ("X",), *, compression: int = 4
) -> Iterator[Append]:
    """Open a new h5ad and give a function that appends rows to one of its matrices.

    Row starts have 32 bits in the finished file wherever they fit, as the columns have: many
    programs refuse a matrix of mixed or 64-bit indices.

    Parameters
    ----------
    path
        The h5ad to write; see :func:`plkd.utils.files.whole_file` for a name that is whole or
        absent.
    frame
        Cells, genes and all else but the matrices; written as it is.
    matrices
        Which ones there will be: ``X``, ``layers/NAME``. Float32; each gets a row for every cell.
    compression
        Level of gzip, 1 (fast) to 9.

    Yields
    ------
    function
        Called with the matrix and the next rows, CSR (n_rows, n_genes).
    """
    nothing = sparse.csr_matrix((0, frame.n_vars), dtype=np.float32)
    storage: dict[str, Any] = {
        "compression": "gzip",
        "compression_opts": compression,
        "chunks": (_CHUNK_VALUES,),
        "indptr_dtype": np.int64,  # at first: nobody knows yet how many values there will be
    }
    with checked_hdf5_file(path) as (file, check):
        write_elem(file, "/", frame, dataset_kwargs={"compression": "gzip"})
        for name in matrices:
            write_elem(file, name, nothing, dataset_kwargs=storage)
        stored = {name: sparse_dataset(file[name]) for name in matrices}

        def append(name: str, rows: sparse.csr_matrix) -> None:
            stored[name].append(rows)
            check()

        yield append
        for name in matrices:
            _narrow_starts(file[name])


def _narrow_starts(matrix: h5py.Group) -> None:
    """Store the row starts with 32 bits if the last of them, the largest, fits."""
    if matrix["indptr"][-1] <= np.iinfo(np.int32).max:
        starts = matrix["indptr"][...].astype(np.int32)
        del matrix["indptr"]
        matrix.create_dataset("indptr", data=starts, compression="gzip")
