"""Find out what the numbers of an expression matrix are.

Rows spread over the whole matrix are looked at, and what most of them say counts: odd ones decide
nothing and are found row by row (:func:`outlying_rows`). In this order:

1. whole numbers are counts;
2. what is a constant of the row times whole numbers, as it is or after a logarithm is undone, hides
   counts: nothing else looks so;
3. rows with one and the same total, as they are or after a logarithm is undone, were normalised to
   it;
4. else the totals decide: to undo a logarithm that was not taken scatters them over many powers of
   ten, and to undo one that was brings them together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from plkd.errors import InputError
from plkd.io.counts import (
    MOST_ROWS,
    TELLING_VALUES,
    are_multiples_of_counts,
    is_whole,
    of_rows,
    row_maxima,
    row_totals,
    undo_log,
)
from plkd.settings.datasets import SCALES

TARGET_SUM = 1e4
SAMPLED_ROWS = 1000
SAMPLED_BLOCKS = 50

FEW_ROWS = 0.02  # share of the rows that may differ without a second thought
MIN_ROWS_FOR_ODD = 5  # from so many on, one may differ
EQUAL_TOTALS = 5e-3  # relative deviation; genes filtered after normalising cost a little
MIN_ROWS_FOR_TOTALS = 3  # fewer rows can have the same total by chance, unless it is a round one
SCATTER = 0.45  # of the totals, by which an undone logarithm that was none is known
MIN_ROWS_FOR_SCATTER = 20  # with fewer rows it says little
LARGEST_LOG = 15.0  # log1p of a linear value of 3 million: nothing logged is larger
LARGEST_TOTAL = 1.5e6  # nothing is normalised to more than counts per million
LARGEST_COUNT = 2**24  # whole numbers above are not exact in float32, and no cell has so many
TIMES_TOO_MUCH = 3  # the total of a row over the one it should have, from which on it is odd

BASES = {"log1p": math.e, "log2": 2.0, "log10": 10.0}
CERTAIN, LIKELY, DOUBTFUL, TOLD = "certain", "likely", "doubtful", "told"


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
        ``counts`` (whole, not negative), ``log1p`` (logarithm of 1 + counts per something),
        ``linear`` (not whole, not logged: CPM, corrected counts), ``scaled`` (z-scores) or
        ``invalid`` (see `defect`).
    minimum, maximum
        Range of the values, the zeros that a sparse matrix does not store included.
    certainty
        ``certain`` (proved by the values), ``likely`` or ``doubtful`` (judged by their
        distribution), or ``told`` by the user.
    target_sum
        The total that every row was normalised to, where most rows agree on one.
    counts_recoverable
        Whether most rows are multiples of whole numbers, so that counts can be had back.
    log_base
        Base of the logarithm for ``log1p``.
    logged_counts
        ``log1p`` was taken of the counts themselves, without normalising the rows before.
    own_totals
        Each row is to be divided by its own total over the measured genes, because it was not
        normalised, or to something that is not known or not the same for all.
    defect
        What is wrong with ``invalid`` values.
    """

    kind: str
    minimum: float
    maximum: float
    certainty: str = CERTAIN
    target_sum: float | None = None
    counts_recoverable: bool = False
    log_base: float = math.e
    logged_counts: bool = False
    own_totals: bool = True
    defect: str = ""

    @property
    def usable(self) -> bool:
        """Whether log1p(CP10k) can be made of the values."""
        return self.kind in ("counts", "log1p", "linear")

    def describe(self) -> str:
        """Say in one sentence what the values are."""
        span = f"from {self.minimum:g} to {self.maximum:g}"
        if self.kind == "invalid":
            return f"values ({span}) {self.defect}"
        if self.kind == "scaled":
            return f"scaled values ({span}): z-scores or residuals of each gene"
        notes = "; the counts can be recovered" if self.counts_recoverable else ""
        notes += {
            CERTAIN: "",
            TOLD: "; as `scale` says",
            LIKELY: "; judged by how the totals of the cells scatter",
            DOUBTFUL: "; judged by little, it may be otherwise",
        }[self.certainty]
        if self.kind == "counts":
            return f"raw counts ({span}){notes}"
        if self.kind == "linear":
            per = f" normalised to a total of {self.target_sum:g}" if self.target_sum else ""
            return f"linear values{per}, neither whole nor logged ({span}){notes}"
        if self.logged_counts:
            return f"log1p of raw counts, not normalised ({span}){notes}"
        base = "" if self.log_base == math.e else f", base {self.log_base:g}"
        per = (
            f"counts per {self.target_sum:,.0f}"
            if self.target_sum
            else "normalised values of unknown row total"
        )
        return f"log1p of {per} ({span}{base}){notes}"

    def doubts(self) -> list[str]:
        """Sentences on what was assumed, for a warning; none where the values prove it."""
        found = []
        if self.kind == "log1p" and not self.target_sum and not self.logged_counts:
            found.append(
                "the values are logged, but not of counts per 10,000; every cell is brought to it "
                "by its total over the genes that are there"
                if self.own_totals
                else "the values are logged, but what the cells were normalised to cannot be seen "
                "(genes may have been left out); they are taken as log1p of counts per 10,000"
            )
        if self.certainty in (LIKELY, DOUBTFUL):
            found.append(
                f"no values prove what they are; they are taken as {self.describe()}. If that is "
                f"wrong, say `scale` ({', '.join(SCALES[1:])})"
            )
        return found

    def as_dict(self) -> dict[str, Any]:
        """All fields and the description, ready for JSON (NaN and infinity become null)."""
        fields = asdict(self) | {"description": self.describe()}
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in fields.items()
        }


def detect_scale(X: Any, n_rows: int = SAMPLED_ROWS, told: str = SCALES[0]) -> MatrixScale:
    """Tell counts, logged, linear, scaled and broken matrices apart.

    Parameters
    ----------
    X
        Matrix (n_cells, n_genes): scipy sparse, NumPy, an HDF5 data set or a sparse data set of
        anndata on disk. Of a matrix on disk only the sampled rows are read.
    n_rows
        How many rows, in blocks spread over the matrix, the evidence is taken from.
    told
        What the user says, one of :data:`plkd.settings.datasets.SCALES`; ``auto`` to find out.

    Raises
    ------
    InputError
        If the values are not numbers, or cannot be what the user says.
    """
    if not np.issubdtype(X.dtype, np.number) and X.dtype != bool:
        raise InputError(
            f"the matrix holds values of type '{X.dtype}', not numbers; expected counts or "
            "log-normalised expression. Write it anew with a numeric type."
        )
    rows = _sample_rows(X, n_rows)
    values = ValueRange.of(rows)
    lowest, highest = values.limits
    common: dict[str, Any] = {"minimum": lowest, "maximum": highest}
    if values.n_nonfinite:
        what = f"of which {values.n_nonfinite:,} are missing (NaN) or infinite"
        return MatrixScale("invalid", **common, defect=what)
    if lowest < 0:
        whole = np.mean(rows.data == np.rint(rows.data)) > 0.99
        if not whole and values.n_negative > FEW_ROWS * values.n_stored:
            return MatrixScale("scaled", **common)
        what = f"of which {values.n_negative:,} are negative"
        what += ": counts that something was subtracted from" if whole else ""
        return MatrixScale("invalid", **common, defect=what)
    rows = sparse.csr_matrix(rows[np.diff(rows.indptr) > 0])
    if told != "auto":
        return _told(rows, told, common)
    whole = are_whole(rows)
    n_whole = int(np.count_nonzero(whole))
    few = max(FEW_ROWS * len(whole), len(whole) >= MIN_ROWS_FOR_ODD)
    if n_whole >= len(whole) - few:
        if highest > LARGEST_COUNT:
            return MatrixScale("invalid", **common, defect=OVERFLOWED)
        return MatrixScale("counts", **common)
    found = _judged(sparse.csr_matrix(rows[~whole]), common)
    if found.kind == "log1p" and n_whole > few:
        what = (
            f"of two kinds: {n_whole / len(whole):.0%} of the cells hold whole numbers, as counts "
            "are, and the others logarithms; bring all cells to one scale"
        )
        return MatrixScale("invalid", **common, defect=what)
    return found


OVERFLOWED = (
    f"beyond {LARGEST_COUNT:,}, which no cell has of a gene: an integer that overflowed, or a "
    "negative one stored without its sign"
)


def outlying_rows(X: sparse.csr_matrix, scale: MatrixScale) -> NDArray[np.bool_]:
    """Which rows cannot be on the scale that most rows of their matrix are on, (n_rows,).

    That are fractions among counts, and among logarithms counts, values that no logarithm has, and
    totals that are far beyond that of the others.
    """
    if scale.kind == "counts":
        return ~are_whole(X)
    if scale.kind != "log1p":
        return np.zeros(X.shape[0], dtype=bool)
    largest = row_maxima(X)
    n_values = np.diff(X.indptr)
    like_counts = are_whole(X) & (n_values >= TELLING_VALUES) & (largest > 1)
    total = scale.target_sum or (LARGEST_TOTAL if scale.own_totals else TARGET_SUM)
    totals = row_totals(undo_log(X, scale.log_base))
    too_large = largest * math.log(scale.log_base) > LARGEST_LOG
    return like_counts | too_large | (totals > TIMES_TOO_MUCH * total)


def are_whole(X: sparse.csr_matrix) -> NDArray[np.bool_]:
    """Whether all values of a row are whole numbers, (n_rows,)."""
    if X.dtype.kind in "iub":
        return np.ones(X.shape[0], dtype=bool)
    return of_rows(np.logical_and, X, X.data == np.rint(X.data), True)


def sampled_blocks(n_cells: int, n_rows: int = SAMPLED_ROWS) -> list[slice]:
    """Rows in a few blocks spread over a matrix (scattered rows are slow to read from a disk)."""
    if n_cells <= n_rows:
        return [slice(0, n_cells)]
    n_blocks = min(SAMPLED_BLOCKS, n_rows)
    size = n_rows // n_blocks
    starts = np.linspace(0, n_cells - size, n_blocks).astype(int)
    return [slice(start, start + size) for start in starts.tolist()]


def _told(rows: sparse.csr_matrix, told: str, common: Mapping[str, Any]) -> MatrixScale:
    """What the user says, if it can be; rows have values, none of them negative."""
    whole = float(np.mean(are_whole(rows))) if rows.shape[0] else 1.0
    if told == "counts":
        if whole < MOST_ROWS:
            raise InputError(
                f"`scale` says counts, but the values of {1 - whole:.0%} of the cells are not "
                "whole numbers; say linear for corrected or normalised counts, or auto."
            )
        return MatrixScale("counts", **common, certainty=TOLD)
    if told == "linear":
        hides = are_multiples_of_counts(rows)
        total = _common_total(rows)
        return MatrixScale(
            "linear", **common, certainty=TOLD, target_sum=total, counts_recoverable=hides
        )
    base = BASES[told]
    largest = row_maxima(rows)
    if rows.shape[0] and np.median(largest) * math.log(base) > LARGEST_LOG:
        raise InputError(
            f"`scale` says {told}, but most cells have values above "
            f"{LARGEST_LOG / math.log(base):.0f}, up to {common['maximum']:g}, which no logarithm "
            "of a count is; say counts or linear, or auto."
        )
    return _logged(rows, base, common, TOLD)


def _judged(rows: sparse.csr_matrix, common: Mapping[str, Any]) -> MatrixScale:
    """Linear or logged: what rows that are not whole are multiples of and add up to."""
    if are_multiples_of_counts(rows):
        total = _common_total(rows)
        return MatrixScale("linear", **common, counts_recoverable=True, target_sum=total)
    if total := _common_total(rows):
        return MatrixScale("linear", **common, target_sum=total)
    for base in BASES.values():
        found = _logged(rows, base, common, CERTAIN)
        if found.counts_recoverable or found.target_sum:
            return found
    largest = row_maxima(rows)
    undone = row_totals(undo_log(rows, math.e))
    scatter = _scatter(undone) - _scatter(row_totals(rows))
    beyond = bool(np.median(largest) * math.log(2) > LARGEST_LOG)
    few = rows.shape[0] < MIN_ROWS_FOR_SCATTER
    is_linear = beyond or scatter > SCATTER
    clear = beyond or (not few and abs(scatter - SCATTER) > SCATTER / 3)
    certainty = LIKELY if clear else DOUBTFUL
    if is_linear:
        return MatrixScale("linear", **common, certainty=certainty)
    # Natural logarithms do not add up to so much.
    base = 2.0 if np.median(undone) > LARGEST_TOTAL else math.e
    return _logged(rows, base, common, certainty)


def _logged(
    rows: sparse.csr_matrix, base: float, common: Mapping[str, Any], certainty: str
) -> MatrixScale:
    """Logarithms of this base, as far as they can be undone."""
    linear = undo_log(rows, base)
    recoverable = are_multiples_of_counts(linear)
    totals = row_totals(linear)
    target_sum = _common_total(linear)
    near_round = bool(totals.size) and np.mean(_near_round(totals)) >= MOST_ROWS
    whole = recoverable and bool(np.mean(is_whole(linear.data)) > 1 - FEW_ROWS)
    too_much = totals.size > 0 and np.median(totals) > 1.2 * TARGET_SUM
    unseen = recoverable and totals.size < MIN_ROWS_FOR_TOTALS
    return MatrixScale(
        "log1p",
        **common,
        certainty=certainty,
        target_sum=None if whole else target_sum,
        counts_recoverable=recoverable,
        log_base=base,
        logged_counts=whole,
        own_totals=whole or (target_sum is None and bool(near_round or too_much or unseen)),
    )


def _sample_rows(X: Any, n_rows: int) -> sparse.csr_matrix:
    if sparse.issparse(X) and X.format != "csr":
        X = X.tocsr()
    blocks = [X[block] for block in sampled_blocks(X.shape[0], n_rows)]
    rows = sparse.vstack([sparse.csr_matrix(block) for block in blocks], format="csr")
    rows = sparse.csr_matrix(rows, dtype=np.float64, copy=True)
    rows.eliminate_zeros()
    return rows


def _common_total(linear: sparse.csr_matrix) -> float | None:
    """The total that most rows share, if they do; of very few rows it must be a round one."""
    totals = row_totals(linear)
    if totals.size < MIN_ROWS_FOR_TOTALS:
        if not totals.size or not (_near_round(totals).all() and np.ptp(totals) < totals[0]):
            return None
        return float(_round_total(totals)[0])
    middle = float(np.median(totals))
    deviation = np.quantile(np.abs(totals / middle - 1), MOST_ROWS)
    return middle if deviation < EQUAL_TOTALS else None


def _near_round(totals: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether totals are a power of ten from a thousand on, as cells are normalised to."""
    nearest = _round_total(totals)
    return (np.abs(totals / nearest - 1) < EQUAL_TOTALS) & (nearest >= 1000)


def _round_total(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest power of ten."""
    return 10.0 ** np.rint(np.log10(np.maximum(totals, 1e-300)))


def _scatter(totals: NDArray[np.float64]) -> float:
    """Spread of totals on the logarithmic scale; some odd rows do not matter."""
    logs = np.log(np.maximum(totals, 1e-300))
    return float(1.4826 * np.median(np.abs(logs - np.median(logs)))) if logs.size else 0.0
