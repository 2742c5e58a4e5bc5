"""The Student: what a small network learns from the soft labels of others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from plkd.io import blocks
from plkd.io.blocks import Cells, chunks_of
from plkd.model import losses
from plkd.model.alignment import Offsets
from plkd.model.loop import Objective, Training, gene_weights
from plkd.model.reference import Reference
from plkd.model.student import Student
from plkd.model.trained_network import TrainedNetwork, moved_batch
from plkd.settings.models import Settings

SoftLabels = Callable[[Tensor], Tensor]
"""Log-normalised cells (cells, genes), dense -> logits (cells, labels) to learn from."""

_CELLS = 2048  # of which soft labels are computed at a time
_TELLING = 1000  # cells whose soft labels tell one jury from another


def distil(
    reference: Reference,
    teach: SoftLabels | None,
    settings: Settings,
    *,
    seed: int = 0,
    device: str = "cpu",
    resume_file: Path | None = None,
    progress: bool = True,
    watch: bool = True,
) -> tuple[TrainedNetwork, pd.DataFrame]:
    """Train a Student with L3 and L4.

    Parameters
    ----------
    reference
        Labelled cells.
    teach
        Whose soft labels it learns from; None for the labels of the reference alone.
    settings, seed, device, resume_file, progress
        As for :func:`plkd.model.training.train_student`.
    watch
        Whether the history has the accuracy of every epoch, or of the last alone.

    Returns
    -------
    student : TrainedNetwork
    history : DataFrame
        One row per epoch.
    """
    torch.manual_seed(seed)
    scale = gene_weights(reference, settings, seed)
    network = Student(len(reference.genes), len(reference.labels), settings.student, scale)
    if teach is None:
        objective, learns_from = _hard_label_objective(reference, device), []
    else:
        objective = _distillation_objective(teach, reference, settings, device)
        some = reference.cells[reference.some(_TELLING, seed)]
        learns_from = [soft_labels(teach, some, device).numpy()]
    training = Training(
        network,
        reference,
        settings,
        settings.student_training,
        objective,
        seed=seed,
        device=device,
    )
    history = training.run(resume_file, learns_from, progress=progress, watch=watch)
    return training.trained([]), history


def _hard_label_objective(reference: Reference, device: str) -> Objective:
    """Cross-entropy with the labels of the reference."""
    codes = torch.from_numpy(reference.codes).to(device)

    def objective(training: Training, x: Tensor, rows: np.ndarray) -> dict[str, Tensor]:
        logits, _ = training.outputs(x, len(rows))
        chosen = codes[torch.from_numpy(rows)]
        return {"cross_entropy": losses.cross_entropy_loss(logits, chosen)}

    return objective


def soft_labels(
    teach: SoftLabels,
    cells: Cells,
    device: str = "cpu",
    *,
    offsets: Offsets | None = None,
    batches: NDArray[np.str_] | None = None,
) -> Tensor:
    """What is said of cells, logits (cells, labels), on the CPU; computed on a device.

    Of more cells than a window holds they are logarithms of probabilities in half the bytes, whose
    error is a two-thousandth of each. Of cells of batches, (cells,), their offsets are taken off.
    """
    many = cells.shape[0] > blocks.WINDOW_CELLS
    parts = []
    for rows, chunk in chunks_of(cells):
        for start in range(0, chunk.shape[0], _CELLS):
            some = slice(start, start + _CELLS)
            moves = offsets.codes(batches[rows][some]) if offsets and batches is not None else None
            x = moved_batch(chunk[some], offsets, moves, device)
            with torch.inference_mode():
                said = teach(x).cpu()
            parts.append(said.log_softmax(dim=1).half() if many else said)
    return torch.cat(parts).clone()


def _distillation_objective(
    teach: SoftLabels,
    reference: Reference,
    settings: Settings,
    device: str,
) -> Objective:
    """L3 and L4 of a batch."""
    codes = torch.from_numpy(reference.codes).to(device)
    choice = settings.student_loss
    soft = None
    if choice.teacher_sees == "whole_cell":
        soft = soft_labels(teach, reference.cells, device).to(device)

    def taught(training: Training, x: Tensor, chosen: Tensor) -> Tensor:
        if soft is not None:
            return soft[chosen].float()
        with torch.no_grad():
            return training.team.gather(teach(x), len(chosen))

    def objective(training: Training, x: Tensor, rows: np.ndarray) -> dict[str, Tensor]:
        if choice.recombination:
            x = _recombined(x, choice.recombination)
        logits, _ = training.outputs(x, len(rows))
        chosen = torch.from_numpy(rows)
        terms = {}
        if choice.distillation_weight:
            terms["distillation"] = choice.distillation_weight * losses.distillation_loss(
                logits,
                taught(training, x, chosen),
                temperature=choice.temperature,
                temperature_squared=choice.temperature_squared,
            )
        if choice.hard_label_weight:
            terms["cross_entropy"] = choice.hard_label_weight * losses.cross_entropy_loss(
                logits, codes[chosen]
            )
        if choice.self_entropy_weight:
            terms["self_entropy"] = choice.self_entropy_weight * losses.self_entropy_loss(
                logits, direction=choice.self_entropy, mean_of=choice.self_entropy_mean
            )
        return terms

    return objective


def _recombined(x: Tensor, most: float) -> Tensor:
    """Cells (cells, genes), each with a share of its genes from another cell of the batch.

    Whoever teaches says what they are. With as many of them as there are steps, the Student learns
    what it is taught between and around the reference's cells too, and so on a query.
    """
    share = most * torch.rand(len(x), 1, device=x.device)
    others = x[torch.randperm(len(x), device=x.device)]
    return torch.where(torch.rand_like(x) < share, others, x)
