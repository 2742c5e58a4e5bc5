"""A run that is killed again and again ends with the files of an undisturbed one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from project import WITH_JURY, Project, contents, make_project

pytestmark = [pytest.mark.workflow, pytest.mark.kill]

SMALL = {
    "methods": [],
    "variants": {
        "default": {
            **WITH_JURY,
            "teacher_training": {"min_steps": 60},
            "student_training": {"min_steps": 60},
        }
    },
    "interpretation": {"attributed_cells": 5, "tested_cells": 2},
}
STEP = re.compile(r"\d\d:\d\d:\d\d +\d+ of \d+  (\w+)")


def start(project: Project, *arguments: str) -> subprocess.Popen[str]:
    """A run of Snakemake that leads a group of processes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
    return subprocess.Popen(
        [*command, "-s", str(project.workflow / "Snakefile")],
        cwd=project.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def seconds_of_rules(project: Project) -> dict[str, float]:
    """How long every rule took, out of the benchmarks of a finished run."""
    seconds: dict[str, float] = {}
    for path in (project.folder / "benchmarks").rglob("*.tsv"):
        rule = re.sub(r"_(student|teacher)$", "", path.stem)
        seconds[rule] = float(pd.read_csv(path, sep="\t")["s"].iloc[0])
    return seconds


def test_killed_at_every_stage(tmp_path: Path) -> None:
    undisturbed = make_project(tmp_path / "undisturbed")
    undisturbed.configure(**SMALL)
    ended = undisturbed.snakemake("--cores", "1")
    assert ended.returncode == 0, ended.stdout
    seconds = seconds_of_rules(undisturbed)

    disturbed = make_project(tmp_path / "disturbed")
    disturbed.configure(**SMALL)
    random = np.random.default_rng(12)
    killed: list[str] = []
    output = ""
    for _ in range(60):
        # the lock of the first one that was killed is taken off as the manual says, which takes as
        # long as planning a run
        process = start(disturbed, *(["--nolock"] if len(killed) > 1 else []))
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                output += line
                step = STEP.match(line)
                if step and step[1] not in killed:
                    killed.append(step[1])
                    time.sleep(random.uniform(0, seconds.get(step[1], 3)))
                    os.killpg(process.pid, signal.SIGKILL)
                    break
        if process.wait() == 0:
            break
        if len(killed) == 1:
            assert "--unlock" in disturbed.snakemake().stdout
            assert disturbed.snakemake("--unlock").returncode == 0
    assert process.returncode == 0, output
    assert len(killed) >= 20
    found, expected = contents(disturbed), contents(undisturbed)
    assert found.keys() ^ expected.keys() == set()
    assert [name for name in expected if found[name] != expected[name]] == []
    assert not list(disturbed.folder.rglob(".partial-*"))
