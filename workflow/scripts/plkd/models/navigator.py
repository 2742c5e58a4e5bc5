"""Navigator: genes -> pattern tokens, with the mask as structure.

The token of pattern j is ``v_j = sum over genes g in j of x_g * W_j[g] + b_j`` (paper, section
2.2). Only the weights inside the mask exist. Patterns of similar size are laid side by side in
groups, padded to the largest of the group with a gene that is always zero, so that a group is one
batched matrix product; the padding takes no part in the result and gets no gradient.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

# A group holds patterns up to this many times as large as its smallest: less padding, more groups.
_GROUP_RATIO = 1.35


class Navigator(nn.Module):
    """Sparse linear map from genes to pattern tokens.

    Parameters
    ----------
    mask
        Sparse matrix of shape (genes, patterns); its non-zero entries say which gene feeds which
        pattern. Every pattern needs at least one gene.
    width
        Width h of a token.

    Attributes
    ----------
    weight : Parameter of shape (padded entries, width)
        One row per gene of a pattern, pattern after pattern, grouped by size.
    bias : Parameter of shape (patterns, width)
        In the order of the groups; :meth:`forward` restores the order of the mask.
    """

    _genes: Tensor
    _restore: Tensor

    def __init__(self, mask: sparse.sparray | sparse.spmatrix, width: int) -> None:
        super().__init__()
        columns = sparse.csc_array(mask, dtype=bool, copy=True)
        columns.sum_duplicates()  # sorts the genes of a pattern as well
        columns.eliminate_zeros()
        self.n_genes, self.n_patterns = columns.shape
        self.width = width
        sizes = np.diff(columns.indptr)
        if self.n_patterns == 0 or sizes.min() == 0:
            raise ValueError("every pattern of the mask needs at least one gene")
        order = np.argsort(sizes, kind="stable")

        genes: list[np.ndarray] = []  # gene of every padded entry; n_genes stands for the padding
        entries: list[np.ndarray] = []  # its position among the mask's entries; -1 for the padding
        self._groups: list[tuple[int, int]] = []  # (patterns, padded size)
        start = 0
        while start < self.n_patterns:
            limit = max(sizes[order[start]] * _GROUP_RATIO, sizes[order[start]] + 1)
            stop = start + int(np.searchsorted(sizes[order[start:]], limit, side="right"))
            members = order[start:stop]
            padded = int(sizes[members[-1]])
            for pattern in members:
                first, last = columns.indptr[pattern], columns.indptr[pattern + 1]
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
        self.register_buffer("_genes", torch.from_numpy(gene_of_row), persistent=False)
        restore = torch.from_numpy(np.argsort(order)).long()
        self.register_buffer("_restore", restore, persistent=False)
        self.weight = nn.Parameter(torch.empty(len(gene_of_row), width))
        self.bias = nn.Parameter(torch.empty(self.n_patterns, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in +-1/sqrt(genes of the pattern), as a dense layer over that pattern's genes."""
        sizes = np.diff(self._columns.indptr)
        pattern_of_entry = np.repeat(np.arange(self.n_patterns), sizes)
        inside = self._entry_of_row >= 0
        bound = np.zeros(len(self._entry_of_row), dtype=np.float32)
        bound[inside] = 1.0 / np.sqrt(sizes[pattern_of_entry[self._entry_of_row[inside]]])
        bias_bound = torch.from_numpy((1.0 / np.sqrt(sizes[self._order])).astype(np.float32))
        with torch.no_grad():
            self.weight.uniform_(-1, 1).mul_(torch.from_numpy(bound)[:, None])
            self.bias.uniform_(-1, 1).mul_(bias_bound[:, None])

    def forward(self, x: Tensor) -> Tensor:
        """Tokens of shape (cells, patterns, width) from expression of shape (cells, genes)."""
        n_cells = x.shape[0]
        padded = torch.cat([x.T, x.new_zeros(1, n_cells)])  # (genes + 1, cells), rows contiguous
        gathered = padded.index_select(0, self._genes)  # (padded entries, cells)
        lengths = [patterns * size for patterns, size in self._groups]
        tokens = []
        for (patterns, size), values, weights in zip(
            self._groups, gathered.split(lengths), self.weight.split(lengths), strict=True
        ):
            values = values.view(patterns, size, n_cells)
            weights = weights.view(patterns, size, self.width)
            tokens.append(torch.bmm(values.transpose(1, 2), weights))  # (patterns, cells, width)
        stacked = torch.cat(tokens) + self.bias[:, None, :]
        return stacked.index_select(0, self._restore).transpose(0, 1)

    def mask(self) -> sparse.csc_array:
        """The mask of shape (genes, patterns)."""
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

    def pattern_bias(self) -> Tensor:
        """Biases of shape (patterns, width), in the order of the mask."""
        return self.bias.detach()[self._restore]

    def load_pattern_bias(self, bias: Tensor) -> None:
        """Set the biases from the layout of :meth:`pattern_bias`."""
        with torch.no_grad():
            self.bias.copy_(bias[torch.from_numpy(self._order)].to(self.bias))

    def dense_parameter_count(self) -> int:
        """Parameters of the same map as one masked dense layer, which is how the paper counts."""
        return (self.n_genes + 1) * self.n_patterns * self.width

    def extra_repr(self) -> str:
        """Sizes, for ``print(model)``."""
        return (
            f"genes={self.n_genes}, patterns={self.n_patterns}, width={self.width}, "
            f"entries={self._columns.nnz}, groups={len(self._groups)}, "
            f"padding={math.floor(100 * (1 - self._columns.nnz / len(self._entry_of_row)))} %"
        )
