"""What a run will take, said before it starts."""

from __future__ import annotations

import doctest

from plkd.pipeline import plan
from plkd.pipeline.plan import DatasetPlan, Download, memory_of, plan_text, seconds_of


def test_the_example_of_the_documentation_holds() -> None:
    assert doctest.testmod(plan).failed == 0


def test_files_that_are_there_are_not_downloaded_again() -> None:
    text = plan_text([Download("a", "x", 10, present=True)], [])
    assert text.startswith("Nothing is to be downloaded.")
    text = plan_text(
        [
            Download("a", "x", 2_000_000_000, present=False),
            Download("a", "y", None, present=False),
            Download("a", "z", 7, present=True),
        ],
        [],
    )
    assert "a                      2 files: 2.0 GB, 1 of a size that is not published" in text


def test_more_cells_and_more_runs_take_longer() -> None:
    small, large = DatasetPlan("a", 1_000, 1), DatasetPlan("a", 50_000, 1)
    assert seconds_of(small) < seconds_of(large) < seconds_of(DatasetPlan("a", 50_000, 3))
    assert memory_of(small) < memory_of(large)
    assert "not known before it is read" in plan_text([], [DatasetPlan("a", None, 2)])
