"""Training of Teacher and Student on a labelled reference.

One loop serves both. The reference stays a sparse matrix; a batch is made dense when it is used, so
memory does not grow with cells x genes. Every epoch draws from generators seeded by (seed, epoch),
so a training that goes on from a resume_file ends with the weights of an uninterrupted one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import Tensor
from tqdm import tqdm

from plkd.errors import InputError
from plkd.model import losses
from plkd.model.background import Background
from plkd.model.calibration import calibrate
from plkd.model.folder import TrainedModel, dense_batch
from plkd.model.gene_weights import label_distance, separation
from plkd.model.reference import Reference, split_validation
from plkd.model.resume import fingerprint_of_run, resume, save_progress
from plkd.model.student import Student
from plkd.model.teacher import Teacher
from plkd.settings.models import Settings, TrainingSettings
from plkd.utils.logs import logger

# A look at the loss makes a GPU wait for the step to end. A sum stays not finite once it is.
_STEPS_BETWEEN_LOOKS = 50

Objective = Callable[[Tensor, np.ndarray], dict[str, Tensor]]
"""(expression, cell indices) of a batch -> named loss terms with their weights applied."""


class TrainingDiverged(InputError):
    """The loss or the model's output became infinite or not a number."""


def train_teacher(
    reference: Reference,
    mask: sparse.sparray | sparse.spmatrix,
    tokens: list[str],
    settings: Settings,
    *,
    seed: int = 0,
    device: str = "cpu",
    resume_file: Path | None = None,
    provenance: dict[str, Any] | None = None,
    progress: bool = True,
) -> tuple[TrainedModel, pd.DataFrame]:
    """Train the Teacher with L1 and L2.

    Parameters
    ----------
    reference
        Labelled cells.
    mask
        Sparse (genes, tokens) matrix of which gene feeds which token.
    tokens
        Names of the tokens.
    settings
        All choices.
    seed
        Seed of initialisation, held-out cells, batches and dropout.
    device
        A torch device.
    resume_file
        File that is written after every epoch, from which an interrupted training goes on, and
        which is removed at the end.
    provenance
        What the model folder should say about its origin.
    progress
        Show a progress bar.

    Returns
    -------
    model
        The trained Teacher, calibrated on held-out cells.
    history
        One row per epoch: learning rate, mean of every loss term, training and validation accuracy.

    Raises
    ------
    TrainingDiverged
        If the loss becomes infinite or not a number.
    """
    torch.manual_seed(seed)
    scale = _gene_weights(reference, settings, seed)
    network = Teacher(mask, len(reference.labels), settings.teacher, scale)
    labels = torch.from_numpy(reference.codes).to(device)
    choice = settings.teacher_loss

    def objective(x: Tensor, cells: np.ndarray) -> dict[str, Tensor]:
        logits, embedding = network(x)
        terms = {}
        if choice.cross_entropy_weight:
            terms["cross_entropy"] = choice.cross_entropy_weight * losses.cross_entropy_loss(
                logits, labels[torch.from_numpy(cells)], label_smoothing=choice.label_smoothing
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

    model = TrainedModel(
        network, reference.genes, reference.labels, settings, tokens, provenance=provenance or {}
    )
    history = _train(
        model,
        reference,
        settings.teacher_training,
        objective,
        [network.navigator.mask().indices, network.navigator.mask().indptr],
        seed=seed,
        device=device,
        resume_file=resume_file,
        progress=progress,
    )
    return model, history


def train_student(
    reference: Reference,
    teacher: TrainedModel,
    settings: Settings,
    *,
    seed: int = 0,
    device: str = "cpu",
    resume_file: Path | None = None,
    provenance: dict[str, Any] | None = None,
    progress: bool = True,
) -> tuple[TrainedModel, pd.DataFrame]:
    """Train the Student on the Teacher's soft labels with L3 and L4.

    Parameters, result and errors are those of :func:`train_teacher`; `teacher` is the trained
    Teacher.
    """
    if teacher.genes != reference.genes or teacher.labels != reference.labels:
        raise InputError(
            "the Teacher was trained on other genes or labels than this reference has: train it "
            "again."
        )
    torch.manual_seed(seed)
    scale = _gene_weights(reference, settings, seed)
    network = Student(len(reference.genes), len(reference.labels), settings.student, scale)
    soft = torch.cat([logits for logits, _ in teacher.logits(reference.cells, device=device)])
    soft = soft.to(device)
    labels = torch.from_numpy(reference.codes).to(device)
    choice = settings.student_loss

    def soft_labels(x: Tensor, chosen: Tensor) -> Tensor:
        if choice.teacher_sees == "whole_cell":
            return soft[chosen]
        with torch.no_grad():
            logits: Tensor = teacher.network(x)[0]
        return logits

    def objective(x: Tensor, cells: np.ndarray) -> dict[str, Tensor]:
        logits, _ = network(x)
        chosen = torch.from_numpy(cells)
        terms = {}
        if choice.distillation_weight:
            terms["distillation"] = choice.distillation_weight * losses.distillation_loss(
                logits,
                soft_labels(x, chosen),
                temperature=choice.temperature,
                temperature_squared=choice.temperature_squared,
            )
        if choice.hard_label_weight:
            terms["cross_entropy"] = choice.hard_label_weight * losses.cross_entropy_loss(
                logits, labels[chosen]
            )
        if choice.self_entropy_weight:
            terms["self_entropy"] = choice.self_entropy_weight * losses.self_entropy_loss(
                logits, direction=choice.self_entropy, mean_of=choice.self_entropy_mean
            )
        return terms

    model = TrainedModel(
        network, reference.genes, reference.labels, settings, provenance=provenance or {}
    )
    history = _train(
        model,
        reference,
        settings.student_training,
        objective,
        [soft.cpu().numpy()],
        seed=seed,
        device=device,
        resume_file=resume_file,
        progress=progress,
    )
    return model, history


def _train(
    model: TrainedModel,
    reference: Reference,
    choice: TrainingSettings,
    objective: Objective,
    learns_from: Sequence[np.ndarray],
    *,
    seed: int,
    device: str,
    resume_file: Path | None,
    progress: bool,
) -> pd.DataFrame:
    """Train and calibrate `model` in place; returns its history."""
    model.provenance = {**model.provenance, "seed": seed}
    model.background = Background.sample(reference, model.settings.background_cells, seed)
    fraction = model.settings.validation_fraction
    training, validation = split_validation(reference.codes, fraction, seed)
    network = model.network.to(device)
    noise = None
    if choice.input_noise:
        noise = _noise(reference, training, network.input_scale, choice.input_noise)
    optimiser = _optimiser(network, choice)
    steps_per_epoch = math.ceil(len(training) / choice.batch_size)
    epochs = max(choice.epochs, math.ceil(choice.min_steps / steps_per_epoch))
    rate = _schedule(choice, steps_per_epoch * epochs)
    run = fingerprint_of_run(model, reference, learns_from, seed) if resume_file is not None else ""
    first_epoch, rows = resume(resume_file, run, network, optimiser)
    if first_epoch:
        logger.info("going on from '%s' after epoch %d", resume_file, first_epoch)
    probe = np.random.default_rng([seed, 4]).permutation(training)[: max(len(validation), 1000)]

    def diverged(epoch: int, found: str) -> TrainingDiverged:
        kept = f" The last good epoch is in '{resume_file}'." if resume_file and epoch else ""
        return TrainingDiverged(
            f"training of the {model.kind} diverged in epoch {epoch + 1}, {found}. Lower "
            f"{model.kind}_training.learning_rate (now {choice.learning_rate:g}) or set "
            f"clip_gradient.{kept}"
        )

    bar = tqdm(
        total=steps_per_epoch * epochs,
        initial=steps_per_epoch * first_epoch,
        desc=f"training the {model.kind}",
        unit="step",
        disable=not progress,
        mininterval=1.0,
    )
    with bar:
        for epoch in range(first_epoch, epochs):
            torch.manual_seed(_epoch_seed(seed, epoch))
            rng = np.random.default_rng([seed, 2, epoch])
            network.train()
            sums: dict[str, Tensor | float] = {}
            for step, cells in enumerate(
                _batches(training, reference.codes, choice.batch_size, choice.sampling, rng)
            ):
                for group in optimiser.param_groups:
                    group["lr"] = rate(epoch * steps_per_epoch + step)
                x = dense_batch(reference.cells[cells]).to(device)
                terms = objective(_corrupt(x, choice.gene_dropout, noise), cells)
                loss = torch.stack(list(terms.values())).sum()
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                if choice.clip_gradient is not None:
                    torch.nn.utils.clip_grad_norm_(network.parameters(), choice.clip_gradient)
                optimiser.step()
                for name, value in {"loss": loss, **terms}.items():
                    sums[name] = sums.get(name, 0.0) + value.detach().double()
                last = step + 1 == steps_per_epoch
                if (last or step % _STEPS_BETWEEN_LOOKS == 0) and not math.isfinite(sums["loss"]):
                    values = [f"{name} = {term.item():g}" for name, term in terms.items()]
                    raise diverged(epoch, f"by step {step + 1}: {', '.join(values)}")
                bar.update()
            row = {"epoch": epoch + 1, "learning_rate": rate(epoch * steps_per_epoch)}
            row |= {name: float(total) / steps_per_epoch for name, total in sums.items()}
            row["accuracy"] = _accuracy(model, reference, probe, device)
            row["validation_accuracy"] = _accuracy(model, reference, validation, device)
            if math.isnan(row["accuracy"]):
                raise diverged(epoch, "the model's output is not finite after its last step")
            rows.append(row)
            bar.set_postfix_str(f"epoch {epoch + 1}, validation {row['validation_accuracy']:.3f}")
            save_progress(resume_file, run, network, optimiser, epoch + 1, rows)
    _calibrate(model, reference, validation, device)
    if resume_file is not None:
        resume_file.unlink(missing_ok=True)
    return pd.DataFrame(rows)


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, 3, epoch]).generate_state(1)[0])


def _batches(
    training: np.ndarray, labels: np.ndarray, size: int, sampling: str, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Cell indices of an epoch's batches; as many cells as there are, however they are drawn."""
    if sampling == "natural":
        order = rng.permutation(training)
    else:
        counts = np.bincount(labels[training])[labels[training]].astype(float)
        weights = 1.0 / counts if sampling == "balanced" else 1.0 / np.sqrt(counts)
        order = rng.choice(training, size=len(training), p=weights / weights.sum())
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _gene_weights(reference: Reference, settings: Settings, seed: int) -> Tensor | None:
    """Weight of every gene (genes,), learnt on the cells that are trained on; None for ones."""
    if settings.gene_weights == "equal":
        return None
    training, _ = split_validation(reference.codes, settings.validation_fraction, seed)
    weights = separation(
        reference.cells[training], reference.codes[training], len(reference.labels)
    )
    return torch.from_numpy(weights)


def _noise(reference: Reference, training: np.ndarray, weights: Tensor, share: float) -> Tensor:
    """Standard deviation of the noise on every gene (genes,), even over the weighted genes."""
    distance = label_distance(
        reference.cells[training],
        reference.codes[training],
        len(reference.labels),
        weights.cpu().numpy(),
    )
    return share * distance / weights


def _corrupt(x: Tensor, gene_dropout: float, noise: Tensor | None) -> Tensor:
    """What a training step shows of cells (cells, genes): some genes hidden, all of them noisy.

    Small shifts of many genes are what a batch effect looks like; the noise drowns them, and leaves
    the genes that tell labels apart by much.
    """
    if gene_dropout:
        share = gene_dropout * torch.rand(len(x), 1, device=x.device)
        x = x * (torch.rand_like(x) >= share)
    return x if noise is None else x + noise * torch.randn_like(x)


def _optimiser(network: torch.nn.Module, choice: TrainingSettings) -> torch.optim.Optimizer:
    weights, rate, decay = network.parameters(), choice.learning_rate, choice.weight_decay
    if choice.optimiser == "sgd":
        return torch.optim.SGD(
            weights, lr=rate, momentum=choice.momentum, weight_decay=decay, fused=True
        )
    if choice.optimiser == "adam":
        return torch.optim.Adam(weights, lr=rate, weight_decay=decay, fused=True)
    return torch.optim.AdamW(weights, lr=rate, weight_decay=decay, fused=True)


def _schedule(choice: TrainingSettings, n_steps: int) -> Callable[[int], float]:
    def rate(step: int) -> float:
        if choice.schedule == "constant":
            return choice.learning_rate
        floor = choice.final_learning_rate
        cosine = 0.5 * (1.0 + math.cos(math.pi * step / n_steps))
        return choice.learning_rate * (floor + (1.0 - floor) * cosine)

    return rate


def _accuracy(model: TrainedModel, reference: Reference, cells: np.ndarray, device: str) -> float:
    """Share of cells labelled rightly; NaN without cells or with logits that are not finite."""
    if len(cells) == 0:
        return math.nan
    logits = torch.cat([batch for batch, _ in model.logits(reference.cells[cells], device=device)])
    if not torch.isfinite(logits).all():
        return math.nan
    return float((logits.argmax(dim=1).numpy() == reference.codes[cells]).mean())


def _calibrate(
    model: TrainedModel, reference: Reference, validation: np.ndarray, device: str
) -> None:
    """Fit the calibration on held-out cells; leaves the network on the CPU, ready to predict."""
    if len(validation):
        logits = torch.cat(
            [batch for batch, _ in model.logits(reference.cells[validation], device=device)]
        )
        labels = torch.from_numpy(reference.codes[validation])
        model.calibration = calibrate(logits, labels, model.settings.alpha)
    model.network.cpu().eval()
