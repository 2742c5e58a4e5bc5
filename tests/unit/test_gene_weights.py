"""Gene weights against their definition, written as loops, and where there is nothing to learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from plkd.model.gene_weights import label_distance, separation
from plkd.model.reference import Reference


def cells_of(seed: int = 0, n_cells: int = 60, n_genes: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(3), rng.integers(0, 3, n_cells - 3)])
    values = rng.poisson(0.7, (n_cells, n_genes)) * rng.random((n_cells, n_genes))
    values[:, 0] += labels  # tells all labels apart
    values[:, 1] = 0.0  # not measured
    return values.astype(np.float32), labels


@pytest.mark.parametrize("seed", range(5))
def test_weights_are_the_range_of_the_means_over_the_deviation_within(seed):
    values, labels = cells_of(seed)
    expected, within = [], []
    for gene in values.astype(float).T:
        groups = [gene[labels == label] for label in range(3)]
        means = [group.mean() for group in groups]
        within.append(np.mean([group.var() for group in groups]))
        expected.append((max(means) - min(means)) / np.sqrt(within[-1] + 0.05))
    found = separation(sparse.csr_matrix(values), labels, 3)
    ratio = found[expected > np.float64(0)] / np.array(expected)[np.array(expected) > 0]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
    assert np.sum(found**2 * within) == pytest.approx(np.sum(within), rel=1e-3)
    assert found.argmax() == 0
    assert found.dtype == np.float32
    assert 0 < found[1] <= 0.01


def test_weights_do_not_depend_on_how_many_cells_a_label_has():
    values, labels = cells_of()
    often = np.concatenate([np.arange(60), np.repeat(np.flatnonzero(labels == 1), 5)])
    once = separation(sparse.csr_matrix(values), labels, 3)
    repeated = separation(sparse.csr_matrix(values[often]), labels[often], 3)
    np.testing.assert_allclose(once, repeated, rtol=1e-5)


def test_where_nothing_varies_all_weights_are_one():
    for values in (np.zeros((6, 4)), np.ones((6, 4))):
        labels = np.array([0, 0, 1, 1, 2, 2])
        assert (separation(sparse.csr_matrix(values), labels, 3) == 1).all()


def test_distance_is_to_the_nearest_other_label():
    values = np.array([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0], [0.0, 100.0]])
    labels = np.array([0, 0, 1, 2])
    cells = sparse.csr_matrix(values)
    to_nearest = [5.0, 5.0, 5.0, np.hypot(3, 96)]
    assert label_distance(cells, labels, 3) == pytest.approx(np.mean(to_nearest))
    assert label_distance(cells, labels, 3, np.array([2.0, 0.0])) == pytest.approx(1.5)
    assert label_distance(cells[:2], labels[:2], 1) == 0


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_label_noise_gives_a_share_of_the_cells_another_label(share):
    labels = np.repeat([0, 1, 2], [700, 290, 10])
    cells = sparse.csr_matrix((1000, 1), dtype=np.float32)
    reference = Reference(cells, labels, ["g"], ["a", "b", "c"])
    noisy = reference.with_label_noise(share, seed=1)
    changed = noisy.codes != labels
    assert changed.sum() == min(round(1000 * share), 997)
    assert np.array_equal(reference.codes, labels)
    assert set(noisy.codes[~changed]) == {0, 1, 2}  # no label is lost
    if share == 0.5:  # the two other labels are equally likely
        to = np.bincount(noisy.codes[changed & (labels == 0)], minlength=3)
        assert abs(to[1] - to[2]) < 4 * np.sqrt(to.sum())
    assert np.array_equal(noisy.codes, reference.with_label_noise(share, seed=1).codes)
