"""Tables: tab-separated text with typed columns, and pages for a browser."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np
import pandas as pd

from plkd.errors import InputError
from plkd.utils.files import whole_file
from plkd.utils.text import listed

ColumnType = type[str] | type[int] | type[float] | type[bool] | Literal["Int64", "boolean"]
"""Text, whole number, number or truth value; the names in quotes are those that may be missing. A
missing float is NaN, a missing text is empty."""

Columns = Mapping[str, ColumnType]
"""Names and types of the columns of a table."""

EXACT = None
"""For :func:`write_tsv`: numbers that read back as the very same."""
READABLE = 4
"""For :func:`write_tsv`: significant digits of numbers for people."""

_STYLES: list[Any] = [
    {"selector": "", "props": "border-collapse: collapse; font: 14px/1.4 system-ui, sans-serif"},
    {"selector": "caption", "props": "text-align: left; padding-bottom: .8em; font-weight: bold"},
    {"selector": "th, td", "props": "padding: .3em .8em; text-align: left; vertical-align: top"},
    {"selector": "th", "props": "border-bottom: 2px solid #444"},
    {"selector": "td", "props": "border-bottom: 1px solid #ddd"},
]


def read_tsv(
    path: str | Path,
    columns: Columns,
    *,
    others: ColumnType | None = None,
    made_by: str | None = None,
) -> pd.DataFrame:
    """Read tab-separated text with a header; every column has the type that is asked for.

    Text is taken as it stands: a gene may be called NA, a label 01 or True.

    Parameters
    ----------
    path
        The file.
    columns
        Type of each column that the file must have.
    others
        Type of all further columns; None leaves them out.
    made_by
        The rule that writes the file, for messages; None for a file that a person writes.

    Returns
    -------
    DataFrame
        Columns in the order of the file.

    Raises
    ------
    InputError
        If the file is absent, is not such a table, lacks a column, or a column holds something that
        is not of its type.
    """
    remedy = (
        f"Delete the file and run the pipeline again: rule {made_by} makes it anew."
        if made_by
        else "Mend the file."
    )
    try:
        texts = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, index_col=False)
    except FileNotFoundError as error:
        raise InputError(f"the table '{path}' does not exist. {remedy}") from error
    except (OSError, ValueError) as error:  # pandas' ParserError is a ValueError, so is Unicode's
        raise InputError(
            f"'{path}' cannot be read as tab-separated text: {str(error).strip()}. {remedy}"
        ) from error
    lacking = [name for name in columns if name not in texts]
    if lacking:
        raise InputError(
            f"'{path}' has no column {listed(lacking)}; its columns are "
            f"{listed(texts.columns, 20)}. {remedy}"
        )
    types = {str(name): columns.get(str(name), others) for name in texts.columns}
    table = {}
    for name, kind in types.items():
        if kind is None:
            continue
        try:
            table[name] = _PARSERS[kind](texts[name])
        except (ValueError, TypeError) as error:
            raise InputError(
                f"'{path}': the column '{name}' holds something that is not {_KINDS[kind]}: "
                f"{error}. {remedy}"
            ) from error
    return pd.DataFrame(table, index=texts.index)


def write_tsv(
    table: pd.DataFrame,
    path: str | Path,
    *,
    digits: int | None = READABLE,
    exact: Collection[str] = (),
) -> None:
    """Write a table as tab-separated text with a header, whole or not at all.

    The index is left out; missing values are empty.

    Parameters
    ----------
    table
        The table.
    path
        The file.
    digits
        Significant digits of fractions; whole numbers, and what stands before the decimal point,
        have all of theirs. :data:`EXACT` where a later step computes with them.
    exact
        Columns to write exactly whatever `digits` says.
    """
    with whole_file(path) as temporary:
        append_tsv(table, temporary, digits=digits, exact=exact)


def append_tsv(
    table: pd.DataFrame,
    file: Path | TextIO,
    *,
    header: bool = True,
    digits: int | None = READABLE,
    exact: Collection[str] = (),
) -> None:
    """Write rows as :func:`write_tsv` does to an open file, or to one that is written anew."""
    if digits is not None:
        table = table.copy(deep=False)
        for name in table.columns.difference(list(exact)):
            if pd.api.types.is_float_dtype(table[name]):
                table[name] = _texts(table[name], digits)
    table.to_csv(file, sep="\t", index=False, header=header)


def _texts(values: pd.Series, digits: int) -> pd.Series:
    """Numbers as :func:`_rounded` writes them, missing ones as they are; many at once."""
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    if not (np.abs(numbers) < 10**digits).all():
        return values.map(_rounded(digits), na_action="ignore").astype(object)
    texts = (f"%.{digits}g\n" * len(numbers) % tuple(numbers.tolist())).split("\n")[:-1]
    return pd.Series(np.array(texts, dtype=object), index=values.index)


def _rounded(digits: int) -> Callable[[float], str]:
    """Format of a number: ``digits`` significant ones, none of them zeros at the end."""

    def text(value: float) -> str:
        large = math.isfinite(value) and (value.is_integer() or abs(value) >= 10**digits)
        return f"{value:.0f}" if large and abs(value) < 1e15 else f"{value:.{digits}g}"

    return text


_Parser = Callable[[pd.Series], pd.Series]


def _as_bool(texts: pd.Series) -> pd.Series:
    values = texts.map({"True": True, "False": False})
    if values.isna().any():
        raise ValueError(repr(texts[values.isna()].iloc[0]))
    return values.astype(bool)


def _as_float(texts: pd.Series) -> pd.Series:
    # Python reads the very number that was written; pandas may miss the last digit.
    return texts.where(texts != "", "nan").astype(object).astype(np.float64)


def _with_gaps(parse: _Parser, kind: Any) -> _Parser:
    def parsed(texts: pd.Series) -> pd.Series:
        return parse(texts[texts != ""]).astype(kind).reindex(texts.index)

    return parsed


def _as_int(texts: pd.Series) -> pd.Series:
    return texts.astype(object).astype(np.int64)


_PARSERS: dict[Any, _Parser] = {
    str: lambda texts: texts.astype(object),
    int: _as_int,
    float: _as_float,
    bool: _as_bool,
    "Int64": _with_gaps(_as_int, "Int64"),
    "boolean": _with_gaps(_as_bool, "boolean"),
}
_KINDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    "Int64": "a whole number or empty",
    "boolean": "True, False or empty",
}


def write_html(table: pd.DataFrame, path: str | Path, title: str) -> None:
    """Write a table as a web page of its own, whole or not at all.

    Parameters
    ----------
    table
        Numbers are aligned to the right, with thousands separated; fractions have three digits.
        Missing values are empty.
    path
        The file.
    title
        Stands above the table.
    """
    styler = table.style.set_uuid("")  # by chance otherwise: the same table, the same file
    styler = styler.format(escape="html", na_rep="", thousands=",", precision=3)
    numbers = list(table.select_dtypes("number"))
    if numbers:
        styler = styler.set_properties(subset=numbers, **{"text-align": "right"})
    styler = styler.hide(axis="index").set_caption(title).set_table_styles(_STYLES)
    with whole_file(path) as temporary:
        temporary.write_text(styler.to_html(doctype_html=True), encoding="utf-8")
