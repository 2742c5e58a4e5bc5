"""The folder of a model: it brings the model back as it was, or says what is wrong with it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
from plkd.model.folder import checksum_of
from plkd.model.imputation import Imputer
from plkd.model.novelty import Novelty
from plkd.model.student import Student
from plkd.model.teacher import Teacher
from plkd.model.trained_model import Model, load_model
from plkd.model.trained_network import (
    Normalisation,
    TrainedNetwork,
    dense_batch,
    dense_from_csr,
)
from plkd.settings.models import Settings
from plkd.settings.presets import resolve
from trained import without_background

GENES = [f"G{i}" for i in range(30)]
LABELS = ["B cell", "T cell, naïve", "Monocyte"]
TOKENS = [f"PATHWAY_{i}" for i in range(7)]
VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {"preset": "paper"},
    "deep": {
        "teacher": {"depth": 2, "token_norm": True, "pre_logits": True, "width": 8},
        "student": {"hidden": [16, 8]},
    },
}
FILES = [f"{name}.safetensors" for name in ("teacher", "student", "background")]


def make_model(variant: str = "deep", seed: int = 0) -> Model:
    settings = resolve(VARIANTS[variant])
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    scale = torch.rand(len(GENES)) + 0.5
    mask = rng.random((len(GENES), len(TOKENS))) < rng.uniform(0.1, 0.9, len(TOKENS))
    mask[0] = True
    teacher = Teacher(sparse.csc_array(mask), len(LABELS), settings.teacher, scale)
    student = Student(len(GENES), len(LABELS), settings.student, scale)
    shared = (list(GENES), list(LABELS), settings)
    history = {"model": ["teacher", "student"], "epoch": [1, 1], "loss": rng.random(2) / 3}
    imputer = Imputer(*rng.random((2, 30), np.float32), rng.random((30, 4), np.float32), 0.3)
    background = Background(
        make_cells(6), np.array([0, 0, 1, 1, 2, 2]), rng.random((3, 30), np.float32), imputer
    )
    calibrations = Calibration(1.7, 0.8, 0.4, 0.1), Calibration(0.6, 0.5, 0.3, 0.1)
    novelty = make_novelty(rng)
    return Model(
        TrainedNetwork(teacher, *shared, list(TOKENS), calibrations[0], background=background),
        TrainedNetwork(
            student, *shared, [], calibrations[1], novelty=novelty, background=background
        ),
        pd.DataFrame(history),
        seed,
        {"dataset": "pbmc", "reference_sha256": "0" * 64},
    )


def make_novelty(rng: np.random.Generator) -> Novelty:
    arrays = [rng.random(shape, np.float32) for shape in ((len(GENES), 4), 4, (9, 4))]
    judged = np.sort(rng.random((3, 25), np.float32))
    spread = rng.random(len(GENES), np.float32) + 1
    return Novelty(*arrays, 3, *judged, spread=spread, known=make_cells(8))


def make_cells(n_cells: int = 50, n_genes: int = len(GENES)) -> sparse.csr_matrix:
    return sparse.random(n_cells, n_genes, 0.3, format="csr", dtype=np.float32, random_state=0) * 3


@pytest.fixture(params=VARIANTS)
def model(request: pytest.FixtureRequest) -> Model:
    return make_model(request.param)


@pytest.fixture
def folder(model: Model, tmp_path: Path) -> Path:
    model.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(params=["teacher", "student"])
def network(request: pytest.FixtureRequest, model: Model) -> TrainedNetwork:
    return model.require(request.param)


def test_a_saved_model_comes_back_as_it_was(model, folder):
    loaded = load_model(folder)
    for name in ("genes", "labels", "settings", "normalisation", "seed", "provenance"):
        assert getattr(loaded, name) == getattr(model, name), name
    assert loaded.normalisation == Normalisation(target_sum=1e4, log1p=True)
    pd.testing.assert_frame_equal(loaded.history, model.history, check_exact=True)
    for kind in ("teacher", "student"):
        here, there = model.require(kind), loaded.require(kind)
        assert (there.kind, there.tokens, there.calibration) == (
            kind, here.tokens, here.calibration,
        )  # fmt: skip
        for found, expected in zip(
            there.predict(make_cells()), here.predict(make_cells()), strict=True
        ):
            assert np.array_equal(found, expected)
    for field in dataclasses.fields(Novelty):
        values = (getattr(m.student.novelty, field.name) for m in (loaded, model))
        found, expected = (v.toarray() if sparse.issparse(v) else v for v in values)
        np.testing.assert_array_equal(found, expected)
    assert loaded.student.unknown_above == 1 - 0.1
    mask, expected = (m.teacher.network.navigator.mask() for m in (loaded, model))
    assert np.array_equal(mask.toarray(), expected.toarray())
    view = loaded.teacher.network.view_tokens(torch.rand(3, len(GENES)))
    assert view.tokens.shape[:2] == (3, 7)
    assert (loaded.background.cells != model.background.cells).nnz == 0
    np.testing.assert_array_equal(loaded.background.codes, model.background.codes)
    np.testing.assert_array_equal(loaded.background.label_means, model.background.label_means)


@pytest.mark.parametrize("absent", ["student", "teacher", "background"])
def test_a_model_under_way_comes_back(model, absent, tmp_path):
    if absent == "background":
        less = without_background(model)
    else:
        less = dataclasses.replace(model, **{absent: None})
    less.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert getattr(loaded, absent) is None
    assert not (tmp_path / "model" / f"{absent}.safetensors").exists()
    assert (loaded.genes, loaded.labels) == (GENES, LABELS)
    if absent != "background":
        with pytest.raises(InputError, match=f"no {absent.capitalize()}"):
            loaded.require(absent)


def test_a_model_may_know_unknown_cells_by_their_confidence_alone(model, tmp_path):
    student = dataclasses.replace(model.student, novelty=None)
    dataclasses.replace(model, student=student).save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.student.novelty is None
    assert loaded.student.unknown_above == pytest.approx(1 - 0.3)


def test_the_networks_of_a_model_predict_however_they_are_used(folder):
    """Dropout is for training alone, also where a network is called itself."""
    for network in load_model(folder).networks.values():
        assert not any(module.training for module in network.network.modules())


def test_networks_of_two_trainings_are_no_model(model):
    student = dataclasses.replace(model.student, labels=LABELS[::-1])
    with pytest.raises(ValueError, match="labels"):
        dataclasses.replace(model, student=student)
    with pytest.raises(ValueError, match="Teacher"):
        Model()


def test_saving_a_loaded_model_gives_the_same_files(folder, tmp_path):
    load_model(folder).save(tmp_path / "again")
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_the_folder_holds_files_that_are_no_code(folder):
    assert {path.name for path in folder.iterdir()} == {
        "model.json",
        "history.tsv",
        "README.md",
        *FILES,
    }
    for name in FILES:
        assert load_file(folder / name)
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert (content["labels"], content["genes"]) == (LABELS, GENES)
    assert {"plkd", "torch", "numpy", "python"} == content["versions"].keys()
    assert "plkd.model" not in (folder / "model.json").read_text(encoding="utf-8")
    for path in folder.iterdir():  # a pickle starts with its protocol, an archive of them with PK
        assert path.read_bytes()[:2] not in (b"\x80\x02", b"\x80\x04", b"\x80\x05", b"PK")


def test_saving_replaces_an_older_model_as_a_whole(model, folder):
    (folder / "stray").touch()
    model.save(folder)
    assert not (folder / "stray").exists()
    load_model(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_the_layout_of_the_text_is_free(folder):
    """A tool that sorts keys or indents otherwise changes nothing."""
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text(json.dumps(content, sort_keys=True), encoding="utf-8")
    assert load_model(folder).labels == LABELS


# ------------------------------------------------------------------------------------ damages


Change = Callable[[dict[str, Any]], Any]


def edit(change: Change, *, sealed: bool = False) -> Callable[[Path], None]:
    """Change model.json, and its checksum with it where it is `sealed`."""

    def apply(folder: Path) -> None:
        content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        change(content)
        if sealed:
            content["checksum"] = checksum_of(content)
        (folder / "model.json").write_text(json.dumps(content), encoding="utf-8")

    return apply


def truncate(name: str, share: float) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return apply


def of_another_model(name: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        make_model(seed=1).save(folder.parent / "other")
        shutil.copy(folder.parent / "other" / name, folder)

    return apply


CHANGES: dict[str, Change] = {
    "gene removed": lambda content: content["genes"].pop(),
    "gene added": lambda content: content["genes"].append("X"),
    "gene twice": lambda content: content["genes"].__setitem__(0, "G1"),
    "gene a number": lambda content: content["genes"].__setitem__(0, 1),
    "label removed": lambda content: content["labels"].pop(),
    "label added": lambda content: content["labels"].append("X"),
    "token removed": lambda content: content["networks"]["teacher"]["tokens"].pop(),
    "token added": lambda content: content["networks"]["teacher"]["tokens"].append("X"),
    "networks swapped": lambda content: content["networks"].update(
        teacher=content["networks"]["student"], student=content["networks"]["teacher"]
    ),
    "a network more": lambda content: content["files"].pop("student.safetensors"),
    "a network less": lambda content: content["networks"].pop("student"),
    "no networks": lambda content: content.update(networks={}),
    "no files": lambda content: content.pop("files"),
    "no calibration": lambda content: content["networks"]["teacher"].pop("calibration"),
    "no seed": lambda content: content.pop("seed"),
    "another width": lambda content: (
        content["settings"]["teacher"].update(width=4),
        content["settings"]["student"].update(hidden=[4]),
    ),
    "unknown setting": lambda content: content["settings"].update(colour="red"),
    "settings of no kind": lambda content: content.update(settings=3),
    **{
        f"{key} {value}": lambda content, key=key, value=value: content["networks"]["student"][
            "calibration"
        ].update({key: value})
        for key, value in [
            ("temperature", -1),
            ("temperature", 0),
            ("temperature", float("inf")),
            ("temperature", float("nan")),
            ("temperature", "1"),
            ("conformal_threshold", 1.1),
            ("conformal_threshold", -0.1),
            ("unknown_threshold", 2),
            ("alpha", 0),
            ("alpha", 1),
            ("colour", 1),
        ]
    },
    **{
        f"{key} {value}": lambda content, key=key, value=value: content["normalisation"].update(
            {key: value}
        )
        for key, value in [
            ("target_sum", 0),
            ("target_sum", -1),
            ("target_sum", None),
            ("log1p", False),
            ("scaled", True),
        ]
    },
}
UNSEALED: dict[str, Change] = {  # nothing but the checksum can tell
    "labels reversed": lambda content: content["labels"].reverse(),
    "label renamed": lambda content: content["labels"].__setitem__(0, "T cell"),
    "genes swapped": lambda content: content["genes"].reverse(),
    "target_sum": lambda content: content["normalisation"].update(target_sum=1e6),
    "temperature": lambda content: content["networks"]["student"]["calibration"].update(
        temperature=2
    ),
    "no checksum": lambda content: content.pop("checksum"),
}
DAMAGES: dict[str, Callable[[Path], None]] = {
    "no model.json": lambda folder: (folder / "model.json").unlink(),
    "no history.tsv": lambda folder: (folder / "history.tsv").unlink(),
    "no folder": lambda folder: shutil.rmtree(folder),
    "model.json cut": truncate("model.json", 0.5),
    "model.json empty": truncate("model.json", 0.0),
    "model.json of something else": lambda folder: (folder / "model.json").write_text("[1, 2]"),
    "model.json is binary": lambda folder: (folder / "model.json").write_bytes(bytes(range(256))),
    "newer format": edit(lambda content: content.update(format=3), sealed=True),
    "no format": edit(lambda content: content.pop("format"), sealed=True),
    **{f"no {name}": lambda folder, name=name: (folder / name).unlink() for name in FILES},
    **{f"{name} cut": truncate(name, 0.9) for name in FILES},
    **{f"{name} empty": truncate(name, 0.0) for name in FILES},
    **{f"{name} of another": of_another_model(name) for name in FILES},
    **{f"{name}, noticed": edit(change) for name, change in (CHANGES | UNSEALED).items()},
    **{f"{name}, sealed": edit(change, sealed=True) for name, change in CHANGES.items()},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused_by_name(damage, tmp_path):
    folder = tmp_path / "model"
    make_model().save(folder)
    DAMAGES[damage](folder)
    with pytest.raises(InputError) as caught:
        load_model(folder)
    assert str(folder) in str(caught.value)


def test_another_format_says_what_to_do(folder):
    DAMAGES["newer format"](folder)
    with pytest.raises(InputError, match=r"format 3.*update plkd"):
        load_model(folder)


def test_the_first_layout_is_refused_with_what_mends_it(tmp_path):
    """One network, `classes` and `patterns`: what versions before the first release wrote."""
    old = {"format": 1, "kind": "student", "classes": LABELS, "genes": GENES, "patterns": []}
    (tmp_path / "model.json").write_text(json.dumps(old), encoding="utf-8")
    (tmp_path / "weights.safetensors").touch()
    with pytest.raises(InputError, match=r"format 1.*[Tt]rain the model again.*plkd train"):
        load_model(tmp_path)


def test_settings_of_another_version_say_what_to_do(folder):
    """`label_smoothing` was a setting before the first release."""

    def older(content: dict[str, Any]) -> None:
        content["settings"]["teacher_training"]["label_smoothing"] = 0.0
        content["versions"]["plkd"] = "0.0.9"

    edit(older, sealed=True)(folder)
    with pytest.raises(
        InputError,
        match=r"of another version of plkd \(0\.0\.9; .*'label_smoothing'.*train it again, with",
    ) as caught:
        load_model(folder)
    assert "damaged" not in str(caught.value)


# ------------------------------------------------------------------------------------ predicting


@pytest.mark.parametrize("n_genes", [0, len(GENES) - 1, len(GENES) + 1])
def test_cells_with_other_genes_are_refused(network, n_genes):
    with pytest.raises(InputError, match=f"{n_genes} genes.*{len(GENES)}"):
        network.predict(make_cells(4, n_genes))


def test_threads_share_a_network(network):
    cells = make_cells(200)
    expected = network.predict(cells)[0]
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: network.predict(cells, batch_size=50)[0], range(8)):
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_network_stays_where_it_is(network):
    assert network.to("cpu") is network
    elsewhere = network.to("meta")
    assert elsewhere.device.type == "meta"
    assert network.device.type == "cpu"
    network.predict(make_cells())


@pytest.mark.parametrize("batch_size", [1, 7, 49, 50, 1000])
def test_the_batch_size_changes_no_prediction(network, batch_size):
    cells = make_cells()
    expected, embedding = network.predict(cells)
    found, found_embedding = network.predict(cells, batch_size=batch_size)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found_embedding, embedding, rtol=1e-4, atol=1e-5)


def test_probabilities_are_the_calibrated_softmax(network):
    cells = make_cells()
    probabilities, embedding = network.predict(cells)
    assert probabilities.dtype == embedding.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-6)
    with torch.no_grad():
        logits, expected = network.network.eval()(torch.from_numpy(cells.toarray()))
    softmax = (logits / network.calibration.temperature).softmax(dim=1)
    np.testing.assert_allclose(probabilities, softmax, atol=1e-6)
    np.testing.assert_allclose(embedding, expected, rtol=1e-4, atol=1e-5)


def test_no_cells_give_empty_tables_of_the_right_width(network):
    probabilities, embedding = network.predict(make_cells(0))
    assert probabilities.shape == (0, 3)
    assert embedding.shape == (0, network.predict(make_cells(1))[1].shape[1])


def test_predicting_leaves_the_cells_alone_and_dropout_out(network):
    cells = make_cells()
    cells.data.flags.writeable = False
    network.network.train()
    first, second = network.predict(cells)[0], network.predict(cells)[0]
    assert np.array_equal(first, second)


def test_other_matrix_types_predict_the_same(network):
    cells = make_cells()
    expected, _ = network.predict(cells)
    for other in (sparse.csr_array(cells), cells.astype(np.float64), cells.tocsc().tocsr()):
        np.testing.assert_allclose(network.predict(other)[0], expected, atol=1e-6)


def test_the_caller_can_learn_between_two_batches_of_logits(network):
    """Inference mode must not reach out of the generator."""
    batches = network.logits(make_cells(), batch_size=20)
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
    for variant in VARIANTS:
        for network in make_model(variant).networks.values():
            expected = network.predict(cells)
            for found, wanted in zip(network.to("cuda").predict(cells), expected, strict=True):
                np.testing.assert_allclose(found, wanted, atol=1e-4)
