"""The Teacher written the plain way: dense masked layer, full token matrix, torch's own attention.

It shares nothing with plkd.model.teacher, so the two can be compared value by value, gradient by
gradient and, in tests/benchmarks, second by second. Slow and memory-hungry by nature.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plkd.model.navigator import Navigator
from plkd.model.teacher import AttentionLayer, Teacher
from plkd.settings.models import TeacherSettings


@dataclass
class DenseOutput:
    logits: Tensor
    embedding: Tensor
    tokens: Tensor  # as they leave the Navigator
    updated: Tensor  # after the last layer
    attention: Tensor | None  # of the last layer, (cells, heads, tokens + 1, tokens + 1)


class MaskedLinear(nn.Linear):
    """A dense layer from genes to all tokens; what lies outside the mask is multiplied by zero."""

    def __init__(self, navigator: Navigator) -> None:
        mask = torch.from_numpy(navigator.mask().toarray())  # (genes, tokens)
        n_genes, n_tokens = mask.shape
        width, dtype = navigator.width, navigator.weight.dtype
        super().__init__(n_genes, n_tokens * width, dtype=dtype)
        self.inside: Tensor
        self.register_buffer("inside", mask.T.repeat_interleave(width, dim=0).to(dtype))
        self.masked_once = False
        with torch.no_grad():
            self.weight.normal_()  # weights outside the mask must not matter
            for token, entries in enumerate(split_entries(navigator)):
                rows = slice(token * width, (token + 1) * width)
                self.weight[rows, mask[:, token]] = entries.T
            self.bias.copy_(navigator.token_bias().flatten())

    def mask_once(self) -> None:
        """For inference alone: mask the weights now and not in every pass."""
        with torch.no_grad():
            self.weight *= self.inside
        self.masked_once = True

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight if self.masked_once else self.weight * self.inside
        return F.linear(x, weight, self.bias)


class DenseLayer(nn.Module):
    """One attention layer over all tokens."""

    def __init__(self, layer: AttentionLayer, settings: TeacherSettings) -> None:
        super().__init__()
        width, dtype = settings.width, layer.query.weight.dtype
        prenorm = settings.block == "prenorm"
        self.residual = prenorm
        self.norm = nn.LayerNorm(width, dtype=dtype) if prenorm else nn.Identity()
        self.attention = nn.MultiheadAttention(width, settings.heads, batch_first=True, dtype=dtype)
        # torch divides by the root of the head's width: the query makes up for the rest
        self.query_factor = settings.heads**-0.5 if settings.attention_scale == "width" else 1.0
        self.mlp: nn.Sequential | None = None
        if settings.mlp_ratio:
            hidden = round(width * settings.mlp_ratio)
            self.mlp = nn.Sequential(
                nn.LayerNorm(width, dtype=dtype) if prenorm else nn.Identity(),
                nn.Linear(width, hidden, dtype=dtype),
                nn.GELU(),
                nn.Identity(),  # dropout, so that the names are the Teacher's
                nn.Linear(hidden, width, dtype=dtype),
            )
        parts = [layer.query, layer.key, layer.value]
        factors = [self.query_factor, 1.0, 1.0]
        joined = {
            f"attention.in_proj_{name}": torch.cat(
                [getattr(part, name) * factor for part, factor in zip(parts, factors, strict=True)]
            )
            for name in ("weight", "bias")
        }
        joined["attention.out_proj.weight"] = layer.output.weight
        joined["attention.out_proj.bias"] = layer.output.bias
        same = {
            name: value
            for name, value in layer.state_dict().items()
            if name.startswith(("norm.", "mlp."))
        }
        self.load_state_dict(joined | same)

    def forward(self, joined: Tensor, with_attention: bool) -> tuple[Tensor, Tensor | None]:
        normed = self.norm(joined)
        attended, attention = self.attention(
            normed, normed, normed, need_weights=with_attention, average_attn_weights=False
        )
        joined = joined + attended if self.residual else attended
        if self.mlp is not None:
            joined = joined + self.mlp(joined)
        return joined, attention

    def gradients(self) -> dict[str, Tensor | None]:
        """Gradients by the names of an AttentionLayer's parameters."""
        found = {name: p.grad for name, p in self.named_parameters() if "attention." not in name}
        found["output.weight"] = self.attention.out_proj.weight.grad
        found["output.bias"] = self.attention.out_proj.bias.grad
        for name in ("weight", "bias"):
            gradient = getattr(self.attention, f"in_proj_{name}").grad
            query, key, value = gradient.chunk(3)
            found[f"query.{name}"] = query * self.query_factor
            found[f"key.{name}"], found[f"value.{name}"] = key, value
        return found


class DenseTeacher(nn.Module):
    """A copy of a Teacher's weights, and the forward pass in full, without dropout."""

    def __init__(self, teacher: Teacher, settings: TeacherSettings) -> None:
        super().__init__()
        width, dtype = settings.width, teacher.cell.dtype
        self.width = width

        def norm(wanted: bool) -> nn.Module:
            return nn.LayerNorm(width, dtype=dtype) if wanted else nn.Identity()

        self.navigator = MaskedLinear(teacher.navigator)
        self.token_norm = norm(settings.token_norm)
        self.cell = nn.Parameter(torch.empty_like(teacher.cell))
        self.layers = nn.ModuleList(
            DenseLayer(layer, settings)
            for layer in teacher.layers  # type: ignore[arg-type]
        )
        self.final_norm = norm(settings.final_norm)
        self.pre_logits = nn.Sequential()
        if settings.pre_logits:
            self.pre_logits = nn.Sequential(nn.Linear(width, width, dtype=dtype), nn.Tanh())
        self.classifier = nn.Linear(width, teacher.classifier.out_features, dtype=dtype)
        same = {
            name: value
            for name, value in teacher.state_dict().items()
            if not name.startswith(("navigator.", "layers.", "input_scale"))
        }
        self.load_state_dict(self.state_dict() | same)

    def forward(self, x: Tensor, *, with_attention: bool = False) -> DenseOutput:
        n_cells = len(x)
        tokens = self.token_norm(self.navigator(x).view(n_cells, -1, self.width))
        joined = torch.cat([tokens, self.cell.expand(n_cells, 1, -1)], dim=1)
        attention = None
        for layer in self.layers:
            joined, attention = layer(joined, with_attention)
        embedding = self.final_norm(joined[:, -1])
        logits = self.classifier(self.pre_logits(embedding))
        return DenseOutput(logits, embedding, tokens, joined[:, :-1], attention)

    def gradients(self) -> dict[str, Tensor | None]:
        """Gradients by the names of the Teacher's parameters; the Navigator's left out."""
        found = {
            name: parameter.grad
            for name, parameter in self.named_parameters()
            if not name.startswith(("navigator.", "layers."))
        }
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, DenseLayer)
            found |= {f"layers.{number}.{name}": g for name, g in layer.gradients().items()}
        return found


def split_entries(navigator: Navigator) -> list[Tensor]:
    """Weights of every token's genes, (genes of the token, width), genes in ascending order."""
    starts = navigator.mask().indptr
    return list(navigator.entry_weights().split((starts[1:] - starts[:-1]).tolist()))


def gradient_pairs(teacher: Teacher, dense: DenseTeacher) -> dict[str, tuple[Tensor, Tensor]]:
    """Gradients (Teacher's, dense) after a backward pass of both, in the same layout, by name."""
    pairs = {}
    expected = dense.gradients()
    for name, parameter in teacher.named_parameters():
        if not name.startswith("navigator."):
            zero = torch.zeros_like(parameter)
            found, other = parameter.grad, expected[name]
            pairs[name] = (zero if found is None else found, zero if other is None else other)
    gradients = copy.deepcopy(teacher.navigator)  # a Navigator whose weights are the gradients
    assert teacher.navigator.weight.grad is not None
    assert teacher.navigator.bias.grad is not None
    assert dense.navigator.weight.grad is not None
    assert dense.navigator.bias.grad is not None
    gradients.weight.data = teacher.navigator.weight.grad
    gradients.bias.data = teacher.navigator.bias.grad
    mask, width = teacher.navigator.mask().toarray(), teacher.navigator.width
    shaped = dense.navigator.weight.grad.view(-1, width, len(mask))
    inside = [shaped[j][:, mask[:, j]].T for j in range(mask.shape[1])]
    pairs["navigator.weight"] = (gradients.entry_weights(), torch.cat(inside))
    pairs["navigator.bias"] = (
        gradients.token_bias(),
        dense.navigator.bias.grad.view(-1, width),
    )
    return pairs
