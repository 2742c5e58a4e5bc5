"""Find out what the numbers of an expression matrix are, and bring them to log1p(CP10k)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from plkd.errors import InputError

TARGET_SUM = 1e4
SAMPLED_ROWS = 1000
SAMPLED_BLOCKS = 10
CHUNK_ROWS = 4096

MIN_ROWS_FOR_TOTALS = 5  # fewer rows can have the same total by chance
EQUAL_TOTALS = 5e-3  # relative deviation; genes filtered after normalising cost a little
LARGEST_LOG = 15.0  # log1p of a linear value of 3 million: nothing logged is larger
INFORMATIVE_COUNT = 50  # above, rounding of the stored values hides whether they are whole
LARGEST_SMALLEST_COUNT = 10  # in a deep cell on a small panel the smallest count may be > 1
LARGEST_COUNT = 2**24  # whole numbers above are not exact in float32, and no cell has so many


@dataclass(frozen=True)
class ValueRange:
    """Range and defects of values, joined over chunks of a matrix by ``+``.

    Attributes
    ----------
    n_entries, n_stored
        Number of entries (cells x genes), and of those that are stored.
    lowest, highest
        Smallest and largest finite stored value.
    n_nonfinite, n_negative
        Number of NaN or infinite, and of negative values.
    """

    n_entries: int = 0
    n_stored: int = 0
    lowest: float = math.inf
    highest: float = -math.inf
    n_nonfinite: int = 0
    n_negative: int = 0

    @classmethod
    def of(cls, X: sparse.csr_matrix) -> ValueRange:
        """Look at all values of a sparse matrix."""
        values = X.data
        finite = np.isfinite(values) if values.dtype.kind == "f" else np.True_
        known = values if finite.all() else values[finite]
        lowest, highest = (
            (float(known.min()), float(known.max())) if known.size else (math.inf, -math.inf)
        )
        return cls(
            math.prod(X.shape),
            values.size,
            lowest,
            highest,
            values.size - known.size,
            int(np.count_nonzero(known < 0)) if lowest < 0 else 0,
        )

    def __add__(self, other: ValueRange) -> ValueRange:
        return ValueRange(
            self.n_entries + other.n_entries,
            self.n_stored + other.n_stored,
            min(self.lowest, other.lowest),
            max(self.highest, other.highest),
            self.n_nonfinite + other.n_nonfinite,
            self.n_negative + other.n_negative,
        )

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest value, the zeros that are not stored included."""
        if self.n_stored < self.n_entries or self.lowest > self.highest:
            return min(self.lowest, 0.0), max(self.highest, 0.0)
        return self.lowest, self.highest


@dataclass(frozen=True)
class MatrixScale:
    """What the values of a matrix (cells x genes) are.

    Attributes
    ----------
    kind
        ``counts`` (whole, not negative), ``log1p`` (log of 1 + counts per something),
        ``normalised`` (linear, not whole: CPM, corrected counts), ``scaled`` (z-scores) or
        ``invalid`` (not finite, or whole numbers below zero or too large for counts).
    target_sum
        The total that every row was normalised to, where all sampled rows agree on one.
    counts_recoverable
        Whether each row is a multiple of whole numbers, so that its counts can be had back.
    minimum, maximum
        Range of the values, the zeros that a sparse matrix does not store included.
    n_nonfinite, n_negative
        Number of NaN or infinite, and of negative values.
    log_base
        Base of the logarithm for ``log1p``; e unless the rows prove 2 or 10.
    logged_counts
        ``log1p`` was taken of the counts themselves, without normalising the rows before.
    """

    kind: str
    minimum: float
    maximum: float
    target_sum: float | None = None
    counts_recoverable: bool = False
    n_nonfinite: int = 0
    n_negative: int = 0
    log_base: float = math.e
    logged_counts: bool = False

    @property
    def usable(self) -> bool:
        """Whether log1p(CP10k) can be made of the values."""
        return self.kind in ("counts", "log1p", "normalised")

    def describe(self) -> str:
        """Say in one sentence what the values are."""
        span = f"from {self.minimum:g} to {self.maximum:g}"
        if self.kind == "counts":
            return f"raw counts ({span})"
        if self.kind == "scaled":
            return f"scaled values ({span}, {self.n_negative:,} negative): z-scores of each gene"
        if self.kind == "invalid" and self.n_nonfinite:
            return f"values of which {self.n_nonfinite:,} are missing (NaN) or infinite"
        if self.kind == "invalid" and not self.n_negative:
            return (
                f"whole numbers ({span}) beyond {LARGEST_COUNT:,}, which no cell has of a gene: "
                "an integer that overflowed, or a negative one stored without its sign"
            )
        if self.kind == "invalid":
            return (
                f"whole numbers of which {self.n_negative:,} are negative ({span}): counts that "
                "something was subtracted from"
            )
        counts = "; the counts can be recovered" if self.counts_recoverable else ""
        if self.kind == "normalised":
            per = f"to a total of {self.target_sum:g} " if self.target_sum else ""
            return f"linear values normalised {per}but not logged ({span}){counts}"
        if self.logged_counts:
            return f"log1p of raw counts, not normalised ({span}){counts}"
        base = "" if self.log_base == math.e else f", base {self.log_base:g}"
        per = (
            f"counts per {self.target_sum:,.0f}"
            if self.target_sum
            else "normalised values of unknown row total"
        )
        return f"log1p of {per} ({span}{base}){counts}"

    def as_dict(self) -> dict[str, Any]:
        """All fields and the description, ready for JSON (NaN and infinity become null)."""
        fields = asdict(self) | {"description": self.describe()}
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in fields.items()
        }


def detect_scale(
    X: Any, n_rows: int = SAMPLED_ROWS, values: ValueRange | None = None
) -> MatrixScale:
    """Tell counts, logged, linear, scaled and broken matrices apart.

    Parameters
    ----------
    X
        Matrix (n_cells, n_genes): scipy sparse, NumPy, an HDF5 data set or a sparse data set of
        anndata on disk. Of a matrix on disk only the sampled rows are read.
    n_rows
        How many rows, in blocks spread over the matrix, the evidence is taken from.
    values
        Range and signs of all values, where `X` is only a sample of the cells. Without it they are
        those of all values if the matrix is a sparse one in memory, else of the sampled rows.

    Raises
    ------
    InputError
        If the values are not numbers.
    """
    if not np.issubdtype(X.dtype, np.number) and X.dtype != bool:
        raise InputError(
            f"the matrix holds values of type '{X.dtype}', not numbers; expected counts or "
            "log-normalised expression. Write it anew with a numeric type."
        )
    rows = _sample_rows(X, n_rows)
    if values is None:
        values = ValueRange.of(X if sparse.issparse(X) else rows)
    lowest, highest = values.limits
    common: dict[str, Any] = {
        "minimum": lowest,
        "maximum": highest,
        "n_nonfinite": values.n_nonfinite,
    }
    if values.n_nonfinite:
        return MatrixScale("invalid", **common)
    if lowest < 0:
        whole = np.mean(rows.data == np.rint(rows.data)) if rows.nnz else 1.0
        kind = "invalid" if whole > 0.99 else "scaled"
        return MatrixScale(kind, n_negative=values.n_negative, **common)
    if np.array_equal(rows.data, np.rint(rows.data)):
        if highest > LARGEST_COUNT:
            return MatrixScale("invalid", **common)
        return MatrixScale("counts", target_sum=_common_total(rows), **common)
    return _detect_normalised(rows, common)


def _detect_normalised(rows: sparse.csr_matrix, common: dict[str, Any]) -> MatrixScale:
    """Tell logged from linear values by what they are multiples of and add up to."""
    if _are_multiples_of_counts(rows):
        return MatrixScale(
            "normalised", counts_recoverable=True, target_sum=_common_total(rows), **common
        )
    for base in (math.e, 2.0, 10.0):
        if common["maximum"] * math.log(base) > 3 * LARGEST_LOG:  # expm1 would overflow
            continue
        linear = _expm1(rows, base)
        recoverable = _are_multiples_of_counts(linear)
        target_sum = _common_total(linear)
        if recoverable or target_sum:
            return MatrixScale(
                "log1p",
                counts_recoverable=recoverable,
                target_sum=target_sum,
                log_base=base,
                logged_counts=recoverable and bool(_is_whole(linear.data).all()),
                **common,
            )
    target_sum = _common_total(rows)
    kind = "normalised" if target_sum or common["maximum"] >= LARGEST_LOG else "log1p"
    return MatrixScale(kind, target_sum=target_sum, **common)


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
        linear = _expm1(chunk, base) if logged else chunk
        units, explained = _count_units(linear)
        if not explained.all():
            return None
        counts = np.rint(linear.data / _per_value(linear, units))
        chunks.append(_with_data(linear, counts.astype(np.float32)))
    return sparse.vstack(chunks, format="csr") if chunks else X.astype(np.float32)


def to_log_normalised(
    X: sparse.csr_matrix,
    scale: MatrixScale,
    target_sum: float = TARGET_SUM,
    totals: NDArray[np.floating] | None = None,
) -> sparse.csr_matrix:
    """Bring rows of any usable scale to log1p of counts per `target_sum`.

    Counts and linear values are divided by the size factor total / `target_sum` (section 4.3 of
    the paper: size factor, then log1p). Logged values of another known total are rescaled exactly;
    logged values of unknown total are taken to be what they should be.

    Parameters
    ----------
    X
        Rows (n_cells, n_genes) of the matrix that `scale` was found for: all or a chunk of them.
    scale
        From :func:`detect_scale` on the whole matrix.
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
    result = sparse.csr_matrix(X, dtype=np.float32, copy=True)
    if scale.kind == "log1p" and not scale.logged_counts:
        if scale.log_base != math.e:
            result.data *= np.float32(math.log(scale.log_base))
        if scale.target_sum and abs(target_sum / scale.target_sum - 1) > 0.01:
            factor = np.float32(target_sum / scale.target_sum)
            result.data = np.log1p(np.expm1(result.data) * factor)
    else:
        if scale.logged_counts:
            result.data = np.rint(_expm1(result, scale.log_base).data).astype(np.float32)
        sums = _row_totals(result) if totals is None else np.asarray(totals, dtype=np.float64)
        factors = np.divide(target_sum, sums, out=np.ones_like(sums), where=sums > 0)
        result.data = np.log1p(result.data * _per_value(result, factors.astype(np.float32)))
    result.eliminate_zeros()
    return result


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
    if scale.usable:
        return
    good = [
        f"{name} ({other.describe()})" for name, other in (others or {}).items() if other.usable
    ]
    if good:
        advice = "Use one of: " + "; ".join(good) + "."
    elif others is not None:
        advice = "The file holds no other matrix that could be used; get one with the counts."
    else:
        advice = "Give another `layer`, or `use_raw: true`, or a file with the counts."
    raise InputError(
        f"{where} holds {scale.describe()}. Expected raw counts, or normalised values with or "
        f"without log1p, which are never negative. {advice}"
    )


def _check_values(X: sparse.csr_matrix) -> None:
    if X.nnz and not np.isfinite(X.data).all():
        raise InputError("the matrix has missing (NaN) or infinite values; remove or replace them")
    if X.nnz and X.data.min() < 0:
        raise InputError(
            f"the matrix has negative values (smallest {X.data.min():g}); expected counts or "
            "log-normalised expression. Give another `layer`, or `use_raw: true`."
        )


def sampled_blocks(n_cells: int, n_rows: int = SAMPLED_ROWS) -> list[slice]:
    """Rows in a few blocks spread over a matrix (scattered rows are slow to read from a disk)."""
    if n_cells <= n_rows:
        return [slice(0, n_cells)]
    n_blocks = min(SAMPLED_BLOCKS, n_rows)
    size = n_rows // n_blocks
    starts = np.linspace(0, n_cells - size, n_blocks).astype(int)
    return [slice(start, start + size) for start in starts.tolist()]


def _sample_rows(X: Any, n_rows: int) -> sparse.csr_matrix:
    if sparse.issparse(X) and X.format != "csr":
        X = X.tocsr()
    blocks = [X[block] for block in sampled_blocks(X.shape[0], n_rows)]
    rows = sparse.vstack([sparse.csr_matrix(block) for block in blocks], format="csr")
    rows = sparse.csr_matrix(rows, dtype=np.float64, copy=True)
    rows.eliminate_zeros()
    return rows


def _common_total(linear: sparse.csr_matrix) -> float | None:
    """The total that the rows share, if they do."""
    totals = _row_totals(linear)
    totals = totals[totals > 0]
    if totals.size < MIN_ROWS_FOR_TOTALS:
        return None
    middle = float(np.median(totals))
    deviation = np.quantile(np.abs(totals / middle - 1), 0.95)
    return middle if deviation < EQUAL_TOTALS else None


def _are_multiples_of_counts(linear: sparse.csr_matrix) -> bool:
    units, explained = _count_units(linear)
    if linear.nnz == 0 or explained.mean() < 0.98:
        return False
    counts = linear.data / _per_value(linear, units)
    # Rows of a single value are multiples of anything: they are no evidence.
    largest = np.zeros(linear.shape[0])
    np.maximum.at(largest, _row_of_value(linear), counts)
    filled = np.diff(linear.indptr) > 0
    return bool(np.mean(largest[filled] > 1.5) > 0.5)


def _count_units(linear: sparse.csr_matrix) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Value of one count in each row, and whether the row's values are multiples of it."""
    n_rows = linear.shape[0]
    rows = _row_of_value(linear)
    smallest = np.full(n_rows, np.inf)
    np.minimum.at(smallest, rows, linear.data)
    units = np.where(np.isfinite(smallest), smallest, 1.0)
    explained = ~np.isfinite(smallest)  # empty rows
    for divisor in range(1, LARGEST_SMALLEST_COUNT + 1):
        if explained.all():
            break
        counts = linear.data / (smallest / divisor)[rows]
        whole = np.rint(counts)
        informative = counts <= INFORMATIVE_COUNT
        near = informative & _is_whole(counts)
        n_informative = np.bincount(rows, informative, n_rows)
        share = np.bincount(rows, near, n_rows) / np.maximum(n_informative, 1)
        fits = ~explained & (share >= 0.98)
        # All informative values together give the unit more exactly than the smallest alone.
        sums = np.bincount(rows, linear.data * informative, n_rows)
        units[fits] = (sums / np.maximum(np.bincount(rows, whole * informative, n_rows), 1))[fits]
        explained |= fits
    return units, explained


def _is_whole(counts: NDArray[np.float64]) -> NDArray[np.bool_]:
    # Values stored with three decimals are off by about 0.1 % after expm1.
    return np.abs(counts - np.rint(counts)) <= np.minimum(0.02 + 1e-3 * counts, 0.1)


def _expm1(logged: sparse.csr_matrix, base: float) -> sparse.csr_matrix:
    return _with_data(logged, np.expm1(logged.data.astype(np.float64) * math.log(base)))


def _row_totals(X: sparse.csr_matrix) -> NDArray[np.float64]:
    return np.asarray(X.sum(axis=1, dtype=np.float64)).ravel()


def _row_of_value(X: sparse.csr_matrix) -> NDArray[np.intp]:
    return np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))


def _per_value(X: sparse.csr_matrix, per_row: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(per_row, np.diff(X.indptr))


def _with_data(X: sparse.csr_matrix, data: NDArray[Any]) -> sparse.csr_matrix:
    return sparse.csr_matrix((data, X.indices, X.indptr), shape=X.shape)
