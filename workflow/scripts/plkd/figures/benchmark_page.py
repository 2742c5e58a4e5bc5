"""The benchmark as one web page that needs nothing else: tables to sort by, and the pictures."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2em auto; max-width: 75em;
       padding: 0 1.5em; }
h1 { font-size: 1.6em; } h2 { font-size: 1.2em; margin-top: 2em; }
.answer { background: #eef4f9; border-left: 4px solid #0072B2; padding: .7em 1em; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; white-space: nowrap; }
th, td { padding: .25em .7em; text-align: right; border-bottom: 1px solid #ddd; }
th { border-bottom: 2px solid #444; vertical-align: bottom; }
th.sorts { cursor: pointer; } th.sorts:hover { color: #0072B2; }
th:first-child, td:first-child, .text { text-align: left; }
th[aria-sort=ascending]::after { content: " \\25B2"; }
th[aria-sort=descending]::after { content: " \\25BC"; }
tr.ours td:first-child { color: #0072B2; font-weight: bold; }
tr.control { color: #888; }
img { max-width: 100%; }
p.note { color: #555; font-size: 13px; }
"""
_SCRIPT = """
for (const head of document.querySelectorAll("th.sorts")) head.onclick = () => {
  const table = head.closest("table"), column = head.cellIndex;
  const sorted = head.getAttribute("aria-sort");
  const up = sorted ? sorted === "descending" : head.classList.contains("up");
  const value = row => {
    const text = row.cells[column].dataset.value ?? row.cells[column].textContent;
    return text === "" ? null : isNaN(text) ? text : Number(text);
  };
  const rows = [...table.tBodies[0].rows].map((row, place) => [value(row), place, row]);
  rows.sort(([a, i], [b, j]) => {
    if (a === null || b === null) return (a === null) - (b === null) || i - j;
    const less = typeof a === "string" ? a.localeCompare(b) : a - b;
    return (up ? less : -less) || i - j;
  });
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  table.tBodies[0].append(...rows.map(row => row[2]));
};
"""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes
    ----------
    title, note
        Heading, and a sentence below it.
    table
        To be sorted by any column; its index are the names of the rows. None for none.
    figure
        A picture. None for none.
    kinds
        Class of the rows of the table by their name.
    low
        Columns of numbers of which the smallest is the best: what to see first, as of text.
    """

    title: str
    note: str = ""
    table: pd.DataFrame | None = None
    figure: Figure | None = None
    kinds: Mapping[str, str] | None = None
    low: Collection[str] = ()


def benchmark_page(title: str, answer: str, sections: Sequence[Section]) -> str:
    """HTML of the page; pictures are inside, and nothing is fetched from elsewhere.

    Parameters
    ----------
    title
        Heading of the page.
    answer
        What one should know, in a sentence or two.
    sections
        The parts, in order.
    """
    body = [f"<h1>{escape(title)}</h1>", f'<p class="answer">{escape(answer)}</p>']
    for section in sections:
        body.append(f"<h2>{escape(section.title)}</h2>")
        if section.note:
            body.append(f'<p class="note">{escape(section.note)}</p>')
        if section.figure is not None:
            body.append(_picture(section.figure, section.title))
        if section.table is not None:
            table = _table(section.table, section.kinds or {}, section.low)
            body.append(f'<div class="scroll">{table}</div>')
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + f"\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _picture(figure: Figure, title: str) -> str:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(title, quote=True)}" src="data:image/png;base64,{data}">'


def _table(table: pd.DataFrame, kinds: Mapping[str, str], low: Collection[str]) -> str:
    numeric = [pd.api.types.is_numeric_dtype(table[name]) for name in table.columns]

    def heading(name: str, number: bool) -> str:
        sides = "" if number else " text"
        first = "" if number and name not in low else " up"
        return f'<th class="sorts{sides}{first}">{escape(name)}</th>'

    names = map(str, [table.index.name or "", *table])
    head = "".join(map(heading, names, [False, *numeric]))
    rows = []
    for name, values in zip(table.index, table.itertuples(index=False, name=None), strict=True):
        cells = "".join(
            _cell(value) if number else f'<td class="text">{escape(str(value))}</td>'
            for value, number in zip(values, numeric, strict=True)
        )
        kind = escape(kinds.get(name, ""), quote=True)
        rows.append(f'<tr class="{kind}"><td>{escape(str(name))}</td>{cells}</tr>')
    body = "\n".join(rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _cell(value: float) -> str:
    if pd.isna(value):
        return '<td data-value=""></td>'
    return f'<td data-value="{value:.10g}">{readable(value)}</td>'


def readable(value: float) -> str:
    """A number for people: three decimals below ten, thousands separated above.

    >>> readable(0.12345), readable(12.345), readable(28874173.0), readable(3)
    ('0.123', '12.3', '28,874,173', '3')
    """
    if float(value).is_integer() or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def interval(values: pd.Series, lower: pd.Series, upper: pd.Series) -> list[str]:
    """Intervals of a table as text, empty where there is none."""
    bounds = zip(values, lower, upper, strict=True)
    return ["" if np.isnan(low + value) else f"{low:.3f} to {up:.3f}" for value, low, up in bounds]
