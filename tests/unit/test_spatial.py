"""Scores of labels in space, on a chessboard that one can count by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from plkd.evaluation.spatial import SPATIAL_COLUMNS, spatial_scores


def board(side=10, wrong=()):
    """A square of two halves, left and right; a row further it is the same again as slice two."""
    x, y = (part.ravel() for part in np.meshgrid(np.arange(side), np.arange(side)))
    true = np.where(x < side / 2, "left", "right").astype(object)
    label = true.copy()
    label[list(wrong)] = "other"
    return pd.DataFrame({"slice": "1", "x": x, "y": y, "label": label, "true_label": true})


def test_boundary_cells_are_those_with_a_neighbour_beyond():
    cells = board()
    (row,) = spatial_scores(cells, 4)[lambda t: t["slice"] == "1"].to_dict("records")
    assert row["n_cells"] == 100
    assert row["share_boundary"] == pytest.approx(0.2, abs=0.03)  # corners take a fourth from afar
    assert row["accuracy"] == row["accuracy_boundary"] == row["accuracy_inside"] == 1
    assert row["coherence"] == row["coherence_true"]


def test_errors_at_the_boundary_are_counted_there():
    cells = board()
    at_boundary = np.flatnonzero((cells["x"] == 4) & (cells["y"] > 1) & (cells["y"] < 8))
    scores = spatial_scores(board(wrong=at_boundary), 4).set_index("slice").loc["all"]
    assert scores["accuracy"] == pytest.approx(0.94)
    assert scores["accuracy_inside"] == 1
    n_boundary = scores["share_boundary"] * 100
    assert scores["accuracy_boundary"] == pytest.approx(1 - 6 / n_boundary)


def test_scattered_labels_are_less_coherent_than_the_truth():
    rng = np.random.default_rng(0)
    scores = spatial_scores(board(wrong=rng.choice(100, 30, replace=False))).iloc[-1]
    assert scores["coherence"] < scores["coherence_true"] - 0.2


def test_slices_do_not_touch_and_unknown_cells_are_left_out():
    two = pd.concat([board(), board().assign(slice="2", label="wrong")], ignore_index=True)
    two.loc[0, "true_label"] = None
    scores = spatial_scores(two).set_index("slice")
    assert list(scores.index) == ["1", "2", "all"]
    assert list(scores["n_cells"]) == [99, 100, 199]
    assert list(scores["accuracy"]) == [1, 0, pytest.approx(99 / 199)]
    assert scores.loc["1", "coherence"] == scores.loc["1", "coherence_true"]
    assert ["slice", *scores] == list(SPATIAL_COLUMNS)[4:]


def test_a_slice_of_one_cell_and_places_that_coincide():
    one = board().iloc[:1]
    assert np.isnan(spatial_scores(one).iloc[0]["coherence"])
    same = board().assign(x=0, y=0)
    assert spatial_scores(same).iloc[0]["n_cells"] == 100
