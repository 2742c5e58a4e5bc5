"""Published tools for real: their environments are installed (`make test-rivals`, minutes).

Each labels simulated cells, and some are compared with the same tool called by hand.
"""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

import run_method
from plkd.pipeline.environments import NotProvidedError, python_of
from plkd.pipeline.methods import read_registry
from plkd.prediction.table import read_predictions
from plkd.preparation.prepare import PreparedPaths, prepare_dataset
from project import REPOSITORY
from simulated import make_cells

ENVIRONMENTS = REPOSITORY / "environments"
METHODS = REPOSITORY / "envs" / "methods"
REGISTRY = read_registry(REPOSITORY / "config" / "methods.tsv")
TOOLS = REGISTRY[REGISTRY["runs"].isin(["pip", "R"]) & (REGISTRY["script"] != "-")]
BY_HAND = {
    "celltypist": """
import sys, anndata, celltypist
reference, query = map(anndata.read_h5ad, sys.argv[1:3])
model = celltypist.train(reference, labels="label", check_expression=False, n_jobs=1)
labels = celltypist.annotate(query, model=model).predicted_labels["predicted_labels"]
labels.to_csv(sys.argv[3], header=False)
""",
    "xgboost": """
import sys, h5py, csv
import numpy as np, xgboost
def read(path):
    with h5py.File(path) as f:
        X = np.zeros(f["X"].attrs["shape"], dtype=np.float32)
        for i, (a, b) in enumerate(zip(f["X/indptr"][:-1], f["X/indptr"][1:])):
            X[i, f["X/indices"][a:b]] = f["X/data"][a:b]
        X[X == 0] = np.nan
        label = f["obs/label"] if "label" in f["obs"] else None
        names = label["categories"].asstr()[:] if label else None
        return X, f["obs"][f["obs"].attrs["_index"]].asstr()[:], label and label["codes"][:], names
X, _, codes, names = read(sys.argv[1])
Y, ids, _, _ = read(sys.argv[2])
options = {"objective": "multi:softmax", "num_class": len(names)}
found = xgboost.train(options, xgboost.DMatrix(X, label=codes), 100).predict(xgboost.DMatrix(Y))
csv.writer(open(sys.argv[3], "w")).writerows(zip(ids, names[found.astype(int)]))
""",
}

pytestmark = pytest.mark.rivals


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> PreparedPaths:
    folder = tmp_path_factory.mktemp("prepared")
    sources = []
    for seed, role in enumerate(("reference", "query")):
        cells = make_cells(300, 200, types=4, seed=seed)
        cells.write_h5ad(folder / f"{role}.h5ad")
        sources.append(folder / f"{role}.h5ad")
    keys = {"labels_key": "cell_type", "batch_key": "batch"}
    paths = PreparedPaths.in_folder(folder / "prepared")
    config = {"name": "small", "reference": keys, "query": keys, "prepare": {"n_genes": 150}}
    prepare_dataset(config, *sources, paths)
    return paths


def predictions_by(method: str, files: PreparedPaths, folder: Path) -> tuple[pd.DataFrame, str]:
    """Predictions of a method of the registry, and why there are none."""
    row = TOOLS.loc[method]
    about = tomllib.loads((METHODS / "environments.toml").read_text())[row["environment"]]
    lock = METHODS / f"{row['environment']}.lock"
    output = {"predictions": folder / "p.parquet", "outcome": folder / "p.json"}
    run_method.main(
        SimpleNamespace(
            input=SimpleNamespace(
                reference=files.reference, query=files.query,
                script=str(REPOSITORY / "workflow" / "scripts" / "methods" / row["script"]),
                lock=str(lock) if lock.exists() else None,
            ),
            output=SimpleNamespace(**output),
            log=[folder / "log"],
            threads=1,
            settings={
                "id": method, "environment": row["environment"], "needs": "", "provided": None,
                "environments": str(ENVIRONMENTS), "in_conda": False, "device": "cpu", "seed": 0,
                "limits": {"seconds": 1800, "memory_mb": 16_000},
                "r_packages": about.get("r", []), "debian": about.get("debian", []),
            },
        )
    )  # fmt: skip
    reason = json.loads(output["outcome"].read_text())["reason"]
    return read_predictions(output["predictions"]), reason


@pytest.mark.parametrize("method", TOOLS.index)
def test_tools_find_the_planted_types(method: str, files: PreparedPaths, tmp_path: Path) -> None:
    table, reason = predictions_by(method, files, tmp_path)
    if "apt install" in reason:
        pytest.skip(reason)
    assert reason == ""
    truth = pd.read_parquet(files.truth).set_index("cell_id")["label"]
    found = table.set_index("cell_id")["label"].reindex(truth.index)
    assert (found == truth).mean() > 0.85


@pytest.mark.parametrize("method", BY_HAND)
def test_tools_say_what_they_say_when_called_by_hand(
    method: str, files: PreparedPaths, tmp_path: Path
) -> None:
    name = TOOLS["environment"][method]
    try:
        python = python_of(name, METHODS / f"{name}.lock", ENVIRONMENTS)
    except NotProvidedError as error:
        pytest.skip(str(error))
    out = tmp_path / "hand.csv"
    code = [python, "-c", BY_HAND[method], files.reference, files.query, out]
    subprocess.run(list(map(str, code)), check=True, cwd=tmp_path)
    by_hand = pd.read_csv(out, header=None, index_col=0, dtype=str).iloc[:, 0]
    table, reason = predictions_by(method, files, tmp_path)
    assert reason == ""
    found = table.set_index("cell_id")["label"].reindex(by_hand.index)
    assert (found == by_hand).mean() > 0.99
