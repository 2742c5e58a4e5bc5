"""Student: a small MLP from genes to logits (paper, section 2.2; sizes from the quoted 547,597)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from plkd.settings.models import StudentSettings


class Block(nn.Module):
    """A hidden layer: linear, LayerNorm, GELU, dropout."""

    def __init__(self, n_in: int, n_out: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in, n_out)
        self.norm = nn.LayerNorm(n_out)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (cells, n_out) from (cells, n_in)."""
        return self.activated(self.linear(x))

    def activated(self, sums: Tensor) -> Tensor:
        """What follows the linear layer, (cells, n_out) from (cells, n_out)."""
        return cast(Tensor, self.dropout(F.gelu(self.norm(sums))))


class Student(nn.Module):
    """Hidden layers (:class:`Block`), then a linear classifier.

    Parameters
    ----------
    n_genes, n_labels
        Widths of input and output.
    settings
        Architecture.
    input_scale
        Factor per gene, shape (genes,), applied to the log-normalised input; None for ones.

    Attributes
    ----------
    blocks
        The hidden layers, from the genes to the embedding.
    """

    kind: Literal["student"] = "student"
    input_scale: Tensor
    blocks: Sequence[Block]

    def __init__(
        self,
        n_genes: int,
        n_labels: int,
        settings: StudentSettings,
        input_scale: Tensor | None = None,
    ) -> None:
        super().__init__()
        scale = torch.ones(n_genes) if input_scale is None else input_scale
        self.register_buffer("input_scale", scale)
        widths = [n_genes, *settings.hidden]
        blocks = (Block(n_in, n_out, settings.dropout) for n_in, n_out in pairwise(widths))
        self.blocks = cast(Sequence[Block], nn.ModuleList(blocks))
        self.classifier = nn.Linear(widths[-1], n_labels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (cells, labels) and last hidden layer (cells, width) from x (cells, genes)."""
        scaled = x * self.input_scale
        if not len(self.blocks):
            return self.classifier(scaled), scaled
        return self._from_sums(self.blocks[0].linear(scaled))

    def of_sparse(
        self,
        cells: sparse.csr_matrix,
        offsets: NDArray[np.float32] | None = None,
        codes: NDArray[np.intp] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`forward` of float32 CSR (cells, genes), from what is not zero, on the CPU.

        Of some cells, by codes (cells,), offsets (batches, genes) are taken off.
        """
        if not len(self.blocks):  # nothing to sum up before
            dense = cells.toarray()
            if offsets is not None:
                dense -= offsets[codes]
            return self.forward(torch.from_numpy(dense))
        first = self.blocks[0].linear
        weight = (first.weight * self.input_scale).T.contiguous()
        sums = torch.from_numpy(cells @ weight.numpy())
        if offsets is not None and codes is not None:
            sums -= torch.from_numpy(offsets @ weight.numpy())[torch.from_numpy(codes)]
        return self._from_sums(sums.add_(first.bias))

    def _from_sums(self, sums: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and last hidden layer from the sums of the first one."""
        embedding = self.blocks[0].activated(sums)
        for block in self.blocks[1:]:
            embedding = block(embedding)
        return self.classifier(embedding), embedding
