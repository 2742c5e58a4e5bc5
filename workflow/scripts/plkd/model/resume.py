"""The resume file of a training, from which an interrupted one goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from plkd.io.blocks import Cells, CellsOnDisk
from plkd.model.reference import Reference
from plkd.settings.models import Settings
from plkd.utils.files import whole_file
from plkd.utils.logs import logger


def fingerprint_of_run(
    kind: str,
    settings: Settings,
    reference: Reference,
    learns_from: Sequence[np.ndarray],
    seed: int,
) -> str:
    """What must be equal for a resume file to be one of this training."""
    digest = hashlib.sha256()
    description = [kind, settings.to_dict(), seed, reference.genes, reference.labels]
    digest.update(json.dumps(description).encode())
    for array in (reference.codes, *_identity(reference.cells), *learns_from):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _identity(cells: Cells) -> Sequence[np.ndarray]:
    """What tells cells from others; of those on disk not all that the file holds."""
    if isinstance(cells, CellsOnDisk):
        file = cells.path.stat()
        return [cells.starts, np.array([file.st_size, file.st_mtime_ns])]
    return [cells.data, cells.indices, cells.indptr]


def save_progress(
    resume_file: Path | None,
    run: str,
    network: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    epoch: int,
    rows: list[dict[str, float]],
) -> None:
    """Write the state after an epoch, whole or not at all; nothing without a `resume_file`."""
    if resume_file is None:
        return
    state = {
        "run": run,
        "epoch": epoch,
        "rows": rows,
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    with whole_file(resume_file) as temporary, temporary.open("wb") as file:
        torch.save(state, file)  # of a file that it opens itself it hides why a write failed


def resume(
    resume_file: Path | None, run: str, network: torch.nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[int, list[dict[str, float]]]:
    """Restore an interrupted training of the same run; (0, []) when there is none."""
    if resume_file is None or not resume_file.exists():
        return 0, []
    try:
        state = torch.load(resume_file, map_location="cpu", weights_only=True)
        if state["run"] != run:
            logger.warning("'%s' belongs to another training and is not used", resume_file)
            return 0, []
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
    except Exception as error:  # whatever is wrong with the file, the training can start anew
        logger.warning("'%s' cannot be read and is not used: %s", resume_file, error)
        return 0, []
    return state["epoch"], state["rows"]
