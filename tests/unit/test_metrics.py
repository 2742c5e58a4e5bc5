"""Scores against loops written from their definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plkd.errors import InputError
from plkd.evaluation.metrics import (
    abundance_table,
    annotation_metrics,
    calibration_error,
    confidence_table,
    confusion_table,
    embedding_metrics,
    match_truth,
    per_label_table,
)
from plkd.prediction.table import prediction_table

REFERENCE = ["A", "B", "C", "D"]


def random_case(seed: int, n: int = 60) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions over A-D; true labels A, B, C and the unseen E; the truth in another order."""
    rng = np.random.default_rng(seed)
    cells = [f"c{i}" for i in range(n)]
    probabilities = rng.dirichlet(np.full(4, 0.5), size=n)
    table = prediction_table(
        cells, REFERENCE, probabilities, unknown_threshold=0.5, conformal_threshold=0.8
    )
    truth = pd.DataFrame({"cell_id": cells, "label": rng.choice(list("AABCE"), size=n)})
    return table, truth.sample(frac=1, random_state=seed)


def one_hot_case(true: list[str | None], predicted: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    cells = [f"c{i}" for i in range(len(true))]
    labels = sorted(set(predicted)) or ["A"]
    matrix = np.array([[float(name == label) for name in labels] for label in predicted])
    table = prediction_table(cells, labels, matrix.reshape(len(cells), len(labels)))
    return table, pd.DataFrame({"cell_id": cells, "label": pd.Series(true, dtype=object)})


def loop_f1(pairs: list[tuple[str, str]], name: str) -> tuple[float, float, float]:
    hits = sum(t == p == name for t, p in pairs)
    n_true, n_predicted = sum(t == name for t, _ in pairs), sum(p == name for _, p in pairs)
    precision = hits / n_predicted if n_predicted else 0.0
    recall = hits / n_true if n_true else 0.0
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return precision, recall, f1


def loop_top(row: pd.Series) -> list[str]:
    """The most probable labels that together have 95 %."""
    left = {name: float(row[f"probability:{name}"]) for name in REFERENCE}
    chosen, together = [], 0.0
    while together < 0.95:
        chosen.append(max(left, key=lambda name: left[name]))
        together += left.pop(chosen[-1])
    return chosen


@pytest.mark.parametrize("seed", range(5))
def test_scores_agree_with_loops(seed):
    table, truth = random_case(seed)
    true_of = dict(zip(truth["cell_id"], truth["label"], strict=True))
    rows = [(true_of[row.cell_id], row) for row in table.itertuples()]
    shared = [(t, row) for t, row in rows if t in REFERENCE]
    unseen = [row for t, row in rows if t not in REFERENCE]
    pairs = [(t, row.label) for t, row in shared]
    present = sorted({t for t, _ in pairs})
    n = len(pairs)

    metrics = annotation_metrics(table, truth, REFERENCE)
    assert metrics["n_cells"] == n
    assert metrics["n_unseen"] == len(unseen)
    assert metrics["accuracy"] == pytest.approx(sum(t == p for t, p in pairs) / n)
    scores = {name: loop_f1(pairs, name) for name in present}
    assert metrics["macro_f1"] == pytest.approx(np.mean([f1 for _, _, f1 in scores.values()]))
    assert metrics["balanced_accuracy"] == pytest.approx(
        np.mean([recall for _, recall, _ in scores.values()])
    )
    weights = {name: sum(t == name for t, _ in pairs) / n for name in present}
    assert metrics["weighted_f1"] == pytest.approx(
        sum(weights[name] * scores[name][2] for name in present)
    )
    assert metrics["set_coverage"] == pytest.approx(
        np.mean([t in list(row.prediction_set) for t, row in shared])
    )
    assert metrics["set_size"] == pytest.approx(
        np.mean([len(row.prediction_set) for _, row in shared])
    )
    assert metrics["share_unknown"] == pytest.approx(np.mean([row.unknown for _, row in rows]))
    assert metrics["share_unseen_unknown"] == pytest.approx(np.mean([r.unknown for r in unseen]))
    assert metrics["mean_confidence"] == pytest.approx(np.mean([r.confidence for _, r in shared]))
    wins = [
        1.0 if known.confidence > new.confidence else 0.5 * (known.confidence == new.confidence)
        for _, known in shared
        for new in unseen
    ]
    assert metrics["auroc_unseen"] == pytest.approx(np.mean(wins))
    by_cell = table.set_index("cell_id")
    tops = [loop_top(by_cell.loc[row.cell_id]) for _, row in shared]
    inside = [t in top for (t, _), top in zip(shared, tops, strict=True)]
    sizes = [len(top) for top in tops]
    assert metrics["top95_coverage"] == pytest.approx(np.mean(inside))
    assert metrics["top95_size"] == pytest.approx(np.mean(sizes))
    limit = np.quantile([row.unknown_score for _, row in shared], 0.95)
    found = [row.unknown_score > limit for row in unseen]
    assert metrics["unseen_found"] == pytest.approx(np.mean(found))
    known = [t == row.label for t, row in shared if not row.unknown]
    assert metrics["accuracy_when_known"] == pytest.approx(np.mean(known))

    per_label = per_label_table(table, truth, dict.fromkeys(REFERENCE, 10)).set_index("label")
    assert sorted(per_label.index) == present
    for name in present:
        np.testing.assert_allclose(
            per_label.loc[name, ["precision", "recall", "f1"]].astype(float), scores[name]
        )

    confusion = confusion_table(table, truth)
    assert confusion["n"].sum() == len(rows)
    for row in confusion.itertuples():
        those = [r for t, r in rows if t == row.true and r.label == row.predicted]
        assert row.n == len(those)
        assert row.n_unknown == sum(r.unknown for r in those)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(0.01, 1), st.booleans()), min_size=1, max_size=40))
def test_calibration_error_agrees_with_a_loop_over_bins(cells):
    expected = 0.0
    edges = np.linspace(0, 1, 16)
    for low, high in itertools.pairwise(edges):
        inside = [(c, r) for c, r in cells if low < c <= high]
        if inside:
            gap = abs(np.mean([r for _, r in inside]) - np.mean([c for c, _ in inside]))
            expected += gap * len(inside) / len(cells)
    confidence, right = map(list, zip(*cells, strict=True))
    assert calibration_error(confidence, right) == pytest.approx(expected)


def test_confidence_table_counts_every_cell_once():
    names, confidences = ["a", "b", "c", "d"], [1.0, 0.6, 0.6, 0.55]
    table = prediction_table(names, ["x", "y"], [[p, 1 - p] for p in confidences])
    truth = pd.DataFrame({"cell_id": names, "label": ["x", "x", "y", "new"]})
    bins = confidence_table(table, truth, ["x", "y"], n_bins=10)
    assert len(bins) == 10
    filled = bins[bins[["right", "wrong", "unseen"]].any(axis=1)]
    filled = filled.set_index(filled["upper"].round(6))
    # an edge belongs to the bin below it; 0.6 as float32 lies above 0.6
    assert filled["right"].to_dict() == {0.6: 0, 0.7: 1, 1.0: 1}
    assert filled["wrong"].to_dict() == {0.6: 0, 0.7: 1, 1.0: 0}
    assert filled["unseen"].to_dict() == {0.6: 1, 0.7: 0, 1.0: 0}
    assert filled["confidence"].to_dict() == pytest.approx(
        {0.6: math.nan, 0.7: 0.6, 1.0: 1.0}, nan_ok=True
    )


def test_confidence_table_and_calibration_error_agree():
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet(np.ones(3), size=300)
    names = [f"c{i}" for i in range(300)]
    table = prediction_table(names, ["x", "y", "z"], probabilities)
    truth = pd.DataFrame({"cell_id": names, "label": rng.choice(["x", "y", "z"], 300)})
    bins = confidence_table(table, truth, ["x", "y", "z"])
    n = bins["right"] + bins["wrong"]
    gap = (bins["right"] / n - bins["confidence"]).abs()
    error = annotation_metrics(table, truth, {"x", "y", "z"})["calibration_error"]
    assert float((gap * n / 300).sum()) == pytest.approx(error)


def test_calibration_error_is_zero_for_honest_confidence():
    assert calibration_error([0.75] * 4, [True, True, True, False]) == pytest.approx(0)
    assert calibration_error([1.0] * 4, [False] * 4) == 1
    assert math.isnan(calibration_error([], []))


def test_perfect_predictions_score_one():
    metrics = annotation_metrics(*one_hot_case(["A", "B", "B"], ["A", "B", "B"]), REFERENCE)
    for name in ("accuracy", "macro_f1", "weighted_f1", "balanced_accuracy", "set_coverage"):
        assert metrics[name] == 1
    assert metrics["adjusted_rand_index"] == 1
    assert metrics["calibration_error"] == 0
    assert math.isnan(metrics["auroc_unseen"])


def test_a_label_that_only_is_predicted_does_not_enter_the_macro_mean():
    metrics = annotation_metrics(*one_hot_case(["A", "A"], ["A", "D"]), REFERENCE)
    assert metrics["macro_f1"] == pytest.approx(2 / 3)


def test_a_label_that_is_never_predicted_counts_as_zero():
    case = one_hot_case(["A", "B"], ["A", "A"])
    assert annotation_metrics(*case, REFERENCE)["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)
    b = per_label_table(*case, dict.fromkeys(REFERENCE, 1)).set_index("label").loc["B"]
    assert list(b[["precision", "recall", "f1"]]) == [0, 0, 0]


def test_unseen_labels_do_not_touch_the_accuracy():
    metrics = annotation_metrics(*one_hot_case(["A", "new", "new"], ["A", "A", "A"]), REFERENCE)
    assert metrics["accuracy"] == 1
    assert (metrics["n_cells"], metrics["n_unseen"]) == (1, 2)


def test_cells_without_a_true_label_are_left_out():
    case = one_hot_case(["A", None, "B"], ["A", "A", "A"])
    metrics = annotation_metrics(*case, REFERENCE)
    assert (metrics["n_cells"], metrics["n_unseen"], metrics["accuracy"]) == (2, 0, 0.5)
    assert confusion_table(*case)["n"].sum() == 2


@pytest.mark.parametrize(("true", "predicted"), [([], []), (["new"], ["A"]), ([None], ["A"])])
def test_nothing_to_score_gives_nan_and_empty_tables(true, predicted):
    case = one_hot_case(true, predicted)
    metrics = annotation_metrics(*case, REFERENCE)
    assert metrics["n_cells"] == 0
    assert all(math.isnan(metrics[name]) for name in ("accuracy", "macro_f1", "calibration_error"))
    per_label = per_label_table(*case, {"A": 5})
    assert per_label.empty
    assert abundance_table(per_label).empty


def test_one_label_only():
    metrics = annotation_metrics(*one_hot_case(["A", "A"], ["A", "A"]), ["A"])
    assert metrics["accuracy"] == metrics["macro_f1"] == metrics["adjusted_rand_index"] == 1


def test_abundance_groups_count_reference_and_query():
    case = one_hot_case(["A", "B", "C", "D"], ["A", "B", "C", "A"])
    counts = {"A": 5000, "B": 4999, "C": 999, "D": 998}
    table = per_label_table(*case, counts)
    assert list(table["label"]) == ["A", "B", "C", "D"]
    assert list(table["abundance"]) == ["high", "medium", "medium", "low"]
    groups = abundance_table(table).set_index("abundance")
    assert list(groups["n_labels"]) == [1, 2, 1]
    assert groups.loc["high", "f1"] == pytest.approx(2 / 3)
    assert groups.loc["medium", "f1"] == 1


def test_other_cells_in_the_truth_are_refused():
    table, truth = one_hot_case(["A", "B"], ["A", "B"])
    for wrong in (truth.iloc[:1], truth.replace("c1", "x"), pd.concat([truth, truth])):
        with pytest.raises(InputError, match="truth"):
            match_truth(table, wrong)
    with pytest.raises(InputError, match="no prediction"):
        match_truth(table.iloc[:1], truth)


def two_islands(n: int = 40) -> tuple[np.ndarray, list[str], list[str]]:
    """Two types far apart; two batches, mixed."""
    rng = np.random.default_rng(0)
    labels = ["A", "B"] * (n // 2)
    embedding = rng.normal(size=(n, 3)) + 50 * np.array([name == "B" for name in labels])[:, None]
    return embedding, labels, ["x", "x", "y", "y"] * (n // 4)


def test_embedding_scores_tell_separated_from_mixed():
    embedding, labels, batches = two_islands()
    scores = embedding_metrics(embedding, labels, batches)
    assert scores["n_cells"] == 40
    assert scores["cell_type_asw"] > 0.9
    assert scores["cell_type_asw_scaled"] == pytest.approx((scores["cell_type_asw"] + 1) / 2)
    assert scores["batch_asw"] > 0.8
    assert scores["graph_connectivity"] == 1
    swapped = embedding_metrics(embedding, batches, labels)
    assert swapped["cell_type_asw"] < 0.1
    assert swapped["batch_asw"] < 0.1


def test_silhouette_agrees_with_its_definition():
    embedding, labels, batches = two_islands(16)
    rng = np.random.default_rng(1)
    embedding = embedding + rng.normal(0, 40, embedding.shape)
    distance = np.linalg.norm(embedding[:, None] - embedding[None], axis=2)
    widths = []
    for i, name in enumerate(labels):
        own = [distance[i, j] for j in range(16) if labels[j] == name and j != i]
        other = [distance[i, j] for j in range(16) if labels[j] != name]
        a, b = np.mean(own), np.mean(other)
        widths.append((b - a) / max(a, b))
    scores = embedding_metrics(embedding, labels, batches)
    assert scores["cell_type_asw"] == pytest.approx(np.mean(widths), rel=1e-4)


def test_embedding_scores_with_one_batch_one_type_or_missing_labels():
    embedding, labels, batches = two_islands()
    one_batch = embedding_metrics(embedding, labels, ["x"] * 40)
    assert math.isnan(one_batch["batch_asw"])
    assert one_batch["cell_type_asw"] > 0.9
    one_type = embedding_metrics(embedding, ["A"] * 40, batches)
    assert math.isnan(one_type["cell_type_asw"])
    assert one_type["batch_asw"] > 0.8
    some: list[str | None] = [None if i < 4 else name for i, name in enumerate(labels)]
    assert embedding_metrics(embedding, some, batches)["n_cells"] == 36


def test_embedding_scores_are_sampled_by_seed():
    embedding, labels, batches = two_islands()
    first = embedding_metrics(embedding, labels, batches, max_cells=20, seed=1)
    assert first["n_cells"] == 20
    assert first == embedding_metrics(embedding, labels, batches, max_cells=20, seed=1)
    assert first != embedding_metrics(embedding, labels, batches, max_cells=20, seed=2)


def test_more_cells_than_exact_neighbours_are_used_for():
    """Above 8,192 cells scanpy takes another library for the neighbours."""
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b"], 4200)
    embedding = rng.normal(size=(8400, 5)) + 20.0 * (labels == "b")[:, None]
    scores = embedding_metrics(embedding, list(labels), ["one"] * 8400)
    assert scores["n_cells"] == 8400
    assert scores["graph_connectivity"] == pytest.approx(1.0)
