"""What a run will take, said before it starts."""

from __future__ import annotations

import doctest

from plkd.pipeline import plan
from plkd.pipeline.plan import (
    DENSE,
    DatasetPlan,
    Download,
    MethodPlan,
    memory_of,
    plan_text,
    seconds_of,
)


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
    unknown = "1 file of a size that is not published"
    assert f"a                      2 files: 2.0 GB, {unknown}" in text
    assert f"in all                 at least 2.0 GB, {unknown}" in text


def test_more_cells_and_more_runs_take_longer() -> None:
    small, large = DatasetPlan("a", 1_000, 1), DatasetPlan("a", 50_000, 1)
    assert seconds_of(small) < seconds_of(large) < seconds_of(DatasetPlan("a", 50_000, 3))
    assert memory_of(small) < memory_of(large)
    assert "not known before it is read" in plan_text([], [DatasetPlan("a", None, 2)])


def test_a_dense_teacher_takes_many_times_as_long() -> None:
    """Fifteen times as long a training of the Teacher, and nothing else."""
    masked, dense = DatasetPlan("a", 20_000, 1), DatasetPlan("a", 20_000, 1, n_dense=1)
    longer = seconds_of(dense) - seconds_of(masked)
    assert longer == (DENSE - 1) * (plan.TEACHER_PER_RUN + 10 * plan.TEACHER_PER_1000_REFERENCE)
    assert "1 run, 1 without a mask: about" in plan_text([], [dense])


def test_scores_of_spaces_take_the_square_of_the_cells_and_more_of_two_modalities() -> None:
    runs = seconds_of(DatasetPlan("a", 70_000, 6))
    scored = DatasetPlan("a", 70_000, 6, n_spaces=12)
    longer = seconds_of(scored) - runs
    assert 12 * 35 < longer < 12 * 90  # 76 s of one core for each, and a map
    of_modalities = DatasetPlan("a", 70_000, 6, n_spaces=12, modalities=True)
    assert 4 * longer < seconds_of(of_modalities) - runs < 8 * longer
    assert "70,000 cells, 6 runs, 12 spaces to score: about" in plan_text([], [scored])
    drawn = DatasetPlan("a", 600_000, 6, n_spaces=1)
    bare = seconds_of(DatasetPlan("a", 600_000, 6))
    assert seconds_of(drawn) - bare == plan.SECONDS_PER_SPACE + 9e10 * plan.SECONDS_PER_PAIR


def test_what_is_not_known_is_a_lower_bound_and_limits_are_an_upper_one() -> None:
    datasets = [DatasetPlan("a", None, 2), DatasetPlan("b, drawn", 5_000, 3, at_most=True)]
    methods = [MethodPlan("label cells", 2, 7200, 16 * 10**9), MethodPlan("integrate", 0, 0, 0)]
    text = plan_text([], datasets, methods, training=8 * 10**9)
    assert "b, drawn               5,000 cells, 3 runs: at most 6 min" in text
    assert "in all                 5 runs: at least 8 min" in text
    assert "a training             at most 8.0 GB" in text
    assert "label cells            2 runs: at most 2.0 h, 16.0 GB at a time" in text
    assert "integrate" not in text
