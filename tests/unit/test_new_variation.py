"""What a query's cells do that the reference's do not, and what it says of unknown cells."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

from plkd.model.adaptation import adapt
from plkd.model.new_variation import NewVariation, find_new_variation
from plkd.model.novelty import Novelty, fit_novelty, surprise_of
from plkd.model.reference import Reference
from simulated import MARKERS, make_cells
from trained import logged, trained_model

N_GENES = 200
NEW = "B cell"
KNOWN = tuple(name for name in MARKERS if name != NEW)


def reference_of(n_cells: int = 900, seed: int = 1, types: tuple[str, ...] = KNOWN) -> Reference:
    cells = make_cells(n_cells, N_GENES, types=types, seed=seed, effect=6.0)
    return Reference.from_names(logged(cells), cells.obs["cell_type"], cells.var_names)


def novelty_of(reference: Reference, *, of_one_batch: bool = False) -> Novelty:
    fold = np.random.default_rng(0).permutation(len(reference.codes)) % 3
    folds = [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(3)]
    doubt = np.random.default_rng(3).gamma(1.0, 0.1, len(fold))
    found = fit_novelty(reference, folds, doubt, of_one_batch=of_one_batch)
    assert found is not None
    return found


def query_of(
    n_cells: int = 800, types: tuple[str, ...] = KNOWN, seed: int = 9, batches: int | list[str] = 2
) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Cells, and which of them are of the new type."""
    cells = make_cells(n_cells, N_GENES, types=types, seed=seed, effect=6.0, batches=batches)
    return logged(cells), (cells.obs["cell_type"] == NEW).to_numpy()


@pytest.fixture(scope="module")
def reference() -> Reference:
    return reference_of()


@pytest.fixture(scope="module")
def novelty(reference: Reference) -> Novelty:
    return novelty_of(reference)


@pytest.fixture(scope="module")
def with_new() -> tuple[sparse.csr_matrix, np.ndarray]:
    return query_of(types=(*KNOWN, NEW))


@pytest.fixture(scope="module")
def variation(novelty: Novelty, with_new: tuple[sparse.csr_matrix, np.ndarray]) -> NewVariation:
    found = find_new_variation(novelty, with_new[0])
    assert found is not None
    return found


def test_the_markers_of_a_type_that_the_reference_lacks_lead(
    variation: NewVariation, reference: Reference
) -> None:
    leading = {reference.genes[i] for i in variation.leading}
    assert len(leading & set(MARKERS[NEW])) >= 4, leading


def test_cells_of_such_a_type_are_found_that_distance_misses(
    variation: NewVariation, novelty: Novelty, with_new: tuple[sparse.csr_matrix, np.ndarray]
) -> None:
    cells, is_new = with_new
    by_distance = roc_auc_score(is_new, novelty.surprise(cells))
    with_directions = roc_auc_score(is_new, variation.surprise(novelty, cells))
    assert with_directions > 0.99
    assert with_directions > by_distance + 0.02
    score = novelty.scores(
        variation.surprise(novelty, cells), np.zeros(len(is_new)), new_directions=True
    )
    assert (score[is_new] > 0.95).mean() > 0.9
    assert (score[~is_new] > 0.95).mean() < 0.08


@pytest.mark.parametrize("n_cells", [60, 300, 2000])
def test_a_query_like_the_reference_varies_as_it_does(novelty: Novelty, n_cells: int) -> None:
    """Noise is no new direction, however few the cells."""
    queries = (query_of(n_cells, seed=20 + seed)[0] for seed in range(20))
    found = [find_new_variation(novelty, cells) for cells in queries]
    assert sum(one is not None for one in found) <= 1


def test_a_twentieth_of_the_cells_may_be_new(novelty: Novelty) -> None:
    """A small group shows, where a direction is taken for more than chance."""
    cells, is_new = query_of(1500, types=(*KNOWN, NEW), seed=3)
    few = np.concatenate([np.flatnonzero(~is_new), np.flatnonzero(is_new)[:60]])
    found = find_new_variation(novelty, cells[np.sort(few)])
    assert found is not None


def test_a_batch_that_lies_off_as_a_whole_is_not_of_another_type(novelty: Novelty) -> None:
    cells, _ = query_of(1500, seed=5, batches=["another", "one more"])
    shift = np.abs(np.random.default_rng(0).normal(0, 0.5, N_GENES)).astype(np.float32)
    moved = sparse.csr_matrix(cells.toarray() + shift)
    found = find_new_variation(novelty, moved)
    assert found is not None
    doubt = np.random.default_rng(1).gamma(1.0, 0.1, 1500)
    by_distance = novelty.scores(novelty.surprise(moved), doubt)
    score = novelty.scores(found.surprise(novelty, moved), doubt, new_directions=True)
    assert (score > 0.95).mean() < (by_distance > 0.95).mean() + 0.05


def test_a_reference_of_one_batch_is_more_careful(reference: Reference) -> None:
    """It does not know how far out another study lies."""
    one, many = novelty_of(reference, of_one_batch=True), novelty_of(reference)
    surprise, doubt = np.linspace(0, 30, 50), np.zeros(50)
    careful = one.scores(surprise, doubt, new_directions=True)
    assert (careful <= many.scores(surprise, doubt, new_directions=True)).all()
    assert careful[-1] > 0.95
    # without new directions nothing changes
    np.testing.assert_array_equal(one.scores(surprise, doubt), many.scores(surprise, doubt))


def test_scores_are_those_of_two_surprises_together(novelty: Novelty) -> None:
    """Against held-out cells to whose surprise that of any other cell is added, by chance."""
    rng = np.random.default_rng(0)
    draws = rng.choice(novelty.surprises, 400_000) + rng.exponential(size=400_000)
    surprise = np.array([0.0, 0.5, 1.0, 2.0, 4.0, 6.0, 8.0])
    found = novelty.scores(surprise, np.zeros(7), new_directions=True)
    none = surprise_of(novelty.doubts, np.zeros(7))  # of no doubt: close to nothing
    expected = [(draws < value).mean() for value in surprise + 0.25 * none]
    np.testing.assert_allclose(found, expected, atol=0.004)


def test_surprise_is_that_of_distance_directions_and_groups(
    variation: NewVariation, novelty: Novelty, with_new: tuple[sparse.csr_matrix, np.ndarray]
) -> None:
    """Worked out cell by cell."""
    cells = with_new[0][:40]
    near = (cells.toarray() @ novelty.components - novelty.centre)[:, : novelty.cells.shape[1]]
    along = cells.toarray() @ variation.axes - variation.origin
    apart = cdist(np.hstack([near, along]), variation.centres) ** 2
    expected = novelty.surprise(cells)
    expected += surprise_of(variation.lengths, np.sqrt((along**2).sum(axis=1)))
    for i, squares in enumerate(apart):
        nearest = np.argsort(squares)[:3]
        weights = 1 / squares[nearest]
        around = (variation.surprises[nearest] * weights).sum() / weights.sum()
        expected[i] = (expected[i] + around) / 2
    np.testing.assert_allclose(variation.surprise(novelty, cells), expected, rtol=1e-3, atol=1e-3)


def test_directions_are_new(variation: NewVariation, novelty: Novelty) -> None:
    """At right angles to what varies in the reference, in units of the genes' spread."""
    assert novelty.spread is not None
    axes = variation.axes * novelty.spread[:, None]
    explained = novelty.components * novelty.spread[:, None]
    np.testing.assert_allclose(axes.T @ axes, np.eye(axes.shape[1]), atol=1e-3)
    np.testing.assert_allclose(explained.T @ axes, 0, atol=1e-3)


def test_it_survives_json(variation: NewVariation) -> None:
    again = NewVariation.from_dict(json.loads(json.dumps(variation.to_dict())))
    for field in dataclasses.fields(NewVariation):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(variation, field.name))


@pytest.mark.parametrize("n_cells", [0, 1, 49])
def test_of_few_cells_nothing_is_said(novelty: Novelty, n_cells: int) -> None:
    cells, _ = query_of(60, types=(*KNOWN, NEW))
    assert find_new_variation(novelty, cells[:n_cells]) is None


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_cells_that_are_all_the_same(novelty: Novelty, value: float) -> None:
    cells = sparse.csr_matrix(np.full((100, N_GENES), value, dtype=np.float32))
    assert find_new_variation(novelty, cells) is None


def test_a_model_of_before_keeps_no_such_cells(novelty: Novelty) -> None:
    older = dataclasses.replace(novelty, known=None)
    assert find_new_variation(older, query_of(types=(*KNOWN, NEW))[0]) is None


def test_adapted_models_look_for_new_directions() -> None:
    """Unless they keep no cell of their reference; the network that was given is as it was."""
    student = trained_model().require("student")
    cells = logged(make_cells(600, 110, types=6, seed=4))
    measured = np.ones(110, dtype=bool)
    found = adapt(student, cells, measured)
    assert found.new_variation is not None
    assert student.new_variation is None
    adapted = found.of(student)
    assert adapted.novelty is not None
    np.testing.assert_array_equal(
        adapted.surprise(cells), found.new_variation.surprise(adapted.novelty, cells)
    )
    assert student.novelty is not None
    without = dataclasses.replace(student, novelty=dataclasses.replace(student.novelty, known=None))
    assert adapt(without, cells, measured).new_variation is None


@pytest.mark.parametrize(("background_cells", "kept"), [(0, 0), (10, 50)])
def test_as_many_cells_are_kept_as_the_settings_allow(background_cells: int, kept: int) -> None:
    model = trained_model(background_cells=background_cells)
    novelty = model.require("student").novelty
    assert novelty is not None
    assert (0 if novelty.known is None else novelty.known.shape[0]) == kept
