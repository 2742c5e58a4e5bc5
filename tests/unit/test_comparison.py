"""Comparison of methods: draws of cells, tests over transfers, costs, and the page about them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from plkd.errors import InputError
from plkd.evaluation.comparison import (
    TRUST_COLUMNS,
    choice_table,
    compare,
    compare_over_both,
    holm,
    mean_interval,
    mean_ranks,
    trust_table,
)
from plkd.evaluation.costs import COST_COLUMNS, cost_of_outcome, cost_of_steps, cost_table
from plkd.evaluation.resampling import resampled_scores
from plkd.figures.benchmark_page import Section, benchmark_page, readable
from plkd.figures.choice import plot_choice, plot_f1_map, plot_ranks
from plkd.figures.style import style
from plkd.prediction.table import prediction_table

LABELS = ["a", "b", "c"]


def table_of(labels: list[str]) -> pd.DataFrame:
    ids = [f"cell{i}" for i in range(len(labels))]
    return prediction_table(ids, LABELS, np.eye(3)[[LABELS.index(label) for label in labels]])


@pytest.fixture(scope="module")
def case() -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """True labels of 90 cells, a method that knows them, one that errs, one that errs elsewhere."""
    rng = np.random.default_rng(0)
    true = rng.choice(LABELS, 90, p=[0.6, 0.3, 0.1])
    wrong = {"a": "b", "b": "a", "c": "a"}
    errs = rng.random(90) < 0.3
    predictions = {
        "right": table_of(list(true)),
        "errs": table_of([wrong[t] if e else t for t, e in zip(true, errs, strict=True)]),
        "errs_elsewhere": table_of([t if e else wrong[t] for t, e in zip(true, errs, strict=True)]),
        "failed": prediction_table([], LABELS, np.zeros((0, 3))),
    }
    truth = pd.DataFrame({"cell_id": [f"cell{i}" for i in range(90)], "label": true})
    return predictions, truth


def test_draws_are_of_the_same_cells_for_every_method(case):
    table = resampled_scores(*case, LABELS)
    accuracy = table.pivot_table(index="draw", columns="method", values="accuracy")
    assert list(accuracy) == ["errs", "errs_elsewhere", "right"]
    assert accuracy["right"].eq(1).all()
    np.testing.assert_allclose(accuracy["errs"] + accuracy["errs_elsewhere"], 1)
    assert accuracy["errs"].std() == pytest.approx(np.sqrt(0.3 * 0.7 / 90), rel=0.2)


def test_draws_have_the_scores_of_the_cells_drawn(case):
    """Their distribution is that of scikit-learn's scores on cells drawn one by one."""
    predictions, truth = case
    found = resampled_scores(predictions, truth, LABELS).query("method == 'errs'")["macro_f1"]
    rng = np.random.default_rng(1)
    true, predicted = truth["label"].to_numpy(), predictions["errs"]["label"].to_numpy()
    expected = []
    for _ in range(400):
        rows = rng.integers(90, size=90)
        present = np.unique(true[rows])
        expected.append(f1_score(true[rows], predicted[rows], labels=present, average="macro"))
    assert found.mean() == pytest.approx(np.mean(expected), abs=0.01)
    assert found.std() == pytest.approx(np.std(expected), rel=0.2)


def test_cells_of_other_labels_are_not_drawn(case):
    predictions, truth = case
    table = resampled_scores({"right": predictions["right"]}, truth, ["a"])
    assert table["accuracy"].eq(1).all()
    assert table["macro_f1"].eq(1).all()
    assert resampled_scores(predictions, truth, ["z"]).empty


def metrics_of(scores: dict[str, list[float]]) -> pd.DataFrame:
    """A table of runs: the scores of methods on data sets d0, d1, .."""
    rows = [
        {"dataset": f"d{i}", "seed": 0, "method": method, "macro_f1": score, "accuracy": score,
         "calibration_error": 0.1, "auroc_unseen": np.nan}
        for method, values in scores.items()
        for i, score in enumerate(values)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_methods_are_compared_on_the_transfers_of_both():
    ours = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    below = [score - 0.01 * i for i, score in enumerate(ours, start=1)]
    table = compare(
        metrics_of({"ours": ours, "below": below, "same": ours, "some": [0.95, *[np.nan] * 5]}),
        "ours",
    )
    table = table[table["score"] == "macro_f1"].set_index("method")
    assert table.loc["below", ["pairs", "better", "worse"]].tolist() == [6, 0, 6]
    assert table.loc["below", "difference"] == pytest.approx(-0.035)
    assert table.loc["below", "p_value"] == pytest.approx(2 / 2**6)  # exact, two-sided
    assert table.loc["below", "adjusted_p_value"] == pytest.approx(2 * 2 / 2**6)
    assert -0.06 < table.loc["below", "lower"] < -0.035 < table.loc["below", "upper"] < -0.01
    assert np.isnan(table.loc["same", "p_value"])
    assert table.loc["some", "pairs"] == 1


def test_batches_of_queries_are_pairs_as_well():
    metrics = metrics_of({"ours": [0.9, 0.8], "other": [0.8, 0.9]})
    batches = pd.DataFrame(
        [
            {"dataset": f"d{i // 4}", "seed": seed, "method": method, "batch": f"b{i % 4}",
             "n_cells": 5 if i == 7 else 50, "macro_f1": score + seed, "accuracy": score}
            for i in range(8)
            for seed in (0, 1)
            for method, score in (("ours", 0.9), ("other", 0.8 - 0.01 * i))
        ]
    )  # fmt: skip
    table = compare_over_both(metrics, batches, "ours").query("score == 'macro_f1'")
    assert list(table["over"]) == ["dataset", "batch"]
    of_batches = table.set_index("over").loc["batch"]
    assert of_batches["pairs"] == 7  # without the batch of five cells; seeds are no pairs
    assert of_batches["difference"] == pytest.approx(-0.13)
    assert of_batches["p_value"] == pytest.approx(2 / 2**7)
    single = batches[batches["batch"] == "b0"]
    assert set(compare_over_both(metrics, single, "ours")["over"]) == {"dataset"}


def test_trust_is_a_mean_over_data_sets_of_means_over_seeds():
    scores = dict.fromkeys(list(TRUST_COLUMNS)[2:], 0.5)
    rows = [
        {"method": "a", "dataset": "x", "seed": 0, **scores, "calibration_error": 0.1},
        {"method": "a", "dataset": "x", "seed": 1, **scores, "calibration_error": 0.3},
        {"method": "a", "dataset": "y", "seed": 0, **scores, "calibration_error": 0.4},
        {"method": "b", "dataset": "x", "seed": 0, **scores, "calibration_error": 0.1,
         "auroc_unseen": np.nan},
        {"method": "b", "dataset": "y", "seed": 0, **dict.fromkeys(scores, np.nan)},
        {"method": "c", "dataset": "x", "seed": 0, **dict.fromkeys(scores, np.nan)},
    ]  # fmt: skip
    table = trust_table(pd.DataFrame(rows))
    assert list(table) == list(TRUST_COLUMNS)
    assert list(table["method"]) == ["b", "a"]
    assert list(table["transfers"]) == [1, 2]
    assert table["calibration_error"].tolist() == pytest.approx([0.1, 0.3])
    assert np.isnan(table["auroc_unseen"][0])


def test_holm_of_a_textbook_example():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([]).tolist() == []
    assert np.isnan(mean_interval(np.array([1.0]))).all()


def test_the_critical_difference_is_that_of_demsar():
    """His example: four classifiers on fourteen data sets, q = 2.569, a difference of 1.25."""
    rng = np.random.default_rng(0)
    scores = {name: rng.random(14).tolist() for name in "wxyz"}
    scores["fails"] = [np.nan, *rng.random(13)]
    table = mean_ranks(metrics_of(scores)).query("score == 'accuracy'")
    assert set(table["method"]) == set("wxyz")
    assert table["critical_difference"].to_numpy() == pytest.approx(1.25, abs=0.01)
    assert table["rank"].mean() == pytest.approx(2.5)
    assert table["rank"].is_monotonic_increasing
    assert np.isnan(mean_ranks(metrics_of({"a": [0.5], "b": [0.4]}))["critical_difference"]).all()


@pytest.fixture(scope="module")
def choice() -> pd.DataFrame:
    metrics = metrics_of({"first": [0.9, 0.8], "second": [0.7, 0.8], "partly": [0.99, np.nan]})
    draws = pd.DataFrame(
        [
            {"dataset": f"d{i}", "seed": 0, "method": method, "draw": draw,
             "accuracy": score, "macro_f1": score}
            for method, scores in {"first": (0.9, 0.6), "second": (0.7, 0.7)}.items()
            for i in range(2)
            for draw, score in enumerate(scores)
        ]
    )  # fmt: skip
    rows = [
        {"dataset": f"d{i}", "variant": "", "seed": seed, "method": method, "seconds": seconds,
         "training_seconds": np.nan, "peak_mb": 100.0 * (i + 1), "version": "tool 1",
         "reason": "out of time" if method == "partly" and i else ""}
        for i in range(2)
        for seed in range(3)
        for method, seconds in {"first": 1 + seed, "second": 5.0, "partly": 9.0}.items()
    ]  # fmt: skip
    return choice_table(metrics, draws, cost_table(rows))


def test_the_choice_says_how_good_how_sure_and_at_what_cost(choice):
    assert list(choice["method"]) == ["first", "second", "partly"]
    table = choice.set_index("method")
    assert table.loc["first", "macro_f1"] == pytest.approx(0.85)
    assert table.loc["first", "share_best"] == 0.5
    assert table.loc[["first", "second"], "share_as_good"].tolist() == [1, 0.5]
    assert table.loc["first", "macro_f1_lower"] == pytest.approx(0.6075)
    assert table.loc["first", ["seconds", "peak_mb"]].tolist() == [4, 200]
    assert table.loc["partly", "transfers"] == 1
    assert np.isnan(table.loc["partly", "share_best"])
    assert list(table["reason"]) == ["", "", "out of time"]


def test_an_outcome_is_a_row_of_costs(tmp_path):
    content = {"method": "m", "reason": "", "seconds": 3.0, "peak_mb": 5, "parameters": 7}
    (tmp_path / "m.json").write_text(json.dumps(content))
    row = cost_of_outcome(tmp_path / "m.json")
    assert row["seconds"] == 3
    assert row["parameters"] == 7
    assert row["version"] == ""
    assert np.isnan(row["training_seconds"])
    (tmp_path / "m.json").write_text("{")
    with pytest.raises(InputError, match=r"m\.json.*rule method"):
        cost_of_outcome(tmp_path / "m.json")


def test_our_steps_are_added_up_and_weights_counted(tmp_path):
    from safetensors.numpy import save_file

    for name, seconds, cells in (
        ("teacher", 10, {"n_reference": 9}),
        ("student", 5, {"n_reference": 9}),
        ("predict", 1, {"n_query": 4, "n_passed": 6}),
    ):
        cost = {"seconds": seconds, "cpu_seconds": seconds / 2, "peak_mb": seconds * 10}
        cost |= {"peak_gpu_mb": 7 if name == "student" else None, "machine": "m", **cells}
        (tmp_path / f"{name}.json").write_text(json.dumps(cost))
    tensors = {"layer.weight": np.zeros((3, 4)), "layer.bias": np.zeros(3), "mask": np.zeros(9)}
    save_file(tensors, tmp_path / "w.safetensors")
    steps = {name: tmp_path / f"{name}.json" for name in ("teacher", "student", "predict", "other")}

    def cost(*training: str) -> dict:
        paths = [steps[name] for name in training]
        return cost_of_steps(paths, [steps["predict"]], tmp_path / "w.safetensors")

    row = cost("teacher", "student")
    assert row["training_seconds"] == 15
    assert row["prediction_seconds"] == 1
    assert (row["seconds"], row["cpu_seconds"], row["peak_mb"]) == (16, 8, 100)
    assert (row["peak_gpu_mb"], row["machine"]) == (7, "m")
    assert (row["n_reference"], row["n_query"], row["n_passed"]) == (9, 4, 6)
    assert row["parameters"] == 15
    with pytest.raises(InputError, match=r"other\.json.*rule other"):
        cost("teacher", "other")  # not the half of it
    assert list(cost_table([{"dataset": "d", **row}])) == list(COST_COLUMNS)


class Page(HTMLParser):
    """Cells of the tables of a page, and what it would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[dict[str, str | None]] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "td":
            self.cells.append(given)
        self.sources += [given[name] for name in ("src", "href") if name in given]


def test_the_page_is_whole_and_safe(choice):
    table = pd.DataFrame({"score": [0.5, np.nan], "reason": ["", "<b>&"]}, index=["A<i>", "B"])
    with style():
        names = {method: method.title() for method in choice["method"]}
        figure = plot_choice(choice, names, dict.fromkeys(names, "rival"))
    page = benchmark_page(
        "Title <x>", "Answer & more", [Section("One", "note", table, figure, {"B": "ours"})]
    )
    parsed = Page()
    parsed.feed(page)
    assert [cell.get("data-value") for cell in parsed.cells] == [None, "0.5", None, None, "", None]
    assert all(source.startswith("data:image/png") for source in parsed.sources)
    assert "<i>" not in page
    assert "<b>" not in page
    assert '<tr class="ours"><td>B' in page
    assert readable(12345.6) == "12,346"


# A table with two columns, one of costs and one of scores, as the script of the page sees it.
BROWSER = """
const rows = [[1, 30], [3, 10], [2, 20]].map(cells => ({cells: cells.map(value => ({
  dataset: {value: String(value)}}))}));
const body = {rows, append: (...sorted) => { body.rows = sorted; }};
const heads = HEADS.map((name, cellIndex) => ({
  cellIndex, closest: () => ({tBodies: [body]}), sort: null,
  classList: {contains: one => name.split(" ").includes(one)},
  getAttribute() { return this.sort; }, setAttribute(_, value) { this.sort = value; },
  removeAttribute() { this.sort = null; },
}));
for (const head of heads) head.parentNode = {cells: heads};
const document = {querySelectorAll: () => heads};
SCRIPT
const seen = [];
for (const column of [1, 1, 0, 0, 1]) {
  heads[column].onclick();
  seen.push(body.rows.map(row => Number(row.cells[column].dataset.value)));
}
console.log(JSON.stringify(seen));
"""


def test_a_click_shows_the_best_first_of_scores_and_of_costs():
    """Then the other way round; a click on another column begins anew."""
    table = pd.DataFrame({"score": [0.5, 0.6], "seconds": [10, 20], "why": ["", "x"]}, ["A", "B"])
    page = benchmark_page("T", "A", [Section("One", table=table, low=["seconds"])])
    heads = re.findall('<th class="([^"]*)">', page)
    assert heads == ["sorts text up", "sorts", "sorts up", "sorts text up"]
    if shutil.which("node") is None:
        pytest.skip("there is no node to run the script of the page")
    script = re.search("<script>(.*)</script>", page, re.DOTALL)[1]
    code = BROWSER.replace("HEADS", json.dumps(heads[1:3])).replace("SCRIPT", script)
    ended = subprocess.run(["node", "-e", code], check=True, capture_output=True, text=True)
    up = [[10, 20, 30], [30, 20, 10], [3, 2, 1], [1, 2, 3], [10, 20, 30]]
    assert json.loads(ended.stdout) == up


@pytest.mark.parametrize("costs", [(15, 40, 750), (2, 3, 4), (0.5, 60, 90_000)])
def test_numbers_of_the_costs_do_not_overlap(choice, costs):
    names = {method: method for method in choice["method"]}
    with style():
        figure = plot_choice(choice.assign(cpu_seconds=costs), names, dict.fromkeys(names, "rival"))
        figure.draw_without_rendering()
        axes = figure.axes[2]
        low, high = axes.get_xlim()
        texts = [
            tick.label1.get_window_extent()
            for minor in (False, True)
            for tick in (axes.xaxis.get_minor_ticks() if minor else axes.xaxis.get_major_ticks())
            if low <= tick.get_loc() <= high and tick.label1.get_text()
        ]
    texts.sort(key=lambda box: box.x0)
    assert texts
    assert all(one.x1 < other.x0 for one, other in pairwise(texts))


def test_figures_hold_every_method(choice):
    names = {method: method for method in choice["method"]}
    with style():
        figure = plot_choice(choice, names, dict.fromkeys(names, "ours"))
        figure.draw_without_rendering()
        shown = [text.get_text() for text in figure.axes[0].get_yticklabels()]
        assert shown == ["first", "second", "partly"]
        ranks = mean_ranks(metrics_of({"a": [1.0, 0.9], "b": [0.5, 0.6], "c": [0.3, 0.7]}))
        ranks = ranks[ranks["score"] == "macro_f1"]
        plot_ranks(ranks, dict(zip("abc", "abc", strict=True))).draw_without_rendering()
        plot_ranks(ranks[:0], {}).draw_without_rendering()
        per_label = pd.DataFrame(
            {"dataset": "d", "method": ["a", "a", "b"], "label": ["x", "y$", "x"], "n": [5, 6, 5],
             "f1": [0.1, 0.9, 1.0]}
        )  # fmt: skip
        figure = plot_f1_map(per_label, {"a": "A", "b": "B"})
        figure.draw_without_rendering()
        assert sorted(text.get_text() for text in figure.axes[0].texts) == [".10", ".90", "1.00"]
