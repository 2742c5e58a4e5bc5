"""Temperature, prediction sets and the threshold of "unknown" on data with a planted truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from plkd.model.calibration import Calibration, calibrate


def draw(n_cells: int, n_labels: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits whose softmax is the truth: labels are drawn from it."""
    generator = torch.Generator().manual_seed(seed)
    logits = 1.5 * torch.randn(n_cells, n_labels, generator=generator)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
    return logits, labels


@pytest.mark.parametrize("planted", [0.5, 1.0, 3.0])
def test_temperature_is_the_planted_one(planted):
    logits, labels = draw(20_000)
    calibration = calibrate(planted * logits, labels, 0.05)
    assert calibration.temperature == pytest.approx(planted, rel=0.06)
    truth = logits.softmax(dim=1)
    assert (calibration.probabilities(planted * logits) - truth).abs().max() < 0.03


def test_probabilities_sum_to_one_for_any_logits():
    logits = torch.tensor([[1e20, 0.0, -1e20], [0.0, 0.0, 0.0], [-80.0, 3.0, 90.0]])
    probabilities = Calibration(temperature=0.3).probabilities(logits)
    assert probabilities.dtype == torch.float32
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(3))


@pytest.mark.parametrize("alpha", [0.05, 0.2])
@pytest.mark.parametrize("n_cells", [19, 40])
def test_prediction_sets_cover_fresh_cells_as_promised_and_not_much_more(n_cells, alpha):
    """Split conformal sets cover between 1 - a and 1 - a + 1/(n + 1) on average."""
    covered = []
    for seed in range(150):
        logits, labels = draw(n_cells + 100, seed=seed)
        calibration = calibrate(logits[:n_cells], labels[:n_cells], alpha)
        probabilities = calibration.probabilities(logits[n_cells:])
        own = probabilities[torch.arange(100), labels[n_cells:]]
        covered.append((own >= 1 - calibration.conformal_threshold).float().mean().item())
    tolerance = 4 * np.std(covered) / math.sqrt(len(covered))
    assert np.mean(covered) >= 1 - alpha - tolerance
    assert np.mean(covered) <= 1 - alpha + 1 / (n_cells + 1) + tolerance


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1, 0.25])
@pytest.mark.parametrize("n_cells", [9, 19, 20, 39, 60, 99, 100, 199])
def test_the_threshold_is_the_score_of_its_rank(n_cells, alpha):
    logits, labels = draw(n_cells)
    calibration = calibrate(logits, labels, alpha)
    own = calibration.probabilities(logits)[torch.arange(n_cells), labels].numpy()
    rank = math.ceil(round((n_cells + 1) * (1 - alpha), 9))
    within = int((own >= np.float32(1 - calibration.conformal_threshold)).sum())
    assert within == min(rank, n_cells)
    assert (calibration.conformal_threshold == 1.0) == (rank > n_cells)


def test_few_held_out_cells_are_flagged_unknown():
    logits, labels = draw(1000)
    calibration = calibrate(logits, labels, 0.05)
    confidence = calibration.probabilities(logits).max(dim=1).values.numpy()
    flagged = (confidence < np.float32(calibration.unknown_threshold)).mean()
    assert 0.04 <= flagged <= 0.05


def test_equally_confident_cells_are_not_flagged():
    logits = torch.tensor([[2.0, -1.0, 0.3]]).repeat(40, 1)
    calibration = calibrate(logits, torch.zeros(40, dtype=torch.long), 0.05)
    confidence = calibration.probabilities(logits).max(dim=1).values.numpy()
    assert not (confidence < calibration.unknown_threshold).any()
    own = calibration.probabilities(logits)[:, 0].numpy()
    assert (own >= 1 - calibration.conformal_threshold).all()


def test_no_held_out_cells_change_nothing_and_flag_nothing():
    calibration = calibrate(torch.empty(0, 3), torch.empty(0, dtype=torch.long), 0.1)
    assert calibration == Calibration(alpha=0.1)
    logits = torch.randn(4, 3)
    torch.testing.assert_close(calibration.probabilities(logits), logits.softmax(dim=1))
    assert calibration.unknown_threshold == 0.0
    assert calibration.conformal_threshold == 1.0  # every label is in the set


@pytest.mark.parametrize("n_cells", [1, 2, 3])
def test_too_few_cells_promise_nothing(n_cells):
    logits, labels = draw(n_cells)
    calibration = calibrate(logits, labels, 0.05)
    assert calibration.conformal_threshold == 1.0
    assert 0.0 < calibration.unknown_threshold <= 1.0
    assert 0.1 < calibration.temperature < 11.0


def test_a_faultless_model_gives_finite_thresholds():
    labels = torch.arange(60) % 3
    calibration = calibrate(1e4 * torch.eye(3)[labels], labels, 0.05)
    assert math.isfinite(calibration.temperature)
    assert 0.0 <= calibration.conformal_threshold <= 1.0
    assert calibration.probabilities(1e4 * torch.eye(3)).max(dim=1).values.min() == 1.0
