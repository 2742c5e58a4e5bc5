"""The folder of a model: it brings the model back as it was, or says what is wrong with it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from scipy import sparse

from plkd.errors import InputError
from plkd.model.background import Background
from plkd.model.calibration import Calibration
from plkd.model.folder import (
    TrainedModel,
    dense_batch,
    dense_from_csr,
    load_model,
    save_model,
)
from plkd.model.student import Student
from plkd.model.teacher import Teacher
from plkd.settings.models import Settings
from plkd.settings.presets import resolve

GENES = [f"G{i}" for i in range(30)]
LABELS = ["B cell", "T cell, naïve", "Monocyte"]
HISTORY = pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.25]})
VARIANTS: dict[str, dict[str, Any]] = {
    "teacher": {"preset": "paper"},
    "deep teacher": {"teacher": {"depth": 2, "token_norm": True, "pre_logits": True, "width": 8}},
    "student": {"student": {"hidden": [16, 8]}},
}


def make_model(name: str, seed: int = 0) -> TrainedModel:
    settings = resolve(VARIANTS[name])
    torch.manual_seed(seed)
    scale = torch.rand(len(GENES)) + 0.5
    network: Teacher | Student
    tokens = []
    if name == "student":
        network = Student(len(GENES), len(LABELS), settings.student, scale)
    else:
        rng = np.random.default_rng(seed)
        mask = rng.random((len(GENES), 7)) < rng.uniform(0.1, 0.9, 7)
        mask[0] = True
        network = Teacher(sparse.csc_array(mask), len(LABELS), settings.teacher, scale)
        tokens = [f"PATHWAY_{i}" for i in range(7)]
    return TrainedModel(
        network,
        list(GENES),
        list(LABELS),
        settings,
        tokens,
        Calibration(1.7, 0.8, 0.4, 0.1),
        provenance={"seed": seed, "dataset": "pbmc"},
    )


def make_cells(n_cells: int = 50, n_genes: int = len(GENES)) -> sparse.csr_matrix:
    return sparse.random(n_cells, n_genes, 0.3, format="csr", dtype=np.float32, random_state=0) * 3


@pytest.fixture(params=VARIANTS)
def model(request: pytest.FixtureRequest) -> TrainedModel:
    return make_model(request.param)


@pytest.fixture
def folder(model: TrainedModel, tmp_path: Path) -> Path:
    save_model(model, HISTORY, tmp_path / "model")
    return tmp_path / "model"


def test_a_saved_model_comes_back_as_it_was(model, folder):
    loaded = load_model(folder)
    for attribute in ("genes", "labels", "tokens", "settings", "calibration", "kind"):
        assert getattr(loaded, attribute) == getattr(model, attribute), attribute
    assert loaded.normalisation == {"target_sum": 1e4, "log1p": True}
    assert loaded.provenance.items() >= {"seed": 0, "dataset": "pbmc"}.items()
    for found, expected in zip(
        loaded.predict(make_cells()), model.predict(make_cells()), strict=True
    ):
        assert np.array_equal(found, expected)
    if isinstance(model.network, Teacher):
        assert isinstance(loaded.network, Teacher)
        mask, expected = loaded.network.navigator.mask(), model.network.navigator.mask()
        assert np.array_equal(mask.toarray(), expected.toarray())
        view = loaded.network.view_tokens(torch.rand(3, len(GENES)))
        assert view.tokens.shape[:2] == (3, 7)


def test_saving_a_loaded_model_gives_the_same_weights(folder, tmp_path):
    save_model(load_model(folder), HISTORY, tmp_path / "again")
    weights = "weights.safetensors"
    assert (folder / weights).read_bytes() == (tmp_path / "again" / weights).read_bytes()


def test_the_folder_holds_three_files_and_no_code(folder):
    assert {path.name for path in folder.iterdir()} == {
        "model.json",
        "weights.safetensors",
        "history.tsv",
    }
    assert load_file(folder / "weights.safetensors")
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert content["labels"] == LABELS
    assert {"plkd", "torch", "numpy", "python"} <= content["provenance"].keys()
    pd.testing.assert_frame_equal(pd.read_csv(folder / "history.tsv", sep="\t"), HISTORY)
    for path in folder.iterdir():  # a pickle starts with its protocol, an archive of them with PK
        assert path.read_bytes()[:2] not in (b"\x80\x02", b"\x80\x04", b"\x80\x05", b"PK")


def test_saving_replaces_an_older_model_as_a_whole(model, folder):
    (folder / "stray").touch()
    save_model(model, HISTORY, folder)
    assert not (folder / "stray").exists()
    load_model(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


# ------------------------------------------------------------------------------------ damages


def edit(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        change(content)
        (folder / "model.json").write_text(json.dumps(content), encoding="utf-8")

    return apply


def truncate(name: str, share: float) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return apply


def weights_of_another_model(folder: Path) -> None:
    kind = json.loads((folder / "model.json").read_text(encoding="utf-8"))["kind"]
    save_model(make_model(kind, seed=1), HISTORY, folder.parent / "other")
    shutil.copy(folder.parent / "other" / "weights.safetensors", folder)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "no model.json": lambda folder: (folder / "model.json").unlink(),
    "no weights": lambda folder: (folder / "weights.safetensors").unlink(),
    "no folder": lambda folder: shutil.rmtree(folder),
    "weights cut": truncate("weights.safetensors", 0.9),
    "weights empty": truncate("weights.safetensors", 0.0),
    "weights of another model": weights_of_another_model,
    "model.json cut": truncate("model.json", 0.5),
    "model.json empty": truncate("model.json", 0.0),
    "model.json of something else": lambda folder: (folder / "model.json").write_text("[1, 2]"),
    "model.json is binary": lambda folder: (folder / "model.json").write_bytes(bytes(range(256))),
    "gene removed": edit(lambda content: content["genes"].pop()),
    "gene added": edit(lambda content: content["genes"].append("X")),
    "label removed": edit(lambda content: content["labels"].pop()),
    "label added": edit(lambda content: content["labels"].append("X")),
    "wrong kind": edit(
        lambda content: content.update(
            kind="student" if content["kind"] == "teacher" else "teacher"
        )
    ),
    "unknown kind": edit(lambda content: content.update(kind="professor")),
    "newer format": edit(lambda content: content.update(format=2)),
    "no format": edit(lambda content: content.pop("format")),
    "no checksum": edit(lambda content: content.pop("weights_sha256")),
    "no calibration": edit(lambda content: content.pop("calibration")),
    "unknown calibration": edit(lambda content: content["calibration"].update(colour=1)),
    "unknown setting": edit(lambda content: content["settings"].update(colour="red")),
    "settings of no kind": edit(lambda content: content.update(settings=3)),
    "another width": edit(
        lambda content: (
            content["settings"]["teacher"].update(width=4),
            content["settings"]["student"].update(hidden=[4]),
        )
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused_by_name(damage, folder):
    DAMAGES[damage](folder)
    with pytest.raises(InputError) as caught:
        load_model(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [lambda content: content["tokens"].pop(), lambda content: content["tokens"].append("X")],
)
def test_names_of_pathways_must_fit_the_tokens(tmp_path, change):
    save_model(make_model("teacher"), HISTORY, tmp_path)
    edit(change)(tmp_path)
    with pytest.raises(InputError, match="tokens"):
        load_model(tmp_path)


def test_another_format_says_what_to_do(folder):
    DAMAGES["newer format"](folder)
    with pytest.raises(InputError, match=r"format 2.*update plkd"):
        load_model(folder)


# ------------------------------------------------------------------------------------ predicting


@pytest.mark.parametrize("n_genes", [0, len(GENES) - 1, len(GENES) + 1])
def test_cells_with_other_genes_are_refused(model, n_genes):
    with pytest.raises(InputError, match=f"{n_genes} genes.*{len(GENES)}"):
        model.predict(make_cells(4, n_genes))


@pytest.mark.parametrize("batch_size", [1, 7, 49, 50, 1000])
def test_the_batch_size_changes_no_prediction(model, batch_size):
    cells = make_cells()
    expected, embedding = model.predict(cells)
    found, found_embedding = model.predict(cells, batch_size=batch_size)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found_embedding, embedding, rtol=1e-4, atol=1e-5)


def test_probabilities_are_the_calibrated_softmax(model):
    cells = make_cells()
    probabilities, embedding = model.predict(cells)
    assert probabilities.dtype == embedding.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-6)
    with torch.no_grad():
        logits, expected = model.network.eval()(torch.from_numpy(cells.toarray()))
    np.testing.assert_allclose(probabilities, (logits / 1.7).softmax(dim=1), atol=1e-6)
    np.testing.assert_allclose(embedding, expected, rtol=1e-4, atol=1e-5)


def test_no_cells_give_empty_tables_of_the_right_width(model):
    probabilities, embedding = model.predict(make_cells(0))
    assert probabilities.shape == (0, 3)
    assert embedding.shape == (0, model.predict(make_cells(1))[1].shape[1])


def test_predicting_leaves_the_cells_alone_and_dropout_out(model):
    cells = make_cells()
    cells.data.flags.writeable = False
    model.network.train()
    first, second = model.predict(cells)[0], model.predict(cells)[0]
    assert np.array_equal(first, second)


def test_other_matrix_types_predict_the_same(model):
    cells = make_cells()
    expected, _ = model.predict(cells)
    for other in (sparse.csr_array(cells), cells.astype(np.float64), cells.tocsc().tocsr()):
        np.testing.assert_allclose(model.predict(other)[0], expected, atol=1e-6)


def test_the_caller_can_learn_between_two_batches_of_logits(model):
    """Inference mode must not reach out of the generator."""
    batches = model.logits(make_cells(), batch_size=20)
    logits, _ = next(batches)
    assert not torch.is_inference_mode_enabled()
    weights = torch.ones(3, requires_grad=True)
    (logits.clone() * weights).sum().backward()
    assert weights.grad is not None
    assert [len(batch) for batch, _ in batches] == [20, 10]


def test_default_settings_are_complete_in_the_folder(folder):
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert content["settings"].keys() == Settings().to_dict().keys()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(7, 30), (1, 30), (5, 1), (0, 30)])
def test_both_ways_to_a_dense_batch_give_the_matrix(shape, dtype):
    """The way of a GPU, run on the CPU, and that of the CPU; cells without any count included."""
    values = np.random.default_rng(0).random(shape) * (np.random.default_rng(1).random(shape) < 0.3)
    if len(values) > 2:
        values[[0, 2]] = 0
    cells = sparse.csr_matrix(values.astype(dtype))
    arrays = (torch.from_numpy(a) for a in (cells.data, cells.indices, cells.indptr))
    np.testing.assert_array_equal(dense_from_csr(*arrays, n_genes=shape[1]), values.astype(dtype))
    batch = dense_batch(cells)
    assert batch.dtype == torch.float32
    np.testing.assert_array_equal(batch, values.astype(np.float32))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_predictions_of_the_cpu():
    cells = sparse.random(50, len(GENES), 0.3, format="csr", dtype=np.float32, random_state=0)
    for name in VARIANTS:
        model = make_model(name)
        expected = model.predict(cells)
        for found, wanted in zip(model.predict(cells, device="cuda"), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-4)


def make_background() -> Background:
    cells = make_cells(6)
    return Background(cells, np.array([0, 0, 1, 1, 2, 2]), np.ones((3, len(GENES)), np.float32))


def test_the_background_comes_back(model, tmp_path):
    model.background = make_background()
    save_model(model, HISTORY, tmp_path / "model")
    again = load_model(tmp_path / "model").background
    assert again is not None
    np.testing.assert_array_equal(again.cells.toarray(), model.background.cells.toarray())
    np.testing.assert_array_equal(again.codes, model.background.codes)
    np.testing.assert_array_equal(again.label_means, model.background.label_means)


def test_a_folder_without_background_annotates(model, folder):
    again = load_model(folder)
    assert again.background is None
    np.testing.assert_array_equal(again.predict(make_cells())[0], model.predict(make_cells())[0])


def test_the_background_of_another_model_is_refused(model, tmp_path):
    model.background = make_background()
    save_model(model, HISTORY, tmp_path / "one")
    model.background = dataclasses.replace(model.background, codes=np.array([0, 0, 0, 1, 2, 2]))
    save_model(model, HISTORY, tmp_path / "two")
    shutil.copy(tmp_path / "one" / "background.safetensors", tmp_path / "two")
    with pytest.raises(InputError, match=r"background\.safetensors. in .* does not belong"):
        load_model(tmp_path / "two")
