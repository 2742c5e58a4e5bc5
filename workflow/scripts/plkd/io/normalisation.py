"""Bring the values of an expression matrix, whatever they are, to log1p(CP10k)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from plkd.errors import InputError
from plkd.io.counts import LARGEST_EXPONENT, per_value, row_totals, undo_log, with_data
from plkd.io.genes import take_genes
from plkd.io.scale import TARGET_SUM, MatrixScale


def to_log_normalised(
    X: sparse.csr_matrix,
    scale: MatrixScale,
    target_sum: float = TARGET_SUM,
    totals: NDArray[np.floating] | None = None,
) -> sparse.csr_matrix:
    """Bring rows of any usable scale to log1p of counts per `target_sum`.

    Counts and linear values are divided by the size factor total / `target_sum` (section 4.3 of
    the paper: size factor, then log1p). Logged values of another known total are rescaled exactly;
    those of unknown total are taken to be what they should be, unless that cannot be
    (:attr:`~plkd.io.scale.MatrixScale.own_totals`).

    Parameters
    ----------
    X
        Rows (n_cells, n_genes) of the matrix that `scale` was found for: all or a chunk of them.
    scale
        From :func:`plkd.io.scale.detect_scale` on the whole matrix.
    target_sum
        Total of every row before the logarithm.
    totals
        Totals (n_cells,) over all measured genes, when `X` holds only some of them; used for
        counts and linear values only.

    Returns
    -------
    csr_matrix
        float32, (n_cells, n_genes), a new matrix. Rows without counts stay empty.

    Raises
    ------
    InputError
        If the scale cannot be used, or these rows have values that it does not allow.
    """
    require_usable(scale, "the matrix")
    _check_values(X)
    if scale.own_totals:
        result = _linear(X, scale)
        sums = row_totals(result) if totals is None else np.asarray(totals, dtype=np.float64)
        factors = np.divide(target_sum, sums, out=np.ones_like(sums), where=sums > 0)
        result.data = np.log1p(result.data * per_value(result, factors.astype(np.float32)))
    else:
        result = sparse.csr_matrix(X, dtype=np.float32, copy=True)
        if scale.log_base != math.e:
            result.data *= np.float32(math.log(scale.log_base))
        if scale.target_sum and abs(target_sum / scale.target_sum - 1) > 0.01:
            result.data = _rescaled(result.data, target_sum / scale.target_sum)
    result.eliminate_zeros()
    return result


def log_normalised_genes(
    X: sparse.csr_matrix,
    scale: MatrixScale,
    columns: NDArray[np.intp],
    n_genes: int,
    target_sum: float = TARGET_SUM,
) -> sparse.csr_matrix:
    """Bring some genes of rows to log1p of counts per `target_sum` of all their genes.

    The same as :func:`to_log_normalised` of all genes, of which some are taken then, in the time
    that those take.

    Parameters
    ----------
    X
        Rows (n_cells, n_columns) with all measured genes.
    scale
        From :func:`plkd.io.scale.detect_scale` on the whole matrix.
    columns
        For each column its place in the result or -1, see :func:`plkd.io.genes.match_genes`.
    n_genes
        Columns of the result.
    target_sum
        Total of every row before the logarithm.

    Returns
    -------
    csr_matrix
        float32, (n_cells, n_genes).

    Raises
    ------
    InputError
        As :func:`to_log_normalised`, of the values that are taken.
    """
    require_usable(scale, "the matrix")
    totals = row_totals(_linear(X, scale)) if scale.own_totals else None
    return to_log_normalised(take_genes(X, columns, n_genes), scale, target_sum, totals)


def require_usable(
    scale: MatrixScale, where: str, others: Mapping[str, MatrixScale] | None = None
) -> None:
    """Refuse a matrix that log1p(CP10k) cannot be made of, and say which other one would do.

    Parameters
    ----------
    scale
        The scale of the matrix that was asked for.
    where
        Its file and slot, for the message.
    others
        The other matrices of the file, as a user would name them, with their scales.

    Raises
    ------
    InputError
        If `scale` is scaled or invalid.
    """
    if not scale.usable:
        raise InputError(
            f"{where} holds {scale.describe()}. Expected raw counts, or normalised values with or "
            f"without log1p, which are never negative. {other_matrices(others)}"
        )


def other_matrices(others: Mapping[str, MatrixScale] | None) -> str:
    """Advice on a matrix that cannot be used: the other ones of the file that can.

    `others` are their scales by the setting that selects them; None if nobody has looked.
    """
    good = [
        f"{name} ({other.describe()})" for name, other in (others or {}).items() if other.usable
    ]
    if good:
        return "Use one of: " + "; ".join(good) + "."
    if others is not None:
        return "The file holds no other matrix that could be used; get one with the counts."
    return "Give another `layer`, or `use_raw: true`, or a file with the counts."


def _linear(X: sparse.csr_matrix, scale: MatrixScale) -> sparse.csr_matrix:
    """A matrix of its own with the values as they were before any logarithm, as float32."""
    if scale.kind != "log1p":
        return with_data(X, X.data.astype(np.float32))
    linear = undo_log(with_data(X, X.data.astype(np.float32)), scale.log_base).data
    return with_data(X, (np.rint(linear) if scale.logged_counts else linear).astype(np.float32))


def _rescaled(logged: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Take log1p of `factor` times what log1p was taken of; large values do not overflow."""
    linear = np.expm1(np.minimum(logged.astype(np.float64), LARGEST_EXPONENT))
    return np.log1p(linear * factor).astype(np.float32)


def _check_values(X: sparse.csr_matrix) -> None:
    if X.nnz and not np.isfinite(X.data).all():
        raise InputError("the matrix has missing (NaN) or infinite values; remove or replace them")
    if X.nnz and X.data.min() < 0:
        raise InputError(
            f"the matrix has negative values (smallest {X.data.min():g}); expected counts or "
            "log-normalised expression. Give another `layer`, or `use_raw: true`."
        )
