"""The Teacher written the plain way: dense masked layer, full token matrix, torch's own attention.

It shares nothing with plkd.models.teacher but the names of the parameters, so the two can be
compared value by value and gradient by gradient. Slow and memory-hungry on purpose.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plkd.models.navigator import Navigator
from plkd.models.teacher import Teacher
from plkd.settings import TeacherSettings


@dataclass
class DenseOutput:
    logits: Tensor
    embedding: Tensor
    tokens: Tensor  # as they leave the Navigator
    updated: Tensor  # after the last layer
    attention: Tensor  # of the last layer, (cells, heads, patterns + 1, patterns + 1)


class DenseTeacher:
    """Own leaf copies of a Teacher's weights, by the Teacher's names, and the forward pass in
    full."""

    def __init__(self, teacher: Teacher, settings: TeacherSettings) -> None:
        self.settings = settings
        mask = teacher.navigator.mask()
        self.mask = torch.from_numpy(mask.toarray())  # (genes, patterns)
        self.n_genes, self.n_patterns = self.mask.shape
        dtype = teacher.cell.dtype
        self.parameters = {
            name: value.detach().clone().requires_grad_()
            for name, value in teacher.named_parameters()
            if not name.startswith("navigator.")
        }
        linear = nn.Linear(self.n_genes, self.n_patterns * settings.width, dtype=dtype)
        with torch.no_grad():
            linear.weight.normal_()  # weights outside the mask must not matter
            for pattern, entries in enumerate(split_entries(teacher.navigator)):
                rows = slice(pattern * settings.width, (pattern + 1) * settings.width)
                linear.weight[rows, self.mask[:, pattern]] = entries.T
            linear.bias.copy_(teacher.navigator.pattern_bias().flatten())
        self.navigator = linear

    def __call__(self, x: Tensor) -> DenseOutput:
        choice, n_cells = self.settings, len(x)
        inside = self.mask.T.repeat_interleave(choice.width, dim=0)
        tokens = F.linear(x, self.navigator.weight * inside, self.navigator.bias)
        tokens = tokens.view(n_cells, self.n_patterns, choice.width)
        if choice.token_norm:
            tokens = self._norm(tokens, "token_norm")
        joined = torch.cat([tokens, self.parameters["cell"].expand(n_cells, 1, -1)], dim=1)
        attention = joined
        for layer in range(choice.depth):
            joined, attention = self._layer(joined, f"layers.{layer}")
        embedding = joined[:, -1]
        if choice.final_norm:
            embedding = self._norm(embedding, "final_norm")
        before = embedding
        if choice.pre_logits:
            before = torch.tanh(self._linear(embedding, "pre_logits.0"))
        return DenseOutput(
            self._linear(before, "classifier"), embedding, tokens, joined[:, :-1], attention
        )

    def _layer(self, joined: Tensor, name: str) -> tuple[Tensor, Tensor]:
        prenorm = self.settings.block == "prenorm"
        normed = self._norm(joined, f"{name}.norm") if prenorm else joined
        attended, attention = self._attention(normed, name)
        joined = joined + attended if prenorm else attended
        if self.settings.mlp_ratio:
            inner = self._norm(joined, f"{name}.mlp.0") if prenorm else joined
            inner = F.gelu(self._linear(inner, f"{name}.mlp.1"))
            joined = joined + self._linear(inner, f"{name}.mlp.4")
        return joined, attention

    def _attention(self, normed: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """torch's attention divides by the root of the head's width: the query makes up for the
        rest."""
        weights, heads = self.parameters, self.settings.heads
        factor = heads**-0.5 if self.settings.attention_scale == "width" else 1.0
        in_bias = torch.cat(
            [
                weights[f"{name}.query.bias"] * factor,
                weights[f"{name}.key.bias"],
                weights[f"{name}.value.bias"],
            ]
        )
        tokens_first = normed.transpose(0, 1)
        attended, attention = F.multi_head_attention_forward(
            tokens_first,
            tokens_first,
            tokens_first,
            self.settings.width,
            heads,
            None,
            in_bias,
            None,
            None,
            False,
            0.0,
            weights[f"{name}.output.weight"],
            weights[f"{name}.output.bias"],
            use_separate_proj_weight=True,
            q_proj_weight=weights[f"{name}.query.weight"] * factor,
            k_proj_weight=weights[f"{name}.key.weight"],
            v_proj_weight=weights[f"{name}.value.weight"],
            average_attn_weights=False,
        )
        assert attention is not None
        return attended.transpose(0, 1), attention

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]
        mean = x.mean(dim=-1, keepdim=True)
        variance = (x - mean).pow(2).mean(dim=-1, keepdim=True)
        return (x - mean) / torch.sqrt(variance + 1e-5) * weight + bias


def split_entries(navigator: Navigator) -> list[Tensor]:
    """Weights of every pattern's genes, (genes of the pattern, width), genes in ascending order."""
    starts = navigator.mask().indptr
    return list(navigator.entry_weights().split((starts[1:] - starts[:-1]).tolist()))


def gradient_pairs(teacher: Teacher, dense: DenseTeacher) -> dict[str, tuple[Tensor, Tensor]]:
    """Gradients (Teacher's, dense) after a backward pass of both, in the same layout, by name."""
    pairs = {}
    for name, parameter in teacher.named_parameters():
        if not name.startswith("navigator."):
            other = dense.parameters[name].grad
            zero = torch.zeros_like(parameter)
            pairs[name] = (
                zero if parameter.grad is None else parameter.grad,
                zero if other is None else other,
            )
    gradients = copy.deepcopy(teacher.navigator)  # a Navigator whose weights are the gradients
    assert teacher.navigator.weight.grad is not None
    assert teacher.navigator.bias.grad is not None
    assert dense.navigator.weight.grad is not None
    assert dense.navigator.bias.grad is not None
    gradients.weight.data = teacher.navigator.weight.grad
    gradients.bias.data = teacher.navigator.bias.grad
    width = teacher.navigator.width
    shaped = dense.navigator.weight.grad.view(dense.n_patterns, width, dense.n_genes)
    expected = [shaped[j][:, dense.mask[:, j]].T for j in range(dense.n_patterns)]
    pairs["navigator.weight"] = (gradients.entry_weights(), torch.cat(expected))
    pairs["navigator.bias"] = (
        gradients.pattern_bias(),
        dense.navigator.bias.grad.view(dense.n_patterns, width),
    )
    return pairs
