"""The nearest neighbours on which maps, clusters and scores of embeddings stand."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from numpy.typing import NDArray

if TYPE_CHECKING:
    import anndata as ad
    import numpy as np

NEIGHBOURS = 15
# Up to here all distances are computed: it takes seconds, and spares compiling a library that
# approximates, which takes half a minute.
_EXACT = 20_000
_BLOCK = 2**22  # distances that are held at a time


def nearest_in_blocks(
    X: NDArray[np.floating], k: int
) -> Iterator[tuple[slice, NDArray[np.floating], NDArray[np.intp]]]:
    """Find the `k` nearest cells of every cell, exactly, some thousand cells at a time.

    Parameters
    ----------
    X
        Of shape (n_cells, n_dimensions).
    k
        Of them, the cell itself included; fewer where there are not so many cells.

    Yields
    ------
    slice, array, array
        Rows of `X`, and of each the distances and the positions of its nearest cells, of shape
        (n_rows, k), the nearest first.

    Examples
    --------
    >>> import numpy as np
    >>> ((rows, distance, around),) = nearest_in_blocks(np.array([[0.0], [1.0], [5.0]]), 2)
    >>> around.tolist()
    [[0, 1], [1, 0], [2, 1]]
    """
    from sklearn.neighbors import NearestNeighbors

    k = min(k, len(X))
    index = NearestNeighbors(n_neighbors=k).fit(X)
    size = max(1, _BLOCK // k)
    for start in range(0, len(X), size):
        rows = slice(start, start + size)
        yield rows, *index.kneighbors(X[rows])


def add_neighbours(cells: ad.AnnData, use_rep: str, seed: int, *, weighted: bool = True) -> None:
    """Add scanpy's graph of 15 neighbours to cells.

    Parameters
    ----------
    cells
        At least two; ``obsp`` and ``uns`` are written.
    use_rep
        Key of ``obsm`` with the embedding.
    seed
        Of the neighbours of more than 20,000 cells, which are approximate.
    weighted
        Whether the weights of the edges matter, which are UMAP's then. Which cells are neighbours
        is the same without, and found without loading UMAP.
    """
    import scanpy as sc

    if weighted:
        load_umap()
    sc.pp.neighbors(
        cells,
        n_neighbors=min(NEIGHBOURS, cells.n_obs - 1),
        use_rep=use_rep,
        method="umap" if weighted else "gauss",
        transformer="sklearn" if cells.n_obs <= _EXACT else None,
        random_state=seed,
    )


def load_umap() -> None:
    """Import UMAP so that what numba compiles for it is kept on disk, as scanpy keeps its own.

    UMAP leaves nothing there, so that every process would compile it anew, which takes ten seconds
    of processor time; from the second process on it takes one.
    """
    if "umap" in sys.modules:
        return
    import numba

    njit = numba.njit
    numba.njit = partial(njit, cache=True)  # type: ignore[assignment]
    try:
        import umap  # noqa: F401
    finally:
        numba.njit = njit
