"""Bad input to the stages prepare and mask: what is said, and that nothing is left half-written.

`tests/workflow/test_bad_input.py` has the mistakes that are found outside of the library.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import sparse

from plkd.errors import InputError
from plkd.pathways.gene_sets import read_gmts
from plkd.pathways.mask import build_mask
from plkd.preparation.prepare import PreparedPaths, prepare_dataset
from plkd.settings.presets import resolve
from project import Project, make_project

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
    "missing label column": (
        configure(reference_with(labels_key="celltype")),
        ("celltype", "cell_type", "reference.h5ad"),
    ),
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
    "gene sets without overlap": (foreign_gmt, ("FOO1", "ACTB")),
}  # fmt: skip


def prepare_and_mask(project: Project) -> None:
    """The two stages, as the scripts of the workflow call them."""
    content = yaml.safe_load((project.folder / "config" / "config.yaml").read_text())
    (dataset,) = content["datasets"]
    outputs = PreparedPaths.in_folder(project.folder / "prepared")
    paths = [
        project.folder / dataset[side]["url"] if side in dataset else None
        for side in ("reference", "query")
    ]
    prepare_dataset(dataset, *paths, outputs)
    genes = pd.read_csv(outputs.genes, sep="\t", keep_default_na=False)
    mask = build_mask(
        genes=ad.read_h5ad(outputs.reference).var_names.tolist(),
        gene_sets=read_gmts([project.folder / source["url"] for source in dataset["gene_sets"]]),
        background=genes["gene"].tolist(),
        **resolve(content["variants"]["default"]).to_dict()["mask"],
    )
    mask.save(project.folder / "mask")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("written")).folder


@pytest.fixture
def project(written: Path, tmp_path: Path) -> Project:
    return Project(Path(shutil.copytree(written, tmp_path / "project")))


def test_without_a_mistake_the_stages_finish(project: Project) -> None:
    prepare_and_mask(project)
    assert (project.folder / "mask" / "mask.npz").exists()


@pytest.mark.parametrize("case", CASES)
def test_bad_input(project: Project, case: str) -> None:
    break_it, named = CASES[case]
    break_it(project)
    with pytest.raises(InputError) as error:
        prepare_and_mask(project)
    missing = [word for word in named if word not in str(error.value)]
    assert not missing, f"{missing} not named in: {error.value}"
    assert not (project.folder / "mask").exists()
    if case != "gene sets without overlap":  # found after the cells were prepared
        left = (project.folder / "prepared").rglob("*")
        assert list(left) == []
