"""Labels that look like numbers, truth values or missing ones stay what they are, all the way."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import anndata as ad
import networkx as nx
import numpy as np
import pandas as pd
import pytest

import attribute_genes
import evaluate
import evaluate_figures
import explanations_table
import faithfulness
import key_genes
import marker_recovery
import networks
import pathways
import stability
from job import job
from plkd.interpret.attributed_cells import AttributedCells
from plkd.prediction.predict import predict_prepared
from plkd.prediction.summary import label_table
from plkd.prediction.table import write_predictions
from plkd.preparation.prepare import PreparedPaths, prepare_dataset
from plkd.preparation.prepared import PreparedCells
from plkd.preparation.side import clean_labels
from plkd.settings.datasets import SourceSettings
from plkd.utils.tables import read_tsv, write_tsv
from simulated import MARKERS, make_cells
from trained import TYPES, logged, trained_model

LABELS = ["0", "True", "NA", "nan"]
INTERPRETATION = {
    "cells": "reference", "cells_per_label": 20, "axis": "principal", "pathways": 3,
    "genes_per_pathway": 2, "embedding": "attended", "chance": 0.5, "attributed_cells": 4,
    "explainer": "plkd", "tested_cells": 2, "student_genes": 20,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """All tables of a run whose labels are awkward."""
    folder = tmp_path_factory.mktemp("awkward")
    model = trained_model()
    renamed = {
        kind: dataclasses.replace(network, labels=LABELS)
        for kind, network in model.networks.items()
    }
    dataclasses.replace(model, **renamed).save(folder / "model")
    name_of = dict(zip(model.labels, LABELS, strict=True))
    for role, seed in (("reference", 1), ("query", 2)):
        cells = make_cells(80, 110, types=TYPES, seed=seed)
        labels = cells.obs["cell_type"].astype(str).map(name_of)
        prepared = ad.AnnData(logged(cells), obs=cells.obs[["batch"]].copy(), var=cells.var)
        prepared.var["in_query"] = True
        if role == "reference":
            prepared.obs["label"] = pd.Categorical(labels)
        prepared.write_h5ad(folder / f"{role}.h5ad")
        truth = pd.DataFrame({"cell_id": labels.index, "label": labels.to_numpy()})
    truth.assign(batch="1").to_parquet(folder / "truth.parquet")
    lines = ["\t".join([name, "", *genes]) for name, genes in MARKERS.items()]
    (folder / "sets.gmt").write_text("\n".join(lines) + "\n")
    rows = [(name_of[label], gene) for label in model.labels for gene in MARKERS[label]]
    write_tsv(pd.DataFrame(rows, columns=["label", "gene"]), folder / "markers.tsv")

    student = renamed["student"]
    table, _ = predict_prepared(student, PreparedCells.read(folder / "query.h5ad"), progress=False)
    write_predictions(table, folder / "student.parquet")
    write_tsv(label_table(table), folder / "labels.tsv")
    steps(folder)
    return folder


def steps(folder: Path) -> None:
    """Run the scripts of the rules that read and write tables with labels, one after the other."""

    def at(*names: str, **paths: str) -> dict[str, Path]:
        outputs = {name: folder / f"{name}.tsv" for name in names}
        figures = {
            name: folder / f"{name}.{name.split('_')[-1]}"
            for name in paths.pop("figures", "").split()
        }
        return outputs | figures | {name: folder / path for name, path in paths.items()}

    common = {"params": {"interpretation": INTERPRETATION, "device": "cpu"},
              "wildcards": {"seed": "0"}}  # fmt: skip
    model = {"model": folder / "model" / "model.json"}
    pathways.main(job(
        input={**model, "cells": folder / "reference.h5ad", "predictions": [],
               "gene_sets": folder / "sets.gmt"},
        output=at("pathways", "label_pathways", figures="png pdf attention_png attention_pdf",
                  genes="pathway_genes.tsv", summary="pathways.json"),
        **common,
    ))  # fmt: skip
    networks.main(job(
        input={**model, **at("label_pathways", genes="pathway_genes.tsv")},
        output=at(figures="png pdf", genes="network_genes.tsv", edges="network_edges.tsv",
                  graphs="graphs"),
        **common,
    ))  # fmt: skip
    attribute_genes.main(job(
        input={**model, **at(query="query.h5ad", predictions="student.parquet")},
        output=at(figures="png pdf cells_png cells_pdf", values="attributions.npz",
                  genes="gene_attributions.tsv"),
        **common,
    ))  # fmt: skip
    values = at(values="attributions.npz", genes="gene_attributions.tsv", markers="markers.tsv")
    key_genes.main(job(
        input={**values, **at(network="network_genes.tsv")},
        output=at(figures="png pdf", genes="key_genes.tsv", pools="key_gene_pools.tsv"),
        **common,
    ))  # fmt: skip
    faithfulness.main(job(
        input={**model, **values},
        output=at(figures="png pdf", areas="faithfulness.tsv", curves="faithfulness_curves.tsv"),
        **common,
    ))  # fmt: skip
    marker_recovery.main(job(
        input={**values, **at("key_genes")},
        output=at(figures="png pdf", ranks="marker_recovery.tsv", summary="marker_summary.tsv"),
        params={"item": "gene"},
    ))  # fmt: skip
    other_seed = folder / "gene_attributions_of_another_seed.tsv"
    shutil.copy(values["genes"], other_seed)
    stability.main(job(
        input={"reference": folder / "reference.h5ad", "genes": [values["genes"], other_seed]},
        output=at(figures="png pdf", table="stability.tsv"),
    ))  # fmt: skip
    names = {"dataset": "1", "variant": "True", "seed": 0}
    explanations_table.main(job(
        input={"areas": [folder / "faithfulness.tsv"], "markers": [folder / "marker_summary.tsv"],
               "stability": [folder / "stability.tsv"]},
        params={"runs": {"areas": [names], "markers": [names],
                         "stability": [{"dataset": "1", "variant": "True"}]}},
        output=at(tsv="explanations.tsv", html="explanations.html"),
    ))  # fmt: skip
    kinds = ("metrics", "per_label", "abundance", "confusion", "confidence", "resampled", "batches")
    scores = at(*kinds)
    reference = {"reference": folder / "reference.h5ad"}
    evaluate.main(job(
        input={**reference, **at(truth="truth.parquet"),
               "predictions": [folder / "student.parquet"]},
        params=names,
        output=scores,
    ))  # fmt: skip
    registry = Path(__file__).resolve().parents[2] / "config" / "methods.tsv"
    evaluate_figures.main(job(
        input={**reference, **scores, "methods": registry},
        output=at(figures=" ".join(f"{name}_{suffix}" for suffix in ("png", "pdf")
                                   for name in ("confusion", "per_label", "confidence"))),
    ))  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["labels", "label_pathways", "network_genes", "network_edges", "gene_attributions", "key_genes",
     "key_gene_pools", "marker_recovery", "stability", "per_label"],
)  # fmt: skip
def test_tables_keep_the_labels(name: str, run: Path) -> None:
    labels = read_tsv(run / f"{name}.tsv", {"label": str})["label"]
    # a network may have no edge
    assert set(labels) <= set(LABELS) if name == "network_edges" else set(labels) == set(LABELS)


def test_other_places_keep_them_too(run: Path) -> None:
    assert AttributedCells.load(run / "attributions.npz").labels == LABELS
    confusion = read_tsv(run / "confusion.tsv", {"true": str, "predicted": str})
    assert set(confusion["true"]) == set(LABELS)
    graphs = [nx.read_graphml(path) for path in (run / "graphs").iterdir()]
    assert {graph.graph["label"] for graph in graphs} == set(LABELS)
    explanations = read_tsv(run / "explanations.tsv", {"dataset": str, "variant": str})
    assert set(explanations["dataset"]) == {"1"}
    assert set(explanations["variant"]) == {"True"}


def test_the_genes_are_still_those_of_the_label(run: Path) -> None:
    genes = read_tsv(run / "gene_attributions.tsv", {"label": str, "gene": str, "rank": int})
    first = {label: set(part.query("rank <= 8")["gene"]) for label, part in genes.groupby("label")}
    for label, markers in zip(LABELS, list(MARKERS.values())[:TYPES], strict=True):
        assert len(first[label] & set(markers)) >= 3


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (np.array([0, 1, 2]), {"0", "1", "2"}),
        (np.array([True, False, True]), {"True", "False"}),
        (pd.Categorical([0, 1, 2]), {"0", "1", "2"}),
        (pd.Categorical(["NA", "None", "null"]), {"NA", "None", "null"}),
    ],
    ids=["numbers", "truth values", "clusters", "missing by name alone"],
)
def test_preparation_makes_text_of_labels(values, names: set[str], tmp_path: Path) -> None:
    cells = make_cells(90, 60, types=3, seed=0)
    cells.obs["cluster"] = np.repeat(values, 30) if isinstance(values, np.ndarray) else (
        pd.Categorical(np.repeat(np.asarray(values), 30))
    )  # fmt: skip
    cells.write_h5ad(tmp_path / "cells.h5ad")
    paths = PreparedPaths.in_folder(tmp_path / "prepared")
    config = {"name": "clusters", "reference": {"labels_key": "cluster", "batch_key": "batch"},
              "split": {}}  # fmt: skip
    prepare_dataset(config, tmp_path / "cells.h5ad", None, paths)
    assert set(ad.read_h5ad(paths.reference).obs["label"]) == names
    assert set(pd.read_parquet(paths.truth)["label"]) == names


def test_labels_that_look_alike_are_one() -> None:
    """A zero-width space, an unbreakable blank, a mark of byte order, an accent of two letters."""
    alike = ["T cell", "T\u200b cell", "T\u00a0cell", "\ufeffT cell", "T cell\n", "T\x00 cell"]
    accents = ["na\u00efve", "nai\u0308ve"]
    for values in (pd.Series(alike + accents), pd.Series(alike + accents, dtype="category")):
        assert list(clean_labels(values)) == ["T cell"] * 6 + ["na\u00efve"] * 2
    assert list(clean_labels(pd.Series(["\u200b", None, "B"]))) == [None, None, "B"]
    settings = SourceSettings.from_config({"drop_labels": ["T\u200b cell"]})
    assert settings.drop_labels == ["T cell"]
