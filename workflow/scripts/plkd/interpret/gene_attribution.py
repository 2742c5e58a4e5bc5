"""Genes behind the Student's labels: additive attribution of the label logit.

For a cell x and a label c the attributions phi_g add up to what the cell has more than the
background::

    sum over genes of phi_g = f_c(x) - E_b f_c(b)

with f_c the logit and b the cells of the model's :class:`~plkd.model.background.Background`. They
are found by the recursion of the paper (section 2.4), DeepLIFT's chain of multipliers, which is
also what ``shap.DeepExplainer`` computes: between a cell and a background cell, the change of a
layer's output is written as *multiplier x change of its input*, and the multipliers of the layers
are multiplied. For the layers of the Student:

- Linear, and the factor per gene in front: its weights.
- GELU: (g(a) - g(b)) / (a - b); its slope where a and b are the same.
- LayerNorm: the centred input u over its deviation s is a product u r with r = 1 / s, and the
  change of a product is, exactly, mean(r) du + mean(u) dr (the Shapley values of its two factors);
  dr is again a ratio of changes, of 1/s over s^2, times the change of the variance s^2, which is,
  exactly, 2 mean(u) du / width.

Instead of one step from b to x, several equal steps are made, each with its own multipliers, and
the multipliers are averaged. With one step the result is DeepLIFT's; with many it is the expected
gradient along the line (integrated gradients, Aumann-Shapley values), which lies closer to the
Shapley values; additivity is exact for every number of steps.

What is exact: additivity, for any weights, up to rounding in double precision;
:func:`attribute_genes` gives the error of every cell, and raises above :data:`TOLERANCE`. A gene
without weight gets nothing, and so does, up to rounding, one that is the same in cell and
background. What is not: the single phi_g are the genes' Shapley values where the network is linear
and approximate them elsewhere; tests/benchmarks/README.md says how closely. None of the explainers
of the package shap is additive here; they can be chosen to compare with
(:mod:`plkd.interpret.explainers`).
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor

from plkd.errors import InputError
from plkd.model.background import Background
from plkd.model.student import Student
from plkd.model.trained_network import TrainedNetwork
from plkd.utils.devices import one_thread_each
from plkd.utils.progress import ProgressBar

SEGMENTS = 2  # one step is farther from the Shapley values; twenty are hardly closer
TOLERANCE = 1e-9
"""Largest error of additivity, as a share of the largest logit, or of one if that is smaller."""
_SAME = 1e-6  # inputs of a GELU closer than this are the same: its slope replaces the ratio


@dataclass(frozen=True)
class GeneAttributions:
    """Attributions of some label logits of some cells.

    Attributes
    ----------
    values
        float32 array (cells, targets, genes): what each gene adds to the logit, in its units.
    targets
        Labels that were attributed, int array (cells, targets).
    base
        Mean logit of the background, float64 array (labels,).
    logits
        Logits of the cells, float64 array (cells, labels).
    error
        Error of additivity, float64 array (cells, targets): the sum of the values, before they are
        rounded to float32, minus logit and base.
    """

    values: np.ndarray
    targets: np.ndarray
    base: np.ndarray
    logits: np.ndarray
    error: np.ndarray


@one_thread_each()
def attribute_genes(
    model: TrainedNetwork,
    cells: sparse.csr_matrix,
    background: Background,
    targets: np.ndarray | None = None,
    *,
    segments: int = SEGMENTS,
    device: str = "cpu",
    progress: bool = True,
) -> GeneAttributions:
    """Attribute label logits of cells to their genes.

    Time grows with cells x targets x background cells, memory with the result, cells x targets x
    genes; beside it, what is held is of the size background x genes.

    Parameters
    ----------
    model
        A trained Student.
    cells
        Log-normalised expression, CSR of shape (cells, genes), genes in the model's order.
    background
        The cells to compare with, usually `model.background`.
    targets
        Labels to attribute, int array (cells, targets); None for the predicted label of each cell.
    segments
        Steps from the background to the cell: 1 for DeepLIFT's multipliers.
    device
        A torch device that knows double precision.
    progress
        Show a progress bar.

    Raises
    ------
    InputError
        If the model is a Teacher, or cells or background have another number of genes.
    ArithmeticError
        If the attributions do not add up, which only weights that are not finite can cause.
    """
    network = student_of(model)
    for name, matrix in (("cells", cells), ("background's cells", background.cells)):
        if matrix.shape[1] != len(model.genes):
            raise InputError(
                f"the {name} have {matrix.shape[1]} genes, the model expects {len(model.genes)}: "
                "align them to `model.genes` first (plkd.io.genes.align_genes)."
            )
    with torch.inference_mode():
        chain = _Chain(network, background, segments, device)
        found = _attribute(chain, sparse.csr_matrix(cells), targets, progress)
    size = max(abs(found.logits).max(initial=1.0), float(abs(found.base).max()))
    if not abs(found.error).max(initial=0.0) <= TOLERANCE * size:
        raise ArithmeticError(
            f"the attributions are off by up to {abs(found.error).max():g}, with logits up to "
            f"{size:g}: are the weights of the model finite?"
        )
    return found


def _attribute(
    chain: _Chain, cells: sparse.csr_matrix, targets: np.ndarray | None, progress: bool
) -> GeneAttributions:
    n_cells, n_genes = cells.shape
    base = chain.base.cpu().numpy()
    width = 1 if targets is None else targets.shape[1]
    logits = np.empty((n_cells, len(base)))
    chosen = np.empty((n_cells, width), dtype=int)
    values = np.empty((n_cells, width, n_genes), dtype=np.float32)
    error = np.empty((n_cells, width))
    bar = ProgressBar(range(n_cells), desc="attributing", unit="cell", disable=not progress)
    for i in bar:
        x = torch.from_numpy(cells[i].toarray()[0].astype(np.float64)).to(chain.base.device)
        entered = chain.enter(x)
        logits[i] = chain.logits(entered).cpu().numpy()
        chosen[i] = logits[i].argmax() if targets is None else targets[i]
        found = chain.attribute(x, entered, torch.from_numpy(chosen[i]).to(x.device)).cpu().numpy()
        values[i] = found
        error[i] = found.sum(axis=1) - (logits[i] - base)[chosen[i]]
    return GeneAttributions(values, chosen, base, logits, error)


class _Chain:
    """The multipliers along the straight line from every cell of a background to one cell."""

    def __init__(
        self, network: Student, background: Background, segments: int, device: str
    ) -> None:
        network = copy.deepcopy(network).to(device).double().eval()
        self._linears = [block.linear for block in network.blocks]
        self._norms = [block.norm for block in network.blocks]
        self._classifier = network.classifier
        # weights of what sees the genes, their factors included: (width, genes)
        first = self._linears[0] if self._linears else self._classifier
        self._entrance = first.weight.detach() * network.input_scale
        self._shift = first.bias.detach()
        self._steps = torch.linspace(0, 1, segments + 1, dtype=torch.float64, device=device)
        self._weights = torch.from_numpy(background.weights).to(device)
        weighted = sparse.diags_array(background.weights) @ background.cells.astype(np.float64)
        self._mean = torch.from_numpy(np.asarray(weighted.sum(axis=0)).ravel()).to(device)
        self._weighted = sparse.csr_array(weighted.T)  # (genes, background)
        cells = torch.from_numpy(background.cells.toarray().astype(np.float64)).to(device)
        self._start = self.enter(cells)
        self.base = self._weights @ self.logits(self._start)

    def enter(self, x: Tensor) -> Tensor:
        """What comes out of the first linear layer, (cells, width)."""
        return x @ self._entrance.T + self._shift

    def logits(self, entered: Tensor) -> Tensor:
        """Logits (cells, labels) of what :meth:`enter` gives."""
        if not self._linears:
            return entered
        return cast(Tensor, self._classifier(self._trace(entered)[-1][-1]))

    def _trace(self, z: Tensor) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Per block: centred input of the norm, its standard deviation, GELU's input and output."""
        traced: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        for i, norm in enumerate(self._norms):
            if i:
                z = self._linears[i](traced[-1][-1])
            u = z - z.mean(dim=-1, keepdim=True)
            s = (u.square().mean(dim=-1, keepdim=True) + norm.eps).sqrt()
            y = u / s * norm.weight + norm.bias
            traced.append((u, s, y, F.gelu(y)))
        return traced

    def attribute(self, x: Tensor, entered: Tensor, targets: Tensor) -> Tensor:
        """Attributions (targets, genes) of one cell x (genes,), which `entered` as (width,)."""
        if not self._linears:  # a linear model
            return (x - self._mean) * self._entrance[targets]
        multipliers = self._multipliers(entered, targets)
        mean = torch.einsum("b,btw->tw", self._weights, multipliers)
        found = x * (mean @ self._entrance)
        # minus sum over b of w_b b_g sum over w of multiplier_btw entrance_wg, b being sparse
        for i in range(len(targets)):
            of_background = self._weighted @ multipliers[:, i].cpu().numpy()  # (genes, width)
            product = torch.from_numpy(of_background).to(x.device) * self._entrance.T
            found[i] -= product.sum(dim=1)
        return found

    def _multipliers(self, entered: Tensor, targets: Tensor) -> Tensor:
        """From what entered to the logits: (background, targets, width), mean over the segments."""
        line = self._start + self._steps[:, None, None] * (entered - self._start)
        traced = self._trace(line.transpose(0, 1))  # (background, points, width)
        multiplier = self._classifier.weight[targets][None, None]
        for i in range(len(self._norms) - 1, -1, -1):
            u, s, y, g = traced[i]
            # (background, segments, targets, width) from here on
            multiplier = multiplier * _gelu_ratio(y, g)[:, :, None] * self._norms[i].weight
            before, after = s[:, :-1, None], s[:, 1:, None]
            middle = ((u[:, :-1] + u[:, 1:]) / 2)[:, :, None]
            of_variance = (multiplier * middle).sum(dim=3, keepdim=True) * (
                -1.0 / (before * after * (before + after))  # change of 1/s over change of s^2
            )
            multiplier = multiplier * ((1 / before + 1 / after) / 2) + of_variance * middle * (
                2.0 / u.shape[-1]
            )
            multiplier = multiplier - multiplier.mean(dim=3, keepdim=True)
            if i:
                multiplier = multiplier @ self._linears[i].weight
        return multiplier.mean(dim=1)


def _gelu_ratio(y: Tensor, g: Tensor) -> Tensor:
    """Change of the output over change of the input from point to point; the slope without any."""
    change = y[:, 1:] - y[:, :-1]
    same = change.abs() < _SAME
    middle = (y[:, 1:] + y[:, :-1]) / 2
    density = torch.exp(-middle.square() / 2) / math.sqrt(2 * math.pi)
    slope = torch.special.ndtr(middle) + middle * density
    return torch.where(same, slope, (g[:, 1:] - g[:, :-1]) / torch.where(same, 1.0, change))


def student_of(model: TrainedNetwork) -> Student:
    """Give the network of a model that must be a Student.

    Raises
    ------
    InputError
        If it is not.
    """
    if not isinstance(model.network, Student):
        raise InputError(
            "genes are attributed for a Student, this model is a Teacher: give `model.student`."
        )
    return model.network
