"""Cells made harder, and what that costs methods."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import perturb as perturb_script
from job import job
from plkd.errors import InputError
from plkd.evaluation.robustness import robustness_table
from plkd.figures.robustness import plot_robustness
from plkd.figures.style import style
from plkd.preparation.perturbed import perturb
from plkd.preparation.prepare import PreparedPaths, prepare_dataset
from plkd.preparation.prepared import PreparedCells
from plkd.utils.draws import relabelled
from simulated import make_cells


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> PreparedPaths:
    folder = tmp_path_factory.mktemp("prepared")
    for seed, role in enumerate(("reference", "query")):
        make_cells(200, 80, types=3, seed=seed).write_h5ad(folder / f"{role}.h5ad")
    keys = {"labels_key": "cell_type", "batch_key": "batch"}
    paths = PreparedPaths.in_folder(folder / "prepared")
    config = {"name": "small", "reference": keys, "query": keys, "prepare": {"n_genes": 60}}
    prepare_dataset(config, folder / "reference.h5ad", folder / "query.h5ad", paths)
    return paths


@pytest.fixture
def sides(paths) -> tuple[ad.AnnData, ad.AnnData]:
    return ad.read_h5ad(paths.reference), ad.read_h5ad(paths.query)


def same(one: ad.AnnData, other: ad.AnnData) -> bool:
    return one.shape == other.shape and (one.X != other.X).nnz == 0 and one.obs.equals(other.obs)


def test_every_label_may_become_every_other():
    codes = np.arange(3000) % 3
    new = relabelled(codes, 3, 0.3, np.random.default_rng(0))
    assert (new != codes).sum() == 900
    moves = pd.crosstab(codes[new != codes], new[new != codes]).to_numpy()
    assert moves[~np.eye(3, dtype=bool)].min() > 120
    assert set(relabelled(codes[:3], 3, 1.0, np.random.default_rng(0))) == {0, 1, 2}


def test_wrong_labels_are_those_of_the_reference_alone(sides):
    reference, query = perturb(*sides, "label_noise", 0.25)
    assert (reference.obs["label"] != sides[0].obs["label"]).sum() == 50
    assert (reference.X != sides[0].X).nnz == 0
    assert same(query, sides[1])
    again, _ = perturb(*sides, "label_noise", 0.25)
    assert again.obs["label"].equals(reference.obs["label"])


def test_genes_are_the_same_on_both_sides(sides):
    reference, query = perturb(*sides, "genes", 0.25)
    assert list(reference.var_names) == list(query.var_names)
    assert reference.n_vars == 15
    assert (query.X != sides[1][:, query.var_names].X).nnz == 0
    assert query.layers["counts"].shape == query.shape


def test_cells_of_every_label_stay(sides):
    reference, query = perturb(*sides, "cells", 0.1)
    before = sides[0].obs["label"].value_counts(sort=False)
    assert (reference.obs["label"].value_counts(sort=False) == (before * 0.1).round()).all()
    assert same(query, sides[1])
    few, _ = perturb(*sides, "cells", 0.001)
    assert few.obs["label"].value_counts().eq(2).all()


def test_a_shallower_query_has_fewer_counts_on_the_same_scale(sides):
    reference, query = perturb(*sides, "depth", 0.2)
    assert same(reference, sides[0])
    before, after = sides[1].layers["counts"], query.layers["counts"]
    assert after.sum() / before.sum() == pytest.approx(0.2, abs=0.02)
    assert (after > before).nnz == 0
    assert np.array_equal(np.unique(after.data), np.unique(after.data).round())
    # per cell X is log1p of one multiple of the counts, and its sum is the same in the mean
    linear = query.X.expm1()
    ratio = linear.data / after.data
    cell = np.repeat(np.arange(query.n_obs), np.diff(after.indptr))
    spread = pd.Series(ratio).groupby(cell).agg(lambda one: one.max() / one.min())
    assert spread.max() == pytest.approx(1, rel=1e-3)
    assert linear.sum() / sides[1].X.expm1().sum() == pytest.approx(1, abs=0.02)


def test_a_query_without_counts_cannot_be_made_shallower(sides):
    reference, query = sides
    del query.layers["counts"]
    with pytest.raises(InputError, match="has no counts"):
        perturb(reference, query, "depth", 0.5)


def test_what_is_written_are_prepared_cells(paths, tmp_path):
    made = PreparedPaths.in_folder(tmp_path / "made")
    made.reference.parent.mkdir()
    perturb_script.main(
        job(input=vars(paths), output=vars(made), params={"kind": "genes", "level": 0.5})
    )
    cells = PreparedCells.read(made.reference)
    assert cells.n_cells == 200
    assert cells.X.dtype == np.float32
    assert cells.X.indices.dtype == np.int32
    assert len(cells.genes) == 30
    assert json.loads(made.report.read_text())["perturbed"] == {"kind": "genes", "level": 0.5}
    assert made.truth.read_bytes() == paths.truth.read_bytes()


@pytest.fixture
def table() -> pd.DataFrame:
    def rows(dataset: str, score: float, method: str = "a") -> list[dict]:
        return [
            {"dataset": dataset, "seed": seed, "method": method, "accuracy": score,
             "macro_f1": score + 0.1 * seed}
            for seed in (0, 1)
        ]  # fmt: skip

    made = {
        "x.genes.0.5": {"dataset": "x", "kind": "genes", "level": 0.5},
        "y.genes.0.5": {"dataset": "y", "kind": "genes", "level": 0.5},
        "x.label_noise.0.1": {"dataset": "x", "kind": "label_noise", "level": 0.1},
    }
    runs = [*rows("x", 0.8), *rows("y", 0.6), *rows("x", 0.5, "b"), *rows("y", np.nan, "b")]
    runs += [*rows("x.genes.0.5", 0.7), *rows("y.genes.0.5", 0.3), *rows("x.label_noise.0.1", 0.8)]
    runs += [*rows("x.genes.0.5", np.nan, "b"), *rows("y.genes.0.5", np.nan, "b")]
    runs += rows("x.label_noise.0.1", 0.4, "b")
    return robustness_table(pd.DataFrame(runs), made)


def test_scores_stand_beside_those_of_the_cells_as_they_are(table):
    found = table.set_index(["kind", "level", "method"])
    assert found.loc[("genes", 1.0, "a"), "macro_f1"] == pytest.approx(0.75)
    assert found.loc[("genes", 0.5, "a"), ["accuracy", "macro_f1_lost"]].tolist() == pytest.approx(
        [0.5, 0.2]
    )
    assert found.loc[("label_noise", 0.0, "b"), "transfers"] == 1
    assert found.loc[("label_noise", 0.1, "b"), "macro_f1_lost"] == pytest.approx(0.1)
    assert ("genes", 0.5, "b") not in found.index


def test_the_figure_has_a_panel_for_every_kind(table):
    with style():
        figure = plot_robustness(table, {"a": "A", "b": "B$"}, {"a": "ours", "b": "rival"})
        figure.draw_without_rendering()
    assert len(figure.axes) == 2
    assert [text.get_text() for text in figure.legends[0].texts] == ["A", r"B\$"]
    lines = [line.get_xdata() for line in figure.axes[1].lines]
    assert [len(line) for line in lines] == [2, 1]
