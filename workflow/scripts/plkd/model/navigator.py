"""Navigator: genes -> pathway tokens, with the mask as structure.

Token j is ``v_j = sum over genes g in j of x_g * W_j[g] + b_j`` (paper, section
2.2). Only the weights inside the mask exist. Tokens of similar size are laid side by side in
groups, padded to the largest of the group with a gene that is always zero, so that a group is one
batched matrix product; the padding takes no part in the result and gets no gradient. Tokens of
all genes stand last and multiply the expression as it is; for the others it is gathered.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

# A group holds tokens up to this many times as large as its smallest: less padding, more groups.
_GROUP_RATIO = 1.35

Groups = list[tuple[int, int]]
"""(tokens, padded size) of every group."""


class _GroupedProduct(torch.autograd.Function):
    """Tokens (cells, tokens + 1, width): tokens in the order of the groups, then `last`.

    Written by hand because every group can then write its part of the result, and of the weights'
    gradient, in place; autograd would make copies of all tokens to put the groups together.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        last: Tensor,
        genes: Tensor,
        groups: Groups,
    ) -> Tensor:
        n_cells, n_tokens, width = len(x), *bias.shape
        rows = torch.cat([x.T, x.new_zeros(1, n_cells)])  # a row per gene, then the padding's
        gathered = rows.index_select(0, genes)  # (padded entries, cells)
        by_token = x.new_empty(n_tokens, n_cells, width)
        for values, weights, part in _by_group(groups, rows, gathered, weight, by_token):
            torch.bmm(values.transpose(1, 2), weights, out=part)
        ctx.save_for_backward(rows, gathered, weight, genes)
        ctx.groups = groups
        # What reads the tokens goes cell by cell: bias and transposition in one pass.
        tokens = x.new_empty(n_cells, n_tokens + len(last), width)
        torch.add(by_token.transpose(0, 1), bias, out=tokens[:, :n_tokens])
        tokens[:, n_tokens:] = last
        return tokens

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, Tensor, Tensor, Tensor, None, None]:
        rows, gathered, weight, genes = ctx.saved_tensors
        n_tokens = sum(count for count, _ in ctx.groups)
        by_token = gradient[:, :n_tokens].transpose(0, 1).contiguous()
        of_weight = torch.empty_like(weight)
        for values, weights, part in _by_group(ctx.groups, rows, gathered, of_weight, by_token):
            torch.bmm(values, part, out=weights)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_rows = torch.zeros_like(rows)
            of_gathered = torch.empty_like(gathered)
            for values, weights, part in _by_group(
                ctx.groups, of_rows, of_gathered, weight, by_token
            ):
                product = torch.bmm(weights, part.transpose(1, 2))
                if values.stride(0):
                    values.copy_(product)
                else:  # the tokens of all genes share the rows of the expression
                    of_rows[:-1] += product.sum(dim=0)
            of_x = of_rows.index_add_(0, genes, of_gathered)[:-1].T
        total = gradient.sum(dim=0)
        return of_x, of_weight, total[:n_tokens], total[n_tokens:], None, None


def _by_group(
    groups: Groups, rows: Tensor, gathered: Tensor, weight: Tensor, tokens: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Views of every group: (tokens, size, cells), (tokens, size, width) and of the tokens.

    `rows` is (genes + 1, cells), `gathered` (padded entries, cells), `tokens` (tokens, cells,
    width). A group of all genes is not gathered: its view of `rows` has no stride.
    """
    n_genes, n_cells = len(rows) - 1, rows.shape[1]
    entry = token = 0
    for count, size in groups:
        stop = entry + count * size
        if size < n_genes:
            values = gathered[entry:stop].view(count, size, n_cells)
        else:
            values = rows[:-1].expand(count, size, n_cells)
        weights = weight[entry:stop].view(count, size, -1)
        yield values, weights, tokens[token : token + count]
        entry, token = stop, token + count


class Navigator(nn.Module):
    """Sparse linear map from genes to pathway tokens.

    Parameters
    ----------
    mask
        Sparse matrix of shape (genes, tokens); its non-zero entries say which gene feeds which
        token. Every token needs at least one gene.
    width
        Width h of a token.

    Attributes
    ----------
    weight : Parameter of shape (padded entries, width)
        One row per gene of a token, token after token, grouped by size.
    bias : Parameter of shape (tokens, width)
        In the order of the groups; :meth:`forward` restores the order of the mask.
    """

    _genes: Tensor
    _restore: Tensor

    def __init__(self, mask: sparse.sparray | sparse.spmatrix, width: int) -> None:
        super().__init__()
        columns = sparse.csc_array(mask, dtype=bool, copy=True)
        columns.sum_duplicates()  # sorts the genes of a token as well
        columns.eliminate_zeros()
        self.n_genes, self.n_tokens = columns.shape
        self.width = width
        sizes = np.diff(columns.indptr)
        if self.n_tokens == 0 or sizes.min() == 0:
            raise ValueError("every token of the mask needs at least one gene")
        order = np.argsort(sizes, kind="stable")

        genes: list[np.ndarray] = []  # gene of every padded entry; n_genes stands for the padding
        entries: list[np.ndarray] = []  # its position among the mask's entries; -1 for the padding
        self._groups: Groups = []
        start = 0
        while start < self.n_tokens:
            limit = max(sizes[order[start]] * _GROUP_RATIO, sizes[order[start]] + 1)
            stop = start + int(np.searchsorted(sizes[order[start:]], limit, side="right"))
            if sizes[order[start]] < self.n_genes:  # those of all genes are a group of their own
                stop = min(stop, int(np.searchsorted(sizes[order], self.n_genes)))
            members = order[start:stop]
            padded = int(sizes[members[-1]])
            for token in members:
                first, last = columns.indptr[token], columns.indptr[token + 1]
                empty = padded - (last - first)
                genes.append(
                    np.pad(columns.indices[first:last], (0, empty), constant_values=self.n_genes)
                )
                entries.append(np.pad(np.arange(first, last), (0, empty), constant_values=-1))
            self._groups.append((len(members), padded))
            start = stop
        gene_of_row = np.concatenate(genes).astype(np.int64)
        self._entry_of_row = np.concatenate(entries)
        self._columns = columns
        self._order = order
        n_gathered = sum(count * size for count, size in self._groups if size < self.n_genes)
        gathered = torch.from_numpy(gene_of_row[:n_gathered])
        self.register_buffer("_genes", gathered, persistent=False)
        restore = torch.from_numpy(np.argsort(order)).long()
        self.register_buffer("_restore", restore, persistent=False)
        self.weight = nn.Parameter(torch.empty(len(gene_of_row), width))
        self.bias = nn.Parameter(torch.empty(self.n_tokens, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in +-1/sqrt(genes of the token), as a dense layer over that token's genes."""
        sizes = np.diff(self._columns.indptr)
        token_of_entry = np.repeat(np.arange(self.n_tokens), sizes)
        inside = self._entry_of_row >= 0
        bound = np.zeros(len(self._entry_of_row), dtype=np.float32)
        bound[inside] = 1.0 / np.sqrt(sizes[token_of_entry[self._entry_of_row[inside]]])
        bias_bound = torch.from_numpy((1.0 / np.sqrt(sizes[self._order])).astype(np.float32))
        with torch.no_grad():
            self.weight.uniform_(-1, 1).mul_(torch.from_numpy(bound)[:, None])
            self.bias.uniform_(-1, 1).mul_(bias_bound[:, None])

    def forward(self, x: Tensor) -> Tensor:
        """Tokens of shape (cells, tokens, width) from expression of shape (cells, genes)."""
        return self.grouped(x).index_select(1, self._restore)

    def grouped(self, x: Tensor, last: Tensor | None = None) -> Tensor:
        """As :meth:`forward`, with the tokens in the order of the groups: no copy to sort them.

        For what treats all tokens alike, as attention does. Rows of `last`, shape (any, width), are
        put behind the tokens of every cell.
        """
        if last is None:
            last = self.bias.new_empty(0, self.width)
        tokens = _GroupedProduct.apply(x, self.weight, self.bias, last, self._genes, self._groups)
        return cast(Tensor, tokens)

    def mask(self) -> sparse.csc_array:
        """The mask of shape (genes, tokens)."""
        return self._columns.copy()

    def entry_weights(self) -> Tensor:
        """Weights of shape (mask entries, width), in the column order of the sparse mask."""
        inside = np.flatnonzero(self._entry_of_row >= 0)
        rows = np.empty(len(inside), dtype=np.int64)
        rows[self._entry_of_row[inside]] = inside
        return self.weight.detach()[torch.from_numpy(rows).to(self.weight.device)]

    def load_entry_weights(self, weights: Tensor) -> None:
        """Set the weights from the layout of :meth:`entry_weights`."""
        inside = self._entry_of_row >= 0
        with torch.no_grad():
            self.weight.zero_()
            self.weight[torch.from_numpy(np.flatnonzero(inside))] = weights[
                torch.from_numpy(self._entry_of_row[inside])
            ].to(self.weight)

    def token_bias(self) -> Tensor:
        """Biases of shape (tokens, width), in the order of the mask."""
        return self.bias.detach()[self._restore]

    def load_token_bias(self, bias: Tensor) -> None:
        """Set the biases from the layout of :meth:`token_bias`."""
        with torch.no_grad():
            self.bias.copy_(bias[torch.from_numpy(self._order)].to(self.bias))

    def dense_parameter_count(self) -> int:
        """Parameters of the same map as one masked dense layer, which is how the paper counts."""
        return (self.n_genes + 1) * self.n_tokens * self.width

    def extra_repr(self) -> str:
        """Sizes, for ``print(model)``."""
        return (
            f"genes={self.n_genes}, tokens={self.n_tokens}, width={self.width}, "
            f"entries={self._columns.nnz}, groups={len(self._groups)}, "
            f"padding={math.floor(100 * (1 - self._columns.nnz / len(self._entry_of_row)))} %"
        )
