"""Confidence that means something: temperature, prediction sets, and when to say "unknown".

All three are fitted on reference cells that were held out of training, so they speak of cells like
the reference's; the query may be harder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Calibration:
    """How logits become probabilities and flags.

    Attributes
    ----------
    temperature
        Logits are divided by it before the softmax.
    conformal_threshold
        A label is in the prediction set if its probability is at least 1 - this.
    unknown_threshold
        A cell is flagged unknown if its largest probability is below this.
    alpha
        The share of reference cells that the two thresholds leave out.
    """

    temperature: float = 1.0
    conformal_threshold: float = 1.0
    unknown_threshold: float = 0.0
    alpha: float = 0.05

    def __post_init__(self) -> None:
        """Refuse numbers that are out of their range."""
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature = {self.temperature}: expected a number above 0")
        for name in ("conformal_threshold", "unknown_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} = {getattr(self, name)}: expected 0 to 1")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha = {self.alpha}: expected more than 0 and less than 1")

    @property
    def can_flag(self) -> bool:
        """Whether any cell can be flagged unknown: not if no reference cell was held out."""
        return self.unknown_threshold > 0

    def probabilities(self, logits: Tensor) -> Tensor:
        """Calibrated probabilities (cells, labels); rows sum to one."""
        return torch.softmax(logits.double() / self.temperature, dim=1).float()


def calibrate(logits: Tensor, codes: Tensor, alpha: float) -> Calibration:
    """Fit a :class:`Calibration` on held-out reference cells.

    Parameters
    ----------
    logits
        Logits of shape (cells, labels).
    codes
        The true label of every cell, its position among the labels, integers of shape (cells,).
    alpha
        Share of cells like these that may fall outside the prediction set, and below the threshold
        of "unknown".

    Notes
    -----
    Temperature scaling minimises the cross-entropy over T (Guo et al. 2017). The prediction sets
    are split conformal sets with the score 1 - p(true label): the threshold is the score of rank
    ceil((n + 1)(1 - alpha)) (Vovk; Sadinle et al. 2019), and with too few held-out cells for
    that rank every label is in the set. With none at all nothing is changed and nothing is flagged.
    """
    n_cells = len(codes)
    if n_cells == 0:
        return Calibration(alpha=alpha)
    temperature = fit_temperature(logits, codes)
    # in single precision, because predictions are compared with the thresholds in it
    probabilities = Calibration(temperature).probabilities(logits).numpy()
    scores = np.sort(1.0 - probabilities[np.arange(n_cells), codes.numpy()].astype(np.float64))
    rank = math.ceil((n_cells + 1) * (1.0 - alpha) - 1e-9)  # 95.00000000000001 is 95
    conformal = float(scores[rank - 1]) if rank <= n_cells else 1.0
    unknown = float(np.quantile(probabilities.max(axis=1), alpha, method="lower"))
    return Calibration(temperature, conformal, unknown, alpha)


def fit_temperature(logits: Tensor, codes: Tensor, importance: Tensor | None = None) -> float:
    """Temperature that minimises the (weighted) cross-entropy, of 200 from 0.2 to 10.

    Parameters
    ----------
    logits
        Logits of shape (cells, labels).
    codes
        The true label of every cell, integers of shape (cells,).
    importance
        Weight of every cell (cells,); None for equal ones.
    """
    logits = logits.double()
    weight = torch.ones(len(codes), dtype=torch.float64) if importance is None else importance
    grid = torch.logspace(math.log10(0.2), 1.0, 200, dtype=torch.float64)
    losses = [weight @ F.cross_entropy(logits / t, codes, reduction="none") for t in grid]
    return float(grid[int(torch.stack(losses).argmin())])
