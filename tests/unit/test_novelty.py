"""Unknown cells: how far from the reference, how much doubt, and what a score of both means."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist, pdist
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

import plkd
from plkd.model import novelty as module
from plkd.model.novelty import BETWEEN, FAR, Novelty, fit_novelty, share_above
from plkd.model.reference import Reference
from plkd.prediction.predict import predictions_of
from simulated import MARKERS, make_cells
from trained import logged, trained_model

TYPES = tuple(MARKERS)[:4]
N_GENES = 110


def reference_of(n_cells: int = 400, seed: int = 1) -> Reference:
    cells = make_cells(n_cells, N_GENES, types=TYPES, seed=seed)
    return Reference.from_names(logged(cells), cells.obs["cell_type"], cells.var_names)


def in_folds(n_cells: int, n_folds: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    fold = np.random.default_rng(0).permutation(n_cells) % n_folds
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(n_folds)]


@pytest.fixture(scope="module")
def reference() -> Reference:
    return reference_of()


@pytest.fixture(scope="module")
def doubt() -> np.ndarray:
    return np.random.default_rng(3).gamma(1.0, 0.1, 400)


@pytest.fixture(scope="module")
def novelty(reference: Reference, doubt: np.ndarray) -> Novelty:
    found = fit_novelty(reference, in_folds(400), doubt)
    assert found is not None
    return found


# ------------------------------------------------------------------------------ shares and tails


def test_within_the_reference_a_share_is_counted() -> None:
    reference = np.sort(np.random.default_rng(0).normal(size=1000))
    values = np.linspace(-4, 1.5, 50)
    expected = [(np.sum(reference >= value) + 1) / 1001 for value in values]
    np.testing.assert_allclose(share_above(reference, values), expected)


def test_above_the_reference_shares_fall_as_its_tail_does() -> None:
    reference = np.sort(np.random.default_rng(0).exponential(2.0, 20_000))
    values = np.array([8.0, 12.0, 16.0, 30.0, 60.0])
    found = share_above(reference, values)
    np.testing.assert_allclose(np.log(found), -values / 2.0, rtol=0.06)
    assert (np.diff(found) < 0).all()
    assert share_above(reference, np.array([1e9]))[0] > 0


def test_equal_values_have_a_share_too() -> None:
    found = share_above(np.full(30, 2.0), np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(found, [1.0, 1.0, 1 / 31])


# ------------------------------------------------------------------------------------- distances


def test_distances_are_those_to_the_nearest_remembered_cells(novelty: Novelty) -> None:
    query = logged(make_cells(50, N_GENES, types=5, seed=2))
    places = (query.toarray() @ novelty.components - novelty.centre)[:, :8]
    expected = np.sort(cdist(places, novelty.cells), axis=1)[:, novelty.neighbours - 1]
    np.testing.assert_allclose(novelty.distance(query), expected, rtol=1e-4)
    parts = [novelty.distance(query[start : start + 7]) for start in range(0, 50, 7)]
    np.testing.assert_allclose(np.concatenate(parts), novelty.distance(query), rtol=1e-5)


def dense_space(reference: Reference) -> Callable[[Reference], np.ndarray]:
    """Principal components, by scikit-learn, of labels with as many cells each."""
    cells, codes = reference.cells.toarray(), reference.codes
    means = np.array([cells[codes == label].mean(axis=0) for label in range(4)])
    spread = np.sqrt(((cells - means[codes]) ** 2).mean(axis=0)) + 0.3
    fitted = PCA(8, svd_solver="full").fit(cells / spread)
    return lambda of: fitted.transform(of.cells.toarray() / spread)


@pytest.fixture(scope="module")
def balanced() -> Reference:
    """Sixty cells of every label, one label after the other."""
    reference = reference_of()
    rows = [np.flatnonzero(reference.codes == label)[:60] for label in range(4)]
    return reference.take(np.concatenate(rows))


def test_the_space_is_that_of_principal_components_in_units_of_the_spread(
    balanced: Reference,
) -> None:
    found = fit_novelty(balanced, in_folds(240), np.zeros(240))
    expected = dense_space(balanced)(balanced)
    np.testing.assert_allclose(pdist(found.cells), pdist(expected), rtol=1e-3)
    np.testing.assert_allclose(found.cells.mean(axis=0), 0, atol=1e-3)


def test_held_out_cells_are_to_the_other_folds_what_a_query_is_to_all(balanced: Reference) -> None:
    doubt = np.random.default_rng(3).random(240)
    fold = np.arange(240) % 3
    pairs = [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(3)]
    found = fit_novelty(balanced, pairs, doubt)
    expected = []
    for fit, held_out in pairs:
        place = dense_space(balanced.take(fit))
        distances = cdist(place(balanced.take(held_out)), place(balanced.take(fit)))
        expected.append(np.sort(distances, axis=1)[:, 3])
    assert found.neighbours == 6  # of all cells, of two thirds of them 4
    np.testing.assert_allclose(found.distances, np.sort(np.concatenate(expected)), rtol=1e-3)
    np.testing.assert_allclose(found.doubts, np.sort(doubt), rtol=1e-6)


def test_cells_without_doubt_do_not_count(reference: Reference, doubt: np.ndarray) -> None:
    some = np.where(np.arange(400) < 300, doubt, np.nan)
    found = fit_novelty(reference, in_folds(400), some)
    assert len(found.distances) == len(found.doubts) == len(found.surprises) == 300
    few = np.where(np.arange(400) < 19, doubt, np.nan)
    assert fit_novelty(reference, in_folds(400), few) is None


def test_of_many_cells_some_are_remembered(
    reference: Reference, doubt: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CELLS", 100)
    found = fit_novelty(reference, in_folds(400), doubt)
    assert 100 <= len(found.cells) <= 100 + 4 * 5  # of every label a few
    assert len(found.distances) == 400


def test_the_least_that_can_be_remembered() -> None:
    cells = sparse.csr_matrix(np.random.default_rng(0).random((24, 2)), dtype=np.float32)
    reference = Reference(cells, np.arange(24) % 2, ["a", "b"], ["x", "y"])
    found = fit_novelty(reference, in_folds(24), np.zeros(24))
    assert found.cells.shape == (24, 1)
    assert np.isfinite(found.distance(cells)).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_cells_that_are_all_the_same(value: float) -> None:
    cells = sparse.csr_matrix(np.full((40, 5), value), dtype=np.float32)
    found = fit_novelty(
        Reference(cells, np.arange(40) % 2, list("abcde"), ["x", "y"]), in_folds(40), np.zeros(40)
    )
    np.testing.assert_allclose(found.distance(cells), 0, atol=1e-5)
    assert (found.scores(found.surprise(cells), np.zeros(40)) <= 0.95).all()


# ---------------------------------------------------------------------------------------- scores


def test_a_score_is_the_share_of_held_out_cells_that_are_less_odd(novelty: Novelty) -> None:
    rng = np.random.default_rng(5)
    surprise, doubt = rng.exponential(1.0, 500), rng.gamma(1.0, 0.1, 500)
    score = novelty.scores(surprise, doubt)
    assert score.dtype == np.float32
    assert ((score >= 0) & (score <= 1)).all()
    for further, more in ((surprise + 0.5, doubt), (surprise, doubt + 0.2)):
        assert (novelty.scores(further, more) >= score).all()
    far = novelty.is_far(np.array([20.0, 0.0]), np.array([0.0, 1e3]))
    assert list(far) == [True, False]


def test_cells_like_the_reference_are_flagged_at_the_nominal_share() -> None:
    """And cells of types that it lacks nearly all."""
    reference = reference_of(1500)
    rng = np.random.default_rng(0)
    novelty = fit_novelty(reference, in_folds(1500), rng.gamma(1.0, 0.1, 1500))
    cells = make_cells(3000, N_GENES, types=6, seed=9)
    known = cells.obs["cell_type"].isin(TYPES).to_numpy()
    score = novelty.scores(novelty.surprise(logged(cells)), rng.gamma(1.0, 0.1, 3000))
    assert (score[known] > 0.95).mean() == pytest.approx(0.05, abs=0.02)
    assert (score[~known] > 0.95).mean() > 0.8
    assert roc_auc_score(~known, score) > 0.95


# ------------------------------------------------------------------------------ in a trained model


def test_a_student_finds_unknown_cells_and_says_why() -> None:
    student = trained_model().require("student")
    assert student.novelty is not None
    assert trained_model().require("teacher").novelty is None
    query = logged(make_cells(300, N_GENES, types=6, seed=4))
    probabilities, _ = student.predict(query)
    names = [str(i) for i in range(300)]
    table = predictions_of(student, names, probabilities, student.surprise(query))
    score, reason = table["unknown_score"].to_numpy(), table["reason"].to_numpy()
    np.testing.assert_array_equal(table["unknown"], score > 1 - student.calibration.alpha)
    assert set(reason) == {"", FAR, BETWEEN}
    np.testing.assert_array_equal(table["unknown"], reason != "")
    far = student.novelty.is_far(student.surprise(query), table["entropy"])
    np.testing.assert_array_equal(reason[table["unknown"]] == FAR, far[table["unknown"]])


def test_without_novelty_confidence_decides() -> None:
    student = dataclasses.replace(trained_model().require("student"), novelty=None)
    query = logged(make_cells(100, N_GENES, types=6, seed=4))
    probabilities, _ = student.predict(query)
    table = predictions_of(student, list(map(str, range(100))), probabilities, None)
    threshold = student.calibration.unknown_threshold
    np.testing.assert_array_equal(table["unknown"], table["confidence"] < np.float32(threshold))
    np.testing.assert_allclose(table["unknown_score"], 1 - table["confidence"], rtol=1e-6)
    assert student.unknown_above == pytest.approx(1 - threshold)


@pytest.mark.real_data
def test_types_that_the_sorted_blood_cells_lack_are_found_in_pbmc_3k(real_data: Path) -> None:
    """Dendritic cells, FCGR3A monocytes and megakaryocytes, from another study."""
    cells = ad.read_h5ad(real_data / "pbmc_two_studies.h5ad")
    is_reference = (cells.obs["batch"] == "Zheng2017").to_numpy()
    query = cells[~is_reference].copy()
    model = plkd.train(
        cells[is_reference].copy(),
        "cell_type",
        query=query,
        preset="fast",
        overrides={"teacher_training": {"min_steps": 20, "epochs": 1}},
        progress=False,
    )
    annotated = plkd.annotate(query, model, copy=True, progress=False)
    unseen = ~annotated.obs["cell_type"].isin(model.labels).to_numpy()
    score = annotated.obs["plkd_unknown_score"].to_numpy()
    assert unseen.sum() == 208
    assert roc_auc_score(unseen, score) > 0.94
    assert (score[unseen] > np.quantile(score[~unseen], 0.95)).mean() > 0.65
    assert set(annotated.obs.loc[unseen, "plkd_reason"]) >= {FAR}
    assert (annotated.obs.loc[unseen, "plkd_label_or_unassigned"] == "unassigned").mean() > 0.65
    # more than alpha: monocytes of another study differ from the few that were sorted
    assert annotated.obs.loc[~unseen, "plkd_unknown"].mean() < 0.15


@pytest.mark.parametrize(
    "wrong",
    [
        {"centre": np.zeros(3, np.float32)},
        {"spread": np.zeros(3, np.float32)},
        {"cells": np.zeros((5, 3), np.float32)},
        {"neighbours": 0},
        {"neighbours": 401},
        {"doubts": np.zeros(2, np.float32)},
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(novelty: Novelty, wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"components|neighbour|distances"):
        dataclasses.replace(novelty, **wrong)
