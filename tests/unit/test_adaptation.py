"""Genes that a query lacks, and confidence for a query that says less than the reference."""

import dataclasses

import numpy as np
import pytest
from scipy import sparse

from plkd.model.adaptation import SAMPLE, Adaptation, adapt, rows_to_look_at
from plkd.model.background import Background
from plkd.model.imputation import Imputer
from plkd.model.reference import Reference
from simulated import make_cells
from trained import TYPES, logged, trained_model

N_CELLS, N_GENES, WIDTH = 600, 60, 3


def correlated_cells(seed: int = 0) -> np.ndarray:
    """Values of genes that follow three latent variables, with noise; none of them near zero."""
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(WIDTH, N_GENES)) * np.linspace(0.2, 1.0, N_GENES)
    noise = rng.normal(0, 0.3, (N_CELLS, N_GENES))
    return 10 + rng.normal(size=(N_CELLS, WIDTH)) @ loadings + noise


def reference_of(values: np.ndarray) -> Reference:
    labels = np.arange(len(values)) % 2
    genes = [f"G{i}" for i in range(values.shape[1])]
    return Reference.from_names(sparse.csr_matrix(values, dtype=np.float32), labels, genes)


def test_half_of_the_expected_value_is_filled_in() -> None:
    """Expected: of a normal distribution with the model's mean and covariance, worked out whole."""
    values = correlated_cells()
    imputer = Imputer.fit(reference_of(values), seed=0)
    measured = np.random.default_rng(1).random(N_GENES) < 0.5
    given = correlated_cells(2)[:20] * measured
    filled = imputer.fill(sparse.csr_matrix(given, dtype=np.float32), measured).toarray()
    covariance = (
        imputer.spread[:, None]
        * imputer.spread
        * (imputer.loadings @ imputer.loadings.T + imputer.noise * np.eye(N_GENES))
    )
    within, across = covariance[np.ix_(measured, measured)], covariance[np.ix_(~measured, measured)]
    off = given[:, measured] - imputer.mean[measured]
    expected = imputer.mean[~measured] + off @ np.linalg.solve(within, across.T)
    np.testing.assert_allclose(filled[:, ~measured], expected / 2, rtol=1e-3)
    np.testing.assert_array_equal(filled[:, measured], given[:, measured].astype(np.float32))


def test_what_goes_together_is_found() -> None:
    """The guess is close to the truth that was hidden, where genes follow the others."""
    imputer = Imputer.fit(reference_of(correlated_cells()), seed=0)
    measured = np.arange(N_GENES) % 3 > 0
    whole = correlated_cells(0)[:200]
    filled = imputer.fill(sparse.csr_matrix(whole * measured, dtype=np.float32), measured)
    guess, truth = 2 * filled.toarray()[:, ~measured], whole[:, ~measured]
    error = np.sqrt(((guess - truth) ** 2).mean())
    assert error < 0.5 * truth.std(axis=0).mean()


@pytest.mark.parametrize("n_cells", [1, 2, 5])
def test_few_cells_teach_little_but_do_no_harm(n_cells: int) -> None:
    values = np.vstack([correlated_cells()[:n_cells], correlated_cells()[:1] + 1])
    imputer = Imputer.fit(reference_of(values), seed=0)
    measured = np.arange(N_GENES) < 20
    filled = imputer.fill(sparse.csr_matrix(values * measured, dtype=np.float32), measured)
    assert np.isfinite(filled.data).all()
    assert (filled.data >= 0).all()


def test_nothing_to_fill_leaves_cells_as_they_are() -> None:
    imputer = Imputer.fit(reference_of(correlated_cells()), seed=0)
    cells = sparse.csr_matrix(correlated_cells()[:3], dtype=np.float32)
    assert imputer.fill(cells, np.ones(N_GENES, dtype=bool)) is cells
    assert imputer.fill(cells[:0], np.zeros(N_GENES, dtype=bool)).shape == (0, N_GENES)


# ------------------------------------------------------------------------------- confidence


def student(**changes):
    return dataclasses.replace(trained_model().require("student"), **changes)


def query(depth: float = 1.0):
    """Cells like those that the model was trained on, at a share of their counts."""
    cells = make_cells(400, 110, types=TYPES, seed=7)
    seen = np.random.default_rng(0).binomial(cells.X.toarray().astype(int), depth)
    cells.X = sparse.csr_matrix(seen.astype(np.float32))
    return cells[seen.sum(axis=1) > 0].copy()


ALL = np.ones(110, dtype=bool)


@pytest.mark.parametrize("depth", [0.1, 0.3])
def test_the_depth_of_a_query_is_seen(depth: float) -> None:
    found = adapt(student(), logged(query(depth)), ALL)
    assert found.depth == pytest.approx(depth, rel=0.2)
    assert found.temperature > 1


def test_cells_like_the_reference_change_nothing() -> None:
    found = adapt(student(), logged(query()), ALL)
    assert found.depth > 0.9
    assert found.temperature == pytest.approx(1.0, abs=0.03)


def test_confidence_follows_the_accuracy_of_shallow_cells() -> None:
    cells = query(0.05)
    network, x = student(), logged(cells)
    right = np.asarray(network.labels)[network.predict(x)[0].argmax(axis=1)] == cells.obs[
        "cell_type"
    ].to_numpy(dtype=str)
    before = network.predict(x)[0].max(axis=1).mean() - right.mean()
    after = adapt(network, x, ALL).of(network).predict(x)[0].max(axis=1).mean() - right.mean()
    assert abs(after) < abs(before)


def test_genes_that_are_missing_lower_confidence_and_change_no_label() -> None:
    network = student()
    measured = np.random.default_rng(3).random(110) < 0.2
    x = network.filled(
        sparse.csr_matrix(logged(query()).toarray() * measured, dtype=np.float32), measured
    )
    found = adapt(network, x, measured)
    assert found.temperature > 1.1
    lowered = found.of(network).predict(x)[0]
    plain = network.predict(x)[0]
    assert (lowered.argmax(axis=1) == plain.argmax(axis=1)).all()
    assert (lowered.max(axis=1) <= plain.max(axis=1) + 1e-6).all()


def test_a_model_that_keeps_no_cells_cannot_see() -> None:
    network = student()
    settings = dataclasses.replace(network.settings, background_cells=0)
    for blind in (student(background=None), student(settings=settings)):
        found = adapt(blind, logged(query(0.1)), ALL)
        assert (found.depth, found.temperature) == (1.0, 1.0)
    assert adapt(network, logged(query())[:0], ALL) == Adaptation()


@pytest.mark.parametrize("n_cells", [0, 1, SAMPLE, SAMPLE + 1, 1_000_003])
def test_rows_that_are_looked_at(n_cells: int) -> None:
    rows = rows_to_look_at(student(), np.full(n_cells, ""))
    assert len(rows) == min(n_cells, SAMPLE)
    assert (np.diff(rows) > 0).all()
    if n_cells:
        assert (rows[0], rows[-1]) == (0, n_cells - 1)


# ------------------------------------------------------------------------------- prediction sets


@pytest.mark.parametrize("depth", [1.0, 0.02])
def test_sets_grow_where_the_network_is_less_sure_than_it_was(depth: float) -> None:
    """Expected: every threshold tried, until sets hold 95 % of the probability."""
    network = student()
    calibration = dataclasses.replace(network.calibration, conformal_threshold=0.2)
    network = dataclasses.replace(network, calibration=calibration)
    x = logged(query(depth))
    adapted = adapt(network, x, ALL).of(network)
    said = adapted.predict(x)[0].astype(float)

    def held(threshold: float) -> float:
        inside = said >= 1 - threshold
        inside[np.arange(len(said)), said.argmax(axis=1)] = True
        return float((said * inside).sum(axis=1).mean())

    tried = np.linspace(0, 1, 10_001)
    least = tried[np.argmax([held(one) >= 0.95 for one in tried])]
    assert adapted.calibration.conformal_threshold == pytest.approx(max(least, 0.2), abs=1e-3)
    if depth < 1:
        assert least > 0.2  # or the test says nothing


def test_sets_never_shrink() -> None:
    network = student()
    calibration = dataclasses.replace(network.calibration, conformal_threshold=0.999)
    network = dataclasses.replace(network, calibration=calibration)
    adapted = adapt(network, logged(query()), ALL).of(network)
    assert adapted.calibration.conformal_threshold == 0.999


# ------------------------------------------------------------------------------- unknown cells


def flagged(network, x) -> float:
    """Share of cells that the score of unknown cells flags, without their doubt."""
    new = network.new_variation is not None
    doubt = np.zeros(x.shape[0])
    score = network.novelty.scores(network.surprise(x), doubt, new_directions=new)
    return float((score > network.unknown_above).mean())


def shifted(x: sparse.csr_matrix) -> sparse.csr_matrix:
    """As another study might see the cells: every gene moved by a little, in all cells alike."""
    shift = np.random.default_rng(5).normal(0, 1.0, x.shape[1])
    moved = np.maximum(x.toarray() + shift * (x.toarray() > 0), 0)
    return sparse.csr_matrix(moved, dtype=np.float32)


def test_cells_of_another_study_are_not_unknown_as_a_whole() -> None:
    """The reference has one batch, so the limit moves out; new types are found beyond it."""
    network = student()
    assert network.novelty.of_one_batch
    cells = make_cells(500, 110, types=6, seed=9)
    known = cells.obs["cell_type"].isin(network.labels).to_numpy()
    x = shifted(logged(cells))
    found = adapt(network, x, ALL)
    assert found.distance > 1.1
    assert flagged(network, x[known]) > 0.2
    assert flagged(found.of(network), x[known]) < 0.12
    assert flagged(found.of(network), x[~known]) > 0.5


def test_a_reference_of_several_batches_knows_how_far_out_another_one_lies() -> None:
    novelty = dataclasses.replace(student().novelty, of_one_batch=False)
    found = adapt(student(novelty=novelty, background=None), shifted(logged(query())), ALL)
    assert found.distance == 1.0


def test_a_query_of_something_else_stays_unknown() -> None:
    """However far out all of its cells lie, the limit moves by half at most."""
    network = student()
    strange = sparse.csr_matrix(np.random.default_rng(0).random((200, 110)) * 5, dtype=np.float32)
    found = adapt(network, strange, ALL)
    assert found.distance == 1.5
    assert flagged(found.of(network), strange) > 0.8


def test_shallow_cells_are_not_unknown_for_being_shallow() -> None:
    novelty = dataclasses.replace(student().novelty, of_one_batch=False)
    network, x = student(novelty=novelty), logged(query(0.05))
    found = adapt(network, x, ALL)
    assert flagged(network, x) > 0.3
    assert flagged(found.of(network), x) < 0.15


def test_genes_are_filled_in_as_other_cells_have_them() -> None:
    """Those that are kept show what it is worth, so it was not learnt from them."""
    reference = reference_of(correlated_cells())
    background = Background.sample(reference, 40, seed=0)
    others = np.setdiff1d(np.arange(N_CELLS), reference.evenly(40, 0))
    expected = Imputer.fit(reference.take(others), seed=0)
    np.testing.assert_array_equal(background.imputer.mean, expected.mean)
    # of few cells all are needed
    few = reference.take(np.arange(60))
    whole = Imputer.fit(few, seed=0)
    np.testing.assert_array_equal(Background.sample(few, 40, seed=0).imputer.mean, whole.mean)
