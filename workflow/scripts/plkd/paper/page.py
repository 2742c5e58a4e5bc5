"""One page for a browser: every table and figure of the paper, each number beside the paper's."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd
from PIL import Image

from plkd.utils.files import whole_file

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 80em; margin: 2em auto; padding: 0 1em; }
nav a { margin-right: 1em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; margin: .7em 0; }
th, td { padding: .25em .7em; text-align: left; vertical-align: top; }
th, td { border-bottom: 1px solid #ddd; }
thead th { border-bottom: 2px solid #444; }
td.number { text-align: right; white-space: nowrap; }
small { color: #666; display: block; }
tr.ours { background: #eef6fb; }
img { max-width: 100%; }
.verdict { white-space: nowrap; font-weight: 600; }
"""


@dataclass(frozen=True)
class Section:
    """A table or figure of the paper on the page.

    Attributes
    ----------
    title, text
        What it is, in plain text.
    table
        HTML of the numbers, "" for none.
    pictures
        Caption -> PNG file.
    """

    title: str
    text: str
    table: str = ""
    pictures: Mapping[str, str | Path] | None = None


INTRODUCTION = (
    "Zhang, Ren, Li, Pattern Learning and Knowledge Distillation for Single-Cell Data Annotation, "
    "Biology 2026, 15(1), 2. Every number found here stands above the paper's, with half its 95 % "
    "interval over the seeds and the difference; n is the number of seeds, of a row or, where its "
    "numbers differ in it, of a number. A dash says, by its footnote, why there is none. The "
    "tables lie beside this page as TSV."
)
NOT_SHOWN = ["reference cells", "query cells", "organism", "description"]
"""Columns of Table 1 that its file alone has, for width."""
SHOWN_OF_TABLE3 = (
    "kbet", "kbet_per_label", "cell_type_asw", "ilisi", "bras", "graph_connectivity",
)  # fmt: skip


def _sizes_and_times(efficiency: pd.DataFrame) -> pd.DataFrame:
    """Read the table of efficiency for people."""
    shown = {
        "parameters": ("parameters", "{:,.0f}"),
        "share": ("of the Teacher's", "{:.1%}"),
        "paper_parameters": ("in the paper", "{:,.0f}"),
        "paper_share": ("of the Teacher's there", "{:.1%}"),
        "training_seconds": ("training, s", "{:,.0f}"),
        "prediction_seconds": ("labelling, s", "{:,.0f}"),
        "cells_per_second": ("cells per second", "{:,.0f}"),
        "peak_mb": ("peak MB", "{:,.0f}"),
    }
    texts = {name: efficiency[column].map(form.format) for column, (name, form) in shown.items()}
    return efficiency[["dataset", "variant", "model", "seeds"]].assign(**texts)


def paper_sections(
    tables: Mapping[str, pd.DataFrame],
    pictures: Mapping[str, Mapping[str, str | Path]],
    names: Mapping[str, str],
) -> list[Section]:
    """What the page shows, in its order.

    Parameters
    ----------
    tables
        From :func:`plkd.paper.tables.paper_tables`, with `table1`, `claims` and
        `efficiency`.
    pictures
        Caption -> PNG file of `figure3`, `figure4`, `figure5`, `figure6`, `figure7`.
    names
        Method -> its name.
    """

    def grid(name: str, kept: Callable[[pd.DataFrame], pd.Series] | None = None) -> str:
        table = tables[name]
        return number_grid(table[kept(table)] if kept else table, names)

    return [
        Section(
            "Claims. What the paper says, and whether it holds here",
            "For every variant of the settings, with the number that speaks to it.",
            plain_table(tables["claims"], {"verdict": "verdict"}),
        ),
        Section(
            "Table 1. Data sets",
            "Cells, types and batches; differences are here minus paper. What is empty the paper "
            "does not give, or the configuration does not expect.",
            plain_table(tables["table1"].drop(columns=NOT_SHOWN)),
        ),
        Section(
            "Table 2. Annotation",
            "Accuracy and macro F1 of the query. Cells whose type the reference lacks are left "
            "out, here and in Tables 4 and 5; the paper divides by all cells (section 3.2).",
            grid("table2"),
        ),
        Section(
            "Table 3. Batch integration",
            "All cells; query: the batches that no training has seen; unseen: types that the "
            "reference lacks. Labels of the reference have trained our embeddings, so only query "
            "and unseen are a comparison with methods that see no labels. The TSV has more scores.",
            grid("table3", lambda table: table["measure"].isin(SHOWN_OF_TABLE3)),
        ),
        Section(
            "Figure 3. Maps of the embeddings",
            "By batch and by cell type, a row per method.",
            pictures=pictures["figure3"],
        ),
        Section(
            "Table 4. Two modalities",
            "Annotation within gene expression and within chromatin accessibility, and from the "
            "one to the other; agreement: cells that get the same label from both.",
            grid("table4"),
        ),
        Section(
            "Table 5. Ablation",
            "What the settings are worth: without the losses L1 and L4, without the mask, and with "
            "wrong labels in the reference. 10x-Multiome stands for its gene expression: those "
            "numbers are of the data set that is PBMC in Table 2.",
            grid("table5"),
        ),
        Section("Table 6. Scores by abundance", "Mean over the types of a group.", grid("table6")),
        Section(
            "Efficiency. Parameters and time (section 4.1)",
            "Numbers that training sets (of the Teacher without those that the mask makes zero, "
            "which the paper counts) and time, the start of the programs included; the Student's "
            "training holds the Teacher's.",
            plain_table(_sizes_and_times(tables["efficiency"])),
        ),
        Section(
            "Figure 4. Labels on slices",
            "Accuracy at the boundaries of regions and inside; coherence: neighbours with the same "
            "label.",
            grid("figure4", lambda table: table["condition"] == "all"),
            pictures["figure4"],
        ),
        Section(
            "Figure 5. Key genes",
            "Genes that the paper names, and the runs in which they are key genes here.",
            plain_table(tables["figure5"]),
            pictures["figure5"],
        ),
        Section(
            "Figure 6. Multi-omics integration",
            "Expression and accessibility as rows of one space; query: the accessibility alone, "
            "whose labels no training has seen.",
            grid("figure6"),
            pictures["figure6"],
        ),
        Section(
            "Figure 7. Imbalance",
            "F1 of a minor type as it becomes rare, with the first variant of the settings; n and "
            "the interval are of draws.",
            grid("figure7"),
            pictures["figure7"],
        ),
    ]


def number_grid(
    results: pd.DataFrame, names: Mapping[str, str], ours: Sequence[str] = ("student", "teacher")
) -> str:
    """Lay numbers out as the paper does: a row per method, a column per data set and measure.

    Parameters
    ----------
    results
        Columns :data:`plkd.paper.numbers.RESULT_COLUMNS`.
    names
        Method -> its name.
    ours
        Methods whose rows are marked.

    Returns
    -------
    str
        HTML: in every cell what is found here with half its interval, below it what the paper says
        and the difference; a dash and a number where there is nothing, and below the table what
        these numbers mean. The seeds are named once a row where its numbers have the same.

    Raises
    ------
    ValueError
        If a cell has neither a number nor a reason.
    """
    if results.empty:
        return "<p>Nothing of it was run, and the paper gives no numbers.</p>"
    heads = list(results[["dataset", "condition"]].drop_duplicates().itertuples(index=False))
    measures = list(results["measure"].drop_duplicates())
    cells = {
        (row.method, row.variant, row.dataset, row.condition, row.measure): row
        for row in results.itertuples(index=False)
    }
    columns = [
        (*head, measure)
        for head in heads
        for measure in measures
        if any(key[2:] == (*head, measure) for key in cells)
    ]
    notes: dict[str, int] = {}
    rows = []
    # what the paper says of a method of ours stands beside all variants of it
    ran = {method for method, variant, *_ in cells if variant}
    for method, variant in results[["method", "variant"]].drop_duplicates().itertuples(index=False):
        if method in ran and not variant:
            continue
        found = [
            _filled(
                cells.get((method, variant, *column), cells.get((method, "", *column))),
                *(method, variant, *column),
            )
            for column in columns
        ]
        seeds = {row.seeds for row in found if not pd.isna(row.here)}
        alike = len(seeds) == 1
        texts = [f'<td class="number">{_number(row, notes, not alike)}</td>' for row in found]
        name = escape(names.get(method, method)) + (f" ({escape(variant)})" if variant else "")
        name += f"<small>n = {seeds.pop()}</small>" if alike else ""
        mark = ' class="ours"' if method in ours else ""
        rows.append(f"<tr{mark}><th>{name}</th>{''.join(texts)}</tr>")
    top = "".join(f"<th>{_head(*column)}</th>" for column in columns)
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    explained = f"<ol>{listed}</ol>" if notes else ""
    return (
        f'<div class="wide"><table><thead><tr><th>method</th>{top}</tr></thead><tbody>'
        f"{''.join(rows)}</tbody></table></div>{explained}"
    )


def plain_table(table: pd.DataFrame, classes: Mapping[str, str] | None = None) -> str:
    """A table as HTML, fractions with three digits; `classes` are those of columns."""
    classes = dict(classes or {})
    head = "".join(f"<th>{escape(str(name))}</th>" for name in table)
    rows = []
    for values in table.itertuples(index=False):
        texts = [
            f'<td class="{classes.get(str(name), _kind(value))}">{escape(_text(value))}</td>'
            for name, value in zip(table, values, strict=True)
        ]
        rows.append(f"<tr>{''.join(texts)}</tr>")
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}'
        "</tbody></table></div>"
    )


def write_page(sections: Sequence[Section], path: str | Path, introduction: str) -> None:
    """Write the page, whole or not at all; pictures are inside of it."""
    links = "".join(
        f'<a href="#s{i}">{escape(section.title.split(".")[0])}</a>'
        for i, section in enumerate(sections)
    )
    parts = []
    for i, section in enumerate(sections):
        pictures = "".join(
            f"<figure>{_picture(file, caption)}<figcaption>{escape(caption)}</figcaption></figure>"
            for caption, file in (section.pictures or {}).items()
        )
        parts.append(
            f'<section id="s{i}"><h2>{escape(section.title)}</h2><p>{escape(section.text)}</p>'
            f"{section.table}{pictures}</section>"
        )
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>The paper, reproduced</title><style>{_STYLE}</style></head><body>"
        f"<h1>The paper, reproduced</h1><p>{escape(introduction)}</p><nav>{links}</nav>"
        f"{''.join(parts)}</body></html>\n"
    )
    with whole_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _head(dataset: str, condition: str, measure: str) -> str:
    place = escape(dataset) + (f", {escape(condition)}" if condition else "")
    return f"{place}<small>{escape(measure.replace('_', ' '))}</small>"


def _filled(row, *names: object):  # type: ignore[no-untyped-def]
    """A row of the results, if there is something to show of it."""
    if row is None or (pd.isna(row.here) and not row.note):
        cell = ", ".join(str(name) for name in names if name)
        raise ValueError(f"a cell has neither a number nor a reason: {cell}")
    return row


def _number(row, notes: dict[str, int], with_seeds: bool) -> str:  # type: ignore[no-untyped-def]
    below = "" if pd.isna(row.paper) else f"<small>paper {_short(row.paper)}</small>"
    if pd.isna(row.here):
        number = notes.setdefault(row.note, len(notes) + 1)
        return f"&ndash; <sup>{number}</sup>{below}"
    half = ""
    if not pd.isna(row.low):
        interval = f"95 % interval {_short(row.low)} to {_short(row.high)}, n = {row.seeds}"
        half = f' <span title="{interval}">&plusmn; {_short((row.high - row.low) / 2)}</span>'
    if not pd.isna(row.difference):
        below = f"<small>paper {_short(row.paper)}, {row.difference:+.3f}</small>"
    seeds = f"<small>n = {row.seeds}</small>" if with_seeds else ""
    return f"{_short(row.here)}{half}{seeds}{below}"


def _short(value: float) -> str:
    """Three digits, without the zero before the point."""
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def _kind(value: object) -> str:
    return "number" if isinstance(value, float | int) and not isinstance(value, bool) else ""


def _text(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and pd.isna(value)):
        return ""
    formats: dict[type, Callable[[object], str]] = {float: lambda number: f"{number:.3f}"}
    return formats.get(type(value), str)(value)


def _picture(path: str | Path, caption: str) -> str:
    packed = io.BytesIO()  # a fifth of the PNG's size: the page holds a map of every run
    with Image.open(path) as picture:
        picture.convert("RGB").save(packed, format="WEBP", quality=85)
    content = base64.b64encode(packed.getvalue()).decode("ascii")
    return f'<img alt="{escape(caption)}" src="data:image/webp;base64,{content}">'
