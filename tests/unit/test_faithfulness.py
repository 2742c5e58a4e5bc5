"""Deletion and insertion: the curves by hand, and true explanations told from chance."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

from plkd.evaluation.faithfulness import (
    curve_areas,
    places,
    removal_curves,
    student_curves,
    summarise_areas,
    summarise_curves,
    teacher_curves,
)
from plkd.interpret.gene_attribution import attribute_genes
from plkd.interpret.pathway_attribution import attribute_tokens, mean_tokens, no_pathways
from plkd.model.trained_model import load_model
from simulated import make_cells
from trained import TYPES, logged, trained_model


@pytest.fixture(scope="module")
def cells():
    return logged(make_cells(60, 110, types=TYPES, seed=9))


def test_places():
    scores = torch.tensor([[0.1, 0.9, 0.5, 0.5], [1.0, 2.0, 3.0, 4.0]])
    assert places(scores).tolist() == [[3, 0, 1, 2], [3, 2, 1, 0]]
    usable = torch.tensor([[True, False, True, True], [False, False, False, True]])
    assert places(scores, usable).tolist() == [[2, 4, 0, 1], [4, 4, 4, 0]]


def test_curves_by_hand():
    x = torch.tensor([[8.0, 4.0, 2.0]])
    baseline = torch.tensor([1.0, 1.0, 1.0])
    curves = removal_curves(
        lambda changed, _: changed.sum(dim=1),
        x,
        baseline,
        torch.tensor([0]),
        {"up": x, "both": [x, -x]},
    )
    wide = curves.set_index(["ranking", "curve", "k"])["probability"].sort_index()
    assert wide["up", "deletion"].tolist() == [14, 7, 4, 3]
    assert wide["up", "insertion"].tolist() == [3, 10, 13, 14]
    assert wide["both", "deletion"].tolist() == [14, (7 + 13) / 2, (4 + 10) / 2, 3]
    areas = curve_areas(curves).set_index(["ranking", "curve"])["area"]
    assert areas["up", "deletion"] == pytest.approx(((14 + 7) / 2 + (7 + 4) / 2 + (4 + 3) / 2) / 3)


def test_items_of_some_width():
    x = torch.arange(12.0).reshape(1, 3, 4)
    curves = removal_curves(
        lambda changed, _: changed.sum(dim=(1, 2)), x, torch.zeros(3, 4), torch.tensor([0]),
        {"up": torch.tensor([[3.0, 2.0, 1.0]])}, torch.tensor([[True, True, False]]),
    )  # fmt: skip
    wide = curves.set_index(["curve", "k"])["probability"]
    assert wide["deletion"].tolist() == [66, 60, 38, 38]
    assert wide["insertion"].tolist() == [0, 6, 28, 28]


def test_true_explanations_beat_chance(cells):
    model = trained_model()
    student, background = model.student, model.background
    found = attribute_genes(student, cells, background, progress=False)
    labels = found.targets[:, 0]
    curves = student_curves(student, cells, labels, found.values[:, 0], background)
    table = summarise_areas(curve_areas(curves)).set_index(["replaced_by", "curve", "ranking"])
    for value in ("zero", "mean"):
        for curve in ("deletion", "insertion"):
            best = table.loc[(value, curve, "attribution")]
            assert best["gain"] > 0.1
            assert best["gain"] > 5 * best["standard_error"]
            assert best["share_better"] > 0.9
            assert best["gain"] > table.loc[(value, curve, "expression"), "gain"]
    # an order that is turned round is worse than chance
    worst = student_curves(student, cells, labels, -found.values[:, 0], background)
    table = summarise_areas(curve_areas(worst)).set_index(["replaced_by", "curve", "ranking"])
    assert table.loc[("mean", "deletion", "attribution"), "gain"] < 0
    # nothing replaced, and everything put back, is the prediction
    probabilities = student.predict(cells)[0].max(axis=1)
    start = curves.query("curve == 'deletion' and k == 0 and ranking == 'random'")
    np.testing.assert_allclose(start.query("replaced_by == 'zero'")["probability"], probabilities,
                               atol=1e-5)  # fmt: skip
    means = summarise_curves(curves)
    assert (means["cells"] == 60).all()


@pytest.mark.parametrize("other", [None, "fully_connected_1", "uncovered_genes"])
def test_tokens_of_the_teacher(cells, other):
    model = trained_model(other)
    teacher, background = model.teacher, model.background
    labels = teacher.predict(cells)[0].argmax(axis=1)
    found = attribute_tokens(teacher, cells, background, labels)
    assert abs(found.error).max() < 1e-2
    network = teacher.network
    with torch.no_grad():
        x = torch.from_numpy(cells.toarray()).float()
        view = network.view_tokens(x)
        base = network.classify_tokens(mean_tokens(teacher, background)[None])[0]
        np.testing.assert_allclose(
            network.classify_tokens(network.tokens(x))[0], network(x)[0], atol=1e-5
        )
    expected = view.attention[:, :, -1, :-1].mean(dim=1)
    np.testing.assert_allclose(found.attention, expected, atol=1e-5)
    np.testing.assert_allclose(
        found.contributions.sum(axis=1),
        found.logits[np.arange(60), labels] - base[0].numpy()[labels],
        atol=1e-2,
    )
    others = no_pathways(teacher)
    assert np.asarray(teacher.tokens)[others].tolist() == ([other] if other else [])
    alone = attribute_tokens(teacher, cells, background, labels, left_out=others)
    assert (alone.contributions[:, others] == 0).all()

    curves = teacher_curves(teacher, cells, labels, background)
    assert set(curves["items"]) == ({"tokens", "pathways"} if other else {"tokens"})
    table = summarise_areas(curve_areas(curves)).set_index(["items", "curve", "ranking"])
    # where all that a pathway's genes say goes through it, the pathways decide
    decisive = {"tokens"} | ({"pathways"} if other == "uncovered_genes" else set())
    for items, curve in product(decisive, ("deletion", "insertion")):
        best = table.loc[(items, curve, "contribution")]
        assert best["gain"] > 0.05
        assert best["gain"] > 3 * best["standard_error"]


def test_one_cell_has_no_spread(cells):
    model = trained_model()
    student, background = model.student, model.background
    found = attribute_genes(student, cells[:1], background, progress=False)
    curves = student_curves(student, cells[:1], found.targets[:, 0], found.values[:, 0], background)
    table = summarise_areas(curve_areas(curves))
    assert (table["cells"] == 1).all()
    assert table["sd"].isna().all()
    assert isinstance(summarise_curves(curves), pd.DataFrame)


def test_curves_of_a_loaded_model_begin_where_it_predicts(cells, tmp_path):
    """Nothing is replaced yet: every ranking has the probability of the label, no dropout."""
    trained_model().save(tmp_path / "model")
    model = load_model(tmp_path / "model")
    labels = np.zeros(cells.shape[0], dtype=int)
    values = np.zeros(cells.shape)
    curves = student_curves(model.student, cells, labels, values, model.background)
    begin = curves[(curves["curve"] == "deletion") & (curves["k"] == 0)]
    expected = model.student.predict(cells)[0][begin["cell"], 0]
    np.testing.assert_allclose(begin["probability"], expected, rtol=1e-5)
