"""Teacher: pathway tokens -> cell embedding -> logits.

Only the cell token (cls) of the last attention layer is read, so that layer is computed for its one
query: the score of token j under head t is ``u_j . a_t`` with ``a_t = W_K,t^T q_t / scale``, and
the head's output is ``W_V,t (sum_j alpha_tj u_j)``. The key bias adds the same number to all scores
of a head and cancels; the value bias passes through because the weights sum to one. This is exact,
and costs O(tokens * width * heads) per cell, not O(tokens^2 * width + tokens * width^2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor, nn

from plkd.model.navigator import Navigator
from plkd.settings.models import TeacherSettings

# The tokens of so many cells stay in a CPU's cache from one pass over them to the next.
_CELLS_IN_CACHE = 64


@dataclass(frozen=True)
class TokenView:
    """What interpretation reads from the Teacher.

    Attributes
    ----------
    tokens
        Pathway tokens v_j as they leave the Navigator, (cells, tokens, width).
    updated
        Pathway tokens r_j after the last attention layer, (cells, tokens, width).
    attention
        Attention maps of the last layer, (cells, heads, tokens + 1, tokens + 1); the cell token
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

    def cell_token(self, joined: Tensor, cell: Tensor) -> Tensor:
        """Updated cell token (cells, width) from all tokens (cells, tokens + 1, width).

        `cell` is the cell token among them, (cells, width), or (1, width) when it is the same for
        all cells.
        """
        n_cells, _, width = joined.shape
        by_head = self.heads, width // self.heads, width
        normed = self.norm(joined)
        direction = self._direction(cell).expand(n_cells, -1, -1)
        weights = torch.bmm(direction, normed.transpose(1, 2)).softmax(dim=2)
        weights = F.dropout(weights, self.attention_dropout, self.training)
        pooled = torch.bmm(weights, normed)  # (cells, heads, width)
        value_weight = self.value.weight.view(by_head).transpose(1, 2)
        values = torch.bmm(pooled.transpose(0, 1), value_weight).transpose(0, 1)
        # With dropout the weights no longer sum to one, and the value bias scales with their sum.
        values = values + self.value.bias.view(by_head[:2]) * weights.sum(dim=2, keepdim=True)
        return self._finish(cell, self.output(values.reshape(n_cells, width)))

    def cell_attention(self, joined: Tensor, cell: Tensor) -> Tensor:
        """Attention of the cell token, (cells, heads, tokens + 1); arguments of `cell_token`."""
        scores: Tensor = self._direction(cell) @ self.norm(joined).transpose(1, 2)
        return scores.softmax(dim=2)

    def _direction(self, cell: Tensor) -> Tensor:
        """Vectors a_t whose product with a token is its score, (cells or 1, heads, width)."""
        width = cell.shape[1]
        by_head = self.heads, width // self.heads, width
        query = self.query(self.norm(cell)).view(-1, *by_head[:2]).transpose(0, 1)
        return torch.bmm(query / self.scale, self.key.weight.view(by_head)).transpose(0, 1)

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
        Sparse (genes, tokens) matrix of which gene feeds which token.
    n_labels
        Number k of labels.
    settings
        Architecture.
    input_scale
        Factor per gene, shape (genes,), applied to the log-normalised input; None for ones.
    """

    kind: Literal["teacher"] = "teacher"
    input_scale: Tensor

    def __init__(
        self,
        mask: sparse.sparray | sparse.spmatrix,
        n_labels: int,
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
        self.classifier = nn.Linear(width, n_labels)

    def tokens(self, x: Tensor) -> Tensor:
        """Pathway tokens v_j (cells, tokens, width) from log-normalised x (cells, genes)."""
        return self.token_norm(self.navigator(x * self.input_scale))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (cells, labels) and cell embeddings (cells, width) from x (cells, genes)."""
        at_once = _CELLS_IN_CACHE if x.device.type == "cpu" else len(x)
        if len(x) <= at_once:
            return self._classify(self._cell_token(x))
        return self._classify(torch.cat([self._cell_token(part) for part in x.split(at_once)]))

    def _cell_token(self, x: Tensor) -> Tensor:
        # Attention treats all tokens alike, so their order is not restored.
        x, cell = x * self.input_scale, cast(Tensor, self.cell)
        if isinstance(self.token_norm, nn.Identity):
            joined = self.navigator.grouped(x, cell)
        else:
            joined = self._with_cell(self.token_norm(self.navigator.grouped(x)))
        *earlier, last = self._attention_layers()
        for layer in earlier:
            joined, _ = layer.all_tokens(joined)
        return last.cell_token(joined, joined[:, -1] if earlier else cell)

    def view_tokens(self, x: Tensor) -> TokenView:
        """Tokens before and after attention, and its maps: for interpretation, memory-hungry."""
        tokens = self.tokens(x)
        joined, attention = self._with_cell(tokens), None
        for layer in self._attention_layers():
            joined, attention = layer.all_tokens(joined, with_attention=True)
        assert attention is not None  # depth is at least one
        return TokenView(tokens, joined[:, :-1], attention)

    def cell_attention(self, tokens: Tensor) -> Tensor:
        """Attention of the cell token in the last layer, (cells, heads, tokens + 1).

        The last row of the maps of :meth:`view_tokens`, without the maps; the cell token's own
        share comes last. `tokens` are those of :meth:`tokens`.
        """
        joined = self._with_cell(tokens)
        *earlier, last = self._attention_layers()
        for layer in earlier:
            joined, _ = layer.all_tokens(joined)
        return last.cell_attention(joined, joined[:, -1])

    def classify_tokens(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and cell embeddings of tokens as :meth:`tokens` gives them, changed or not."""
        joined, cell = self._with_cell(tokens), cast(Tensor, self.cell)
        *earlier, last = self._attention_layers()
        for layer in earlier:
            joined, _ = layer.all_tokens(joined)
        return self._classify(last.cell_token(joined, joined[:, -1] if earlier else cell))

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
