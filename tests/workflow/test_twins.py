"""Every data set of the paper from download to labels, on its miniature twin.

The shipped configuration is used as it is, but for what belongs to the real files alone: the hosts
(a local server of the twin), checksums, sizes and counts. What comes after the prepared cells is
the same for all data sets: one with places on a slide goes on to the annotated query by the
workflow, the others by the library. `make test-paper` takes all of them to the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import yaml

import plkd
from project import REPOSITORY, SETTINGS, snakemake
from serving import serving
from twins.common import Truth
from twins.configured import expected_cells, for_twin
from twins.registry import WRITERS, write_twin

pytestmark = pytest.mark.workflow

N_CELLS = {"dlpfc": 600}
TO_THE_END = ("dlpfc",)
# Few tokens and short trainings: what is tested here is the path, not the model.
TRAINING = {"min_steps": 100, "learning_rate": 0.01}
QUICK = {
    **SETTINGS,
    "mask": {"min_genes": 3, "max_pathways": 60},
    "teacher_training": TRAINING,
    "student_training": TRAINING,
}
# Accuracy that random labels would be far from; accessibility names types less well.
LEAST_ACCURACY = {"rna": 0.75, "atac": 0.5}


@dataclass
class Finished:
    """A finished run on a twin.

    Of a file with several data sets (within expression, within accessibility, across) all are
    prepared, and the last one goes on to labels.
    """

    truth: Truth
    datasets: dict[str, dict[str, Any]]
    labelled: str
    results: Path
    asked: list[str]

    @property
    def prepared(self) -> Path:
        """Folder of the prepared cells that go on to labels."""
        return self.results / self.labelled / "prepared"

    @property
    def annotated(self) -> Path:
        """The annotated query, of those data sets that go on so far."""
        if self.truth.name not in TO_THE_END:
            pytest.skip("goes on to labels by the library")
        return self.results / self.labelled / "default" / "seed0" / "annotated.h5ad"

    @cached_property
    def predicted(self) -> pd.Series:
        """The label of every cell of the query by its name."""
        if self.truth.name in TO_THE_END:
            obs = ad.read_h5ad(self.annotated).obs
            return obs["plkd_label"].astype(str)
        model = plkd.train(
            self.prepared / "reference.h5ad",
            "label",
            gene_sets=self.results / self.labelled / "default" / "mask" / "gene_sets.gmt",
            prepare={"n_genes": "all"},
            preset=QUICK["preset"],
            overrides={name: value for name, value in QUICK.items() if name != "preset"},
            progress=False,
        )
        table = plkd.annotate(self.prepared / "query.h5ad", model, progress=False)
        return table.set_index("cell_id")["label"]


# one worker for each, so that its run is made once
@pytest.fixture(
    scope="module",
    params=[pytest.param(one, marks=pytest.mark.xdist_group(f"twin.{one}")) for one in WRITERS],
)
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    name = request.param
    root = tmp_path_factory.mktemp(name)
    truth = write_twin(name, root / "www", n_cells=N_CELLS.get(name, 500), seed=1)
    shipped = yaml.safe_load((REPOSITORY / "config" / "datasets" / f"{name}.yaml").read_text())
    datasets = {
        content["name"]: for_twin(content, truth)
        for content in (shipped if isinstance(shipped, list) else [shipped])
    }
    project = root / "project"
    (project / "config").mkdir(parents=True)
    with serving(root / "www") as server:
        config = {
            "datasets": list(datasets.values()),
            "variants": {"default": QUICK},
            "url_rewrites": {"https://": server.url, "http://": server.url},
        }
        (project / "config" / "config.yaml").write_text(yaml.safe_dump(config))
        labelled = list(datasets)[-1]
        targets = [f"results/{one}/prepared/report.json" for one in datasets]
        if name in TO_THE_END:
            targets.append(f"results/{labelled}/default/seed0/annotated.h5ad")
        else:
            targets.append(f"results/{labelled}/default/mask/mask.npz")
        run = snakemake("-s", str(REPOSITORY / "Snakefile"), *targets, folder=project)
    assert run.returncode == 0, run.stdout
    return Finished(truth, datasets, labelled, project / "results", server.asked)


def test_counts_are_those_of_the_twin(finished: Finished) -> None:
    for name, content in finished.datasets.items():
        prepared = finished.results / name / "prepared"
        reference = ad.read_h5ad(prepared / "reference.h5ad")
        truth = pd.read_parquet(prepared / "truth.parquet")
        both = pd.concat([reference.obs["label"].astype(str), truth["label"]])
        assert both.value_counts().to_dict() == content["expected"]["error"]["labels"]


def test_every_spelling_of_a_label_survives(finished: Finished) -> None:
    planted = set(next(iter(finished.truth.simulations.values())).design.labels)
    for name, content in finished.datasets.items():
        assert set(content["expected"]["error"]["labels"]) == planted
        prepared = ad.read_h5ad(finished.results / name / "prepared" / "reference.h5ad")
        assert set(prepared.obs["label"]) == planted
    assert set(finished.predicted) <= planted


def test_batches_are_split_as_the_paper_says(finished: Finished) -> None:
    said = {
        "bmmc": (
            {"s1d1", "s1d2", "s1d3", "s2d1", "s2d4", "s2d5"},
            {"s3d3", "s3d6", "s3d7", "s3d10", "s4d1", "s4d8", "s4d9"},
        ),
        "pan_cancer": (
            {"ESCA", "THCA", "UCEC"},
            {"KIDNEY", "LYM", "MYE", "OV-FTC", "PAAD", "CRC"},
        ),
        "dlpfc": (
            {"151507", "151508", "151509", "151510", "151669", "151670"},
            {"151671", "151672", "151673", "151674", "151675", "151676"},
        ),
    }
    if finished.truth.name not in said:
        pytest.skip("the paper does not say how this data set is split")
    prepared = finished.results / finished.truth.name / "prepared"
    found = tuple(
        set(ad.read_h5ad(prepared / f"{side}.h5ad").obs["batch"].astype(str))
        for side in ("reference", "query")
    )
    assert found == said[finished.truth.name]


def test_labels_are_right_for_most_cells(finished: Finished) -> None:
    content = finished.datasets[finished.labelled]
    predicted = finished.predicted
    truth = true_labels(finished, content, predicted.index)
    accuracy = (predicted.to_numpy() == truth).mean()
    source = content.get("query", content["reference"])
    assert accuracy > LEAST_ACCURACY["atac" if "gene_activity" in source else "rna"]


def test_annotated_cells_are_the_query(finished: Finished) -> None:
    name = finished.labelled
    content = finished.datasets[name]
    annotated = ad.read_h5ad(finished.annotated)
    truth = pd.read_parquet(finished.results / name / "prepared" / "truth.parquet")
    assert set(annotated.obs_names) == set(truth["cell_id"])
    if "query" in content:
        assert annotated.n_obs == len(expected_cells(content, "query", finished.truth))
    spelled = annotated.obs[content.get("query", content["reference"])["labels_key"]]
    np.testing.assert_array_equal(
        spelled.astype(str), truth.set_index("cell_id").loc[annotated.obs_names, "label"]
    )


def test_coordinates_arrive_at_the_end(finished: Finished) -> None:
    if finished.truth.name != "dlpfc":
        pytest.skip("no coordinates")
    annotated = ad.read_h5ad(finished.annotated)
    table = finished.truth.cells["rna"].set_index(arriving_ids(finished.truth.cells["rna"]))
    expected = table.loc[annotated.obs_names, ["x", "y"]]
    np.testing.assert_allclose(annotated.obsm["spatial"], expected, atol=0.51)  # whole pixels


def test_nothing_was_fetched_from_elsewhere(finished: Finished) -> None:
    served = {url.split("://")[1] for url in finished.truth.files}
    asked = {path.split('"')[0].lstrip("/") for path in finished.asked}
    assert asked
    assert asked <= served


def true_labels(finished: Finished, content: Mapping[str, Any], ids: pd.Index) -> np.ndarray:
    """The planted labels of annotated cells."""
    source = content.get("query", content["reference"])
    table = finished.truth.cells["atac" if "gene_activity" in source else "rna"]
    return table.set_index(arriving_ids(table)).loc[ids, "label"].to_numpy()


def arriving_ids(table: pd.DataFrame) -> pd.Index:
    """Ids that cells get: where files are assembled they begin with the name of the file."""
    return table.index if "file" not in table else pd.Index(table["file"] + ":" + table.index)
