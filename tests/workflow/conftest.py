"""Snakemake runs on small simulated cells."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from project import REPOSITORY, Project, make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh project that uses this repository."""
    return make_project(tmp_path / "project")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that was run to the end, with a copy of the workflow that tests may change."""
    root = tmp_path_factory.mktemp("finished")
    copy = root / "workflow_copy"
    for name in ("workflow", "config", "envs", "resources"):
        shutil.copytree(
            REPOSITORY / name,
            copy / name,
            symlinks=True,
            ignore=shutil.ignore_patterns("datasets" if name == "resources" else "", "__pycache__"),
        )
    shutil.copy(REPOSITORY / "Snakefile", copy)
    project = make_project(root / "project", copy)
    finished = project.snakemake()
    assert finished.returncode == 0, finished.stdout
    return project
