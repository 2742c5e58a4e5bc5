"""Annotation of files as they come."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

from plkd.cli import main
from plkd.errors import InputError
from plkd.model.reference import Reference
from plkd.model.trained_model import Model
from plkd.model.trained_network import TrainedNetwork
from plkd.model.training import train_model
from plkd.pathways.mask import Mask
from plkd.prediction.annotate import annotate_file, label_table, predict_file, write_annotated
from plkd.settings.presets import resolve
from plkd.utils.files import sha256_of
from simulated import make_cells


@pytest.fixture(scope="module")
def trained() -> Model:
    cells = make_cells(200, 100, seed=1)
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    reference = Reference.from_names(cells.X, cells.obs["cell_type"], cells.var_names)
    matrix = sparse.csc_array(np.ones((100, 3), dtype=bool))
    mask = Mask(reference.genes, ["a", "b", "c"], matrix, pd.DataFrame())
    short = {"min_steps": 60}
    settings = resolve(
        {"teacher": {"width": 8}, "teacher_training": short, "student_training": short}
    )
    return train_model(reference, mask, settings, progress=False)


@pytest.fixture(scope="module")
def model(trained: Model) -> TrainedNetwork:
    return trained.require("teacher")


@pytest.fixture
def query(tmp_path: Path) -> Path:
    cells = make_cells(90, 100, batches=["new"], seed=2)
    cells.layers["halves"] = cells.X * 0.5
    cells.uns["kept"] = "as it was"
    path = tmp_path / "query.h5ad"
    cells.write_h5ad(path)
    return path


def test_chunks_do_not_change_the_result(model: TrainedNetwork, query: Path) -> None:
    whole, embedding, _ = predict_file(model, query, progress=False)
    parts, embedded, _ = predict_file(model, query, chunk_cells=7, progress=False)
    pd.testing.assert_frame_equal(whole, parts, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(embedding, embedded, rtol=1e-3, atol=1e-4)


def test_order_of_genes_and_scale_do_not_matter(
    model: TrainedNetwork, query: Path, tmp_path: Path
) -> None:
    expected, _, _ = predict_file(model, query, progress=False)
    cells = ad.read_h5ad(query)
    cells = cells[:, np.random.default_rng(0).permutation(cells.n_vars)].copy()
    sc.pp.normalize_total(cells, target_sum=5000)
    sc.pp.log1p(cells)
    cells.write_h5ad(tmp_path / "logged.h5ad")
    found, _, overlap = predict_file(model, tmp_path / "logged.h5ad", progress=False)
    assert overlap.share == 1.0
    assert list(found["label"]) == list(expected["label"])
    np.testing.assert_allclose(found["confidence"], expected["confidence"], atol=1e-3)


def test_copy_keeps_everything_and_the_input_stays(
    model: TrainedNetwork, query: Path, tmp_path: Path
) -> None:
    before = sha256_of(query)
    predictions = annotate_file(model, query, tmp_path / "out.h5ad", progress=False)
    assert sha256_of(query) == before
    source, copy = ad.read_h5ad(query), ad.read_h5ad(tmp_path / "out.h5ad")
    assert copy.uns["kept"] == "as it was"
    assert (copy.layers["halves"] != source.layers["halves"]).nnz == 0
    assert list(copy.obs["plkd_label"]) == list(predictions["label"])
    assert copy.obs["plkd_unknown"].dtype == bool
    assert copy.obsm["X_plkd"].shape == (90, 8)


def test_some_rows_of_a_file(model: TrainedNetwork, query: Path, tmp_path: Path) -> None:
    predictions, embedding, _ = predict_file(model, query, progress=False)
    rows = np.array([5, 2, 80])
    chosen = predictions.iloc[rows].reset_index(drop=True)
    write_annotated(query, tmp_path / "some.h5ad", chosen, embedding[rows], rows=rows)
    copy = ad.read_h5ad(tmp_path / "some.h5ad")
    assert list(copy.obs_names) == list(ad.read_h5ad(query).obs_names[rows])
    assert list(copy.obs["plkd_label"]) == list(chosen["label"])


def test_a_table_becomes_an_annotated_h5ad(
    model: TrainedNetwork, query: Path, tmp_path: Path
) -> None:
    table = tmp_path / "query.csv.gz"
    ad.read_h5ad(query).to_df().to_csv(table)
    annotate_file(model, table, tmp_path / "out.h5ad", progress=False)
    expected, _, _ = predict_file(model, query, progress=False)
    found = ad.read_h5ad(tmp_path / "out.h5ad")
    assert list(found.obs["plkd_label"]) == list(expected["label"])


def test_label_table_counts_every_cell(model: TrainedNetwork, query: Path) -> None:
    predictions, _, _ = predict_file(model, query, progress=False)
    table = label_table(predictions)
    assert table["cells"].sum() == 90
    assert table["share"].sum() == pytest.approx(1.0)
    assert table["cells"].is_monotonic_decreasing
    counts = predictions["label"].value_counts()
    assert dict(zip(table["label"], table["cells"], strict=True)) == counts.to_dict()


def test_foreign_genes(model: TrainedNetwork, query: Path, tmp_path: Path) -> None:
    cells = ad.read_h5ad(query)
    cells.var_names = [f"OTHER{i}" for i in range(cells.n_vars)]
    cells.write_h5ad(tmp_path / "foreign.h5ad")
    with pytest.raises(InputError, match="0 of the model's 100 genes"):
        annotate_file(model, tmp_path / "foreign.h5ad", tmp_path / "out.h5ad", progress=False)
    assert not (tmp_path / "out.h5ad").exists()


def test_no_query_is_overwritten(model: TrainedNetwork, query: Path) -> None:
    with pytest.raises(InputError, match="the query itself"):
        annotate_file(model, query, query, progress=False)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["absent.h5ad", "--model", "MODEL", "-o", "out.h5ad"], "absent.h5ad"),
        (["QUERY", "--model", ".", "-o", "out.h5ad"], "model.json"),
        (["QUERY", "--model", "MODEL", "-o", "out.h5ad", "--layer", "nothing"], "halves"),
        (["QUERY", "--model", "MODEL", "-o", "out.h5ad", "--table", "out.xlsx"], ".parquet"),
        (["QUERY", "--model", "MODEL", "-o", "out.h5ad", "--chunk-size", "0"], "--chunk-size"),
        (["QUERY", "--model", "MODEL", "-o", "out.h5ad", "--device", "cuda:99"], "cuda:99"),
    ],
)
def test_mistakes_on_the_command_line(
    trained: Model,
    query: Path,
    tmp_path: Path,
    arguments: list[str],
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    trained.save(tmp_path / "model")
    words = {"QUERY": str(query), "MODEL": "model"}
    assert main(["annotate", *(words.get(word, word) for word in arguments)]) == 1
    assert named in capsys.readouterr().err
    assert not (tmp_path / "out.h5ad").exists()
