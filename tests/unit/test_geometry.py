"""Silhouettes and connected parts of spaces in blocks, against scikit-learn and scib."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import silhouette_samples

from plkd.evaluation import geometry
from plkd.evaluation.geometry import graph_connectivity, mixing_in_types, silhouette_widths
from plkd.utils import neighbours
from plkd.utils.neighbours import NEIGHBOURS, add_neighbours, nearest_in_blocks


def space(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Types that overlap, a rare one, one in one batch alone; some cells lie on each other."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 4, n)
    batches = np.array(list("xyz"), dtype=object)[rng.integers(0, 3, n)]
    X = rng.normal(size=(n, 6))
    X[:, 0] += 2 * codes
    X[:, 1] += batches == "x"
    X[:10] = X[0]
    labels = np.array(list("abcd"), dtype=object)[codes]
    labels[11], batches[labels == "d"] = "rare", "x"
    return X, labels, batches


@pytest.mark.parametrize("block", [2**24, 1500])
def test_widths_are_those_of_scikit_learn(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(geometry, "_BLOCK", block)
    X, labels, _ = space()
    expected = silhouette_samples(X, labels.astype(str))
    np.testing.assert_allclose(silhouette_widths(X, labels), expected, atol=1e-9)
    assert silhouette_widths(X, labels)[11] == 0


def test_cells_that_are_drawn_are_compared_with_all() -> None:
    X, labels, _ = space(900)
    every = silhouette_widths(X, labels)
    drawn = silhouette_widths(X, labels, most=300, seed=1)
    assert len(drawn) == 300
    assert set(drawn.round(9)) <= set(every.round(9))
    assert drawn.mean() == pytest.approx(every.mean(), abs=0.03)
    np.testing.assert_array_equal(drawn, silhouette_widths(X, labels, most=300, seed=1))


def test_mixing_and_connectivity_are_those_of_scib() -> None:
    from scib.metrics import graph_connectivity as connectivity_of_scib
    from scib.metrics import silhouette_batch

    X, labels, batches = (one[10:] for one in space())
    obs = pd.DataFrame({"label": labels, "batch": batches}).astype("category")
    adata = ad.AnnData(obs=obs.set_index(obs.index.astype(str)), obsm={"X_emb": X})
    add_neighbours(adata, "X_emb", 0, weighted=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = silhouette_batch(adata, "batch", "label", "X_emb", verbose=False)
        connected = connectivity_of_scib(adata, "label")
    found = mixing_in_types(X, labels, batches)
    assert np.nanmean(found) == pytest.approx(expected, abs=1e-6)
    assert np.isnan(found).tolist() == [False, False, False, True, True]
    around = np.concatenate([one for _, _, one in nearest_in_blocks(X, NEIGHBOURS)])
    assert graph_connectivity(around, labels) == pytest.approx(connected)
    assert 0.9 < connected < 1


def test_connectivity_counts_the_largest_part_of_every_type() -> None:
    around = np.array([[0, 1], [1, 0], [2, 3], [3, 2], [4, 3]])
    assert graph_connectivity(around, list("aaaab")) == pytest.approx((0.5 + 1) / 2)
    assert np.isnan(graph_connectivity(around[:2], list("aa")))


def test_neighbours_are_the_same_in_any_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    X = space()[0][10:]
    ((_, distance, around),) = nearest_in_blocks(X, 7)
    expected = np.linalg.norm(X[:, None] - X, axis=2)
    np.testing.assert_array_equal(around, np.argsort(expected, axis=1)[:, :7])
    np.testing.assert_allclose(distance, np.sort(expected, axis=1)[:, :7], atol=1e-7)
    monkeypatch.setattr(neighbours, "_BLOCK", 100)
    parts = list(nearest_in_blocks(X, 7))
    assert len(parts) == 28
    np.testing.assert_array_equal(np.concatenate([one for _, _, one in parts]), around)
    assert np.concatenate([np.arange(len(X))[rows] for rows, _, _ in parts]).tolist() == list(
        range(len(X))
    )
