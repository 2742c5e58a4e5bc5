"""Pathways behind the Teacher's labels: contribution and attention of its tokens.

The contribution of a token to a label logit is its integrated gradient along the straight line from
the tokens of the background (their mean) to those of the cell. Contributions add up to the logit of
the cell minus that of the mean tokens, but for the error of the quadrature, which is reported.
Attention says how much the cell token looks at a token, for whichever label.

Some tokens are no pathways: those that see every gene (`mask.n_fully_connected`), which can carry
nearly all of a label, and that of the genes which no pathway covers (`mask.uncovered_token`). With
them left out, contributions show what the pathways alone would say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from plkd.interpret.pathway_scores import teacher_of
from plkd.model.background import Background
from plkd.model.teacher import Teacher
from plkd.model.trained_network import TrainedNetwork, dense_batch
from plkd.pathways.mask import is_pathway
from plkd.utils.devices import one_thread_each

POINTS = (16, 64, 256)
"""Points of the Gauss-Legendre quadrature; more are taken for cells whose error is too large."""
TOLERANCE = 1e-2
"""Largest error, in units of the logit, that no more points are taken for."""
_CELLS_AT_ONCE = 16


@dataclass(frozen=True)
class TokenAttributions:
    """What the tokens add to the labels of some cells.

    Attributes
    ----------
    contributions
        What each token adds to the logit of the cell's target, float32 (cells, tokens).
    attention
        Attention of the cell token, mean over heads, float32 (cells, tokens); what is missing to
        one is its attention to itself.
    logits
        Logits of the cells, float32 (cells, labels).
    error
        Sum of the contributions minus (logit of the cell - logit of the mean tokens), (cells,).
    """

    contributions: np.ndarray
    attention: np.ndarray
    logits: np.ndarray
    error: np.ndarray


def no_pathways(model: TrainedNetwork) -> np.ndarray:
    """Which tokens see every gene, or those that no pathway covers; boolean (tokens,)."""
    return ~is_pathway(teacher_of(model).navigator.mask(), model.tokens)


def mean_tokens(model: TrainedNetwork, background: Background) -> Tensor:
    """Weighted mean of the background's tokens, (tokens, width)."""
    network = teacher_of(model.to("cpu"))
    weights = torch.from_numpy(background.weights).float()
    with torch.inference_mode():
        parts = [
            torch.einsum("b,bjw->jw", weights[start : start + 64],
                         network.tokens(dense_batch(background.cells[start : start + 64])))
            for start in range(0, len(weights), 64)
        ]  # fmt: skip
        return torch.stack(parts).sum(dim=0)


@one_thread_each()
def attribute_tokens(
    model: TrainedNetwork,
    cells: sparse.csr_matrix,
    background: Background,
    targets: np.ndarray,
    *,
    left_out: np.ndarray | None = None,
) -> TokenAttributions:
    """Contribution and attention of every token for the label of every cell.

    Parameters
    ----------
    model
        A Teacher.
    cells
        Log-normalised expression, CSR (cells, genes), genes in the model's order.
    background
        What the cells are compared with, usually `model.background`.
    targets
        The label whose logit is attributed, int array (cells,).
    left_out
        Tokens that say nothing, boolean (tokens,): they are always those of the background.
    """
    network = teacher_of(model.to("cpu"))
    start = mean_tokens(model, background).clone()
    contributions, attention, logits, error = [], [], [], []
    with torch.no_grad():
        base = network.classify_tokens(start[None])[0][0]
    for first in range(0, cells.shape[0], _CELLS_AT_ONCE):
        some = slice(first, first + _CELLS_AT_ONCE)
        chosen = torch.from_numpy(np.asarray(targets[some], dtype=np.int64))
        with torch.no_grad():
            tokens = network.tokens(dense_batch(cells[some]))
            if left_out is not None:
                tokens = torch.where(torch.from_numpy(left_out)[:, None], start, tokens)
            looks = network.cell_attention(tokens)[:, :, :-1].mean(dim=1)
            reached = network.classify_tokens(tokens)[0]
        difference = (reached - base).gather(1, chosen[:, None])[:, 0]
        adds = torch.empty_like(looks)
        wrong = torch.full_like(difference, torch.inf)
        for points in POINTS:
            again = wrong.abs() > TOLERANCE
            if not again.any():
                break
            adds[again] = _integrate(network, start, tokens[again], chosen[again], points)
            wrong[again] = adds[again].sum(dim=1) - difference[again]
        contributions.append(adds)
        attention.append(looks)
        logits.append(reached)
        error.append(wrong)
    return TokenAttributions(
        *(torch.cat(part).numpy() for part in (contributions, attention, logits, error))
    )


def _integrate(
    network: Teacher, start: Tensor, tokens: Tensor, targets: Tensor, points: int
) -> Tensor:
    """Integrated gradients (cells, tokens) along the line from `start` to the tokens."""
    places, weights = np.polynomial.legendre.leggauss(points)
    change = tokens - start
    gradient = torch.zeros_like(tokens)
    for place, weight in zip((places + 1) / 2, weights / 2, strict=True):
        here = (start + float(place) * change).requires_grad_()
        value = network.classify_tokens(here)[0].gather(1, targets[:, None]).sum()
        gradient += float(weight) * torch.autograd.grad(value, here)[0]
    return (gradient * change).sum(dim=2)
