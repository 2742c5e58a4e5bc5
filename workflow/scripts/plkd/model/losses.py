"""The four losses of the paper (section 2.3), finite in value and gradient for any batch."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

# Floors of what is divided by: far below any real kernel sum, far above float32 underflow.
_TINY = 1e-9


def clustering_loss(
    embedding: Tensor,
    logits: Tensor,
    *,
    assignments: Literal["logits", "softmax"] = "logits",
    kernel: Literal["fixed", "median"] = "fixed",
    prefactor: Literal["labels", "pairs"] = "labels",
) -> Tensor:
    """L1, divergence-based clustering: pulls the label columns of a batch towards orthogonality.

    With S_ij = exp(-||c_i - c_j||^2 / (2 s^2)) and M = Y^T S Y, the loss is
    f * sum_{a<b} M_ab / sqrt(M_aa M_bb).

    Parameters
    ----------
    embedding
        Cell embeddings c of shape (cells, width).
    logits
        Classifier outputs of shape (cells, labels).
    assignments
        Y: the logits themselves (paper) or their softmax (DDC, KIDA).
    kernel
        ``"fixed"``: 2 s^2 = 1 (paper); ``"median"``: s^2 = 0.15 * median of d^2, without gradient
        (DDC).
    prefactor
        f: 1/k (paper) or 2/(k(k-1)).

    Returns
    -------
    Tensor
        Scalar; zero for a single label.
    """
    n_labels = logits.shape[1]
    if n_labels < 2:
        return logits.sum() * 0.0
    # Embeddings nearly coincide at the start; only around their own centre are their squares small
    # enough for |a|^2 + |b|^2 - 2ab to be more than rounding error, which the median would enlarge.
    centred = embedding - embedding.detach().mean(dim=0)
    squares = centred.pow(2).sum(dim=1)
    distances = (squares[:, None] + squares[None, :] - 2.0 * centred @ centred.T).clamp_min(0.0)
    width: float | Tensor = 1.0
    if kernel == "median":
        width = 2.0 * 0.15 * distances.detach().median().clamp_min(_TINY)
    similarity = torch.exp(-distances / width)
    columns = logits if assignments == "logits" else logits.softmax(dim=1)
    # The ratio does not change when a column is scaled, so huge logits need not overflow.
    columns = columns / columns.detach().abs().amax(dim=0).clamp_min(_TINY)
    gram = columns.T @ similarity @ columns
    norms = gram.diagonal().clamp_min(_TINY).sqrt()
    cosines = gram / (norms[:, None] * norms[None, :])
    total = torch.triu(cosines, diagonal=1).sum()
    return total * (1.0 / n_labels if prefactor == "labels" else 2.0 / (n_labels * (n_labels - 1)))


def cross_entropy_loss(logits: Tensor, codes: Tensor) -> Tensor:
    """L2: mean cross-entropy of logits (cells, labels) with codes of labels (cells,)."""
    return F.cross_entropy(logits, codes)


def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 3.0,
    temperature_squared: bool = False,
) -> Tensor:
    """L3: mean KL divergence of the Student's softened prediction from the Teacher's.

    (1/N) sum_i KL(softmax(y_i^T / T) || softmax(y_i^S / T)), times T^2 on request.
    """
    loss = F.kl_div(
        F.log_softmax(student_logits / temperature, dim=1),
        F.log_softmax(teacher_logits / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return loss * temperature**2 if temperature_squared else loss


def self_entropy_loss(
    logits: Tensor,
    *,
    direction: Literal["maximise", "minimise"] = "maximise",
    mean_of: Literal["logits", "softmax"] = "softmax",
) -> Tensor:
    """L4: entropy of the mean prediction over the batch, divided by the number of labels.

    The sign is lost in the paper's text. ``"maximise"`` returns (1/k) sum_a p_a log p_a, whose
    descent keeps all labels in use; ``"minimise"``, the authors' code, returns its negative.
    """
    if mean_of == "logits":
        log_mean = F.log_softmax(logits.mean(dim=0), dim=0)
    else:
        log_mean = torch.logsumexp(F.log_softmax(logits, dim=1), dim=0) - torch.log(
            torch.tensor(float(logits.shape[0]), dtype=logits.dtype, device=logits.device)
        )
    # p log p -> 0 as p -> 0, also where log p has run to minus infinity
    negative_entropy = (log_mean.exp() * log_mean.clamp_min(torch.finfo(logits.dtype).min)).sum()
    value = negative_entropy / logits.shape[1]
    return value if direction == "maximise" else -value
