"""One of the processes that torchrun starts for tests/unit/test_processes.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from plkd.io import blocks
from plkd.model import losses
from plkd.model.reference import Reference
from plkd.model.teacher import Teacher
from plkd.model.trained_network import dense_batch
from plkd.model.training import train_student, train_teacher
from plkd.pathways.mask import Mask
from plkd.settings.presets import resolve
from plkd.utils.processes import Team, joined

# Without chance: every process draws its own noise.
PLAIN = {
    "epochs": 2,
    "min_steps": 0,
    "batch_size": 7,
    "learning_rate": 0.01,
    "gene_dropout": 0.0,
    "input_noise": 0.0,
}
SETTINGS = resolve(
    {
        "preset": "fast",
        "teacher": {"width": 8},
        "teacher_training": {**PLAIN, "optimiser": "sgd"},
        "student": {"hidden": [16], "dropout": 0.0},
        "student_training": {**PLAIN, "optimiser": "sgd"},
        "student_loss": {"recombination": 0.0, "self_entropy_weight": 0.5},
    }
)


def make_reference() -> tuple[Reference, Mask]:
    """125 cells of three labels; of the 113 that are learnt from the last batch has one."""
    rng = np.random.default_rng(0)
    codes = rng.permutation(np.arange(125) % 3)
    values = rng.poisson(1 + 2 * (np.arange(30) // 10 == codes[:, None])).astype(np.float32)
    genes = [f"g{i}" for i in range(30)]
    reference = Reference(sparse.csr_matrix(np.log1p(values)), codes, genes, list("abc"))
    columns = sparse.csc_array(np.kron(np.eye(3), np.ones((10, 1))).astype(bool))
    return reference, Mask(genes, list("abc"), columns, pd.DataFrame())


def gradient_of_clustering(reference: Reference, mask: Mask) -> dict[str, torch.Tensor]:
    """Gradient of L1, which compares all cells of a batch, by the weights of a Teacher."""
    torch.manual_seed(0)
    team, rows = Team.here(), np.arange(23)
    network = Teacher(mask.matrix, 3, SETTINGS.teacher)
    logits, embedding = network(dense_batch(reference.cells[rows[team.share(len(rows))]]))
    logits, embedding = (team.gather(one, len(rows)) for one in (logits, embedding))
    losses.clustering_loss(embedding, logits, assignments="softmax", kernel="median").backward()
    team.add_gradients(network)
    return {
        name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None
    }


def everything() -> dict[str, Any]:
    """The gradient, and both trained networks."""
    reference, mask = make_reference()
    blocks.BLOCK_CELLS, blocks.WINDOW_CELLS = 8, 40
    teacher = train_teacher(reference, mask, SETTINGS, progress=False)
    model = train_student(reference, teacher, progress=False)
    return {
        "processes": Team.here().size,
        "gradient": gradient_of_clustering(reference, mask),
        "teacher": model.require("teacher").network.state_dict(),
        "student": model.require("student").network.state_dict(),
        "accuracy": model.history["validation_accuracy"].tolist(),
        "loss": model.history["loss"].tolist(),
        "temperature": model.require("teacher").calibration.temperature,
    }


if __name__ == "__main__":
    with joined("cpu"):
        found = everything()
        torch.save(found, Path(sys.argv[1]) / f"{Team.here().rank}.pt")
