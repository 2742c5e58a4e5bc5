"""Snakemake runs on small simulated cells."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from project import LACKING, REPOSITORY, WITH_JURY, Project, copy_workflow, make_project

# Labels that are no text.
NUMBERS = {
    "reference": {"url": "reference.h5ad", "labels_key": "cluster", "batch_key": "batch"},
    "query": {"url": "query.h5ad", "labels_key": "cluster"},
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh project that uses this repository."""
    return make_project(tmp_path / "project")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that was run to the end, with a copy of the workflow that tests may change.

    Its labels are numbers, its Student learns from a jury, and every simple method of the registry
    was run, and some that lack something. Tests of it are of the group `finished`, so that it is
    made once.
    """
    root = tmp_path_factory.mktemp("finished")
    copy = copy_workflow(root / "workflow_copy")
    project = make_project(root / "project", copy)
    methods = pd.read_csv(REPOSITORY / "config" / "methods.tsv", sep="\t", index_col="id")
    simple = list(methods.index[methods["kind"] == "baseline"])
    lock = copy / "envs" / "methods" / "xgboost.lock"
    lock.write_text("--no-index\nxgboost-cpu==0\n")  # cannot be installed
    project.configure(
        NUMBERS,
        methods=[*simple, *LACKING],
        limits={"methods": {"actinn": {"seconds": 0.01}}},
        variants={"default": WITH_JURY},
    )
    finished = project.snakemake()
    assert finished.returncode == 0, finished.stdout
    return project
