"""One order out of several: the Q statistic of rank ratios.

Stuart et al. (2003) ask how likely it is that N independent, uniform rank ratios are all as small
as those found; Aerts et al. (2006) compute it by a recursion. Small means: near the top everywhere.
"""

from __future__ import annotations

from math import factorial

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

# Values that agree to so many digits are one rank: genes in the same place of a graph get
# centralities that differ by rounding alone.
_DIGITS = 9


def q_statistic(rank_ratios: ArrayLike) -> NDArray[np.float64]:
    """Joint probability of rank ratios under independence.

    With r_1 <= .. <= r_N the sorted ratios and V_0 = 1,
    V_k = sum over i = 1..k of (-1)^(i-1) V_(k-i) / i! * r_(N-k+1)^i, and Q = N! V_N. The signs
    alternate: above about 20 lists rounding spoils the sum.

    Parameters
    ----------
    rank_ratios
        Rank over the length of the list, above 0 and at most 1; shape (items, lists), or (lists,)
        for one item.

    Returns
    -------
    float64 array of shape (items,), or a number
        Between 0 and 1; r for one list, 2 r_1 r_2 - r_1^2 for two, 1 if all ratios are 1.

    Raises
    ------
    ValueError
        If a ratio is not above 0 and at most 1, or there is no list.
    """
    ratios = np.sort(np.asarray(rank_ratios, dtype=np.float64), axis=-1)
    n = ratios.shape[-1]
    if n == 0 or not np.all((ratios > 0) & (ratios <= 1)):
        raise ValueError("rank ratios must be above 0 and at most 1, in one list or more")
    v = [np.ones(ratios.shape[:-1])]
    for k in range(1, n + 1):
        r = ratios[..., n - k]
        terms = [(-1) ** (i - 1) * v[k - i] / factorial(i) * r**i for i in range(1, k + 1)]
        v.append(np.sum(terms, axis=0))
    return np.clip(factorial(n) * v[n], 0.0, 1.0)


def rank_ratios(values: ArrayLike) -> NDArray[np.float64]:
    """Rank over length, the largest value first; ties share the mean of their ranks.

    Parameters
    ----------
    values
        Shape (items,) or (items, lists); each column is ranked by itself. Values that differ by
        rounding (a billionth of the column's largest) count as equal.

    Returns
    -------
    float64 array shaped like `values`
        Above 0 and at most 1.
    """
    array = np.asarray(values, dtype=np.float64)
    largest = np.abs(array).max(axis=0, initial=0.0)
    rounded = np.round(array / np.where(largest > 0, largest, 1.0), _DIGITS)
    ranks = pd.DataFrame(rounded).rank(method="average", ascending=False).to_numpy()
    return ranks.reshape(array.shape) / max(len(array), 1)


def aggregate(scores: pd.DataFrame) -> pd.Series:
    """Q statistic of every row, over columns in which large is good."""
    q: ArrayLike = q_statistic(rank_ratios(scores.to_numpy())) if len(scores) else []
    return pd.Series(q, index=scores.index, name="q", dtype=float)
