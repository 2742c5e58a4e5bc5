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

Append = Callable[[str, sparse.csr_matrix], None]

# Row starts need 64 bits, because nobody knows yet how many values there will be.
STORAGE: dict[str, Any] = {"compression": "gzip", "chunks": (2**16,), "indptr_dtype": np.int64}


@contextmanager
def growing_h5ad(path: Path, frame: ad.AnnData, matrices: Sequence[str]) -> Iterator[Append]:
    """Open a new h5ad and give a function that appends rows to one of its matrices.

    Parameters
    ----------
    path
        The h5ad to write; see :func:`plkd.utils.files.whole_file` for a name that is whole or
        absent.
    frame
        Cells, genes and all else but the matrices.
    matrices
        Which ones there will be: ``X``, ``layers/NAME``. Float32; each gets a row for every cell.

    Yields
    ------
    function
        Called with the matrix and the next rows, CSR (n_rows, n_genes).
    """
    frame.write_h5ad(path, compression="gzip")
    nothing = sparse.csr_matrix((0, frame.n_vars), dtype=np.float32)
    with h5py.File(path, "r+") as file:
        for name in matrices:
            write_elem(file, name, nothing, dataset_kwargs=STORAGE)
        stored = {name: sparse_dataset(file[name]) for name in matrices}

        def append(name: str, rows: sparse.csr_matrix) -> None:
            stored[name].append(rows)

        yield append
