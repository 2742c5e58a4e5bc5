"""Teacher: pattern tokens -> cell embedding -> logits.

Only the cell token (cls) of the last attention layer is read, so that layer is computed for its one
query: the score of token j under head t is ``u_j . a_t`` with ``a_t = W_K,t^T q_t / scale``, and
the head's output is ``W_V,t (sum_j alpha_tj u_j)``. The key bias adds the same number to all scores
of a head and cancels; the value bias passes through because the weights sum to one. This is exact,
and costs O(patterns * width * heads) per cell, not O(patterns^2 * width + patterns * width^2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor, nn

from plkd.models.navigator import Navigator
from plkd.settings import TeacherSettings


@dataclass(frozen=True)
class TokenView:
    """What interpretation reads from the Teacher.

    Attributes
    ----------
    tokens
        Pattern tokens v_j as they leave the Navigator, (cells, patterns, width).
    updated
        Pattern tokens r_j after the last attention layer, (cells, patterns, width).
    attention
        Attention maps of the last layer, (cells, heads, patterns + 1, patterns + 1); the cell token
        is the last row and column.
    """

    tokens: Tensor
    updated: Tensor
    attention: Tensor


class AttentionLayer(nn.Module):
    """Self-attention over tokens, in full or for the cell token alone."""

    def __init__(self, settings: TeacherSettings, drop_path: float) -> None:
        super().__init__()
        width = settings.width
        prenorm = settings.block == "prenorm"
        self.heads = settings.heads
        self.scale = math.sqrt(width if settings.attention_scale == "width" else width / self.heads)
        self.residual = prenorm
        self.attention_dropout = settings.attention_dropout
        self.drop_path = drop_path
        self.norm = nn.LayerNorm(width) if prenorm else nn.Identity()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.dropout = nn.Dropout(settings.token_dropout)
        self.mlp: nn.Module | None = None
        if settings.mlp_ratio > 0:
            hidden = round(width * settings.mlp_ratio)
            self.mlp = nn.Sequential(
                nn.LayerNorm(width) if prenorm else nn.Identity(),
                nn.Linear(width, hidden),
                nn.GELU(),
                nn.Dropout(settings.token_dropout),
                nn.Linear(hidden, width),
                nn.Dropout(settings.token_dropout),
            )

    def cell_token(self, tokens: Tensor, cell: Tensor) -> Tensor:
        """Updated cell token (cells, width) from tokens (cells, patterns, width) and cell token.

        `cell` has shape (cells, width), or (1, width) when it is the same for all cells.
        """
        normed, normed_cell = self.norm(tokens), self.norm(cell)
        n_cells, _, width = tokens.shape
        per_head = width // self.heads
        query = self.query(normed_cell).view(-1, self.heads, per_head)
        key_weight = self.key.weight.view(self.heads, per_head, width)
        direction = torch.einsum("bhd,hdw->bhw", query, key_weight) / self.scale
        normed_cell = normed_cell.expand(n_cells, width)
        if direction.shape[0] == 1:
            scores = normed @ direction[0].T  # (cells, patterns, heads)
        else:
            scores = normed @ direction.transpose(1, 2)
        own = (direction * normed_cell[:, None, :]).sum(
            dim=2
        )  # the cell token attends to itself too
        weights = torch.cat([scores, own[:, None, :]], dim=1).softmax(dim=1)
        weights = F.dropout(weights, self.attention_dropout, self.training)
        pooled = weights[:, :-1].transpose(1, 2) @ normed  # (cells, heads, width)
        pooled = pooled + weights[:, -1, :, None] * normed_cell[:, None, :]
        value_weight = self.value.weight.view(self.heads, per_head, width)
        values = torch.einsum("bhw,hdw->bhd", pooled, value_weight)
        # With dropout the weights no longer sum to one, and the value bias scales with their sum.
        bias = self.value.bias.view(self.heads, per_head) * weights.sum(dim=1)[:, :, None]
        return self._finish(cell, self.output((values + bias).reshape(n_cells, width)))

    def all_tokens(
        self, tokens: Tensor, *, with_attention: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Updated tokens, shaped like `tokens` (cells, tokens, width); attention maps if asked."""
        normed = self.norm(tokens)
        n_cells, n_tokens, width = tokens.shape

        def heads(projection: nn.Linear) -> Tensor:
            return projection(normed).view(n_cells, n_tokens, self.heads, -1).transpose(1, 2)

        query, key, value = heads(self.query), heads(self.key), heads(self.value)
        attention = None
        if with_attention:
            attention = (query @ key.transpose(2, 3) / self.scale).softmax(dim=3)
            mixed = attention @ value
        else:
            dropout = self.attention_dropout if self.training else 0.0
            mixed = F.scaled_dot_product_attention(
                query, key, value, dropout_p=dropout, scale=1.0 / self.scale
            )
        mixed = mixed.transpose(1, 2).reshape(n_cells, n_tokens, width)
        return self._finish(tokens, self.output(mixed)), attention

    def _finish(self, before: Tensor, attended: Tensor) -> Tensor:
        attended = self.dropout(attended)
        after = before + self._drop(attended) if self.residual else attended
        if self.mlp is not None:
            after = after + self._drop(self.mlp(after))
        return after

    def _drop(self, branch: Tensor) -> Tensor:
        """Stochastic depth: leave the branch out for some cells, scale it up for the others."""
        if not self.training or self.drop_path == 0.0:
            return branch
        keep = 1.0 - self.drop_path
        shape = (branch.shape[0],) + (1,) * (branch.dim() - 1)
        return branch * branch.new_empty(shape).bernoulli_(keep) / keep


class Teacher(nn.Module):
    """Pathway transformer (paper, section 2.2).

    Parameters
    ----------
    mask
        Sparse (genes, patterns) matrix of which gene feeds which token.
    n_classes
        Number k of labels.
    settings
        Architecture.
    input_scale
        Factor per gene, shape (genes,), applied to the log-normalised input; None for ones.
    """

    kind = "teacher"
    input_scale: Tensor

    def __init__(
        self,
        mask: sparse.sparray | sparse.spmatrix,
        n_classes: int,
        settings: TeacherSettings,
        input_scale: Tensor | None = None,
    ) -> None:
        super().__init__()
        width = settings.width
        self.navigator = Navigator(mask, width)
        scale = torch.ones(self.navigator.n_genes) if input_scale is None else input_scale
        self.register_buffer("input_scale", scale)
        self.token_norm = nn.LayerNorm(width) if settings.token_norm else nn.Identity()
        self.cell = nn.Parameter(torch.empty(1, width))
        nn.init.trunc_normal_(self.cell, std=0.02)
        rates = [
            settings.drop_path * layer / max(settings.depth - 1, 1)
            for layer in range(settings.depth)
        ]
        self.layers = nn.ModuleList(AttentionLayer(settings, rate) for rate in rates)
        self.final_norm = nn.LayerNorm(width) if settings.final_norm else nn.Identity()
        self.pre_logits = (
            nn.Sequential(nn.Linear(width, width), nn.Tanh())
            if settings.pre_logits
            else nn.Identity()
        )
        self.classifier = nn.Linear(width, n_classes)

    def tokens(self, x: Tensor) -> Tensor:
        """Pattern tokens v_j (cells, patterns, width) from log-normalised x (cells, genes)."""
        return self.token_norm(self.navigator(x * self.input_scale))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (cells, classes) and cell embeddings (cells, width) from x (cells, genes)."""
        tokens, cell = self.tokens(x), cast(Tensor, self.cell)
        *earlier, last = self._attention_layers()
        if earlier:
            joined = self._with_cell(tokens)
            for layer in earlier:
                joined, _ = layer.all_tokens(joined)
            tokens, cell = joined[:, :-1], joined[:, -1]
        return self._classify(last.cell_token(tokens, cell))

    def view_tokens(self, x: Tensor) -> TokenView:
        """Tokens before and after attention, and its maps: for interpretation, memory-hungry."""
        tokens = self.tokens(x)
        joined, attention = self._with_cell(tokens), None
        for layer in self._attention_layers():
            joined, attention = layer.all_tokens(joined, with_attention=True)
        assert attention is not None  # depth is at least one
        return TokenView(tokens, joined[:, :-1], attention)

    def dense_parameter_count(self) -> int:
        """Number of parameters with the Navigator as a masked dense layer, as the paper counts."""
        inside = sum(p.numel() for p in self.navigator.parameters())
        total = sum(p.numel() for p in self.parameters())
        return total - inside + self.navigator.dense_parameter_count()

    def _attention_layers(self) -> list[AttentionLayer]:
        return cast(list[AttentionLayer], list(self.layers))

    def _with_cell(self, tokens: Tensor) -> Tensor:
        return torch.cat([tokens, self.cell.expand(len(tokens), 1, -1)], dim=1)

    def _classify(self, cell: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.final_norm(cell)
        return self.classifier(self.pre_logits(embedding)), embedding
