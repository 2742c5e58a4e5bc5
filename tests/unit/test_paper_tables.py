"""What is found beside what the paper says: nothing lost, nothing matched wrongly, honest gaps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from plkd.evaluation.paper import (
    FOUND,
    METHOD_COLUMNS,
    RESULT_COLUMNS,
    ablation_of,
    agreement,
    beside,
    found_genes,
    found_table,
    mean_and_interval,
    reasons,
)
from plkd.evaluation.paper_page import Section, number_grid, plain_table, write_page
from plkd.evaluation.paper_tables import AboutDataset, RunTables, paper_tables
from plkd.figures.paper import imbalance_lines, plot_imbalance, plot_overall_scores
from plkd.figures.style import save_figure, style
from plkd.utils.resources import resource
from plkd.utils.tables import read_tsv


def said(*rows):
    names = ["dataset", "condition", "method", "measure", "value"]
    return pd.DataFrame(rows, columns=names).assign(where="Table 2")


def found(*rows):
    return pd.DataFrame(rows, columns=FOUND)


METHODS = pd.DataFrame(
    [
        ("student", "PLKD", "both", "", "", ""),
        ("seurat", "Seurat", "both", "8", "seurat_pca", ""),
        ("scgpt", "scGPT", "annotation", "14", "", "needs weights"),
        ("actinn", "ACTINN", "annotation", "53", "", ""),
    ],
    columns=list(METHOD_COLUMNS),
)


def test_means_and_intervals_are_those_of_student():
    values = [0.9, 0.92, 0.97]
    table = mean_and_interval(found(*(("A", "", "student", "accuracy", "x", i, v)
                                      for i, v in enumerate(values))))  # fmt: skip
    (row,) = table.to_dict("records")
    half = t.ppf(0.975, 2) * np.std(values, ddof=1) / np.sqrt(3)
    assert row["here"] == pytest.approx(np.mean(values))
    assert (row["low"], row["high"]) == pytest.approx((row["here"] - half, row["here"] + half))
    assert row["seeds"] == 3
    one = mean_and_interval(found(("A", "", "student", "accuracy", "x", 0, 0.5))).iloc[0]
    assert one["here"] == 0.5
    assert np.isnan(one["low"])


def test_every_number_of_either_side_is_kept_and_matched_by_its_cell():
    paper = said(
        ("A", "", "student", "accuracy", 0.9),
        ("A", "", "seurat", "accuracy", 0.7),
        ("A", "", "scgpt", "accuracy", 0.8),
        ("B", "", "student", "accuracy", 0.95),
    )
    here = found(
        ("A", "", "student", "accuracy", "default", 0, 0.91),
        ("A", "", "student", "accuracy", "default", 1, 0.93),
        ("A", "", "student", "accuracy", "paper", 0, 0.85),
        ("A", "", "seurat_pca", "accuracy", "", 0, 0.75),
        ("C", "", "student", "accuracy", "default", 0, 0.5),
    )
    why = reasons(["A", "C"], METHODS, ["student", "seurat_pca"])
    table = beside(paper, here, "Table 2", why, {"seurat": "seurat_pca"})
    assert list(table) == list(RESULT_COLUMNS)
    rows = {(r.dataset, r.method, r.variant): r for r in table.itertuples()}
    assert len(rows) == len(table) == 6
    assert rows["A", "student", "default"].difference == pytest.approx(0.02)
    assert rows["A", "student", "paper"].difference == pytest.approx(-0.05)
    assert rows["A", "seurat_pca", ""].difference == pytest.approx(0.05)
    assert rows["A", "scgpt", ""].note == "needs weights"
    assert "not among `datasets`" in rows["B", "student", ""].note
    assert np.isnan(rows["C", "student", "default"].paper)
    assert (table["here"].notna() == (table["note"] == "")).all()


def test_reasons_tell_not_asked_for_from_not_possible():
    why = reasons(["A"], METHODS, ["student"])
    assert why("A", "actinn") == "not among the methods of the configuration"
    assert why("A", "student") == "it gave no result on this data set"


def test_scores_of_other_methods_count_once_whatever_the_variants():
    table = pd.DataFrame(
        {
            "dataset": "own", "variant": ["a", "b", "a", "b"], "seed": 0,
            "method": ["student", "student", "pca", "pca"], "kbet": [0.1, 0.2, 0.3, 0.3],
        }
    )  # fmt: skip
    long = found_table(table, ["kbet"], {"own": "Theirs"}, "all")
    assert len(long) == 3
    assert set(long["dataset"]) == {"Theirs"}
    assert set(long["variant"]) == {"a", "b", ""}


def test_ablations_go_by_the_names_of_variants():
    changes = ablation_of(["default", "default.no_mask", "other.x"])
    assert changes == {"default": ("default", "full"), "default.no_mask": ("default", "no_mask")}


def test_agreement_is_by_cell_and_only_of_the_same_cells():
    one = pd.DataFrame({"cell_id": list("abcd"), "label": ["T", "T", "B", "B"]})
    two = pd.DataFrame({"cell_id": list("dcba"), "label": ["B", "T", "T", "T"]})
    assert agreement(one, two) == 0.75
    assert np.isnan(agreement(one, two.assign(cell_id=list("dwxy"))))


def test_genes_of_the_paper_are_looked_up_by_label():
    paper = pd.DataFrame({"dataset": "BMMC", "label": ["T", "T", "B"], "gene": ["IL7R", "X", "Y"]})
    runs = pd.DataFrame(
        {
            "dataset": "BMMC", "variant": "default", "seed": [0, 1, 0], "label": "T",
            "gene": ["IL7R", "IL7R", "other"], "key": [True, False, True],
            "attribution_rank": pd.array([1, 3, 2], dtype="Int64"),
        }
    )  # fmt: skip
    table = found_genes(paper, runs).set_index("gene")
    assert (table.loc["IL7R", "runs"], table.loc["IL7R", "key"]) == (2, 1)
    assert table.loc["IL7R", "attribution_rank"] == 2
    assert table.loc["X", "key"] == 0
    assert table.loc["Y", "runs"] == 0


def runs_of(n_datasets=2, noise_cost=(0.01, 0.05)):
    """Tables of runs in which the Student is better than all, and resists noise if asked."""
    names = [f"set{i}" for i in range(n_datasets)]
    metrics = [
        {
            "dataset": name, "variant": variant, "seed": seed, "method": method,
            "accuracy": level - 0.01 * seed - cost.get(variant, 0), "macro_f1": level,
            "adjusted_rand_index": level - cost.get(variant, 0), "auroc_unseen": np.nan,
            "share_unseen_unknown": np.nan,
        }
        for name in names
        for seed in (0, 1)
        for method, level, cost in (
            ("student", 0.9, {"default.noise_20": noise_cost[0]}),
            ("teacher", 0.89, {"default.noise_20": noise_cost[1]}),
            ("logistic_regression", 0.8, {}),
            ("true_labels", 1.0, {}),
        )
        for variant in ("default", "default.noise_20")
    ]  # fmt: skip
    empty = pd.DataFrame(columns=["dataset", "variant", "seed", "method", "cells"])
    return RunTables(
        metrics=pd.DataFrame(metrics),
        abundance=empty.assign(abundance=[], f1=[], recall=[], precision=[]),
        integration=empty.reindex(columns=[*empty, *[
            "kbet", "kbet_per_label", "cell_type_asw", "cell_type_asw_scaled", "batch_asw", "bras",
            "graph_connectivity", "ilisi", "clisi", "ari", "nmi"]]),
        omics=empty.reindex(columns=[*empty, *[
            "mean_average_precision", "cell_type_asw", "neighbour_conservation", "seurat_alignment",
            "omics_asw", "graph_connectivity", "biology", "batch_removal", "overall"]]),
        spatial=empty.reindex(columns=[*empty, "slice", "accuracy", "share_boundary",
            "accuracy_boundary", "accuracy_inside", "coherence_true", "coherence"]),
        key_genes=empty.assign(label=[], gene=[], key=[], attribution_rank=[]),
        imbalance=empty.assign(minor=[], ratio=[], f1=[]),
        agreement=empty.assign(agreement=[]),
    ), names  # fmt: skip


def tables_of(runs, names, **further):
    numbers = {
        name: read_tsv(
            resource(f"resources/paper/{name}.tsv"),
            {"where": str, "dataset": str, "condition": str, "method": str, "measure": str,
             "value": float},
        )
        for name in ("table2", "table3", "table4", "table5", "table6", "figure6", "figure7")
    }  # fmt: skip
    numbers["figure5"] = read_tsv(
        resource("resources/paper/figure5.tsv"), dict.fromkeys(("dataset", "label", "gene"), str)
    )
    methods = read_tsv(resource("resources/paper/methods.tsv"), METHOD_COLUMNS)
    about = {name: AboutDataset("", "RNA") for name in names}
    chosen = ["student", "teacher", "logistic_regression"]
    variants = ["default", "default.noise_20"]
    tables = paper_tables(runs, numbers, about, methods, chosen, variants, ablated=names, **further)
    return tables, numbers


def test_no_table_loses_a_number_of_the_paper():
    tables, numbers = tables_of(*runs_of())
    for name, paper in numbers.items():
        if name != "figure5":
            assert tables[name]["paper"].notna().sum() == len(paper)
            empty = tables[name]["here"].isna()
            assert (tables[name]["note"][empty] != "").all()
    assert len(tables["figure5"]) == len(numbers["figure5"])
    changed = tables["table5"].dropna(subset="here")
    assert set(changed["condition"]) == {"full", "noise_20"}
    assert set(changed["variant"]) == {"default"}


def test_a_method_that_made_no_space_is_a_row_with_its_reason():
    runs, names = runs_of(1)
    scores = dict.fromkeys(
        ["mean_average_precision", "cell_type_asw", "neighbour_conservation", "seurat_alignment",
         "omics_asw", "graph_connectivity", "biology", "batch_removal", "overall"], 0.5,
    )  # fmt: skip
    rows = [
        {"dataset": names[0], "variant": "default", "seed": 0, "method": method, "cells": "all"}
        for method in ("student", "glue", "online_inmf")
    ]
    runs = RunTables(**{**vars(runs), "omics": pd.DataFrame(rows).assign(**scores)})
    tables, _ = tables_of(
        runs, names, integrators=["seurat", "glue", "online_inmf"],
        told_of_spaces={(names[0], "seurat"): "out of time"},
    )  # fmt: skip
    figure6 = tables["figure6"]
    here = figure6[(figure6["dataset"] == names[0]) & (figure6["measure"] == "overall")]
    assert set(here["method"]) == {"student", "seurat", "glue", "online_inmf"}
    assert here.set_index("method")["note"].to_dict() == {
        "student": "", "seurat": "out of time", "glue": "", "online_inmf": "",
    }  # fmt: skip
    assert "out of time" not in set(tables["table2"]["note"])


def test_the_page_shows_numbers_beside_the_papers_and_why_there_are_none(tmp_path):
    tables, _ = tables_of(*runs_of())
    grid = number_grid(tables["table2"], {"student": "PLKD <ours>"})
    assert "PLKD &lt;ours&gt; (default)" in grid
    assert "<ol><li>the data set is not among `datasets`</li></ol>" in grid
    assert "paper .944" in grid
    figure, png = plot_overall_scores(tables["figure6"], {}), tmp_path / "a.png"
    with style():
        save_figure(figure, png, tmp_path / "a.pdf")
    page = tmp_path / "paper.html"
    sections = [Section("A. b", "text & more", grid, {"picture": png}),
                Section("B", "", plain_table(tables["figure5"]))]  # fmt: skip
    write_page(sections, page, "introduction")
    text = page.read_text(encoding="utf-8")
    assert "text &amp; more" in text
    assert "data:image/webp;base64," in text
    assert "IL7R" in text


def test_lines_of_imbalance_are_drawn_with_and_without_the_paper(tmp_path):
    paper = said(("A", "rare cells 100:1", "student", "f1", 0.8))
    here = found(*(
        ("A", f"{minor} {ratio}:1", "student", "f1", "default", draw, 0.9 - ratio / 1000)
        for minor in ("rare cells", "other") for ratio in (100, 500) for draw in (0, 1)
    ))  # fmt: skip
    lines = imbalance_lines(beside(paper, here, "Figure 7"), "default")
    assert set(lines["minor"]) == {"rare cells", "other"}
    assert sorted(set(lines["ratio"])) == [100, 500]
    for table in (lines, lines.iloc[:0]):
        with style():
            save_figure(plot_imbalance(table), tmp_path / "b.png", tmp_path / "b.pdf")
