"""The cells of a batch moved onto the reference, and when they are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import softmax

import plkd
from plkd.errors import InputError
from plkd.model import cross_fitting
from plkd.model.adaptation import Adaptation, adapt, rows_to_look_at
from plkd.model.alignment import Offsets, farthest_allowed, find_offsets
from plkd.model.cross_fitting import cross_fit
from plkd.model.reference import Reference
from plkd.model.trained_model import Model, load_model
from plkd.prediction.predict import predict_cells
from plkd.settings.models import Settings
from plkd.settings.presets import resolve
from simulated import make_cells
from trained import TYPES, logged, trained_model

N_GENES = 40
MEANS = np.random.default_rng(5).gamma(2.0, 1.0, (3, N_GENES))
SHIFT = 0.45 * (MEANS[1] - MEANS[0]) + np.random.default_rng(6).normal(0, 0.3, N_GENES)
QUICK = {"min_steps": 60, "epochs": 1, "learning_rate": 0.005}


def drawn(codes: NDArray[np.intp], noise: float = 0.5) -> NDArray[np.float32]:
    around = np.random.default_rng(0).normal(0, noise, (len(codes), N_GENES))
    return (MEANS[codes] + around).astype(np.float32)


def posterior(cells: NDArray[np.float32]) -> NDArray[np.float64]:
    """Exact probabilities of the labels, but for the temperature of a model that is in doubt."""
    squares = ((cells[:, None, :] - MEANS) ** 2).sum(axis=2)
    return softmax(-squares / (2 * 0.5**2) / 4, axis=1)


def in_csr(cells: NDArray[np.float32]) -> sparse.csr_matrix:
    return sparse.csr_matrix(cells)


# ------------------------------------------------------------------------------- finding


@pytest.mark.parametrize("shares", [(1, 1, 1), (9, 1, 1), (0, 0, 1), (0, 1, 0)])
def test_a_planted_shift_is_found_whatever_the_mixture_of_labels(shares: tuple[int, ...]) -> None:
    """The shift lies mostly along the difference of two labels: one looks like the other."""
    codes = np.random.default_rng(1).choice(3, 600, p=np.array(shares) / sum(shares))
    cells = drawn(codes) + SHIFT.astype(np.float32)
    found = find_offsets(posterior, MEANS, in_csr(cells), np.full(600, "b"))
    np.testing.assert_allclose(found.values[0], SHIFT, atol=0.25)
    moved = found.moved(in_csr(cells), np.full(600, "b")).toarray()
    assert (posterior(moved).argmax(axis=1) == codes).mean() > 0.97


def test_batches_are_moved_each_by_itself() -> None:
    codes = np.arange(600) % 3
    batches = np.where(np.arange(600) < 200, "a", "b")
    cells = drawn(codes)
    cells[batches == "b"] += SHIFT.astype(np.float32)
    found = find_offsets(posterior, MEANS, in_csr(cells), batches)
    assert found.batches == ("a", "b")
    assert np.linalg.norm(found.values[0]) < 0.15 * np.linalg.norm(SHIFT)
    alone = find_offsets(posterior, MEANS, in_csr(cells[batches == "b"]), batches[200:])
    np.testing.assert_allclose(found.values[1], alone.values[0], rtol=1e-5)


@pytest.mark.parametrize("n_cells", [1, 20, 2000])
def test_few_cells_move_little(n_cells: int) -> None:
    """Without a label in doubt the offset is the mean, as if 20 cells without one were beside."""
    cells = np.full((n_cells, 4), 2.0, dtype=np.float32)

    def sure(x: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.ones((len(x), 1))

    found = find_offsets(sure, np.zeros((1, 4)), in_csr(cells), np.full(n_cells, "b"))
    np.testing.assert_allclose(found.values, 2.0 * n_cells / (n_cells + 20), rtol=1e-6)


def test_no_batch_is_moved_further_than_allowed() -> None:
    codes = np.arange(300) % 3
    cells = in_csr(drawn(codes) + 10 * SHIFT.astype(np.float32))
    found = find_offsets(posterior, MEANS, cells, np.full(300, "b"), largest=1.5)
    assert np.linalg.norm(found.values) == pytest.approx(1.5, rel=1e-5)
    assert farthest_allowed([found, Offsets(("x",), found.values / 3)]) == pytest.approx(3.0)


# ------------------------------------------------------------------------------- moving


def moving(kind: str = "student", largest: float = 50.0):
    return replace(trained_model().require(kind), largest_offset=largest)


@pytest.mark.parametrize("kind", ["student", "teacher"])
def test_a_network_sees_cells_where_they_were_moved(kind: str) -> None:
    """Expected: dense cells, from which offsets were taken before."""
    cells = logged(make_cells(50, 110, types=TYPES, seed=3))
    batches = np.array(["a", "b", "never seen"])[np.arange(50) % 3]
    values = np.random.default_rng(0).normal(0, 0.4, (2, 110)).astype(np.float32)
    network = replace(moving(kind), offsets=Offsets(("a", "b"), values))
    by_hand = cells.toarray()
    by_hand[batches == "a"] -= values[0]
    by_hand[batches == "b"] -= values[1]
    with torch.inference_mode():
        logits, embedding = network.network(torch.from_numpy(by_hand))
    expected = network.calibration.probabilities(logits).numpy()
    said = network.predict(cells, batches, batch_size=7)
    np.testing.assert_allclose(said[0], expected, atol=1e-5)
    np.testing.assert_allclose(said[1], embedding, atol=1e-4)
    np.testing.assert_allclose(network.entering(cells, batches).toarray(), by_hand, atol=1e-6)
    unmoved = replace(network, offsets=None).predict(cells)[0]
    np.testing.assert_array_equal(network.predict(cells)[0], unmoved)
    assert (said[0] != unmoved)[batches != "never seen"].any()


def test_rows_of_every_batch_are_looked_at() -> None:
    batches = np.repeat(["large", "small", "tiny"], [60_000, 3_000, 5])
    rows = rows_to_look_at(moving(), batches)
    assert (np.diff(rows) > 0).all()
    names, sizes = np.unique(batches[rows], return_counts=True)
    assert dict(zip(names, sizes, strict=True)) == {"large": 660, "small": 660, "tiny": 5}
    many = np.repeat([f"donor{i}" for i in range(100)], 1000)
    assert len(rows_to_look_at(moving(), many)) == 100 * 200


def test_a_model_that_moves_nothing_has_no_offsets() -> None:
    cells = logged(make_cells(60, 110, types=TYPES, seed=3))
    assert adapt(moving(largest=0.0), cells, np.ones(110, dtype=bool)).offsets is None


def test_what_was_seen_in_a_query_goes_through_json() -> None:
    cells = logged(make_cells(60, 110, types=TYPES, seed=3))
    batches = np.array(["ä", "b"])[np.arange(60) % 2]
    seen = adapt(moving(), cells, np.ones(110, dtype=bool), batches)
    again = Adaptation.from_dict(json.loads(json.dumps(seen.to_dict())))
    assert seen.offsets is not None
    assert again.offsets is not None
    assert again.offsets.batches == ("b", "ä")
    np.testing.assert_array_equal(again.offsets.values, seen.offsets.values)
    without = {"offsets": None, "new_variation": None}  # of arrays: test_new_variation.py
    assert replace(again, **without) == replace(seen, **without)
    assert (again.new_variation is None) == (seen.new_variation is None)


# ------------------------------------------------------------------------------- when


def reference_of(shift: float) -> Reference:
    """Four batches, each moved from one label towards another."""
    codes, batches = np.arange(360) % 3, np.arange(360) // 90
    pairs = [(0, 1), (1, 2), (2, 0), (1, 0)]
    moved = shift * np.array([MEANS[one] - MEANS[other] for one, other in pairs])
    cells = drawn(codes, noise=1.2) + moved[batches].astype(np.float32)
    names = [f"gene{i}" for i in range(N_GENES)]
    return Reference.from_names(in_csr(cells), codes.astype(str), names, batches.astype(str))


SETTINGS: Settings = resolve(
    {
        "student": {"hidden": [16]},
        "teacher_training": QUICK,
        "student_training": QUICK,
        "jury": {"folds": 3},
    }
)


def test_batches_that_differ_are_moved_and_labelled_better(monkeypatch: pytest.MonkeyPatch) -> None:
    found = cross_fit(reference_of(0.4), SETTINGS, seed=3, progress=False)
    assert found.largest_offset > 0
    assert found.describe()["largest_offset"] == found.largest_offset
    monkeypatch.setattr(cross_fitting, "_more_likely", lambda after, before: False)
    unmoved = cross_fit(reference_of(0.4), SETTINGS, seed=3, progress=False)
    assert unmoved.largest_offset == 0
    for members in ("student", "ridge"):
        moved, left = (one.members.set_index("member").loc[members] for one in (found, unmoved))
        assert moved["accuracy"] > left["accuracy"]
        assert moved["log_loss"] < left["log_loss"]


def test_batches_that_do_not_differ_are_left_where_they_are() -> None:
    found = cross_fit(reference_of(0.0), SETTINGS, seed=3, progress=False)
    assert found.largest_offset == 0


def test_cells_of_one_batch_cannot_say() -> None:
    reference = replace(reference_of(0.4), batches=None)
    assert cross_fit(reference, SETTINGS, seed=3, progress=False).largest_offset == 0


# ------------------------------------------------------------------------------- whole way


@pytest.fixture(scope="module")
def model() -> Model:
    return replace(trained_model(), teacher=moving("teacher"), student=moving())


@pytest.fixture
def query() -> ad.AnnData:
    return make_cells(300, 110, types=TYPES, batches=["x", "y"], seed=9, batch_effect=1.2)


def test_a_model_folder_knows_how_far(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert [one.largest_offset for one in again.networks.values()] == [50.0, 50.0]
    with pytest.raises(ValueError, match="largest_offset = -1"):
        moving(largest=-1.0)


def test_a_column_of_batches_helps_where_they_differ(model: Model, query: ad.AnnData) -> None:
    truth = query.obs["cell_type"].to_numpy(dtype=str)

    def accuracy(**options: str) -> float:
        table = plkd.annotate(query, model, inplace=False, progress=False, **options)
        return float((table["label"].to_numpy(dtype=str) == truth).mean())

    raw = replace(model, student=replace(moving(), largest_offset=0.0))
    before = plkd.annotate(query, raw, inplace=False, progress=False)["label"].to_numpy(dtype=str)
    assert accuracy(batch_key="batch") > (before == truth).mean() + 0.02
    plkd.annotate(query, model, batch_key="batch", progress=False)
    assert query.uns["plkd"]["moved_by"] > 0


def test_a_missing_column_is_named(model: Model, query: ad.AnnData) -> None:
    with pytest.raises(InputError, match=r"no column 'donor' with the batches .* cell_type, batch"):
        plkd.annotate(query, model, batch_key="donor", progress=False)


def test_pieces_and_files_give_the_same(model: Model, query: ad.AnnData, tmp_path: Path) -> None:
    query.write_h5ad(tmp_path / "query.h5ad")
    student = model.require("student")
    whole = predict_cells(student, query, batch_key="batch", progress=False).table
    table = plkd.annotate(tmp_path / "query.h5ad", model, batch_key="batch", progress=False)
    np.testing.assert_array_equal(whole["label"], table["label"])
    np.testing.assert_array_equal(whole["confidence"], table["confidence"])


def test_what_is_explained_is_what_was_said(model: Model, query: ad.AnnData) -> None:
    table = plkd.annotate(query, model, batch_key="batch", inplace=False, progress=False)
    cell = str(table["cell_id"].iloc[11])
    found = plkd.explain(query, model, cell=cell, batch_key="batch")
    assert found.label == table["label"].iloc[11]
    assert found.probability == pytest.approx(float(table["confidence"].iloc[11]), abs=1e-5)
    assert abs(found.attributions.error).max() < 1e-9
    entered = found.attributions.entered.toarray()
    assert (entered != found.attributions.cells.toarray()).any()
    with torch.inference_mode():
        logits = model.require("student").network.double()(torch.from_numpy(entered).double())[0]
    model.require("student").network.float()
    code = model.labels.index(found.label)
    explained = found.attributions.values.sum(dtype=np.float64) + found.attributions.base[code]
    assert explained == pytest.approx(float(logits[0, code]), abs=1e-3)
