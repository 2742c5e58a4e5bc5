"""The jury: its members, how they are weighed, and what cross-fitting says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from plkd.errors import InputError
from plkd.model import cross_fitting
from plkd.model.cross_fitting import CrossFit, cross_fit, load_cross_fit
from plkd.model.folds import make_folds
from plkd.model.jury import Juror, Jury, shared_with_teacher, weigh
from plkd.model.linear import fit_logistic_regression
from plkd.model.reference import Reference
from plkd.model.shift import is_other_batch, measure_shift
from plkd.settings.models import Settings
from plkd.settings.presets import resolve
from simulated import make_cells
from trained import logged

N_TYPES = 4
QUICK = {"min_steps": 60, "epochs": 1, "learning_rate": 0.005}
SETTINGS = resolve(
    {
        "student": {"hidden": [16]},
        "teacher_training": QUICK,
        "student_training": QUICK,
        "jury": {"folds": 3},
    }
)


def reference_of(n_cells: int = 240, batches: object = None, seed: int = 1) -> Reference:
    cells = make_cells(n_cells, 80, types=N_TYPES, seed=seed)
    return Reference.from_names(logged(cells), cells.obs["cell_type"], cells.var_names, batches)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return reference_of()


@pytest.fixture(scope="module")
def found(reference: Reference) -> CrossFit:
    return cross_fit(reference, SETTINGS, seed=3, query=reference.cells[:200], progress=False)


# ------------------------------------------------------------------------------- linear models


@pytest.mark.parametrize("n_labels", [2, 3])
@pytest.mark.parametrize("how", [{}, {"balanced": True, "inverse_penalty": 0.01}, {"scaled": True}])
def test_a_linear_model_is_that_of_scikit_learn(n_labels: int, how: dict) -> None:
    rng = np.random.default_rng(n_labels)
    codes = rng.integers(0, n_labels, 150)
    cells = sparse.csr_matrix(rng.poisson(1.0 + codes[:, None] * rng.random(20)), dtype=np.float32)
    model = LogisticRegression(
        C=how.get("inverse_penalty", 1.0),
        class_weight="balanced" if how.get("balanced") else None,
        max_iter=1000,
    )
    expected = make_pipeline(StandardScaler(with_mean=False), model) if how.get("scaled") else model
    expected.fit(cells, codes)
    found = fit_logistic_regression(cells, codes, n_labels, **how)
    np.testing.assert_allclose(found.probabilities(cells), expected.predict_proba(cells), atol=2e-3)


def test_a_label_without_cells_gets_nothing() -> None:
    cells = np.random.default_rng(0).random((20, 5)).astype(np.float32)
    codes = np.repeat([0, 2], 10)
    probabilities = fit_logistic_regression(cells, codes, 4).probabilities(cells)
    assert probabilities[:, [1, 3]].max() < 1e-6
    np.testing.assert_allclose(
        fit_logistic_regression(cells, np.full(20, 1), 3).probabilities(cells)[:, 1], 1.0
    )


# ------------------------------------------------------------------------------- weights


def test_weights_are_the_most_likely_mixture() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.beta(2, 1, (3, 500)).clip(0.02)
    probabilities[1] *= 0.5
    importance = rng.random(500)

    def cost(free: np.ndarray) -> float:
        return -float(importance @ np.log(softmax(free) @ probabilities))

    best = softmax(minimize(cost, np.zeros(3), method="Nelder-Mead").x)
    np.testing.assert_allclose(weigh(probabilities, importance), best, atol=5e-3)


class Says(nn.Module):
    """A member that says the same of every cell."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = torch.tensor([logits])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits.repeat(len(x), 1)


def test_a_jury_gives_the_weighted_mean_of_probabilities() -> None:
    jury = Jury({"a": Juror(Says(2.0, 0.0), 2.0, 0.75), "b": Juror(Says(-1.0, 1.0), 1.0, 0.25)})
    expected = 0.75 * softmax([1.0, 0.0]) + 0.25 * softmax([-1.0, 1.0])
    np.testing.assert_allclose(torch.exp(jury(torch.zeros(3, 5)))[1], expected, atol=1e-6)


def test_the_teacher_has_a_part_of_the_weight_of_the_network(found: CrossFit) -> None:
    class Trained:
        network = nn.Linear(80, N_TYPES)

    each = 1 / len(found.jurors)
    jurors = {name: replace(one, weight=each) for name, one in found.jurors.items()}
    shared = shared_with_teacher(jurors, Trained())  # type: ignore[arg-type]
    assert sum(one.weight for one in shared.values()) == pytest.approx(1.0)
    assert shared["teacher"].weight == pytest.approx(each / 3)
    assert shared["network"].weight == pytest.approx(2 * each / 3)


# ------------------------------------------------------------------------------- folds


def test_folds_of_cells_hold_every_label_in_equal_parts(reference: Reference) -> None:
    folds = make_folds(reference, 3, seed=0)
    assert folds.by == "cell"
    parts = list(folds)
    assert sorted(np.concatenate([held for _, held in parts])) == list(range(240))
    for fit, held in parts:
        assert not set(fit) & set(held)
        sizes = np.bincount(reference.codes[held]), np.bincount(reference.codes)
        assert np.all(np.abs(sizes[0] - sizes[1] / 3) <= 1)


def test_whole_batches_are_held_out() -> None:
    batches = np.repeat([f"donor{i}" for i in range(6)], 40)
    reference = reference_of(batches=batches)
    folds = make_folds(reference, 3, seed=0)
    assert folds.by == "batch"
    assert len(np.unique(folds.of_cell)) == 3
    for batch in np.unique(batches):
        assert len(np.unique(folds.of_cell[batches == batch])) == 1


def test_batches_that_are_labels_are_no_folds(reference: Reference) -> None:
    confounded = replace(reference, batches=reference.codes)
    assert make_folds(confounded, 3, seed=0).by == "cell"
    assert make_folds(replace(reference, batches=np.zeros(240, int)), 3, seed=0).by == "cell"


# ------------------------------------------------------------------------------- cross-fitting


def test_every_cell_is_judged_by_who_has_not_seen_it(reference: Reference, found: CrossFit) -> None:
    assert list(found.rows) == list(range(240))
    students = found.members.set_index("member").loc["student"]
    assert students["accuracy"] == pytest.approx(
        (found.logits.argmax(axis=1) == reference.codes).mean()
    )
    assert students["accuracy"] > 0.8
    assert sum(one.weight for one in found.jurors.values()) == pytest.approx(1.0)
    by_label = found.labels.set_index("label")
    said = found.logits.argmax(axis=1)
    for code, label in enumerate(reference.labels):
        here = reference.codes == code
        assert by_label.loc[label, "cells"] == here.sum()
        assert by_label.loc[label, "recall"] == pytest.approx((said[here] == code).mean())
        assert by_label.loc[label, "precision"] == pytest.approx(
            (reference.codes[said == code] == code).mean()
        )
    # labels by chance: whoever had seen a cell would know its label
    rng = np.random.default_rng(0)
    by_chance = replace(reference, codes=rng.permutation(reference.codes))
    accuracy = cross_fit(by_chance, SETTINGS, progress=False).members["accuracy"]
    assert accuracy.max() < 0.45


def test_cells_whose_label_no_other_fold_has_say_nothing(reference: Reference) -> None:
    batches = (np.arange(240) % 2).astype(int)
    batches[reference.codes == 0] = 0
    found = cross_fit(replace(reference, batches=batches), SETTINGS, progress=False)
    assert found.folds.by == "batch"
    known = found.known(reference)
    np.testing.assert_array_equal(known, reference.codes != 0)


def test_a_large_reference_is_cross_fitted_on_some_cells(reference: Reference) -> None:
    jury = replace(SETTINGS.jury, max_cells=100)
    found = cross_fit(reference, replace(SETTINGS, jury=jury), progress=False)
    assert len(found.rows) == len(found.logits)
    assert 100 <= len(found.rows) <= 100 + 4 * 5
    shares = np.bincount(reference.codes[found.rows]) / 100
    np.testing.assert_allclose(shares, np.bincount(reference.codes) / 240, atol=0.05)
    few = replace(reference, codes=np.where(np.arange(240) < 3, 0, 1))
    assert set(few.some(50, 0)) >= {0, 1, 2}


def test_what_is_saved_is_read_again(reference: Reference, found: CrossFit, tmp_path: Path) -> None:
    path = tmp_path / "cross_fit.safetensors"
    found.save(path)
    again = load_cross_fit(path, reference, SETTINGS)
    assert again.describe() == found.describe()
    np.testing.assert_array_equal(again.logits, found.logits)
    x = torch.from_numpy(reference.cells[:9].toarray())
    for name, one in found.jurors.items():
        assert again.jurors[name].weight == one.weight
        assert torch.equal(again.jurors[name].member(x), one.member(x))
    other = replace(reference, genes=reference.genes[:-1])
    with pytest.raises(InputError, match=r"rule cross_fit makes it anew"):
        load_cross_fit(path, other, SETTINGS)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"rule cross_fit makes it anew"):
        load_cross_fit(path, reference, SETTINGS)


def test_the_same_seed_finds_the_same_in_any_number_of_processes(
    reference: Reference, found: CrossFit
) -> None:
    again = cross_fit(
        reference, SETTINGS, seed=3, query=reference.cells[:200], n_jobs=2, progress=False
    )
    np.testing.assert_array_equal(again.logits, found.logits)
    assert again.describe() == found.describe()


@pytest.mark.parametrize(("cores", "processes"), [(1, 1), (4, 4), (64, 4)])
def test_no_more_processes_are_started_than_there_are_fits(
    reference: Reference, cores: int, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Started(Exception):
        pass

    def start(n_jobs: int, **_: object) -> None:
        raise Started(n_jobs)

    monkeypatch.setattr(cross_fitting, "Parallel", start)
    with pytest.raises(Started) as asked:  # three folds, and all cells
        cross_fit(reference, SETTINGS, n_jobs=cores, progress=False)
    assert asked.value.args == (processes,)


# ------------------------------------------------------------------------------- shift


def test_cells_of_one_sample_are_not_told_apart(reference: Reference, found: CrossFit) -> None:
    other = reference_of(seed=2)
    shift = measure_shift(reference.cells, other.cells, reference.codes, other.codes)
    assert shift < 0.62
    moved = other.cells.copy()
    moved.data *= np.random.default_rng(0).normal(1.0, 0.4, 80)[moved.indices].clip(0.1)
    moved = sparse.csr_matrix(moved, dtype=np.float32)
    assert measure_shift(reference.cells, moved, reference.codes, other.codes) > 0.9


def test_another_composition_is_no_shift(reference: Reference) -> None:
    other = reference_of(600, seed=2)
    kept = np.r_[np.flatnonzero(other.codes == 0), np.flatnonzero(other.codes > 0)[:60]]
    few = other.take(kept)
    assert measure_shift(reference.cells, few.cells, reference.codes, few.codes) < 0.65
    nobody = np.full(600, N_TYPES)
    assert measure_shift(reference.cells, other.cells, reference.codes, nobody) == 0.5


def test_evidence_of_one_sample_counts_as_far_as_the_query_is_of_it(
    reference: Reference, found: CrossFit
) -> None:
    assert (is_other_batch(0.5), is_other_batch(0.6), is_other_batch(0.9)) == (
        0.0, pytest.approx(0.5), 1.0,
    )  # fmt: skip
    without = cross_fit(reference, SETTINGS, seed=3, progress=False)
    weights = {name: one.weight for name, one in without.jurors.items()}
    assert weights["network"] == pytest.approx(0.5)  # what is right across studies
    assert found.shift is not None
    assert without.shift is None


def test_settings_without_a_jury_are_the_presets_of_one_teacher() -> None:
    assert Settings().jury.members == "all"
    for preset in ("fast", "paper", "authors_code"):
        assert resolve({"preset": preset}).jury.members == "teacher"
    with pytest.raises(InputError, match="recombination"):
        resolve({"student_loss": {"hard_label_weight": 0.5}})
