"""What steps ask for follows what they hold of their inputs."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from plkd.evaluation import geometry
from plkd.pipeline import resources
from plkd.pipeline.resources import (
    NAMES,
    WHOLE,
    folder_mb,
    is_copied_in_pieces,
    is_read_in_pieces,
)

GB = 1000


def test_the_examples_of_the_documentation_hold() -> None:
    assert doctest.testmod(resources).failed == 0


def test_a_sample_does_not_grow_with_what_it_is_drawn_from() -> None:
    held = NAMES.and_sample(500)
    assert held.of(1) == pytest.approx(NAMES.of(1) + WHOLE.of(1))  # all cells
    assert held.of(20 * GB) - NAMES.of(20 * GB) == 500
    assert resources.memory_in_mb([held.of(20 * GB)], attempt=1) < 8 * GB


@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_a_job_that_ran_out_is_given_more(attempt: int) -> None:
    for held in (0.0, 12.3, 5000.0):
        once = resources.memory_in_mb([held], 1)
        assert resources.memory_in_mb([held], attempt) == attempt * once
        assert resources.minutes(held, attempt) == attempt * resources.minutes(held, 1)


@pytest.mark.parametrize(
    ("path", "read", "copied"),
    [
        ("cells.h5ad", True, True),
        ("cells.zarr", True, True),
        ("cells.h5mu", True, False),
        ("filtered.h5", False, False),
        ("cells.h5ad.gz", False, False),
        ("filtered_feature_bc_matrix", False, False),
        ("zarr/counts.csv.gz", False, False),
    ],
)
def test_formats_that_are_read_in_pieces(path: str, read: bool, copied: bool) -> None:
    assert (is_read_in_pieces(path), is_copied_in_pieces(path)) == (read, copied)


def test_a_folder_has_the_size_of_all_that_lies_in_it(tmp_path: Path) -> None:
    for name, size in {"matrix.mtx.gz": 3, "X/0/0": 2, "X/0/1": 1}.items():
        path = tmp_path / "cells" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(size * 2**20)
    assert folder_mb(str(tmp_path / "cells")) == 6


def test_comparing_all_cells_with_all_takes_as_long_as_there_are_pairs() -> None:
    def beyond(size_mb: float, n_spaces: int) -> float:
        asked = resources.scoring_minutes(size_mb, n_spaces, resources.OMICS_MINUTES, 1)
        return asked - resources.MINUTES

    assert beyond(40, 10) == pytest.approx(4 * beyond(20, 10), abs=4)
    assert beyond(20, 20) == pytest.approx(2 * beyond(20, 10), abs=2)
    assert beyond(0.1, 10) == 0
    assert beyond(100, 10) == beyond(10_000, 10)  # of more cells some are drawn


def test_as_many_cells_are_scored_as_memory_is_asked_for() -> None:
    assert geometry.MOST_CELLS == resources.MOST_SCORED
