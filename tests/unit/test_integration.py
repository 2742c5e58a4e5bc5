"""Scores of batch integration, against definitions written as loops."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chisquare

from plkd.evaluation.integration import (
    SCORES,
    bras,
    clisi,
    cluster_scores,
    groups_of_cells,
    ilisi,
    integration_scores,
    kbet_acceptance,
    kbet_per_label,
    lisi,
    score_integration,
)


def cells_apart(n=240, shift=0.0, seed=0):
    """Three types far apart, three batches in them, shifted within the type."""
    rng = np.random.default_rng(seed)
    labels, batches = rng.integers(0, 3, n), rng.integers(0, 3, n)
    X = rng.normal(size=(n, 4))
    X[:, 0] += 12 * labels
    X[:, 1] += shift * batches
    return (
        X,
        np.array(list("abc"), dtype=object)[labels],
        np.array(list("xyz"), dtype=object)[batches],
    )


def nearest(X, i, k):
    return np.argsort(((X - X[i]) ** 2).sum(axis=1), kind="stable")[:k]


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_kbet_agrees_with_a_test_of_every_neighbourhood(shift):
    X, _, batches = cells_apart(shift=shift)
    k = 20  # a quarter of 80
    share = pd.Series(batches).value_counts(normalize=True).sort_index()
    accepted = []
    for i in range(len(X)):
        seen = (
            pd.Series(batches[nearest(X, i, k)]).value_counts().reindex(share.index, fill_value=0)
        )
        accepted.append(chisquare(seen, share * k).pvalue >= 0.05)
    assert kbet_acceptance(X, batches) == pytest.approx(np.mean(accepted))


def test_kbet_falls_as_batches_part_and_is_about_one_minus_alpha_where_they_are_one():
    batches = cells_apart(1500)[2]
    rates = [kbet_acceptance(cells_apart(1500, shift=shift)[0], batches) for shift in (0, 1, 6)]
    assert rates[0] > 0.9
    assert rates == sorted(rates, reverse=True)
    assert rates[2] < 0.05


def test_kbet_of_types_does_not_mind_what_the_batches_hold():
    X, labels, batches = cells_apart(900)
    # batch x has hardly any cells of type a, but those that it has lie among the others
    rng = np.random.default_rng(1)
    kept = ~((labels == "a") & (batches == "x") & (rng.random(900) < 0.8))
    X, labels, batches = X[kept], labels[kept], batches[kept]
    assert kbet_per_label(X, labels, batches) > 0.85
    assert kbet_acceptance(X, batches) < kbet_per_label(X, labels, batches) - 0.1


def test_kbet_of_types_agrees_with_a_test_of_every_neighbourhood_within_them():
    """Types of nine cells, or in one batch alone, are left out."""
    X, labels, batches = cells_apart(260, shift=1.0)
    labels[np.flatnonzero(labels == "b")[9:]] = "d"
    alone = np.flatnonzero(labels == "c")
    batches[alone] = "x"
    rates = {}
    for label in ("a", "d"):
        members = np.flatnonzero(labels == label)
        share = pd.Series(batches[members]).value_counts(normalize=True).sort_index()
        k = min(70, max(10, len(members) // len(share) // 4))
        accepted = []
        for i in range(len(members)):
            around = batches[members][nearest(X[members], i, k)]
            seen = pd.Series(around).value_counts().reindex(share.index, fill_value=0)
            accepted.append(chisquare(seen, share * k).pvalue >= 0.05)
        rates[label] = np.mean(accepted)
    assert 0.1 < min(rates.values()) < max(rates.values()) < 0.9
    assert kbet_per_label(X, labels, batches) == pytest.approx(np.mean(list(rates.values())))
    assert np.isnan(kbet_per_label(X[alone], labels[alone], batches[alone]))


def test_lisi_agrees_with_a_search_for_every_cell():
    X, labels, _ = cells_apart(150)
    found = lisi(X, labels, perplexity=10)
    for i in range(0, 150, 10):
        around = nearest(X, i, 30)[1:]
        d = np.sqrt(((X[around] - X[i]) ** 2).sum(axis=1))
        low, high = 1e-9, 1e9
        for _ in range(200):
            beta = np.sqrt(low * high)
            p = np.exp(-(d - d.min()) * beta)
            p /= p.sum()
            entropy = -np.sum(p[p > 0] * np.log(p[p > 0]))
            low, high = (beta, high) if entropy > np.log(10) else (low, beta)
        shares = [p[labels[around] == one].sum() for one in "abc"]
        assert found[i] == pytest.approx(1 / np.sum(np.square(shares)), rel=1e-3)


def test_lisi_of_one_group_is_one_and_of_even_groups_their_number():
    X, labels, batches = cells_apart(900)
    assert np.allclose(lisi(X, ["one"] * 900), 1)
    assert ilisi(X, list(batches)) > 0.8
    assert clisi(X, list(labels)) > 0.99
    assert ilisi(cells_apart(900, shift=30)[0], list(batches)) < 0.01
    assert np.isnan(ilisi(X, ["one"] * 900))


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_bras_agrees_with_a_loop(shift):
    X, labels, batches = cells_apart(90, shift=shift)
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    distance = 1 - unit @ unit.T
    of_types = []
    for label in "abc":
        of_cells = []
        for i in np.flatnonzero(labels == label):
            same = (labels == label) & (batches == batches[i])
            others = (labels == label) & (batches != batches[i])
            inside = distance[i, same].sum() / (same.sum() - 1)
            outside = distance[i, others].mean()
            of_cells.append(1 - abs(outside - inside) / max(inside, outside))
        of_types.append(np.mean(of_cells))
    assert bras(X, labels, batches) == pytest.approx(np.mean(of_types), abs=1e-9)


def test_values_of_other_packages_on_the_same_cells():
    """scib-metrics 0.5.10 (with exact neighbours, 33 and 90 of them) and harmonypy 2.1.0."""
    rng = np.random.default_rng(0)
    labels, batches = rng.integers(0, 3, 400), rng.integers(0, 3, 400)
    X = rng.normal(size=(400, 4))
    X[:, 0] += 2 * labels
    X[:, 1] += batches
    cells = pd.DataFrame({"label": labels, "batch": batches})
    scores = integration_scores(X.astype(np.float32), cells)
    of_scib_metrics = {
        "kbet": 0.45, "bras": 0.7618904, "ilisi": 0.6510371, "clisi": 0.65475166,
        "cell_type_asw_scaled": 0.56476533, "batch_asw": 0.89990234,
    }  # fmt: skip
    for name, value in of_scib_metrics.items():
        assert scores[name] == pytest.approx(value, abs=1e-5), name
    of_harmonypy = {"label": 1.69180579, "batch": 2.30042376}
    for name, value in of_harmonypy.items():
        assert np.median(lisi(X, cells[name])) == pytest.approx(value, abs=0.005)


def test_clusters_find_types_that_lie_apart():
    X, labels, _ = cells_apart()
    assert cluster_scores(X, list(labels)) == {"ari": 1.0, "nmi": pytest.approx(1.0)}


def test_clusters_that_cut_types_score_as_pairs_and_entropies_say():
    """Three heaps of four points; of each a point has the label of the next."""
    heaps, labels = np.repeat([0, 1, 2], 4), list("aaabbbbccccab")[:12]
    X = heaps[:, None] * 100 + np.arange(12)[:, None] / 10
    pairs = list(combinations(range(12), 2))
    together = [np.array([one[i] == one[j] for i, j in pairs]) for one in (heaps, labels)]
    both, n = (together[0] & together[1]).sum(), len(pairs)
    chance = together[0].sum() * together[1].sum() / n
    ari = (both - chance) / ((together[0].sum() + together[1].sum()) / 2 - chance)

    def entropy(names):
        share = np.array(list(Counter(names).values())) / 12
        return -np.sum(share * np.log(share))

    mutual = entropy(heaps) + entropy(labels) - entropy(zip(heaps, labels, strict=True))
    nmi = mutual / ((entropy(heaps) + entropy(labels)) / 2)
    scores = cluster_scores(X, labels)
    assert 0.1 < ari < nmi < 0.6
    assert scores == {"ari": pytest.approx(ari), "nmi": pytest.approx(nmi)}


def test_every_score_is_one_way_round():
    good = pd.DataFrame(dict(zip(("label", "batch"), cells_apart(600)[1:], strict=True)))
    kept = integration_scores(cells_apart(600)[0].astype(np.float32), good)
    parted = integration_scores(cells_apart(600, shift=8.0)[0].astype(np.float32), good)
    assert list(kept) == list(SCORES)
    for name in ("kbet", "kbet_per_label", "batch_asw", "bras", "ilisi"):
        assert kept[name] > parted[name] + 0.1, name
    assert kept["cell_type_asw"] > parted["cell_type_asw"]


def test_scores_are_of_all_of_the_query_and_of_types_that_the_reference_lacks():
    X, labels, batches = cells_apart(300)
    role = np.where(batches == "x", "reference", "query")
    labels[:5] = None
    cells = pd.DataFrame({"role": role, "label": labels, "batch": batches})
    groups = groups_of_cells(cells, ["a"])
    assert list(groups) == ["all", "query", "unseen"]
    assert len(groups["all"]) == 295
    assert set(cells["label"].iloc[groups["unseen"]]) == {"b", "c"}
    assert "unseen" not in groups_of_cells(cells, ["a", "b"])
    assert list(groups_of_cells(cells, ["a", "b"], paired=True)) == ["all", "paired"]
    table = score_integration({"one": X, "two": X[:, :2]}, cells, groups, max_cells=100)
    assert set(table["n_cells"]) == {100}
    assert list(table["method"]) == ["one", "two"] * 3


def test_every_cell_is_scored_where_there_are_more_than_ten_thousand():
    """Those that differ from the rest are few, and a draw would leave most of them out."""
    X, labels, batches = cells_apart(12_000)
    cells = pd.DataFrame({"label": labels, "batch": batches})
    table = score_integration({"one": X[:, :2]}, cells, {"all": np.arange(12_000)})
    row = table.iloc[0]
    assert row["n_cells"] == 12_000
    assert row["kbet"] == kbet_acceptance(X[:, :2], batches)
    assert row["ilisi"] == pytest.approx(ilisi(X[:, :2], list(batches)))
    assert row["clisi"] == pytest.approx(clisi(X[:, :2], list(labels)))


def test_a_query_of_one_cell_has_no_scores():
    X, labels, batches = cells_apart(1)
    scores = integration_scores(X, pd.DataFrame({"label": labels, "batch": batches}))
    assert np.isnan(list(scores.values())).all()
