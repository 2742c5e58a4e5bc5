from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from plkd.errors import InputError
from plkd.evaluation.counts import counts_table
from plkd.preparation.expected_counts import compare_counts, require_expected
from plkd.utils.tables import write_html

REPORT: dict[str, Any] = {
    "reference": {
        "cells": 5, "genes_read": 100, "labels": {"B": 3, "T/NK": 2}, "batches": {"53": 5},
    },
    "query": {"cells": 4, "genes_read": 90, "labels": {"B": 1, "T/NK": 2}, "batches": {"54": 4}},
    "genes": {"selected": 20},
}  # fmt: skip


@pytest.mark.parametrize(
    ("quantity", "right", "wrong", "says"),
    [
        ("cells", 9, 10, ("10", "9")),
        ("cells", [8, 9], [10, 12], ("10 to 12", "9")),
        ("genes", 100, 190, ("190", "100")),
        ("labels", 2, 3, ("3", "2")),
        ("labels", ["B", "T/NK"], ["B", "NK"], ("without NK", "with T/NK")),
        ("labels", {"B": 4, "T/NK": 4}, {"B": 5, "T/NK": 4}, ("B 5", "B 4")),
        ("labels", {"T/NK": 4, "B": 4}, {"B": 4}, ("T/NK absent", "T/NK 4")),
        ("cells_of_label", {"B": 4}, {"B": 3}, ("B 3", "B 4")),
        ("cells_of_label", {"T/NK": 4}, {"rare": 3}, ("rare 3", "rare absent")),
        ("batches", ["53", "54"], ["53"], ("with 54",)),
        ("batches", {"53": 5, "54": 4}, {"53": 4, "54": 5}, ("53 4", "54 5")),
        ("batches", [1, 2], [3, 4], ("3 to 4", "2")),
    ],
)
def test_counts(quantity: str, right: Any, wrong: Any, says: tuple[str, ...]) -> None:
    for level in ("error", "warning"):
        good = compare_counts({level: {quantity: right}}, REPORT)
        assert good["agrees"].all()
        assert require_expected(good) == []
    warnings = require_expected(compare_counts({"warning": {quantity: wrong}}, REPORT))
    assert len(warnings) == 1
    assert all(word in warnings[0] for word in says), warnings
    with pytest.raises(InputError, match=quantity) as error:
        require_expected(compare_counts({"error": {quantity: wrong}}, REPORT))
    assert all(word in str(error.value) for word in says), str(error.value)


def test_nothing_expected() -> None:
    assert require_expected(compare_counts({}, REPORT)) == []


def test_table_beside_the_paper(tmp_path: Path) -> None:
    paper = pd.DataFrame(
        {"cells": ["9 x 2"], "types": ["2"], "batches": [""]}, index=pd.Index(["Data & Co"])
    )
    wrong = compare_counts({"warning": {"cells": 8}}, REPORT).to_dict("records")
    table = counts_table(
        {"one": REPORT, "two": {**REPORT, "expected": wrong}},
        {"one": None, "two": "Data & Co"},
        paper,
    )
    assert list(table["cells"]) == [9, 9]
    assert list(table["cells in the paper"]) == ["", "9 x 2"]
    assert table["as expected"][1] == "cells: expected 8, found 9"
    write_html(table.assign(note="A < B"), tmp_path / "t.html", "Counts")
    page = (tmp_path / "t.html").read_text()
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", page)
    assert cells[:4] == ["one", "5", "4", "9"]
    assert "A &lt; B" in page
    write_html(table.assign(note="A < B"), tmp_path / "again.html", "Counts")
    assert (tmp_path / "again.html").read_text() == page
