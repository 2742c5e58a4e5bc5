"""Controls have the scores that they must have; the baseline learns; the registry is complete."""

from __future__ import annotations

import tomllib
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import exchange
import run_actinn
import run_cellcano
import run_library
import true_labels as true_labels_script
from job import job
from plkd.errors import InputError
from plkd.evaluation.baselines import (
    BASELINES,
    logistic_regression,
    majority,
    random,
    true_labels,
)
from plkd.evaluation.metrics import annotation_metrics
from plkd.evaluation.tables import evaluate
from plkd.model.linear import fit_logistic_regression
from plkd.model.reference import Reference
from plkd.model.trained_network import TrainedNetwork
from plkd.model.training import train_model
from plkd.pathways.mask import Mask
from plkd.pipeline.methods import RUNS, chosen_methods, controls_of, read_registry
from plkd.prediction.predict import predict_prepared
from plkd.prediction.table import label_names, prediction_table, read_predictions
from plkd.preparation.prepare import PreparedPaths, prepare_dataset
from plkd.preparation.prepared import PreparedCells
from plkd.settings.presets import resolve
from simulated import make_cells

REGISTRY = Path(__file__).resolve().parents[2] / "config" / "methods.tsv"
PROPORTIONS = [0.6, 0.2, 0.15, 0.05]


def prepared(n_cells: int, seed: int, **options: object) -> ad.AnnData:
    cells = make_cells(n_cells, seed=seed, **options)  # type: ignore[arg-type]
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    cells.obs["label"] = cells.obs["cell_type"]
    return cells


@pytest.fixture(scope="module")
def reference() -> ad.AnnData:
    return prepared(400, 0, proportions=PROPORTIONS)


@pytest.fixture(scope="module")
def query() -> ad.AnnData:
    cells = prepared(600, 1, proportions=PROPORTIONS, batches=["donor8"])
    cells.obs = cells.obs.drop(columns=["label"])
    return cells


def truth_of(query: ad.AnnData) -> pd.DataFrame:
    return pd.DataFrame(
        {"cell_id": query.obs_names, "label": query.obs["cell_type"].astype(str).to_numpy()}
    )


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_keeps_the_contract_and_its_seed(name, reference, query):
    before = query.copy()
    labels, probabilities = BASELINES[name](reference, query, 3)
    assert sorted(labels) == sorted(reference.obs["label"].unique())
    prediction_table(query.obs_names, labels, probabilities)
    np.testing.assert_array_equal(BASELINES[name](reference, query, 3)[1], probabilities)
    assert (query.X != before.X).nnz == 0
    pd.testing.assert_frame_equal(query.obs, before.obs)


def test_majority_gives_the_most_frequent_label_at_its_frequency(reference, query):
    table = prediction_table(query.obs_names, *majority(reference, query))
    frequencies = reference.obs["label"].value_counts(normalize=True)
    assert set(table["label"]) == {frequencies.index[0]}
    assert table["confidence"].iloc[0] == pytest.approx(frequencies.iloc[0])


def test_random_draws_with_the_frequencies_of_the_reference(reference):
    many = ad.AnnData(np.zeros((20_000, 1), dtype=np.float32))
    labels, probabilities = random(reference, many, 0)
    frequencies = reference.obs["label"].value_counts(normalize=True)
    np.testing.assert_allclose(probabilities.mean(axis=0), frequencies[labels], atol=0.02)
    assert (random(reference, many, 1)[1] != probabilities).any()


@pytest.mark.parametrize("name", sorted(set(BASELINES) - {"majority", "random"}))
def test_classifiers_find_the_planted_types(name, reference, query):
    table = prediction_table(query.obs_names, *BASELINES[name](reference, query, 0))
    metrics = annotation_metrics(table, truth_of(query), set(reference.obs["label"]))
    assert metrics["accuracy"] > 0.95


def test_logistic_regression_is_the_minimum_of_its_loss(reference, query):
    """No label's weights can be moved to raise the penalised likelihood: the gradient is zero."""
    from sklearn.linear_model import LogisticRegression

    labels = reference.obs["label"].astype(str).to_numpy()
    label_names, probabilities = logistic_regression(reference, reference)
    model = LogisticRegression(C=1.0, max_iter=1000).fit(reference.X, labels)
    truth = np.array([[float(name == label) for name in label_names] for label in labels])
    gradient = (probabilities - truth).T @ reference.X + model.coef_
    assert abs(gradient).max() < 0.05


def test_options_of_logistic_regression_are_those_of_the_library(reference, query):
    """Scaling is a change of unit; balance is the weight of a label's cells; C the penalty."""
    from sklearn.linear_model import LogisticRegression

    labels = reference.obs["label"].astype(str).to_numpy()
    deviation = reference.X.toarray().std(axis=0)
    deviation[deviation == 0] = 1
    expected = (
        LogisticRegression(max_iter=1000)
        .fit(reference.X.toarray() / deviation, labels)
        .predict_proba(query.X.toarray() / deviation)
    )
    _, found = BASELINES["logistic_regression_scaled"](reference, query, 0)
    np.testing.assert_allclose(found, expected, atol=0.01)
    counts = pd.Series(labels).map(pd.Series(labels).value_counts()).to_numpy()
    expected = (
        LogisticRegression(C=1e-3, max_iter=1000)
        .fit(reference.X, labels, sample_weight=len(labels) / (len(set(labels)) * counts))
        .predict_proba(query.X)
    )
    _, found = BASELINES["logistic_regression_ridge"](reference, query, 0)
    np.testing.assert_allclose(found, expected, atol=0.01)


@pytest.mark.parametrize("dense", [False, True])
def test_regression_on_components_is_one_regression_on_genes(dense, reference, query):
    """Expected: scikit-learn's pipeline, which projects the cells."""
    here, there = (part.X.toarray() if dense else part.X for part in (reference, query))
    codes = pd.factorize(reference.obs["label"], sort=True)[0]
    pca = PCA(20, svd_solver="arpack", random_state=0)
    expected = make_pipeline(pca, LogisticRegression(max_iter=1000)).fit(here, codes)
    model = fit_logistic_regression(here, codes, codes.max() + 1, components=20)
    np.testing.assert_allclose(model.probabilities(there), expected.predict_proba(there), atol=1e-4)


def test_nearest_neighbours_vote(query):
    """Probabilities are shares of fifteen votes."""
    reference = prepared(60, 2, types=3)
    _, probabilities = BASELINES["nearest_neighbours"](reference, query, 0)
    np.testing.assert_allclose(probabilities * 15, np.round(probabilities * 15), atol=1e-5)


@pytest.mark.parametrize("name", BASELINES)
def test_two_classes_and_one_label(name, query):
    for types in (1, 2):
        reference = prepared(60, 2, types=types)
        labels, probabilities = BASELINES[name](reference, query, 0)
        assert len(labels) == types
        assert probabilities.shape == (query.n_obs, types)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", sorted(set(BASELINES) - {"majority", "random"}))
def test_genes_that_differ_are_refused(name, reference, query):
    with pytest.raises(InputError, match="same genes"):
        BASELINES[name](reference, query[:, ::-1], 0)


def test_a_reference_without_labels_is_refused(reference, query):
    bare = reference.copy()
    bare.obs = bare.obs.drop(columns="label")
    with pytest.raises(InputError, match="label"):
        majority(bare, query)


def test_true_labels_reach_every_ceiling(reference, query):
    truth = truth_of(query)
    truth.loc[:9, "label"] = "not in the reference"
    truth.loc[10, "label"] = None
    known = sorted(set(reference.obs["label"]))
    table = prediction_table(
        truth["cell_id"], *true_labels(known, truth["label"]), unknown_threshold=1.0
    )
    metrics = annotation_metrics(table, truth, known)
    ceilings = ("accuracy", "macro_f1", "auroc_unseen", "share_unseen_unknown", "set_coverage")
    assert all(metrics[name] == 1 for name in ceilings)
    assert metrics["calibration_error"] == 0
    assert metrics["share_shared_unknown"] == 0


def test_controls_enclose_the_baseline(reference, query):
    truth = truth_of(query)
    predictions = {
        name: prediction_table(query.obs_names, *baseline(reference, query, 0))
        for name, baseline in BASELINES.items()
    }
    counts = reference.obs["label"].astype(str).value_counts().to_dict()
    tables = evaluate(predictions, truth, counts)
    accuracy = tables["metrics"].set_index("method")["accuracy"]
    assert accuracy["random"] < accuracy["majority"] < accuracy["logistic_regression"] <= 1
    assert set(tables["per_label"]["method"]) == set(BASELINES)
    assert tables["confusion"].groupby("method")["n"].sum().eq(query.n_obs).all()


def test_the_registry_lists_every_method_once():
    registry = read_registry(REGISTRY)
    assert registry.index.is_unique
    assert registry.ne("").all(axis=None)
    by_library = registry.index[registry["script"] == "run_library.py"]
    assert sorted(by_library) == sorted(BASELINES)
    assert set(registry["kind"]) == {"ours", "baseline", "rival", "control"}
    assert set(registry["runs"]) <= set(RUNS)
    assert set(registry["device"]) <= {"cpu", "gpu"}
    assert list(registry.index[registry["reads"] == "truth"]) == ["true_labels"]
    assert set(registry["sees_query"]) == {"nothing", "expression", "labels"}
    scripts = REGISTRY.parents[1] / "workflow" / "scripts" / "methods"
    named = set(registry["script"]) - {"-"}
    assert named <= {path.name for path in scripts.glob("run_*")}
    environments = tomllib.loads(
        (REGISTRY.parents[1] / "envs" / "methods" / "environments.toml").read_text()
    )
    assert set(registry["environment"]) <= {"plkd", *environments}
    assert sorted(controls_of(registry)) == ["majority", "random", "true_labels"]


@pytest.mark.parametrize("name", BASELINES)
def test_what_is_said_to_be_deterministic_does_not_look_at_the_seed(name, reference, query):
    found = [BASELINES[name](reference, query, seed)[1] for seed in (0, 1)]
    assert read_registry(REGISTRY)["deterministic"][name] == np.array_equal(*found)


# ------------------------------------------------------------------------------ prepared files


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> PreparedPaths:
    """What the stage `prepare` makes of two files; labels are numbers, as those of Leiden are."""
    folder = tmp_path_factory.mktemp("prepared")
    sources = {}
    for seed, role in enumerate(("reference", "query")):
        cells = make_cells(240, 100, types=3, seed=seed)
        cells.obs["cell_type"] = cells.obs["cell_type"].cat.rename_categories(["0", "1", "2"])
        sources[role] = folder / f"{role}.h5ad"
        cells.write_h5ad(sources[role])
    keys = {"labels_key": "cell_type", "batch_key": "batch"}
    paths = PreparedPaths.in_folder(folder / "prepared")
    config = {"name": "small", "reference": keys, "query": keys, "prepare": {"n_genes": 60}}
    prepare_dataset(config, *sources.values(), paths)
    return paths


def with_long_indices(cells: ad.AnnData) -> ad.AnnData:
    """The same cells as a file of many more would hold them."""
    matrix = cells.X.copy()
    matrix.indices = matrix.indices.astype(np.int64)
    matrix.indptr = matrix.indptr.astype(np.int64)
    return ad.AnnData(matrix, obs=cells.obs, var=cells.var)


def predict_with(method: str, files: PreparedPaths, folder: Path) -> pd.DataFrame:
    """The prediction table of a method of the library, made by its script."""
    if method == "true_labels":
        output = folder / f"{method}.parquet"
        made = job(
            input={"reference": files.reference, "truth": files.truth},
            output={"predictions": output},
        )
        true_labels_script.main(made)
        return read_predictions(output)
    script = {"actinn": run_actinn, "cellcano": run_cellcano}.get(method, run_library)
    query = exchange.Cells(files.query)
    asked = exchange.Job(
        method, exchange.Cells(files.reference), query, folder, 0, 1, "cpu", provided=None
    )
    return prediction_table(query.ids, *script.annotate(asked))


def train_ours(files: PreparedPaths) -> dict[str, TrainedNetwork]:
    cells = ad.read_h5ad(files.reference)
    reference = Reference.from_names(cells.X, cells.obs["label"], cells.var_names)
    matrix = sparse.csc_array(np.random.default_rng(0).random((cells.n_vars, 6)) < 0.5)
    tokens = [f"token {i}" for i in range(6)]
    mask = Mask(reference.genes, tokens, matrix, pd.DataFrame())
    training = {"min_steps": 120, "learning_rate": 0.005}
    settings = resolve(
        {
            "preset": "fast",
            "teacher": {"width": 16},
            "student": {"hidden": [32, 16]},
            "teacher_training": training,
            "student_training": training,
            "background_cells": 20,
        }
    )
    return dict(train_model(reference, mask, settings, progress=False).networks)


@pytest.fixture(scope="module")
def ours(files) -> dict[str, TrainedNetwork]:
    return train_ours(files)


@pytest.mark.parametrize("method", read_registry(REGISTRY).query("runs == 'library'").index)
def test_every_method_of_the_library_runs_on_prepared_files(method, files, ours, tmp_path):
    if method in ours:
        table, _ = predict_prepared(ours[method], PreparedCells.read(files.query), progress=False)
    else:
        table = predict_with(method, files, tmp_path)
    truth = pd.read_parquet(files.truth)
    assert set(label_names(table)) == {"0", "1", "2"}
    metrics = annotation_metrics(table, truth, {"0", "1", "2"})
    assert metrics["n_cells"] == len(truth)
    least = {"majority": 0.2, "random": 0.2, "true_labels": 1.0}
    assert metrics["accuracy"] >= least.get(method, 0.9)


@pytest.mark.parametrize("name", BASELINES)
def test_indices_may_have_64_bits(name, files):
    cells = [ad.read_h5ad(path) for path in (files.reference, files.query)]
    _, expected = BASELINES[name](*cells, 0)
    labels, found = BASELINES[name](*map(with_long_indices, cells), 0)
    assert labels == ["0", "1", "2"]
    np.testing.assert_array_equal(found, expected)


def test_methods_are_chosen_by_id_and_by_what_they_need():
    registry = read_registry(REGISTRY)
    assert chosen_methods(registry, ["linear_svm", "celltypist"]) == ["linear_svm", "celltypist"]
    by_pip = registry.index[registry["runs"] == "pip"]
    assert chosen_methods(registry, ["pip"]) == list(by_pip)
    everything = chosen_methods(registry, ["all", "linear_svm"])
    assert everything == list(registry.query("kind in ['baseline', 'rival']").index)
    for wrong in ("celltypst", "majority", "student"):
        with pytest.raises(InputError, match="unknown method"):
            chosen_methods(registry, [wrong])
