"""Bad input stops the run with a message that says what to do, and leaves nothing half-written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

from project import Project

pytestmark = pytest.mark.workflow

Break = Callable[[Project], None]


def change_cells(name: str, change: Callable[[ad.AnnData], ad.AnnData | None]) -> Break:
    """Rewrite one of the h5ad files of a project."""

    def apply(project: Project) -> None:
        path = project.folder / name
        cells = ad.read_h5ad(path)
        changed = change(cells)
        (cells if changed is None else changed).write_h5ad(path)

    return apply


def configure(dataset: dict | None = None, **config: object) -> Break:
    return lambda project: project.configure(dataset, **config)


def reference_with(**keys: object) -> dict:
    return {"reference": {"url": "reference.h5ad", "labels_key": "cell_type", **keys}}


def truncate(project: Project) -> None:
    path = project.folder / "reference.h5ad"
    path.write_bytes(path.read_bytes()[:5000])


def unwritable_results(project: Project) -> None:
    (project.folder / "results").write_text("a file where the folder should be")


def no_label(cells: ad.AnnData) -> None:
    cells.obs["cell_type"] = np.nan


def one_label(cells: ad.AnnData) -> None:
    cells.obs["cell_type"] = "B cell"


def lone_cell(cells: ad.AnnData) -> None:
    labels = cells.obs["cell_type"].astype(str).to_numpy()
    labels[0] = "lonely"
    cells.obs["cell_type"] = labels


def other_genes(cells: ad.AnnData) -> None:
    cells.var_names = [f"OTHER{i}" for i in range(cells.n_vars)]


def scaled(cells: ad.AnnData) -> ad.AnnData:
    dense = np.log1p(cells.X.toarray())
    z_scores = (dense - dense.mean(0)) / (dense.std(0) + 1e-9)
    return ad.AnnData(z_scores, obs=cells.obs, var=cells.var, layers={"counts": cells.X})


def negative_counts(cells: ad.AnnData) -> None:
    counts = cells.X.copy()
    counts.data[::50] = -1.0
    cells.X = counts


def missing_values(cells: ad.AnnData) -> None:
    counts = cells.X.copy()
    counts.data[0] = np.nan
    cells.X = counts


def no_cells(cells: ad.AnnData) -> ad.AnnData:
    return ad.AnnData(sparse.csr_matrix((0, cells.n_vars), dtype=np.float32), var=cells.var)


def foreign_gmt(project: Project) -> None:
    (project.folder / "markers.gmt").write_text(
        "SET\tnothing we have\tFOO1\tFOO2\tFOO3\tFOO4\tFOO5\n"
    )


CASES: dict[str, tuple[Break, tuple[str, ...]]] = {
    "missing file": (
        lambda project: (project.folder / "reference.h5ad").unlink(), ("reference.h5ad",)
    ),
    "truncated h5ad": (truncate, ("reference.h5ad", "truncated")),
    "missing label column": (
        configure(reference_with(labels_key="celltype")),
        ("celltype", "cell_type", "reference.h5ad"),
    ),
    "no label column given": (configure({"reference": {"url": "reference.h5ad"}}), ("labels_key",)),
    "missing batch column": (configure(reference_with(batch_key="donor")), ("donor", "batch")),
    "labels all missing": (change_cells("reference.h5ad", no_label), ("cell_type",)),
    "a single label": (change_cells("reference.h5ad", one_label), ("B cell",)),
    "label too small to split": (
        lambda project: (
            change_cells("reference.h5ad", lone_cell)(project),
            project.configure({"query": None, "split": {}, "prepare": {"min_cells_per_label": 1}}),
        ),
        ("lonely", "drop_labels"),
    ),
    "no genes in common": (change_cells("query.h5ad", other_genes), ("OTHER", "gene")),
    "scaled": (change_cells("reference.h5ad", scaled), ("scaled", "layer: counts")),
    "negative counts": (change_cells("query.h5ad", negative_counts), ("negative", "query.h5ad")),
    "missing values": (change_cells("query.h5ad", missing_values), ("NaN", "query.h5ad")),
    "no cells": (change_cells("query.h5ad", no_cells), ("query.h5ad", "cells")),
    "gene sets without overlap": (foreign_gmt, ("markers.gmt", "FOO1")),
    "unknown key": (configure(seed=[1]), ("seed",)),
    "unknown key of a data set": (configure({"labels_key": "cell_type"}), ("labels_key",)),
    "unknown key of a variant": (
        configure(variants={"v": {"teacher": {"layers": 2}}}), ("layers", "'v'")
    ),
    "unknown preset": (configure(variants={"v": {"preset": "papers"}}), ("papers", "paper")),
    "unknown method": (configure(methods=["oracle_of_delphi"]), ("oracle_of_delphi",)),
    "neither query nor split": (configure({"query": None}), ("split",)),
    "results cannot be written": (unwritable_results, ("results",)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_input(project: Project, case: str) -> None:
    break_it, named = CASES[case]
    break_it(project)
    target = "results/simulated/default/mask/mask.npz"
    ended = project.snakemake(target)
    assert ended.returncode == 1, ended.stdout
    missing = [word for word in named if word not in ended.stdout]
    assert not missing, f"{missing} not named in:\n{ended.stdout}"
    assert "Traceback" not in ended.stdout, ended.stdout
    assert leftovers(project.folder) == []


def leftovers(folder: Path) -> list[str]:
    """Results of the failed step, or parts of them."""
    results = folder / "results"
    if not results.is_dir():
        return []
    found = [path for path in results.rglob("*") if path.is_file()]
    if (results / "simulated" / "prepared" / "report.json").exists():  # the mask failed, not this
        found = [path for path in found if path.parent.name != "prepared"]
    return [str(path.relative_to(folder)) for path in found]
