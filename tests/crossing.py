"""Simulated expression that names the accessibility of the same cells, prepared as the rules do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from plkd.gene_activity import write_gene_activity
from plkd.preparation.prepare import PreparedPaths, prepare_dataset
from plkd.simulation import plant_annotation, simulate_atac, simulate_cells, write_gtf
from plkd.simulation.cells import write_cells


@dataclass(frozen=True)
class Crossing:
    """Files of a data set that crosses from expression to accessibility."""

    prepared: PreparedPaths
    peaks: Path
    annotation: Path


def write_crossing(folder: Path, n_cells: int = 240, seed: int = 1) -> Crossing:
    """Four labels that are far apart; the cells of the query are in another order."""
    rna = simulate_cells(
        n_cells, seed=seed, n_genes=400, n_labels=4, n_batches=1, imbalance=1.5, marker_effect=4.0,
        n_markers=25, labels_per_lineage=1,
    )  # fmt: skip
    annotation = plant_annotation(rna.design.genes)
    atac = simulate_atac(rna, annotation, seed=seed, depth=6000.0, effect=1.5)
    order = np.random.default_rng(seed).permutation(n_cells)
    paths = {name: folder / f"{name}.h5ad" for name in ("rna", "peaks", "activity")}
    write_cells(rna.cells, paths["rna"])
    write_cells(atac.cells[order].copy(), paths["peaks"])
    write_gtf(annotation, folder / "genes.gtf")
    write_gene_activity(paths["peaks"], folder / "genes.gtf", paths["activity"], progress=False)
    keys = {"labels_key": "label", "batch_key": "batch"}
    config = {"name": "crossing", "reference": keys, "query": keys, "prepare": {"n_genes": 300}}
    prepared = PreparedPaths.in_folder(folder / "prepared")
    prepare_dataset(config, paths["rna"], paths["activity"], prepared)
    return Crossing(prepared, paths["peaks"], folder / "genes.gtf")


def right_across(space: np.ndarray, cells: pd.DataFrame, neighbours: int = 5) -> float:
    """Share of the query's cells whose nearest cells of the reference bear their label."""
    is_query = (cells["role"] == "query").to_numpy()
    labels = cells["label"].astype(str).to_numpy()
    distance = np.linalg.norm(space[is_query][:, None] - space[~is_query][None], axis=2)
    nearest = labels[~is_query][np.argsort(distance, axis=1)[:, :neighbours]]
    voted = [pd.Series(one).mode()[0] for one in nearest]
    return float(np.mean(np.array(voted) == labels[is_query]))
