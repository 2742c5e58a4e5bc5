"""The losses against textbook loops, at their limits, and the direction of their descent."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

from plkd.model.losses import (
    clustering_loss,
    cross_entropy_loss,
    distillation_loss,
    self_entropy_loss,
)

CLUSTERING = [
    {"assignments": assignments, "kernel": kernel, "prefactor": prefactor}
    for assignments, kernel, prefactor in itertools.product(
        ["logits", "softmax"], ["fixed", "median"], ["labels", "pairs"]
    )
]
SELF_ENTROPY = [
    {"direction": direction, "mean_of": mean_of}
    for direction, mean_of in itertools.product(["maximise", "minimise"], ["logits", "softmax"])
]


def draw(
    seed: int = 0, n_cells: int = 12, n_labels: int = 4, width: int = 5
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embedding = 0.4 * torch.randn(n_cells, width, dtype=torch.float64, generator=generator)
    logits = torch.randn(n_cells, n_labels, dtype=torch.float64, generator=generator)
    return embedding, logits


def softmax(row: np.ndarray) -> np.ndarray:
    powers = [math.exp(value) for value in row]
    return np.array(powers) / sum(powers)


def textbook_clustering(
    embedding: np.ndarray, logits: np.ndarray, assignments: str, kernel: str, prefactor: str
) -> float:
    n, k = logits.shape
    squares = [
        [
            sum((a - b) ** 2 for a, b in zip(embedding[i], embedding[j], strict=True))
            for j in range(n)
        ]
        for i in range(n)
    ]
    divisor = 1.0
    if kernel == "median":
        in_order = sorted(value for row in squares for value in row)
        divisor = 2 * 0.15 * in_order[(n * n - 1) // 2]
    y = logits if assignments == "logits" else np.array([softmax(row) for row in logits])

    def m(a: int, b: int) -> float:
        return sum(
            y[i, a] * math.exp(-squares[i][j] / divisor) * y[j, b]
            for i in range(n)
            for j in range(n)
        )

    total = sum(m(a, b) / math.sqrt(m(a, a) * m(b, b)) for a in range(k) for b in range(a + 1, k))
    return total / k if prefactor == "labels" else total * 2 / (k * (k - 1))


def textbook_kl(student: np.ndarray, teacher: np.ndarray, temperature: float) -> float:
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        p, q = softmax(t / temperature), softmax(s / temperature)
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return total / len(student)


def textbook_entropy_of_mean(logits: np.ndarray, mean_of: str) -> float:
    if mean_of == "logits":
        p = softmax(sum(logits) / len(logits))
    else:
        p = sum(softmax(row) for row in logits) / len(logits)
    return -sum(value * math.log(value) for value in p)


@pytest.mark.parametrize("options", CLUSTERING)
@pytest.mark.parametrize("seed", range(3))
def test_clustering_loss_is_the_textbook_sum(options, seed):
    embedding, logits = draw(seed, n_cells=9 + seed, n_labels=2 + seed)
    expected = textbook_clustering(embedding.numpy(), logits.numpy(), **options)
    assert clustering_loss(embedding, logits, **options).item() == pytest.approx(
        expected, rel=1e-10
    )


@pytest.mark.parametrize("options", [o for o in CLUSTERING if o["kernel"] == "fixed"])
def test_clustering_gradient_is_that_of_finite_differences(options):
    embedding, logits = draw(n_cells=5, n_labels=3, width=2)
    inputs = (embedding.requires_grad_(), logits.requires_grad_())
    assert torch.autograd.gradcheck(lambda c, y: clustering_loss(c, y, **options), inputs)


def test_median_width_takes_no_gradient():
    """With s^2 held at the value it has, finite differences must see the same gradient."""
    embedding, logits = draw(n_cells=6, n_labels=3, width=2)
    squares = torch.cdist(embedding, embedding).pow(2)
    root = math.sqrt(0.3 * squares.flatten().sort().values[(36 - 1) // 2].item())
    scaled = (embedding / root).requires_grad_()
    left = embedding.clone().requires_grad_()
    clustering_loss(left, logits, kernel="median").backward()
    clustering_loss(scaled, logits, kernel="fixed").backward()
    torch.testing.assert_close(left.grad, scaled.grad / root)


@pytest.mark.parametrize("options", CLUSTERING)
def test_clustering_loss_does_not_depend_on_the_order_of_cells_or_labels(options):
    embedding, logits = draw()
    expected = clustering_loss(embedding, logits, **options)
    cells = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([2, 0, 3, 1])
    permuted = clustering_loss(embedding[cells], logits[cells][:, labels], **options)
    torch.testing.assert_close(permuted, expected)


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n_cells=st.integers(1, 20),
    spread=st.sampled_from([0.0, 1e-6, 1e-3, 1.0, 1e3]),
    offset=st.sampled_from([0.0, 1.0, 1e3]),
    height=st.sampled_from([0.0, 1e-6, 1.0, 1e4, 1e20]),
    options=st.sampled_from(CLUSTERING),
)
def test_clustering_loss_is_bounded_and_finite_for_any_batch(
    seed, n_cells, spread, offset, height, options
):
    """Every term is a cosine, so the sum over pairs of k labels lies within -+ k (k - 1) / 2."""
    embedding, logits = (tensor.float() for tensor in draw(seed, n_cells))
    embedding = (offset + spread * embedding).requires_grad_()
    logits = (height * logits).requires_grad_()
    loss = clustering_loss(embedding, logits, **options)
    limit = 1.0 if options["prefactor"] == "pairs" else 1.5
    assert abs(loss.item()) <= limit * 1.001
    loss.backward()
    assert torch.isfinite(embedding.grad).all()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("options", CLUSTERING)
@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_identical_embeddings_are_fully_similar(options, offset):
    _, logits = draw(n_cells=8)
    embedding = (offset + torch.randn(1, 48)).repeat(8, 1).requires_grad_()
    positive = logits.float().abs() + 0.1
    loss = clustering_loss(embedding, positive, **options)
    expected = textbook_clustering(
        np.zeros((8, 1)),
        positive.double().numpy(),
        **{**options, "kernel": "fixed"},
    )
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    loss.backward()
    assert embedding.grad.abs().max() < 1e-2  # 4e4 if taken from rounding errors


def test_median_kernel_sees_neither_scale_nor_place_of_the_embedding():
    embedding, logits = draw(n_cells=30)
    expected = clustering_loss(embedding, logits, kernel="median").item()
    for scale, offset in [(1e-3, 0.0), (1e3, 0.0), (1e-3, 5.0), (1.0, 100.0)]:
        moved = (embedding * scale + offset).float()
        found = clustering_loss(moved, logits.float(), kernel="median").item()
        assert found == pytest.approx(expected, rel=2e-2, abs=1e-3)


def test_clustering_loss_is_smallest_for_separate_clusters():
    labels = torch.arange(3).repeat_interleave(5)
    apart = 10.0 * torch.eye(3)[labels]
    one_hot = 20.0 * torch.eye(3)[labels]
    separate = clustering_loss(apart, one_hot, assignments="softmax").item()
    collapsed = clustering_loss(torch.zeros(15, 3), one_hot, assignments="softmax").item()
    assert separate == pytest.approx(0.0, abs=1e-6)
    assert collapsed == pytest.approx(1.0, rel=1e-5)  # (1 / 3) * three pairs, all cosines one


@pytest.mark.parametrize("options", CLUSTERING)
def test_clustering_loss_of_one_label_is_zero(options):
    embedding, logits = draw(n_labels=1)
    loss = clustering_loss(embedding.requires_grad_(), logits.requires_grad_(), **options)
    loss.backward()
    assert loss.item() == 0.0
    assert not logits.grad.any()


def test_cross_entropy_is_the_textbook_sum():
    _, logits = draw(n_cells=7)
    labels = torch.tensor([0, 1, 2, 3, 1, 1, 0])
    expected = 0.0
    for row, label in zip(logits.numpy(), labels.tolist(), strict=True):
        expected -= np.log(softmax(row))[label] / 7
    found = cross_entropy_loss(logits, labels)
    assert found.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0, 4.0])
@pytest.mark.parametrize("squared", [False, True])
def test_distillation_is_the_textbook_sum(temperature, squared):
    student, teacher = draw(0)[1], draw(1)[1]
    expected = textbook_kl(student.numpy(), teacher.numpy(), temperature)
    found = distillation_loss(
        student, teacher, temperature=temperature, temperature_squared=squared
    )
    assert found.item() == pytest.approx(expected * (temperature**2 if squared else 1), rel=1e-10)


def test_distillation_is_zero_for_equal_predictions_and_positive_otherwise():
    student, teacher = draw(0)[1].requires_grad_(), draw(1)[1]
    assert distillation_loss(student, teacher).item() > 0.01
    loss = distillation_loss(student, student.detach() + 5.0)  # logits are equal up to a constant
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-12)
    assert student.grad.abs().max() < 1e-12


@pytest.mark.parametrize("options", SELF_ENTROPY)
def test_self_entropy_is_the_textbook_sum(options):
    logits = draw(n_cells=6)[1]
    entropy = textbook_entropy_of_mean(logits.numpy(), options["mean_of"])
    expected = -entropy / 4 if options["direction"] == "maximise" else entropy / 4
    assert self_entropy_loss(logits, **options).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("options", SELF_ENTROPY)
def test_a_step_down_the_self_entropy_loss_goes_the_way_it_says(options):
    logits = draw(n_cells=6)[1].requires_grad_()
    before = textbook_entropy_of_mean(logits.detach().numpy(), options["mean_of"])
    self_entropy_loss(logits, **options).backward()
    stepped = (logits - 0.5 * logits.grad).detach().numpy()
    after = textbook_entropy_of_mean(stepped, options["mean_of"])
    assert (after > before) == (options["direction"] == "maximise")


@pytest.mark.parametrize("options", SELF_ENTROPY)
def test_self_entropy_gradient_is_that_of_finite_differences(options):
    logits = draw(n_cells=4, n_labels=3)[1].requires_grad_()
    assert torch.autograd.gradcheck(lambda y: self_entropy_loss(y, **options), (logits,))


EXTREME = {
    "one label in the batch": torch.tensor([[9.0, 0.0, 0.0]] * 6),
    "a single cell": torch.tensor([[1.0, -2.0, 0.5]]),
    "one label only": torch.randn(6, 1, generator=torch.Generator().manual_seed(0)),
    "zeros": torch.zeros(5, 3),
    "logits of 1e4": 1e4 * torch.tensor([[1.0, -1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 1.0, -3.0]]),
    "logits of 1e20": 1e20 * torch.tensor([[1.0, -1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 1.0, -3.0]]),
    "a label nobody has": torch.tensor([[0.0, 1.0, -1e20]] * 4),
}


@pytest.mark.parametrize("name", EXTREME)
def test_value_and_gradient_are_finite_at_the_limits(name):
    extreme = EXTREME[name]
    labels = torch.arange(len(extreme)) % extreme.shape[1]
    moderate = torch.randn(extreme.shape, generator=torch.Generator().manual_seed(1))
    embedding = torch.randn(len(extreme), 4, generator=torch.Generator().manual_seed(2))
    losses = [
        *(lambda y, o=o: clustering_loss(embedding, y, **o) for o in CLUSTERING),
        *(lambda y, o=o: self_entropy_loss(y, **o) for o in SELF_ENTROPY),
        lambda y: cross_entropy_loss(y, labels),
        lambda y: distillation_loss(y, moderate),
        lambda y: distillation_loss(y, extreme),
        lambda y: distillation_loss(moderate + 0.0 * y, extreme),
    ]
    for number, loss_of in enumerate(losses):
        logits = extreme.clone().requires_grad_()
        loss = loss_of(logits)
        loss.backward()
        assert torch.isfinite(loss), number
        assert torch.isfinite(logits.grad).all(), number
