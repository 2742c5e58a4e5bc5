"""Files that cannot be used: what is said about each, and that nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pytest
from scipy import sparse

from plkd.errors import InputError
from plkd.io.cells import open_cells, read_cells
from plkd.prediction.predict import predict_cells
from plkd.preparation.prepare import PreparedPaths, prepare_dataset
from plkd.settings.datasets import ReadingOptions
from simulated import make_cells
from trained import trained_model
from written import WRITERS

UNSAMPLED = 145


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """More cells than the sample that the scale is first told from."""
    make_cells(1500, 40).write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


def prepare(path: Path) -> ad.AnnData:
    outputs = PreparedPaths.in_folder(path.parent / "prepared")
    source = {"labels_key": "cell_type", "batch_key": "batch"}
    try:
        prepare_dataset({"reference": source, "split": {}}, path, None, outputs)
    except InputError:
        written = outputs.report.parent
        assert not written.exists() or not list(written.iterdir())
        raise
    return ad.read_h5ad(outputs.reference)


def unsampled_value(path: Path) -> int:
    """Place of a value in a row between the sampled blocks."""
    with h5py.File(path) as store:
        return int(store["X/indptr"][UNSAMPLED])


@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "NaN"), (np.inf, "infinite"), (-1.0, "negative")]
)
def test_one_bad_value_anywhere(path: Path, value: float, words: str) -> None:
    with h5py.File(path, "r+") as store:
        store["X/data"][unsampled_value(path)] = value
    with open_cells(path) as cells:
        assert cells.scale.kind == "counts"  # the sample does not show it
    with pytest.raises(InputError, match=rf"cells\.h5ad', X,.*{words}"):
        prepare(path)


def test_the_command_names_a_bad_value_as_the_pipeline_does(path: Path) -> None:
    model = trained_model().require("student")
    with h5py.File(path, "r+") as store:
        store["X/data"][unsampled_value(path)] = np.nan
    named = rf"cells\.h5ad', X, cell 's0-cell00{UNSAMPLED}' \(row {UNSAMPLED}\), gene '.*NaN"
    with pytest.raises(InputError, match=named):
        prepare(path)
    with pytest.raises(InputError, match=named):
        predict_cells(model, path, progress=False)


def test_an_odd_cell_between_the_sampled_ones_is_left_out_by_both_ways(path: Path) -> None:
    cells = ad.read_h5ad(path)
    X = cells.X.multiply(1e4 / cells.X.sum(axis=1)).tocsr().log1p().astype(np.float32)
    X.data[X.indptr[UNSAMPLED] : X.indptr[UNSAMPLED + 1]] *= 20
    cells.X = X
    cells.write_h5ad(path)
    prepare(path)
    report = json.loads((path.parent / "prepared" / "report.json").read_text())
    dropped = [entry["cells"] for entry in report["reference"]["dropped"]]
    assert dropped[0] == 1
    assert any("1 cells ('s0-cell00145')" in text for text in report["warnings"])
    predicted = predict_cells(trained_model().require("student"), path, progress=False)
    assert list(predicted.left_out["source_row"]) == [UNSAMPLED]
    assert list(predicted.left_out["reason"]) == ["values on another scale than the other cells'"]


@pytest.mark.parametrize("dtype", [np.uint64, np.int64, np.uint32])
def test_an_integer_that_overflowed(path: Path, dtype: type) -> None:
    cells = ad.read_h5ad(path)
    counts = cells.X.astype(dtype)
    counts.data[counts.indptr[UNSAMPLED]] = np.iinfo(dtype).max
    cells.X = counts
    cells.write_h5ad(path)
    with pytest.raises(InputError, match=r"cells\.h5ad', X,.*overflowed"):
        prepare(path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int8, np.uint64, np.float64, bool])
def test_types_of_counts_do_not_matter(path: Path, dtype: type) -> None:
    cells = ad.read_h5ad(path)
    cells.X.data = np.minimum(cells.X.data, 1 if dtype is bool else 100)
    cells.write_h5ad(path)
    expected = prepare(path)
    cells.X = cells.X.astype(dtype)
    cells.write_h5ad(path)
    found = prepare(path)
    np.testing.assert_array_equal(found.X.toarray(), expected.X.toarray())
    np.testing.assert_array_equal(
        found.layers["counts"].toarray(), expected.layers["counts"].toarray()
    )


def unsorted(X: h5py.Group) -> None:
    start, stop = X["indptr"][130], X["indptr"][131]
    for part in ("data", "indices"):
        X[part][start:stop] = X[part][start:stop][::-1]


def repeated(X: h5py.Group) -> None:
    start = X["indptr"][130]
    X["indices"][start + 1] = X["indices"][start]


def beyond(X: h5py.Group) -> None:
    X["indices"][X["indptr"][130]] = 40


def below(X: h5py.Group) -> None:
    X["indices"][X["indptr"][130]] = -1


def crossed(X: h5py.Group) -> None:
    X["indptr"][130] = X["indptr"][140]


def short(X: h5py.Group) -> None:
    values = X["data"][:-5]
    del X["data"]
    X["data"] = values


def wrong_shape(X: h5py.Group) -> None:
    X.attrs["shape"] = [1400, 40]


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (beyond, "columns that are not among the 40"),
        (below, "columns that are not among the 40"),
        (crossed, "indptr"),
        (short, "values at"),
        (wrong_shape, "1400 x 40"),
    ],
)
def test_a_matrix_that_is_none(
    path: Path, break_it: Callable[[h5py.Group], None], words: str
) -> None:
    with h5py.File(path, "r+") as store:
        break_it(store["X"])
    with pytest.raises(InputError, match=rf"cells\.h5ad.*{words}"):
        read_cells(path)
    with pytest.raises(InputError, match=rf"cells\.h5ad.*{words}"):
        prepare(path)


def test_values_of_one_place_are_added_up(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cells = ad.read_h5ad(path)
    whole = cells.X.toarray()
    with h5py.File(path, "r+") as store:
        start = int(store["X/indptr"][130])
        columns = store["X/indices"][start : start + 2]
        repeated(store["X"])
    whole[130, columns[0]] += whole[130, columns[1]]
    whole[130, columns[1]] = 0
    np.testing.assert_array_equal(read_cells(path).X.toarray(), whole)
    assert caplog.text.count("they are added up") == 1
    assert "cells.h5ad" in caplog.text


def test_unsorted_rows_are_sorted(path: Path) -> None:
    expected = read_cells(path)
    with h5py.File(path, "r+") as store:
        unsorted(store["X"])
    read = read_cells(path)
    assert read.X.has_sorted_indices
    np.testing.assert_array_equal(read.X.toarray(), expected.X.toarray())


@pytest.mark.parametrize("kind", ["text", "complex"])
def test_a_matrix_without_numbers(path: Path, kind: str) -> None:
    values = {"text": np.full((1500, 40), b"1"), "complex": np.ones((1500, 40), dtype=complex)}
    with h5py.File(path, "r+") as store:
        del store["X"]
        store["X"] = values[kind]
    with pytest.raises(InputError, match=r"cells\.h5ad.*not numbers"):
        prepare(path)


@pytest.mark.parametrize("missing", ["X", "obs", "var", "X/indices"])
def test_missing_keys(path: Path, missing: str) -> None:
    with h5py.File(path, "r+") as store:
        del store[missing]
    with pytest.raises(InputError, match=r"cells\.h5ad"):
        prepare(path)


def test_coordinates_of_other_cells(path: Path) -> None:
    with h5py.File(path, "r+") as store:
        store["obsm"]["spatial"] = np.ones((7, 2))
    with pytest.raises(InputError, match=r"obsm\['spatial'\].*\(7, 2\)"):
        prepare(path)


def test_10x_with_lengths_that_do_not_fit(tmp_path: Path) -> None:
    X = sparse.csr_matrix(np.ones((3, 2), dtype=np.float32))
    WRITERS["10x h5"](X, ["c1", "c2", "c3"], ["A", "B"], tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as store:
        del store["matrix/barcodes"]
        store["matrix/barcodes"] = np.array([b"c1", b"c2"])
    with pytest.raises(InputError, match=r"x\.h5"):
        read_cells(tmp_path / "x.h5")


def test_mtx_that_promises_more_than_there_is(tmp_path: Path) -> None:
    X = sparse.csr_matrix(np.ones((3, 2), dtype=np.float32))
    WRITERS["10x mtx"](X, ["c1", "c2", "c3"], ["A", "B"], tmp_path / "x")
    matrix = tmp_path / "x" / "matrix.mtx"
    whole = matrix.read_text()
    matrix.write_text(whole.replace("2 3 6", "2 999999999999 6"))
    with pytest.raises(InputError, match=r"matrix\.mtx.*999999999999"):
        read_cells(tmp_path / "x")
    matrix.write_text(whole[:-12])
    with pytest.raises(InputError, match=r"matrix\.mtx"):
        read_cells(tmp_path / "x")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"i,A,B\nc1,1,2\nc2,1\n", "row 'c2', column 'B'.*missing"),
        (b"i,A,B\nc1,1,2\nc2,,3\n", "row 'c2', column 'A'.*missing"),
        (b"i,A,B\nc1,1,2\nc2,1,2,3\n", "table"),
        (b"i,A,B\nc1,1,x\n", "'B'.*expected numbers"),
        ("i,A,Bé\nc1,1,2\n".encode("latin-1"), "utf-8"),
        (b"i,A,B\nc1,1,2\nc\xe9,1,2\n", "utf-8"),
        (b"i,A,B\nc1,1," + b"2" * 5000 + b"\n", "more than 1,000 characters"),
        (b"i," + b"A" * 5000, "more than 1,000 characters"),
        (b"i,A,B\n" + b"c,1,2\n" * 300 + b"c" * 10**6, "more than 1,000 characters"),
    ],
)
def test_tables_that_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, words: str
) -> None:
    monkeypatch.setattr("plkd.io.formats.LONGEST_LINE", 1000)
    (tmp_path / "x.csv").write_bytes(text)
    with pytest.raises(InputError, match=rf"x\.csv.*{words}"):
        read_cells(tmp_path / "x.csv", ReadingOptions(reader="csv"))


def test_a_sum_of_many_rows_is_not_a_long_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plkd.io.formats.LONGEST_LINE", 100)
    (tmp_path / "x.csv").write_text("i,A\n" + "".join(f"c{i},{i % 7}\n" for i in range(60_000)))
    assert read_cells(tmp_path / "x.csv").n_obs == 60_000
