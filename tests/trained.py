"""A Teacher and a Student trained on simulated cells, made once."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
from scipy import sparse

from plkd.model.reference import Reference
from plkd.model.trained_model import Model
from plkd.model.training import train_model
from plkd.pathways.mask import UNCOVERED, Mask
from plkd.settings.presets import resolve
from simulated import MARKERS, make_cells

TYPES = 4


def logged(cells) -> sparse.csr_matrix:
    counts = cells.X.toarray()
    return sparse.csr_matrix(np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4))


@cache
def trained_model(other: str | None = UNCOVERED, background_cells: int = 40) -> Model:
    """Teacher and Student of four types and 110 genes; one token for the markers of each type.

    `other` is the token that is no pathway: of the genes that are no markers, or of every gene.
    """
    cells = make_cells(400, 110, types=TYPES, seed=1)
    genes = list(cells.var_names)
    reference = Reference.from_names(logged(cells), cells.obs["cell_type"], genes)
    tokens = [*MARKERS, *([other] if other else [])]
    mask = np.ones((len(genes), len(tokens)), dtype=bool)
    for column, markers in enumerate(MARKERS.values()):
        mask[:, column] = np.isin(genes, markers)
    if other == UNCOVERED:
        mask[:, -1] = ~mask[:, :-1].any(axis=1)
    training = {"min_steps": 200, "learning_rate": 0.005}
    settings = resolve(
        {
            "preset": "fast",
            "teacher": {"width": 16},
            "student": {"hidden": [32, 16]},
            "teacher_training": training,
            "student_training": training,
            "background_cells": background_cells,
        }
    )
    return train_model(
        reference,
        Mask(genes, tokens, sparse.csc_array(mask), pd.DataFrame()),
        settings,
        progress=False,
    )


def without_background(model: Model) -> Model:
    """The model, remembering no cells of its reference."""
    forgetful = {kind: replace(one, background=None) for kind, one in model.networks.items()}
    return replace(model, **forgetful)
