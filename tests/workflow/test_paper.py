"""`make paper` on miniature twins: every cell of every table is filled, or says why it is not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from columns import undocumented
from plkd.paper.claims import VERDICTS
from plkd.paper.numbers import GENE_COLUMNS, RESULT_COLUMNS
from plkd.paper.tables import FIGURE3_COLUMNS
from plkd.paper.verdicts import FAILS, PARTLY
from plkd.utils.tables import read_tsv
from project import REPOSITORY, SETTINGS, make_project, planned_jobs, snakemake
from serving import serving
from twins.configured import for_twin
from twins.registry import WRITERS, write_twin

pytestmark = pytest.mark.workflow

PAPER = REPOSITORY / "config" / "paper.yaml"
SAID = ("table2", "table3", "table4", "table5", "table6", "figure6", "figure7")
# Few tokens and short trainings: what is tested here is the path, not the model.
QUICK = {
    "mask": {"min_genes": 3, "max_pathways": 40},
    "teacher": {"width": 16},
    "student": {"hidden": [32]},
    "teacher_training": {"epochs": 2, "min_steps": 60, "learning_rate": 0.01},
    "student_training": {"epochs": 2, "min_steps": 60, "learning_rate": 0.01},
}


def paper_of_twins(
    names: Sequence[str], folder: Path, *, n_cells: int, change: dict[str, Any]
) -> Path:
    """Run the shipped configuration of the paper, made small, on some twins: the results."""
    config = yaml.safe_load(PAPER.read_text(encoding="utf-8"))
    datasets: dict[str, Any] = {}
    for name in names:
        truth = write_twin(name, folder / "www", n_cells=n_cells, seed=1)
        for file in config["datasets"]:
            if Path(file).stem.removesuffix("_halves") != name:
                continue
            shipped = yaml.safe_load((REPOSITORY / file).read_text(encoding="utf-8"))
            for content in shipped if isinstance(shipped, list) else [shipped]:
                datasets[content["name"]] = for_twin(content, truth)
    config |= {"datasets": list(datasets.values()), **change}
    config["variants"] = {name: quick(one) for name, one in config["variants"].items()}
    project = folder / "project"
    (project / "config").mkdir(parents=True)
    with serving(folder / "www") as server:
        config["url_rewrites"] = {"https://": server.url, "http://": server.url}
        (project / "config" / "config.yaml").write_text(yaml.safe_dump(config))
        arguments = ("-s", str(REPOSITORY / "Snakefile"), "paper")
        run = snakemake(*arguments, folder=project, timeout=7200)
    assert run.returncode == 0, run.stdout
    return project / "results"


def quick(variant: dict[str, Any]) -> dict[str, Any]:
    """A variant with the size of a twin, and its own changes."""
    merged = dict(variant)
    for group, values in QUICK.items():
        if group == "mask" and variant.get("mask", {}).get("kind", "pathways") != "pathways":
            continue
        merged[group] = {**values, **variant.get(group, {})}
    return merged


def explained(table: pd.DataFrame) -> Iterator[bool]:
    """Whether every number of a table is there or says why not."""
    yield from ((table["here"].notna()) | (table["note"] != ""))


def test_what_is_planned_is_what_runs(tmp_path: Path) -> None:
    """Changed variants on the ablated data sets alone; draws of the first variant and seed."""
    project = make_project(tmp_path)
    project.configure(
        {"name": "plain"},
        {"name": "ablated"},
        variants={"ours": SETTINGS, "ours.noise_10": {**SETTINGS, "label_noise": 0.1}},
        seeds=[0, 1],
        ablated=["ablated"],
        imbalance=[
            {
                "dataset": "plain",
                "major": "B cell",
                "minor": ["NK cell"],
                "ratios": [2, 4],
                "draws": 3,
            }
        ],
        integration=["pca"],
    )
    jobs = planned_jobs(project.snakemake("-n", "--", "paper"))
    outputs = " ".join(job["output"] for job in jobs if job["rule"] == "teacher")
    trained = Counter(re.findall(r"results/([^/]+)/([^/]+)/seed\d/costs/teacher", outputs))
    assert trained == {
        ("plain", "ours"): 2, ("ablated", "ours"): 2, ("ablated", "ours.noise_10"): 2,
    }  # fmt: skip
    # which draws the cells allow is not known before these are read
    plan = project.snakemake("--quiet", "all", "--", "paper_plan").stdout
    assert f"in all                 {trained.total() + 6} runs" in plan


@pytest.fixture(scope="module")
def one_twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two modalities of the same cells: annotation across, both kinds of integration."""
    change = {
        "variants": {"fast": {"preset": "fast"}},
        "methods": [],
        "integration": ["pca", "bindsc", "kida"],
        "seeds": [0],
        "ablated": [],
        "imbalance": [
            {
                "dataset": "multiome_10x",
                "major": "CD14 Mono",
                "minor": ["CD16 Mono"],
                "ratios": [2, 500],
                "draws": 1,
            }
        ],
        "interpretation": False,
    }
    folder = tmp_path_factory.mktemp("paper")
    return paper_of_twins(["multiome_10x"], folder, n_cells=300, change=change)


def test_every_cell_is_filled_or_explained(one_twin: Path) -> None:
    for name in SAID:
        table = read_tsv(one_twin / "paper" / f"{name}.tsv", RESULT_COLUMNS)
        assert all(explained(table)), name
        paper = read_tsv(REPOSITORY / "resources" / "paper" / f"{name}.tsv", {"value": float})
        assert set(paper["value"]) == set(table["paper"].dropna())


def test_what_ran_is_there(one_twin: Path) -> None:
    figure6 = read_tsv(one_twin / "paper" / "figure6.tsv", RESULT_COLUMNS)
    overall = figure6[(figure6["measure"] == "overall") & (figure6["condition"] == "")]
    here = overall.set_index(["dataset", "method"])["here"]
    assert here["10x-Multiome", "student"] > 0.3
    assert here["10x-Multiome", "pca"] > 0.3
    notes = overall.set_index(["dataset", "method"])["note"]
    assert "folder not provided" in notes["10x-Multiome", "bindsc"]
    assert "cannot run here: its code" in notes["10x-Multiome", "kida"]
    said = overall.set_index(["dataset", "method"])["paper"]
    assert said["10x-Multiome", "student"] == 0.889
    assert (one_twin / "paper" / "paper.html").stat().st_size > 50_000


def test_figures_lie_beside_the_tables(one_twin: Path) -> None:
    """Those of a run as they were drawn, and their scores; of what was not run a table says so."""
    paper = one_twin / "paper"
    picture = "figure3/multiome_10x/fast.png"
    drawn = one_twin / "multiome_10x" / "fast" / "seed0" / "figures" / "integration"
    for suffix in (".png", ".pdf"):
        assert (paper / picture).with_suffix(suffix).read_bytes() == drawn.with_suffix(
            suffix
        ).read_bytes()
    maps = read_tsv(paper / "figure3.tsv", FIGURE3_COLUMNS)
    assert set(maps["method"]) == {"student", "teacher", "pca"}
    assert set(maps["picture"]) == {picture, "figure3/multiome_10x_halves/fast.png"}
    genes = read_tsv(paper / "figure5.tsv", GENE_COLUMNS)
    assert set(genes["note"]) == {"the data set is not among `datasets`"}
    assert list(undocumented(paper.parent)) == []


def test_the_first_table_is_whole(one_twin: Path) -> None:
    table = read_tsv(one_twin / "paper" / "table1.tsv", {"dataset": str}, others=str)
    said = read_tsv(REPOSITORY / "resources" / "paper" / "table1.tsv", {"dataset": str})
    assert list(dict.fromkeys(table["dataset"])) == list(said["dataset"])
    row = table.set_index("here").loc["multiome_10x"]
    assert int(row["cells difference"]) == int(row["cells"]) - 2 * 9631
    assert ((table["here"] != "") | (table["note"] != "")).all()


def test_tables_name_what_was_left_out(one_twin: Path) -> None:
    """The ablation is of the expression alone, which is another data set."""
    table5 = read_tsv(one_twin / "paper" / "table5.tsv", RESULT_COLUMNS)
    assert set(table5["note"]) == {
        "its gene expression, the data set PBMC, is not among `datasets`"
    }


def test_claims_have_a_verdict_each(one_twin: Path) -> None:
    claims = read_tsv(one_twin / "paper" / "claims.tsv", {"id": str, "verdict": str, "number": str})
    assert set(claims["verdict"]) <= set(VERDICTS)
    assert (claims["number"] != "").all()
    # beside PCA alone, on cells whose labels have been trained on, it cannot simply hold
    assert claims.set_index("id")["verdict"]["best_integration"] in (PARTLY, FAILS)


# Numbers of ours that a twin cannot have: it is too small for frequent types and large ratios.
NOT_OF_TWINS = {
    "table6": {"no type of the query is of this abundance"},
    "figure7": {"`imbalance` does not draw this"},
}


@pytest.mark.paper
def test_the_whole_paper_on_all_twins(tmp_path: Path) -> None:
    change = {
        "seeds": [0, 1],
        "methods": ["library"],  # others would be installed
        "integration": ["pca"],
        # of types that a twin has enough cells of
        "imbalance": [
            {
                "dataset": "pan_cancer",
                "major": "Mono_CD14",
                "minor": ["Mono_CD16"],
                "ratios": [2, 4],
                "draws": 2,
            }
        ],
    }
    results = paper_of_twins(list(WRITERS), tmp_path, n_cells=600, change=change)
    for name in SAID:
        table = read_tsv(results / "paper" / f"{name}.tsv", RESULT_COLUMNS)
        assert all(explained(table)), name
        ours = table[table["method"].isin(["student", "teacher"]) & table["paper"].notna()]
        assert set(ours["note"][ours["here"].isna()]) == NOT_OF_TWINS.get(name, set()), name
    drawn = read_tsv(results / "paper" / "figure7.tsv", RESULT_COLUMNS).query("here == here")
    assert set(drawn["condition"]) >= {"Mono_CD16 2:1", "Mono_CD16 4:1"}
