"""Simulated cells against the truth that was planted in them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import anndata as ad
import jsonschema
import numpy as np
import pytest
import scanpy as sc
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from plkd.cli import main
from plkd.cli.command import parser as command_line
from plkd.errors import InputError
from plkd.pathways.gene_sets import read_gmt
from plkd.simulation import Simulation, make_design, simulate_cells
from plkd.simulation.project import next_steps


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate_cells(1500, seed=1)


def log_normalised(cells: ad.AnnData) -> ad.AnnData:
    cells = cells.copy()
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    return cells


def test_shape_and_annotations(simulation: Simulation) -> None:
    cells = simulation.cells
    assert cells.shape == (1500, 2000)
    assert cells.X.format == "csr"
    assert cells.X.dtype == np.float32
    assert list(cells.obs) == ["label", "batch"]
    assert cells.obs["label"].nunique() == 8
    assert cells.obs["batch"].value_counts().to_list() == [375] * 4
    assert cells.obs_names.is_unique
    assert (cells.X.data == np.round(cells.X.data)).all()


def test_marginals_are_those_of_single_cells(simulation: Simulation) -> None:
    X = simulation.cells.X
    zeros = 1 - X.nnz / np.prod(X.shape)
    assert 0.80 < zeros < 0.95
    depth = np.asarray(X.sum(axis=1)).ravel()
    assert depth.mean() == pytest.approx(2000, rel=0.03)
    assert 0.3 < np.log(depth).std() < 0.7  # spread within and between batches
    genes = np.sort(np.asarray(X.mean(axis=0)).ravel())[::-1]
    assert 0.1 < genes[:10].sum() / genes.sum() < 0.6  # a few genes take much of the counts
    # over-dispersed: beyond the Poisson variance, by the planted dispersion, within one label
    one = simulation.cells[simulation.cells.obs["label"] == "A1"]
    one = one[one.obs["batch"] == "batch1"].X.toarray()
    common = one.mean(axis=0) > 3
    excess = (one.var(axis=0) - one.mean(axis=0))[common] / one.mean(axis=0)[common] ** 2
    assert np.median(excess) > 0.3


def test_wilcoxon_finds_the_planted_markers(simulation: Simulation) -> None:
    cells = log_normalised(simulation.cells)
    sc.tl.rank_genes_groups(cells, "label", method="wilcoxon", n_genes=40)
    found = cells.uns["rank_genes_groups"]["names"]
    shares = []
    for label, markers in simulation.markers.items():
        assert set(markers[:3]) <= set(found[label]), label
        shares.append(np.isin(markers, found[label]).mean())
        wrong = set(found[label]) & {
            gene for other, genes in simulation.markers.items() if other != label for gene in genes
        }
        assert len(wrong) <= 2, label
    assert np.mean(shares) > 0.85


def test_programmes_separate_the_labels_that_have_them_active(simulation: Simulation) -> None:
    cells = log_normalised(simulation.cells)
    used = {name for names in simulation.active.values() for name in names}
    decoys = [name for name in simulation.programmes if name not in used]
    assert decoys
    assert {len(genes) for genes in simulation.programmes.values()} == {20}

    def standardised_difference(name: str, inside: np.ndarray) -> float:
        mean = cells[:, simulation.programmes[name]].X.toarray().mean(axis=1)
        return (mean[inside].mean() - mean[~inside].mean()) / mean.std()

    labels = cells.obs["label"].to_numpy()
    for name in used:
        owners = [label for label, names in simulation.active.items() if name in names]
        assert standardised_difference(name, np.isin(labels, owners)) > 0.7, name
    by_chance = [
        standardised_difference(name, labels == label) for name in decoys for label in set(labels)
    ]
    assert np.mean(np.abs(by_chance) > 1.5) < 0.05


def test_activity_varies_and_drives_expression(simulation: Simulation) -> None:
    label, names = next(iter(simulation.active.items()))
    inside = simulation.true_labels == label
    column = list(simulation.programmes).index(names[-1])
    activity = simulation.activity[inside, column]
    assert activity.mean() == pytest.approx(1, abs=0.1)
    assert activity.std() == pytest.approx(0.4, abs=0.1)
    cells = log_normalised(simulation.cells[inside])
    expression = cells[:, simulation.programmes[names[-1]]].X.toarray().mean(axis=1)
    assert np.corrcoef(activity, expression)[0, 1] > 0.3


def test_related_labels_differ_in_fewer_genes() -> None:
    design = make_design(n_labels=9)
    levels = design.label_levels()
    lineages = np.array([design.lineages[label] for label in design.labels])
    distances = np.sqrt(((levels[:, None] - levels[None]) ** 2).sum(axis=2))
    related = (lineages[:, None] == lineages[None]) & ~np.eye(9, dtype=bool)
    unrelated = lineages[:, None] != lineages[None]
    assert distances[related].max() < distances[unrelated].min()


@pytest.mark.parametrize(("size", "confounding"), [(0.0, 0.0), (0.2, 0.0), (0.6, 0.0), (0.3, 0.5)])
def test_batch_effect_is_as_large_as_asked(size: float, confounding: float) -> None:
    cells = simulate_cells(
        3000,
        n_labels=1,
        n_batches=2,
        n_genes=400,
        programmes_per_label=0,
        n_markers=0,
        batch_effect=size,
        depth=20_000,
    ).cells
    if confounding == 0:
        levels = np.stack(
            [
                np.asarray(cells[cells.obs["batch"] == name].X.sum(axis=0)).ravel()
                for name in ("batch1", "batch2")
            ]
        )
        often = levels.min(axis=0) > 2000
        ratios = np.log(levels[0, often] / levels[1, often])
        assert ratios.std() == pytest.approx(size * np.sqrt(2), rel=0.15, abs=0.03)
    design = make_design(batch_effect=size, confounding=confounding)
    effect = design.effect_of_batch("batch1")
    assert np.sqrt(np.mean(effect**2)) == pytest.approx(size, rel=0.15)
    levels = design.label_levels()
    differences = (levels[:, None] - levels[None]).reshape(-1, levels.shape[1])
    differences = differences[np.abs(differences).sum(axis=1) > 0]
    if size:
        along = max(np.corrcoef(effect, one)[0, 1] ** 2 for one in differences)
        assert along == pytest.approx(confounding, abs=0.1)


def test_confounded_batches_are_harder() -> None:
    def accuracy(confounding: float) -> float:
        settings = {"batch_effect": 0.4, "confounding": confounding}
        return transfer(
            simulate_cells(600, seed=1, **settings),
            simulate_cells(400, seed=2, batches=["new1", "new2"], **settings),
        )

    assert accuracy(0.5) < accuracy(0.0) - 0.1


def transfer(reference: Simulation, query: Simulation) -> float:
    model = LogisticRegression(C=0.01, max_iter=300)
    model.fit(log_normalised(reference.cells).X, reference.true_labels)
    return (model.predict(log_normalised(query.cells).X) == query.true_labels).mean()


def test_another_draw_with_new_batches_is_a_fair_query(simulation: Simulation) -> None:
    query = simulate_cells(500, seed=2, batches=["new1", "new2"])
    assert query.markers == simulation.markers
    assert query.programmes == simulation.programmes
    assert not set(query.cells.obs_names) & set(simulation.cells.obs_names)
    assert transfer(simulation, query) > 0.9
    other_design = simulate_cells(500, seed=2, design=1)
    assert other_design.markers != simulation.markers
    assert transfer(simulation, other_design) < 0.5


def test_the_same_seed_gives_the_same_cells(simulation: Simulation) -> None:
    again = simulate_cells(1500, seed=1)
    assert (again.cells.X != simulation.cells.X).nnz == 0
    assert again.cells.obs.equals(simulation.cells.obs)
    np.testing.assert_array_equal(again.activity, simulation.activity)
    other = simulate_cells(1500, seed=2)
    assert (other.cells.X != simulation.cells.X).nnz > 0


def test_abundance_runs_from_common_to_rare() -> None:
    counts = simulate_cells(5000, n_genes=500, imbalance=50).cells.obs["label"].value_counts()
    assert 25 < counts.max() / counts.min() < 100
    few = simulate_cells(12, n_genes=500, imbalance=1000).cells.obs["label"]
    assert few.nunique() == 8  # the rarest too
    asked = simulate_cells(4000, n_genes=500, n_labels=2, abundance=[3, 1]).cells.obs["label"]
    assert asked.value_counts(normalize=True)["A1"] == pytest.approx(0.75, abs=0.03)


def test_composition_shifts_between_batches() -> None:
    def spread(shift: float) -> float:
        obs = simulate_cells(4000, n_genes=500, composition_shift=shift).cells.obs
        shares = obs.groupby("batch", observed=True)["label"].value_counts(normalize=True)
        return shares.unstack().std().mean()

    assert spread(1.0) > 3 * spread(0.0)


def test_unseen_labels_and_label_noise() -> None:
    reference = simulate_cells(400, n_genes=500, leave_out=["A2", "B1"])
    assert set(reference.cells.obs["label"]) == {"A1", "A3", "B2", "B3", "C1", "C2"}
    noisy = simulate_cells(1000, n_genes=500, label_noise=0.2).cells.obs
    assert (noisy["label"] != noisy["true_label"]).mean() == 0.2
    clean = simulate_cells(1000, n_genes=500).cells.obs
    assert (clean["label"] == noisy["true_label"]).all()


def test_truth_is_written_and_read_back(simulation: Simulation, tmp_path: Path) -> None:
    simulation.save(tmp_path)
    cells = ad.read_h5ad(tmp_path / "cells.h5ad")
    assert (cells.X != simulation.cells.X).nnz == 0
    sets = read_gmt(tmp_path / "gene_sets.gmt")
    assert {name: list(one.genes) for name, one in sets.items()} == simulation.programmes
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert truth["labels"]["A1"]["markers"] == simulation.markers["A1"]
    assert sum(label["cells"] for label in truth["labels"].values()) == 1500
    used = {name for label in truth["labels"].values() for name in label["active_programmes"]}
    assert used.isdisjoint(truth["decoys"])
    assert used | set(truth["decoys"]) == set(simulation.programmes)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_genes": 50}, "too few"),
        ({"n_programmes": 5}, "programmes are too few"),
        ({"labels": ["a", "a"]}, "named twice"),
        ({"labels": []}, "empty"),
        ({"leave_out": ["Z9"]}, "no label of the design"),
        ({"label_noise": 1.5}, "at most 1"),
        ({"depth": 0}, "more than 0"),
        ({"confounding": 2}, "at most 1"),
        ({"abundance": [1, 2]}, "expected 8 positive"),
        ({"n_labels": 2.5}, "expected int"),
        ({"n_lables": 2}, "unknown key 'n_lables'"),
        ({"n_cells": 0}, "at least 1"),
        ({"design": make_design(), "n_genes": 10}, "setting of the design"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        simulate_cells(**{"n_cells": 20, **wrong})


@given(
    n_labels=st.integers(1, 30),
    per_label=st.integers(0, 4),
    per_lineage=st.integers(1, 5),
    n_markers=st.integers(0, 8),
)
@settings(max_examples=40, deadline=None)
def test_designs_keep_their_promises(
    n_labels: int, per_label: int, per_lineage: int, n_markers: int
) -> None:
    design = make_design(
        n_genes=1500,
        n_labels=n_labels,
        n_programmes=130,
        programmes_per_label=per_label,
        labels_per_lineage=per_lineage,
        n_markers=n_markers,
    )
    every = [*design.markers.values(), *design.lineage_markers.values()]
    planted = [gene for genes in every for gene in genes]
    assert len(planted) == len(set(planted)) == n_markers * len(every)
    assert all(len(set(genes)) == 20 for genes in design.programmes.values())
    for label, names in design.active.items():
        assert len(set(names)) == per_label
        owners = [other for other in design.labels if set(names) & set(design.active[other])]
        assert {design.lineages[other] for other in owners} <= {design.lineages[label]}
    assert design.abundance.sum() == pytest.approx(1)


def test_command_writes_a_project_that_can_be_run(tmp_path: Path) -> None:
    arguments = ["--cells", "300", "--query-cells", "200", "--genes", "600", "--labels", "5"]
    arguments += ["--unseen", "1", "--batches", "3", "--label-noise", "0.1", "--no-progress"]
    folder = tmp_path / "sim"
    assert main(["simulate", str(folder), *arguments]) == 0
    reference, query = (ad.read_h5ad(folder / f"{side}.h5ad") for side in ("reference", "query"))
    assert (reference.n_obs, query.n_obs) == (300, 200)
    assert list(reference.var_names) == list(query.var_names)
    assert len(set(query.obs["label"]) - set(reference.obs["label"])) == 1
    assert set(reference.obs["batch"]).isdisjoint(query.obs["batch"])
    assert (reference.obs["label"] != reference.obs["true_label"]).mean() == pytest.approx(0.1)
    truth = json.loads((folder / "truth.json").read_text())
    assert truth["query"]["labels"] == query.obs["label"].value_counts().to_dict()
    schema = Path(__file__).resolve().parents[2] / "workflow" / "schemas" / "dataset.schema.yaml"
    config = yaml.safe_load((folder / "my_data.yaml").read_text())
    assert list(config) == ["datasets"]
    jsonschema.validate(config["datasets"][0], yaml.safe_load(schema.read_text()))
    for side in ("reference", "query"):
        path = Path(config["datasets"][0][side]["url"])
        assert path.is_absolute()
        assert path.is_file()


def test_command_refuses_before_it_makes_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "sim")
    for wrong, message in (
        (["--labels", "3", "--unseen", "3"], "3 unseen labels of 3"),
        (["--confounding", "1.5"], "confounding = 1.5: must be at most 1"),
        (["--cells", "0"], "n_cells = 0: must be at least 1"),
    ):
        assert main(["simulate", folder, *wrong]) == 1
        assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_next_steps_are_commands_that_can_be_run_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    steps = next_steps("my cells")
    assert [shlex.split(step)[:2] for step in steps] == [["plkd", "train"], ["plkd", "annotate"]]
    parser = command_line()
    for step in steps:
        options = parser.parse_args(shlex.split(step)[1:])
        assert options.output.parent == Path("my cells")
    (tmp_path / "Snakefile").touch()
    assert shlex.split(next_steps("my cells")[-1])[0] == "snakemake"
