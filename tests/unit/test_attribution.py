"""Attributions add up for any Student, and come close to Shapley values found by brute force."""

from __future__ import annotations

import dataclasses
from itertools import combinations
from math import comb

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import sparse

from plkd.errors import InputError
from plkd.interpret.attribution import attribute_genes
from plkd.models.background import Background
from plkd.models.checkpoint import TrainedModel
from plkd.models.student import Student
from plkd.models.teacher import Teacher
from plkd.reference import Reference
from plkd.settings import Settings, StudentSettings, TeacherSettings
from simulated import make_cells as simulated_cells

CLASSES = ["A", "B", "C"]


def make_student(hidden: tuple[int, ...], n_genes: int = 40, dropout: float = 0.0, seed: int = 0):
    torch.manual_seed(seed)
    network = Student(
        n_genes, len(CLASSES), StudentSettings(hidden, dropout), torch.rand(n_genes) + 0.5
    )
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 2:  # as steep as a trained one, or steeper
                parameter.mul_(3.0)
            else:
                parameter.add_(0.3 * torch.randn_like(parameter))
    genes = [f"G{i}" for i in range(n_genes)]
    return TrainedModel(network, genes, CLASSES, Settings())


def make_cells(n_cells: int, n_genes: int, seed: int) -> sparse.csr_matrix:
    rng = np.random.default_rng(seed)
    return (
        sparse.random(n_cells, n_genes, 0.4, format="csr", dtype=np.float32, random_state=rng) * 4
    )


def make_background(n_genes: int, seed: int = 5) -> Background:
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    cells = make_cells(len(labels), n_genes, seed)
    means = np.stack([cells[labels == i].toarray().mean(axis=0) for i in range(3)])
    return Background(cells, labels, means)


def logits_of(model: TrainedModel, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        network = model.network.double().eval()
        return network(torch.from_numpy(np.atleast_2d(x)).double())[0].numpy()


def shapley_values(model: TrainedModel, x: np.ndarray, background: Background) -> np.ndarray:
    """Shapley values (classes, genes) of every subset of genes, by the definition."""
    n = len(x)
    value = {}
    for size in range(n + 1):
        for subset in combinations(range(n), size):
            mixed = background.cells.toarray().astype(float)
            mixed[:, list(subset)] = x[list(subset)]
            value[subset] = background.weights @ logits_of(model, mixed)
    found = np.zeros((len(CLASSES), n))
    for gene in range(n):
        others = [other for other in range(n) if other != gene]
        for size in range(n):
            weight = 1 / (n * comb(n - 1, size))
            for subset in combinations(others, size):
                joined = tuple(sorted((*subset, gene)))
                found[:, gene] += weight * (value[joined] - value[subset])
    return found


ALL = np.arange(3)


@pytest.mark.parametrize("hidden", [(), (16,), (32, 8), (12, 12, 12)])
@pytest.mark.parametrize("segments", [1, 2, 5])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_attributions_add_up(hidden, segments, dropout):
    model = make_student(hidden, dropout=dropout)
    model.network.train()  # dropout must not matter
    cells, background = make_cells(9, 40, 1), make_background(40)
    found = attribute_genes(
        model, cells, background, np.tile(ALL, (9, 1)), segments=segments, progress=False
    )
    base = background.weights @ logits_of(model, background.cells.toarray())
    expected = logits_of(model, cells.toarray()) - base
    np.testing.assert_allclose(found.values.sum(axis=2, dtype=float), expected, atol=1e-5)
    assert abs(found.error).max() < 1e-12 * max(1, abs(expected).max())
    np.testing.assert_allclose(found.base, base, atol=1e-10)


def test_a_linear_student_is_exact():
    model, background = make_student((), n_genes=6), make_background(6)
    x = make_cells(1, 6, 2)
    found = attribute_genes(model, x, background, ALL[None], progress=False)
    expected = shapley_values(model, x.toarray()[0].astype(float), background)
    np.testing.assert_allclose(found.values[0], expected, atol=1e-6)


def trained_student(seed: int) -> tuple[TrainedModel, Background, sparse.csr_matrix]:
    """A network that tells three types apart by eight genes."""
    cells = simulated_cells(300, 110, types=3, seed=seed)
    values = cells.X.toarray()
    values = np.log1p(values / values.sum(axis=1, keepdims=True) * 1e4)
    genes = ["MS4A1", "CD79A", "IL7R", "CD4", "CD8A", "CD8B", "ACTB", "GNLY"]
    x = values[:, [cells.var_names.get_loc(gene) for gene in genes]].astype(np.float32)
    labels = cells.obs["cell_type"].cat.codes.to_numpy().astype(int)
    torch.manual_seed(seed)
    network = Student(8, 3, StudentSettings((32, 16), 0.1))
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    rng = np.random.default_rng(seed)
    for _ in range(200):
        some = rng.choice(len(x), 64)
        loss = F.cross_entropy(
            network(torch.from_numpy(x[some]))[0], torch.from_numpy(labels[some])
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    reference = Reference(sparse.csr_matrix(x), labels, genes, CLASSES)
    model = TrainedModel(network, genes, CLASSES, Settings())
    return model, Background.sample(reference, 9, seed), sparse.csr_matrix(x[:4])


@pytest.mark.parametrize("seed", range(2))
def test_close_to_shapley_values_of_a_trained_network(seed):
    model, background, cells = trained_student(seed)
    found = attribute_genes(model, cells, background, np.tile(ALL, (4, 1)), progress=False)
    exact = np.stack([shapley_values(model, x.astype(float), background) for x in cells.toarray()])
    error = np.linalg.norm(found.values - exact) / np.linalg.norm(exact)
    assert error < 0.25
    assert np.corrcoef(found.values.ravel(), exact.ravel())[0, 1] > 0.97


def test_many_segments_are_the_expected_gradient():
    model, background = make_student((10, 6), n_genes=12), make_background(12)
    x = make_cells(1, 12, 3)
    network = model.network.double().eval()
    points, weights = np.polynomial.legendre.leggauss(60)
    start = torch.from_numpy(background.cells.toarray()).double()
    change = torch.from_numpy(x.toarray()).double() - start
    gradient = torch.zeros_like(start)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        here = (start + point * change).requires_grad_()
        gradient += weight * torch.autograd.grad(network(here)[0][:, 1].sum(), here)[0]
    expected = (torch.from_numpy(background.weights)[:, None] * change * gradient).sum(dim=0)
    found = attribute_genes(
        model, x, background, np.array([[1]]), segments=200, progress=False
    ).values[0, 0]
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-3 * abs(expected).max().item())


def test_order_of_genes_and_cells_does_not_matter():
    model, background = make_student((16, 8)), make_background(40)
    cells = make_cells(5, 40, 4)
    found = attribute_genes(model, cells, background, progress=False)
    order = np.random.default_rng(0).permutation(40)
    moved = make_student((16, 8))
    moved.network.load_state_dict(model.network.state_dict())
    with torch.no_grad():
        moved.network.hidden[0].weight.copy_(model.network.hidden[0].weight[:, order])
        moved.network.input_scale.copy_(model.network.input_scale[order])
    permuted = Background(
        background.cells[:, order], background.labels, background.label_means[:, order]
    )
    again = attribute_genes(moved, cells[::-1][:, order], permuted, progress=False)
    np.testing.assert_allclose(again.values[::-1], found.values[:, :, order], atol=1e-6)


def test_what_says_nothing_gets_nothing():
    model, background = make_student((16,)), make_background(40)
    with torch.no_grad():
        model.network.hidden[0].weight[:, 3] = 0  # no weight
        model.network.input_scale[4] = 0
    cells = make_cells(6, 40, 6).tolil()
    cells[:, 7] = 1.5
    known = background.cells.tolil()
    known[:, 7] = 1.5  # the same everywhere
    background = dataclasses.replace(background, cells=known.tocsr())
    found = attribute_genes(model, cells.tocsr(), background, progress=False).values
    assert (found[:, :, [3, 4]] == 0).all()
    assert abs(found[:, :, 7]).max() < 1e-6
    assert (abs(found).sum(axis=(0, 1)) > 0).sum() >= 30


def test_a_cell_that_is_the_background():
    model = make_student((16, 8))
    cell = make_cells(1, 40, 8)
    background = Background(cell, np.array([0]), np.zeros((1, 40), dtype=np.float32))
    found = attribute_genes(model, cell, background, ALL[None], progress=False)
    np.testing.assert_allclose(found.values, 0, atol=1e-14)
    assert abs(found.error).max() < 1e-12


def test_no_target_means_the_predicted_class():
    model, background = make_student((16,)), make_background(40)
    cells = make_cells(7, 40, 9)
    found = attribute_genes(model, cells, background, progress=False)
    predicted = logits_of(model, cells.toarray()).argmax(axis=1)
    np.testing.assert_array_equal(found.targets[:, 0], predicted)
    chosen = attribute_genes(model, cells, background, predicted[:, None], progress=False)
    np.testing.assert_array_equal(found.values, chosen.values)


def test_no_cells():
    found = attribute_genes(
        make_student((8,)), make_cells(0, 40, 0), make_background(40), progress=False
    )
    assert found.values.shape == (0, 1, 40)


def test_what_cannot_be_attributed():
    model, background = make_student((8,)), make_background(40)
    with pytest.raises(InputError, match="39 genes, the model expects 40"):
        attribute_genes(model, make_cells(2, 39, 0), background, progress=False)
    with pytest.raises(InputError, match="background's cells have 12 genes"):
        attribute_genes(model, make_cells(2, 40, 0), make_background(12), progress=False)
    teacher = Teacher(np.ones((40, 2), dtype=bool), 3, TeacherSettings(width=8))
    about = TrainedModel(teacher, model.genes, CLASSES, Settings(), ["p", "q"])
    with pytest.raises(InputError, match="this model is a Teacher"):
        attribute_genes(about, make_cells(2, 40, 0), background, progress=False)
    with torch.no_grad():
        model.network.hidden[0].weight[0, 0] = torch.nan
    with pytest.raises(ArithmeticError, match="finite"):
        attribute_genes(model, make_cells(2, 40, 0), background, progress=False)


def reference_of(sizes: dict[str, int], n_genes: int = 10) -> Reference:
    labels = [name for name, size in sizes.items() for _ in range(size)]
    return Reference.from_names(
        make_cells(len(labels), n_genes, 0), labels, [f"G{i}" for i in range(n_genes)]
    )


@pytest.mark.parametrize(
    ("sizes", "n_cells", "expected"),
    [
        ({"A": 50, "B": 50}, 20, [10, 10]),
        ({"A": 50, "B": 3, "C": 50}, 20, [9, 3, 8]),
        ({"A": 2, "B": 1}, 20, [2, 1]),
        ({"A": 500, "B": 5, "C": 5}, 1, [1, 1, 1]),
    ],
)
def test_a_background_is_even_over_labels(sizes, n_cells, expected):
    reference = reference_of(sizes)
    background = Background.sample(reference, n_cells, seed=3)
    counts = np.bincount(background.labels)
    assert sorted(counts) == sorted(expected)
    of_label = np.bincount(background.labels, weights=background.weights)
    np.testing.assert_allclose(of_label, 1 / len(sizes))
    again = Background.sample(reference, n_cells, seed=3)
    np.testing.assert_array_equal(again.cells.toarray(), background.cells.toarray())
    everything = {row.tobytes() for row in reference.cells.toarray()}
    assert all(row.tobytes() in everything for row in background.cells.toarray())
    for code in range(len(sizes)):
        np.testing.assert_allclose(
            background.label_means[code],
            reference.cells[reference.labels == code].toarray().mean(axis=0),
            rtol=1e-5,
        )


def test_a_background_without_cells_holds_the_means_of_the_labels():
    background = Background.sample(reference_of({"A": 5, "B": 7}), 0, seed=0)
    np.testing.assert_array_equal(background.cells.toarray(), background.label_means)
    np.testing.assert_allclose(background.weights, 0.5)
