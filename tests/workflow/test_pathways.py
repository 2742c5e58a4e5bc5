"""Pathways and networks of a whole run on simulated cells."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import networkx as nx
import pandas as pd
import pytest

from plkd.prediction.table import read_predictions
from project import Project, planned_rules
from simulated import MARKERS

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("finished")]


def read(finished: Project, name: str) -> pd.DataFrame:
    path = finished.run_folder() / "interpretation" / name
    return pd.read_csv(path, sep="\t", keep_default_na=False, dtype={"label": str})


def test_labels_find_their_planted_pathways(finished: Project) -> None:
    table = read(finished, "label_pathways.tsv")
    assert set(table["label"]) == set("0123")
    sets = table[table["pathway"].isin(MARKERS)]
    best = sets.loc[sets.groupby("label")["rank"].idxmin()]
    # the gene sets are named as the types whose markers they hold, the labels are their numbers
    assert [list(MARKERS).index(pathway) for pathway in best["pathway"]] == [0, 1, 2, 3]
    attention = table.groupby("label")["attention"].sum()
    assert attention.between(0, 1).all()


def test_pathways_find_the_gene_sets_they_were_made_from(finished: Project) -> None:
    table = read(finished, "pathways.tsv")
    summary = json.loads((finished.run_folder() / "interpretation" / "pathways.json").read_text())
    made = table[table["origin_rank"] != ""]
    assert summary["with_origin"] == len(made) == len(table) - 1
    assert (made["best_match"] == made["pathway"]).all()
    assert summary["origin_first_share"] == 1.0


def test_networks_are_written_for_every_label(finished: Project) -> None:
    genes, edges = read(finished, "network_genes.tsv"), read(finished, "network_edges.tsv")
    folder = finished.run_folder() / "interpretation" / "networks"
    graphs = {}
    for path in folder.glob("*.graphml"):
        assert re.fullmatch(r"\d\d_\w+\.graphml", path.name)
        graph = nx.read_graphml(path)
        graphs[graph.graph["label"]] = graph
    assert graphs.keys() == set(genes["label"])
    for label, graph in graphs.items():
        own = genes[genes["label"] == label]
        assert set(graph) == set(own["gene"])
        assert len(own) <= 20
        assert graph.number_of_edges() == (edges["label"] == label).sum()
    for name in ("label_pathways", "attention", "networks"):
        for suffix in ("png", "pdf"):
            path = folder.parent / f"{name}.{suffix}"
            assert path.stat().st_size > 5000


def test_other_settings_rerun_no_model(finished: Project) -> None:
    with finished.configured(interpretation={"chance": 0.1, "cells": "query"}):
        planned = planned_rules(finished.snakemake("-n"))
    assert planned.keys() >= {"pathways", "networks"}
    assert not planned.keys() & {"teacher", "student", "mask", "prepare", "evaluate"}


def test_query_cells_and_the_text_of_the_paper(finished: Project, tmp_path: Path) -> None:
    copy = Project(tmp_path / "project", finished.workflow)
    shutil.copytree(finished.folder, copy.folder, symlinks=True)
    with copy.configured(interpretation={"cells": "query", "axis": "sum", "embedding": "pathway"}):
        done = copy.snakemake("results/simulated/default/seed0/interpretation/networks.png")
    assert done.returncode == 0, done.stdout
    folder = copy.run_folder() / "interpretation"
    summary = json.loads((folder / "pathways.json").read_text())
    assert summary["axis"] == "sum"
    assert "query cells by their predicted labels" in summary["cells"]
    predicted = read_predictions(copy.run_folder() / "predictions" / "student.parquet")
    known = predicted.loc[~predicted["unknown"].astype(bool), "label"].astype(str)
    assert set(read(copy, "label_pathways.tsv")["label"]) <= set(known)
