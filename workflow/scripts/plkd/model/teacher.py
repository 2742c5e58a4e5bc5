"""Teacher: pathway tokens -> cell embedding -> logits.

Only the cell token (cls) of the last attention layer is read, so that layer is computed for its one
query: the score of token j under head t is ``u_j . a_t`` with ``a_t = W_K,t^T q_t / scale``, and
the head's output is ``W_V,t (sum_j alpha_tj u_j)``. The key bias adds the same number to all scores
of a head and cancels; the value bias passes through because the weights sum to one. This is exact,
and costs O(tokens * width * heads) per cell, not O(tokens^2 * width + tokens * width^2). A
LayerNorm in front of it needs no normalised tokens either: its scale and shift go to `a_t` and to
the pooled result, and its division by the standard deviation to scores and weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, cast

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


class _AttentionPooling(torch.autograd.Function):
    """Softmax-weighted sums of tokens, which may be normalised first without being written out.

    Inputs: tokens v (cells, tokens, width); directions a (cells, heads, width); a factor on the
    weights, (cells, heads, tokens), or None; and the epsilon of a LayerNorm without scale and
    shift, or None. Outputs: sums (cells, heads, width); with a factor, the sums of the weights
    (cells, heads, 1), which otherwise are one.

    Written by hand because autograd would keep, and pass over, several tensors of the size of all
    tokens; here they are read five times and their gradient is written twice.
    """

    @staticmethod
    def forward(
        ctx: Any, tokens: Tensor, directions: Tensor, factor: Tensor | None, eps: float | None
    ) -> tuple[Tensor, Tensor | None]:
        n_cells, _, width = tokens.shape
        mean = inverse = None
        if eps is None:
            raw = torch.bmm(directions, tokens.transpose(1, 2))
            weights = raw.softmax(dim=2)
        else:
            # The mean cancels where the direction is centred; its own row of the product gives it.
            directions = directions - directions.mean(dim=2, keepdim=True)
            averaging = directions.new_full((n_cells, 1, width), 1.0 / width)
            product = torch.bmm(torch.cat([directions, averaging], 1), tokens.transpose(1, 2))
            raw, mean = product[:, :-1], product[:, -1:]
            square = torch.linalg.vector_norm(tokens, dim=2)[:, None].square_().div_(width)
            variance = square.addcmul_(mean, mean, value=-1.0).clamp_min_(0.0)
            inverse = variance.add_(eps).rsqrt_()
            weights = (raw * inverse).softmax(dim=2)
        applied = weights if factor is None else weights * factor
        pooled = torch.bmm(applied if inverse is None else applied * inverse, tokens)
        if eps is not None:
            pooled -= pooled.mean(dim=2, keepdim=True)
        ctx.save_for_backward(tokens, directions, factor, raw, mean, inverse, weights)
        return pooled, None if factor is None else applied.sum(dim=2, keepdim=True)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, of_pooled: Tensor, of_total: Tensor | None
    ) -> tuple[Tensor, Tensor, None, None]:
        tokens, directions, factor, raw, mean, inverse, weights = ctx.saved_tensors
        if inverse is not None:
            of_pooled = of_pooled - of_pooled.mean(dim=2, keepdim=True)
        along = torch.bmm(of_pooled, tokens.transpose(1, 2))  # (cells, heads, tokens)
        of_weights = along if inverse is None else along * inverse
        applied = weights
        if factor is not None and of_total is not None:
            of_weights = (of_weights + of_total) * factor
            applied = weights * factor
        of_scores = torch._softmax_backward_data(of_weights, weights, 2, weights.dtype)
        if inverse is None:
            shares = torch.cat([applied, of_scores], dim=1)
            vectors = torch.cat([of_pooled, directions], dim=1)
            return (
                torch.bmm(shares.transpose(1, 2), vectors),
                torch.bmm(of_scores, tokens),
                None,
                None,
            )
        of_raw = of_scores * inverse
        of_directions = torch.bmm(of_raw, tokens)
        of_directions -= of_directions.mean(dim=2, keepdim=True)
        of_inverse = torch.addcmul(of_scores * raw, along, applied).sum(dim=1, keepdim=True)
        shrink = of_inverse * inverse.pow(3).div_(tokens.shape[2])  # (cells, 1, tokens)
        shares = torch.cat([applied * inverse, of_raw, shrink * mean], dim=1)
        ones = tokens.new_ones(len(tokens), 1, tokens.shape[2])
        vectors = torch.cat([of_pooled, directions, ones], dim=1)
        of_tokens = (tokens * shrink.transpose(1, 2)).baddbmm_(
            shares.transpose(1, 2), vectors, beta=-1.0
        )
        return of_tokens, of_directions, None, None


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
        n_cells, n_tokens, width = joined.shape
        by_head = self.heads, width // self.heads, width
        direction = self._direction(cell)
        norm = self.norm if isinstance(self.norm, nn.LayerNorm) else None
        if norm is not None:  # its shift gives all scores of a head the same, as the key bias does
            direction = direction * norm.weight
        factor = None
        if self.training and self.attention_dropout:
            ones = joined.new_ones(n_cells, self.heads, n_tokens)
            factor = F.dropout(ones, self.attention_dropout)
        pooled, total = _AttentionPooling.apply(
            joined, direction.expand(n_cells, -1, -1), factor, None if norm is None else norm.eps
        )
        if norm is not None:
            pooled = pooled * norm.weight + (norm.bias if total is None else norm.bias * total)
        value_weight = self.value.weight.view(by_head).transpose(1, 2)
        values = torch.bmm(pooled.transpose(0, 1), value_weight).transpose(0, 1)
        # With dropout the weights no longer sum to one, and the value bias scales with their sum.
        bias = self.value.bias.view(by_head[:2])
        values = values + (bias if total is None else bias * total)
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
