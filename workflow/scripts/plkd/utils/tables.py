"""Tables that a person reads in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from plkd.utils.files import whole_file

_STYLES: list[Any] = [
    {"selector": "", "props": "border-collapse: collapse; font: 14px/1.4 system-ui, sans-serif"},
    {"selector": "caption", "props": "text-align: left; padding-bottom: .8em; font-weight: bold"},
    {"selector": "th, td", "props": "padding: .3em .8em; text-align: left; vertical-align: top"},
    {"selector": "th", "props": "border-bottom: 2px solid #444"},
    {"selector": "td", "props": "border-bottom: 1px solid #ddd"},
]


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
    styler = table.style.format(escape="html", na_rep="", thousands=",", precision=3)
    numbers = list(table.select_dtypes("number"))
    if numbers:
        styler = styler.set_properties(subset=numbers, **{"text-align": "right"})
    styler = styler.hide(axis="index").set_caption(title).set_table_styles(_STYLES)
    with whole_file(path) as temporary:
        temporary.write_text(styler.to_html(doctype_html=True), encoding="utf-8")
