"""The workflow is found and plans jobs from wherever it is started."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from snakemake.cli import get_argument_parser

from plkd.pipeline.methods import read_registry
from project import (
    REPOSITORY,
    WITH_JURY,
    Project,
    copy_workflow,
    make_project,
    planned_jobs,
    planned_rules,
    snakemake,
)

pytestmark = pytest.mark.workflow
STAGES = {"download", "prepare", "mask", "teacher", "student", "predict", "annotate", "evaluate"}


def test_dry_run_from_the_root_lists_every_stage(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    for name in files:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, checkout / name, follow_symlinks=False)
    dry_run = snakemake("-n", folder=checkout)
    assert planned_rules(dry_run).keys() >= STAGES
    assert "profiles/default" in dry_run.stdout  # the workflow's own profile is used


def test_one_command_benchmarks_all_that_pip_can_install(tmp_path: Path) -> None:
    """`make benchmark`, of a configuration with the methods that it names."""

    def methods(*variables: str) -> set[str]:
        printed = subprocess.run(
            ["make", "-n", "-C", REPOSITORY, "benchmark", *variables],
            capture_output=True, text=True, check=True,
        ).stdout.splitlines()  # fmt: skip
        (command,) = [line for line in printed if line.startswith("snakemake ")]
        arguments = shlex.split(command)[1:]
        dry_run = snakemake("-n", "-s", str(REPOSITORY / "Snakefile"), *arguments, folder=tmp_path)
        jobs = [job for job in planned_jobs(dry_run) if job["rule"].startswith("method")]
        return {re.search(r"method=(\w+)", job["wildcards"])[1] for job in jobs}

    registry = read_registry(REPOSITORY / "config" / "methods.tsv")
    pip = registry.index[registry["runs"] == "pip"]
    controls = {"majority", "random"}
    assert methods() >= {*pip, "linear_svm", "actinn", *controls}
    (tmp_path / "mine.yaml").write_text("methods: [linear_svm]")
    assert methods("CONFIG=mine.yaml") == {"linear_svm", *controls}


def test_finished_models_label_all_queries_without_training(tmp_path: Path) -> None:
    for name in ("one.h5ad", "two.h5ad", "model/model.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in ("student", "background"):
        (tmp_path / "model" / f"{name}.safetensors").touch()
    queries = {name: f"{name}.h5ad" for name in ("one", "two")}
    content = {"annotate_only": {"models": {"a": "model", "b": "model"}, "queries": queries}}
    (tmp_path / "my_queries.yaml").write_text(yaml.safe_dump(content))
    dry_run = snakemake(
        "-n", "-s", str(REPOSITORY / "Snakefile"), "--configfile", "my_queries.yaml",
        "--", "annotate_only", folder=tmp_path,
    )  # fmt: skip
    assert planned_rules(dry_run) == {"annotate_only": 1, "label_query": 4, "total": 5}


@pytest.mark.parametrize("entry", ["Snakefile", "workflow/Snakefile"])
def test_dry_run_from_another_folder(tmp_path: Path, entry: str) -> None:
    dry_run = snakemake("-n", "-s", str(REPOSITORY / entry), folder=tmp_path)
    assert planned_rules(dry_run).keys() >= STAGES


def test_as_a_module_with_another_prefix(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(
        f"""
module plkd:
    snakefile: "{REPOSITORY}/workflow/Snakefile"
    config: {{"seeds": [3]}}
    prefix: "annotation"

use rule * from plkd as plkd_*

rule everything:
    default_target: True
    input: rules.plkd_all.input
"""
    )
    dry_run = snakemake("-n", folder=tmp_path)
    assert planned_rules(dry_run).keys() >= {f"plkd_{stage}" for stage in STAGES}
    assert "annotation/results/pbmc68k/default/seed3/annotated.h5ad" in dry_run.stdout


@pytest.mark.parametrize("profile", ["default", "slurm", "gpu"])
def test_profiles_are_found_and_valid(profile: str) -> None:
    path = REPOSITORY / "profiles" / profile / "profile.yaml"
    assert yaml.safe_load(path.read_text())
    # conda may be absent where the tests run; everything else of the profile is checked
    options = ["--software-deployment-method", "env-modules"]
    dry_run = snakemake("-n", "--profile", f"profiles/{profile}", *options, folder=REPOSITORY)
    assert dry_run.returncode == 0, dry_run.stdout


def test_the_profile_of_kubernetes_is_valid() -> None:
    """As far as can be told without its plugin, where that is not installed."""
    content = yaml.safe_load((REPOSITORY / "profiles" / "kubernetes" / "profile.yaml").read_text())
    of_plugins = ("kubernetes-", "storage-s3-")
    parser = get_argument_parser()
    options = {name.lstrip("-") for action in parser._actions for name in action.option_strings}
    assert {key for key in content if not key.startswith(of_plugins)} <= options
    if find_spec("snakemake_executor_plugin_kubernetes"):
        no_bucket = ("--default-storage-provider", "none", "--default-storage-prefix", "")
        dry_run = snakemake("-n", "--profile", "profiles/kubernetes", *no_bucket, folder=REPOSITORY)
        assert dry_run.returncode == 0, dry_run.stdout


def test_a_job_that_is_tried_again_is_given_more_time(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text("rule one:\n    output: 'one'\n    shell: 'false'\n")
    profile = str(REPOSITORY / "profiles" / "slurm")
    ended = snakemake("--profile", profile, "--executor", "local", folder=tmp_path)
    assert set(re.findall(r"\bruntime=(\d+)", ended.stdout)) == {"60", "120", "180"}


def test_steps_are_grouped_alike_wherever_they_go() -> None:
    slurm, kubernetes = (
        yaml.safe_load((REPOSITORY / "profiles" / name / "profile.yaml").read_text())
        for name in ("slurm", "kubernetes")
    )
    for key in ("groups", "group-components", "cores", "resources"):
        assert slurm[key] == kubernetes[key]


@pytest.fixture(scope="module")
def on_a_gpu(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """A dry run on Slurm with GPUs, of one run and other methods, one without weights."""
    project = make_project(tmp_path_factory.mktemp("gpu"))
    project.configure(
        variants={"default": WITH_JURY},
        methods=["actinn", "logistic_regression", "scgpt"],
        device="cuda",
    )
    return project.snakemake("-n", "--profile", str(REPOSITORY / "profiles" / "slurm"))


def test_what_runs_on_a_gpu_asks_for_one(
    on_a_gpu: subprocess.CompletedProcess[str], jobs: list[dict[str, str]]
) -> None:
    asking = {
        (job["rule"], re.findall(r"method=(\w+)", job.get("wildcards", ""))[-1:] == ["actinn"])
        for job in planned_jobs(on_a_gpu)
        if "gpu=1" in job.get("resources", "")
    }
    ours = {"teacher", "cross_fit", "student", "predict", "pathways"}
    assert asking == {*((rule, False) for rule in ours), ("method_of_seed", True)}
    # `auto` takes a GPU that it finds, and asks for none
    assert not any("gpu" in job.get("resources", "") for job in jobs)


def test_a_pod_with_a_gpu_has_a_limit_of_them(project: Project) -> None:
    """Kubernetes refuses others; the plugin writes limits where `scale` is 0, not by itself."""
    profile = REPOSITORY / "profiles" / "kubernetes" / "profile.yaml"
    defaults = yaml.safe_load(profile.read_text())["default-resources"]
    project.configure(device="cuda")
    given = [f"{name}={value}" for name, value in defaults.items()]
    dry_run = project.snakemake("-n", "--default-resources", *given, "--", "labels")
    asked = [set(job["resources"].split(", ")) for job in planned_jobs(dry_run)]
    on_gpus = [resources for resources in asked if "gpu=1" in resources]
    assert on_gpus
    assert all({"scale=0", "gpu_manufacturer=nvidia"} <= resources for resources in on_gpus)


def test_what_only_puts_parts_together_asks_for_no_gpu(project: Project) -> None:
    project.configure(device="cuda", scatter=2)
    asked = {
        (job["rule"], re.findall(r"model=(\w+)", job.get("wildcards", ""))[-1])
        for job in planned_jobs(project.snakemake("-n", "--", "labels"))
        if job["rule"].startswith("predict") and "gpu=1" in job["resources"]
    }
    # the Teacher's also embeds the reference, for the map
    parts = {("predict_part", "student"), ("predict_part", "teacher")}
    assert asked == parts | {("predict", "teacher")}


def test_what_has_nothing_to_run_is_run_once_and_takes_next_to_nothing(
    on_a_gpu: subprocess.CompletedProcess[str],
) -> None:
    jobs = [
        (job["rule"], job["resources"])
        for job in planned_jobs(on_a_gpu)
        if "method=scgpt" in job.get("wildcards", "")
    ]
    assert [rule for rule, _ in jobs] == ["method"]  # not `method_of_seed`, though it draws
    assert "mem_mb=500" in jobs[0][1]


def test_steps_of_seconds_go_to_slurm_together(
    on_a_gpu: subprocess.CompletedProcess[str],
) -> None:
    groups = re.findall(r"Group job (\w+)", on_a_gpu.stdout)
    assert sorted(groups) == ["explanations", "labels", "prepare", "scores", "tables"]
    alone = {job["rule"] for job in planned_jobs(on_a_gpu)}
    grouped = set(re.findall(r"^ {4}rule (\w+):", on_a_gpu.stdout, flags=re.MULTILINE))
    # nothing that trains, asks for a GPU, or runs another tool is held up by others
    assert not grouped & alone
    assert alone >= {"mask", "teacher", "student", "predict", "method", "method_of_seed"}
    assert len(grouped) > len(alone - {"download", "summary", "html_report", "default"})


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """A dry run of the paper, with nothing on this machine."""
    folder = tmp_path_factory.mktemp("paper")
    configuration = str(REPOSITORY / "config" / "paper.yaml")
    workflow = ("-s", str(REPOSITORY / "Snakefile"))
    return snakemake("-n", "--configfile", configuration, *workflow, "--", "paper", folder=folder)


@pytest.fixture(scope="module")
def jobs(
    paper: subprocess.CompletedProcess[str], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, str]]:
    """Jobs of every rule of the workflow."""
    project = make_project(tmp_path_factory.mktemp("project"))
    lists = {"markers": {"url": "markers.gmt"}, "known_pathways": {"url": "markers.gmt"}}
    finished = {"models": {"a": "results/simulated/default/seed0/model"}}
    finished["queries"] = {"b": "query.h5ad"}
    more = {"annotate_only": finished, "scatter": 2, "robustness": {"label_noise": [0.1]}}
    project.configure({**lists, "spatial": True}, seeds=[0, 1], **more)
    found = planned_jobs(paper) + planned_jobs(project.snakemake("-n"))
    found += planned_jobs(project.snakemake("-n", "--", "annotate_only", "robustness"))
    listed = snakemake(
        "--list-rules", "-s", str(project.workflow / "Snakefile"), folder=project.folder
    )
    rules = set(re.findall(r"^\w+$", listed.stdout, flags=re.MULTILINE))
    named_targets = {"all", "default", "labels", "interpretation", "benchmark", "paper_plan"}
    named_targets |= {"annotate_only", "robustness", "method_environments"}
    assert {job["rule"] for job in found} | named_targets >= rules > {"assemble", "stability"}
    return [job for job in found if job["rule"] not in ("annotate_only", "robustness")]


def test_every_job_says_what_it_needs(jobs: list[dict[str, str]]) -> None:
    for job in jobs:
        if job["rule"] not in ("all", "default"):
            assert {"log", "benchmark", "output", "resources"} <= set(job), job
            assert re.search(r"mem_mb=\d+|mem_mb=<TBD>", job["resources"]), job
        if job["rule"] in THROUGH_ALL_CELLS:
            assert re.search(r"runtime=\d+|runtime=<TBD>", job["resources"]), job


# What becomes long with many cells.
THROUGH_ALL_CELLS = {"assemble", "gene_activity", "prepare", "perturb", "predict", "annotate"}
THROUGH_ALL_CELLS |= {"teacher", "student", "cross_fit", "query_page", "evaluate", "true_labels"}


RUN = "results/simulated/default/seed0"
# Sizes of files as those of nine million reference and nine million query cells, in MB.
RAW_MB, PREPARED_MB = 20_000, 10_000
LARGE = {
    **{f"resources/datasets/simulated/{side}.h5ad": RAW_MB for side in ("reference", "query")},
    **{f"results/simulated/prepared/{side}.h5ad": PREPARED_MB for side in ("reference", "query")},
    "results/simulated/prepared/truth.parquet": 130,
    **{f"{RUN}/predictions/{model}.parquet": 1_700 for model in ("student", "teacher")},
    f"{RUN}/embeddings/student.h5ad": 2_500,
    f"{RUN}/embeddings/teacher.h5ad": 5_000,
}


def empty_file(path: Path, mb: float) -> None:
    """A file that has a size, and takes no room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(int(mb * 2**20))


def asked_of(dry_run: subprocess.CompletedProcess[str], what: str) -> dict[str, int]:
    """The most that jobs of each rule ask for."""
    found: dict[str, int] = {}
    for job in planned_jobs(dry_run):
        said = re.search(rf"\b{what}=(\d+)", job.get("resources", ""))
        if said:
            found[job["rule"]] = max(found.get(job["rule"], 0), int(said[1]))
    return found


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """A dry run of everything again on large files, as if all had been made before."""
    project = make_project(tmp_path_factory.mktemp("large"))
    project.configure({"spatial": True}, methods=["linear_svm"], integration=["pca"])
    for name, mb in LARGE.items():
        empty_file(project.folder / name, mb)
    dry_run = project.snakemake("-n", "--forceall")
    assert dry_run.returncode == 0, dry_run.stdout
    return dry_run


def test_steps_ask_for_what_they_hold(large: subprocess.CompletedProcess[str]) -> None:
    """Of 18 million cells: in memory, in pieces, or a sample and what is said of all of them."""
    asked = asked_of(large, "mem_mb")
    assert asked["method_of_seed"] > 8 * 2 * PREPARED_MB
    most = {"prepare": 2.1 * RAW_MB, "predict": 3.2 * PREPARED_MB, "annotate": 1.5 * RAW_MB}
    most |= {"mask": 5_000, "evaluate_figures": 5_000, "pathways": 8_000, "true_labels": 10_000}
    said = ("map_cells", "embedding_figure", "predicted_figures", "attribute_genes", "evaluate")
    said += ("integration", "integration_scores", "own_integration_scores", "query_page")
    most |= dict.fromkeys(said, 2 * 2 * PREPARED_MB)
    assert {rule: asked[rule] for rule in most if not asked[rule] <= most[rule]} == {}


def test_large_inputs_are_given_time(large: subprocess.CompletedProcess[str]) -> None:
    asked = asked_of(large, "runtime")
    for rule, mb in {"prepare": 2 * RAW_MB, "predict": 2 * PREPARED_MB, "annotate": RAW_MB}.items():
        assert 60 + 0.005 * mb < asked[rule] < 60 + 0.02 * mb, rule
    assert asked["teacher"] > 60
    for rule in ("evaluate", "true_labels"):
        assert 60 + 0.005 * PREPARED_MB < asked[rule] < 60 + 0.02 * PREPARED_MB, rule


def test_steps_before_a_run_are_given_time_and_memory(tmp_path: Path) -> None:
    """What is put together of published files, and genes of open chromatin."""
    project = make_project(tmp_path / "project")
    files = {"in_pieces": "peaks.h5ad", "fragments": "fragments.tsv.gz", "whole": "peaks.h5"}
    for folder, name in [("assembled", "a.h5ad"), ("assembled", "b.h5ad"), *files.items()]:
        empty_file(project.folder / name, 0)
        empty_file(project.folder / "resources" / "datasets" / folder / name, 10_000)
    (project.folder / "genes.bed").write_text("chr1\t0\t100\tA\t0\t+\n")
    activity = {"annotation": {"url": "genes.bed"}}
    of_peaks = {"gene_activity": activity}
    of_fragments = {"gene_activity": {**activity, "rule": "signac"}}
    project.configure(
        {
            "name": "assembled",
            "cells": {"files": [{"url": f"{one}.h5ad", "name": one} for one in "ab"]},
            "reference": {"labels_key": "cell_type"},
            "query": {},
        },
        {"name": "in_pieces", "query": {"url": files["in_pieces"], **of_peaks}},
        {"name": "fragments", "query": {"url": files["fragments"], **of_fragments}},
        {"name": "whole", "query": {"url": files["whole"], **of_peaks}},
    )
    planned = project.snakemake("-n")
    assert planned.returncode == 0, planned.stdout
    minutes = asked_of(planned, "runtime")
    assert minutes["assemble"] == 60 + 0.01 * 20_000
    assert minutes["gene_activity"] == 60 + 0.02 * 10_000
    memory = {
        job["wildcards"]: int(re.findall(r"\bmem_mb=(\d+)", job["resources"])[0])
        for job in planned_jobs(planned)
        if job["rule"] == "gene_activity"
    }
    found = {name.partition("=")[2].partition(",")[0]: mb for name, mb in memory.items()}
    assert found == {"in_pieces": 11_200, "fragments": 11_200, "whole": 81_200}


def test_folders_are_counted_with_what_lies_in_them(tmp_path: Path) -> None:
    """A 10x matrix is read whole, zarr piece by piece."""
    project = make_project(tmp_path / "project")
    empty_file(project.folder / "matrix" / "matrix.mtx.gz", 2_000)
    empty_file(project.folder / "query.zarr" / "X" / "0", 3_000)
    reference = {"url": "matrix", "labels_key": "cell_type"}
    project.configure({"reference": reference, "query": {"url": "query.zarr"}})
    asked = asked_of(project.snakemake("-n"), "mem_mb")["prepare"]
    assert 0 <= asked - (8 * 2_000 + 3_000) < 2_000


@pytest.mark.parametrize(
    ("dataset", "most"),
    [({}, 3_000), ({"query": {"url": "query.h5ad", "keep": {"batch": ["b1"]}}}, 20_000)],
)
def test_a_query_of_some_cells_is_copied_from_memory(
    tmp_path: Path, dataset: dict[str, object], most: int
) -> None:
    project = make_project(tmp_path / "project")
    project.configure(dataset)
    empty_file(project.folder / "resources/datasets/simulated/query.h5ad", 2_000)
    asked = asked_of(project.snakemake("-n", "--", "labels"), "mem_mb")
    assert most / 2 < asked["annotate"] < most


@pytest.mark.parametrize(("query", "most"), [("cells.h5ad", 5_000), ("cells.h5", 30_000)])
def test_what_cannot_be_read_in_pieces_is_given_memory(
    tmp_path: Path, query: str, most: int
) -> None:
    for name in ("model/model.json", "model/student.safetensors", "model/background.safetensors"):
        empty_file(tmp_path / name, 0)
    empty_file(tmp_path / query, 3_000)
    content = {"annotate_only": {"models": {"a": "model"}, "queries": {"b": query}}}
    (tmp_path / "my_queries.yaml").write_text(yaml.safe_dump(content))
    dry_run = snakemake(
        "-n", "-s", str(REPOSITORY / "Snakefile"), "--configfile", "my_queries.yaml",
        "--", "annotate_only", folder=tmp_path,
    )  # fmt: skip
    assert 0.8 * most < asked_of(dry_run, "mem_mb")["label_query"] <= most


def test_a_method_is_ended_by_its_limit_before_a_cluster_ends_the_job(project: Project) -> None:
    limits = {"seconds": 600, "methods": {"celltypist": {"seconds": 7200, "memory_mb": 3000}}}
    project.configure(methods=["celltypist", "xgboost", "linear_svm"], limits=limits)
    asked = {
        re.search(r"method=(\w+)", job["wildcards"])[1]: {
            key: int(re.search(rf"\b{key}=(\d+)", job["resources"])[1])
            for key in ("mem_mb", "runtime")
        }
        for job in planned_jobs(project.snakemake("-n"))
        if job["rule"].startswith("method")
    }
    assert asked["celltypist"]["runtime"] > 120
    assert asked["celltypist"]["mem_mb"] > 3000
    assert 10 < asked["xgboost"]["runtime"] < 60
    assert asked["xgboost"]["mem_mb"] > 16000
    assert asked["linear_svm"]["mem_mb"] < 3000  # as is known of our own


def test_environments_of_methods_are_made_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each once, and what cannot be made is said, and the rest made all the same."""
    project = make_project(tmp_path / "project", copy_workflow(tmp_path / "workflow"))
    project.configure(methods=["linear_svm", "celltypist", "celltypist_voting", "xgboost"])
    place = project.workflow / "envs" / "methods"
    place.joinpath("celltypist.lock").write_text("# of no packages\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    ended = project.snakemake("--", "method_environments")
    assert ended.returncode == 1
    assert "'xgboost' could not be installed" in ended.stdout
    made = [one for one in project.folder.joinpath("environments").iterdir() if one.is_dir()]
    assert [one.name.split("-")[0] for one in made] == ["celltypist"]
    place.joinpath("xgboost.lock").write_text("# of no packages\n")
    ended = project.snakemake("--", "method_environments")
    assert ended.returncode == 0, ended.stdout


def test_only_the_evaluation_reads_the_truth(jobs: list[dict[str, str]]) -> None:
    readers = {job["rule"] for job in jobs if "truth.parquet" in job.get("input", "")}
    evaluating = {"true_labels", "evaluate", "evaluate_figures", "embedding_figure"}
    evaluating |= {"spatial_scores", "perturb"}
    for name in ("integration_scores", "omics_scores"):
        evaluating |= {name, f"{name}_of_seed", f"own_{name}"}
    assert "evaluate" in readers
    drawn = {"spatial_figure", "query_page", "predicted_figures"}  # beside what was said
    asked = {"summary", "default"}  # that every output is there; of them the scores alone are read
    assert readers <= evaluating | drawn | asked


CONFIGURATIONS = set(REPOSITORY.glob("config/*.yaml"))
CONFIGURATIONS.remove(REPOSITORY / "config" / "paper.yaml")  # minutes; the fixture `paper` plans it


@pytest.mark.parametrize("path", sorted(CONFIGURATIONS), ids=lambda path: path.stem)
def test_shipped_configurations_are_valid(tmp_path: Path, path: Path) -> None:
    dry_run = snakemake(
        "-n",
        "--configfile", str(path),
        "-s", str(REPOSITORY / "Snakefile"),
        "--config", f"data_folder={tmp_path}",
        folder=tmp_path,
    )  # fmt: skip
    if dry_run.returncode:  # the data is not there: that, and nothing else, is wrong
        assert "MissingInputException" in dry_run.stdout
        assert ".h5ad" in dry_run.stdout
    else:  # it is installed, or downloaded
        assert planned_rules(dry_run).keys() >= STAGES
    assert "InputFunctionException" not in dry_run.stdout


def test_the_data_sets_of_the_paper_are_planned(paper: subprocess.CompletedProcess[str]) -> None:
    """All of Table 1, from the publishers' addresses, and the draws of Figure 7."""
    planned = planned_rules(paper)
    assert planned["prepare"] == 15
    assert planned["imbalanced_draws"] == 1  # which are prepared when it is known what cells allow
    assert planned["assemble"] == 2
    assert planned["gene_activity"] == 9  # once where both sides are of one file
    names = {
        one.get("paper_name")
        for entry in yaml.safe_load((REPOSITORY / "config" / "paper.yaml").read_text())["datasets"]
        for content in [yaml.safe_load((REPOSITORY / entry).read_text())]
        for one in (content if isinstance(content, list) else [content])
    }
    table = (REPOSITORY / "resources" / "paper" / "table1.tsv").read_text().splitlines()[1:]
    assert names == {line.split("\t")[0] for line in table}


def test_from_a_hosted_repository(tmp_path: Path) -> None:
    """The scripts find the library beside them in Snakemake's cache of a remote repository."""
    if not (REPOSITORY / ".git").exists():
        pytest.skip("the tests do not run in a git repository")
    cache = tmp_path / "cache"
    # where Snakemake keeps its clone; with this one in place it asks no server
    clones = cache / "snakemake/snakemake/source-cache/snakemake-git-cache/github.com"
    (clones / "owner").mkdir(parents=True)
    clone = clones / "owner" / "plkd"
    subprocess.run(["git", "clone", "-q", "--bare", str(REPOSITORY), str(clone)], check=True)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=clone, capture_output=True, text=True, check=True
    ).stdout.strip()
    (tmp_path / "Snakefile").write_text(
        f"""
module plkd:
    snakefile: github("owner/plkd", path="workflow/Snakefile", commit="{head}")
    config: {{"seeds": [0]}}

use rule * from plkd
"""
    )
    done = snakemake(
        "results/pbmc68k/default/mask/mask.npz", folder=tmp_path, XDG_CACHE_HOME=str(cache)
    )
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "results/pbmc68k/default/mask/mask.npz").exists()
