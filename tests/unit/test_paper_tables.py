"""What is found beside what the paper says: nothing lost, nothing matched wrongly, honest gaps."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from plkd.errors import InputError
from plkd.evaluation.integration import SCORES
from plkd.evaluation.omics import SCORES as OMICS
from plkd.evaluation.spatial import SPATIAL_COLUMNS
from plkd.figures.paper import (
    imbalance_lines,
    overall_scores,
    plot_imbalance,
    plot_overall_scores,
)
from plkd.figures.style import save_figure, style
from plkd.paper.efficiency import EFFICIENCY_COLUMNS
from plkd.paper.numbers import (
    FOUND,
    GENE_COLUMNS,
    METHOD_COLUMNS,
    NO_TRUTH,
    RESULT_COLUMNS,
    Place,
    ablation_of,
    agreement,
    beside,
    found_genes,
    found_table,
    mean_and_interval,
)
from plkd.paper.page import (
    NOT_SHOWN,
    Section,
    number_grid,
    paper_sections,
    plain_table,
    write_page,
)
from plkd.paper.tables import (
    FIGURE3_COLUMNS,
    AboutDataset,
    Others,
    RunTables,
    counts_beside,
    map_scores,
    paper_tables,
)
from plkd.utils.resources import resource
from plkd.utils.tables import read_tsv


def said(*rows):
    names = ["dataset", "condition", "method", "measure", "value"]
    return pd.DataFrame(rows, columns=names).assign(where="Table 2")


def found(*rows):
    return pd.DataFrame(rows, columns=FOUND)


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
    table = beside(paper, here, "Table 2", lambda *cell: " ".join(cell), {"seurat": "seurat_pca"})
    assert list(table) == list(RESULT_COLUMNS)
    rows = {(r.dataset, r.method, r.variant): r for r in table.itertuples()}
    assert len(rows) == len(table) == 6
    assert rows["A", "student", "default"].difference == pytest.approx(0.02)
    assert rows["A", "student", "paper"].difference == pytest.approx(-0.05)
    assert rows["A", "seurat_pca", ""].difference == pytest.approx(0.05)
    assert rows["A", "scgpt", ""].note == "A  scgpt"
    assert rows["B", "student", ""].note == "B  student"
    assert np.isnan(rows["C", "student", "default"].paper)
    assert (table["here"].notna() == (table["note"] == "")).all()


def test_scores_of_other_methods_count_once_whatever_the_variants():
    table = pd.DataFrame(
        {
            "dataset": "own", "variant": ["a", "b", "a", "b"], "seed": 0,
            "method": ["student", "student", "pca", "pca"], "kbet": [0.1, 0.2, 0.3, 0.3],
        }
    )  # fmt: skip
    long = found_table(table, ["kbet"], {"own": Place("Theirs")})
    assert len(long) == 3
    assert set(long["dataset"]) == {"Theirs"}
    assert set(long["variant"]) == {"a", "b", ""}
    slide = table.iloc[:2].assign(method="student_slide")  # which the variants change
    assert list(found_table(slide, ["kbet"], {"own": Place("own")})["value"]) == [0.1, 0.2]


def test_numbers_that_differ_are_never_one():
    table = pd.DataFrame(
        {"dataset": ["rna", "atac"], "variant": "a", "seed": 0, "method": "student",
         "kbet": [0.1, 0.2]}
    )  # fmt: skip
    with pytest.raises(ValueError, match="would be one in a table: Muto-2021, student, a, 0, kbet"):
        found_table(table, ["kbet"], dict.fromkeys(("rna", "atac"), Place("Muto-2021")))
    places = {name: Place("Muto-2021", name.upper()) for name in ("rna", "atac")}
    long = found_table(table, ["kbet"], places)
    assert dict(zip(long["condition"], long["value"], strict=True)) == {"RNA": 0.1, "ATAC": 0.2}


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
    table = found_genes(paper, runs, ["BMMC"])
    assert list(table) == list(GENE_COLUMNS)
    table = table.set_index("gene")
    assert (table.loc["IL7R", "runs"], table.loc["IL7R", "key"]) == (2, 1)
    assert table.loc["IL7R", "attribution_rank"] == 2
    assert table.loc["X", "key"] == 0
    assert table.loc["Y", "runs"] == 0
    assert table.loc["IL7R", "note"] == ""
    assert table.loc["X", "note"] == "among the genes of neither pool"
    ranked = runs.assign(attribution_rank=pd.array([pd.NA, pd.NA, 2], dtype="Int64"))
    note = found_genes(paper, ranked, ["BMMC"]).set_index("gene")["note"]
    assert note["IL7R"] == "among the genes of the network alone, which have no such rank"
    assert table.loc["Y", "note"] == "no label of this name was explained in a run"
    assert set(found_genes(paper, runs.iloc[:0], [])["note"]) == {
        "the data set is not among `datasets`"
    }


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
        draws=empty.assign(minor=[], ratio=[], reason=[]),
        agreement=empty.assign(agreement=[]),
    ), names  # fmt: skip


def with_draws(runs, drawn, reason=""):
    """Runs with scores of draws; with a reason, the draws were asked for and cannot be made."""
    draws = drawn.assign(reason=reason)
    made = {"draws": draws, "imbalance": drawn if not reason else drawn.iloc[:0]}
    return RunTables(**{**vars(runs), **made})


def others(key, asked=(), told=None, seeds=(0, 1)):
    """Methods by data set and id; those with a reason in `told` among them."""
    ran = dict.fromkeys([*asked, *(told or {})], seeds)
    return Others(key, ran, told or {})


def tables_of(runs, names, annotators=None, integrators=None, **further):
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
    given = {
        "about": about,
        "annotators": annotators
        or others("methods", [(name, "logistic_regression") for name in names]),
        "integrators": integrators or others("integration"),
        "variants": ["default", "default.noise_20"],
        "ablated": names,
        **further,
    }
    return paper_tables(runs, numbers, methods=methods, **given), numbers


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
    asked = [(names[0], method) for method in ("glue", "online_inmf")]
    tables, _ = tables_of(
        runs, names, about={names[0]: AboutDataset("", "RNA to ATAC")},
        integrators=others("integration", asked, {(names[0], "seurat"): "out of time"}),
    )  # fmt: skip
    figure6 = tables["figure6"]
    here = figure6[(figure6["dataset"] == names[0]) & (figure6["measure"] == "overall")]
    assert here.set_index("method")["note"].to_dict() == {
        "student": "", "seurat": "out of time", "glue": "", "online_inmf": "",
        "teacher": "it gave no result on this data set",
        "kida": "not among `integration` of the configuration",
    }  # fmt: skip
    assert "out of time" not in set(tables["table2"]["note"])


def scores_of(scores, rows):
    """Rows of (data set, variant, seed, method, cells), every score of each the last number."""
    names = ["dataset", "variant", "seed", "method", "cells"]
    return pd.DataFrame([row[:5] for row in rows], columns=names).assign(
        **{name: [row[5] for row in rows] for name in scores}
    )


MUTO = {
    "rna": AboutDataset("Muto-2021", "RNA"),
    "atac": AboutDataset("Muto-2021", "ATAC"),
    "across": AboutDataset("Muto-2021", "RNA to ATAC"),
    "bmmc": AboutDataset("BMMC", "RNA"),
}


def test_data_sets_of_one_name_are_told_apart_by_modality():
    runs, _ = runs_of(0)
    values = dict(zip(MUTO, (0.1, 0.2, 0.3, 0.4), strict=True))
    integration = scores_of(
        SCORES,
        [(name, "default", 0, "student", cells, value)
         for name, value in values.items() for cells in ("all", "query")],
    )  # fmt: skip
    abundance = scores_of(
        ("f1", "recall", "precision"),
        [(name, "default", 0, "student", "", value) for name, value in values.items()],
    ).assign(abundance="high")
    runs = RunTables(**{**vars(runs), "metrics": runs_of()[0].metrics.iloc[:0],
                        "integration": integration, "abundance": abundance})  # fmt: skip
    told = {("rna", "harmony"): "of the RNA", ("atac", "harmony"): "of the ATAC"}
    tables, _ = tables_of(
        runs, [], about=MUTO, integrators=others("integration", [("bmmc", "pca")], told)
    )
    kbet = tables["table3"].query("measure == 'kbet' and method == 'student'")
    assert kbet.set_index(["dataset", "condition"])["here"].dropna().to_dict() == {
        ("BMMC", ""): 0.4, ("BMMC", "query"): 0.4,
        ("Muto-2021", "RNA"): 0.1, ("Muto-2021", "RNA, query"): 0.1,
        ("Muto-2021", "ATAC"): 0.2, ("Muto-2021", "ATAC, query"): 0.2,
        ("Muto-2021", "RNA to ATAC"): 0.3, ("Muto-2021", "RNA to ATAC, query"): 0.3,
    }  # fmt: skip
    harmony = tables["table3"].query("measure == 'kbet' and method == 'harmony'")
    of_muto = harmony[harmony["condition"].str.startswith(("RNA", "ATAC"))]
    assert of_muto.set_index("condition")["note"].to_dict() == {
        "RNA to ATAC": "not among `integration` of the configuration",
        "RNA to ATAC, query": "not among `integration` of the configuration",
        "RNA": "of the RNA", "RNA, query": "of the RNA",
        "ATAC": "of the ATAC", "ATAC, query": "of the ATAC",
    }  # fmt: skip
    f1 = tables["table6"].query("measure == 'f1' and here == here")
    assert set(f1["condition"]) == {"high", "RNA, high", "ATAC, high", "RNA to ATAC, high"}
    same = {"one": AboutDataset("PBMC", "RNA"), "two": AboutDataset("PBMC", "RNA")}
    with pytest.raises(InputError, match="'one', 'two' are all 'PBMC'"):
        tables_of(runs, [], about=same)


TWICE = {
    "whole": AboutDataset("Chen-2019", "RNA to ATAC"),
    "halves": AboutDataset("Chen-2019", "RNA to ATAC"),
    "kidney": AboutDataset("Muto-2021", "RNA to ATAC"),
}
SCORED = [
    ("whole", "all", 0.1), ("whole", "paired", 0.2), ("halves", "all", 0.3),
    ("halves", "query", 0.4), ("kidney", "all", 0.5), ("kidney", "query", 0.6),
]  # fmt: skip


@pytest.mark.parametrize("order", [1, -1])
def test_what_was_held_out_stands_beside_all_cells_and_takes_the_place_of_none(order):
    """Both of one name and one modality; which is which is said by the scores."""
    runs, _ = runs_of(0)
    about = dict(list(TWICE.items())[::order])

    def scored(scores):
        return scores_of(
            scores,
            [(name, "default", 0, method, cells, value + 0.01 * (method == "pca"))
             for name, cells, value in SCORED for method in ("student", "pca")],
        )  # fmt: skip

    metrics = scores_of(
        ("accuracy", "macro_f1", "adjusted_rand_index"),
        [(name, "default", 0, "student", "", i / 10) for i, name in enumerate(TWICE)],
    )
    runs = RunTables(**{**vars(runs), "metrics": metrics, "omics": scored(OMICS),
                        "integration": scored(SCORES)})  # fmt: skip
    asked = [(name, "pca") for name in TWICE]
    told = {("whole", "glue"): "out of time", ("halves", "scbutterfly"): "these are other cells"}
    tables, _ = tables_of(
        runs, [], about=about, integrators=others("integration", asked, told, seeds=(0,))
    )
    figure6 = tables["figure6"].query("measure == 'biology'")
    student = figure6[figure6["method"] == "student"].dropna(subset="here")
    assert student.set_index(["dataset", "condition"])["here"].to_dict() == {
        ("Chen-2019", ""): 0.1, ("Chen-2019", "paired"): 0.2, ("Chen-2019", "query"): 0.4,
        ("Muto-2021", ""): 0.5, ("Muto-2021", "query"): 0.6,
    }  # fmt: skip
    reasons = figure6[figure6["note"].isin(told.values())]
    assert set(zip(reasons["method"], reasons["condition"], strict=True)) == {
        ("glue", ""), ("glue", "paired"), ("scbutterfly", "query"),
    }  # fmt: skip
    kbet = tables["table3"].query("measure == 'kbet' and method == 'student'")
    kbet = kbet[kbet["dataset"] == "Chen-2019"].set_index("condition")["here"]
    assert kbet.to_dict() == {
        "RNA to ATAC of the same cells": 0.1, "RNA to ATAC of the same cells, paired": 0.2,
        "RNA to ATAC": 0.3, "RNA to ATAC, query": 0.4,
    }  # fmt: skip
    accuracy = tables["table4"].query("measure == 'accuracy' and method == 'student'")
    accuracy = accuracy.dropna(subset="here").set_index(["dataset", "condition"])["here"]
    assert accuracy.to_dict() == {
        ("Chen-2019", "RNA to ATAC of the same cells"): 0.0, ("Chen-2019", "RNA to ATAC"): 0.1,
        ("Muto-2021", "RNA to ATAC"): 0.2,
    }  # fmt: skip


def test_held_out_cells_alone_are_all_that_there_is():
    runs, _ = runs_of(0)
    rows = [("halves", "default", 0, "student", cells, 0.4) for cells in ("all", "query")]
    runs = RunTables(**{**vars(runs), "omics": scores_of(OMICS, rows),
                        "metrics": runs_of()[0].metrics.iloc[:0]})  # fmt: skip
    tables, _ = tables_of(runs, [], about={"halves": TWICE["halves"]})
    found = tables["figure6"].query("measure == 'biology'").dropna(subset="here")
    assert list(found["condition"]) == ["", "query"]


def test_what_draws_nothing_counts_once_and_has_no_interval():
    """Its one result is scored in the runs of every seed, by other cells that are drawn."""
    runs, _ = runs_of(0)
    rows = [
        ("bmmc", "default", seed, method, "all", value + seed / 10)
        for seed in (0, 1, 2)
        for method, value in (("student", 0.5), ("pca", 0.1), ("harmony", 0.2))
    ]
    runs = RunTables(**{**vars(runs), "metrics": runs_of()[0].metrics.iloc[:0],
                        "integration": scores_of(SCORES, rows)})  # fmt: skip
    ran = {("bmmc", "pca"): {0}, ("bmmc", "harmony"): {0, 1, 2}}
    about = {"bmmc": AboutDataset("BMMC", "RNA")}
    tables, _ = tables_of(runs, [], about=about, integrators=Others("integration", ran, {}))
    kbet = tables["table3"].query("dataset == 'BMMC' and condition == '' and measure == 'kbet'")
    kbet = kbet.set_index("method")
    assert kbet["seeds"].to_dict() == {"pca": 1, "teacher": 0, "student": 3, "harmony": 3}
    assert kbet["here"]["pca"] == 0.1
    assert kbet["here"]["harmony"] == pytest.approx(0.3)
    assert kbet["low"].isna().to_dict() == {
        "pca": True, "teacher": True, "student": False, "harmony": False,
    }  # fmt: skip


def test_every_table_says_why_a_cell_is_empty():
    """By what the user would have to change, and not by what is not the reason."""
    runs, _ = runs_of(0)
    metrics = runs_of(1)[0].metrics.replace({"dataset": {"set0": "blood"}})
    runs = RunTables(**{**vars(runs), "metrics": metrics})
    about = {"blood": AboutDataset("PBMC", "RNA"), "bmmc": AboutDataset("BMMC", "RNA"),
             "both": AboutDataset("10x-Multiome", "RNA to ATAC"),
             "cancer": AboutDataset("Pan-cancer", "RNA")}  # fmt: skip
    chosen = [(name, "celltypist") for name in about]
    told = {("blood", "scgpt"): "weights not provided"}

    def notes(table, ablated=(), **further):
        tables, _ = tables_of(
            runs, [], about={**about, **further.pop("about", {})}, ablated=ablated,
            annotators=others("methods", chosen, told), **further,
        )  # fmt: skip
        empty = tables[table][tables[table]["here"].isna()]
        return empty.set_index(["dataset", "condition", "method"])["note"].to_dict()

    table2 = notes("table2")
    assert table2["PBMC", "", "scgpt"] == "weights not provided"
    assert table2["PBMC", "", "celllm"] == "not among `methods` of the configuration"
    assert table2["PBMC", "", "metatime"] == "not among `methods` of the configuration"
    assert table2["DLPFC", "", "celltypist"] == "the data set is not among `datasets`"
    assert table2["PBMC", "", "celltypist"] == "it gave no result on this data set"
    assert {note for cell, note in notes("table3").items() if cell[0] == "BMMC"} == {
        "no method of integration is asked for (`integration`)"
    }
    full = ("10x-Multiome", "full", "student")
    assert notes("table5")[full] == "the data set is not among `ablated`"
    assert full not in notes("table5", ablated=["blood"])
    assert notes("table5", ablated=["blood"])["10x-Multiome", "no_mask", "student"] == (
        "no variant of this run changes this"
    )
    del about["blood"]
    assert "the data set PBMC, is not among `datasets`" in notes("table5", ablated=["both"])[full]
    rare = ("Pan-cancer", "cDC2_CXCL9 100:1", "student")
    assert notes("figure7")[rare] == "`imbalance` draws nothing from this data set"
    drawn = scores_of(["f1"], [("cancer", "default", 0, "student", "", 0.5)])
    runs = with_draws(runs, drawn.assign(minor="cDC2_CXCL9", ratio=200))
    assert notes("figure7")[rare] == "`imbalance` does not draw this"
    runs = with_draws(runs, drawn.assign(minor="cDC2_CXCL9", ratio=100), "too few at 100 to 1")
    assert notes("figure7")[rare] == "too few at 100 to 1"


def test_methods_beside_those_of_the_paper_that_failed_are_rows_with_their_reasons():
    runs, names = runs_of(1)
    told = {(names[0], "singler"): "out of time", ("open", "popv"): "out of memory"}
    tables, _ = tables_of(
        runs, names, annotators=others("methods", [(names[0], "logistic_regression")], told),
        about={names[0]: AboutDataset("", "RNA"), "open": AboutDataset("", "ATAC")},
    )  # fmt: skip
    for name, dataset, condition, method, note in (
        ("table2", names[0], "", "singler", "out of time"),
        ("table4", "open", "ATAC", "popv", "out of memory"),
    ):
        rows = tables[name]
        rows = rows[(rows["method"] == method) & (rows["dataset"] == dataset)]
        assert list(rows["measure"]) == ["accuracy", "macro_f1"]
        assert set(zip(rows["dataset"], rows["condition"], rows["note"], strict=True)) == {
            (dataset, condition, note)
        }


def test_a_score_that_is_not_defined_says_so():
    runs, names = runs_of(1)
    rows = [(names[0], "default", 0, method, "all", 0.5) for method in ("student", "pca")]
    integration = scores_of(SCORES, rows).assign(kbet=np.nan)
    runs = RunTables(**{**vars(runs), "integration": integration})
    tables, _ = tables_of(runs, names, integrators=others("integration", [(names[0], "pca")]))
    pca = tables["table3"].query("dataset == @names[0] and method == 'pca'").set_index("measure")
    assert pca["note"]["kbet"] == "this score is not defined for these cells"
    assert pca["here"].notna().sum() == len(SCORES) - 1


def test_the_first_table_has_every_data_set_of_the_paper_with_the_difference():
    counts = pd.DataFrame(
        {"dataset": ["rna", "across", "bmmc", "mine"], "cells": ["10", "31", "7", "5"],
         "types": ["3", "3", "2", "2"], "batches": ["1", "2", "1", "1"]}
    )  # fmt: skip
    counts["cells in the paper"] = ["15 x 2", "15 x 2", "8", ""]
    counts["types in the paper"] = ["3", "3", "", ""]
    counts["batches in the paper"] = ""
    paper = pd.DataFrame(
        {"dataset": ["BMMC", "PBMC", "Muto-2021"], "cells": ["8", "9", "15 x 2"],
         "types": ["", "19", "3"], "batches": ["", "2", ""]}
    )  # fmt: skip
    table = counts_beside(counts, paper, {**MUTO, "mine": AboutDataset("", "RNA")})
    assert list(table["dataset"]) == ["BMMC", "PBMC", "Muto-2021", "Muto-2021", "mine"]
    assert list(table["here"]) == ["bmmc", "", "rna", "across", "mine"]
    assert list(table["cells difference"]) == ["-1", "", "-20", "1", ""]
    assert list(table["types difference"]) == ["", "", "0", "0", ""]
    assert table["cells in the paper"][1] == "9"
    assert list(table["note"]) == ["", "the data set is not among `datasets`", "RNA alone", "", ""]


def test_the_first_table_says_which_data_set_is_a_part_of_another():
    counts = pd.DataFrame({"dataset": ["whole", "halves"], "cells": ["20", "10"]})
    counts = counts.assign(types="3", batches="1")
    for count in ("cells", "types", "batches"):
        counts[f"{count} in the paper"] = ["10 x 2" if count == "cells" else ""] * 2
    paper = pd.DataFrame(
        {"dataset": ["Chen-2019"], "cells": ["10 x 2"], "types": [""], "batches": [""]}
    )
    table = counts_beside(counts, paper, TWICE)
    assert list(table["cells difference"]) == ["0", "-10"]
    assert list(table["note"]) == ["", "a part of the cells, other ones in either modality"]


def test_the_maps_have_the_scores_of_what_they_show():
    rows = [("a", "default", seed, "pca", cells, 0.1 * seed)
            for seed in (1, 2) for cells in ("all", "query")]  # fmt: skip
    integration = scores_of(SCORES, rows).assign(n_cells=5, n_batches=2, n_types=2)
    table = map_scores(integration, {("a", "default", 2): "figure3/a/default.png"})
    assert list(table) == list(FIGURE3_COLUMNS)
    assert table["kbet"].to_list() == [0.2]
    assert table["picture"].to_list() == ["figure3/a/default.png"]


class Cells(HTMLParser):
    """The texts of the cells of every table of a page, row by row, without those of the heads."""

    def __init__(self, html):
        super().__init__()
        self.rows, self._inside = [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        elif tag == "td":
            self.rows[-1].append("")
        self._inside = self._inside or tag == "td"

    def handle_endtag(self, tag):
        self._inside = self._inside and tag != "td"

    def handle_data(self, data):
        if self._inside:
            self.rows[-1][-1] += data


def without_runs():
    """Tables with all columns, and no run."""
    empty, _ = runs_of(0)
    return RunTables(**{**vars(empty), "metrics": runs_of()[0].metrics.iloc[:0]})


def every_kind_of_gap():
    """Runs with a query of one batch, a variant that nothing changes, and a group without types."""
    runs, _ = runs_of(0)
    metrics = runs_of(1)[0].metrics.replace({"dataset": {"set0": "rna"}})
    renamed = {"default": "fast", "default.noise_20": "fast.noise_20"}
    metrics = pd.concat([metrics.replace({"variant": renamed}),
                         metrics[metrics["variant"] == "default"]])  # fmt: skip
    metrics = pd.concat([metrics, metrics.replace({"dataset": {"rna": "across"}}),
                         metrics.replace({"dataset": {"rna": "bmmc"}})])  # fmt: skip
    ours = [("student", "fast"), ("teacher", "fast"), ("student", "default"),
            ("teacher", "default"), ("pca", "fast")]  # fmt: skip
    spaces = [
        (name, variant, 0, method, "all", 0.5)
        for name in ("bmmc", "across")
        for method, variant in ours
    ]
    integration = scores_of(SCORES, spaces)
    undefined = integration["dataset"] == "bmmc"
    integration.loc[undefined, ["kbet", "ilisi", "bras"]] = np.nan
    abundance = scores_of(
        ("f1", "recall", "precision"),
        [("bmmc", variant, 0, method, "", 0.5) for method, variant in ours[:4]],
    ).assign(abundance="low")
    omics = scores_of(
        OMICS, [("across", variant, 0, method, "all", 0.5) for method, variant in ours]
    )
    agreement = scores_of(
        ["agreement"], [("rna", variant, 0, method, "", 0.9) for method, variant in ours[:4]]
    )
    drawn = scores_of(
        ["f1"], [("bmmc", "fast", draw, "student", "", 0.5) for draw in (0, 1)]
    ).assign(minor="rare cells", ratio=100)
    spatial = scores_of(list(SPATIAL_COLUMNS)[6:],
        [("bmmc", "fast", 0, method, "", 0.5) for method in ("student", "true_labels")]
    ).assign(slice="all")  # fmt: skip
    runs = RunTables(
        **{**vars(runs), "metrics": metrics, "integration": integration, "abundance": abundance,
           "omics": omics, "agreement": agreement, "spatial": spatial}
    )  # fmt: skip
    return with_draws(runs, drawn)


def tables_with_gaps():
    asked = [(name, method) for name in ("rna", "across", "bmmc")
             for method in ("logistic_regression", "true_labels")]  # fmt: skip
    tables, _ = tables_of(
        every_kind_of_gap(), [], ablated=["bmmc"],
        about={"rna": AboutDataset("Muto-2021", "RNA"), "bmmc": AboutDataset("BMMC", "RNA"),
               "across": AboutDataset("Muto-2021", "RNA to ATAC"),
               "atac": AboutDataset("Muto-2021", "ATAC", has_truth=False)},
        annotators=others("methods", asked), variants=["fast", "fast.noise_20", "default"],
        integrators=others("integration", [("bmmc", "pca"), ("across", "pca")]),
    )  # fmt: skip
    return tables


def test_no_cell_of_the_page_is_blank():
    tables = tables_with_gaps()
    counts = pd.DataFrame({"dataset": ["BMMC"], "here": ["bmmc"], "cells": ["9"], "note": [""]})
    tables["table1"] = counts.assign(**dict.fromkeys(NOT_SHOWN, ""))
    tables["claims"] = pd.DataFrame({"id": ["a"], "verdict": ["holds"], "number": ["1"]})
    tables["efficiency"] = pd.DataFrame(columns=list(EFFICIENCY_COLUMNS))
    figures = {f"figure{n}": {} for n in range(3, 8)}
    walked = 0
    for section in paper_sections(tables, figures, {}):
        for texts in filter(None, Cells(section.table).rows):
            walked += len(texts)
            explained = section.title.startswith(("Table 1.", "Figure 5.")) and (
                texts[-1] or all(texts[:-1])
            )
            assert explained or all(texts), (section.title, texts)
            assert not any("NA" in text or "nan" in text for text in texts)
    assert walked > 500


def test_gaps_have_the_reasons_that_they_have():
    tables = tables_with_gaps()

    def notes(table, **cell):
        one = tables[table]
        for name, value in cell.items():
            one = one[one[name] == value]
        assert one["here"].isna().all()
        return set(one["note"])

    undefined = {"this score is not defined for these cells"}
    for method in ("student", "teacher", "pca"):
        cell = {"dataset": "BMMC", "measure": "kbet", "method": method}
        assert notes("table3", **cell, condition="") == undefined
    unchanged = {"dataset": "BMMC", "condition": "noise_20", "variant": "default"}
    assert notes("table5", **unchanged) == {"this run has no variant `default.noise_20`"}
    elsewhere = {"condition": "noise_20", "variant": "", "dataset": "10x-Multiome"}
    assert notes("table5", **elsewhere) == {
        "its gene expression, the data set PBMC, is not among `datasets`"
    }
    assert notes("table4", condition="agreement", method="logistic_regression") == {
        "this is asked of our models alone"
    }
    assert notes("table4", condition="ATAC", dataset="Muto-2021") == {NO_TRUTH}
    no_such = {"dataset": "Pan-cancer", "condition": "low"}
    assert notes("table6", **no_such) == {"the data set is not among `datasets`"}


def test_a_group_of_abundance_without_types_says_so():
    row = ("cancer", "default", 0, "student", "", 0.5)
    low = scores_of(["f1", "recall", "precision"], [row]).assign(abundance="low")
    runs = RunTables(**{**vars(without_runs()), "abundance": low})
    tables, _ = tables_of(runs, [], about={"cancer": AboutDataset("Pan-cancer", "RNA")})
    table6 = tables["table6"].query("method == 'student'")
    assert set(table6[table6["condition"] != "low"]["note"]) == {
        "no type of the query is of this abundance"
    }
    assert set(table6[table6["condition"] == "low"]["note"]) == {""}


def test_a_data_set_of_the_paper_without_truth_says_so():
    tables, _ = tables_of(
        without_runs(), [], ablated=["pbmc"],
        about={"pbmc": AboutDataset("PBMC", "RNA", has_truth=False),
               "cancer": AboutDataset("Pan-cancer", "RNA", has_truth=False),
               "across": AboutDataset("Muto-2021", "RNA to ATAC", has_truth=False),
               "mine": AboutDataset("", "RNA", has_truth=False)},
    )  # fmt: skip
    for table, dataset in (
        ("table2", "PBMC"), ("table5", "10x-Multiome"), ("table6", "Pan-cancer"),
        ("figure6", "Muto-2021"), ("figure7", "Pan-cancer"),
    ):  # fmt: skip
        one = tables[table]
        assert set(one["note"][one["dataset"] == dataset]) == {NO_TRUTH}, table
        assert "mine" not in set(one["dataset"])  # of which neither has a number
    # its numbers are those of the one that has true labels
    metrics = runs_of(1)[0].metrics.replace({"dataset": {"set0": "split"}})
    runs = RunTables(**{**vars(without_runs()), "metrics": metrics})
    about = {"pbmc": AboutDataset("PBMC", "RNA", has_truth=False),
             "split": AboutDataset("PBMC", "RNA")}  # fmt: skip
    tables, _ = tables_of(runs, [], about=about)
    ours = tables["table2"].query("dataset == 'PBMC' and method == 'student'")
    assert ours["here"].notna().all()


def test_what_is_drawn_is_drawn_of_a_data_set():
    """Not of another one, and whatever stands before the condition."""
    rows = [(name, "default", 0, method, "", value) for name, method, value in
            (("rna", "student", 0.5), ("rna", "pca", 0.5), ("bmmc", "student", 0.4))]  # fmt: skip
    drawn = scores_of(["f1"], rows).assign(minor="rare", ratio=[100, 100, 200])
    runs = with_draws(without_runs(), drawn)
    tables, _ = tables_of(runs, [], about=MUTO, annotators=others("methods", [("rna", "pca")]))
    table = tables["figure7"].set_index(["dataset", "condition", "method"])["note"]
    assert table["Muto-2021", "RNA, rare 100:1", "student"] == ""
    assert table["Muto-2021", "RNA, rare 100:1", "teacher"] == "it gave no result on this data set"


def test_a_cell_without_number_and_reason_is_not_shown():
    table = tables_with_gaps()["table3"]
    number_grid(table, {})
    gap = (table["method"] == "pca") & (table["measure"] == "kbet") & (table["dataset"] == "BMMC")
    for broken in (table[~gap], table.assign(note=table["note"].mask(gap, ""))):
        with pytest.raises(ValueError, match="neither a number nor a reason: pca, BMMC, kbet"):
            number_grid(broken, {})


def test_the_page_says_of_how_many_seeds_a_number_is():
    paper = said(("A", "", "student", "accuracy", 0.9), ("B", "", "student", "accuracy", 0.8))
    values = [("student", "default", seed, 0.9 + seed / 100) for seed in (0, 1, 2)]
    here = found(*(("A", "", method, "accuracy", variant, seed, value)
                   for method, variant, seed, value in [*values, ("pca", "", 0, 0.5)]))  # fmt: skip
    alike = beside(paper.iloc[:1], here, "Table 2")
    grid = number_grid(alike, {"student": "PLKD", "pca": "PCA"})
    assert "<th>PLKD (default)<small>n = 3</small></th>" in grid
    assert "<th>PCA<small>n = 1</small></th>" in grid
    assert 'title="95 % interval .885 to .935, n = 3"' in grid
    differing = found(("B", "", "student", "accuracy", "default", 0, 0.7),
                      ("B", "", "pca", "accuracy", "", 0, 0.7))  # fmt: skip
    grid = number_grid(beside(paper, pd.concat([here, differing]), "Table 2"), {"student": "PLKD"})
    assert "<th>PLKD (default)</th>" in grid
    assert grid.count("<small>n = 3</small>") == 1
    assert ".700<small>n = 1</small>" in grid


def test_bars_are_of_what_ran_and_of_what_the_paper_says():
    figure6 = tables_with_gaps()["figure6"]
    drawn = overall_scores(figure6)
    assert set(drawn["measure"]) == {"overall"}
    assert set(drawn["condition"]) == {""}
    assert set(drawn["dataset"]) == {"10x-Multiome", "Chen-2019", "Muto-2021"}
    chen = drawn[drawn["dataset"] == "Chen-2019"]
    assert list(chen["method"]) == ["student"]  # the paper's; of the others nothing is said
    muto = drawn[drawn["dataset"] == "Muto-2021"].dropna(subset="here")
    assert set(muto["method"]) == {"student", "teacher", "pca"}


def test_the_page_shows_numbers_beside_the_papers_and_why_there_are_none(tmp_path):
    tables, _ = tables_of(*runs_of())
    grid = number_grid(tables["table2"], {"student": "PLKD <ours>"})
    assert "PLKD &lt;ours&gt; (default)" in grid
    assert "<ol><li>the data set is not among `datasets`</li>" in grid
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
