"""Where the peaks are: names such as ``chr1:100-600``, or columns of `var`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from plkd.errors import InputError
from plkd.utils.text import listed

# Columns that hold chromosome, start and end, in the spellings of GLUE and of others.
POSITION_COLUMNS = (
    ("chrom", "chromStart", "chromEnd"),
    ("chrom", "start", "end"),
    ("chr", "start", "end"),
    ("seqnames", "start", "end"),
)
_PARTS = ("chrom", "start", "end")
# R writes 100000 as 1e+05.
_NUMBER = r"(\d+(?:\.\d+)?(?:[eE]\+?\d+)?)"
_NAME = rf"^\s*(.+?)[:_-]{_NUMBER}[_-]{_NUMBER}\s*$"
_EXPECTED = (
    "expected names such as chr1:100-600, chr1-100-600 or chr1_100_600, or columns of var: "
    + "; ".join(", ".join(columns) for columns in POSITION_COLUMNS)
    + ". A file that holds genes as well needs `modality`, such as atac"
)


def parse_peaks(
    source: Sequence[str] | pd.Index | pd.DataFrame, where: str = "var"
) -> pd.DataFrame:
    """Read the positions of peaks from their names or, where there are such, columns of `var`.

    The numbers are taken as they are, as 0-based and half-open: peak callers and Cell Ranger write
    BED. A name that an R package made of 1-based positions is off by one base at its start.

    Parameters
    ----------
    source
        Names, or a table of peaks whose index is the names. Columns of `POSITION_COLUMNS` go before
        names.
    where
        File and slot, for messages.

    Returns
    -------
    DataFrame
        ``peak`` (name), ``chrom`` (as written), ``start`` and ``end`` (int64), in the given order.

    Raises
    ------
    InputError
        If a name cannot be read, or a position is missing, not whole, negative, or ends before it
        begins.
    """
    if isinstance(source, pd.DataFrame):
        names = source.index.astype(str)
        for columns in POSITION_COLUMNS:
            if set(columns) <= set(source.columns):
                return _from_columns(source, names, columns, where)
    else:
        names = pd.Index([str(name) for name in source], dtype=object)
    parts = pd.Series(names, dtype=object).str.extract(_NAME)
    wrong = parts[0].isna().to_numpy()
    if wrong.any():
        raise InputError(
            f"{where}: {wrong.sum():,} of {len(names):,} names are not positions, such as "
            f"{listed(names[wrong], 3)}; {_EXPECTED}"
        )
    parts.columns = pd.Index(_PARTS)
    return _checked(parts, names, where)


def _from_columns(
    var: pd.DataFrame, names: pd.Index, columns: tuple[str, str, str], where: str
) -> pd.DataFrame:
    parts = pd.DataFrame(
        {name: var[column].to_numpy() for name, column in zip(_PARTS, columns, strict=True)}
    )
    missing = parts["chrom"].isna().to_numpy()
    if missing.any():
        raise InputError(
            f"{where}['{columns[0]}']: {missing.sum():,} peaks have no chromosome, such as "
            f"'{names[missing][0]}'"
        )
    return _checked(parts, names, where)


def _checked(parts: pd.DataFrame, names: pd.Index, where: str) -> pd.DataFrame:
    peaks = pd.DataFrame({"peak": names, "chrom": parts["chrom"].astype(str)})
    for column in ("start", "end"):
        numbers = pd.to_numeric(parts[column], errors="coerce").to_numpy(dtype=np.float64)
        wrong = ~np.isfinite(numbers) | (numbers != np.rint(numbers)) | (numbers < 0)
        if wrong.any():
            raise InputError(
                f"{where}: the {column} of {wrong.sum():,} peaks is not a whole number from 0, "
                f"such as {parts[column][wrong].iloc[0]!r} of '{names[wrong][0]}'; {_EXPECTED}"
            )
        peaks[column] = numbers.astype(np.int64)
    backwards = (peaks["end"] <= peaks["start"]).to_numpy()
    if backwards.any():
        first = peaks[backwards].iloc[0]
        raise InputError(
            f"{where}: {backwards.sum():,} peaks do not end after they begin, such as "
            f"'{first['peak']}' from {first['start']:,} to {first['end']:,}"
        )
    return peaks
