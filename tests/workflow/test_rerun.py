"""After a change a finished run plans what the change touches; what was lost is made again."""

from __future__ import annotations

import pandas as pd
import pytest

from project import LACKING, REPOSITORY, WITH_JURY, Project, planned_jobs, planned_rules

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("finished")]

ENDS = {"summary", "html_report", "default", "total"}


def planned(finished: Project, dataset: dict | None = None, **config: object) -> dict[str, int]:
    """Rules that a change of the configuration plans, without the end of every run."""
    with finished.configured(dataset, **config):
        rules = planned_rules(finished.snakemake("-n"))
    assert rules.keys() >= {"summary", "html_report"} or not rules
    return {rule: number for rule, number in rules.items() if rule not in ENDS}


@pytest.mark.parametrize(
    ("key", "value", "touched"),
    [
        (
            "markers",
            {"url": "markers.gmt"},
            {"key_genes", "marker_recovery", "explanations_table"},
        ),
        ("description", "Cells of nobody.", {"counts_table"}),
        ("organism", "mouse", {"counts_table"}),
        ("spatial", True, {"annotate", "spatial_figure"}),
        ("expected", {"warning": {"cells": 7}}, {"expected_counts", "counts_table"}),
    ],
)
def test_a_key_reruns_what_uses_it(
    finished: Project, key: str, value: object, touched: set[str]
) -> None:
    assert planned(finished, {key: value}).keys() == touched


def test_a_choice_of_the_interpretation_reruns_what_uses_it(finished: Project) -> None:
    rules = planned(finished, interpretation={"tested_cells": 7})
    assert rules.keys() == {"faithfulness", "explanations_table"}


def test_interpretation_can_be_left_out(finished: Project, project: Project) -> None:
    assert planned(finished, interpretation=False) == {}
    project.configure(interpretation=False)
    rules = planned_rules(project.snakemake("-n"))
    assert rules.keys() >= {"annotate", "evaluate", "summary"}
    assert not rules.keys() & {"pathways", "networks", "attribute_genes", "explanations_table"}


def test_a_setting_of_the_student_does_not_repeat_the_teacher(finished: Project) -> None:
    rules = planned(finished, variants={"default": {**WITH_JURY, "student": {"hidden": [16]}}})
    assert "student" in rules
    assert not rules.keys() & {"mask", "teacher"}


def test_variants_and_seeds_do_not_repeat_other_methods(finished: Project) -> None:
    variants = {"default": WITH_JURY, "wide": {**WITH_JURY, "teacher": {"width": 32}}}
    rules = planned(finished, variants=variants, seeds=[0, 1])
    assert rules["teacher"] == 3  # the new runs
    assert "method" not in rules
    # of the new seed: what depends on it, and has something to run
    registry = pd.read_csv(REPOSITORY / "config" / "methods.tsv", sep="\t", index_col="id")
    some = [method for method, reason in LACKING.items() if "not provided" not in reason]
    drawn = ~registry["deterministic"].loc[["random", *some]]
    assert rules["method_of_seed"] == drawn.sum() > 1


@pytest.mark.parametrize(
    ("lost", "rule"),
    [
        ("interpretation/pathways.tsv", "pathways"),
        ("interpretation/network_edges.tsv", "networks"),
        ("evaluation/confusion.tsv", "evaluate"),
        ("figures/history.pdf", "plot_history"),
        ("../mask/pathways.png", "mask"),
        ("../../prepared/genes.tsv", "prepare"),
    ],
)
def test_a_lost_output_is_made_again(finished: Project, lost: str, rule: str) -> None:
    path = finished.run_folder() / lost
    kept = path.rename(path.with_name(f"{path.name}.kept"))
    try:
        rules = planned_rules(finished.snakemake("-n"))
    finally:
        kept.rename(path)
    assert rule in rules


def test_all_that_a_run_leaves_is_asked_for(finished: Project) -> None:
    """What no target names could vanish, and a run would say that there is nothing to be done."""
    jobs = planned_jobs(finished.snakemake("-n", "--forceall"))
    asked = {path for job in jobs if job["rule"] == "default" for path in job["input"].split(", ")}
    asked |= {"results/summary.txt", "results/report.html"}
    left = {
        str(path.relative_to(finished.folder))
        for path in (finished.folder / "results").rglob("*")
        if path.is_file()
    }
    inside = {path for path in left if any(path.startswith(f"{one}/") for one in asked)}
    assert left - inside - asked == set()


def test_the_target_labels_asks_for_the_table_as_well(finished: Project) -> None:
    labels = finished.run_folder() / "labels.tsv"
    kept = labels.rename(labels.with_name("labels.tsv.kept"))
    try:
        assert "annotate" in planned_rules(finished.snakemake("-n", "--", "labels"))
    finally:
        kept.rename(labels)


def test_what_is_made_of_published_files_is_asked_for(project: Project) -> None:
    """The report of an assembly, and that of gene activity."""
    (project.folder / "genes.bed").write_text("chr1\t0\t100\tA\t0\t+\n")
    files = [{"url": "reference.h5ad", "name": "a"}, {"url": "query.h5ad", "name": "b"}]
    activity = {"gene_activity": {"annotation": {"url": "genes.bed"}}}
    project.configure(
        {
            "name": "assembled",
            "cells": {"files": files},
            "reference": {"labels_key": "cell_type"},
            "query": {},
        },
        {"name": "open", "query": {"url": "query.h5ad", **activity}},
    )
    jobs = planned_jobs(project.snakemake("-n"))
    asked = next(job["input"] for job in jobs if job["rule"] == "default").split(", ")
    assert "results/assembled/assembled.json" in asked
    assert "results/open/gene_activity/query.json" in asked
