"""Methods that put reference and query into one space: their registry, and one that fails."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import integrate
from plkd.evaluation.embeddings import read_cells_of_run, read_spaces
from plkd.evaluation.integrators import batches_to_mix
from plkd.pipeline.methods import read_integrators
from plkd.preparation.prepare import PreparedPaths, prepare_dataset
from plkd.utils.files import read_json
from project import REPOSITORY
from simulated import make_cells

REGISTRY = read_integrators(REPOSITORY / "config" / "integrators.tsv")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("prepared")
    make_cells(60, 110, batches=["d1", "d2"], seed=0).write_h5ad(folder / "r.h5ad")
    make_cells(40, 110, batches=["d3"], seed=1).write_h5ad(folder / "q.h5ad")
    config = {
        "name": "x",
        "reference": {"labels_key": "cell_type", "batch_key": "batch"},
        "query": {"labels_key": "cell_type", "batch_key": "batch"},
    }
    paths = PreparedPaths(*(folder / name for name in (
        "reference.h5ad", "query.h5ad", "truth.parquet", "genes.tsv", "report.json")))  # fmt: skip
    prepare_dataset(config, folder / "r.h5ad", folder / "q.h5ad", paths)
    return {"reference": paths.reference, "query": paths.query, "truth": paths.truth}


def job(prepared, folder: Path, method: dict[str, str], script: Path | None = None):
    return SimpleNamespace(
        input=SimpleNamespace(
            reference=prepared["reference"], query=prepared["query"], lock=None,
            script=[script] if script else [],
        ),
        output=SimpleNamespace(embedding=folder / "tool.h5ad", outcome=folder / "tool.json"),
        params=SimpleNamespace(
            method=method, crossing=False, environments=str(folder),
            limits={"seconds": 60, "memory_mb": 4000},
        ),
        wildcards=SimpleNamespace(integrator="tool"), threads=1, log=[str(folder / "log")],
    )  # fmt: skip


def cells_of(prepared) -> pd.DataFrame:
    return read_cells_of_run(
        prepared["reference"], prepared["query"], pd.read_parquet(prepared["truth"])
    )


def test_every_method_of_the_registry_has_its_script_and_lock():
    for _, row in REGISTRY[REGISTRY["script"] != "-"].iterrows():
        assert (REPOSITORY / "workflow" / "scripts" / "methods" / row["script"]).is_file()
        assert (REPOSITORY / "envs" / "methods" / f"{row['environment']}.lock").is_file()


def test_what_is_mixed_are_batches_or_else_the_sides(prepared):
    reference, query = prepared["reference"], prepared["query"]
    assert set(batches_to_mix(reference, query)) == {"d1", "d2", "d3"}
    sides = batches_to_mix(reference, query, crossing=True)
    assert list(sides) == ["reference"] * 60 + ["query"] * 40


def test_a_method_gets_components_and_batches_and_gives_a_space(prepared, tmp_path, monkeypatch):
    script = tmp_path / "run_tool.py"
    script.write_text(
        textwrap.dedent("""
        import json, sys
        from pathlib import Path
        import numpy as np
        folder = Path(sys.argv[1])
        job = json.loads((folder / "job.json").read_text())
        X = np.load(folder / "components.npy")
        assert len(X) == len(job["batches"]) and set(job["batches"]) == {"d1", "d2", "d3"}
        np.save(folder / "embedding.npy", X[:, :3] * 2)
        (folder / "told.json").write_text(json.dumps({"version": "tool 1"}))
    """)
    )
    monkeypatch.setattr(integrate, "python_of", lambda *_: Path(sys.executable))
    method = {"script": script.name, "environment": "tool"}
    integrate.main(job(prepared, tmp_path, method, script))
    cells = cells_of(prepared)
    (space,) = read_spaces([tmp_path / "tool.h5ad"], cells).values()
    integrate.main(job(prepared, tmp_path, {"script": "-", "environment": "plkd"}))
    (components,) = read_spaces([tmp_path / "tool.h5ad"], cells).values()
    np.testing.assert_allclose(space, components[:, :3] * 2, rtol=1e-5)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit('no luck')", "no luck"),
        ("import json, sys; open(sys.argv[1] + '/told.json', 'w').write('{\"reason\": \"why\"}')",
         "why"),
        ("import numpy, sys; numpy.save(sys.argv[1] + '/embedding.npy', numpy.ones((3, 2)))",
         "not of these cells"),
    ],
)  # fmt: skip
def test_a_method_that_fails_leaves_its_reason_and_no_space(
    prepared, tmp_path, monkeypatch, code, reason
):
    script = tmp_path / "run_tool.py"
    script.write_text(code)
    monkeypatch.setattr(integrate, "python_of", lambda *_: Path(sys.executable))
    integrate.main(job(prepared, tmp_path, {"script": "x", "environment": "tool"}, script))
    assert reason in read_json(tmp_path / "tool.json", made_by="integrate")["reason"]
    assert read_spaces([tmp_path / "tool.h5ad"], cells_of(prepared)) == {}
