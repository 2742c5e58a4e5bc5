"""Directions in which some cells vary and others do not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

_DIRECTIONS = 5
_VARIES_MORE = 1.2  # variance of the cells, as a multiple of that of the known ones
_NO_VARIANCE = 1e-6  # but for rounding


def new_directions(
    components: NDArray[np.floating],
    spread: NDArray[np.floating],
    known: sparse.csr_matrix,
    cells: sparse.csr_matrix,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Find in which directions cells vary more than those of a reference.

    One half of the cells says where the directions point, the other whether they are more than
    chance: along noise that one half has by chance, the other varies as the reference does.

    Parameters
    ----------
    components
        Principal components of the reference, of log-normalised genes, (genes, components); they
        are orthonormal in units of the spread. What lies along them is not new.
    spread
        In units of which a gene counts, (genes,).
    known
        Some cells of the reference, CSR (known cells, genes).
    cells
        CSR (cells, genes).
    seed
        Seed of the halves.

    Returns
    -------
    float32 array of shape (genes, directions)
        From log-normalised genes to places along them; five at most.
    """
    from sklearn.utils.extmath import randomized_svd

    rng = np.random.default_rng([seed, 11])
    order = rng.permutation(cells.shape[0])
    first, second = order[::2], order[1::2]
    # in double precision, so that the number of threads does not show in single precision
    here = cells[first].toarray().astype(np.float64) / spread
    here -= here.mean(axis=0)
    explained = components * spread[:, None]
    here -= (here @ explained) @ explained.T
    n_axes = min(_DIRECTIONS, min(here.shape) - 1)
    if n_axes < 1 or not here.any():
        return np.zeros((cells.shape[1], 0), dtype=np.float32)
    axes = randomized_svd(here, n_axes, random_state=int(rng.integers(2**31)))[2].T
    scaled = (axes / spread[:, None]).astype(np.float32)
    ours, theirs = (np.asarray(part @ scaled).var(axis=0) for part in (cells[second], known))
    return scaled[:, ours > _VARIES_MORE * np.maximum(theirs, _NO_VARIANCE)]
