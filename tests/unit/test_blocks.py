"""References larger than memory: cells are read from disk in shuffled blocks."""

from __future__ import annotations

import dataclasses
import tracemalloc
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from plkd.errors import InputError
from plkd.io import blocks
from plkd.io.blocks import Cells, CellsOnDisk, batches_of, chunks_of, in_windows
from plkd.io.h5ad_writer import chunked_h5ad
from plkd.model import loop
from plkd.model.cross_fitting import cross_fit
from plkd.model.distillation import soft_labels
from plkd.model.reference import Reference
from plkd.model.training import train_student, train_teacher
from plkd.pathways.mask import Mask
from plkd.settings.presets import resolve

GENES, LABELS = 30, 3


def on_disk(cells: sparse.csr_matrix, path: Path) -> CellsOnDisk:
    frame = ad.AnnData(obs=pd.DataFrame(index=[f"c{i}" for i in range(cells.shape[0])]))
    frame = ad.AnnData(obs=frame.obs, var=pd.DataFrame(index=[f"g{i}" for i in range(GENES)]))
    with chunked_h5ad(path, frame) as append:
        append("X", cells)
    return CellsOnDisk.of(path)


def make_reference(n_cells: int = 400) -> Reference:
    """Cells in the order of their labels, each with genes of its own above the others."""
    rng = np.random.default_rng(0)
    codes = np.sort(rng.integers(LABELS, size=n_cells))
    mean = np.full((LABELS, GENES), 0.3)
    for label in range(LABELS):
        mean[label, label * 10 : label * 10 + 6] = 2.0
    values = np.log1p(rng.poisson(mean[codes])).astype(np.float32)
    genes = [f"g{i}" for i in range(GENES)]
    return Reference(sparse.csr_matrix(values), codes, genes, list("abc"))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_CELLS", 8)
    monkeypatch.setattr(blocks, "WINDOW_CELLS", 64)
    monkeypatch.setattr(blocks, "CHUNK_CELLS", 50)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return make_reference()


@pytest.fixture(scope="module")
def stored(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    path = tmp_path_factory.mktemp("blocks") / "cells.h5ad"
    return dataclasses.replace(reference, cells=on_disk(reference.cells, path))


def equal(one: sparse.csr_matrix, other: sparse.csr_matrix) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and not (one != other).nnz


# ------------------------------------------------------------------------------------ reading


@pytest.mark.parametrize(
    "rows",
    [
        slice(3, 21),
        slice(5, 5),
        np.array([0, 7, 8, 399]),
        np.array([399, 0, 7, 7, 120]),
        np.empty(0, dtype=int),
    ],
)
def test_rows_are_those_of_the_matrix(reference: Reference, stored: Reference, rows: Any) -> None:
    assert equal(stored.cells[rows], reference.cells[rows])


def test_chunks_are_the_whole_matrix(reference: Reference, stored: Reference) -> None:
    found = list(chunks_of(stored.cells))
    assert [rows.stop for rows, _ in found] == list(range(50, 401, 50))
    assert equal(sparse.vstack([cells for _, cells in found], format="csr"), reference.cells)


def test_an_epoch_has_the_cells_that_were_drawn_in_few_blocks_at_a_time() -> None:
    rng = np.random.default_rng(1)
    drawn = rng.choice(403, size=500)  # some often, some never
    windows = in_windows(drawn, 403, rng)
    assert np.array_equal(np.sort(np.concatenate(windows)), np.sort(drawn))
    of_window = [set(window // 8) for window in windows]
    assert all(len(own) <= 8 for own in of_window)
    assert sum(map(len, of_window)) == len(set.union(*of_window))  # a block is read once
    assert any((np.diff(window) < 0).any() for window in windows)
    assert len(in_windows(drawn, 64, rng)) == 1


@pytest.mark.parametrize("size", [7, 64, 1000])
def test_batches_are_the_same_from_memory_and_disk(
    reference: Reference, stored: Reference, size: int
) -> None:
    rng = np.random.default_rng(1)
    windows = in_windows(rng.permutation(400)[:390], 400, rng)
    memory, disk = (list(batches_of(one.cells, windows, size)) for one in (reference, stored))
    assert [len(rows) for rows, _ in disk[:-1]] == [size] * (len(disk) - 1)
    for (rows, cells), (other_rows, other_cells) in zip(memory, disk, strict=True):
        assert np.array_equal(rows, other_rows)
        assert equal(cells, other_cells)


def test_memory_does_not_grow_with_the_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_CELLS", 256)
    monkeypatch.setattr(blocks, "WINDOW_CELLS", 2048)

    def peak(n_cells: int) -> int:
        cells = sparse.random(n_cells, GENES, 0.5, "csr", np.float32, random_state=0)
        stored = on_disk(cells, tmp_path / f"{n_cells}.h5ad")
        order = np.random.default_rng(0).permutation(n_cells)
        windows = in_windows(order, n_cells, np.random.default_rng(0))
        tracemalloc.start()
        for _ in batches_of(stored, windows, 64):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    added = 20_000 * GENES * 0.5 * 8  # bytes of values and columns
    # the one or two windows that are read ahead, or not yet
    assert peak(30_000) - peak(10_000) < added / 5


def test_a_damaged_file_is_named(reference: Reference, tmp_path: Path) -> None:
    stored = on_disk(reference.cells, tmp_path / "cells.h5ad")
    with h5py.File(stored.path, "r+") as file:
        del file["X/data"]
    with pytest.raises(InputError, match=r"cells.h5ad'"):
        _ = stored[:3]


# ------------------------------------------------------------------------------------ learning

QUICK = {
    "epochs": 2,
    "min_steps": 0,
    "batch_size": 16,
    "learning_rate": 0.01,
    "gene_dropout": 0.2,
    "input_noise": 0.01,
}
SETTINGS = resolve(
    {
        "preset": "default",
        "teacher": {"width": 8},
        "teacher_training": QUICK,
        "student": {"hidden": [16]},
        "student_training": QUICK,
        "jury": {"max_cells": 150, "folds": 2},
    }
)


def train(reference: Reference, settings: Any = SETTINGS, **options: Any) -> Any:
    columns = np.kron(np.eye(3), np.ones((10, 1))).astype(bool)
    mask = Mask(reference.genes, list("abc"), sparse.csc_array(columns), pd.DataFrame())
    return train_teacher(reference, mask, settings, progress=False, **options)


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(
        torch.equal(a, b)
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


def test_models_learn_the_same_from_memory_and_disk(
    reference: Reference, stored: Reference
) -> None:
    models = []
    for cells in (reference, stored):
        teacher = train(cells)
        evidence = cross_fit(cells, SETTINGS, progress=False)
        models.append(train_student(cells, teacher, evidence, progress=False))
    memory, disk = models
    assert same_weights(memory.teacher.network, disk.teacher.network)
    assert same_weights(memory.student.network, disk.student.network)
    assert memory.student.calibration == disk.student.calibration
    for name in ("components", "cells", "distances"):
        np.testing.assert_array_equal(
            getattr(memory.student.novelty, name), getattr(disk.student.novelty, name)
        )
    np.testing.assert_array_equal(
        memory.teacher.background.label_means, disk.teacher.background.label_means
    )
    pd.testing.assert_frame_equal(memory.history, disk.history)
    assert disk.history["validation_accuracy"].iloc[-1] > 0.9  # the labels lie one after another


def test_soft_labels_of_many_cells_teach_the_same(reference: Reference, stored: Reference) -> None:
    weights = torch.randn(GENES, LABELS, generator=torch.manual_seed(0))
    found = soft_labels(lambda x: 5 * x @ weights, stored.cells)
    assert found.dtype == torch.float16
    said = torch.from_numpy(reference.cells.toarray()) @ weights
    torch.testing.assert_close(
        found.float().softmax(dim=1), (5 * said).softmax(dim=1), rtol=0.01, atol=1e-4
    )


def test_a_training_on_cells_on_disk_goes_on_where_it_was(
    stored: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(stored)
    save = loop.save_progress

    def stop_after_one(*arguments: Any) -> None:
        save(*arguments)
        if arguments[4] == 1:
            raise KeyboardInterrupt

    resume_file = tmp_path / "teacher.resume.pt"
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_SAVES", 0.0)
    monkeypatch.setattr(loop, "save_progress", stop_after_one)
    with pytest.raises(KeyboardInterrupt):
        train(stored, resume_file=resume_file)
    monkeypatch.setattr(loop, "save_progress", save)
    epochs: list[Any] = []
    monkeypatch.setattr(loop, "batches_of", lambda *a: epochs.append(1) or batches_of(*a))
    resumed = train(stored, resume_file=resume_file)
    assert len(epochs) == 1
    assert same_weights(resumed.teacher.network, whole.teacher.network)


def test_every_cell_is_learnt_from_once_in_an_epoch(
    stored: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []

    def watched(cells: Cells, *arguments: Any) -> Any:
        for rows, values in batches_of(cells, *arguments):
            assert equal(values, cells[rows])
            seen.append(rows)
            yield rows, values

    monkeypatch.setattr(loop, "batches_of", watched)
    choice = dataclasses.replace(SETTINGS.teacher_training, sampling="natural", epochs=1)
    train(stored, dataclasses.replace(SETTINGS, teacher_training=choice))
    rows = np.concatenate(seen)
    assert len(np.unique(rows)) == len(rows) == 360  # all that are not held out
