"""Snakemake looks for jobs to start when a job has ended, not all the time."""

from __future__ import annotations

from pathlib import Path

import pytest

from project import snakemake

pytestmark = pytest.mark.workflow

N_JOBS = 24
SNAKEFILE = f"""
from plkd.pipeline.scheduling import look_when_jobs_end

onstart:
    look_when_jobs_end(workflow.scheduler)

rule all:
    input: expand("{{i}}.txt", i=range({N_JOBS}))

rule one:
    output: "{{i}}.txt"
    shell: "sleep 0.3; touch {{output}}"
"""


def looks(folder: Path, *options: str) -> int:
    """How often it looks over the waiting jobs in a run."""
    folder.mkdir()
    (folder / "Snakefile").write_text(SNAKEFILE)
    run = snakemake("--verbose", *options, folder=folder)
    assert run.returncode == 0, run.stdout
    return run.stdout.count("Resources before job selection")


def test_one_look_for_every_job_that_ends(tmp_path: Path) -> None:
    assert looks(tmp_path / "ours") <= N_JOBS + 2  # `all` and the first one


def test_a_limit_that_was_asked_for_is_kept(tmp_path: Path) -> None:
    assert looks(tmp_path / "limited", "--max-jobs-per-timespan", "90/1s") > N_JOBS + 2
