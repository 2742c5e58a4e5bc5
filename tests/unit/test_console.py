"""What a run shows in the terminal."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from plkd.pipeline.console import StepFormatter, duration, failure, is_shown, plan, step_name


def record(message: str | None = None, level: int = logging.INFO, **fields: object):
    made = logging.LogRecord("snakemake", level, __file__, 1, message, None, None)
    made.__dict__.update(fields)
    return made


def test_a_line_for_each_step() -> None:
    formatter = StepFormatter()
    formatter.n_steps = 12
    lines = [
        formatter.format(
            record(event="job_info", rule_name=rule, log=["a"], wildcards={"dataset": "lung"})
        )
        for rule in ("prepare", "mask")
    ]
    assert [line.split(maxsplit=1)[1] for line in lines] == [
        "1 of 12  prepare  lung",
        "2 of 12  mask  lung",
    ]


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"event": "job_info", "log": ["logs/a.log"]}, True),
        ({"event": "job_info", "log": []}, False),  # a target
        ({"event": "progress"}, False),
        ({"event": "job_error", "level": logging.ERROR}, True),
        ({"event": "error", "message": "RuleException:\nCalledProcessError in file"}, False),
        ({"event": "error", "message": "MissingInputException in rule download"}, True),
        ({"message": "Select jobs to execute..."}, False),
        ({"message": "Nothing to be done (all requested files are present)."}, True),
        ({"message": "Creating conda environment"}, True),
        ({"message": "a warning", "level": logging.WARNING}, True),
        ({"message": None}, False),
    ],
)
def test_what_is_shown(fields: dict, shown: bool) -> None:
    assert is_shown(record(**fields)) is shown


def test_a_failure_is_told_from_its_log(tmp_path: Path) -> None:
    log = tmp_path / "prepare.log"
    log.write_text("12:00:01 INFO reading\n12:00:02 ERROR no column 'x'\nthe columns are a, b\n")
    told = failure("prepare", [str(log)])
    assert told.splitlines()[0] == "FAILED: prepare"
    assert "reading" not in told
    assert "no column 'x'\n    the columns are a, b" in told
    assert str(log) in told
    assert "stands above" in failure("prepare", [str(tmp_path / "absent.log")])


def test_a_long_traceback_keeps_its_beginning_and_end(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    lines = [f"  line {number}" for number in range(200)]
    log.write_text("\n".join(["12:00:02 ERROR unexpected failure", *lines, "KeyError: 'x'"]))
    told = failure("train", [str(log)])
    assert "unexpected failure" in told
    assert "KeyError: 'x'" in told
    assert len(told.splitlines()) < 40


def benchmark(path: Path, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\tmax_rss\n{seconds}\t1\n")


def test_why_slurm_ended_a_step_stands_first(tmp_path: Path) -> None:
    """Snakemake within the job says much after it, and nothing of the reason."""
    log = tmp_path / "29.log"
    reason = "slurmstepd-vm: error: *** JOB 29 ON vm CANCELLED AT 2026-11-29T22:17:21 ***"
    log.write_text("\n".join(["start", reason, *(f"line {i}" for i in range(99))]))
    told = failure("teacher", [str(log)]).splitlines()
    assert told[1] == f"    {reason}"
    log.write_text(f"start\n{reason}\n")
    assert failure("teacher", [str(log)]).count("CANCELLED") == 1


def test_plan_goes_by_earlier_runs(tmp_path: Path) -> None:
    steps = [
        ("teacher", str(tmp_path / "new/teacher.tsv")),
        ("teacher", str(tmp_path / "old/teacher.tsv")),
        ("mask", str(tmp_path / "new/mask.tsv")),
    ]
    assert "not known" in plan(steps, tmp_path, 2)
    benchmark(tmp_path / "old/teacher.tsv", 1200)
    benchmark(tmp_path / "older/teacher.tsv", 600)
    text = plan(steps, tmp_path, 1)
    assert text.startswith("3 steps: 2 teacher, mask.")
    assert "About 35 min" in text  # its own 20, and the mean of the others, 15
    assert "1 that never ran before" in text
    assert "About 20 min" in plan(steps, tmp_path, 2)  # the longest step cannot be shared
    (tmp_path / "new").mkdir()
    (tmp_path / "new/mask.tsv").write_text("cut off")
    assert "1 that never ran before" in plan(steps, tmp_path, 1)


def test_names() -> None:
    wildcards = {"seed": "0", "variant": "paper", "dataset": "lung", "model": "student"}
    assert step_name("predict", wildcards) == "predict  lung paper seed 0 student"
    assert step_name("summary", {}) == "summary"
    assert [duration(one) for one in (5, 200, 9000)] == ["1 min", "3 min", "2.5 h"]
