"""Groups of cells, wider names above the labels, and the columns that they become."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import plkd
from plkd.cli import main
from plkd.errors import InputError
from plkd.model.trained_network import TrainedNetwork
from plkd.prediction.groups import HETEROGENEOUS, clusters_of, vote
from plkd.prediction.label_tree import LabelTree
from simulated import make_cells
from trained import trained_model

TREE = {
    "Lymphocyte": ["T cell", "B cell"],
    "T cell": ["CD4 T cell", "CD8 T cell"],
}
LABELS = ["B cell", "CD4 T cell", "CD8 T cell", "NK cell"]


# ---------------------------------------------------------------------------------------- the tree


def test_children_that_cannot_be_told_apart_give_their_parent() -> None:
    tree = LabelTree.of(TREE, LABELS)
    probabilities = np.array(
        [
            [0.02, 0.95, 0.02, 0.01],  # sure
            [0.02, 0.50, 0.45, 0.03],  # some T cell
            [0.45, 0.30, 0.20, 0.05],  # some lymphocyte
            [0.30, 0.10, 0.10, 0.50],  # nothing is sure
        ]
    )
    names, probability = tree.back_off(probabilities, 0.8)
    assert names.tolist() == ["CD4 T cell", "T cell", "Lymphocyte", ""]
    np.testing.assert_allclose(probability, [0.95, 0.95, 0.95, np.nan])
    assert tree.levels(names).tolist() == [
        ["Lymphocyte", "T cell", "CD4 T cell"],
        ["Lymphocyte", "T cell", ""],
        ["Lymphocyte", "", ""],
        ["", "", ""],
    ]


@st.composite
def trees(draw: st.DrawFn) -> tuple[LabelTree, np.ndarray, float]:
    """A random forest over labels, some of which have kinds of their own, and cells."""
    n_labels, n_inner = draw(st.integers(2, 8)), draw(st.integers(0, 5))
    names = [f"inner{i}" for i in range(n_inner)] + [f"label{i}" for i in range(n_labels)]
    children: dict[str, list[str]] = {}
    for place, name in enumerate(names):
        above = draw(st.one_of(st.none(), st.sampled_from(names[:place]))) if place else None
        if above is not None:
            children.setdefault(above, []).append(name)
    has_children = set(children)
    for one in [name for name in names if name.startswith("inner") and name not in has_children]:
        for kept in children.values():
            if one in kept:
                kept.remove(one)
    children = {name: kept for name, kept in children.items() if kept}
    while lowest := {
        one for kept in children.values() for one in kept
        if one.startswith("inner") and one not in children
    }:  # fmt: skip
        children = {name: [one for one in kept if one not in lowest]
                    for name, kept in children.items()}  # fmt: skip
        children = {name: kept for name, kept in children.items() if kept}
    labels = [name for name in names if name.startswith("label")]
    weights = draw(
        st.lists(st.lists(st.integers(0, 20), min_size=n_labels, max_size=n_labels).filter(any),
                 min_size=1, max_size=6)
    )  # fmt: skip
    probabilities = np.array(weights, dtype=float)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    level = draw(st.floats(0.501, 1.0))
    return LabelTree.of(children, labels), probabilities, level


@given(trees())
@settings(max_examples=200, deadline=None)
def test_levels_never_contradict(drawn: tuple[LabelTree, np.ndarray, float]) -> None:
    tree, probabilities, level = drawn
    names, probability = tree.back_off(probabilities, level)
    every = pd.DataFrame(tree.probabilities(probabilities), columns=tree.names)
    for cell, name in enumerate(names):
        reached = {one for one in tree.names if every[one][cell] >= level - 1e-6}
        if name == "":
            assert not reached
            continue
        # all that is sure enough is what the name is a kind of: no two of them contradict
        assert reached == set(tree.path_to(name))
        assert probability[cell] == pytest.approx(every[name][cell])
        # the most probable label contradicts it only if it is itself improbable
        label = tree.labels[int(probabilities[cell].argmax())]
        if name not in tree.path_to(label):
            assert probabilities[cell].max() <= 1 - level + 1e-6
    for cell, row in enumerate(tree.levels(names)):
        said = [one for one in row if one]
        assert said == (tree.path_to(names[cell]) if names[cell] else [])
        assert list(row[: len(said)]) == said  # nothing narrower where the wider is open


@given(trees(), st.floats(0.51, 1.0))
@settings(max_examples=100, deadline=None)
def test_asking_for_more_gives_a_wider_name(drawn, other: float) -> None:
    tree, probabilities, level = drawn
    low, high = sorted((level, other))
    narrow, _ = tree.back_off(probabilities, low)
    wide, _ = tree.back_off(probabilities, high)
    for one, two in zip(narrow, wide, strict=True):
        assert two == "" or two in tree.path_to(one)


@pytest.mark.parametrize(
    ("children", "message"),
    [
        ({"T": ["CD4 T cell"], "U": ["CD4 T cell"]}, "'CD4 T cell' stands below 'T' and 'U'"),
        ({"T": ["U"], "U": ["T"]}, "its own ancestor"),
        ({"T": ["CD4 T cell", "gdT"]}, "'gdT' are no labels of the model"),
        ({"T": "CD4 T cell"}, "must name the children"),
        (["T"], "must name the children"),
    ],
)
def test_a_tree_that_cannot_be_meant_is_refused(children, message) -> None:
    with pytest.raises(InputError, match=message):
        LabelTree.of(children, LABELS)


@pytest.mark.parametrize("level", [0.5, 1.1, 0.0])
def test_a_level_must_be_above_one_half(level: float) -> None:
    with pytest.raises(InputError, match=r"more than 0\.5"):
        LabelTree.of(TREE, LABELS).back_off(np.ones((1, 4)) / 4, level)


# -------------------------------------------------------------------------------------- the groups


def test_a_group_has_the_label_of_most_of_its_cells() -> None:
    groups = ["a", "a", "a", "b", "b", "c", None]
    labels = ["T", "T", "B", "B", "T", "unassigned", "T"]
    voted = vote(groups, labels, 0.6)
    assert voted["group_label"].tolist()[:6] == [
        "T", "T", "T", HETEROGENEOUS, HETEROGENEOUS, "unassigned",
    ]  # fmt: skip
    assert pd.isna(voted["group_label"][6])
    np.testing.assert_allclose(voted["group_agreement"], [2 / 3] * 3 + [0.5] * 2 + [1, np.nan])
    assert vote(groups, labels, 0.5)["group_label"][3] == "B"  # of equals the first


def test_clusters_are_those_of_the_embedding() -> None:
    rng = np.random.default_rng(0)
    centres = np.repeat(np.eye(3) * 30, 40, axis=0)
    found = clusters_of(centres + rng.normal(size=centres.shape))
    for part in np.split(found, 3):
        assert len(set(part)) >= 1
    assert not set(found[:40]) & set(found[40:80])
    assert clusters_of(np.zeros((2, 3))).tolist() == ["0", "0"]


# ------------------------------------------------------------------------------------- the columns


@pytest.fixture
def query() -> ad.AnnData:
    cells = make_cells(200, 110, types=5, batches=1, seed=8)
    keep = np.ones((cells.n_obs, 1))
    keep[4] = 0
    cells.X = cells.X.multiply(keep).tocsr()
    cells.obs["leiden"] = pd.Categorical(cells.obs["cell_type"].cat.codes.astype(str))
    cells.obs.loc[cells.obs_names[7], "leiden"] = None
    return cells


MODEL_TREE = {"T cell": ["CD4 T cell", "CD8 T cell"], "Lymphocyte": ["T cell", "B cell", "NK cell"]}


def test_an_anndata_gets_the_columns_that_are_asked_for(query: ad.AnnData) -> None:
    model = trained_model()
    plain = plkd.annotate(query, model, copy=True, progress=False)
    plkd.annotate(
        query, model, groups="leiden", label_tree=MODEL_TREE, top_labels=3, progress=False
    )
    pd.testing.assert_frame_equal(query.obs[plain.obs.columns], plain.obs)  # the raw labels stay
    obs = query.obs.drop(index=query.obs_names[4])
    assert query.obs.loc[query.obs_names[4]].filter(like="plkd_group").isna().all()
    known = ~obs["plkd_unknown"]
    votes = obs["plkd_label_or_unassigned"].astype(str)
    for group, cells in obs.groupby("leiden", observed=True):
        shares = votes[cells.index].value_counts(normalize=True)
        assert cells["plkd_group_agreement"].unique() == pytest.approx([shares.max()])
        expected = shares.index[0] if shares.iloc[0] >= 0.5 else HETEROGENEOUS
        assert set(cells["plkd_group_label"]) == {expected}, group
    assert pd.isna(query.obs["plkd_group_label"].iloc[7])
    assert (obs["plkd_confidence_2"] >= obs["plkd_confidence_3"]).all()
    assert (obs["plkd_label"].astype(str) != obs["plkd_label_2"].astype(str)).all()
    assert set(obs["plkd_tree_label"][~known]) <= {"unassigned"}
    sure = known & (obs["plkd_confidence"] >= 0.8)
    named = obs["plkd_tree_label"].astype(str)
    assert (named[sure] == obs["plkd_label"].astype(str)[sure]).all()
    named_at_last = obs[["plkd_level_1", "plkd_level_2", "plkd_level_3"]].astype(object)
    narrowest = named_at_last.ffill(axis=1).iloc[:, -1].fillna("unassigned")
    assert (narrowest == named).all()


def test_the_command_writes_what_python_adds(
    query: ad.AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query.write_h5ad(tmp_path / "query.h5ad")
    trained_model().save(tmp_path / "model")
    (tmp_path / "tree.yaml").write_text(
        "T cell: [CD4 T cell, CD8 T cell]\nLymphocyte: [T cell, B cell, NK cell]\n"
    )
    given_ = ["annotate", str(tmp_path / "query.h5ad"), "--model", str(tmp_path / "model")]
    given_ += ["-o", str(tmp_path / "out.h5ad"), "--no-progress"]
    further = ["--cluster", "--label-tree", str(tmp_path / "tree.yaml"), "--top-labels", "2"]
    assert main([*given_, *further]) == 0
    plkd.annotate(
        query, trained_model(), cluster=True, label_tree=MODEL_TREE, top_labels=2, progress=False
    )
    written = ad.read_h5ad(tmp_path / "out.h5ad").obs
    assert set(written) == set(query.obs)
    for name in query.obs.filter(like="plkd_"):
        if query.obs[name].dtype.kind == "f":
            np.testing.assert_allclose(written[name], query.obs[name], atol=1e-6)
        else:
            assert (written[name].astype(str) == query.obs[name].astype(str)).all(), name
    with monkeypatch.context() as patched:
        patched.setattr(TrainedNetwork, "predict", lambda *_, **__: pytest.fail("work began"))
        assert main([*given_, "--groups", "louvain"]) == 1
    assert main([*given_, "--groups", "leiden", "--cluster"]) == 1
    assert main([*given_, "--top-labels", "0"]) == 1
