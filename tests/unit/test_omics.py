"""Scores of multi-omics integration, against values of scglue and against loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from plkd.evaluation.omics import (
    BIOLOGY,
    MIXING,
    OMICS_COLUMNS,
    SCORES,
    accessibility_components,
    expression_components,
    mean_average_precision,
    neighbour_conservation,
    omics_asw,
    omics_scores,
    score_omics,
    seurat_alignment,
)
from plkd.utils import neighbours

# scglue.metrics of scglue 0.4.1 (scanpy 1.11, scikit-learn 1.9) on the cells of `two_modalities`;
# seurat_alignment_score with random_state=0.
OF_SCGLUE = {
    "mean_average_precision": 0.8811904761904762,
    "cell_type_asw": 0.6039077657200134,
    "neighbour_conservation": 0.23973809523809525,
    "seurat_alignment": 0.9038888888888889,
    "omics_asw": 0.9135540821615407,
    "graph_connectivity": 0.9941176470588236,
}


def two_modalities():
    rng = np.random.default_rng(5)
    n = 150
    codes = np.concatenate([rng.integers(0, 4, n), rng.integers(0, 4, n + 50)])
    modality = np.array(["query"] * n + ["reference"] * (n + 50))
    X = rng.normal(size=(2 * n + 50, 5))
    X[:, 0] += 3 * codes
    X[:, 1] += 1.0 * (modality == "query")
    before = {
        "query": rng.normal(size=(n, 3)) * 0.3 + X[:n, :3],
        "reference": rng.normal(size=(n + 50, 3)) * 0.3 + X[n:, :3],
    }
    cells = pd.DataFrame({"label": np.array(list("abcd"))[codes], "modality": modality})
    return X, cells, before


def test_scores_are_those_of_scglue():
    X, cells, before = two_modalities()
    scores = omics_scores(X, cells, before)
    for name, value in OF_SCGLUE.items():
        assert scores[name] == pytest.approx(value, rel=1e-6), name
    biology, mixing = (np.mean([OF_SCGLUE[one] for one in names]) for names in (BIOLOGY, MIXING))
    assert scores["overall"] == pytest.approx(0.6 * biology + 0.4 * mixing)


@pytest.mark.parametrize("block", [9, 700])
def test_scores_are_the_same_in_any_blocks(monkeypatch, block):
    monkeypatch.setattr(neighbours, "_BLOCK", block)
    scores = omics_scores(*two_modalities())
    assert {name: scores[name] for name in OF_SCGLUE} == pytest.approx(OF_SCGLUE, rel=1e-6)


def test_average_precision_of_a_line_by_hand():
    # neighbours of 0: 1 (hit), 3 (miss) .. with two neighbours a cell
    X = np.array([[0.0], [1.0], [3.0], [7.0]])
    found = mean_average_precision(X, ["a", "a", "b", "a"], neighbours=0.5)
    assert found == pytest.approx(np.mean([1.0, 1.0, 0.0, 1 / 2]))
    assert mean_average_precision(X, ["a", "b", "c", "d"], neighbours=0.5) == 0


def test_alignment_and_omics_silhouette_fall_as_modalities_part():
    X, cells, _ = two_modalities()
    labels, modality = cells["label"], cells["modality"]
    apart = X + 40 * (modality == "query").to_numpy()[:, None]
    assert seurat_alignment(X, modality) > 0.8
    assert seurat_alignment(apart, modality) == 0
    assert omics_asw(apart, labels, modality) < 0.2 < 0.8 < omics_asw(X, labels, modality)
    assert omics_asw(X, labels, ["one"] * len(X)) == 1


def test_what_does_not_move_conserves_its_neighbours():
    X, cells, _ = two_modalities()
    parts = {name: X[cells["modality"] == name] for name in ("query", "reference")}
    assert neighbour_conservation(X, parts, cells["modality"]) == 1
    rng = np.random.default_rng(0)
    moved = {name: rng.permutation(part) for name, part in parts.items()}
    assert neighbour_conservation(X, moved, cells["modality"]) < 0.05


def test_components_of_peaks_are_those_of_glue():
    """lsi of scglue 0.4.1 (5 components, 15 iterations) on the same counts; signs are free."""
    peaks = np.random.default_rng(3).poisson(0.3, size=(60, 200))
    found = accessibility_components(sparse.csr_matrix(peaks.astype(np.float32)), 5)
    of_scglue = [
        [0.46751705, 0.5189875, -0.67488515, 1.0705787, -1.3821979],
        [0.95724726, -0.46633542, 0.2578123, 0.74801224, -1.4967364],
        [0.551349, 0.9750524, -1.6537138, 0.09839848, 0.02891387],
    ]
    np.testing.assert_allclose(found[:3], of_scglue, atol=3e-4)


def test_components_of_expression_are_of_scaled_genes():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 6)) ** 2
    scaled = expression_components(sparse.csr_matrix(X.astype(np.float32)), 3)
    again = expression_components(sparse.csr_matrix((X * [1, 9, 1, 5, 1, 2]).astype(np.float32)), 3)
    np.testing.assert_allclose(np.abs(scaled), np.abs(again), atol=1e-3)


def test_the_query_alone_has_nothing_to_mix():
    X, cells, before = two_modalities()
    table = score_omics({"student": X}, cells, before)
    assert ["dataset", "variant", "seed", *table] == list(OMICS_COLUMNS)
    every, query = table.to_dict("records")
    assert query["cells"] == "query"
    assert (every["n_cells"], query["n_cells"]) == (350, 150)
    assert np.isnan([query["seurat_alignment"], query["omics_asw"], query["overall"]]).all()
    assert query["biology"] > 0


def test_the_accessibility_of_cells_that_trained_is_no_query():
    X, cells, before = two_modalities()
    table = score_omics({"student": X}, cells, before, paired=True)
    assert list(table["cells"]) == ["all", "paired"]


def test_of_a_single_cell_there_is_no_score():
    X, cells, before = two_modalities()
    kept = np.r_[0, 150:350]
    before = {**before, "query": accessibility_components(sparse.csr_matrix(np.ones((1, 9))))}
    table = score_omics({"student": X[kept]}, cells.iloc[kept], before)
    every, query = table.to_dict("records")
    assert np.isnan(every["neighbour_conservation"])
    assert every["mean_average_precision"] > 0.5
    assert np.isnan([query[name] for name in SCORES]).all()
    one = sparse.csr_matrix(np.ones((1, 4), np.float32))
    assert expression_components(one).shape == accessibility_components(one).shape == (1, 1)


def test_where_all_is_drawn_anyway_one_draw_is_all_draws():
    X, cells, _ = two_modalities()
    kept = np.r_[:300]
    scores = {
        seurat_alignment(X[kept], cells["modality"][kept], repeats=repeats, seed=seed)
        for repeats in (1, 4) for seed in (0, 1)
    }  # fmt: skip
    assert len(scores) == 1
