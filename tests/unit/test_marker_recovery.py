"""Lists of markers: read, matched to labels, and looked for in rankings."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from plkd.errors import InputError
from plkd.evaluation.marker_recovery import (
    match_labels,
    read_markers,
    read_planted,
    recovery_summary,
    recovery_table,
    wilcoxon_table,
)
from plkd.interpret.attributed_cells import AttributedCells
from plkd.simulation import simulate_cells


def test_three_forms_of_one_list(tmp_path):
    expected = {"B cell": ["MS4A1", "NA"], "Pre-B": ["MS4A1", "NA"], "NK": ["GNLY"]}
    table = tmp_path / "markers.tsv"
    table.write_text(
        "gene\tlabel\tnote\nMS4A1\tB cell|Pre-B\t\nNA\tB cell | Pre-B\tx\nGNLY\tNK\t\nGNLY\tNK\t\n"
    )
    gmt = tmp_path / "markers.gmt"
    gmt.write_text("B cell|Pre-B\tx\tMS4A1\tNA\nNK\t\tGNLY\n")
    truth = tmp_path / "truth.json"
    about = {label: {"markers": genes, "active_programmes": ["P"]} for label, genes in
             expected.items()}  # fmt: skip
    truth.write_text(json.dumps({"labels": about}))
    for path in (table, gmt, truth):
        assert read_markers(path) == expected
    assert read_markers(truth, "pathway") == {label: ["P"] for label in expected}


def test_what_is_no_list_of_markers(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_markers(tmp_path / "absent.tsv")
    (tmp_path / "a.tsv").write_text("label\tgene\n")
    with pytest.raises(InputError, match="names no marker"):
        read_markers(tmp_path / "a.tsv")
    (tmp_path / "b.tsv").write_text("cell type and gene\n")
    with pytest.raises(InputError, match="GMT"):
        read_markers(tmp_path / "b.tsv")
    for text in ("[1]", "{", '{"labels": {"A": {}}}'):
        (tmp_path / "c.json").write_text(text)
        with pytest.raises(InputError, match="no truth of simulated cells"):
            read_markers(tmp_path / "c.json")


@pytest.mark.parametrize(
    ("listed", "label", "same"),
    [
        ("CD14+ Monocyte", "CD14+ Monocytes", True),
        ("nk cell", "NK cells", True),
        ("CD14 Mono", "CD14+ mono", True),
        ("γδ T", "γδ-T", True),
        ("CD4- T", "CD4 T", False),
        ("B", "NK B", False),
        ("DC", "pDC", False),
    ],
)
def test_names_of_labels(listed, label, same):
    markers = {listed: ["G"], "other": ["H"]}
    assert match_labels(markers, [label, "other"]) == (
        {label: ["G"], "other": ["H"]} if same else {"other": ["H"]}
    )


def test_no_label_in_common():
    with pytest.raises(InputError, match=r"none of the labels 'A', 'B'.*it has 'X'"):
        match_labels({"X": ["G"]}, ["A", "B"])


def ranking(**genes: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"label": label, "gene": gene, "rank": rank}
            for label, names in genes.items()
            for rank, gene in enumerate(names, start=1)
        ]
    )


def test_recovery_by_hand():
    names = [f"g{i}" for i in range(30)]
    rankings = {"one": ranking(A=names[:25], B=names[::-1]), "two": ranking(A=["g3", "g29"])}
    expected = {"A": ["g0", "g15", "g29", "away"], "B": ["g0"], "C": ["g1"]}
    table = recovery_table(expected, rankings, names)
    assert list(table["gene"]) == ["g0", "g15", "g29", "away", "g0"]
    assert list(table["measured"]) == [True, True, True, False, True]
    assert table["one_rank"].tolist() == [1, 16, pd.NA, pd.NA, 30]
    assert table["two_rank"].tolist()[:3] == [pd.NA, pd.NA, 2]
    summary = recovery_summary(table, rankings, names).set_index(["label", "ranking", "top"])
    assert summary.loc[("A", "one", 10), "precision"] == pytest.approx(0.1)
    assert summary.loc[("A", "one", 20), "precision"] == pytest.approx(0.1)
    assert summary.loc[("A", "one", 20), "recall"] == pytest.approx(2 / 3)
    assert summary.loc[("A", "two", 10), "precision"] == pytest.approx(0.5)  # of two ranked
    assert summary.loc[("A", "one", 10), "chance"] == pytest.approx(3 / 30)
    assert summary.loc[("all labels", "one", 20), "recall"] == pytest.approx(1 / 3)
    assert np.isnan(summary.loc[("B", "two", 10), "precision"])

    planted = {"A": ["g0", "g1", "g2", "g29", "away"], "B": ["g0", "g29", "g28"]}
    summary = recovery_summary(table, rankings, names, planted)
    summary = summary.set_index(["label", "ranking", "top"])
    assert summary.loc[("A", "one", 10), "precision_planted"] == pytest.approx(0.3)
    assert summary.loc[("A", "two", 10), "precision_planted"] == pytest.approx(0.5)
    assert summary.loc[("A", "one", 10), "chance_planted"] == pytest.approx(4 / 30)
    assert summary.loc[("B", "one", 20), "precision_planted"] == pytest.approx(0.1)
    assert summary.loc[("all labels", "one", 10), "precision_planted"] == pytest.approx(0.25)
    assert summary.loc[("A", "one", 10), "precision"] == pytest.approx(0.1)


def test_planted_genes_of_simulated_cells(tmp_path):
    simulation = simulate_cells(n_genes=300, n_labels=3, n_cells=60, n_programmes=9, seed=1)
    simulation.save(tmp_path)
    planted = read_planted(tmp_path / "truth.json")
    design = simulation.design
    active = design.label_activity > design.label_activity.min()
    raised = (design.label_effects > 0) | (active @ (design.loadings > 0))
    for row, label in enumerate(design.labels):
        assert set(planted[label]) == set(np.asarray(design.genes)[raised[row]].tolist())
    listed = tmp_path / "markers.tsv"
    listed.write_text("label\tgene\nB\tMS4A1\n")
    assert read_planted(listed) is None
    (tmp_path / "other.json").write_text('{"labels": {"B": {"markers": []}}}')
    with pytest.raises(InputError, match="no truth of simulated cells"):
        read_planted(tmp_path / "other.json")


def test_wilcoxon_agrees_with_scipy():
    rng = np.random.default_rng(0)
    x = rng.random((60, 4)).astype(np.float32)
    labels = np.repeat([0, 2, 3], [30, 29, 1])
    x[:30, 1] += 0.4
    cells = AttributedCells(
        np.arange(60).astype(str), list("wxyz"), list("ABCD"), labels,
        np.zeros((60, 4), np.float32), sparse.csr_matrix(x), np.zeros(4, np.float32), np.zeros(4),
        np.zeros(60),
    )  # fmt: skip
    table = wilcoxon_table(cells)
    assert set(table["label"]) == {"A", "C"}  # D has one cell
    found = table.set_index(["label", "gene"])
    assert found.loc[("A", "x"), "rank"] == 1
    for gene, column in zip("wxyz", x.T, strict=True):
        expected = stats.ranksums(column[labels == 0], column[labels != 0]).statistic
        assert found.loc[("A", gene), "score"] == pytest.approx(expected, rel=1e-3)
    alone = AttributedCells(
        np.array(["a"]), list("wxyz"), list("ABCD"), np.array([1]), np.zeros((1, 4), np.float32),
        sparse.csr_matrix(x[:1]), np.zeros(4, np.float32), np.zeros(4), np.zeros(1),
    )  # fmt: skip
    assert wilcoxon_table(alone).empty
