"""Cells to explain, drawn per label."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray


def sample_per_label(labels: ArrayLike, per_label: int, seed: int) -> NDArray[np.intp]:
    """Positions of up to `per_label` cells of every label, drawn by `seed`, in rising order.

    Parameters
    ----------
    labels
        Names or codes, one per cell.
    """
    order = np.random.default_rng([seed, 7]).permutation(len(np.asarray(labels)))
    number = pd.Series(order).groupby(np.asarray(labels)[order]).cumcount().to_numpy()
    return np.sort(order[number < per_label])
