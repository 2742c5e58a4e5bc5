"""The table of all checks, from runs whose numbers are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from plkd.evaluation.explanations import explanations_table


def areas_of(dataset: str, seed: int, attribution: float, random: float) -> pd.DataFrame:
    rows = [
        {"curve": curve, "ranking": ranking, "area": area}
        for curve, flip in (("deletion", False), ("insertion", True))
        for ranking, area in (("attribution", attribution), ("random", random))
        for area in (1 - area if flip else area,)
    ]
    names = {"dataset": dataset, "variant": "default", "seed": seed}
    return pd.DataFrame(rows).assign(model="student", items="genes", replaced_by="zero", **names)


def recovery_of(dataset: str, seed: int, precision: float) -> pd.DataFrame:
    rows = [
        {
            "label": label,
            "ranking": "attribution",
            "top": top,
            "precision": value,
            "recall": value / 2,
        }
        for label, value in (("B", 1.0), ("all labels", precision))
        for top in (10, 20)
    ]
    names = {"dataset": dataset, "variant": "default", "seed": seed}
    return pd.DataFrame(rows).assign(chance=0.05, **names)


def test_mean_spread_and_chance_of_every_check():
    areas = pd.concat(
        [areas_of("z", 0, 0.1, 0.8), areas_of("z", 1, 0.3, 0.6), areas_of("a", 0, 0.2, 0.9)]
    )
    markers = pd.concat([recovery_of("z", 0, 0.5), recovery_of("z", 1, 0.7)])
    origins = pd.DataFrame(
        {
            "dataset": ["z", "z", "a"],
            "variant": "default",
            "seed": [0, 1, 0],
            "origin_first_share": [1.0, 0.9, np.nan],
        }
    )
    stability = pd.DataFrame(
        {
            "dataset": "z", "variant": "default", "label": ["B", "NK"], "top": 10, "runs": 2,
            "jaccard": [0.8, 0.6], "chance": 0.01,
        }
    )  # fmt: skip
    table = explanations_table(areas, markers, None, origins, stability)
    assert list(table["dataset"].unique()) == ["z", "a"]  # as they came
    assert (table["dataset"] == "z").to_numpy().nonzero()[0].max() == (
        table["dataset"] == "z"
    ).sum() - 1

    def row(dataset: str, check: str, **of: str) -> pd.Series:
        chosen = table[(table["dataset"] == dataset) & (table["check"] == check)]
        for name, value in of.items():
            chosen = chosen[chosen[name] == value]
        assert len(chosen) == 1
        return chosen.iloc[0]

    deletion = row("z", "deletion")
    assert deletion["of"] == "Student: genes, by zero"
    assert deletion["better"] == "lower"
    assert deletion["mean"] == pytest.approx(0.2)
    assert deletion["sd"] == pytest.approx(np.std([0.1, 0.3], ddof=1))
    assert deletion["by_chance"] == pytest.approx(0.7)
    assert deletion["n_seeds"] == 2
    insertion = row("z", "insertion")
    assert (insertion["better"], insertion["mean"]) == ("higher", pytest.approx(0.8))
    assert np.isnan(row("a", "deletion")["sd"])
    precision = row("z", "known markers", of="first 10", measure="precision")
    assert precision["mean"] == pytest.approx(0.6)  # of all labels, not of one
    assert precision["by_chance"] == pytest.approx(0.05)
    recall = row("z", "known markers", of="first 20", measure="recall")
    assert recall["mean"] == pytest.approx(0.3)
    assert np.isnan(recall["by_chance"])
    assert row("z", "pathway of origin")["mean"] == pytest.approx(0.95)
    assert not ((table["dataset"] == "a") & (table["check"] == "pathway of origin")).any()
    agreement = row("z", "agreement of seeds")
    assert agreement["mean"] == pytest.approx(0.7)
    assert (agreement["n_seeds"], agreement["by_chance"]) == (2, 0.01)
    assert "random" not in set(table["ranking"])


def test_nothing_to_prove():
    table = explanations_table()
    assert table.empty
    assert {"check", "mean", "by_chance"} <= set(table.columns)
    nothing = pd.DataFrame(columns=["dataset", "variant", "label", "top", "runs", "jaccard"])
    assert explanations_table(stability=nothing).empty
