"""The transcription of the paper's tables: full, in range, nothing twice, known names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from plkd.evaluation.metrics import per_label_table
from plkd.paper.claims import CLAIM_COLUMNS
from plkd.paper.numbers import NUMBER_COLUMNS
from plkd.utils.tables import read_tsv

REPOSITORY = Path(__file__).resolve().parents[2]
PAPER = REPOSITORY / "resources" / "paper"
TABLES = ("table2", "table3", "table4", "table5", "table6", "figure6", "figure7")
ANNOTATORS = 12  # beside the paper's own


def numbers(name: str) -> pd.DataFrame:
    return read_tsv(PAPER / f"{name}.tsv", NUMBER_COLUMNS)


@pytest.mark.parametrize("name", TABLES)
def test_every_number_is_a_share_of_a_known_method_on_a_known_data_set(name: str) -> None:
    table = numbers(name)
    keys = ["dataset", "condition", "method", "measure"]
    assert not table.duplicated(keys).any()
    assert table["value"].between(0, 1).all()
    methods = read_tsv(PAPER / "methods.tsv", {"id": str})["id"]
    assert methods.is_unique
    assert set(table["method"]) <= set(methods)
    known = set(read_tsv(PAPER / "table1.tsv", {"dataset": str})["dataset"])
    assert set(table["dataset"]) <= known
    shipped = {
        one["paper_name"]
        for path in (REPOSITORY / "config" / "datasets").glob("*.yaml")
        for one in as_list(yaml.safe_load(path.read_text(encoding="utf-8")))
        if "paper_name" in one
    }
    assert set(table["dataset"]) <= shipped


def as_list(content: Any) -> list[Any]:
    return content if isinstance(content, list) else [content]


@pytest.mark.parametrize(("name", "columns"), [("table2", 4), ("table4", 4)])
def test_tables_of_annotation_are_full(name: str, columns: int) -> None:
    table = numbers(name)
    columns_of_table = ["dataset", "condition", "measure"]
    grid = table.pivot_table(index="method", columns=columns_of_table, values="value")
    assert grid.shape == (ANNOTATORS + 1, 2 * columns)
    assert grid.notna().all(axis=None)


@pytest.mark.parametrize(("name", "but"), [("table2", {"PBMC"}), ("table4", set())])
def test_ours_is_the_best_but_on_blood(name: str, but: set[str]) -> None:
    """As the text says and Table 2 shows; a swapped row or column would be seen."""
    table = numbers(name)
    best = table.groupby(["dataset", "condition", "measure"])["value"].transform("max")
    ours = table["method"] == "student"
    assert set(table["dataset"][ours & (table["value"] < best)]) == but


def test_macro_f1_is_at_most_a_little_above_accuracy() -> None:
    for name in ("table2", "table4"):
        table = numbers(name)
        grid = table.pivot_table(
            index=["dataset", "condition", "method"], columns="measure", values="value"
        )
        assert (grid["macro_f1"] - grid["accuracy"] < 0.01).all()


def test_ablation_has_six_rows_of_four_numbers() -> None:
    table = numbers("table5")
    grid = table.pivot_table(index="condition", columns=["method", "measure"], values="value")
    assert grid.shape == (6, 4)
    assert (grid.idxmax() == "full").all()


def test_f1_of_the_groups_agrees_with_precision_and_recall_in_rank() -> None:
    grid = numbers("table6").pivot_table(index="condition", columns="measure", values="value")
    assert list(grid["f1"].sort_values().index) == ["high", "low", "medium"]
    assert grid.loc["low", "recall"] == 1


def test_claims_have_different_ids() -> None:
    claims = read_tsv(PAPER / "claims.tsv", CLAIM_COLUMNS)
    assert claims["id"].is_unique
    assert claims["claim"].is_unique


def test_what_is_counted_in_the_text_is_what_the_code_and_the_configuration_take() -> None:
    counts = read_tsv(PAPER / "counts.tsv", {"quantity": str, "value": int})
    value = dict(zip(counts["quantity"], counts["value"], strict=True))
    bounds = [value[f"cells of a type of the {one}"] for one in
              ("high group: more than", "medium group: to", "medium group: from",
               "low group: fewer than")]  # fmt: skip
    high, top, bottom, low = bounds
    assert (high, bottom) == (top, low)
    for n_cells, group in (
        (high + 1, "high"),
        (top, "medium"),
        (bottom, "medium"),
        (low - 1, "low"),
    ):
        predicted = pd.DataFrame({"cell_id": ["a"], "label": ["T"]})
        truth = pd.DataFrame({"cell_id": ["a"], "label": ["T"]})
        table = per_label_table(predicted, truth, {"T": n_cells - 1})
        assert list(table["abundance"]) == [group]
    shipped = yaml.safe_load((REPOSITORY / "config/datasets/pan_cancer.yaml").read_text())
    expected = shipped["expected"]["error"]["cells_of_label"]
    assert value["cells of the rarest type"] == min(expected.values())
    schema = yaml.safe_load((REPOSITORY / "workflow/schemas/config.schema.yaml").read_text())
    ratios = schema["properties"]["imbalance"]["items"]["properties"]["ratios"]["default"]
    assert value["least cells of Mono_CD14 for one of a minor type"] == min(ratios)
    assert value["most cells of Mono_CD14 for one of a minor type"] == max(ratios)
