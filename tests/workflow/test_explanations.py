"""The rules behind "6. Why this label", on simulated cells with planted markers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from plkd.interpret.cells import AttributedCells
from plkd.interpret.key_genes import read_gene_table
from project import planned_rules

pytestmark = pytest.mark.workflow


def test_genes_behind_labels(finished):
    folder = finished.run_folder() / "interpretation"
    attributed = AttributedCells.load(folder / "shap_values.npz")
    assert abs(attributed.error).max() < 1e-9
    predictions = pd.read_parquet(finished.run_folder() / "predictions/student.parquet")
    label_of = predictions.set_index("cell_id")["label"]
    found = np.asarray(attributed.classes)[attributed.labels]
    np.testing.assert_array_equal(label_of[attributed.cell_ids].to_numpy(), found)
    genes = read_gene_table(folder / "gene_attributions.tsv")
    assert set(genes["label"]) == set(label_of)
    keys = read_gene_table(folder / "key_genes.tsv")
    network = read_gene_table(folder / "network_genes.tsv")
    shared = keys[keys["key"].astype(str) == "True"]
    pairs = set(map(tuple, network[["label", "gene"]].to_numpy()))
    assert set(map(tuple, shared[["label", "gene"]].to_numpy())) <= pairs
    for name in ("gene_attributions", "gene_attributions_cells", "key_genes", "faithfulness"):
        for suffix in (".png", ".pdf"):
            assert (folder / f"{name}{suffix}").stat().st_size > 1000


def test_explanations_are_true(finished):
    areas = pd.read_csv(finished.run_folder() / "interpretation/faithfulness.tsv", sep="\t")
    best = areas.query("ranking == 'attribution'")
    assert len(best) == 4
    assert (best["gain"] > 3 * best["standard_error"]).all()


def test_lists_and_seeds_add_rules(project):
    plan = planned_rules(project.snakemake("-n"))
    assert not {"marker_recovery", "pathway_recovery", "stability"} & set(plan)
    project.configure(dataset={"markers": {"url": "markers.gmt"}}, seeds=[0, 1])
    plan = planned_rules(project.snakemake("-n", "interpretation"))
    assert plan["marker_recovery"] == 2
    assert plan["stability"] == 1
    assert "evaluate" not in plan


def test_known_markers_are_found(finished):
    finished.configure(dataset={"markers": {"url": "markers.gmt"}})
    run = finished.snakemake("--rerun-triggers", "mtime", "--", *[
        "results/simulated/default/seed0/interpretation/marker_recovery.png"
    ])  # fmt: skip
    finished.configure()
    assert run.returncode == 0, run.stdout
    table = pd.read_csv(
        finished.run_folder() / "interpretation/marker_recovery_summary.tsv", sep="\t"
    )
    overall = table.query("label == 'all labels' and top == 10").set_index("ranking")
    assert overall.loc["shap_present", "precision"] > 5 * overall.loc["shap_present", "chance"]
    assert overall.loc["shap", "recall"] > 0.5
