"""Which draws of a rare label the cells allow, beside drawing them."""

from __future__ import annotations

import numpy as np
import pytest

from plkd.errors import InputError
from plkd.paper.draws import DRAW_COLUMNS, draws_table
from plkd.preparation.side import _imbalanced
from plkd.settings.datasets import Imbalance


def draws_at(*ratios: int) -> dict[str, dict]:
    shared = {"dataset": "d", "major": "T", "minor": "mast", "draw": 0}
    return {f"d.{ratio}": {**shared, "ratio": ratio} for ratio in ratios}


@pytest.mark.parametrize("ratio", [1, 9, 10, 11, 24, 25, 26, 1000])
@pytest.mark.parametrize("minor", [0, 1, 2, 5])
def test_a_draw_is_allowed_that_can_be_made(ratio, minor):
    sides = {"reference": {"T": 50, "mast": minor}, "query": {"T": 20, "mast": 3}}
    reports = {"d": {side: {"labels": labels} for side, labels in sides.items()}}
    row = draws_table(draws_at(ratio), reports).iloc[0]
    assert list(row.index) == list(DRAW_COLUMNS)

    def made(labels: dict[str, int]) -> int:
        cells = np.repeat(list(labels), list(labels.values())).astype(object)
        asked = Imbalance("T", "mast", ratio)
        chosen = _imbalanced(cells, np.ones(len(cells), dtype=bool), asked, "here")
        return int((cells[chosen] == "mast").sum())

    if row["reason"] == "":
        assert row["minor_in_reference"] == made(sides["reference"])
        assert row["minor_in_query"] == made(sides["query"])
    else:
        lacking = "reference" if "the reference has" in row["reason"] else "query"
        with pytest.raises(InputError, match="too few"):
            made(sides[lacking])


def test_of_a_split_data_set_both_sides_are_drawn_from_together():
    sides = {side: {"labels": {"T": 10, "mast": 1}} for side in ("reference", "query")}
    table = draws_table(draws_at(10, 11), {"d": {**sides, "split": {"query_fraction": 0.5}}})
    assert list(table["reason"]) == [
        "",
        "the reference has 20 cells of 'T' and 2 of 'mast': too few for 2 at 11 to 1",
    ]


def test_without_draws_the_table_is_empty():
    assert list(draws_table({}, {})) == list(DRAW_COLUMNS)
