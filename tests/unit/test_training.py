"""Training on cells with planted types: it learns, repeats itself and goes on after a break."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from plkd.errors import InputError
from plkd.model import loop
from plkd.model.distillation import distil
from plkd.model.gene_weights import separation
from plkd.model.jury import NetworkMember
from plkd.model.loop import TrainingDiverged
from plkd.model.reference import Reference, split_validation
from plkd.model.trained_model import Model, load_model
from plkd.model.trained_network import TrainedNetwork
from plkd.model.training import train_model, train_student, train_teacher
from plkd.pathways.mask import Mask
from plkd.settings.models import Settings
from plkd.settings.presets import PRESETS, resolve
from simulated import HOUSEKEEPING, MARKERS, make_cells

QUICK = {
    "epochs": 4,
    "batch_size": 32,
    "learning_rate": 0.01,
    "gene_dropout": 0.1,
    "min_steps": 0,
}
# What makes the default preset robust makes it slow to learn from a few cells.
_LEARNS_FAST = {
    "epochs": 6, "min_steps": 0, "sampling": "natural", "gene_dropout": 0.0, "input_noise": 0.0,
}  # fmt: skip
FAST: dict[str, Any] = {
    "preset": "fast",
    "teacher": {"mlp_ratio": 4.0},
    "teacher_training": _LEARNS_FAST,
    "student": {"dropout": 0.1},
    "student_training": _LEARNS_FAST,
    "student_loss": {"temperature": 3.0, "teacher_sees": "whole_cell", "hard_label_weight": 0.0},
    "gene_weights": "equal",
}


def fast(overrides: dict[str, Any]) -> Settings:
    """The default preset, but fast to learn, with some settings of one's own."""
    joined = FAST | overrides
    for section in FAST.keys() & overrides.keys() - {"gene_weights", "preset"}:
        joined[section] = FAST[section] | overrides[section]
    return resolve(joined)


# Every source of randomness is on, and both kinds of optimiser state are kept.
SETTINGS = fast(
    {
        "teacher": {
            "width": 16,
            "token_dropout": 0.1,
            "attention_dropout": 0.1,
            "drop_path": 0.1,
            "depth": 2,
        },
        "teacher_training": {**QUICK, "optimiser": "sgd", "sampling": "balanced"},
        "student": {"hidden": [32]},
        "student_training": {**QUICK, "optimiser": "adam"},
    }
)


def make_reference(n_cells: int = 160, types: int = 4, seed: int = 0, **options: Any) -> Reference:
    cells = make_cells(n_cells, 100, types, seed=seed, **options)
    counts = cells.X
    totals = np.asarray(counts.sum(axis=1)).ravel()
    normalised = sparse.csr_matrix(sparse.diags(1e4 / totals) @ counts)
    return Reference.from_names(normalised.log1p(), cells.obs["cell_type"], cells.var_names)


def make_mask(genes: list[str]) -> Mask:
    """A token per type's markers, and one of housekeeping genes."""
    sets = {**MARKERS, "Housekeeping": HOUSEKEEPING}
    columns = [[gene in members for gene in genes] for members in sets.values()]
    matrix = sparse.csc_array(np.array(columns, dtype=bool).T)
    return Mask(genes, list(sets), matrix, pd.DataFrame())


def teach(reference: Reference, settings: Settings = SETTINGS, **options: Any) -> Any:
    """The Teacher and its history."""
    mask = options.pop("mask", make_mask(reference.genes))
    model = train_teacher(reference, mask, settings, progress=False, **options)
    return model.teacher, model.history


def learn(
    reference: Reference,
    teacher: TrainedNetwork,
    settings: Settings = SETTINGS,
    seed: int = 0,
    **options: Any,
) -> Any:
    """The Student of a Teacher, trained with these settings, and its history."""
    model = Model(dataclasses.replace(teacher, settings=settings), seed=seed)
    model = train_student(reference, model, progress=False, **options)
    return model.student, model.history


@pytest.fixture(scope="module")
def reference() -> Reference:
    return make_reference()


@pytest.fixture(scope="module")
def teacher(reference: Reference) -> TrainedNetwork:
    return teach(reference)[0]


@pytest.fixture(scope="module", params=["teacher", "student"])
def train(request: pytest.FixtureRequest, teacher: TrainedNetwork) -> Callable[..., Any]:
    """Trains one of the two models: train(reference, settings, seed=.., resume_file=..)."""
    if request.param == "teacher":
        return teach
    return lambda reference, settings=SETTINGS, **options: learn(
        reference, teacher, settings, **options
    )


@pytest.fixture(scope="module")
def expected(
    train: Callable[..., Any], reference: Reference
) -> tuple[TrainedNetwork, pd.DataFrame]:
    """Model and history of a training that nothing interrupted."""
    return train(reference)


def weights_equal(left: TrainedNetwork, right: TrainedNetwork) -> bool:
    one, other = left.network.state_dict(), right.network.state_dict()
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(autouse=True)
def _every_epoch_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """These take milliseconds."""
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_SAVES", 0.0)


def interrupt_after(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """The user presses Ctrl-C as soon as the resume file of `epoch` is written."""
    save = loop.save_progress

    def save_and_stop(*arguments: Any) -> None:
        save(*arguments)
        if arguments[4] == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_progress", save_and_stop)


def leave_resume_file(
    train: Callable[..., Any],
    reference: Reference,
    resume_file: Path,
    epoch: int = 2,
    **options: Any,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "SECONDS_BETWEEN_SAVES", 0.0)
        interrupt_after(patch, epoch)
        with pytest.raises(KeyboardInterrupt):
            train(reference, resume_file=resume_file, **options)
    assert resume_file.is_file()


# ------------------------------------------------------------------------------------ learning


LEARNS = {
    "teacher": {"block": "bare", "mlp_ratio": 0.0},
    "teacher_training": {"epochs": 15, "batch_size": 32, "learning_rate": 2e-3},
    "student_training": {"epochs": 10, "batch_size": 32, "learning_rate": 2e-3},
}


@pytest.mark.parametrize("teacher_block", [LEARNS["teacher"], {"depth": 2}])
def test_teacher_and_student_learn_the_planted_types(teacher_block):
    reference = make_reference(500)
    settings = fast({**LEARNS, "teacher": teacher_block})
    teacher, history = teach(reference, settings)
    assert history["validation_accuracy"].iloc[-1] > 0.85
    assert history["accuracy"].iloc[-1] > 0.9
    assert history["cross_entropy"].iloc[-1] < 0.5 * history["cross_entropy"].iloc[0]
    student, student_history = learn(reference, teacher, settings)
    assert student_history["validation_accuracy"].iloc[-1] > 0.9

    query = make_reference(300, seed=5, batches=["another donor"])
    assert query.genes == reference.genes
    for model in (teacher, student):
        probabilities, _ = model.predict(query.cells)
        assert (probabilities.argmax(axis=1) == query.codes).mean() > 0.85


def test_the_history_has_a_row_per_epoch(reference, teacher):
    for history in (teach(reference)[1], learn(reference, teacher)[1]):
        assert history["epoch"].tolist() == [1, 2, 3, 4]
        assert history["learning_rate"].iloc[0] == 0.01
        assert (np.diff(history["learning_rate"]) < 0).all()
        assert np.isfinite(history.drop(columns="model").to_numpy()).all()
        terms = history.columns.difference(
            ["model", "epoch", "learning_rate", "loss", "accuracy", "validation_accuracy"]
        )
        np.testing.assert_allclose(
            history["loss"], history[terms].sum(axis=1), rtol=1e-4, atol=1e-6
        )


def test_a_small_reference_is_passed_over_more_often(reference):
    choice = dataclasses.replace(SETTINGS.teacher_training, min_steps=33)
    history = teach(reference, dataclasses.replace(SETTINGS, teacher_training=choice))[1]
    assert len(history) == 7  # 144 cells are five steps


def test_weights_of_loss_terms_are_applied_and_a_zero_leaves_one_out(reference, teacher):
    choice = {"clustering_weight": 0.0, "cross_entropy_weight": 2.0}
    doubled = fast({"teacher_loss": choice, "teacher_training": {"epochs": 1}})
    single = fast({"teacher_loss": {"clustering_weight": 0.0}, "teacher_training": {"epochs": 1}})
    two, one = teach(reference, doubled)[1], teach(reference, single)[1]
    assert "clustering" not in two.columns
    assert two["cross_entropy"][0] == pytest.approx(2 * one["cross_entropy"][0], rel=0.2)
    losses = {"distillation_weight": 0.0, "self_entropy_weight": 0.0, "hard_label_weight": 1.0}
    history = learn(reference, teacher, fast({"student_loss": losses}))[1]
    assert {"distillation", "self_entropy"}.isdisjoint(history.columns)
    assert history["cross_entropy"].iloc[-1] < history["cross_entropy"].iloc[0]


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_trains(preset, reference):
    one = {"epochs": 1, "min_steps": 0}
    settings = resolve({"preset": preset, "teacher_training": one, "student_training": one})
    model, history = teach(reference, settings)
    student, student_history = learn(reference, model, settings)
    assert len(history) == len(student_history) == 1
    for trained in (model, student):
        probabilities, embedding = trained.predict(reference.cells)
        assert np.isfinite(probabilities).all()
        assert np.isfinite(embedding).all()


@pytest.mark.parametrize("seed", range(2))
def test_the_paper_preset_does_not_diverge(seed):
    settings = resolve({"preset": "paper", "teacher_training": {"epochs": 3}})
    _, history = teach(make_reference(1500, types=8), settings, seed=seed)
    assert history["validation_accuracy"].iloc[-1] > 0.8


def test_the_student_follows_its_teacher_and_not_the_labels(reference):
    """A Teacher that always names another label has a Student that does the same."""
    settings = fast(LEARNS)
    contrary, _ = teach(reference, settings)
    classifier = contrary.network.classifier
    with torch.no_grad():
        order = torch.tensor([1, 2, 3, 0])
        classifier.weight.copy_(classifier.weight[order].clone())
        classifier.bias.copy_(classifier.bias[order].clone())
    student, _ = learn(reference, contrary, settings)
    found = student.predict(reference.cells)[0].argmax(axis=1)
    assert (found == (reference.codes - 1) % 4).mean() > 0.9


def test_models_are_calibrated_on_the_held_out_cells(expected):
    model = expected[0]
    assert model.calibration.alpha == SETTINGS.alpha
    assert model.calibration.unknown_threshold > 0
    assert not model.network.training


def test_without_held_out_cells_a_model_is_left_uncalibrated(train):
    reference = make_reference(8)  # two cells of a label, none of them can be held out
    reference = dataclasses.replace(reference, codes=np.arange(8) % 4)
    model, history = train(reference)
    assert model.calibration.temperature == 1.0
    assert history["validation_accuracy"].isna().all()
    assert not model.network.training


def test_gene_weights_are_those_of_the_training_cells(reference, teacher):
    settings = dataclasses.replace(SETTINGS, gene_weights="separation")
    cells, _ = split_validation(reference.codes, settings.validation_fraction, 3)
    expected = separation(reference.cells[cells], reference.codes[cells], len(reference.labels))
    for model in (
        teach(reference, settings, seed=3)[0],
        learn(reference, teacher, settings, seed=3)[0],
    ):
        np.testing.assert_array_equal(model.network.input_scale.numpy(), expected)
    assert (teacher.network.input_scale == 1).all()


def test_both_in_one_are_one_after_the_other(reference, tmp_path):
    mask = make_mask(reference.genes)
    noisy = dataclasses.replace(SETTINGS, label_noise=0.1)
    both = train_model(
        reference, mask, noisy, seed=3, resume_folder=tmp_path, provenance={"dataset": "x"},
        progress=False,
    )  # fmt: skip
    teacher = train_teacher(
        reference, mask, noisy, seed=3, provenance={"dataset": "x"}, progress=False
    )
    assert teacher.student is None
    teacher.save(tmp_path / "teacher")
    single = train_student(reference, load_model(tmp_path / "teacher"), progress=False)
    for kind in ("teacher", "student"):
        assert weights_equal(both.require(kind), single.require(kind))
        assert both.require(kind).calibration == single.require(kind).calibration
    assert both.seed == single.seed == 3
    assert both.provenance == single.provenance
    assert both.provenance["dataset"] == "x"
    assert both.history["model"].tolist() == ["teacher"] * 4 + ["student"] * 4
    pd.testing.assert_frame_equal(both.history, single.history)
    assert [path.name for path in tmp_path.iterdir()] == ["teacher"]  # no resume file is left


def test_the_settings_of_the_student_come_with_the_student(reference):
    """The Teacher does not need them: a change of them does not train it again."""
    hidden = dataclasses.replace(SETTINGS.student, hidden=(8,))
    wanted = dataclasses.replace(SETTINGS, student=hidden)
    mask = make_mask(reference.genes)
    teacher = train_teacher(reference, mask, SETTINGS, seed=3, progress=False)
    late = train_student(reference, teacher, settings=wanted, progress=False)
    both = train_model(reference, mask, wanted, seed=3, progress=False)
    assert late.settings == both.settings == wanted
    for kind in ("teacher", "student"):
        assert weights_equal(both.require(kind), late.require(kind))
    other = dataclasses.replace(wanted, label_noise=0.1)
    with pytest.raises(InputError, match="the Teacher was trained with other settings"):
        train_student(reference, teacher, settings=other, progress=False)


def test_a_mask_of_other_genes_is_refused(reference):
    mask = make_mask(reference.genes[::-1])
    with pytest.raises(InputError, match="other genes"):
        train_teacher(reference, mask, SETTINGS, progress=False)


class Recorder(torch.nn.Module):
    """A Teacher that answers by the sum of what it is shown, and keeps it."""

    def __init__(self, teacher: TrainedNetwork) -> None:
        super().__init__()
        self.kind = "teacher"
        self.classifier = teacher.network.classifier
        self.shown: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.shown.append(x.detach().clone())
        return x[:, :4], x


@pytest.mark.parametrize("sees", ["whole_cell", "same_cell"])
def test_the_teacher_sees_what_the_settings_say(sees, reference, teacher, monkeypatch):
    settings = fast(
        {
            "student": {"hidden": [8]},
            "student_training": {**QUICK, "epochs": 1, "gene_dropout": 0.9, "input_noise": 0.1},
            "student_loss": {"teacher_sees": sees, "self_entropy_weight": 0.0},
        }
    )
    recorder = Recorder(teacher)
    whole = {tuple(row) for row in reference.cells.toarray().round(4).tolist()}
    learn(
        reference,
        dataclasses.replace(teacher, network=recorder),
        settings,  # type: ignore[type-var]
    )
    n_steps = math.ceil(len(split_validation(reference.codes, 0.1, 0)[0]) / 32)
    steps = recorder.shown[-n_steps:]
    if sees == "whole_cell":
        assert len(recorder.shown) == 2  # once to see who teaches, once to be taught
        assert {tuple(row) for row in recorder.shown[0].numpy().round(4).tolist()} == whole
    else:
        assert len(recorder.shown) == 1 + n_steps
        assert all(len(x) <= 32 for x in steps)
        assert not whole & {tuple(row) for x in steps for row in x.numpy().round(4).tolist()}


# ------------------------------------------------------------------------------------ repeating


def test_the_seed_decides_the_weights(reference, train, expected):
    torch.manual_seed(12345)
    again, other = train(reference, seed=0), train(reference, seed=8)
    assert weights_equal(expected[0], again[0])
    pd.testing.assert_frame_equal(expected[1], again[1])
    assert expected[0].calibration == again[0].calibration
    assert not weights_equal(expected[0], other[0])


def test_the_reference_and_the_teacher_are_not_changed(reference, teacher):
    cells = copy.deepcopy(reference)
    before = copy.deepcopy(teacher.network.state_dict())
    for array in (cells.cells.data, cells.cells.indices, cells.cells.indptr):
        array.flags.writeable = False
    teach(cells)
    learn(cells, teacher)
    assert (cells.cells != reference.cells).nnz == 0
    assert np.array_equal(cells.codes, reference.codes)
    assert all(
        torch.equal(value, before[key]) for key, value in teacher.network.state_dict().items()
    )


# ------------------------------------------------------------------------------------ breaks


@pytest.mark.parametrize("epoch", [1, 3, 4])
def test_an_interrupted_training_ends_with_the_same_weights(
    reference, train, expected, tmp_path, epoch
):
    resume_file = tmp_path / "teacher.resume.pt"
    leave_resume_file(train, reference, resume_file, epoch)
    torch.manual_seed(12345)
    with pytest.MonkeyPatch.context() as patch:
        trained: list[int] = []
        batches = loop.batches_of
        patch.setattr(loop, "batches_of", lambda *a: trained.append(1) or batches(*a))
        found, history = train(reference, resume_file=resume_file)
    assert len(trained) == 4 - epoch  # it went on and did not start anew
    assert weights_equal(found, expected[0])
    assert found.calibration == expected[0].calibration
    pd.testing.assert_frame_equal(history, expected[1])
    assert not resume_file.exists()


def test_a_break_within_an_epoch_goes_on_from_the_last_whole_one(
    reference, train, expected, tmp_path
):
    resume_file = tmp_path / "teacher.resume.pt"
    batches, calls = loop.batches_of, []

    def break_in_third(*arguments: Any) -> Iterator[Any]:
        calls.append(1)
        for number, cells in enumerate(batches(*arguments)):
            if len(calls) == 3 and number == 2:
                raise KeyboardInterrupt
            yield cells

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "batches_of", break_in_third)
        with pytest.raises(KeyboardInterrupt):
            train(reference, resume_file=resume_file)
    found, _ = train(reference, resume_file=resume_file)
    assert weights_equal(found, expected[0])


def test_a_training_that_is_not_watched_learns_the_same(reference, teacher):
    teach = NetworkMember(teacher.network)
    watched, history = distil(reference, teach, SETTINGS, progress=False)
    found, short = distil(reference, teach, SETTINGS, progress=False, watch=False)
    assert weights_equal(found, watched)
    accuracies = ["accuracy", "validation_accuracy"]
    assert short[accuracies][:-1].isna().all(axis=None)
    pd.testing.assert_frame_equal(short.iloc[-1:], history.iloc[-1:])
    pd.testing.assert_frame_equal(short.drop(columns=accuracies), history.drop(columns=accuracies))


def test_epochs_that_end_soon_after_a_save_are_not_saved(reference, train, tmp_path, monkeypatch):
    """Of four, the clock of which says 4, 8, 12 and 16 s, the third alone."""
    saved: list[int] = []
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_SAVES", 10.0)
    monkeypatch.setattr(loop, "save_progress", lambda *arguments: saved.append(arguments[4]))
    clock = iter([0.0, 4.0, 8.0, 12.0, 12.0, 16.0])
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    train(reference, resume_file=tmp_path / "teacher.resume.pt")
    assert saved == [3]


def test_a_training_without_resume_file_leaves_no_file(reference, train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quick = fast({"teacher_training": {"epochs": 1}, "student_training": {"epochs": 1}})
    train(reference, quick)
    train(reference, quick, resume_file=tmp_path / "folder" / "teacher.resume.pt")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def shifted(reference: Reference) -> Reference:
    cells = reference.cells.copy()
    cells.data[0] += 1.0
    return dataclasses.replace(reference, cells=cells)


def relabelled(reference: Reference) -> Reference:
    labels = reference.codes.copy()
    labels[:2] = (labels[:2] + 1) % 4
    return dataclasses.replace(reference, codes=labels)


def moved_to_the_next_cell(reference: Reference) -> Reference:
    """The same values in the same genes, but one of them belongs to another cell."""
    cells = reference.cells.copy()
    starts, genes = cells.indptr, cells.indices
    row = next(
        row
        for row in range(1, cells.shape[0])
        if genes[starts[row] - 1] not in genes[starts[row] : starts[row + 1]]
    )
    starts[row] -= 1
    return dataclasses.replace(reference, cells=cells)


OTHER: dict[str, Callable[[Reference], tuple[Reference, dict[str, Any]]]] = {
    "seed": lambda reference: (reference, {"seed": 1}),
    "expression": lambda reference: (shifted(reference), {}),
    "cells": lambda reference: (moved_to_the_next_cell(reference), {}),
    "labels": lambda reference: (relabelled(reference), {}),
    "settings": lambda reference: (
        reference,
        {"settings": dataclasses.replace(SETTINGS, alpha=0.2)},
    ),
}


@pytest.mark.parametrize("name", [*OTHER, "mask or teacher"])
def test_the_resume_file_of_another_training_is_not_used(
    name, reference, train, tmp_path, caplog, teacher
):
    resume_file = tmp_path / "teacher.resume.pt"
    if name == "mask or teacher":
        options = {}
        other = reference
        if train is teach:
            mask = make_mask(reference.genes)
            mask.matrix = sparse.csc_array(mask.matrix.toarray()[::-1])
            leave_resume_file(train, reference, resume_file, mask=mask)
        else:
            another = teach(reference, seed=9)[0]
            leave_resume_file(lambda r, **o: learn(r, another, **o), reference, resume_file)
    else:
        other, options = OTHER[name](reference)
        leave_resume_file(train, reference, resume_file)
    expected, _ = train(other, **options)
    with caplog.at_level("WARNING", "plkd"):
        found, history = train(other, resume_file=resume_file, **options)
    assert weights_equal(found, expected)
    assert len(history) == 4
    assert str(resume_file) in caplog.text


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "a few bytes": lambda content: content[:10],
    "half": lambda content: content[: len(content) // 2],
    "but for the end": lambda content: content[:-20],
    "text": lambda content: b"this is no resume file\n",
    "binary rubbish": lambda content: bytes(range(256)) * 4,
}


@pytest.fixture(scope="module")
def resume_content(
    train: Callable[..., Any], reference: Reference, tmp_path_factory: pytest.TempPathFactory
) -> bytes:
    resume_file = tmp_path_factory.mktemp("whole") / "teacher.resume.pt"
    leave_resume_file(train, reference, resume_file)
    return resume_file.read_bytes()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_resume_file_is_ignored_with_a_warning(
    damage, reference, train, expected, resume_content, tmp_path, caplog
):
    resume_file = tmp_path / "teacher.resume.pt"
    resume_file.write_bytes(DAMAGES[damage](resume_content))
    with caplog.at_level("WARNING", "plkd"):
        found, _ = train(reference, resume_file=resume_file)
    assert weights_equal(found, expected[0])
    assert str(resume_file) in caplog.text


def test_a_resume_file_of_other_content_is_ignored(reference, train, expected, tmp_path, caplog):
    resume_file = tmp_path / "teacher.resume.pt"
    torch.save([1, 2, 3], resume_file)
    with caplog.at_level("WARNING", "plkd"):
        found, _ = train(reference, resume_file=resume_file)
    assert weights_equal(found, expected[0])
    assert str(resume_file) in caplog.text


# ------------------------------------------------------------------------------------ divergence


@pytest.mark.parametrize("epochs", [1, 4])
def test_too_large_a_learning_rate_is_named(reference, epochs):
    choice = dataclasses.replace(
        SETTINGS.teacher_training,
        learning_rate=1e30,
        epochs=epochs,
        batch_size=len(reference.codes),
    )
    settings = dataclasses.replace(
        SETTINGS, teacher_training=choice, teacher=PRESETS["paper"].teacher
    )
    with pytest.raises(TrainingDiverged, match="learning_rate") as caught:
        teach(reference, settings)
    assert isinstance(caught.value, InputError)
    assert "None" not in str(caught.value)


@pytest.mark.parametrize("step", [7, 10])
def test_weights_that_are_no_numbers_leave_the_last_good_resume_file(
    step, reference, train, tmp_path
):
    """A poisoned gradient in the second epoch: amid it, and in its very last step."""
    resume_file = tmp_path / "teacher.resume.pt"
    clipped = resolve(
        {
            **SETTINGS.to_dict(),
            "teacher_training": {**QUICK, "clip_gradient": 1.0},
            "student_training": {**QUICK, "clip_gradient": 1.0},
        }
    )
    expected, _ = train(reference, clipped)
    clip, calls = torch.nn.utils.clip_grad_norm_, []

    def poison(parameters: Any, limit: float) -> None:
        parameters = list(parameters)
        clip(parameters, limit)
        calls.append(1)
        if len(calls) == step:
            next(p for p in parameters if p.grad is not None).grad[:] = torch.nan

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", poison)
        with pytest.raises(TrainingDiverged, match="epoch 2") as caught:
            train(reference, clipped, resume_file=resume_file)
    assert str(resume_file) in str(caught.value)
    state = torch.load(resume_file, weights_only=True)
    assert state["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in state["network"].values())
    found, _ = train(reference, clipped, resume_file=resume_file)
    assert weights_equal(found, expected)


# ------------------------------------------------------------------------------------ input


def test_a_single_label_is_refused():
    cells = sparse.csr_matrix(np.eye(3))
    with pytest.raises(InputError, match="two"):
        Reference.from_names(cells, ["a", "a", "a"], ["x", "y", "z"])


@pytest.mark.parametrize("missing", [None, np.nan])
def test_cells_without_a_label_are_refused(missing):
    cells = sparse.csr_matrix(np.eye(3))
    for labels in (["a", "b", missing], pd.Categorical(["a", "b", missing])):
        with pytest.raises(InputError, match=r"1 cells .* no label"):
            Reference.from_names(cells, labels, ["x", "y", "z"])


def test_classes_are_sorted_and_labels_are_positions_in_them():
    cells = sparse.csr_matrix(np.eye(4))
    labels = pd.Categorical(["b", "c", "a", "b"], categories=["c", "unused", "b", "a"])
    reference = Reference.from_names(cells, labels, pd.Index(list("wxyz")))
    assert reference.labels == ["a", "b", "c"]
    assert reference.codes.tolist() == [1, 2, 0, 1]
    assert reference.genes == ["w", "x", "y", "z"]


def test_a_student_of_a_teacher_with_other_genes_or_classes_is_refused(reference, teacher):
    renamed = dataclasses.replace(reference, genes=[*reference.genes[:-1], "ANOTHER"])
    swapped = dataclasses.replace(reference, genes=reference.genes[::-1])
    other_label = dataclasses.replace(reference, labels=[*reference.labels[:-1], "another"])
    for wrong in (renamed, swapped, other_label):
        with pytest.raises(InputError, match="Teacher"):
            learn(wrong, teacher)


# ------------------------------------------------------------------------------------ parts


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.3, 0.49])
@pytest.mark.parametrize("seed", range(3))
def test_every_label_keeps_cells_for_training(fraction, seed):
    counts = [1, 2, 3, 4, 10, 57, 200]
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(7), counts))
    kept, held_out = split_validation(labels, fraction, seed)
    assert np.array_equal(np.sort(np.concatenate([kept, held_out])), np.arange(len(labels)))
    for label, count in enumerate(counts):
        n_held = int((labels[held_out] == label).sum())
        assert n_held == 0 if count <= 2 else abs(n_held - count * fraction) <= 0.5
        assert n_held < count
    again, _ = split_validation(labels, fraction, seed)
    assert np.array_equal(kept, again)
    assert not np.array_equal(kept, split_validation(labels, 0.3, seed + 1)[0])


def drawn(sampling: str, counts: list[int], epochs: int) -> np.ndarray:
    """How often the cells of every label are drawn, as shares."""
    labels = np.repeat(np.arange(len(counts)), counts)
    cells = np.arange(len(labels))[1:]  # not every cell is a training cell
    found = []
    for epoch in range(epochs):
        order = loop._order(cells, labels, sampling, np.random.default_rng(epoch))
        assert len(order) == len(cells)
        assert 0 not in order
        found.append(order)
    return np.bincount(labels[np.concatenate(found)], minlength=len(counts)) / sum(map(len, found))


def test_cells_are_drawn_as_promised():
    counts = [401, 100, 25]
    natural = loop._order(
        np.arange(526), np.repeat(np.arange(3), counts), "natural", np.random.default_rng(0)
    )
    assert np.array_equal(np.sort(natural), np.arange(526))
    np.testing.assert_allclose(drawn("natural", counts, 2), np.array([400, 100, 25]) / 525)
    np.testing.assert_allclose(drawn("balanced", counts, 100), 1 / 3, atol=0.01)
    np.testing.assert_allclose(
        drawn("square_root", counts, 100), np.array([20, 10, 5]) / 35, atol=0.01
    )


def test_gene_dropout_hides_an_even_share_of_the_genes_up_to_the_largest():
    torch.manual_seed(0)
    x = 1.0 + torch.rand(400, 2000)
    hidden = loop._corrupt(x, 0.6, None)
    gone = hidden == 0
    shares = gone.float().mean(dim=1).numpy()
    # an even distribution between 0 and 0.6, in its mean, spread and ends
    assert shares.mean() == pytest.approx(0.3, abs=0.03)
    assert shares.std() == pytest.approx(0.6 / math.sqrt(12), abs=0.02)
    assert shares.min() < 0.03
    assert 0.57 < shares.max() < 0.65
    assert torch.equal(hidden[~gone], x[~gone])
    assert loop._corrupt(x, 0.0, None) is x


def test_noise_is_even_over_the_weighted_genes_and_a_share_of_the_distance(reference):
    """A share of the labels' distance, once the genes are multiplied by their weights."""
    weights = torch.rand(len(reference.genes)) + 0.5
    everything = np.arange(len(reference.codes))
    noise = loop._noise(reference, everything, weights, 0.25)
    dense = reference.cells.toarray() * weights.numpy()
    means = np.stack([dense[reference.codes == label].mean(axis=0) for label in range(4)])
    nearest = [
        min(np.linalg.norm(means[a] - means[b]) for b in range(4) if b != a) for a in range(4)
    ]
    distance = np.mean([nearest[label] for label in reference.codes])
    np.testing.assert_allclose(noise * weights, 0.25 * distance, rtol=1e-4)

    torch.manual_seed(0)
    x = torch.zeros(4000, len(reference.genes))
    np.testing.assert_allclose(loop._corrupt(x, 0.0, noise).std(dim=0), noise, rtol=0.06)


def test_every_step_is_made_at_its_own_rate(reference, monkeypatch):
    rates = []
    make = loop._optimiser

    def watched(*arguments: Any) -> torch.optim.Optimizer:
        optimiser = make(*arguments)
        step = optimiser.step
        optimiser.step = lambda: rates.append(optimiser.param_groups[0]["lr"]) or step()
        return optimiser

    monkeypatch.setattr(loop, "_optimiser", watched)
    teach(reference)
    rate = loop._schedule(SETTINGS.teacher_training, 20)  # four epochs of five steps
    assert rates == pytest.approx([rate(step) for step in range(20)])


def test_the_cosine_falls_from_the_rate_to_its_share():
    choice = dataclasses.replace(
        SETTINGS.teacher_training, learning_rate=0.2, final_learning_rate=0.1
    )
    rate = loop._schedule(choice, 100)
    values = [rate(step) for step in range(101)]
    assert values[0] == pytest.approx(0.2)
    assert values[50] == pytest.approx(0.5 * (0.2 + 0.02))
    assert values[100] == pytest.approx(0.02)
    assert (np.diff(values) < 0).all()
    constant = loop._schedule(dataclasses.replace(choice, schedule="constant"), 100)
    assert {constant(step) for step in range(100)} == {0.2}


def test_a_reference_too_small_to_calibrate_is_said(caplog: pytest.LogCaptureFixture) -> None:
    cells = make_cells(8, 110, types=4, seed=1)[[0, 1, 2, 3]].copy()
    genes = list(cells.var_names)
    reference = Reference.from_names(cells.X.log1p(), cells.obs["cell_type"], genes)
    mask = Mask(genes, ["all"], sparse.csc_array(np.ones((110, 1), dtype=bool)), pd.DataFrame())
    model = train_model(reference, mask, fast({}), progress=False)
    assert caplog.text.count("no cell of the reference was held out") == 2
    assert "not calibrated: no cell can be flagged unknown" in model.card()
    assert model.summary()["unknown_above"] == 1
