"""The prediction contract: what it holds, what it refuses, and that files keep it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from plkd.errors import InputError
from plkd.prediction.table import (
    PROBABILITY,
    label_names,
    label_probabilities,
    prediction_sets,
    prediction_table,
    read_predictions,
    write_predictions,
)

LABELS = ["B cell", "CD4+ T / naïve", "$γδ_T$"]


def small_table(**options: float) -> pd.DataFrame:
    probabilities = [[0.7, 0.2, 0.1], [0.1, 0.45, 0.45], [0.0, 0.0, 1.0]]
    return prediction_table(["c1", "c2", "c3"], LABELS, probabilities, **options)


def test_columns_of_a_small_table():
    table = small_table(unknown_threshold=0.5)
    assert list(table["label"]) == ["B cell", "CD4+ T / naïve", "$γδ_T$"]
    np.testing.assert_allclose(table["confidence"], [0.7, 0.45, 1.0], rtol=1e-6)
    np.testing.assert_allclose(table["margin"], [0.5, 0.0, 1.0], atol=1e-6)
    expected = -(0.7 * np.log(0.7) + 0.2 * np.log(0.2) + 0.1 * np.log(0.1))
    np.testing.assert_allclose(table["entropy"].iloc[[0, 2]], [expected, 0.0], atol=1e-6)
    assert list(table["unknown"]) == [False, True, False]
    assert [list(s) for s in table["prediction_set"]] == [[label] for label in table["label"]]
    assert label_names(table) == LABELS
    assert label_probabilities(table).dtype == np.float32


def test_prediction_sets_hold_every_label_above_the_threshold_best_first():
    sets = [list(s) for s in small_table(conformal_threshold=0.85)["prediction_set"]]
    assert sets == [["B cell", "CD4+ T / naïve"], ["CD4+ T / naïve", "$γδ_T$"], ["$γδ_T$"]]


def test_prediction_sets_are_never_empty_and_can_be_everything():
    assert [len(s) for s in small_table(conformal_threshold=0.0)["prediction_set"]] == [1, 1, 1]
    assert [len(s) for s in small_table(conformal_threshold=1.0)["prediction_set"]] == [3, 3, 3]


@settings(deadline=None, max_examples=50)
@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(0, 12), st.integers(1, 6)),
        elements=st.floats(0.001, 1),
    ),
    st.floats(0, 1),
)
def test_table_agrees_with_a_loop_over_the_cells(weights, threshold):
    matrix = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    names = [f"label {i}" for i in range(matrix.shape[1])]
    cells = [f"c{i}" for i in range(len(matrix))]
    table = prediction_table(cells, names, matrix, conformal_threshold=threshold)
    for row, (_, cell) in zip(matrix, table.iterrows(), strict=True):
        ranked = sorted(range(len(row)), key=lambda i: (-row[i], i))
        assert cell["label"] == names[ranked[0]]
        assert cell["confidence"] == row[ranked[0]]
        second = row[ranked[1]] if len(row) > 1 else 0.0
        assert cell["margin"] == pytest.approx(row[ranked[0]] - second)
        inside = [names[i] for i in ranked if row[i] >= 1 - threshold]
        assert list(cell["prediction_set"]) == (inside or [names[ranked[0]]])


def test_round_trip_through_a_file(tmp_path):
    table = small_table(unknown_threshold=0.5, conformal_threshold=0.85)
    write_predictions(table, tmp_path / "sub" / "student.parquet")
    pd.testing.assert_frame_equal(read_predictions(tmp_path / "sub" / "student.parquet"), table)
    schema = pq.read_schema(tmp_path / "sub" / "student.parquet")
    assert schema.field("prediction_set").type == pa.list_(pa.string())
    assert pd.read_parquet(tmp_path / "sub" / "student.parquet")["label"].tolist() == LABELS


def test_no_cells_survive_a_round_trip(tmp_path):
    table = prediction_table([], LABELS, np.zeros((0, 3)))
    write_predictions(table, tmp_path / "none.parquet")
    assert len(read_predictions(tmp_path / "none.parquet")) == 0


def test_prediction_sets_of_a_selection_are_those_of_its_rows():
    table = small_table(conformal_threshold=0.85)
    sets = prediction_sets(table[table["label"] != "B cell"])
    assert sets.to_pylist() == [["CD4+ T / naïve", "$γδ_T$"], ["$γδ_T$"]]


@pytest.mark.parametrize(
    ("cells", "labels", "probabilities", "needed"),
    [
        (["a"], ["x", "y"], [[0.5, 0.4]], "sum to 1"),
        (["a"], ["x", "y"], [[np.nan, 1.0]], "finite"),
        (["a"], ["x", "y"], [[1.2, -0.2]], "negative"),
        (["a", "a"], ["x"], [[1.0], [1.0]], "'a'"),
        (["a"], ["x", "x"], [[0.5, 0.5]], "'x'"),
        (["a"], ["x"], [[0.5, 0.5]], "shape"),
        (["a"], [], np.zeros((1, 0)), "at least one label"),
    ],
)
def test_what_is_no_probability_is_refused(cells, labels, probabilities, needed):
    with pytest.raises(InputError, match=needed):
        prediction_table(cells, labels, probabilities)


@pytest.mark.parametrize(
    ("spoil", "needed"),
    [
        (lambda t: t.drop(columns="margin"), "margin"),
        (lambda t: t.drop(columns=[PROBABILITY + c for c in LABELS]), "probability:"),
        (lambda t: t.assign(score=1.0), "score"),
        (lambda t: t.assign(cell_id="same"), "same"),
        (lambda t: t.assign(label="T cell"), "no label"),
        (lambda t: t.assign(label="B cell"), "most probable"),
        (lambda t: t.assign(label=None), "no label"),
        (lambda t: t.assign(confidence=0.3), "confidence"),
        (lambda t: t.assign(prediction_set=[["B cell"]] * 3), "prediction_set"),
        (lambda t: t.assign(prediction_set=[[]] * 3), "prediction_set"),
        (lambda t: t.assign(**{PROBABILITY + "B cell": 0.5}), "sum to 1"),
    ],
)
def test_a_broken_file_is_refused_with_its_name(tmp_path, spoil, needed):
    path = tmp_path / "broken.parquet"
    spoil(small_table().astype({"prediction_set": object})).to_parquet(path)
    with pytest.raises(InputError, match=needed) as error:
        read_predictions(path)
    assert "broken.parquet" in str(error.value)


def test_a_broken_table_is_not_written(tmp_path):
    with pytest.raises(InputError):
        write_predictions(small_table().assign(confidence=0.1), tmp_path / "p.parquet")
    assert not list(tmp_path.iterdir())


def test_files_that_are_no_parquet_are_refused(tmp_path):
    (tmp_path / "text.parquet").write_text("cell_id\tlabel\n")
    for name in ("text.parquet", "absent.parquet"):
        with pytest.raises(InputError, match=name):
            read_predictions(tmp_path / name)
