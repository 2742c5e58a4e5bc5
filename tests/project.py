"""A small project on simulated cells, and Snakemake runs of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from simulated import HOUSEKEEPING, MARKERS, make_cells

REPOSITORY = Path(__file__).resolve().parents[1]

# Small and quick: what is tested here is the pipeline, not the accuracy.
SETTINGS = {
    "preset": "fast",
    "mask": {"min_genes": 3},
    "teacher": {"width": 16},
    "student": {"hidden": [32]},
    "teacher_training": {"min_steps": 200, "learning_rate": 0.005},
    "student_training": {"min_steps": 200, "learning_rate": 0.005},
}
# The Student of the run that the tests of the workflow share learns from a jury.
WITH_JURY = {key: value for key, value in SETTINGS.items() if key != "preset"}

# Methods that cannot run in that run, and how the reason begins.
LACKING = {
    "tosica": "folder not provided",
    "scgpt": "weights not provided",
    "actinn": "out of time",
    "xgboost": "its environment 'xgboost' could not be installed",
}

# Results that say when they were made, or what was measured of time and memory.
CLOCKS = {"report.html", "benchmark.html", "costs.tsv", "choice.tsv", "choice.png", "choice.pdf"}
MEASURED = {
    "seconds", "cpu_seconds", "peak_mb", "peak_gpu_mb", "training_seconds", "prediction_seconds",
}  # fmt: skip


@dataclass
class Project:
    """A working directory with data and a configuration, and the workflow it uses."""

    folder: Path
    workflow: Path = REPOSITORY

    def configure(self, *datasets: Mapping[str, Any] | None, **config: Any) -> None:
        """Write config/config.yaml; each of `datasets` overrides keys of the simulated data set."""
        full = {
            "datasets": [dataset_entry(one or {}) for one in datasets or [None]],
            "variants": {"default": SETTINGS},
            **config,
        }
        path = self.folder / "config" / "config.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(full))

    @contextmanager
    def changed(self, path: Path) -> Iterator[None]:
        """Put a file back as it was after a change."""
        before = path.read_bytes()
        try:
            yield
        finally:
            path.write_bytes(before)

    @contextmanager
    def configured(self, dataset: Mapping[str, Any] | None = None, **config: Any) -> Iterator[None]:
        """Have other keys of the first data set and of the configuration for a while."""
        path = self.folder / "config" / "config.yaml"
        content = {**yaml.safe_load(path.read_text()), **config}
        content["datasets"][0].update(dataset or {})
        with self.changed(path):
            path.write_text(yaml.safe_dump(content))
            yield

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Snakemake in the folder, with the entry point of the workflow's repository."""
        return snakemake("-s", str(self.workflow / "Snakefile"), *arguments, folder=self.folder)

    def run_folder(self, dataset: str = "simulated") -> Path:
        """Results of the one run of a data set."""
        return self.folder / "results" / dataset / "default" / "seed0"


def contents(project: Project) -> dict[str, Any]:
    """All that a run leaves in its results, by path, but for what was measured while it ran."""
    results = project.folder / "results"
    return {
        str(path.relative_to(results)): _content(path)
        for path in sorted(results.rglob("*"))
        if path.is_file() and path.name not in CLOCKS
    }


def _content(path: Path) -> Any:
    """The bytes of a file; of what something cost, all but the costs."""
    written = json.loads(path.read_text()) if path.suffix == ".json" else None
    if not isinstance(written, dict) or "cpu_seconds" not in written:
        return path.read_bytes()
    return {key: one for key, one in written.items() if key not in MEASURED}


def dataset_entry(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The simulated data set as the configuration names it; keys set to None are left out."""
    content = {
        "name": "simulated",
        "reference": {"url": "reference.h5ad", "labels_key": "cell_type", "batch_key": "batch"},
        "query": {"url": "query.h5ad", "labels_key": "cell_type"},
        "gene_sets": [{"url": "markers.gmt"}],
        **changes,
    }
    return {key: value for key, value in content.items() if value is not None}


def snakemake(
    *arguments: str, folder: Path, timeout: float = 1800, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake; standard error is joined to standard output.

    The timeout, in seconds, is against hanging and not for speed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
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


def planned_jobs(dry_run: subprocess.CompletedProcess[str]) -> list[dict[str, str]]:
    """The jobs of a dry run: `rule`, and what Snakemake prints of each (input, log, ..)."""
    assert dry_run.returncode == 0, dry_run.stdout
    jobs: list[dict[str, str]] = []
    for line in dry_run.stdout.splitlines():
        if found := re.fullmatch(r"(?:local)?(?:rule|checkpoint) (\w+):", line):
            jobs.append({"rule": found[1]})
        elif jobs and (found := re.fullmatch(r" {4}(\w+): (.*)", line)):
            jobs[-1].setdefault(found[1], found[2])
    return jobs


def make_project(folder: Path, workflow: Path = REPOSITORY) -> Project:
    """A folder with a reference, a query (that has a type of its own), gene sets, a configuration.

    The cells have their labels as names (`cell_type`), as the numbers of clusters (`cluster`, the
    place of the name in `MARKERS`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    reference = make_cells(300, 110, types=4, batches=2, seed=1)
    query = make_cells(200, 110, types=5, batches=["donor9"], seed=2)
    for name, cells in (("reference", reference), ("query", query)):
        cells.obs["cluster"] = [list(MARKERS).index(label) for label in cells.obs["cell_type"]]
        cells.write_h5ad(folder / f"{name}.h5ad")
    sets = {**MARKERS, "Housekeeping": HOUSEKEEPING}
    write_sets(folder / "markers.gmt", sets)
    write_sets(folder / "markers_of_clusters.gmt", dict(enumerate(MARKERS.values())))
    project = Project(folder, workflow)
    project.configure()
    return project


def copy_workflow(folder: Path) -> Path:
    """Copy all that Snakemake needs of this repository."""
    for name in ("workflow", "config", "envs", "resources"):
        shutil.copytree(
            REPOSITORY / name,
            folder / name,
            symlinks=True,
            ignore=shutil.ignore_patterns("datasets" if name == "resources" else "", "__pycache__"),
        )
    shutil.copy(REPOSITORY / "Snakefile", folder)
    return folder


def write_sets(path: Path, sets: Mapping[Any, Sequence[str]]) -> None:
    """Write gene sets as a GMT file."""
    lines = ["\t".join([str(name), f"markers of {name}", *genes]) for name, genes in sets.items()]
    path.write_text("\n".join(lines) + "\n")
