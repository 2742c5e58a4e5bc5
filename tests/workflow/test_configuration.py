"""What a configuration may say, and how its mistakes are told."""

from __future__ import annotations

import json
import shutil

import anndata as ad
import pytest
import yaml

from plkd.io.ensembl import symbols_of_ids
from project import SETTINGS, Project, planned_jobs, planned_rules

pytestmark = pytest.mark.workflow


@pytest.mark.parametrize(
    ("dataset", "config", "told"),
    [
        (
            {"reference": {"url": "reference.h5ad", "label_key": "cell_type"}},
            {},
            ("data set 'simulated'", "label_key", "did you mean 'labels_key'?"),
        ),
        (
            {"query": {"url": "query.h5ad", "part": {"number": 3, "of": 2}}},
            {},
            ("'query' asks for part 3 of 2: give a 'number' from 1 to 'of'",),
        ),
        ({"query": {"url": "query.h5ad", "part": {"number": 1, "of": 1}}}, {}, ("part", "of")),
        ({"name": ".."}, {}, ("'..'", "cannot be used")),
        ({"name": "benchmark"}, {}, ("'benchmark' is reserved",)),
        ({"description": "x</SCRIPT>"}, {}, ("the text 'x</SCRIPT>'", "the report")),
        ({}, {"variants": {"..": {}}}, ("'..'",)),
        ({}, {"variants": {"../up": {}}}, ("'../up'",)),
        ({}, {"methods": ["linear_smv"]}, ("linear_smv", "did you mean 'linear_svm'?")),
        ({}, {"interpretation": {"axes": "sum"}}, ("interpretation", "did you mean 'axis'?")),
    ],
)
def test_a_mistake_is_told_in_one_line(
    project: Project, dataset: dict, config: dict, told: tuple[str, ...]
) -> None:
    project.configure(dataset, **config)
    ended = project.snakemake("-n")
    assert ended.returncode == 1
    (line,) = [one for one in ended.stdout.splitlines() if "rror" in one]
    assert not [word for word in told if word not in line], line
    assert "common.smk" not in ended.stdout


def test_a_folder_that_is_named_in_vain_is_told(project: Project) -> None:
    project.configure(
        folders={"kida": "kida", "tosica": "tosica", "scgpt": "scgpt"},
        weights={"celllm": "celllm", "scbert": "scbert", "xgboost": "xgboost"},
    )
    told = project.snakemake("-n").stdout
    assert "`folders: kida` has no effect: cannot run here: its code" in told
    assert "`folders: scgpt` has no effect: name it under `weights`" in told
    assert "`weights: celllm` has no effect: cannot run here: its weights are" in told
    assert "`weights: xgboost` has no effect: it needs none of the weights" in told
    assert told.count("has no effect") == 4


def test_paths_are_found_beside_the_configuration(project: Project) -> None:
    elsewhere = project.folder / "elsewhere"
    elsewhere.mkdir()
    for name in ("reference.h5ad", "query.h5ad", "markers.gmt"):
        shutil.move(project.folder / name, elsewhere)
    shutil.move(project.folder / "config" / "config.yaml", elsewhere / "my.yaml")
    prepared = "results/simulated/prepared/report.json"
    ended = project.snakemake("--configfile", "elsewhere/my.yaml", "--", prepared)
    assert (project.folder / prepared).exists(), ended.stdout
    assert ended.stdout.count("'reference.h5ad' is taken from 'elsewhere'") == 1

    # a data set's own file, in a folder of its own
    content = yaml.safe_load((elsewhere / "my.yaml").read_text())
    (elsewhere / "simulated.yaml").write_text(yaml.safe_dump(content["datasets"][0]))
    project.configure()
    path = project.folder / "config" / "config.yaml"
    path.write_text(yaml.safe_dump({"datasets": ["elsewhere/simulated.yaml"]}))
    assert "mask" in planned_rules(project.snakemake("-n"))


def test_paths_of_a_data_set_are_found_beside_its_own_file(project: Project) -> None:
    """Not beside that of another one; what is found twice is told."""
    config = yaml.safe_load((project.folder / "config" / "config.yaml").read_text())
    for name in ("one", "other"):
        (project.folder / name).mkdir()
        for file in ("reference.h5ad", "query.h5ad", "markers.gmt"):
            shutil.copy(project.folder / file, project.folder / name)
        dataset = {**config["datasets"][0], "name": name}
        (project.folder / name / "data.yaml").write_text(yaml.safe_dump(dataset))
    (project.folder / "markers.gmt").unlink()
    (project.folder / "reference.h5ad").unlink()
    (project.folder / "other" / "reference.h5ad").unlink()
    config["datasets"] = ["one/data.yaml"]
    (project.folder / "config" / "config.yaml").write_text(yaml.safe_dump(config))
    planned = project.snakemake("-n")
    assert "mask" in planned_rules(planned)
    assert planned.stdout.count("'markers.gmt' is taken from 'one'") == 1
    told = "'query.h5ad' is taken from the working directory, not 'one/query.h5ad'"
    assert planned.stdout.count(told) == 1

    config["datasets"].append("other/data.yaml")
    (project.folder / "config" / "config.yaml").write_text(yaml.safe_dump(config))
    missing = project.snakemake("-n")
    assert missing.returncode == 1
    assert "Missing input files" in missing.stdout


def test_variants_of_another_file_are_all_that_run(project: Project) -> None:
    project.configure()
    (project.folder / "mine.yaml").write_text(yaml.safe_dump({"variants": {"mine": SETTINGS}}))

    def trained(*arguments: str) -> set[str]:
        jobs = planned_jobs(project.snakemake("-n", *arguments))
        return {job["wildcards"] for job in jobs if job["rule"] == "teacher"}

    run = "dataset=simulated, variant={}, seed=0"
    assert trained() == {run.format("default")}
    assert trained("--configfile", "mine.yaml") == {run.format("mine")}
    assert trained("--config", "variants={said: {preset: fast}}") == {run.format("said")}


def test_masks_without_knowledge_need_no_gene_sets(project: Project) -> None:
    project.configure({"gene_sets": []}, variants={"plain": {"mask": {"kind": "dense"}}})
    assert "mask" in planned_rules(project.snakemake("-n"))
    project.configure({"gene_sets": []})
    ended = project.snakemake("-n")
    assert ended.returncode == 1
    assert "data set 'simulated' has no gene sets, which variant 'default'" in ended.stdout


def test_the_gene_table_that_comes_with_the_library(project: Project) -> None:
    """Genes named by Ensembl ids in the reference, by symbols in the query."""
    ids = {symbol: name for name, symbol in symbols_of_ids("human").items()}
    cells = ad.read_h5ad(project.folder / "reference.h5ad")
    cells.var_names = [ids.get(name, name) for name in cells.var_names]
    cells.write_h5ad(project.folder / "reference.h5ad")
    reference = {"url": "reference.h5ad", "labels_key": "cell_type", "gene_table": "human"}
    project.configure({"reference": reference})
    ended = project.snakemake("--", "results/simulated/prepared/report.json")
    assert ended.returncode == 0, ended.stdout
    report = json.loads((project.folder / "results/simulated/prepared/report.json").read_text())
    assert report["reference"]["gene_names"]["renamed"] > 50
    project.configure({"reference": {**reference, "gene_table": "humans"}})
    ended = project.snakemake("-n")
    assert "did you mean 'human'?" in ended.stdout


def test_a_failed_step_shows_its_error_once(project: Project) -> None:
    project.configure({"query": {"url": "query.h5ad", "batch_key": "donor"}})
    ended = project.snakemake("--", "results/simulated/prepared/report.json")
    assert ended.returncode == 1
    assert ended.stdout.count("obs has no column 'donor'") == 1
    assert "FAILED: prepare" in ended.stdout
    assert "logs/simulated/prepare.log" in ended.stdout
    steps = [line for line in ended.stdout.splitlines() if " of 3  " in line]
    assert len(steps) == 3
    assert len(ended.stdout.splitlines()) < 20


def test_a_method_of_integration_that_draws_runs_with_every_seed(project: Project) -> None:
    """What draws nothing, has no script, or reads peaks of which there are none, runs once."""
    project.configure(integration=["pca", "harmony", "glue", "kida"], seeds=[0, 1])
    planned = project.snakemake("-n")
    assert "Exception" not in planned.stdout  # no rule takes a file that another one makes
    jobs = planned_jobs(planned)
    of_seed = [job["output"] for job in jobs if job["rule"] == "integrate_of_seed"]
    folder = "results/simulated/methods"
    assert sorted(files.split(", ")[0] for files in of_seed) == [
        f"{folder}/seed{seed}/embeddings/harmony.h5ad" for seed in (0, 1)
    ]
    once = [job["output"].split(", ")[0] for job in jobs if job["rule"] == "integrate"]
    assert sorted(once) == [f"{folder}/embeddings/{one}.h5ad" for one in ("glue", "kida", "pca")]
    scored = {job["output"].split(", ")[0]: job["input"] for job in jobs if "output" in job}
    assert f"{folder}/embeddings/pca.h5ad" in scored[f"{folder}/embeddings/integration.tsv"]
    assert "harmony" not in scored[f"{folder}/embeddings/integration.tsv"]
    for seed in (0, 1):
        of_seed = f"{folder}/seed{seed}/embeddings"
        assert f"{of_seed}/harmony.h5ad" in scored[f"{of_seed}/integration.tsv"]
        run = f"results/simulated/default/seed{seed}"
        gathered = scored[f"{run}/evaluation/integration.tsv"]
        for place in (f"{folder}/embeddings", of_seed, f"{run}/embeddings"):
            assert f"{place}/integration.tsv" in gathered, place


def test_spaces_of_other_methods_are_scored_once_for_all_variants(project: Project) -> None:
    variants = {"one": SETTINGS, "two": SETTINGS}
    project.configure(integration=["pca", "harmony"], seeds=[0, 1], variants=variants)
    planned = planned_rules(project.snakemake("-n"))
    assert planned["integration_scores"] == 1
    assert planned["integration_scores_of_seed"] == 2
    assert planned["own_integration_scores"] == planned["integration"] == 4
