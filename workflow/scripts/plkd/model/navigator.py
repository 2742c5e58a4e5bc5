"""Navigator: genes -> pathway tokens, with the mask as structure.

Token j is ``v_j = sum over genes g in j of x_g * W_j[g] + b_j`` (paper, section
2.2). Only the weights inside the mask exist. Tokens of similar size are laid side by side in
groups, padded to the largest of the group with a gene that is always zero, so that a group is one
batched matrix product; the padding takes no part in the result and gets no gradient. Tokens of
all genes stand last and multiply the expression as it is; for the others it is gathered.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

# A group holds tokens up to this many times as large as its smallest: less padding, more groups.
_GROUP_RATIO = 1.35


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
        self._groups: list[tuple[int, int]] = []  # (tokens, padded size) of every group
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
        n_cells = len(x)
        rows = torch.cat([x.T, x.new_zeros(1, n_cells)])  # a row per gene, then the padding's
        gathered = rows.index_select(0, self._genes)  # (padded entries, cells)
        weights = self.weight.split([count * size for count, size in self._groups])
        biases = self.bias.split([count for count, _ in self._groups])
        tokens, start = [], 0
        for (count, size), weight, bias in zip(self._groups, weights, biases, strict=True):
            if size < self.n_genes:
                values = gathered[start : start + count * size].view(count, size, n_cells)
                start += count * size
            else:  # all genes are not gathered
                values = rows[:-1].expand(count, size, n_cells)
            product = torch.baddbmm(
                bias[:, None], values.transpose(1, 2), weight.view(count, size, -1)
            )
            tokens.append(product.transpose(0, 1))  # (cells, tokens of the group, width)
        if last is not None:
            tokens.append(last.expand(n_cells, *last.shape))
        return torch.cat(tokens, dim=1)

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
