"""Methods that put reference and query into one space: their registry, and one that fails."""

from __future__ import annotations

import textwrap
import tomllib
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import exchange
import integrate
import run_bbknn
from crossing import Crossing, right_across, write_crossing
from plkd.errors import InputError
from plkd.evaluation.embeddings import read_cells_of_run, read_spaces
from plkd.evaluation.integrators import batches_to_mix, paired_cells
from plkd.pipeline.environments import NotProvidedError
from plkd.pipeline.methods import RUNS, chosen_methods, read_integrators, read_registry
from plkd.preparation.prepare import PreparedPaths, prepare_dataset
from plkd.utils.files import read_json
from project import REPOSITORY
from simulated import make_cells

REGISTRY = read_integrators(REPOSITORY / "config" / "integrators.tsv")
ENVIRONMENTS = tomllib.loads(
    (REPOSITORY / "envs" / "methods" / "environments.toml").read_text(encoding="utf-8")
)
TOOL = {
    "id": "tool", "runs": "pip", "reads": "components", "environment": "tool", "environments": "",
    "in_conda": False, "missing": "", "provided": None, "device": "cpu", "seed": 0,
    "limits": {"seconds": 60, "memory_mb": 4000}, "r_packages": [], "debian": [],
}  # fmt: skip


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


def job(prepared, folder: Path, script: Path | None = None, crossing: bool = False, **method):
    return SimpleNamespace(
        input=SimpleNamespace(
            reference=prepared["reference"], query=prepared["query"], lock=[],
            script=[str(script)] if script else [], peaks=str(prepared.get("peaks", "")),
            annotation=str(prepared.get("annotation", "")),
        ),
        output=SimpleNamespace(embedding=folder / "tool.h5ad", outcome=folder / "tool.json"),
        params=SimpleNamespace(settings={**TOOL, **method}, reading={}, crossing=crossing),
        wildcards=SimpleNamespace(integrator="tool"), threads=1, log=[str(folder / "log")],
    )  # fmt: skip


def written(folder: Path, code: str) -> Path:
    """A script of a method, run by this very Python."""
    script = folder / "run_tool.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(Path(exchange.__file__).parent)!r})\n"
        + textwrap.dedent(code)
    )
    return script


def outcome_of(folder: Path) -> dict:
    return read_json(folder / "tool.json", made_by="integrate")


def cells_of(prepared) -> pd.DataFrame:
    return read_cells_of_run(
        prepared["reference"], prepared["query"], pd.read_parquet(prepared["truth"])
    )


def test_every_method_of_the_registry_has_script_and_environment_or_a_reason():
    assert REGISTRY.index.is_unique
    for method, row in REGISTRY.iterrows():
        assert row["runs"] in RUNS, method
        assert row["reads"] in ("log_values", "counts", "components", "peaks", "pairs"), method
        assert row["device"] in ("cpu", "gpu"), method
        assert row["deterministic"] in (True, False), method
        if row["runs"] == "library":
            continue
        if row["script"] == "-":
            assert row["description"].startswith("No script runs it: "), method
            continue
        assert (REPOSITORY / "workflow" / "scripts" / "methods" / row["script"]).is_file()
        content = ENVIRONMENTS[row["environment"]]
        assert ("r" in content) == row["script"].endswith(".R")
        suffixes = ("lock", "yaml") if "pip" in content else ("yaml",)
        for suffix in suffixes:
            assert (REPOSITORY / "envs" / "methods" / f"{row['environment']}.{suffix}").is_file()


def test_methods_are_chosen_by_id_or_by_how_they_run():
    assert chosen_methods(REGISTRY, ["all"]) == list(REGISTRY.index)
    assert chosen_methods(REGISTRY, ["R", "pca"]) == ["pca", "seurat"]
    assert "glue" in chosen_methods(REGISTRY, ["pip"])
    with pytest.raises(InputError, match="harmony"):
        chosen_methods(REGISTRY, ["harmonyy"])


def drawing_by_chance(script: str) -> bool:
    """Whether a script hands the seed to what it runs."""
    path = REPOSITORY / "workflow" / "scripts" / "methods" / script
    return "job.seed" in path.read_text(encoding="utf-8")


def test_what_is_given_a_seed_is_run_with_every_seed():
    """Of BBKNN's graph the seed is for another search than its default; its layout converges."""
    scripts = REGISTRY[REGISTRY["script"].str.endswith(".py")]
    seeded = {method for method, row in scripts.iterrows() if drawing_by_chance(row["script"])}
    drawing = set(scripts.index[~scripts["deterministic"]])
    assert seeded - drawing == {"bbknn"}
    assert drawing <= seeded


def test_all_methods_of_the_figure_are_in_the_registry():
    methods = pd.read_csv(
        REPOSITORY / "resources" / "paper" / "methods.tsv", sep="\t", keep_default_na=False
    )
    of_figure = methods[methods["task"] == "integration"]
    assert set(of_figure["here"].where(of_figure["here"] != "", of_figure["id"])) < set(
        REGISTRY.index
    )
    assert {"seurat", "kida"} < set(REGISTRY.index)  # which annotate as well
    annotators = methods[methods["task"] != "integration"]
    registry = read_registry(REPOSITORY / "config" / "methods.tsv")
    assert set(annotators["here"].where(annotators["here"] != "", annotators["id"])) < set(
        registry.index
    )


def test_what_is_mixed_are_batches_or_else_the_sides(prepared):
    reference, query = prepared["reference"], prepared["query"]
    assert set(batches_to_mix(reference, query)) == {"d1", "d2", "d3"}
    sides = batches_to_mix(reference, query, crossing=True)
    assert list(sides) == ["reference"] * 60 + ["query"] * 40


def test_a_method_gets_components_and_batches_and_gives_a_space(prepared, tmp_path):
    script = written(
        tmp_path,
        """
        import json, sys
        from pathlib import Path
        import numpy as np
        folder = Path(sys.argv[1])
        job = json.loads((folder / "job.json").read_text())
        X = np.load(folder / "components.npy")
        assert len(X) == len(job["batches"]) and set(job["batches"]) == {"d1", "d2", "d3"}
        assert job["seed"] == 3
        np.save(folder / "embedding.npy", X[:, :3] * 2)
        (folder / "told.json").write_text(json.dumps({"version": "tool 1"}))
        """,
    )
    integrate.main(job(prepared, tmp_path, script, seed=3))
    outcome = outcome_of(tmp_path)
    assert (outcome["reason"], outcome["version"], outcome["n_cells"]) == ("", "tool 1", 100)
    assert outcome["seconds"] > 0
    assert outcome["peak_mb"] > 1
    cells = cells_of(prepared)
    (space,) = read_spaces([tmp_path / "tool.h5ad"], cells).values()
    integrate.main(job(prepared, tmp_path, runs="library"))
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
        ("import numpy, sys; numpy.save(sys.argv[1] + '/embedding.npy', numpy.ones(100))",
         "not of these cells"),
        ("import numpy, sys; numpy.save(sys.argv[1] + '/embedding.npy', numpy.ones((100, 2)) / 0)",
         "holds no numbers"),
        ("pass", "without a result"),
        ("import exchange; exchange.run_integration(lambda job: job.query.counts.nothing, 'numpy')",
         "AttributeError"),
    ],
)  # fmt: skip
def test_a_method_that_fails_leaves_its_reason_and_no_space(prepared, tmp_path, code, reason):
    integrate.main(job(prepared, tmp_path, written(tmp_path, code)))
    assert reason in outcome_of(tmp_path)["reason"]
    assert read_spaces([tmp_path / "tool.h5ad"], cells_of(prepared)) == {}


def test_a_method_that_cannot_be_installed_or_has_no_script_is_a_reason(
    prepared, tmp_path, monkeypatch
):
    def refuse(*_):
        raise NotProvidedError("its environment 'tool' could not be installed: no network")

    monkeypatch.setattr("run_method.python_of", refuse)
    given = job(prepared, tmp_path, written(tmp_path, "pass"))
    given.input.lock = "tool.lock"
    integrate.main(given)
    assert "no network" in outcome_of(tmp_path)["reason"]
    integrate.main(job(prepared, tmp_path, missing="No script runs it: why."))
    assert outcome_of(tmp_path)["reason"] == "No script runs it: why."
    monkeypatch.setenv("PATH", str(tmp_path))
    r = tmp_path / "run_tool.R"
    r.touch()
    integrate.main(job(prepared, tmp_path, r, r_packages=["Seurat"], debian=["r-cran-seurat"]))
    assert "apt install r-cran-seurat" in outcome_of(tmp_path)["reason"]
    assert read_spaces([tmp_path / "tool.h5ad"], cells_of(prepared)) == {}


@pytest.mark.parametrize("reads", ["peaks", "pairs"])
def test_what_needs_accessibility_says_so_of_cells_of_one_modality(prepared, tmp_path, reads):
    integrate.main(job(prepared, tmp_path, written(tmp_path, "pass"), reads=reads))
    assert "of one modality" in outcome_of(tmp_path)["reason"]


def test_a_space_whose_cells_are_in_another_order_is_refused(prepared, tmp_path):
    integrate.main(job(prepared, tmp_path, runs="library"))
    stored = ad.read_h5ad(tmp_path / "tool.h5ad")
    stored[::-1].copy().write_h5ad(tmp_path / "tool.h5ad")
    with pytest.raises(InputError, match="not in this order"):
        read_spaces([tmp_path / "tool.h5ad"], cells_of(prepared))


def test_batches_are_taken_apart_and_put_in_order_again(prepared):
    batches = np.array(["b", "a", "c", "a", "b", "c", "a"], dtype=object)
    X = np.arange(14.0).reshape(7, 2)
    cells = exchange.Cells(prepared["reference"])
    spaces = exchange.Spaces(
        "tool", cells, cells, Path(), X, batches, np.empty((0, 2), int), seed=0, threads=1
    )
    assert [list(rows) for rows in spaces.rows_of_batches()] == [[1, 3, 6], [0, 4], [2, 5]]
    np.testing.assert_array_equal(
        spaces.in_order([X[rows] for rows in spaces.rows_of_batches()]), X
    )


# ------------------------------------------------------------------------------ two modalities


@pytest.fixture(scope="module")
def crossing(tmp_path_factory) -> Crossing:
    return write_crossing(tmp_path_factory.mktemp("crossing"))


def files_of(crossing: Crossing) -> dict[str, Path]:
    prepared = crossing.prepared
    return {
        "reference": prepared.reference, "query": prepared.query, "truth": prepared.truth,
        "peaks": crossing.peaks, "annotation": crossing.annotation,
    }  # fmt: skip


def test_the_same_cells_are_paired_by_their_names(crossing, prepared):
    files = files_of(crossing)
    pairs = paired_cells(files["reference"], files["query"])
    ids = [exchange.Cells(files[side]).ids for side in ("reference", "query")]
    assert len(pairs) == len(ids[0])
    assert list(ids[0][pairs[:, 0]]) == list(ids[1][pairs[:, 1]])
    assert not np.array_equal(pairs[:, 0], pairs[:, 1])
    assert paired_cells(prepared["reference"], prepared["query"]).shape == (0, 2)


def test_a_method_that_reads_peaks_gets_them_with_the_genes_where_they_lie(crossing, tmp_path):
    """Summed over the peaks of a gene, the counts are at least the gene's activity."""
    script = written(
        tmp_path,
        """
        import exchange
        import numpy as np

        def embed(job):
            at_genes = job.peaks.log_values @ job.peaks.table("varm/genes")
            assert (at_genes.toarray() >= job.query.counts.toarray()).all()
            assert list(job.peaks.ids) == list(job.query.ids)
            assert set(job.peaks.feature("chrom")) and len(job.pairs) == 240
            assert list(job.batches) == ["reference"] * 240 + ["query"] * 240
            return at_genes[np.r_[0:240, 0:240]].toarray()

        exchange.run_integration(embed, "numpy")
        """,
    )
    integrate.main(job(files_of(crossing), tmp_path, script, crossing=True, reads="pairs"))
    assert outcome_of(tmp_path)["reason"] == ""


def test_pairs_that_are_not_known_are_a_reason(crossing, prepared, tmp_path):
    script = written(tmp_path, "pass")
    integrate.main(job(prepared, tmp_path, script, crossing=True, reads="pairs"))
    assert "these are different cells" in outcome_of(tmp_path)["reason"]


# ------------------------------------------------------------------------------ planted truth


def test_components_tell_planted_types_across_batches(prepared, tmp_path):
    integrate.main(job(prepared, tmp_path, runs="library"))
    cells = cells_of(prepared)
    (space,) = read_spaces([tmp_path / "tool.h5ad"], cells).values()
    assert right_across(space, cells) > 0.8


def test_components_of_each_side_tell_planted_types_across_modalities(crossing, tmp_path):
    """With genes of mean 0 and variance 1 in either, which every method should do better than."""
    files = files_of(crossing)
    script = written(
        tmp_path,
        """
        import exchange
        import numpy as np

        def embed(job):
            parts = [side.log_values.toarray() for side in (job.reference, job.query)]
            joint = np.concatenate([(X - X.mean(0)) / (X.std(0) + 1e-6) for X in parts])
            return np.linalg.svd(joint, full_matrices=False)[0][:, :10]

        exchange.run_integration(embed, "numpy")
        """,
    )
    integrate.main(job(files, tmp_path, script, crossing=True))
    cells = cells_of(files)
    (space,) = read_spaces([tmp_path / "tool.h5ad"], cells).values()
    chance = cells["label"].value_counts(normalize=True).max()
    assert right_across(space, cells) > chance + 0.3


def test_a_graph_is_laid_out_so_that_its_parts_lie_apart():
    rng = np.random.default_rng(0)
    side = np.repeat([0, 1], 40)
    joined = rng.random((80, 80)) < np.where(side[:, None] == side, 0.4, 0.01)
    graph = sparse.csr_matrix(np.maximum(joined, joined.T).astype(float))
    space = run_bbknn.diffusion_map(graph, 5, seed=0)
    assert space.shape == (80, 5)
    assert len(set((space[:, 0] > 0)[side == 0])) == 1
    assert (space[side == 0, 0] > 0).all() != (space[side == 1, 0] > 0).all()
