"""One run from files to report, and what happens when something changes afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from plkd.prediction.table import read_predictions
from plkd.utils.files import sha256_of
from project import REPOSITORY, Project, planned_rules

# one worker, so that the run is made once
pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("finished")]


def test_annotated_copy(finished: Project) -> None:
    query = ad.read_h5ad(finished.folder / "query.h5ad")
    annotated = ad.read_h5ad(finished.run_folder() / "annotated.h5ad")
    assert list(annotated.obs_names) == list(query.obs_names)
    assert (annotated.X != query.X).nnz == 0
    np.testing.assert_array_equal(annotated.obs["cell_type"], query.obs["cell_type"])
    predictions = read_predictions(finished.run_folder() / "predictions" / "student.parquet")
    np.testing.assert_array_equal(annotated.obs["plkd_label"], predictions["label"])
    np.testing.assert_allclose(annotated.obs["plkd_confidence"], predictions["confidence"])
    assert annotated.obsm["X_plkd"].shape == (query.n_obs, 32)
    probabilities = annotated.obsm["plkd_probabilities"]
    labels = annotated.uns["plkd"]["labels"]
    np.testing.assert_array_equal(labels[probabilities.argmax(axis=1)], predictions["label"])


def test_student_learns_the_planted_types(finished: Project) -> None:
    metrics = pd.read_csv(finished.run_folder() / "evaluation" / "metrics.tsv", sep="\t")
    metrics = metrics.set_index("method")
    assert metrics.loc["true_labels", "accuracy"] == 1.0
    assert metrics.loc["student", "accuracy"] > 0.9
    assert metrics.loc["random", "accuracy"] < 0.5
    assert metrics.loc["student", "n_unseen"] > 0  # a type that only the query has


def test_prepared_query_holds_no_truth(finished: Project) -> None:
    query = ad.read_h5ad(finished.folder / "results" / "simulated" / "prepared" / "query.h5ad")
    labels = set(ad.read_h5ad(finished.folder / "query.h5ad").obs["cell_type"])
    for column in query.obs:
        assert not labels & set(query.obs[column].astype(str))


def test_only_the_evaluation_reads_the_truth() -> None:
    rules = Path(__file__).parents[2] / "workflow" / "rules"
    for path in rules.glob("*.smk"):
        if path.name not in ("evaluate.smk", "prepare.smk"):
            assert "truth.parquet" not in path.read_text(), path.name


def test_second_run_does_nothing(finished: Project) -> None:
    again = finished.snakemake()
    assert again.returncode == 0
    assert "Nothing to be done" in again.stdout


def test_command_line_gives_the_same_labels(finished: Project, tmp_path: Path) -> None:
    query = finished.folder / "query.h5ad"
    before = sha256_of(query)
    output, table = tmp_path / "out.h5ad", tmp_path / "out.tsv"
    command = [sys.executable, "-m", "plkd", "annotate", str(query)]
    command += ["--model", str(finished.run_folder() / "model"), "-o", str(output)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "workflow" / "scripts")}
    done = subprocess.run(
        [*command, "--table", str(table)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert sha256_of(query) == before
    expected = ad.read_h5ad(finished.run_folder() / "annotated.h5ad")
    found = ad.read_h5ad(output)
    np.testing.assert_array_equal(found.obs["plkd_label"], expected.obs["plkd_label"])
    np.testing.assert_allclose(
        found.obsm["plkd_probabilities"], expected.obsm["plkd_probabilities"], atol=1e-5
    )
    assert list(pd.read_csv(table, sep="\t")["label"]) == list(found.obs["plkd_label"])


def test_library_change_reruns_what_depends_on_it(finished: Project) -> None:
    losses = finished.workflow / "workflow" / "scripts" / "plkd" / "losses.py"
    original = losses.read_text()
    try:
        losses.write_text(original.replace("L2: mean cross-entropy", "L2: the mean cross-entropy"))
        assert losses.read_text() != original
        assert planned_rules(finished.snakemake("-n")) == {}  # a docstring changes no result
        losses.write_text(original.replace("_TINY = 1e-9", "_TINY = 1e-8"))
        planned = planned_rules(finished.snakemake("-n"))
    finally:
        losses.write_text(original)
    assert planned.keys() >= {"teacher", "student", "predict", "annotate", "evaluate"}
    assert not planned.keys() & {"download", "prepare", "mask", "baseline"}


def test_new_settings_rerun_only_the_models(finished: Project) -> None:
    finished.configure(variants={"default": {"teacher_training": {"epochs": 1}}})
    try:
        planned = planned_rules(finished.snakemake("-n"))
    finally:
        finished.configure()
    assert "teacher" in planned
    assert "prepare" not in planned


def test_query_without_labels_is_annotated_and_not_scored(project: Project) -> None:
    project.configure({"query": {"url": "query.h5ad"}})
    planned = planned_rules(project.snakemake("-n"))
    assert planned.keys() >= {"annotate", "embedding_figure", "summary"}
    assert not planned.keys() & {"evaluate", "baseline", "true_labels", "benchmark_table"}


def test_report_is_built(finished: Project) -> None:
    report = finished.folder / "report.html"
    made = finished.snakemake("--report", str(report))
    assert made.returncode == 0, made.stdout
    text = report.read_text()
    for item in ("map of the cells", "confusion of types", "training curves"):
        assert item in text
