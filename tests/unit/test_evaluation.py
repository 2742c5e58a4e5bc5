"""The evaluation of a run from files to files, and the benchmark's summary."""

from __future__ import annotations

import json
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import annotate
import benchmark_table
import embedding_figure
import evaluate as evaluate_script
import evaluate_figures
import map_cells
import plot_history
import true_labels
from job import job
from plkd.errors import InputError
from plkd.evaluation.baselines import logistic_regression
from plkd.evaluation.embeddings import (
    UMAP_COLUMNS,
    principal_components,
    read_cells_of_run,
    read_embedding,
    read_umap,
    sample_cells,
    umap_of_query,
)
from plkd.evaluation.tables import evaluate, label_counts, overall, summarise
from plkd.io.embedding import write_embedding
from plkd.model.slide import smoothed
from plkd.prediction.table import prediction_table, read_predictions, write_predictions
from plkd.preparation.prepared import PreparedCells
from plkd.utils.tables import read_tsv
from simulated import make_cells
from trained import trained_model

REGISTRY = Path(__file__).resolve().parents[2] / "config" / "methods.tsv"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Prepared files of a small data set whose query holds a type that the reference lacks."""
    folder = tmp_path_factory.mktemp("run")
    for role, seed, types in (("reference", 0, 3), ("query", 1, 4)):
        cells = make_cells(160, 100, types, batches=[f"{role} donor"], seed=seed)
        sc.pp.normalize_total(cells, target_sum=1e4)
        sc.pp.log1p(cells)
        labels = cells.obs["cell_type"].astype(str)
        cells.obs = cells.obs[["batch"]]
        if role == "reference":
            cells.obs["label"] = pd.Categorical(labels)
        else:
            truth = pd.DataFrame({"cell_id": labels.index, "label": labels.to_numpy()})
            truth["batch"] = "query donor"
            truth.iloc[::-1].to_parquet(folder / "truth.parquet", index=False)
        cells.write_h5ad(folder / f"{role}.h5ad")
    rng = np.random.default_rng(0)
    write_embedding(
        {
            role: (
                pd.Series(ad.read_h5ad(folder / f"{role}.h5ad").obs_names),
                rng.normal(size=(160, 4)).astype(np.float32),
            )
            for role in ("reference", "query")
        },
        folder / "teacher.h5ad",
    )
    return folder


@pytest.fixture(scope="module")
def prepared(run) -> dict[str, Path]:
    return {name: run / f"{name}.h5ad" for name in ("reference", "query")} | {
        "truth": run / "truth.parquet"
    }


@pytest.fixture(scope="module")
def metrics(run, prepared) -> dict[str, Path]:
    """The tables of the evaluation of one baseline and the true labels."""
    predictions = run / "logistic_regression.parquet", run / "true_labels.parquet"
    cells = (PreparedCells.read(prepared[side]).in_memory() for side in ("reference", "query"))
    labels, probabilities = logistic_regression(*cells)
    ids = PreparedCells.read(prepared["query"]).cell_ids
    write_predictions(prediction_table(ids, labels, probabilities), predictions[0])
    true_labels.main(job(input=prepared, output={"predictions": predictions[1]}))
    names = ("metrics", "per_label", "abundance", "confusion", "confidence", "resampled", "batches")
    output = {name: run / f"{name}.tsv" for name in names}
    evaluate_script.main(
        job(
            input={**prepared, "predictions": predictions},
            params={"dataset": "small", "variant": "default", "seed": 0},
            output=output,
        )
    )
    return output


def test_tables_of_a_run(metrics):
    table = pd.read_csv(metrics["metrics"], sep="\t")
    assert list(table.columns[:4]) == ["dataset", "variant", "seed", "method"]
    assert list(table["method"]) == ["logistic_regression", "true_labels"]
    table = table.set_index("method")
    assert table.loc["true_labels", ["accuracy", "macro_f1", "auroc_unseen"]].eq(1).all()
    assert 0.8 < table.loc["logistic_regression", "accuracy"] <= 1
    assert table["n_unseen"].gt(0).all()
    assert (table["n_cells"] + table["n_unseen"]).eq(160).all()
    assert table["top95_coverage"].between(0.9, 1).all()
    batches = pd.read_csv(metrics["batches"], sep="\t").set_index("method")
    assert set(batches["batch"]) == {"query donor"}
    for name in ("n_cells", "accuracy", "macro_f1"):
        np.testing.assert_allclose(batches[name], table[name], rtol=1e-4)
    confusion = pd.read_csv(metrics["confusion"], sep="\t")
    assert confusion.groupby("method")["n"].sum().eq(160).all()
    assert len(pd.read_csv(metrics["per_label"], sep="\t")) == 6


BENCHMARKED = ("metrics", "resampled", "per_label", "batches")


def test_figures_and_benchmark_of_a_run(run, prepared, metrics):
    figures = {
        f"{name}_{suffix}": run / f"{name}.{suffix}"
        for name in ("confusion", "per_label", "confidence")
        for suffix in ("png", "pdf")
    }
    evaluate_figures.main(
        job(
            input={
                **metrics,
                "reference": prepared["reference"],
                "methods": REGISTRY,
            },
            output=figures,
        )
    )
    benchmark = {
        "annotation": run / "annotation.tsv",
        "summary": run / "annotation_summary.tsv",
        **{name: run / f"{name}.tsv" for name in ("overall", "costs", "comparison", "ranks")},
        "choice": run / "choice.tsv",
        "trust": run / "trust.tsv",
        "page": run / "benchmark.html",
        **{
            f"{name}_{suffix}": run / f"{name}.{suffix}"
            for name in ("annotation", "choice", "ranks", "f1_map")
            for suffix in ("png", "pdf")
        },
    }
    outcome = {"method": "logistic_regression", "seconds": 2.5, "version": "scikit-learn 9"}
    (run / "outcome.json").write_text(json.dumps(outcome))
    names = {"dataset": "small", "variant": "default", "seed": 0}
    benchmark_table.main(
        job(
            input={
                **{
                    name: [metrics[name]]
                    for name in ("metrics", "resampled", "per_label", "batches")
                },
                "methods": REGISTRY,
                "outcomes": [run / "outcome.json"],
                "weights": [],
            },
            params={
                "runs": [names],
                "outcomes": [{"dataset": "small", "seed": 0, "method": "logistic_regression"}],
                "steps": [],
            },
            output=benchmark,
        )
    )
    page = benchmark["page"].read_text()
    assert "Logistic regression has the highest macro F1" in page
    assert "scikit-learn 9" in page
    assert "How far the probabilities are to be believed" in page
    assert "Beside PLKD" not in page  # of one there is nothing to compare
    history = run / "history.tsv"
    epochs = {"model": ["teacher", "teacher", "student", "student"], "epoch": [1, 2, 1, 2]}
    pd.DataFrame({**epochs, "loss": [1.0, 0.5, 1.0, 0.5]}).to_csv(history, sep="\t", index=False)
    curves = {"png": run / "history.png", "pdf": run / "history.pdf"}
    plot_history.main(job(input={"history": history}, output=curves))
    for path in (*figures.values(), *benchmark.values(), *curves.values()):
        assert path.stat().st_size > 0


def make_map(run: Path, umap: Path, prepared: dict[str, Path], max_cells: int) -> None:
    task = job(
        input={
            "embedding": run / "teacher.h5ad",
            "reference": prepared["reference"],
            "query": prepared["query"],
        },
        wildcards={"seed": "0"},
        output={"teacher": umap, "pca": umap.with_stem(f"{umap.stem}_pca")},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_cells, "MAPPED_CELLS", max_cells)
        map_cells.main(task)


def draw_map(run: Path, folder: Path, prepared: dict[str, Path], max_cells: int) -> dict[str, Path]:
    """The map and its figure; gives the output of the figure."""
    make_map(run, folder / "umap.tsv", prepared, max_cells)
    output = {"metrics": folder / "embedding_metrics.tsv"} | {
        suffix: folder / f"umap.{suffix}" for suffix in ("png", "pdf")
    }
    task = job(
        input={
            **prepared,
            "embedding": run / "teacher.h5ad",
            "umap": folder / "umap.tsv",
            "umap_pca": folder / "umap_pca.tsv",
            "predictions": run / "logistic_regression.parquet",
        },
        wildcards={"seed": "0"},
        output=output,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedding_figure, "MAPPED_CELLS", max_cells)
        embedding_figure.main(task)
    assert all(path.stat().st_size > 0 for path in output.values())
    return output


def test_maps_and_scores_of_the_spaces(run, prepared, tmp_path):
    output = draw_map(run, tmp_path, prepared, 200)
    scores = pd.read_csv(output["metrics"], sep="\t").set_index(["space", "cells"])
    assert len(scores) == 4
    # The genes tell the types apart, the random embedding does not.
    assert scores.loc[("pca", "all"), "cell_type_asw"] > 0.1
    assert abs(scores.loc[("teacher", "all"), "cell_type_asw"]) < 0.1
    assert np.isnan(scores.loc[("pca", "query"), "batch_asw"])


def test_a_map_is_joined_by_cell(run, prepared, tmp_path):
    make_map(run, tmp_path / "umap.tsv", prepared, 200)
    table = read_tsv(tmp_path / "umap.tsv", UMAP_COLUMNS)
    assert len(table) == 200
    assert np.isfinite(table[["umap1", "umap2"]]).all(axis=None)
    names = {role: ad.read_h5ad(prepared[role]).obs_names for role in ("reference", "query")}
    for role, part in table.groupby("role"):
        assert part["cell_id"].isin(names[role]).all()
    backwards = list(names["query"][::-1])
    found = umap_of_query(tmp_path / "umap.tsv", backwards)
    mapped = table[table["role"] == "query"].set_index("cell_id")
    for name, place in zip(backwards, found, strict=True):
        if name in mapped.index:
            np.testing.assert_allclose(place, mapped.loc[name, ["umap1", "umap2"]].astype(float))
        else:
            assert np.isnan(place).all()
    assert np.isfinite(found).all(axis=1).sum() == len(mapped) > 50
    cells = read_cells_of_run(
        prepared["reference"], prepared["query"], pd.read_parquet(prepared["truth"])
    )
    with pytest.raises(InputError, match=r"umap\.tsv.* run the pipeline again"):
        read_umap(tmp_path / "umap.tsv", cells)


def test_the_annotated_copy_bears_the_map(run, prepared, metrics, tmp_path):
    make_map(run, tmp_path / "umap.tsv", prepared, 200)
    query = ad.read_h5ad(prepared["query"])
    genes = trained_model().genes
    more = sparse.csr_matrix((query.n_obs, len(genes) - query.n_vars), dtype=np.float32)
    query = ad.AnnData(sparse.hstack([query.X, more], format="csr"), obs=query.obs)
    query.var_names = genes
    query.obs["source_row"] = np.arange(query.n_obs)
    query.obsm["spatial"] = np.random.default_rng(0).uniform(size=(query.n_obs, 2))
    query.var["in_query"] = True
    query.uns["plkd"] = {"scale": {"description": "raw counts"}}
    query.write_h5ad(tmp_path / "query.h5ad")
    trained_model().save(tmp_path / "model")
    annotate.main(
        job(
            input={
                "model": tmp_path / "model/model.json",
                "query": tmp_path / "query.h5ad",
                "prepared": tmp_path / "query.h5ad",
                "predictions": run / "logistic_regression.parquet",
                "embedding": run / "teacher.h5ad",
                "umap": tmp_path / "umap.tsv",
            },
            params={"source": {}, "further": {"groups": "batch", "top": 2, "slide": 3}},
            wildcards={"dataset": "small", "variant": "default", "seed": "0"},
            output={
                "annotated": tmp_path / "annotated.h5ad",
                "labels": tmp_path / "labels.tsv",
            },
        )
    )
    annotated = ad.read_h5ad(tmp_path / "annotated.h5ad")
    np.testing.assert_array_equal(
        annotated.obsm["X_plkd_umap"], umap_of_query(tmp_path / "umap.tsv", query.obs_names)
    )
    probabilities = annotated.obsm["plkd_probabilities"]
    slides = query.obs["batch"].astype(str).to_numpy()
    around = smoothed(probabilities.to_numpy(), query.obsm["spatial"], slides, 3)
    names = np.asarray(annotated.uns["plkd"]["labels"], dtype=object)
    assert (annotated.obs["plkd_slide_label"] == names[around.argmax(axis=1)]).all()


def test_without_truth_the_map_bears_the_labels_of_the_student(
    run, prepared, tmp_path, metrics, monkeypatch
):
    drawn = []
    plot = embedding_figure.plot_embedding
    monkeypatch.setattr(
        embedding_figure,
        "plot_embedding",
        lambda cells, *options, **more: drawn.append(cells) or plot(cells, *options, **more),
    )
    unknown = pd.read_parquet(prepared["truth"]).assign(label=None)
    unknown.to_parquet(tmp_path / "truth.parquet")
    given = {**prepared, "truth": tmp_path / "truth.parquet"}
    output = draw_map(run, tmp_path, given, 1000)
    scores = pd.read_csv(output["metrics"], sep="\t").set_index("cells")
    assert list(scores.loc["all", "n_cells"]) == [160, 160]
    assert list(scores.loc["query", "n_cells"]) == [0, 0]
    predictions = read_predictions(run / "logistic_regression.parquet").set_index("cell_id")
    cells = drawn[0].query("role == 'query' and space == 'teacher'")
    assert list(cells["label"]) == list(predictions["label"][cells["cell_id"]])


def test_labels_of_the_query_are_found_by_cell(run, prepared):
    truth = pd.read_parquet(prepared["truth"])
    cells = read_cells_of_run(prepared["reference"], prepared["query"], truth)
    names = ad.read_h5ad(prepared["query"]).obs_names
    expected = truth.set_index("cell_id")["label"][names]
    assert list(cells.loc[cells["role"] == "query", "label"]) == list(expected)
    with pytest.raises(InputError, match="truth"):
        read_cells_of_run(prepared["reference"], prepared["query"], truth.iloc[:5])


def test_principal_components_of_a_sample_agree_with_a_dense_decomposition(run, prepared):
    cells = sample_cells(320, 60, seed=3)
    assert len(cells) == len(np.unique(cells)) == 60
    found = principal_components(prepared["reference"], prepared["query"], cells, seed=0, n=5)
    both = [ad.read_h5ad(prepared[role]).X.toarray() for role in ("reference", "query")]
    dense = np.vstack(both)[cells]
    u, s, _ = np.linalg.svd(dense - dense.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(abs(found), abs(u[:, :5] * s[:5]), atol=1e-2)


def test_an_embedding_of_other_cells_is_refused(run, prepared):
    truth = pd.read_parquet(prepared["truth"])
    cells = read_cells_of_run(prepared["reference"], prepared["query"], truth)
    with pytest.raises(InputError, match=r"teacher\.h5ad"):
        read_embedding(run / "teacher.h5ad", cells.iloc[:-1])


def test_a_method_that_could_not_run_has_a_row_without_scores():
    truth = pd.DataFrame({"cell_id": ["a", "b"], "label": ["x", "y"]})
    labels = ["x", "y"]
    tables = evaluate(
        {
            "failed": prediction_table([], labels, np.zeros((0, 2))),
            "right": prediction_table(["a", "b"], labels, np.eye(2)),
        },
        truth,
        {"x": 5, "y": 5},
    )
    metrics = tables["metrics"].set_index("method")
    assert list(metrics["n_cells"]) == [0, 2]
    assert metrics.drop(columns=["n_cells", "n_unseen"]).loc["failed"].isna().all()
    assert set(tables["per_label"]["method"]) == {"right"}
    runs = tables["metrics"].assign(dataset="d", variant="default", seed=0)
    assert list(overall(runs)["method"]) == ["right"]
    assert list(summarise(runs)["method"]) == ["right", "failed"]


def test_label_counts_need_a_prepared_reference(prepared):
    counts = label_counts(prepared["reference"])
    assert sum(counts.values()) == 160
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
    with pytest.raises(InputError, match=r"query\.h5ad"):
        label_counts(prepared["query"])


def test_summary_over_seeds():
    runs = pd.DataFrame(
        {
            "dataset": "d",
            "variant": "v",
            "seed": [0, 1, 2, 0],
            "method": ["a", "a", "a", "b"],
            "n_cells": 7,
            "macro_f1": [0.1, 0.2, 0.3, 0.9],
            "accuracy": [0.5, 0.5, 0.5, np.nan],
            "balanced_accuracy": [0.1, 0.1, 0.4, 0.3],
            "calibration_error": 0.1,
            "share_unknown": 0.0,
            "auroc_unseen": np.nan,
        }
    )
    summary = summarise(runs)
    assert list(summary["method"]) == ["b", "a"]
    assert list(summary["seeds"]) == [1, 3]
    assert list(summary["cells"]) == [7, 7]
    a = summary.set_index("method").loc["a"]
    assert a["macro_f1"] == pytest.approx(0.2)
    assert a["macro_f1_sd"] == pytest.approx(0.1)
    assert a["balanced_accuracy"] == pytest.approx(0.2)
    assert a["accuracy_sd"] == 0
    assert np.isnan(summary.set_index("method").loc["b", "macro_f1_sd"])
    assert list(summarise(runs, controls=["b"])["method"]) == ["a", "b"]


def test_overall_counts_every_data_set_the_same():
    rows = [
        ("d", "v", 0, "a", 0.1, 0.8),
        ("d", "v", 1, "a", 0.3, 0.8),
        ("d", "v", 0, "b", 0.2, 0.9),
        ("e", "v", 0, "a", 0.8, 0.5),
        ("e", "v", 1, "a", 0.8, 0.7),
        ("e", "v", 0, "b", 0.6, 0.6),
        ("e", "v", 0, "only here", 1.0, 1.0),
    ]
    columns = ["dataset", "variant", "seed", "method", "macro_f1", "accuracy"]
    table = overall(pd.DataFrame(rows, columns=columns))
    assert list(table["method"]) == ["a", "b"]
    a, b = table.iloc[0], table.iloc[1]
    assert (a["datasets"], a["seeds"], b["seeds"]) == (2, 2, 1)
    assert a["macro_f1"] == pytest.approx(0.5)
    assert a["macro_f1_sd"] == pytest.approx(np.std([0.45, 0.55], ddof=1))
    assert np.isnan(b["macro_f1_sd"])
    assert a["accuracy_least"] == pytest.approx(0.6)
    assert (a["accuracy_best"], b["accuracy_best"]) == (0, 1)
    assert (a["macro_f1_best"], b["macro_f1_best"]) == (1, 1)
