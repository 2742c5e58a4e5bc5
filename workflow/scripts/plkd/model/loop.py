"""The loop in which every network learns from a labelled reference.

The reference stays a sparse matrix, or on disk; a batch is made dense when it is used, so memory
does not grow with cells x genes. Every epoch draws from generators seeded by (seed, epoch), so a
training that goes on from a resume file ends with the weights of an uninterrupted one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import Tensor

from plkd.errors import InputError
from plkd.io.blocks import batches_of, in_windows
from plkd.model.calibration import Calibration, calibrate
from plkd.model.gene_weights import label_distance, separation
from plkd.model.reference import Reference, split_validation
from plkd.model.resume import fingerprint_of_run, resume, save_progress
from plkd.model.student import Student
from plkd.model.teacher import Teacher
from plkd.model.trained_network import TrainedNetwork, dense_batch, outputs
from plkd.settings.models import Settings, TrainingSettings
from plkd.utils.logs import logger
from plkd.utils.processes import Team
from plkd.utils.progress import ProgressBar

# A look at the loss makes a GPU wait for the step to end. A sum stays not finite once it is.
_STEPS_BETWEEN_LOOKS = 50

SECONDS_BETWEEN_SAVES = 10.0
"""Epochs that end sooner after the last save are not saved: with few cells that takes as long as an
epoch, and no more than this is lost."""

Objective = Callable[["Training", Tensor, np.ndarray], dict[str, Tensor]]
"""(training, expression of this process's cells, rows of the batch) -> named loss terms of the
whole batch, with their weights applied."""


class TrainingDiverged(InputError):
    """The loss or the model's output became infinite or not a number."""


class Training:
    """A network on its way: what it learns from, and its optimiser."""

    def __init__(
        self,
        network: Teacher | Student,
        reference: Reference,
        settings: Settings,
        choice: TrainingSettings,
        objective: Objective,
        *,
        seed: int,
        device: str,
    ) -> None:
        self.network = network.to(device)
        self.reference = reference
        self.settings = settings
        self.choice = choice
        self.objective = objective
        self.seed = seed
        self.device = device
        self.team = Team.here()
        self.cells, self.held_out = split_validation(
            reference.codes, settings.validation_fraction, seed
        )
        # training cells whose accuracy is shown beside that of the held-out ones
        order = np.random.default_rng([seed, 4]).permutation(self.cells)
        self.probe = np.sort(order[: max(len(self.held_out), 1000)])
        # looked at after every epoch, and few: this process's share of them is read once
        self.looked_at = [
            (reference.cells[rows[self.team.share(len(rows))]], reference.codes[rows])
            for rows in (self.probe, self.held_out)
        ]
        self.noise = None
        if choice.input_noise:
            self.noise = _noise(reference, self.cells, network.input_scale, choice.input_noise)
        self.optimiser = _optimiser(self.network, choice)
        self.steps_per_epoch = math.ceil(len(self.cells) / choice.batch_size)
        self.epochs = max(choice.epochs, math.ceil(choice.min_steps / self.steps_per_epoch))
        self.rate = _schedule(choice, self.steps_per_epoch * self.epochs)

    def run(
        self,
        resume_file: Path | None,
        learns_from: Sequence[np.ndarray],
        *,
        progress: bool,
        watch: bool = True,
    ) -> pd.DataFrame:
        """Train, from where the resume file of an interrupted run left off; gives the history.

        `learns_from` is what, beside the reference, makes this training differ from others. Unless
        `watch`, the history has the accuracy of the last epoch alone, which with few cells takes
        a sixth of an epoch.
        """
        kind, run = self.network.kind, ""
        if resume_file is not None:
            run = fingerprint_of_run(kind, self.settings, self.reference, learns_from, self.seed)
        first, rows = resume(resume_file, run, self.network, self.optimiser)
        if first:
            logger.info("going on from '%s' after epoch %d", resume_file, first)
        bar = ProgressBar(
            total=self.steps_per_epoch * self.epochs,
            initial=self.steps_per_epoch * first,
            desc=f"training the {kind}",
            unit="step",
            disable=not (progress and self.team.is_first),
        )
        saved = time.monotonic()
        with bar:
            for epoch in range(first, self.epochs):
                try:
                    row = self._epoch(epoch, bar, watch or epoch + 1 == self.epochs)
                except FloatingPointError as error:
                    raise self._diverged(epoch, str(error), resume_file) from None
                rows.append(row)
                bar.set_postfix_str(f"epoch {epoch + 1}, held out {row['validation_accuracy']:.3f}")
                if self.team.is_first and time.monotonic() - saved >= SECONDS_BETWEEN_SAVES:
                    save_progress(resume_file, run, self.network, self.optimiser, epoch + 1, rows)
                    saved = time.monotonic()
        if resume_file is not None and self.team.is_first:
            resume_file.unlink(missing_ok=True)
        history = pd.DataFrame(rows)
        history.insert(0, "model", kind)
        return history

    def trained(self, tokens: list[str]) -> TrainedNetwork:
        """The network, moved to the CPU and calibrated on the held-out cells."""
        calibration = Calibration()
        if len(self.held_out):
            cells, codes = self.looked_at[1]
            logits = self._logits(cells, len(codes))
            calibration = calibrate(logits, torch.from_numpy(codes), self.settings.alpha)
        return TrainedNetwork(
            self.network.cpu().eval(),
            self.reference.genes,
            self.reference.labels,
            self.settings,
            tokens,
            calibration,
        )

    def _epoch(self, epoch: int, bar: ProgressBar, watch: bool) -> dict[str, float]:
        """Pass over the cells once; gives a row of the history, with accuracies if `watch`.

        Raises FloatingPointError where the loss or the network's output is not finite.
        """
        torch.manual_seed(_epoch_seed(self.seed, epoch, self.team.rank))
        rng = np.random.default_rng([self.seed, 2, epoch])
        order = _order(self.cells, self.reference.codes, self.choice.sampling, rng)
        windows = in_windows(order, len(self.reference.codes), rng)
        batches = batches_of(self.reference.cells, windows, self.choice.batch_size, self.team.share)
        self.network.train()
        sums: dict[str, Tensor | float] = {}
        for step, (rows, cells) in enumerate(batches):
            terms = self._step(rows, cells, self.rate(epoch * self.steps_per_epoch + step))
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value.detach().double()
            last = step + 1 == self.steps_per_epoch
            if (last or step % _STEPS_BETWEEN_LOOKS == 0) and not math.isfinite(sums["loss"]):
                values = ", ".join(
                    f"{name} = {term.item():g}" for name, term in terms.items() if name != "loss"
                )
                raise FloatingPointError(f"by step {step + 1}: {values}")
            bar.update()
        row = {"epoch": epoch + 1, "learning_rate": self.rate(epoch * self.steps_per_epoch)}
        row |= {name: float(total) / self.steps_per_epoch for name, total in sums.items()}
        row["accuracy"], row["validation_accuracy"] = (
            self._accuracy(*cells) if watch else math.nan for cells in self.looked_at
        )
        if watch and math.isnan(row["accuracy"]):
            raise FloatingPointError("the model's output is not finite after its last step")
        return row

    def _step(self, rows: np.ndarray, cells: sparse.csr_matrix, rate: float) -> dict[str, Tensor]:
        """Learn from a batch at a learning rate; gives the loss and its terms.

        `rows` are those of the whole batch, `cells` this process's share of it.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        x = dense_batch(cells, self.device)
        terms = self.objective(self, _corrupt(x, self.choice.gene_dropout, self.noise), rows)
        loss = torch.stack(list(terms.values())).sum()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.team.add_gradients(self.network)
        if self.choice.clip_gradient is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.choice.clip_gradient)
        self.optimiser.step()
        return {"loss": loss, **terms}

    def outputs(self, x: Tensor, n_cells: int) -> tuple[Tensor, Tensor]:
        """Logits and embeddings of a batch of `n_cells`, of which this process has `x`."""
        low = self.choice.precision == "bf16"
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=low):
            logits, embedding = self.network(x)
        return (
            self.team.gather(logits.float(), n_cells),
            self.team.gather(embedding.float(), n_cells),
        )

    def _logits(self, cells: sparse.csr_matrix, n_cells: int) -> Tensor:
        """Logits of `n_cells`, of which this process has `cells`; on the CPU."""
        found = [logits for logits, _ in outputs(self.network, cells)]
        n_labels = self.network.classifier.out_features
        own = torch.cat(found) if found else torch.empty(0, n_labels)
        return self.team.gather(own.to(self.device), n_cells).cpu()

    def _accuracy(self, cells: sparse.csr_matrix, codes: np.ndarray) -> float:
        """Share of cells labelled rightly; NaN without cells or with logits that are not finite.

        `codes` are those of all, `cells` this process's share.
        """
        if len(codes) == 0:
            return math.nan
        logits = self._logits(cells, len(codes))
        if not torch.isfinite(logits).all():
            return math.nan
        return float((logits.argmax(dim=1).numpy() == codes).mean())

    def _diverged(self, epoch: int, found: str, resume_file: Path | None) -> TrainingDiverged:
        kept = f" The last good epoch is in '{resume_file}'." if resume_file and epoch else ""
        kind, rate = self.network.kind, self.choice.learning_rate
        return TrainingDiverged(
            f"training of the {kind} diverged in epoch {epoch + 1}, {found}. Lower "
            f"{kind}_training.learning_rate (now {rate:g}) or set clip_gradient.{kept}"
        )


def _epoch_seed(seed: int, epoch: int, rank: int) -> int:
    of_process = [rank] if rank else []
    return int(np.random.SeedSequence([seed, 3, epoch, *of_process]).generate_state(1)[0])


def _order(
    training: np.ndarray, codes: np.ndarray, sampling: str, rng: np.random.Generator
) -> np.ndarray:
    """Rows of an epoch; as many cells as there are, however they are drawn."""
    if sampling == "natural":
        return rng.permutation(training)
    counts = np.bincount(codes[training])[codes[training]].astype(float)
    weights = 1.0 / counts if sampling == "balanced" else 1.0 / np.sqrt(counts)
    return rng.choice(training, size=len(training), p=weights / weights.sum())


def gene_weights(reference: Reference, settings: Settings, seed: int) -> Tensor | None:
    """Weight of every gene (genes,), learnt on the cells that are trained on; None for ones."""
    if settings.gene_weights == "equal":
        return None
    training, _ = split_validation(reference.codes, settings.validation_fraction, seed)
    weights = separation(reference.cells, reference.codes, len(reference.labels), rows=training)
    return torch.from_numpy(weights)


def _noise(reference: Reference, training: np.ndarray, weights: Tensor, share: float) -> Tensor:
    """Standard deviation of the noise on every gene (genes,), even over the weighted genes."""
    distance = label_distance(
        reference.cells,
        reference.codes,
        len(reference.labels),
        weights.cpu().numpy(),
        rows=training,
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
