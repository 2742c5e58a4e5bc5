"""Genes behind labels, of a whole run on simulated cells, and `plkd explain` on its models."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plkd.interpret.attributed_cells import AttributedCells
from project import REPOSITORY, Project, planned_rules
from simulated import MARKERS

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("finished")]
# The labels of the finished run are the numbers of clusters.
MARKERS_OF = dict(zip("01234567", MARKERS.values(), strict=True))


def table(finished: Project, name: str) -> pd.DataFrame:
    path = finished.run_folder() / "interpretation" / f"{name}.tsv"
    return pd.read_csv(path, sep="\t", dtype={"label": str})


def test_attributions_add_up_and_are_of_the_predicted_labels(finished: Project) -> None:
    attributed = AttributedCells.load(finished.run_folder() / "interpretation/attributions.npz")
    assert abs(attributed.error).max() < 1e-9
    predictions = pd.read_parquet(finished.run_folder() / "predictions/student.parquet")
    label_of = predictions.set_index("cell_id")["label"]
    found = np.asarray(attributed.labels)[attributed.codes]
    np.testing.assert_array_equal(label_of[attributed.cell_ids].to_numpy(), found)
    assert set(table(finished, "gene_attributions")["label"]) == set(label_of)


def test_planted_markers_lead_the_genes_of_their_label(finished: Project) -> None:
    genes = table(finished, "gene_attributions")
    for label, shown in genes[genes["present_rank"] <= 5].groupby("label"):
        # 8 of 110 genes are markers of a label: chance would give less than one in five
        assert len(set(shown["gene"]) & set(MARKERS_OF[label])) >= 3, label


def test_key_genes_are_among_both_pools(finished: Project) -> None:
    keys = table(finished, "key_genes")
    network = table(finished, "network_genes")
    both = keys[keys["key"]].merge(network[["label", "gene"]])
    assert len(both) == keys["key"].sum() > 0


def test_taking_away_the_genes_takes_away_the_label(finished: Project) -> None:
    areas = table(finished, "faithfulness")
    genes = areas[(areas["model"] == "student") & (areas["curve"] == "deletion")]
    for _, one in genes.groupby("replaced_by"):
        area = one.set_index("ranking")["area"]
        assert area.filter(regex="attribution").min() < area["random"]


def test_taking_away_genes_is_faster_than_chance_by_far(finished: Project) -> None:
    best = table(finished, "faithfulness").query("ranking == 'attribution'")
    assert len(best) == 4  # deletion and insertion, by zero and by the mean
    assert (best["gain"] > 3 * best["standard_error"]).all()


def test_lists_and_seeds_add_rules(project: Project) -> None:
    plan = planned_rules(project.snakemake("-n"))
    assert not {"marker_recovery", "pathway_recovery", "stability"} & set(plan)
    project.configure({"markers": {"url": "markers.gmt"}}, seeds=[0, 1])
    plan = planned_rules(project.snakemake("-n", "interpretation"))
    assert plan["marker_recovery"] == 2
    assert plan["stability"] == 1
    assert "evaluate" not in plan


def test_known_markers_are_looked_for(finished: Project, tmp_path: Path) -> None:
    copy = Project(tmp_path / "project", finished.workflow)  # other tests want the run as it was
    shutil.copytree(finished.folder, copy.folder, symlinks=True)
    target = "results/simulated/default/seed0/interpretation/marker_recovery.png"
    with copy.configured({"markers": {"url": "markers_of_clusters.gmt"}}):
        run = copy.snakemake("--rerun-triggers", "mtime", "--", target)
    assert run.returncode == 0, run.stdout
    overall = table(copy, "marker_recovery_summary").query("label == 'all labels' and top == 10")
    overall = overall.set_index("ranking")
    assert (
        overall.loc["attribution_present", "precision"]
        > 5 * overall.loc["attribution_present", "chance"]
    )
    assert overall.loc["attribution", "recall"] > 0.5


def explain(finished: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "plkd", "explain", str(finished.folder / "query.h5ad")]
    command += ["--model", str(finished.run_folder() / "model")]
    return subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "workflow" / "scripts")},
    )


def test_explain_one_cell(finished: Project, tmp_path: Path) -> None:
    predictions = pd.read_parquet(finished.run_folder() / "predictions" / "student.parquet")
    sure = predictions.sort_values("confidence").iloc[-1]
    picture, rows = tmp_path / "why.png", tmp_path / "why.tsv"
    done = explain(finished, "--cell", sure["cell_id"], "-o", str(picture), "--table", str(rows))
    assert done.returncode == 0, done.stderr
    assert sure["label"] in done.stdout
    assert set(MARKERS_OF[sure["label"]]) & set(done.stdout.split())
    assert picture.exists()
    assert picture.with_suffix(".pdf").exists()
    assert len(pd.read_csv(rows, sep="\t")) > 10


def test_explain_a_cell_that_is_not_there(finished: Project, tmp_path: Path) -> None:
    done = explain(finished, "--cell", "s2-cell0000", "-o", str(tmp_path / "why.png"))
    assert done.returncode == 1
    assert "s2-cell0000" in done.stderr
    assert "Is it" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
