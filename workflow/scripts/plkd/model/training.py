"""Training of Teacher and Student on a labelled reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import Tensor

from plkd.errors import InputError
from plkd.model import losses
from plkd.model.background import Background
from plkd.model.calibration import calibrate
from plkd.model.cross_fitting import CrossFit, cross_fit
from plkd.model.distillation import SoftLabels, distil
from plkd.model.jury import Jury, NetworkMember, shared_with_teacher
from plkd.model.loop import Objective, Training, gene_weights
from plkd.model.novelty import Novelty, entropy, fit_novelty
from plkd.model.reference import Reference, split_validation
from plkd.model.teacher import Teacher
from plkd.model.trained_model import Model
from plkd.model.trained_network import TrainedNetwork
from plkd.pathways.mask import Mask
from plkd.settings.models import Settings
from plkd.utils.logs import logger


def train_model(
    reference: Reference,
    mask: Mask,
    settings: Settings,
    *,
    seed: int = 0,
    query: sparse.csr_matrix | None = None,
    device: str = "cpu",
    n_jobs: int = 1,
    resume_folder: Path | None = None,
    provenance: dict[str, Any] | None = None,
    progress: bool = True,
) -> Model:
    """Train a Teacher, and the Student that learns from it and from the rest of the jury.

    Parameters
    ----------
    reference
        Labelled cells.
    mask
        Which gene feeds which token; its genes are the reference's.
    settings
        All choices.
    seed
        Seed of initialisation, held-out cells, batches and dropout.
    query
        Some cells of the query, log-normalised, CSR of shape (cells, genes), from which is seen
        how far away it is; see :func:`plkd.model.cross_fitting.cross_fit`.
    device
        A torch device.
    n_jobs
        Processes of the cross-fitting.
    resume_folder
        Folder of the files that are written after an epoch, ten seconds or more apart, from which
        an interrupted training goes on, and which are removed at the end.
    provenance
        What the model folder should say about its origin.
    progress
        Show progress bars.

    Raises
    ------
    TrainingDiverged
        If the loss becomes infinite or not a number.
    """
    files = {kind: resume_file_in(resume_folder, kind) for kind in ("teacher", "student")}
    model = train_teacher(
        reference,
        mask,
        settings,
        seed=seed,
        device=device,
        resume_file=files["teacher"],
        provenance=provenance,
        progress=progress,
    )
    evidence = None
    if settings.jury.members == "all":
        evidence = cross_fit(
            reference,
            settings,
            seed=seed,
            query=query,
            device=device,
            n_jobs=n_jobs,
            progress=progress,
        )
    return train_student(
        reference,
        model,
        evidence,
        device=device,
        resume_file=files["student"],
        progress=progress,
    )


def resume_file_in(folder: Path | None, kind: str) -> Path | None:
    """Resume file of the Teacher's or the Student's training in a folder; None without one."""
    return None if folder is None else folder / f"{kind}.resume.pt"


def train_teacher(
    reference: Reference,
    mask: Mask,
    settings: Settings,
    *,
    seed: int = 0,
    device: str = "cpu",
    resume_file: Path | None = None,
    provenance: dict[str, Any] | None = None,
    progress: bool = True,
) -> Model:
    """Train the Teacher with L1 and L2; the model has no Student yet.

    Parameters and errors are those of :func:`train_model`, but for the resume file, which is named
    itself.
    """
    if mask.genes != reference.genes:
        raise InputError(
            "the mask is of other genes than the reference: make it of the reference's genes."
        )
    sizes = np.bincount(reference.codes, minlength=len(reference.labels))
    cells_per_label = dict(zip(reference.labels, sizes.tolist(), strict=True))
    batches = np.zeros_like(reference.codes) if reference.batches is None else reference.batches
    reference = reference.with_label_noise(settings.label_noise, seed)
    torch.manual_seed(seed)
    scale = gene_weights(reference, settings, seed)
    network = Teacher(mask.matrix, len(reference.labels), settings.teacher, scale)
    inside = network.navigator.mask()
    training = Training(
        network,
        reference,
        settings,
        settings.teacher_training,
        _teacher_objective(reference, settings, device),
        seed=seed,
        device=device,
    )
    history = training.run(resume_file, [inside.indices, inside.indptr], progress=progress)
    background = Background.sample(reference, settings.background_cells, seed)
    teacher = replace(training.trained(mask.tokens), background=background)
    _warn_if_uncalibrated(teacher)
    return Model(
        teacher=teacher,
        history=history,
        seed=seed,
        provenance={
            "cells_per_label": cells_per_label,
            "cells_per_batch": np.bincount(batches).tolist(),  # no names: they may be patients
            **(provenance or {}),
        },
    )


def train_student(
    reference: Reference,
    model: Model,
    evidence: CrossFit | None = None,
    *,
    settings: Settings | None = None,
    device: str = "cpu",
    resume_file: Path | None = None,
    progress: bool = True,
) -> Model:
    """Train the Student, with L3 and L4, on the soft labels of a jury, or of the Teacher alone.

    Parameters
    ----------
    reference
        Labelled cells.
    model
        With its Teacher, a member of the jury; the seed is that of its training.
    evidence
        The other members, and what calibrates the Student. None: it learns from the Teacher alone,
        and is calibrated on the cells that its training held out.
    settings
        May differ from the Teacher's in what a Teacher does not need; None: the Teacher's.
    device, resume_file, progress
        As for :func:`train_teacher`.

    Returns
    -------
    Model
        `model` with its Student.

    Raises
    ------
    InputError
        If the Teacher is of another reference or other settings; as :func:`train_model`.
    """
    if settings is not None:
        model = _with_settings(model, settings)
    teacher, settings, seed = model.require("teacher").to(device), model.settings, model.seed
    if teacher.genes != reference.genes or teacher.labels != reference.labels:
        raise InputError(
            "the Teacher was trained on other genes or labels than this reference has: train it "
            "again."
        )
    reference = reference.with_label_noise(settings.label_noise, seed)
    teach: SoftLabels = NetworkMember(teacher.network)
    if evidence is not None:
        teach = Jury(shared_with_teacher(evidence.jurors, teacher), device)
    student, history = distil(
        reference,
        teach,
        settings,
        seed=seed,
        device=device,
        resume_file=resume_file,
        progress=progress,
    )
    about: dict[str, Any] = {}
    if evidence is not None:
        codes = torch.from_numpy(reference.codes[evidence.rows])
        known = evidence.known(reference)
        calibration = calibrate(
            torch.from_numpy(evidence.logits)[known], codes[known], settings.alpha
        )
        student = replace(student, calibration=calibration)
        novelty = _novelty_of_folds(reference, evidence, student, seed)
        about = evidence.describe()
    else:
        novelty = _novelty_of_held_out(reference, student, seed)
    student = replace(student, novelty=novelty, background=teacher.background)
    if evidence is not None:
        student = replace(
            student,
            largest_offset=evidence.largest_offset,
            surroundings=evidence.surroundings,
        )
        model = replace(model, teacher=replace(teacher, largest_offset=evidence.largest_offset))
    _warn_if_uncalibrated(student)
    return replace(
        model,
        student=student,
        history=pd.concat([model.history, history], ignore_index=True),
        cross_fitting=about,
    )


def _novelty_of_folds(
    reference: Reference, evidence: CrossFit, student: TrainedNetwork, seed: int
) -> Novelty | None:
    """How odd the cells of every fold look to the other folds, and to Students of these."""
    logits = torch.from_numpy(evidence.logits)
    doubt = entropy(student.calibration.probabilities(logits).numpy())
    doubt[~evidence.known(reference)] = np.nan
    return fit_novelty(
        reference.take(evidence.rows),
        evidence.folds,
        doubt,
        of_one_batch=evidence.folds.by == "cell",
        n_known=_KNOWN_CELLS * student.settings.background_cells,
        seed=seed,
    )


def _novelty_of_held_out(
    reference: Reference, student: TrainedNetwork, seed: int
) -> Novelty | None:
    """How odd the cells that a training held out look to the others, and to the Student."""
    parts = split_validation(reference.codes, student.settings.validation_fraction, seed)
    doubt = np.full(len(reference.codes), np.nan)
    doubt[parts[1]] = entropy(student.predict(reference.cells[parts[1]])[0])
    return fit_novelty(
        reference,
        [parts],
        doubt,
        of_one_batch=True,
        n_known=_KNOWN_CELLS * student.settings.background_cells,
        seed=seed,
    )


_KNOWN_CELLS = 5  # to tell what is new, for every one that explanations need


def _warn_if_uncalibrated(network: TrainedNetwork) -> None:
    if not network.calibration.can_flag:
        logger.warning(
            "no cell of the reference was held out (every label keeps its cells if it has fewer "
            "than three, see also `validation_fraction`): the confidence of the %s is not "
            "calibrated, and it will flag no cell as unknown",
            network.kind,
        )


def _with_settings(model: Model, settings: Settings) -> Model:
    """The model of a Teacher with settings of a Student; those of the Teacher must be the same."""
    teacher = model.require("teacher")
    known = replace(
        teacher.settings,
        mask=settings.mask,
        student=settings.student,
        student_training=settings.student_training,
        student_loss=settings.student_loss,
        jury=settings.jury,
    )
    if known != settings:
        raise InputError(
            "the Teacher was trained with other settings than these: train it again with them."
        )
    return replace(model, teacher=replace(teacher, settings=settings))


def _teacher_objective(reference: Reference, settings: Settings, device: str) -> Objective:
    """L1 and L2 of a batch."""
    codes = torch.from_numpy(reference.codes).to(device)
    choice = settings.teacher_loss

    def objective(training: Training, x: Tensor, rows: np.ndarray) -> dict[str, Tensor]:
        logits, embedding = training.outputs(x, len(rows))
        terms = {}
        if choice.cross_entropy_weight:
            terms["cross_entropy"] = choice.cross_entropy_weight * losses.cross_entropy_loss(
                logits, codes[torch.from_numpy(rows)]
            )
        if choice.clustering_weight:
            terms["clustering"] = choice.clustering_weight * losses.clustering_loss(
                embedding,
                logits,
                assignments=choice.clustering_assignments,
                kernel=choice.clustering_kernel,
                prefactor=choice.clustering_prefactor,
            )
        return terms

    return objective
