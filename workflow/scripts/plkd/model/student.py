"""Student: a small MLP from genes to logits (paper, section 2.2; sizes from the quoted 547,597)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from plkd.settings.models import StudentSettings


class Student(nn.Module):
    """Hidden layers of Linear, LayerNorm, GELU, dropout; a linear classifier.

    Parameters
    ----------
    n_genes, n_labels
        Widths of input and output.
    settings
        Architecture.
    input_scale
        Factor per gene, shape (genes,), applied to the log-normalised input; None for ones.
    """

    kind = "student"
    input_scale: Tensor

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
        layers: list[nn.Module] = []
        width = n_genes
        for hidden in settings.hidden:
            layers += [
                nn.Linear(width, hidden),
                nn.LayerNorm(hidden),
                nn.GELU(),
                nn.Dropout(settings.dropout),
            ]
            width = hidden
        self.hidden = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, n_labels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (cells, labels) and last hidden layer (cells, width) from x (cells, genes)."""
        embedding = self.hidden(x * self.input_scale)
        return self.classifier(embedding), embedding
