"""On a Slurm of one node the pipeline makes what it makes on one machine, whatever is lost."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from project import REPOSITORY, Project, contents
from slurm import Cluster, cluster, missing_programs, wait_for

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.cluster,
    pytest.mark.skipif(
        bool(missing_programs()),
        reason=f"not installed: {', '.join(missing_programs())} (Debian: slurm-wlm, munge)",
    ),
]

# What `make run` makes, its query predicted in parts, and a small benchmark.
DEFAULT = REPOSITORY / "config" / "config.yaml"
CHANGES = {"methods": ["logistic_regression", "nearest_neighbours"], "scatter": 2}


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    with cluster() as made:
        yield made


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run on one machine leaves."""
    project = default_project(tmp_path_factory.mktemp("local"))
    ended = project.snakemake()
    assert ended.returncode == 0, ended.stdout
    return contents(project)


def default_project(folder: Path) -> Project:
    """A folder in which the default configuration is run."""
    project = Project(folder)
    configuration = yaml.safe_load(DEFAULT.read_text(encoding="utf-8")) | CHANGES
    configuration["datasets"] = [str(REPOSITORY / one) for one in configuration["datasets"]]
    (folder / "config").mkdir()
    written = yaml.safe_dump(configuration)
    (folder / "config" / "config.yaml").write_text(written, encoding="utf-8")
    return project


def start(project: Project, slurm: Cluster, *options: str) -> subprocess.Popen[str]:
    """A run of Snakemake that sends its jobs to the cluster."""
    output = (project.folder / "output.txt").open("a")
    with output:
        return subprocess.Popen(
            [
                sys.executable, "-m", "snakemake",
                "--snakefile", str(project.workflow / "Snakefile"),
                "--profile", str(REPOSITORY / "profiles" / "slurm"),
                "--slurm-status-command", "squeue",
                "--slurm-init-seconds-before-status-checks", "3",
                *options,
            ],
            cwd=project.folder,
            env=slurm.environment,
            stdout=output,
            stderr=output,
            text=True,
        )  # fmt: skip


def ended(process: subprocess.Popen[str], project: Project) -> int:
    """Exit status of a run, with what it said where it is looked at for a reason."""
    print((project.folder / "output.txt").read_text()[-5000:] if process.wait(1800) else "")
    return process.returncode


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


def wait_for_job(slurm: Cluster, rule: str, process: subprocess.Popen[str]) -> str:
    """Number of the job of a rule, as soon as it runs."""
    found: list[str] = []

    def runs() -> bool:
        assert process.poll() is None, "the run ended early"
        found.extend(number for number in [slurm.running(f"rule_{rule}")] if number)
        return bool(found)

    wait_for(runs, 900)
    return found[0]


def test_a_run_on_a_cluster_is_one_on_a_machine(
    slurm: Cluster, expected: dict[str, bytes], tmp_path: Path
) -> None:
    project = default_project(tmp_path)
    assert ended(start(project, slurm), project) == 0
    assert_same(contents(project), expected)
    output = (project.folder / "output.txt").read_text()
    submitted = re.findall(r"submitted with SLURM jobid (\d+)", output)
    assert 16 < len(submitted) < 26  # of forty steps: those of seconds go together
    # what Slurm has not forgotten yet
    found = {told: state for number, state, told in slurm.jobs() if number in submitted}
    assert set(found.values()) == {"COMPLETED"}
    assert any(told.startswith("rule_labels_annotate") for told in found)


def test_what_is_lost_is_made_again(
    slurm: Cluster, expected: dict[str, bytes], tmp_path: Path
) -> None:
    project = default_project(tmp_path)
    # a job is cancelled: the run that may not try again ends
    process = start(project, slurm, "--retries", "0")
    job = wait_for_job(slurm, "teacher", process)
    time.sleep(5)
    slurm.command("scancel", job)
    assert ended(process, project) == 1
    assert "CANCELLED" in (project.folder / "output.txt").read_text()
    assert not (project.run_folder("pbmc68k") / "model").exists()
    # the node is lost while the next one trains, and comes back
    process = start(project, slurm)
    wait_for_job(slurm, "student", process)
    slurm.kill_node()
    slurm.start_node()
    assert ended(process, project) == 0
    assert_same(contents(project), expected)
    assert not list(project.folder.rglob(".partial-*"))
