"""One run from files to report, and what happens when something changes afterwards."""

from __future__ import annotations

import html
import os
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from columns import undocumented
from plkd.prediction.table import read_predictions
from plkd.utils.files import sha256_of
from project import LACKING, REPOSITORY, Project, planned_rules

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
    assert np.isfinite(annotated.obsm["X_plkd_umap"]).all()
    probabilities = annotated.obsm["plkd_probabilities"]
    labels = annotated.uns["plkd"]["labels"]
    np.testing.assert_array_equal(
        labels[probabilities.to_numpy().argmax(axis=1)], predictions["label"]
    )


def test_student_learns_the_planted_types(finished: Project) -> None:
    metrics = pd.read_csv(finished.run_folder() / "evaluation" / "metrics.tsv", sep="\t")
    metrics = metrics.set_index("method")
    assert metrics.loc["true_labels", "accuracy"] == 1.0
    assert metrics.loc["student", "accuracy"] > 0.9
    assert metrics.loc["random", "accuracy"] < 0.5
    assert metrics.loc["student", "n_unseen"] > 0  # a type that only the query has


def test_every_simple_method_is_beside_the_models(finished: Project) -> None:
    methods = pd.read_csv(REPOSITORY / "config" / "methods.tsv", sep="\t")
    metrics = pd.read_csv(finished.run_folder() / "evaluation" / "metrics.tsv", sep="\t")
    metrics = metrics.set_index("method")
    assert set(metrics.index) == {*LACKING, *methods.loc[methods["kind"] != "rival", "id"]}
    simple = methods.loc[methods["kind"] == "baseline", "id"]
    assert (metrics.loc[simple, "macro_f1"] > metrics.loc["random", "macro_f1"] + 0.2).all()


def test_a_method_that_lacks_something_is_a_row_with_its_reason(finished: Project) -> None:
    """Code, weights, an environment, time: the tables and the page are whole without them."""
    metrics = pd.read_csv(finished.run_folder() / "evaluation" / "metrics.tsv", sep="\t")
    metrics = metrics.set_index("method")
    folder = finished.folder / "results" / "benchmark"
    choice = pd.read_csv(folder / "choice.tsv", sep="\t", index_col="method")
    page = (folder / "benchmark.html").read_text()
    for method, reason in LACKING.items():
        assert metrics.loc[method, "n_cells"] == 0
        assert metrics["macro_f1"].isna()[method]
        assert choice.loc[method, "reason"].startswith(reason)
        assert html.escape(reason) in page
    assert set(choice.index[-len(LACKING) :]) == set(LACKING)
    assert choice.drop(index=list(LACKING))["cpu_seconds"].gt(0).all()


def test_labels_that_are_no_text(finished: Project) -> None:
    """They come out as text everywhere, and are the same cells' labels."""
    run, labels = finished.run_folder(), {"0", "1", "2", "3"}
    annotated = ad.read_h5ad(run / "annotated.h5ad")
    planted = annotated.obs["cluster"].astype(str)
    assert annotated.obs["plkd_label"].cat.categories.isin(labels).all()
    assert (annotated.obs["plkd_label"].astype(str) == planted)[planted.isin(labels)].mean() > 0.8
    read = {"sep": "\t", "dtype": {"label": str}}
    for name in ("network_genes", "label_pathways", "gene_attributions", "key_genes"):
        table = pd.read_csv(run / "interpretation" / f"{name}.tsv", **read)
        assert set(table["label"]) == labels, name
    scored = pd.read_csv(run / "evaluation" / "per_label.tsv", **read)
    assert set(scored["label"]) >= labels


def test_every_column_is_documented(finished: Project) -> None:
    assert list(undocumented(finished.folder / "results")) == []


def test_prepared_query_holds_no_truth(finished: Project) -> None:
    query = ad.read_h5ad(finished.folder / "results" / "simulated" / "prepared" / "query.h5ad")
    planted = ad.read_h5ad(finished.folder / "query.h5ad").obs
    assert set(query.obs) == {"batch", "source_row"}
    for column in ("cell_type", "cluster"):
        assert not set(planted[column].astype(str)) & set(query.obs["batch"].astype(str))


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
    assert list(pd.read_csv(table, sep="\t", dtype=str)["label"]) == list(found.obs["plkd_label"])


def test_library_change_reruns_what_depends_on_it(finished: Project) -> None:
    library = finished.workflow / "workflow" / "scripts" / "plkd"
    losses = library / "model" / "losses.py"
    with finished.changed(losses):
        code = losses.read_text().split('"""', 2)[2]
        losses.write_text(f'"""Another docstring."""{code}')
        assert planned_rules(finished.snakemake("-n")) == {}  # a docstring changes no result
        losses.write_text(losses.read_text() + "\n_ANOTHER = 1\n")
        planned = planned_rules(finished.snakemake("-n"))
    assert planned.keys() >= {"teacher", "student", "predict", "annotate", "evaluate"}
    assert not planned.keys() & {"download", "prepare", "mask", "method"}


def test_a_change_of_what_every_script_uses_reruns_every_step(finished: Project) -> None:
    everything = planned_rules(finished.snakemake("-n", "--forceall"))
    logs = finished.workflow / "workflow" / "scripts" / "plkd" / "utils" / "logs.py"
    with finished.changed(logs):
        logs.write_text(logs.read_text() + "\n_ANOTHER = 1\n")
        assert planned_rules(finished.snakemake("-n")) == everything


def test_new_settings_rerun_only_the_models(finished: Project) -> None:
    with finished.configured(variants={"default": {"teacher_training": {"epochs": 1}}}):
        planned = planned_rules(finished.snakemake("-n"))
    assert "teacher" in planned
    assert "prepare" not in planned


def test_query_without_labels_is_annotated_and_not_scored(project: Project) -> None:
    project.configure({"query": {"url": "query.h5ad"}})
    planned = planned_rules(project.snakemake("-n"))
    assert planned.keys() >= {"annotate", "embedding_figure", "summary"}
    assert not planned.keys() & {"evaluate", "method", "true_labels", "benchmark_table"}


@pytest.mark.parametrize("target", ["benchmark", "robustness"])
def test_scores_without_true_labels_are_refused_before_anything_runs(
    project: Project, target: str
) -> None:
    project.configure({"query": {"url": "query.h5ad"}}, robustness={"genes": [0.5]})
    ended = project.snakemake("--", target)
    assert ended.returncode == 1
    assert (
        f"{target} needs true labels: give the query a `labels_key`, or `split` the reference."
    ) in ended.stdout
    assert "Traceback" not in ended.stdout
    assert not (project.folder / "results").exists()


def test_report_is_part_of_a_run(finished: Project) -> None:
    text = (finished.folder / "results" / "report.html").read_text()
    for item in ("map of the cells", "confusion of types", "training curves"):
        assert item in text


def test_the_report_leads_to_a_page_of_every_query(finished: Project) -> None:
    results = finished.folder / "results"
    page = finished.run_folder() / "labels.html"
    link = page.relative_to(results).as_posix()
    assert f'href=\\"{link}\\"' in (results / "report.html").read_text()
    annotated = ad.read_h5ad(finished.run_folder() / "annotated.h5ad")
    labelled = annotated.obs["plkd_label"].notna().sum()
    assert f'"n_cells": {labelled},' in page.read_text(encoding="utf-8")
