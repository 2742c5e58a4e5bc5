"""The API: a notebook's way from labelled cells to the labels of others, and to the reasons."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

import plkd
from plkd.cli import main
from plkd.prediction.table import read_predictions
from project import SETTINGS, make_project

OBS = {
    "label": "category",
    "confidence": "float32",
    "margin": "float32",
    "entropy": "float32",
    "unknown": "bool",
    "unknown_score": "float32",
    "prediction_set": "category",
    "reason": "category",
    "label_or_unassigned": "category",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reference, a query that has a label more, and gene sets."""
    return make_project(tmp_path_factory.mktemp("project")).folder


@pytest.fixture
def reference(folder: Path) -> ad.AnnData:
    return ad.read_h5ad(folder / "reference.h5ad")


@pytest.fixture
def query(folder: Path) -> ad.AnnData:
    return ad.read_h5ad(folder / "query.h5ad")


def trained(reference: ad.AnnData | Path, folder: Path, **options: object) -> plkd.Model:
    return plkd.train(
        reference,
        labels_key="cell_type",
        batch_key="batch",
        gene_sets=folder / "markers.gmt",
        **{"overrides": SETTINGS, "seed": 3, "progress": False, **options},
    )


@pytest.fixture(scope="module")
def model(folder: Path) -> plkd.Model:
    return trained(folder / "reference.h5ad", folder)


def test_a_notebook_gets_labels_and_reasons(
    model: plkd.Model, query: ad.AnnData, tmp_path: Path
) -> None:
    counts, known = query.X.copy(), query.obs["cell_type"].astype(str)
    assert plkd.annotate(query, model, progress=False) is None
    assert (counts != query.X).nnz == 0
    seen = known.isin(model.labels)
    assert (query.obs["plkd_label"].astype(str)[seen] == known[seen]).mean() > 0.9
    for name, kind in OBS.items():
        assert str(query.obs[f"plkd_{name}"].dtype) == kind, name
    assert query.obsm["X_plkd"].shape == (query.n_obs, 32)
    assert query.obsm["plkd_probabilities"].shape == (query.n_obs, len(model.labels))
    assert list(query.uns["plkd"]["labels"]) == model.labels
    query.write_h5ad(tmp_path / "annotated.h5ad")

    cell = query.obs_names[5]
    why = plkd.explain(query, model, cell=cell)
    assert why.label == query.obs["plkd_label"].iloc[5]
    assert set(why.table["kind"]) >= {"gene", "pathway"}
    assert why.genes["gene"].iloc[0] in why.text()
    assert why.pathways is not None
    assert json.loads(json.dumps(why.to_dict()))["label"] == why.label
    assert isinstance(why.plot(), Figure)

    model.save(tmp_path / "model")
    again = plkd.load(tmp_path / "model")
    assert repr(again) == repr(model)
    pd.testing.assert_frame_equal(
        plkd.annotate(query, again, inplace=False, progress=False),
        plkd.annotate(query, tmp_path / "model", inplace=False, progress=False),
    )


def test_a_model_says_what_it_is(model: plkd.Model, reference: ad.AnnData) -> None:
    counts = reference.obs["cell_type"].value_counts()
    assert repr(model).startswith(f"Model of 4 labels, {len(model.genes)} genes, ")
    text = model.card()
    for label, number in counts.items():
        assert f"| {label} | {number} |" in text
    assert "reference.h5ad" in text
    assert model.cells_per_label == counts.sort_index().to_dict()


def test_memory_disk_and_backed_give_the_same(
    folder: Path, reference: ad.AnnData, query: ad.AnnData, model: plkd.Model
) -> None:
    from_memory = trained(reference, folder)
    assert from_memory.genes == model.genes
    expected = plkd.annotate(folder / "query.h5ad", model, progress=False)
    backed = ad.read_h5ad(folder / "query.h5ad", backed="r")
    for cells in (query, backed, folder / "query.h5ad"):
        found = plkd.annotate(cells, from_memory, inplace=False, progress=False)
        pd.testing.assert_frame_equal(found, expected)
    plkd.annotate(backed, model, progress=False)
    assert list(backed.obs["plkd_label"]) == list(expected["label"])


def test_copies_keys_and_layers(query: ad.AnnData, model: plkd.Model) -> None:
    query.layers["counts"] = query.X.copy()
    expected = plkd.annotate(query, model, inplace=False, progress=False)
    query.X = query.X * np.nan
    names = set(query.obs)
    copied = plkd.annotate(
        query, model, copy=True, layer="counts", key_added="mine", progress=False
    )
    assert set(query.obs) == names
    assert list(copied.obs["mine_label"]) == list(expected["label"])
    assert "X_mine" in copied.obsm
    assert "mine" in copied.uns
    with pytest.raises(plkd.InputError, match="NaN"):
        plkd.annotate(query, model, progress=False)
    with pytest.raises(plkd.InputError, match="says log1p, but most cells"):
        plkd.annotate(query, model, layer="counts", scale="log1p", progress=False)
    with pytest.raises(plkd.InputError, match="is for a file of cells"):
        plkd.annotate(query, model, output="out.h5ad", progress=False)


def test_cells_without_counts_get_no_label(query: ad.AnnData, model: plkd.Model) -> None:
    expected = plkd.annotate(query, model, inplace=False, progress=False)
    empty = np.array([3, 17])
    X = query.X.tolil()
    X[empty] = 0
    query.X = X.tocsr()
    plkd.annotate(query, model, progress=False)
    assert list(np.flatnonzero(query.obs["plkd_label"].isna())) == [3, 17]
    assert query.obs["plkd_unknown"].iloc[empty].all()
    assert (query.obs["plkd_prediction_set"].iloc[empty] == "[]").all()
    assert np.isnan(query.obsm["X_plkd"][empty]).all()
    others = np.setdiff1d(np.arange(query.n_obs), empty)
    assert list(query.obs["plkd_label"].iloc[others]) == list(expected["label"].iloc[others])


def test_the_query_restricts_the_genes(folder: Path, query: ad.AnnData) -> None:
    without = [gene for gene in query.var_names if gene != "CD14"]
    model = trained(folder / "reference.h5ad", folder, query=query[:, without].copy())
    assert "CD14" not in model.genes
    assert model.genes


def test_filters_and_settings(folder: Path, reference: ad.AnnData) -> None:
    model = trained(
        reference,
        folder,
        keep={"batch": "donor1"},
        drop={"cell_type": ["NK cell"]},
        prepare={"n_genes": 60},
        overrides={**SETTINGS, "background_cells": 7},
    )
    here = reference.obs[reference.obs["batch"] == "donor1"]
    counts = here["cell_type"].astype(str).value_counts().drop("NK cell", errors="ignore")
    assert model.cells_per_label == counts.sort_index().to_dict()
    assert len(model.genes) == 60
    assert model.settings.background_cells == 7
    with pytest.raises(plkd.InputError, match="unknown preset 'papr'"):
        trained(reference, folder, preset="papr", overrides={})
    with pytest.raises(plkd.InputError, match="'celltype'"):
        plkd.train(reference, "celltype", gene_sets=folder / "markers.gmt", progress=False)


def test_scores_of_predictions(query: ad.AnnData, model: plkd.Model) -> None:
    predictions = plkd.annotate(query, model, inplace=False, progress=False)
    scores = plkd.evaluate(predictions, query.obs["cell_type"], model)
    metrics = scores["metrics"].iloc[0]
    known = query.obs["cell_type"].astype(str).to_numpy()
    seen = np.isin(known, model.labels)
    right = (predictions["label"].to_numpy() == known)[seen].mean()
    assert metrics["accuracy"] == pytest.approx(right)
    assert metrics["n_unseen"] == (~seen).sum()
    assert metrics["method"] == "plkd"


@pytest.mark.parametrize(("asked", "inside"), [({}, 1), ({"threads": 2}, 2)])
def test_a_training_takes_one_thread_unless_more_are_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, int], inside: int
) -> None:
    """And leaves torch as it was, also where it fails."""
    seen: list[int] = []

    def training(*_: object, **__: object) -> None:
        seen.append(torch.get_num_threads())
        raise KeyboardInterrupt

    monkeypatch.setattr("plkd.api.train_model", training)
    torch.set_num_threads(3)
    try:
        with pytest.raises(KeyboardInterrupt):
            trained(folder / "reference.h5ad", folder, **asked)
        assert (seen, torch.get_num_threads()) == ([inside], 3)
    finally:
        torch.set_num_threads(1)


def test_silence(folder: Path, query: ad.AnnData, capfd: pytest.CaptureFixture[str]) -> None:
    model = trained(folder / "reference.h5ad", folder)
    plkd.annotate(query, model, progress=False)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "%|" not in captured.err


def test_simulated_cells_go_the_whole_way(tmp_path: Path) -> None:
    reference, query = plkd.simulate(n_cells=200, n_query_cells=100, n_genes=300, n_labels=3)
    assert reference.cells.n_obs == 200
    assert set(query.cells.obs["label"]) <= set(reference.cells.obs["label"])


def test_two_commands_do_what_the_api_does(
    folder: Path, model: plkd.Model, query: ad.AnnData, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    parts = {part: values for part, values in SETTINGS.items() if part != "preset"}
    settings = [
        f"{part}.{name}={json.dumps(value)}"
        for part, values in parts.items()
        for name, value in values.items()
    ]
    command = ["train", str(folder / "reference.h5ad"), "--labels", "cell_type"]
    command += ["--batch", "batch", "--gene-sets", str(folder / "markers.gmt"), "--seed", "3"]
    command += ["--preset", SETTINGS["preset"]]
    for setting in settings:
        command += ["--set", setting]
    assert main([*command, "-o", str(tmp_path / "model"), "--json", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["labels"] == model.cells_per_label
    assert captured.err == ""
    assert plkd.load(tmp_path / "model").summary() == model.summary()

    output, table = tmp_path / "new" / "labelled.h5ad", tmp_path / "labels.parquet"
    command = ["annotate", str(folder / "query.h5ad"), "--model", str(tmp_path / "model")]
    command += ["-o", str(output), "--table", str(table), "--json", "--no-progress"]
    assert main(command) == 0
    captured = capsys.readouterr()
    said = json.loads(captured.out)
    expected = plkd.annotate(query, model, inplace=False, progress=False)
    pd.testing.assert_frame_equal(read_predictions(table), expected)
    assert {row["label"]: row["cells"] for row in said["labels"]} == (
        expected["label"].value_counts().to_dict()
    )
    plkd.annotate(query, model, progress=False)
    written = ad.read_h5ad(output)
    for name in OBS:
        assert list(written.obs[f"plkd_{name}"]) == list(query.obs[f"plkd_{name}"]), name
    assert set(written.uns["plkd"]) == set(query.uns["plkd"])

    command = ["explain", str(folder / "query.h5ad"), "--model", str(tmp_path / "model")]
    assert main([*command, "--label", "B cell", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    why = plkd.explain(query, model, label="B cell")
    assert said["genes"][0]["gene"] == why.genes["gene"].iloc[0]
    assert said["n_cells"] == (expected["label"] == "B cell").sum()


def test_the_names_of_the_package_are_there() -> None:
    assert set(plkd.__all__) <= set(dir(plkd))
    for name in plkd.__all__:
        assert getattr(plkd, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        plkd.nonsense  # noqa: B018


def test_every_picture_is_named_by_the_room() -> None:
    folder = Path(plkd.figures.__file__).parent
    drawn = {
        name
        for path in folder.glob("*.py")
        if path.name != "__init__.py"
        for name in vars(importlib.import_module(f"plkd.figures.{path.stem}"))
        if name.startswith("plot_")
    }
    assert drawn == {name for name in plkd.figures.__all__ if name.startswith("plot_")}
    assert all(callable(getattr(plkd.figures, name)) for name in plkd.figures.__all__)
