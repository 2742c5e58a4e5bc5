"""Files that are whole or absent: full disks, killed processes, damaged files."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from scipy import sparse

from full_disk import full_disk
from plkd.errors import InputError
from plkd.evaluation.embeddings import umap_of_query
from plkd.evaluation.tables import read_methods, read_truth
from plkd.interpret.attributed_cells import AttributedCells
from plkd.io.embedding import read_embedded_cells, write_embedding
from plkd.io.h5ad_writer import chunked_h5ad
from plkd.model.resume import save_progress
from plkd.prediction.table import prediction_table, write_predictions
from plkd.utils.files import (
    copy_file,
    intact,
    read_json,
    scratch_folder,
    whole_file,
    whole_folder,
    write_json,
)
from plkd.utils.hdf5 import hdf5_file, write_h5ad
from plkd.utils.logs import logger, run_script, start_logging
from plkd.utils.tables import write_tsv

# On a full disk HDF5 cannot close a file that another test left open, and ends the process.
pytestmark = pytest.mark.fresh

NOISE = np.random.default_rng(0).normal(size=(400, 500)).astype(np.float32)


def noisy_h5ad(path: Path) -> None:
    with whole_file(path) as temporary:
        write_h5ad(ad.AnnData(sparse.csr_matrix(NOISE)), temporary)


def chunks(path: Path) -> None:
    frame = ad.AnnData(obs=pd.DataFrame(index=[f"c{i}" for i in range(400)]))
    frame = ad.AnnData(obs=frame.obs, var=pd.DataFrame(index=[f"g{i}" for i in range(500)]))
    with whole_file(path) as temporary, chunked_h5ad(temporary, frame) as append:
        for row in range(0, 400, 10):
            append("X", sparse.csr_matrix(NOISE[row : row + 10]))


def added_to_an_h5ad(path: Path) -> None:
    with whole_file(path) as temporary:
        with hdf5_file(temporary) as file:
            file["small"] = NOISE[:2]
        with hdf5_file(temporary, "r+") as file:
            file["large"] = NOISE


def resume_file(path: Path) -> None:
    network = torch.nn.Linear(400, 500)
    save_progress(path, "run", network, torch.optim.SGD(network.parameters()), 1, [])


def model_folder(path: Path) -> None:
    with whole_folder(path) as folder:
        save_file({"weights": torch.from_numpy(NOISE)}, folder / "student.safetensors")


def attributions(path: Path) -> None:
    AttributedCells(
        np.arange(400).astype(str),
        [f"g{i}" for i in range(500)],
        ["a"],
        np.zeros(400, dtype=int),
        NOISE,
        sparse.csr_matrix(NOISE),
        NOISE[0],
        np.zeros(1),
        np.zeros(400),
    ).save(path)


def predictions(path: Path) -> None:
    shares = np.abs(NOISE[:, :200])
    shares /= shares.sum(axis=1, keepdims=True)
    labels = [f"label {i}" for i in range(200)]
    write_predictions(prediction_table(np.arange(400).astype(str), labels, shares), path)


WRITERS: dict[str, Callable[[Path], None]] = {
    "x.h5ad": noisy_h5ad,
    "chunks.h5ad": chunks,
    "added.h5ad": added_to_an_h5ad,
    "resume.pt": resume_file,
    "model": model_folder,
    "attributions.npz": attributions,
    "predictions.parquet": predictions,
    "table.tsv": lambda path: write_tsv(pd.DataFrame(NOISE), path, digits=None),
    "x.json": lambda path: write_json(path, NOISE.tolist()),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_one_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with full_disk(), pytest.raises(InputError) as caught:
        WRITERS[name](path)
    message = str(caught.value)
    assert message.startswith(f"'{path}' cannot be written (file too large): it needs more than")
    assert f"'{tmp_path}' has" in message
    assert "Make room there" in message
    assert "\n" not in message
    assert not list(tmp_path.iterdir())
    WRITERS[name](path)  # there is room again
    assert [one.name for one in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("of_system", ["as it is", "fails", "copies nothing", "is not there"])
def test_a_copy_is_whole_whatever_the_system_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_system: str
) -> None:
    (tmp_path / "old").write_bytes(bytes(range(256)) * 1000)
    (tmp_path / "new").write_bytes(b"what was there before " * 20_000)
    answers = {"fails": OSError("another disk"), "copies nothing": 0}
    if of_system in answers:
        of_file = Mock(side_effect=[answers[of_system]])
        monkeypatch.setattr(os, "copy_file_range", of_file, raising=False)
    if of_system == "is not there":
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    copy_file(tmp_path / "old", tmp_path / "new")
    assert (tmp_path / "new").read_bytes() == (tmp_path / "old").read_bytes()


def test_what_is_known_to_be_needed_is_asked_for_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 3_000_000

    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage)
    path = tmp_path / "copy.h5ad"
    with (
        pytest.raises(InputError, match=rf"'{path}' needs 5.0 MB, and '{tmp_path}' has 3.0 MB"),
        whole_file(path, needs=5_000_000),
    ):
        pytest.fail("work began")
    with whole_file(path, needs=3_000_000) as temporary:
        temporary.touch()


def test_a_process_on_a_full_disk_ends_like_any_other(tmp_path: Path) -> None:
    """HDF5 crashes at the end of a process, and prints much, where a file could not be closed."""
    code = f"""
import sys; sys.path[:0] = {sys.path!r}
from test_files import *
with full_disk():
    try:
        noisy_h5ad(Path({str(tmp_path / "x.h5ad")!r}))
    except InputError as error:
        print(error)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    )
    # a warning, which some versions of libraries give, is a line and the indented one of its source
    noise = [one for one in ended.stderr.splitlines() if "Warning" not in one and one[:2] != "  "]
    assert (ended.returncode, noise) == (0, [])
    assert ended.stdout.count("\n") == 1


class Step:
    """As much of a rule as a script is given."""

    def __init__(self, log: Path | None) -> None:
        self.log = [str(log)] if log else []


def test_a_script_on_a_full_disk_says_it_in_its_log(tmp_path: Path) -> None:
    def main(step: Step) -> None:
        (tmp_path / "anywhere.txt").write_bytes(NOISE.tobytes())

    with full_disk(), pytest.raises(SystemExit):
        run_script(main, Step(tmp_path / "step.log"))
    log = (tmp_path / "step.log").read_text()
    assert log.count("\n") == 1
    assert "cannot be written (file too large): make room on its disk" in log


def test_what_the_log_has_no_room_for_is_said_in_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start_logging(tmp_path / "step.log")
    with full_disk(10):
        logger.error("no room for this sentence")
    told = capsys.readouterr().err
    assert "no room for this sentence" in told
    assert "Traceback" not in told
    logging.shutdown([])


# ------------------------------------------------------------------------------ killed processes

HOLDS_A_SCRATCH_FOLDER = """
import sys, time; sys.path[:0] = {path!r}
from plkd.utils.files import whole_file
with whole_file({target!r}) as temporary:
    temporary.write_text("half")
    print("begun", flush=True)
    time.sleep(60)
"""


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    code = HOLDS_A_SCRATCH_FOLDER.format(path=sys.path, target=str(target))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    half = next(tmp_path.glob(".partial-*/x.txt"))
    with whole_file(tmp_path / "other.txt") as temporary:
        temporary.touch()
    assert half.read_text() == "half"  # its process is alive
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (tmp_path / ".partial-of-another-program").mkdir()
    with whole_file(tmp_path / "another.txt") as temporary:
        temporary.touch()
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        ".partial-of-another-program", "another.txt", "other.txt",
    ]  # fmt: skip


def test_scratch_folders_of_one_process_leave_each_other_alone(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as one:
        (one / "a").touch()
        with scratch_folder(tmp_path) as other:
            assert one != other
            assert (one / "a").exists()
        assert (one / "a").exists()
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------- damaged files


def embedding(path: Path) -> None:
    write_embedding({"query": (pd.Series(["c1", "c2"]), NOISE[:2])}, path)


def truth(path: Path) -> None:
    pd.DataFrame({"cell_id": ["c1"], "label": ["B"], "batch": ["1"]}).to_parquet(path)


Intermediate = tuple[Callable[[Path], None], Callable[[Path], object], str]

INTERMEDIATES: dict[str, Intermediate] = {
    "predictions.parquet": (predictions, lambda path: read_methods([path]), "method"),
    "student.parquet": (predictions, lambda path: read_methods([path]), "predict"),
    "truth.parquet": (truth, read_truth, "prepare"),
    "student.h5ad": (embedding, read_embedded_cells, "predict"),
    "attributions.npz": (attributions, AttributedCells.load, "attribute_genes"),
    "report.json": (
        lambda path: write_json(path, {"n": 1}),
        lambda path: read_json(path, "prepare"),
        "prepare",
    ),
    "umap.tsv": (
        lambda path: write_tsv(pd.DataFrame({"cell_id": ["c1"], "umap1": [0.5]}), path),
        lambda path: umap_of_query(path, ["c1"]),
        "map_cells",
    ),
}


@pytest.mark.parametrize("name", INTERMEDIATES)
@pytest.mark.parametrize("damage", ["absent", "empty", "half", "something else"])
def test_a_damaged_intermediate_names_the_rule(tmp_path: Path, name: str, damage: str) -> None:
    write, read, rule = INTERMEDIATES[name]
    path = tmp_path / name
    write(path)
    if name != "umap.tsv":  # it lacks columns as it stands
        read(path)
    content = path.read_bytes()
    path.unlink()
    if damage != "absent":
        path.write_bytes(
            {"empty": b"", "half": content[: len(content) // 2]}.get(damage, b"\x00no file at all")
        )
    with pytest.raises(InputError, match=rf"'{path}'.* rule {rule} makes it") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_altered_intermediates_name_the_rule(tmp_path: Path) -> None:
    path = tmp_path / "truth.parquet"
    pd.DataFrame({"cell_id": ["c", "c"], "label": "B", "batch": "1"}).to_parquet(path)
    with pytest.raises(InputError, match=r"a cell stands there twice.*rule prepare"):
        read_truth(path)
    pd.DataFrame({"cell_id": ["c"], "batch": "1"}).to_parquet(path)
    with pytest.raises(InputError, match=r"label.*rule prepare"):
        read_truth(path)
    path = tmp_path / "student.h5ad"
    write_embedding({"query": (pd.Series(["c1", "c2"]), NOISE[:2] * np.nan)}, path)
    with pytest.raises(InputError, match=r"not a finite number.*rule predict"):
        read_embedded_cells(path)
    ad.AnnData(NOISE[:2]).write_h5ad(path)
    with pytest.raises(InputError, match=r"no column 'cell_id', 'role'.*rule predict"):
        read_embedded_cells(path)
    path = tmp_path / "attributions.npz"
    attributions(path)
    parts = dict(np.load(path))
    for name, value in (("genes", parts["genes"][1:]), ("codes", parts["codes"] + 1)):
        np.savez(path, **{**parts, name: value})
        with pytest.raises(InputError, match=r"(of different sizes|none of the).*attribute_genes"):
            AttributedCells.load(path)


def test_a_damaged_file_names_the_rule_that_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with (
        pytest.raises(InputError, match=rf"'{path}' does not exist: .*rule attribute_genes"),
        intact(path, "attribute_genes"),
    ):
        pytest.fail("there is nothing to read")
    path.write_bytes(b"PK" + os.urandom(20))
    with (
        pytest.raises(
            InputError, match=rf"'{path}' is damaged or was altered \(.*\): delete it and run "
        ),
        intact(path, "attribute_genes"),
    ):
        np.load(path)
