"""Counts that a normalisation hides: values of a cell that are a constant times whole numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

CHUNK_ROWS = 4096
MOST_ROWS = 0.75  # share of the rows that must agree, so that some odd ones decide nothing
TELLING_VALUES = 5  # rows with fewer values can be multiples of whole numbers by chance
INFORMATIVE_COUNT = 50  # above, rounding of the stored values hides whether they are whole
LARGEST_SMALLEST_COUNT = 10  # in a deep cell on a small panel the smallest count may be > 1
LARGEST_EXPONENT = 700.0  # beyond, the exponential is infinite


def recover_counts(
    X: sparse.csr_matrix, *, logged: bool = True, base: float = math.e
) -> sparse.csr_matrix | None:
    """Undo a normalisation by row totals: values that are a row's constant times whole numbers.

    The constant is the row's smallest positive value, or a half, a third .. of it where the
    smallest count of the row is 2, 3 ...

    Parameters
    ----------
    X
        Matrix (n_cells, n_genes) of log1p values, or linear ones with ``logged=False``.
    logged, base
        Whether log1p was taken, and its base.

    Returns
    -------
    csr_matrix or None
        Counts (n_cells, n_genes), whole numbers as float32; None unless every row is explained.
        Counts in the thousands can be off by the precision with which X was stored.
    """
    chunks = []
    for start in range(0, X.shape[0], CHUNK_ROWS):
        chunk = X[start : start + CHUNK_ROWS].tocsr()
        linear = undo_log(chunk, base) if logged else chunk
        units, explained = _count_units(linear)
        if not explained.all():
            return None
        counts = np.rint(linear.data / per_value(linear, units))
        chunks.append(with_data(linear, counts.astype(np.float32)))
    return sparse.vstack(chunks, format="csr") if chunks else X.astype(np.float32)


def are_multiples_of_counts(linear: sparse.csr_matrix) -> bool:
    """Whether most rows are a constant times whole numbers, some of which are above one."""
    n_values = np.diff(linear.indptr)
    telling = n_values >= TELLING_VALUES
    if not telling.any():
        telling = n_values > 0
    if not telling.any():
        return False
    rows = sparse.csr_matrix(linear[telling])
    units, explained = _count_units(rows)
    if explained.mean() < MOST_ROWS:
        return False
    # Rows of a single value are multiples of anything: they are no evidence.
    largest = row_maxima(with_data(rows, rows.data / per_value(rows, units)))
    return bool(np.mean(largest[explained] > 1.5) > 0.5)


def is_whole(counts: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether numbers are whole but for the precision with which they were stored."""
    # Values stored with three decimals are off by about 0.1 % after expm1.
    return np.abs(counts - np.rint(counts)) <= np.minimum(0.02 + 1e-3 * counts, 0.1)


def undo_log(logged: sparse.csr_matrix, base: float) -> sparse.csr_matrix:
    """Take the logarithm of 1 + x off, in float64; what is too large stays finite."""
    exponents = logged.data.astype(np.float64) * math.log(base)
    return with_data(logged, np.expm1(np.minimum(exponents, LARGEST_EXPONENT)))


def row_totals(X: sparse.csr_matrix) -> NDArray[np.float64]:
    """Sum of every row, (n_rows,)."""
    return np.asarray(X.sum(axis=1, dtype=np.float64)).ravel()


def row_maxima(X: sparse.csr_matrix) -> NDArray[Any]:
    """Largest stored value of every row, (n_rows,); zero in an empty one."""
    return of_rows(np.maximum, X, X.data, 0)


def of_rows(function: np.ufunc, X: sparse.csr_matrix, values: NDArray[Any], empty: Any) -> Any:
    """Reduce one number for each stored value of `X` to one for each row, `empty` in empty rows."""
    found = np.full(X.shape[0], empty, dtype=values.dtype)
    filled = np.diff(X.indptr) > 0
    if filled.any():
        found[filled] = function.reduceat(values, X.indptr[:-1][filled])
    return found


def not_zero(X: sparse.csr_matrix) -> NDArray[np.intp]:
    """How many values of every row are not zero, (n_rows,)."""
    zeros = np.flatnonzero(X.data == 0)  # stored ones, of which there are few
    return np.diff(X.indptr) - np.diff(np.searchsorted(zeros, X.indptr))


def row_of_value(X: sparse.csr_matrix) -> NDArray[np.intp]:
    """Row of each stored value."""
    return np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))


def per_value(X: sparse.csr_matrix, per_row: NDArray[Any]) -> NDArray[Any]:
    """Spread a number of each row over its stored values."""
    return np.repeat(per_row, np.diff(X.indptr))


def with_data(X: sparse.csr_matrix, data: NDArray[Any]) -> sparse.csr_matrix:
    """Other values at the same places."""
    return sparse.csr_matrix((data, X.indices, X.indptr), shape=X.shape)


def _count_units(linear: sparse.csr_matrix) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Value of one count in each row, and whether the row's values are multiples of it."""
    n_rows = linear.shape[0]
    rows = row_of_value(linear)
    smallest = of_rows(np.minimum, linear, linear.data.astype(np.float64), np.inf)
    units = np.where(np.isfinite(smallest), smallest, 1.0)
    explained = ~np.isfinite(smallest)  # empty rows
    for divisor in range(1, LARGEST_SMALLEST_COUNT + 1):
        if explained.all():
            break
        counts = linear.data / (smallest / divisor)[rows]
        whole = np.rint(counts)
        informative = counts <= INFORMATIVE_COUNT
        near = informative & is_whole(counts)
        n_informative = np.bincount(rows, informative, n_rows)
        share = np.bincount(rows, near, n_rows) / np.maximum(n_informative, 1)
        fits = ~explained & (share >= 0.98)
        # All informative values together give the unit more exactly than the smallest alone.
        sums = np.bincount(rows, linear.data * informative, n_rows)
        units[fits] = (sums / np.maximum(np.bincount(rows, whole * informative, n_rows), 1))[fits]
        explained |= fits
    return units, explained
