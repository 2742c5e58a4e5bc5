"""A small project on simulated cells, and Snakemake runs of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from simulated import HOUSEKEEPING, MARKERS, make_cells

REPOSITORY = Path(__file__).resolve().parents[1]

# Small and quick: what is tested here is the pipeline, not the accuracy.
SETTINGS = {
    "mask": {"min_genes": 3},
    "teacher": {"width": 16},
    "student": {"hidden": [32]},
    "teacher_training": {"min_steps": 200, "learning_rate": 0.005},
    "student_training": {"min_steps": 200, "learning_rate": 0.005},
}


@dataclass
class Project:
    """A working directory with data and a configuration, and the workflow it uses."""

    folder: Path
    workflow: Path = REPOSITORY

    def configure(self, dataset: Mapping[str, Any] | None = None, **config: Any) -> None:
        """Write config/config.yaml; `dataset` overrides keys of the simulated data set."""
        content = {
            "name": "simulated",
            "reference": {"url": "reference.h5ad", "labels_key": "cell_type", "batch_key": "batch"},
            "query": {"url": "query.h5ad", "labels_key": "cell_type"},
            "gene_sets": [{"url": "markers.gmt"}],
            **(dataset or {}),
        }
        content = {key: value for key, value in content.items() if value is not None}
        full = {"datasets": [content], "variants": {"default": SETTINGS}, **config}
        path = self.folder / "config" / "config.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(full))

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Snakemake in the folder, with the entry point of the workflow's repository."""
        return snakemake("-s", str(self.workflow / "Snakefile"), *arguments, folder=self.folder)

    def run_folder(self) -> Path:
        """Results of the one run."""
        return self.folder / "results" / "simulated" / "default" / "seed0"


def snakemake(
    *arguments: str, folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake; standard error is joined to standard output."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1800,  # against hanging, not for speed
    )


def planned_rules(dry_run: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Rules and their number of jobs in the statistics of a dry run."""
    assert dry_run.returncode == 0, dry_run.stdout
    lines = dry_run.stdout.splitlines()
    if "Job stats:" not in lines:
        return {}
    start = lines.index("Job stats:") + 3
    counts = {}
    for line in lines[start:]:
        words = line.split()
        if len(words) != 2:
            break
        counts[words[0]] = int(words[1])
    return counts


def make_project(folder: Path, workflow: Path = REPOSITORY) -> Project:
    """A folder with a reference, a query (that has a type of its own), gene sets, a
    configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    make_cells(300, 110, types=4, batches=2, seed=1).write_h5ad(folder / "reference.h5ad")
    make_cells(200, 110, types=5, batches=["donor9"], seed=2).write_h5ad(folder / "query.h5ad")
    sets = {**MARKERS, "Housekeeping": HOUSEKEEPING}
    lines = ["\t".join([name, f"markers of {name}", *genes]) for name, genes in sets.items()]
    (folder / "markers.gmt").write_text("\n".join(lines) + "\n")
    project = Project(folder, workflow)
    project.configure()
    return project
