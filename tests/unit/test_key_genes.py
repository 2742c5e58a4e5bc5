"""Key genes, agreement of seeds, and known markers, on tables made by hand."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import hypergeom

from plkd.errors import InputError
from plkd.evaluation.marker_recovery import (
    match_labels,
    read_markers,
    recovery_summary,
    recovery_table,
)
from plkd.interpret.key_genes import key_genes, pool_sizes, stability

GENES = pd.DataFrame(
    {
        "label": ["B"] * 4 + ["T"] * 3,
        "gene": ["b1", "b2", "x", "b3", "t1", "x", "t2"],
        "rank": [1, 2, 3, 4, 1, 2, 3],
        "mean_abs_attribution": [4.0, 3.0, 2.0, 1.0, 5.0, 5.0, 1.0],
        "mean_attribution": [4.0, 3.0, -2.0, 1.0, 5.0, 5.0, 1.0],
        "present": [True, True, False, True, True, True, True],
    }
)
NETWORK = pd.DataFrame(
    {
        "label": ["B", "B", "B", "T", "gone"],
        "gene": ["b3", "b1", "n", "x", "b1"],
        "q": [0.01, 0.02, 0.03, 0.5, 0.1],
        "rank": [1, 2, 3, 1, 1],
    }
)


def test_key_genes_are_in_both_pools_and_ranked_by_attribution() -> None:
    found = key_genes(GENES, NETWORK, {"B": ["b1", "unmeasured"]}, pool_size=3)
    keys = found[found["key"]]
    assert list(keys[["label", "gene"]].itertuples(index=False, name=None)) == [
        ("B", "b1"),  # b3 is fourth, outside the Student's pool
        ("T", "x"),
    ]
    union = {label: set(table["gene"]) for label, table in found.groupby("label")}
    assert union == {"B": {"b1", "b2", "x", "b3", "n"}, "T": {"t1", "x", "t2"}}
    assert "gone" not in union  # a label that the Student never gave
    of_b = found[found["label"] == "B"].set_index("gene")
    assert of_b["marker"].to_dict() == {
        "b1": True,
        "b2": False,
        "x": False,
        "b3": False,
        "n": False,
    }
    assert found.loc[found["label"] == "T", "marker"].isna().all()
    assert list(of_b.index) == ["b1", "b2", "x", "b3", "n"]  # key, the Student's, the Teacher's
    wider = key_genes(GENES, NETWORK, pool_size=4)
    assert list(wider.loc[wider["key"] & (wider["label"] == "B"), "gene"]) == ["b1", "b3"]


def test_shared_genes_by_chance() -> None:
    """Expected overlap and its p-value, against all choices of a pool of the same size."""
    n_genes, of_b = 7, GENES[GENES["label"] == "B"]
    sizes = pool_sizes(of_b, NETWORK, n_genes)
    row = sizes[sizes["pool_size"] == n_genes].iloc[0]
    assert (row["shared"], row["expected"], row["p_value"]) == (2, 3.0, pytest.approx(1.0))
    many = pd.DataFrame({"label": "B", "gene": [f"g{i}" for i in range(12)], "rank": range(1, 13)})
    network = pd.DataFrame({"label": "B", "gene": ["g0", "g1", "g11"]})
    row = pool_sizes(many, network, 12).set_index("pool_size").loc[10]
    pools = [set(pool) for pool in combinations(range(12), 10)]
    overlaps = np.array([len(pool & {0, 1, 11}) for pool in pools])
    assert row["shared"] == 2
    assert row["expected"] == pytest.approx(overlaps.mean())
    assert row["p_value"] == pytest.approx((overlaps >= 2).mean())


def test_chance_of_shared_genes_in_data_of_real_size() -> None:
    """2,000 genes, 20 of them in the network: scipy's tails, from nearly one to nearly nothing."""
    ranked = pd.DataFrame({"label": "B", "gene": [f"g{i}" for i in range(2000)]})
    ranked["rank"] = range(1, 2001)
    for every in (1, 7, 90):
        network = pd.DataFrame({"label": "B", "gene": [f"g{i * every}" for i in range(20)]})
        found = pool_sizes(ranked, network, 2000)
        expected = hypergeom.sf(found["shared"] - 1, 2000, 20, found["pool_size"])
        np.testing.assert_allclose(found["p_value"], expected, rtol=1e-9)


def test_agreement_of_seeds() -> None:
    def run(genes: list[str]) -> pd.DataFrame:
        return pd.DataFrame({"label": "B", "gene": genes, "rank": range(1, len(genes) + 1)})

    first = [f"g{i}" for i in range(20)]
    second = [f"g{i}" for i in range(5)] + [f"h{i}" for i in range(15)]
    table = stability({"0": run(first), "1": run(second)}, 1000).set_index("top")
    assert table.loc[10, "jaccard"] == pytest.approx(5 / 15)
    assert table.loc[20, "jaccard"] == pytest.approx(5 / 35)
    assert table.loc[10, "in_all"] == "g0;g1;g2;g3;g4"
    assert table.loc[10, "chance"] < 0.01
    same = stability({"0": run(first), "1": run(first), "2": run(first)}, 1000)
    assert (same["jaccard"] == 1).all()
    assert stability({"0": run(first)}, 1000).empty


def test_known_markers_found_and_missed() -> None:
    ranking = pd.DataFrame(
        {"label": "B", "gene": [f"g{i}" for i in range(30)], "rank": range(1, 31)}
    )
    candidates = [f"g{i}" for i in range(100)]
    expected = {"B": ["g0", "g14", "g50", "elsewhere"], "unknown label": ["g1"]}
    table = recovery_table(expected, {"attribution": ranking}, candidates)
    assert list(table["attribution_rank"].fillna(0)) == [1, 15, 0, 0]
    assert list(table["measured"]) == [True, True, True, False]
    summary = recovery_summary(table, {"attribution": ranking}, candidates)
    ten = summary[(summary["label"] == "B") & (summary["top"] == 10)].iloc[0]
    twenty = summary[(summary["label"] == "B") & (summary["top"] == 20)].iloc[0]
    assert (ten["found"], ten["precision"], ten["expected"]) == (1, 0.1, 3)
    assert (twenty["found"], twenty["recall"]) == (2, pytest.approx(2 / 3))
    assert ten["chance"] == pytest.approx(3 / 100)  # mean over all draws of ten
    nothing = recovery_table({"B": ["elsewhere"]}, {"attribution": ranking}, candidates)
    assert recovery_summary(nothing, {"attribution": ranking}, candidates).empty


def test_lists_of_markers(tmp_path: Path) -> None:
    table = tmp_path / "markers.tsv"
    table.write_text("label\tgene\nB cells|CD19+ B\tMS4A1\nB cells\tCD79A\n")
    gmt = tmp_path / "markers.gmt"
    gmt.write_text("B cells\tof us\tMS4A1\tCD79A\n")
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps({"labels": {"B": {"markers": ["g1"], "active_programmes": ["P"]}}}))
    assert read_markers(table) == {"B cells": ["MS4A1", "CD79A"], "CD19+ B": ["MS4A1"]}
    assert read_markers(gmt) == {"B cells": ["MS4A1", "CD79A"]}
    assert read_markers(truth) == {"B": ["g1"]}
    assert read_markers(truth, "pathway") == {"B": ["P"]}
    matched = match_labels(read_markers(table), ["b cell", "CD19+ B", "NK"])
    assert matched == {"b cell": ["MS4A1", "CD79A"], "CD19+ B": ["MS4A1"]}
    with pytest.raises(InputError, match="none of the labels"):
        match_labels(read_markers(table), ["Podocyte"])
    with pytest.raises(InputError, match="does not exist"):
        read_markers(tmp_path / "nothing.tsv")


def test_signs_of_a_name_count_only_if_minus() -> None:
    markers = {"CD16- NK": ["A"], "CD16+ NK": ["B"]}
    assert match_labels(markers, ["cd16 NK", "CD16-_NK"]) == {"cd16 NK": ["B"], "CD16-_NK": ["A"]}
