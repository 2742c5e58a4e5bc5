"""The jury: the models beside the Teacher from which the Student learns, and how they are weighed.

A single model leads on one transfer and falls behind on the next: what is robust across studies
gives away a little within a sample. Distillation costs the Student nothing when it labels cells,
so its soft labels are a weighted mean of the probabilities of several: the Teacher, a network of
the Student's own shape that learns from the labels, and linear models that each lead somewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plkd.model.distillation import distil
from plkd.model.linear import COMPONENTS, LinearModel, fit_logistic_regression
from plkd.model.reference import Reference
from plkd.model.student import Student
from plkd.model.trained_network import TrainedNetwork
from plkd.settings.models import Settings

NETWORK = "network"
LINEAR: dict[str, dict[str, float | bool | int]] = {
    "ridge": {"balanced": True, "inverse_penalty": 1e-3},
    "scaled_ridge": {"balanced": True, "scaled": True, "inverse_penalty": 1e-2},
    "scaled": {"scaled": True},
    "balanced": {"balanced": True},
    "plain": {},
    "components": {"components": COMPONENTS},
}
MEMBERS = (NETWORK, *LINEAR)
"""All but the Teacher, whose weight is a part of the network's (:func:`shared_with_teacher`)."""

# What is right across studies, before there is evidence: the robust ones.
ACROSS_STUDIES = {NETWORK: 0.5, "ridge": 1 / 3, "scaled_ridge": 1 / 6}
# The Teacher and the network are of one kind, but a Teacher is too slow to be trained on every
# fold: what is found for the network is shared by both.
_SHARE_OF_TEACHER = 1 / 3
_DROPOUT = 0.4
_TINY = 1e-8
_EM_STEPS = 300


class LinearMember(nn.Module):
    """A :class:`~plkd.model.linear.LinearModel` for batches of tensors."""

    weight: Tensor
    bias: Tensor

    def __init__(self, model: LinearModel) -> None:
        super().__init__()
        self.register_buffer("weight", torch.from_numpy(model.weights))
        self.register_buffer("bias", torch.from_numpy(model.bias))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (cells, labels) of cells (cells, genes)."""
        return x @ self.weight.T + self.bias


class NetworkMember(nn.Module):
    """The logits of a Teacher, or of a network of the Student's shape."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (cells, labels) of cells (cells, genes)."""
        logits: Tensor = self.network(x)[0]
        return logits


@dataclass(frozen=True)
class Juror:
    """A member with its voice.

    Attributes
    ----------
    member
        From cells (cells, genes) to logits (cells, labels).
    temperature
        Its logits are divided by this.
    weight
        Of its probabilities among those of all.
    """

    member: nn.Module
    temperature: float
    weight: float


class Jury:
    """Weighted mean of the probabilities of several models.

    Parameters
    ----------
    jurors
        By name. Those without weight are not asked.
    device
        A torch device.
    """

    def __init__(self, jurors: Mapping[str, Juror], device: str = "cpu") -> None:
        self.jurors = {
            name: Juror(one.member.to(device).eval(), one.temperature, one.weight)
            for name, one in jurors.items()
            if one.weight > 0
        }

    def __call__(self, x: Tensor) -> Tensor:
        """Logarithms of the mean probabilities, (cells, labels): logits of the jury."""
        parts = [
            one.weight * torch.softmax(one.member(x) / one.temperature, dim=1)
            for one in self.jurors.values()
        ]
        mean = torch.stack(parts).sum(dim=0)
        return torch.log(mean + _TINY)


def fit_members(
    reference: Reference, settings: Settings, *, seed: int = 0, device: str = "cpu"
) -> dict[str, nn.Module]:
    """Fit all members on a reference; gives modules from cells to logits, on the CPU."""
    n_labels = len(reference.labels)
    # of the Student's shape, but it learns from labels, which takes what a Teacher's training takes
    own = replace(
        settings,
        student=replace(settings.student, dropout=_DROPOUT),
        student_training=settings.teacher_training,
    )
    network, _ = distil(reference, None, own, seed=seed, device=device, progress=False, watch=False)
    linear = {
        name: LinearMember(
            fit_logistic_regression(reference.cells, reference.codes, n_labels, **how)  # type: ignore[arg-type]
        )
        for name, how in LINEAR.items()
    }
    return {NETWORK: NetworkMember(network.network), **linear}


def empty_member(name: str, n_genes: int, n_labels: int, settings: Settings) -> nn.Module:
    """A member whose weights are yet to be filled in."""
    if name == NETWORK:
        return NetworkMember(Student(n_genes, n_labels, settings.student))
    zeros = np.zeros((n_labels, n_genes), dtype=np.float32)
    return LinearMember(LinearModel(zeros, zeros[:, 0].copy()))


def shared_with_teacher(jurors: Mapping[str, Juror], teacher: TrainedNetwork) -> dict[str, Juror]:
    """The jurors with the Teacher among them."""
    network = jurors[NETWORK]
    own = network.weight * (1 - _SHARE_OF_TEACHER)
    taken = network.weight * _SHARE_OF_TEACHER
    return {
        **jurors,
        NETWORK: Juror(network.member, network.temperature, own),
        "teacher": Juror(NetworkMember(teacher.network), network.temperature, taken),
    }


def weigh(
    probabilities: NDArray[np.floating],
    importance: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Weights of a mixture that make what was held out most likely.

    The log-likelihood is concave in the weights; expectation-maximisation climbs it.

    Parameters
    ----------
    probabilities
        What every member gave to the true label of each held-out cell, (members, cells).
    importance
        Weight of each cell, (cells,).

    Returns
    -------
    float64 array of shape (members,)
        They sum to one.
    """
    weights = np.full(len(probabilities), 1 / len(probabilities))
    for _ in range(_EM_STEPS):
        shares = weights[:, None] * probabilities
        shares /= shares.sum(axis=0)
        weights = shares @ importance
        weights /= weights.sum()
    return weights
