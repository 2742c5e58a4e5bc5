"""Published tools of integration for real: their environments are installed (`make test-rivals`).

Each puts simulated cells into one space, batches of expression or expression and accessibility;
types were planted, which the nearest cells of the other side have to tell.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import integrate
from crossing import Crossing, right_across, write_crossing
from plkd.evaluation.embeddings import read_cells_of_run, read_spaces
from plkd.pipeline.methods import read_integrators
from plkd.preparation.prepare import PreparedPaths, prepare_dataset
from project import REPOSITORY
from simulated import make_cells

METHODS = REPOSITORY / "envs" / "methods"
SCRIPTS = REPOSITORY / "workflow" / "scripts" / "methods"
REGISTRY = read_integrators(REPOSITORY / "config" / "integrators.tsv")
TOOLS = REGISTRY[REGISTRY["runs"].isin(["pip", "R"]) & (REGISTRY["script"] != "-")]
OF_BATCHES = TOOLS.index[~TOOLS["reads"].isin(["peaks", "pairs"])]
# It matches distances alone, so that labels as far from each other as these are easily swapped.
BLIND = ("unioncom",)
# Principal components of the two modalities have nothing in common that these could find; with the
# epochs that are its default, scButterfly has learned little of a few hundred cells.
NOT_ACROSS = ("harmony", "bbknn", "unioncom", "scbutterfly")

pytestmark = pytest.mark.rivals


@pytest.fixture(scope="module")
def batches(tmp_path_factory) -> PreparedPaths:
    """The cells of the batches of the reference take turns."""
    folder = tmp_path_factory.mktemp("batches")
    make_cells(240, 200, batches=["d1", "d2"], seed=0).write_h5ad(folder / "r.h5ad")
    make_cells(120, 200, batches=["d3"], seed=1).write_h5ad(folder / "q.h5ad")
    keys = {"labels_key": "cell_type", "batch_key": "batch"}
    config = {"name": "small", "reference": keys, "query": keys, "prepare": {"n_genes": 150}}
    paths = PreparedPaths.in_folder(folder / "prepared")
    prepare_dataset(config, folder / "r.h5ad", folder / "q.h5ad", paths)
    return paths


@pytest.fixture(scope="module")
def crossing(tmp_path_factory) -> Crossing:
    return write_crossing(tmp_path_factory.mktemp("crossing"))


def space_by(
    method: str, prepared: PreparedPaths, folder: Path, crossing: Crossing | None = None
) -> tuple[np.ndarray, pd.DataFrame]:
    """The space of a method of the registry, and the cells; skips where R lacks a package."""
    row = REGISTRY.loc[method]
    about = tomllib.loads((METHODS / "environments.toml").read_text())[row["environment"]]
    lock = METHODS / f"{row['environment']}.lock"
    settings = {
        "id": method, "runs": row["runs"], "reads": row["reads"], "missing": "", "provided": None,
        "environment": row["environment"], "environments": str(REPOSITORY / "environments"),
        "in_conda": False, "device": "cpu", "seed": 0,
        "limits": {"seconds": 1800, "memory_mb": 16_000},
        "r_packages": about.get("r", []), "debian": about.get("debian", []),
    }  # fmt: skip
    integrate.main(
        SimpleNamespace(
            input=SimpleNamespace(
                reference=prepared.reference, query=prepared.query,
                script=[str(SCRIPTS / row["script"])], lock=str(lock) if lock.exists() else [],
                peaks=str(crossing.peaks) if crossing else [],
                annotation=str(crossing.annotation) if crossing else [],
            ),
            output=SimpleNamespace(embedding=folder / f"{method}.h5ad", outcome=folder / "o.json"),
            params=SimpleNamespace(settings=settings, reading={}, crossing=crossing is not None),
            threads=1, log=[str(folder / "log")],
        )
    )  # fmt: skip
    outcome = json.loads((folder / "o.json").read_text())
    if "apt install" in outcome["reason"]:
        pytest.skip(outcome["reason"])
    assert outcome["reason"] == ""
    assert outcome["peak_mb"] > 50
    truth = pd.read_parquet(prepared.truth)
    cells = read_cells_of_run(prepared.reference, prepared.query, truth)
    return read_spaces([folder / f"{method}.h5ad"], cells)[method], cells


@pytest.mark.parametrize("method", OF_BATCHES)
def test_tools_tell_planted_types_across_batches(method, batches, tmp_path) -> None:
    space, cells = space_by(method, batches, tmp_path)
    if method not in BLIND:
        assert right_across(space, cells) > 0.8


@pytest.mark.parametrize("method", TOOLS.index)
def test_tools_tell_planted_types_across_modalities(method, crossing, tmp_path) -> None:
    space, cells = space_by(method, crossing.prepared, tmp_path, crossing)
    chance = cells["label"].value_counts(normalize=True).max()
    if method not in NOT_ACROSS:
        assert right_across(space, cells) > chance + 0.1
