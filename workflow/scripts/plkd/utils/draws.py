"""Draws by chance that several rooms make alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def relabelled(
    codes: NDArray[np.integer], n_labels: int, share: float, rng: np.random.Generator
) -> NDArray[np.integer]:
    """Give a share of cells (rounded) another label, each as likely as the next.

    Parameters
    ----------
    codes
        Label of every cell, its place among `n_labels` ones, (cells,).
    share
        Of the cells; every label keeps a cell that had it, whatever is asked for.

    Returns
    -------
    array
        The new labels, a copy.

    Examples
    --------
    >>> codes = np.zeros(10, dtype=int)
    >>> int((relabelled(codes, 3, 0.5, np.random.default_rng(0)) > 0).sum())
    5
    """
    order = rng.permutation(len(codes))
    kept = np.unique(codes[order], return_index=True)[1]  # of every label the first
    chosen = np.delete(order, kept)[: round(share * len(order))]
    out = codes.copy()
    others = rng.integers(1, n_labels, size=len(chosen))
    out[chosen] = (out[chosen] + others) % n_labels
    return out
