"""The command line: mistakes are refused before any work, and help teaches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from plkd.cli import main
from plkd.cli.command import parser
from plkd.cli.train import settings_of
from plkd.errors import InputError
from simulated import make_cells
from trained import trained_model

COMMANDS = ("train", "annotate", "report", "explain", "info")
COMMANDS += ("label-tree", "gene-activity", "simulate")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A query, a model, and things that are neither."""
    folder = tmp_path_factory.mktemp("files")
    make_cells(60, 110, types=4, seed=5).write_h5ad(folder / "query.h5ad")
    trained_model().save(folder / "model")
    (folder / "notes.txt").write_text("no cells\n")
    (folder / "full").mkdir()
    (folder / "full" / "precious.txt").write_text("keep me\n")
    (folder / "cells.zarr").mkdir()
    return folder


@pytest.fixture(autouse=True)
def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


REFUSED = {
    "annotate: no query": (
        "annotate absent.h5ad --model model -o new/out.h5ad",
        "QUERY 'absent.h5ad': there is no such file",
    ),
    "annotate: no model": (
        "annotate query.h5ad --model absent -o new/out.h5ad",
        "'absent' is no model folder",
    ),
    "annotate: onto the query": (
        "annotate query.h5ad --model model -o ./query.h5ad",
        "is the input itself",
    ),
    "annotate: a folder": ("annotate query.h5ad --model model -o full", "must end in .h5ad"),
    "annotate: csv": ("annotate query.h5ad --model model -o out.csv", "must end in .h5ad"),
    "annotate: zarr": ("annotate query.h5ad --model model -o out.zarr", "must end in .h5ad"),
    "annotate: h5mu of an h5ad": (
        "annotate query.h5ad --model model -o out.h5mu",
        "the annotated copy of this file must end in .h5ad",
    ),
    "annotate: into the model": (
        "annotate query.h5ad --model model -o model/out.h5ad",
        "lies in the folder 'model'",
    ),
    "annotate: into the query": (
        "annotate cells.zarr --model model -o cells.zarr/out.h5ad",
        "lies in the folder 'cells.zarr'",
    ),
    "annotate: table onto the query": (
        "annotate query.h5ad --model model -o out.h5ad --table query.h5ad",
        "must end in .tsv or .parquet",
    ),
    "annotate: table of another kind": (
        "annotate query.h5ad --model model -o out.h5ad --table out.xlsx",
        "must end in .tsv or .parquet",
    ),
    "annotate: nothing to write": (
        "annotate query.h5ad --model model",
        "nothing to write: give `-o` (an annotated copy), `--table`, or both",
    ),
    "annotate: groups without a copy": (
        "annotate query.h5ad --model model --table out.tsv --cluster",
        "are columns of an annotated copy: give `-o` too",
    ),
    "annotate: chunks of nothing": (
        "annotate query.h5ad --model model -o out.h5ad --chunk-size 0",
        "--chunk-size 0: give at least 1",
    ),
    "annotate: no such device": (
        "annotate query.h5ad --model model -o new/out.h5ad --device quantum",
        "no kind of device 'quantum'",
    ),
    "annotate: no cells": ("annotate notes.txt --model model -o new/out.h5ad", "notes.txt"),
    "explain: picture": (
        "explain query.h5ad --model model --label x -o why.pdf",
        "must end in .png",
    ),
    "explain: table onto the picture": (
        "explain query.h5ad --model model --label x -o why.png --table why.png",
        "must end in .tsv",
    ),
    "explain: no genes to print": (
        "explain query.h5ad --model model --label x --top 0",
        "--top 0: give at least 1",
    ),
    "explain: no column": (
        "explain query.h5ad --model model --obs batch",
        "--obs 'batch': expected COLUMN=VALUE",
    ),
    "info: no model": ("info full", "'full' is no model folder"),
    "gene-activity: onto the input": (
        "gene-activity query.h5ad --annotation notes.txt -o query.h5ad",
        "is the input itself",
    ),
    "gene-activity: no annotation": (
        "gene-activity query.h5ad --annotation absent.gtf -o new/out.h5ad",
        "--annotation 'absent.gtf': there is no such file",
    ),
    "gene-activity: another format": (
        "gene-activity query.h5ad --annotation notes.txt -o out.loom",
        "must end in .h5ad",
    ),
    "train: no reference": (
        "train absent.h5ad --labels cell_type -o new",
        "REFERENCE 'absent.h5ad': there is no such file",
    ),
    "train: no gene sets": (
        "train query.h5ad --labels cell_type --gene-sets absent.gmt -o new",
        "absent.gmt': there is no such file",
    ),
    "train: no such column": ("train query.h5ad --labels celltype -o new", "'celltype'"),
    "train: onto a file": ("train query.h5ad --labels cell_type -o notes.txt", "is a file"),
    "train: onto other things": (
        "train query.h5ad --labels cell_type -o full",
        "is a folder with other things in it",
    ),
    "train: around the reference": ("train query.h5ad --labels cell_type -o .", "holds the input"),
    "train: half a filter": (
        "train query.h5ad --labels cell_type -o new --keep batch",
        "--keep 'batch': expected COLUMN=VALUE",
    ),
    "train: half a setting": (
        "train query.h5ad --labels cell_type -o new --set teacher.width",
        "expected KEY=VALUE",
    ),
    "train: no such setting": (
        "train query.h5ad --labels cell_type -o new --set teacher.wdith=3",
        "unknown key 'wdith'",
    ),
    "train: setting out of limits": (
        "train query.h5ad --labels cell_type -o new --set teacher.width=0",
        "teacher.width = 0: must be at least 1",
    ),
}


@pytest.mark.parametrize("mistake", list(REFUSED))
def test_mistakes_are_refused_and_leave_nothing(
    mistake: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, message = REFUSED[mistake]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert main(command.split()) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["label"],
        ["annotate", "query.h5ad"],
        ["explain", "query.h5ad", "--model", "model"],
        ["explain", "query.h5ad", "--model", "model", "--cell", "a", "--label", "b"],
        ["train", "query.h5ad", "--labels", "cell_type", "-o", "new", "--preset", "none"],
        ["simulate", "sim", "--cells", "many"],
    ],
    ids=" ".join,
)
def test_what_is_not_understood_is_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: plkd" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_that_is_understood_and_the_exit_codes(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    example = text.split("example:\n")[1].splitlines()[0].split()
    assert example[:2] == ["plkd", command]
    parser().parse_args(example[1:])
    assert "130  interrupted" in text


def test_an_interruption_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("plkd.model.trained_model.load_model", interrupted)
    assert main(["info", "model"]) == 130


def test_info_says_what_a_model_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "model"]) == 0
    text = capsys.readouterr().out
    model = trained_model()
    assert all(label in text for label in model.labels)
    assert "110 genes" in text
    assert main(["info", "model", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert list(content["labels"]) == model.labels
    assert sum(content["labels"].values()) == 400
    assert content["genes"] == model.genes
    assert content["pathways"] == model.require("teacher").tokens
    assert content["unknown_above"] == 1 - model.require("student").calibration.alpha


def test_settings_are_nested_by_their_dots() -> None:
    assert settings_of(["teacher.width=16", "student.hidden=[32, 16]", "gene_weights=equal"]) == {
        "teacher": {"width": 16},
        "student": {"hidden": [32, 16]},
        "gene_weights": "equal",
    }
    with pytest.raises(InputError, match="given a value elsewhere"):
        settings_of(["teacher=1", "teacher.width=16"])


def test_the_package_and_help_load_no_heavy_library() -> None:
    """Neither torch nor anndata, pandas or numpy: what is not used costs no time."""
    code = (
        "import sys, plkd, plkd.cli.command\n"
        "assert plkd.__version__ and 'train' in dir(plkd)\n"
        "plkd.cli.command.parser().format_help()\n"
        "heavy = {'torch', 'anndata', 'pandas', 'numpy', 'scipy', 'sklearn'}\n"
        "print(sorted(heavy & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "[]"
