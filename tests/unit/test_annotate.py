"""Annotation of files as they come."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import scanpy as sc
import torch
from scipy import sparse

from plkd.cli import main
from plkd.errors import InputError
from plkd.io import stores
from plkd.model.reference import Reference
from plkd.model.trained_model import Model
from plkd.model.trained_network import TrainedNetwork
from plkd.model.training import train_model
from plkd.pathways.mask import Mask
from plkd.prediction import annotated_copy, predict
from plkd.prediction import table as prediction_table_module
from plkd.prediction.annotated_copy import (
    add_annotation,
    write_annotated,
)
from plkd.prediction.annotation import annotation_of, column_names
from plkd.prediction.further import FurtherLabels
from plkd.prediction.predict import PredictedCells, predict_cells, provenance_of
from plkd.prediction.summary import label_table
from plkd.prediction.table import PROBABILITY, label_names, prediction_table
from plkd.settings.presets import resolve
from plkd.utils.files import sha256_of
from simulated import make_cells
from written import WRITERS


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
        {
            "preset": "fast",
            "teacher": {"width": 8},
            "teacher_training": short,
            "student_training": short,
        }
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


def annotate_file(model: TrainedNetwork, query: Path, output: Path, **how) -> pd.DataFrame:
    """Annotate a file; gives the predictions of all cells."""
    tables: list[pd.DataFrame] = []
    annotated_copy.annotate_file(model, query, output, also=tables.append, **how)
    return pd.concat(tables, ignore_index=True)


def test_chunks_do_not_change_the_result(model: TrainedNetwork, query: Path) -> None:
    whole = predict_cells(model, query, progress=False)
    parts = predict_cells(model, query, chunk_cells=7, progress=False)
    pd.testing.assert_frame_equal(whole.table, parts.table, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(whole.embedding, parts.embedding, rtol=1e-3, atol=1e-4)


def test_neither_pieces_nor_workers_nor_format_change_a_byte(
    trained: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "_BLOCK", 16)
    monkeypatch.setattr(prediction_table_module, "_ROWS_OF_GROUP", 40)
    cells = make_cells(90, 100, batches=["new"], seed=2)
    X = cells.X.tolil()
    X[[0, 20, 21, 89], :] = 0  # the first of a file, two of a block, the last
    cells.X = X.tocsr()
    cells.obs["cluster"] = pd.Categorical([f"k{i % 7}" for i in range(90)])
    cells.write_h5ad(tmp_path / "query.h5ad")
    student = trained.require("student")
    of_all = annotation_of(
        predict_cells(student, tmp_path / "query.h5ad", progress=False),
        further=(further := FurtherLabels(groups="cluster", top=2)),
        obs=cells.obs,
    )
    seen = set()
    for chunk, workers in ((1, 1), (32, 3), (1000, 2)):
        here = tmp_path / f"{chunk}"
        for suffix in ("tsv", "parquet"):
            annotated_copy.annotate_file(
                student,
                tmp_path / "query.h5ad",
                here / "copy.h5ad",
                table=here / f"labels.{suffix}",
                chunk_cells=chunk,
                workers=workers,
                further=further,
                progress=False,
            )
        seen.add((sha256_of(here / "labels.tsv"), sha256_of(here / "labels.parquet")))
        copy = ad.read_h5ad(here / "copy.h5ad")
        found = copy.obs[list(of_all.obs)].reset_index(drop=True)
        pd.testing.assert_frame_equal(found, of_all.obs, check_index_type=False)
        for name, values in of_all.obsm.items():
            np.testing.assert_array_equal(np.asarray(copy.obsm[name]), np.asarray(values))
        assert list(copy.obsm["plkd_probabilities"].index) == list(cells.obs_names)
    monkeypatch.setattr(stores, "HELD_BYTES", 1500)
    monkeypatch.setattr(stores, "SCANNED_VALUES", 700)
    for form in (sparse.csc_matrix, np.asarray):
        again = cells.copy()
        again.X = form(X.toarray())
        name = "columns.h5ad" if form is sparse.csc_matrix else "dense.zarr"
        again.write_h5ad(tmp_path / name) if "h5ad" in name else again.write_zarr(tmp_path / name)
        here = tmp_path / form.__name__
        annotated_copy.annotate_file(
            student,
            tmp_path / name,
            here / "copy.h5ad",
            table=here / "labels.tsv",
            further=further,
            progress=False,
        )
        assert (here / "labels.tsv").read_bytes() == (tmp_path / "1" / "labels.tsv").read_bytes()
        copy = ad.read_h5ad(here / "copy.h5ad")
        np.testing.assert_array_equal(sparse.csr_matrix(copy.X).toarray(), X.toarray())
        np.testing.assert_array_equal(copy.obsm["X_plkd"], of_all.obsm["X_plkd"])
    assert len(seen) == 1
    assert pq.ParquetFile(tmp_path / "1" / "labels.parquet").metadata.num_row_groups == 3


@pytest.mark.parametrize("where", ["a table", "all together"])
def test_after_an_error_threads_end_and_torch_has_its_own_again(
    model: TrainedNetwork, query: Path, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "_BLOCK", 16)
    threads, before = set(threading.enumerate()), torch.get_num_threads()

    def refused(*_: object, **__: object) -> None:
        assert torch.get_num_threads() == 1
        raise KeyError

    monkeypatch.setattr("plkd.utils.devices.joblib.cpu_count", lambda: 2)
    label, options = predict_cells, {}
    if where == "a table":
        label, options = annotated_copy.annotate_file, {"also": refused}
        options["table"] = tmp_path / "labels.tsv"
    else:
        monkeypatch.setattr(predict, "replace", refused)
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyError) as error:  # holds all frames of the error
            label(model, query, chunk_cells=16, progress=False, **options)
        assert torch.get_num_threads() == 2
        assert set(threading.enumerate()) == threads
        assert error.value.args == ()
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("suffix", ["h5ad", "csv"])
def test_a_file_of_the_labels_alone(
    trained: Model, query: Path, tmp_path: Path, suffix: str
) -> None:
    trained.save(tmp_path / "model")
    if suffix == "csv":
        ad.read_h5ad(query).to_df().to_csv(query := tmp_path / "query.csv")
    command = ["annotate", str(query), "--model", str(tmp_path / "model"), "--quiet"]
    alone, copy = tmp_path / "labels.h5ad", tmp_path / "copy.h5ad"
    assert main([*command, "-o", str(alone), "--labels-only"]) == 0
    assert main([*command, "-o", str(copy)]) == 0
    found, whole = ad.read_h5ad(alone), ad.read_h5ad(copy)
    assert found.X is None
    assert found.shape == (90, 0)
    added = [name for name in whole.obs if name.startswith("plkd_")]
    pd.testing.assert_frame_equal(found.obs, whole.obs[added], check_index_type=False)
    assert set(found.obsm) == {"X_plkd", "plkd_probabilities"}
    np.testing.assert_array_equal(found.obsm["X_plkd"], whole.obsm["X_plkd"])
    assert found.uns["plkd"].keys() == whole.uns["plkd"].keys()
    assert alone.stat().st_size < copy.stat().st_size


def test_order_of_genes_and_scale_do_not_matter(
    model: TrainedNetwork, query: Path, tmp_path: Path
) -> None:
    expected = predict_cells(model, query, progress=False).table
    cells = ad.read_h5ad(query)
    cells = cells[:, np.random.default_rng(0).permutation(cells.n_vars)].copy()
    sc.pp.normalize_total(cells, target_sum=5000)
    sc.pp.log1p(cells)
    cells.write_h5ad(tmp_path / "logged.h5ad")
    logged = predict_cells(model, tmp_path / "logged.h5ad", progress=False)
    found = logged.table
    assert logged.about["gene_overlap"] == 1.0
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


def published_as(path: Path) -> None:
    """The same cells with all that an AnnData can hold, in the format that the name says."""
    cells = make_cells(90, 100, batches=["new"], seed=2)
    cells.layers["halves"] = cells.X * 0.5
    cells.obsm["X_pca"] = np.arange(180, dtype=np.float32).reshape(90, 2)
    if path.suffix == ".loom":
        cells.X = cells.X.toarray()
        cells.layers["halves"] = cells.layers["halves"].toarray()
        ad.io.write_loom(path, cells, write_obsm_varm=True)
        return
    cells.raw = cells
    cells.obsp["distances"] = sparse.eye(90, format="csr", dtype=np.float32)
    cells.uns["kept"] = "as it was"
    cells.write_zarr(path)


@pytest.mark.parametrize("suffix", [".zarr", ".loom"])
@pytest.mark.parametrize("some", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_a_copy_of_another_format_keeps_everything(
    model: TrainedNetwork, query: Path, tmp_path: Path, suffix: str, some: bool
) -> None:
    published_as(tmp_path / f"query{suffix}")
    predicted = predict_cells(model, tmp_path / f"query{suffix}", progress=False)
    assert list(predicted.table["label"]) == list(
        predict_cells(model, query, progress=False).table["label"]
    )
    rows = [3, 40, 41] if some else list(range(90))
    annotation = annotation_of(some_of(predicted, rows))
    write_annotated(tmp_path / f"query{suffix}", tmp_path / "out.h5ad", annotation)
    copy, source = ad.read_h5ad(tmp_path / "out.h5ad"), ad.read_h5ad(query)[rows]
    assert list(copy.obs_names) == list(source.obs_names)
    assert list(copy.var_names) == list(source.var_names)
    assert list(copy.obs["cell_type"]) == list(source.obs["cell_type"])
    assert list(copy.obs["plkd_label"]) == list(predicted.table["label"].iloc[rows])
    np.testing.assert_array_equal(copy.X.toarray(), source.X.toarray())
    np.testing.assert_array_equal(copy.layers["halves"].toarray(), source.X.toarray() * 0.5)
    np.testing.assert_array_equal(copy.obsm["X_pca"], np.arange(180).reshape(90, 2)[rows])
    if suffix == ".zarr":
        np.testing.assert_array_equal(copy.raw.X.toarray(), source.X.toarray())
        assert copy.obsp["distances"].nnz == len(rows)
        assert copy.uns["kept"] == "as it was"


def test_a_copy_of_10x_keeps_what_is_not_a_gene(model: TrainedNetwork, tmp_path: Path) -> None:
    cells = make_cells(90, 100, batches=["new"], seed=2)
    genes = [*cells.var_names, "CD3_antibody"]
    X = sparse.hstack([cells.X, np.full((90, 1), 7.0)], format="csr")
    WRITERS["10x mtx"](X, list(cells.obs_names), genes, tmp_path / "mtx")
    features = tmp_path / "mtx" / "features.tsv"
    last = features.read_text().splitlines()[-1]
    features.write_text(
        features.read_text().replace(last, last.replace("Gene Expression", "Antibody Capture"))
    )
    annotate_file(model, tmp_path / "mtx", tmp_path / "out.h5ad", progress=False)
    copy = ad.read_h5ad(tmp_path / "out.h5ad")
    assert list(copy.var_names) == genes
    np.testing.assert_array_equal(copy.X.toarray(), X.toarray())
    assert copy.var["feature_types"].iloc[-1] == "Antibody Capture"


@pytest.mark.parametrize("name", ["out.csv", "out.zarr", "out.h5mu", "out"])
def test_no_copy_has_a_name_of_another_format(
    model: TrainedNetwork, query: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(InputError, match=rf"{name}.*must end in .h5ad"):
        annotate_file(model, query, tmp_path / "new" / name, progress=False)
    assert not (tmp_path / "new").exists()


def test_a_disk_without_room_for_the_copy_is_seen_before_the_work(
    model: TrainedNetwork, query: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    monkeypatch.setattr(TrainedNetwork, "predict", lambda *given: pytest.fail("work began"))
    with pytest.raises(InputError, match=r"out.h5ad' needs .* MB, and '.*' has 0.0 MB free"):
        annotate_file(model, query, tmp_path / "out.h5ad", progress=False)


def some_of(predicted: PredictedCells, rows: list[int]) -> PredictedCells:
    return PredictedCells(
        predicted.table.iloc[rows].reset_index(drop=True),
        predicted.embedding[rows],
        predicted.source_rows[rows],
        predicted.source_ids[rows],
        about=predicted.about,
    )


def test_some_cells_come_in_the_order_of_the_file(
    model: TrainedNetwork, query: Path, tmp_path: Path
) -> None:
    predicted = predict_cells(model, query, progress=False)
    places = np.arange(180.0).reshape(90, 2)
    rows = [5, 2, 80]
    annotation = annotation_of(some_of(predicted, rows), obsm={"umap": places[rows]})
    write_annotated(query, tmp_path / "some.h5ad", annotation)
    copy = ad.read_h5ad(tmp_path / "some.h5ad")
    rows = sorted(rows)
    assert list(copy.obs_names) == list(ad.read_h5ad(query).obs_names[rows])
    assert list(copy.obs["plkd_label"]) == list(predicted.table["label"][rows])
    np.testing.assert_array_equal(copy.obsm["X_plkd_umap"], places[rows])
    np.testing.assert_array_equal(copy.obsm["X_plkd"], predicted.embedding[rows])


def test_other_cells_are_refused(model: TrainedNetwork, query: Path, tmp_path: Path) -> None:
    annotation = annotation_of(predict_cells(model, query, progress=False))
    cells = ad.read_h5ad(query)
    cells[::-1].copy().write_h5ad(tmp_path / "reversed.h5ad")
    cells[:50].copy().write_h5ad(tmp_path / "short.h5ad")
    for name, message in (
        ("reversed", f"90 of 90 cells have another name: in row 0 is '{cells.obs_names[-1]}'"),
        ("short", "it has 50 cells, but row 89 was labelled"),
    ):
        with pytest.raises(InputError, match=rf"{name}.h5ad' is not the file .*{message}"):
            write_annotated(tmp_path / f"{name}.h5ad", tmp_path / "out.h5ad", annotation)
    assert not (tmp_path / "out.h5ad").exists()
    with pytest.raises(InputError, match="is not the file whose cells were labelled"):
        add_annotation(cells[::-1].copy(), annotation)


@pytest.mark.parametrize("kind", ["h5ad", "csv", "anndata"])
def test_cells_without_counts_come_back_unknown(
    model: TrainedNetwork, query: Path, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    cells = ad.read_h5ad(query)
    X = cells.X.toarray()
    X[[3, 40]] = 0
    cells.X = sparse.csr_matrix(X)
    source, output = tmp_path / f"with_empty.{kind}", tmp_path / "out.h5ad"
    if kind == "anndata":
        cells.uns.clear()
        copy = cells.copy()
        add_annotation(copy, annotation_of(predict_cells(model, cells, progress=False), "mine"))
        copy.write_h5ad(output)
    else:
        cells.write_h5ad(source) if kind == "h5ad" else cells.to_df().to_csv(source)
        table = annotate_file(model, source, output, key_added="mine", progress=False)
        assert list(np.flatnonzero(table["label"].isna())) == [3, 40]
    found = ad.read_h5ad(output)
    assert list(found.obs_names) == list(cells.obs_names)
    empty = np.isin(np.arange(90), [3, 40])
    assert list(found.obs["mine_label"].isna()) == list(empty)
    for name in ("confidence", "margin", "entropy", "unknown_score"):
        assert list(found.obs[f"mine_{name}"].isna()) == list(empty)
    named = found.obs["mine_label"].astype(object).where(~found.obs["mine_unknown"], "unassigned")
    assert list(found.obs["mine_label_or_unassigned"]) == list(named)
    assert found.obs["mine_unknown"][empty].all()
    assert set(found.obs["mine_reason"][empty]) == {"no counts at all"}
    rest = found.obs[~empty]
    assert list(rest["mine_reason"] != "") == list(rest["mine_unknown"])
    assert np.isnan(found.obsm["X_mine"][empty]).all()
    assert "2 cells get no label and are flagged unknown: 2 no counts at all" in caplog.text
    without = cells[~empty].copy()
    expected = predict_cells(model, without, progress=False)
    assert list(rest["mine_label"]) == list(expected.table["label"])
    np.testing.assert_allclose(found.obsm["X_mine"][~empty], expected.embedding, atol=1e-4)


def test_the_table_has_every_cell_in_order(
    trained: Model, query: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = ad.read_h5ad(query)
    X = cells.X.tolil()
    X[[0, 41], :] = 0
    cells.X = X.tocsr()
    cells.write_h5ad(tmp_path / "cells.h5ad")
    trained.save(tmp_path / "model")
    table, copy = tmp_path / "t.tsv", tmp_path / "copy.h5ad"
    command = ["annotate", str(tmp_path / "cells.h5ad"), "--model", str(tmp_path / "model")]
    assert main([*command, "--table", str(table)]) == 0
    assert "2 cells get no label and are flagged unknown" in capsys.readouterr().err
    alone = table.read_text()
    assert main([*command, "-o", str(copy), "--table", str(table)]) == 0
    assert table.read_text() == alone
    read = pd.read_csv(table, sep="\t", dtype={"cell_id": str}, keep_default_na=False)
    assert list(read["cell_id"]) == list(cells.obs_names)
    obs = ad.read_h5ad(copy).obs
    assert list(read["label"]) == list(obs["plkd_label"].astype(object).fillna(""))
    assert list(read["reason"]) == list(obs["plkd_reason"])
    assert list(read["prediction_set"][[0, 41]]) == ["[]", "[]"]
    assert list(read["confidence"][[0, 41]]) == ["", ""]
    assert main([*command, "--table", str(tmp_path / "t.parquet")]) == 0
    parquet = pd.read_parquet(tmp_path / "t.parquet")
    assert list(parquet["label"].isna().to_numpy().nonzero()[0]) == [0, 41]
    assert list(parquet["unknown"]) == list(obs["plkd_unknown"])


def test_cells_without_a_gene_of_the_model_are_unknown(
    model: TrainedNetwork, query: Path, tmp_path: Path
) -> None:
    """As the rule `annotate` leaves them out, of which the prepared file has no value."""
    cells = ad.read_h5ad(query)
    X = np.hstack([cells.X.toarray(), np.ones((90, 1))])
    X[[3, 40], :-1] = 0
    var = pd.DataFrame(index=[*cells.var_names, "OTHER"])
    cells = ad.AnnData(sparse.csr_matrix(X.astype(np.float32)), obs=cells.obs, var=var)
    predicted = predict_cells(model, cells, progress=False)
    assert list(predicted.left_out["source_row"]) == [3, 40]
    assert set(predicted.left_out["reason"]) == {"no counts of the model's genes"}
    seen = predict_cells(model, ad.read_h5ad(query), progress=False)
    empty = np.isin(np.arange(90), [3, 40])
    pd.testing.assert_frame_equal(
        seen.without(empty, "why").left_out.assign(reason=""),
        predicted.left_out.assign(reason=""),
        check_dtype=False,
    )
    assert list(seen.without(empty, "why").source_rows) == list(predicted.source_rows)


def test_nothing_but_empty_cells(model: TrainedNetwork, query: Path) -> None:
    cells = ad.read_h5ad(query)
    cells.X = sparse.csr_matrix(cells.shape, dtype=np.float32)
    with pytest.raises(InputError, match="none of its 90 cells has any counts"):
        predict_cells(model, cells, progress=False)


def test_probabilities_sets_and_provenance_of_a_copy(
    trained: Model, query: Path, tmp_path: Path
) -> None:
    student = trained.require("student")
    about = provenance_of(trained)
    table = annotate_file(student, query, tmp_path / "out.h5ad", provenance=about, progress=False)
    copy = ad.read_h5ad(tmp_path / "out.h5ad")
    probabilities = copy.obsm["plkd_probabilities"]
    assert list(probabilities.columns) == student.labels
    assert list(probabilities.idxmax(axis=1)) == list(table["label"])
    np.testing.assert_allclose(probabilities.max(axis=1), copy.obs["plkd_confidence"])
    sets = [json.loads(text) for text in copy.obs["plkd_prediction_set"]]
    assert sets == [list(names) for names in table["prediction_set"]]
    uns = copy.uns["plkd"]
    assert set(uns) == {
        *("version", "model", "labels", "gene_overlap", "unknown_above", "alpha"),
        *("target_sum", "scale", "seed", "depth", "temperature", "moved_by", "new_genes"),
    }
    assert list(uns["labels"]) == student.labels
    assert (uns["model"], uns["seed"], uns["target_sum"]) == ("student", 0, 1e4)
    assert "raw counts" in uns["scale"]


def test_labels_with_slashes_and_bars(tmp_path: Path) -> None:
    cells = make_cells(6, 30, seed=2)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    labels = ["CD4+", "CD4+/CD25 T", "a | b"]
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([1, 1, 1], 6).astype(np.float32)
    table = prediction_table(cells.obs_names, labels, probabilities, conformal_threshold=1.0)
    names = np.asarray(cells.obs_names, dtype=object)
    predicted = PredictedCells(table, probabilities, np.arange(6), names)
    write_annotated(tmp_path / "cells.h5ad", tmp_path / "out.h5ad", annotation_of(predicted))
    copy = ad.read_h5ad(tmp_path / "out.h5ad")
    assert list(copy.obsm["plkd_probabilities"].columns) == ["CD4+", "CD4+|CD25 T", "a | b"]
    np.testing.assert_array_equal(copy.obsm["plkd_probabilities"], probabilities)
    assert list(copy.uns["plkd"]["labels"]) == labels
    assert set(json.loads(copy.obs["plkd_prediction_set"].iloc[0])) == set(labels)
    assert len(set(column_names(["a/b", "a|b"]))) == 2


def test_a_text_file_is_read_once(
    model: TrainedNetwork, query: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import plkd.io.cells

    ad.read_h5ad(query).to_df().to_csv(tmp_path / "query.csv")
    read, calls = plkd.io.cells.read_csv, []
    monkeypatch.setattr(
        plkd.io.cells, "read_csv", lambda *given: calls.append(given) or read(*given)
    )
    annotate_file(model, tmp_path / "query.csv", tmp_path / "out.h5ad", progress=False)
    assert len(calls) == 1


def test_a_text_file_with_columns_about_the_cells(
    model: TrainedNetwork, query: Path, tmp_path: Path
) -> None:
    predicted = predict_cells(model, query, progress=False)
    cells = ad.read_h5ad(query)
    table = cells.to_df().assign(cell_type=cells.obs["cell_type"].astype(str))
    table.to_csv(tmp_path / "query.csv")
    annotation = annotation_of(predicted)
    output = tmp_path / "out.h5ad"
    write_annotated(tmp_path / "query.csv", output, annotation, obs_columns=["cell_type"])
    copy = ad.read_h5ad(output)
    assert list(copy.obs["cell_type"]) == list(cells.obs["cell_type"])
    assert list(copy.obs["plkd_label"]) == list(predicted.table["label"])


def test_cell_ids_that_occur_twice(model: TrainedNetwork, query: Path, tmp_path: Path) -> None:
    cells = ad.read_h5ad(query)
    cells.obs_names = [f"c{i // 2}" for i in range(90)]
    cells.write_h5ad(tmp_path / "twice.h5ad")
    table = annotate_file(model, tmp_path / "twice.h5ad", tmp_path / "out.h5ad", progress=False)
    assert table["cell_id"].is_unique
    copy = ad.read_h5ad(tmp_path / "out.h5ad")
    assert list(copy.obs_names) == list(cells.obs_names)
    assert list(copy.obs["plkd_label"]) == list(table["label"])


def test_a_table_becomes_an_annotated_h5ad(
    model: TrainedNetwork, query: Path, tmp_path: Path
) -> None:
    table = tmp_path / "query.csv.gz"
    ad.read_h5ad(query).to_df().to_csv(table)
    annotate_file(model, table, tmp_path / "out.h5ad", progress=False)
    expected = predict_cells(model, query, progress=False).table
    found = ad.read_h5ad(tmp_path / "out.h5ad")
    assert list(found.obs["plkd_label"]) == list(expected["label"])


def test_label_table_counts_every_cell(model: TrainedNetwork, query: Path) -> None:
    predictions = predict_cells(model, query, progress=False).table
    table = label_table(predictions)
    assert table["cells"].sum() == 90
    assert table["share"].sum() == pytest.approx(1.0)
    assert table["cells"].is_monotonic_decreasing
    counts = predictions["label"].value_counts()
    assert dict(zip(table["label"], table["cells"], strict=True)) == counts.to_dict()
    for row in table.itertuples():
        here = predictions[predictions["label"] == row.label]
        assert row.expected_precision == pytest.approx(here["confidence"].mean())
        others = {
            name: here[PROBABILITY + name].mean()
            for name in label_names(predictions)
            if name != row.label
        }
        assert row.next_label == max(others, key=lambda name: others[name])
        assert row.next_probability == pytest.approx(others[row.next_label])


def test_a_model_of_one_label_has_no_next_one() -> None:
    (row,) = label_table(prediction_table(["a", "b"], ["only"], [[1.0], [1.0]])).itertuples()
    assert (row.cells, row.expected_precision, row.next_label) == (2, 1.0, None)


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
        (
            [
                "QUERY",
                "--model",
                "MODEL",
                "-o",
                "out.h5ad",
                "--layer",
                "halves",
                "--scale",
                "counts",
            ],
            "layers['halves']: `scale` says counts, but the values of 100% of the cells",
        ),
        (["QUERY", "--model", "MODEL", "-o", "out.h5ad", "--table", "out.xlsx"], ".parquet"),
        (["QUERY", "--model", "MODEL", "-o", "out.h5ad", "--chunk-size", "0"], "--chunk-size"),
        (["QUERY", "--model", "MODEL", "-o", "out.h5ad", "--workers", "0"], "--workers"),
        (["QUERY", "--model", "MODEL", "--table", "t.tsv", "--labels-only"], "give `-o` too"),
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
