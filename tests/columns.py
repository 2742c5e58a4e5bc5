"""What docs/columns.md says of the tables, and what a finished run holds beyond that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "columns.md"
_HEADING = re.compile(r"### `(.+)`")
_ROW = re.compile(r"\| (`.+?`(?: \.\. `.+?`)?) \| (.+) \|")


@cache
def documented() -> dict[str, list[str]]:
    """Columns of every table by its place below ``results``; a range holds those between."""
    tables: dict[str, list[str]] = {}
    everything: list[str] = []
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if heading := _HEADING.fullmatch(line):
            here: list[str] = tables.setdefault(heading[1], [])
        elif row := _ROW.fullmatch(line):
            first, *last = re.findall(r"`(.+?)`", row[1])
            if last:  # a range of columns of the table of that kind before
                start = len(everything) - 1 - everything[::-1].index(first)
                here += everything[start : everything.index(last[0], start) + 1]
            else:
                here.append(first)
                everything.append(first)
    return tables


def place_pattern(place: str) -> str:
    return re.sub(r"<[^>]+>", "*", place.replace("<run>", "<dataset>/<variant>/seed<k>"))


def columns_of(place: str) -> list[str]:
    """Columns of the table at a place below ``results``."""
    found = [names for one, names in documented().items() if fnmatch(place, place_pattern(one))]
    return found[0] if found else []


def undocumented(results: Path) -> Iterator[str]:
    """Tables of a finished run and their columns that the page does not name."""
    for path in sorted(results.rglob("*.tsv")):
        place = path.relative_to(results).as_posix()
        header = path.read_text(encoding="utf-8").split("\n", 1)[0].split("\t")
        known = columns_of(place)
        yield from (f"{place}: {name}" for name in header if name not in known)
