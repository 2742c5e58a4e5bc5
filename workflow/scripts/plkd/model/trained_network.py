"""A trained Teacher or Student with all that is needed to label cells."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from plkd.errors import InputError
from plkd.io.normalisation import TARGET_SUM
from plkd.model.alignment import Offsets
from plkd.model.background import Background
from plkd.model.calibration import Calibration
from plkd.model.new_variation import NewVariation
from plkd.model.novelty import Novelty
from plkd.model.slide import ALONE, Surroundings
from plkd.model.student import Student
from plkd.model.teacher import Teacher
from plkd.settings.models import Settings

Kind = Literal["teacher", "student"]


@dataclass(frozen=True)
class Normalisation:
    """What the values of a cell must be: counts brought to a sum, then log1p.

    Attributes
    ----------
    target_sum
        Sum of a cell's counts before the logarithm.
    log1p
        Whether log1p follows; there is no model yet for which it does not.
    """

    target_sum: float = TARGET_SUM
    log1p: bool = True

    def __post_init__(self) -> None:
        """Refuse what no cell can be brought to."""
        if not (math.isfinite(self.target_sum) and self.target_sum > 0):
            raise ValueError(f"target_sum = {self.target_sum}: expected a number above 0")
        if self.log1p is not True:
            raise ValueError(f"log1p = {self.log1p}: only log-normalised cells can be given")


@dataclass(frozen=True)
class TrainedNetwork:
    """A Teacher or a Student with all that is needed to label cells.

    Attributes
    ----------
    network
        The torch module. It is on one device; :meth:`to` gives a copy on another.
    genes, labels
        Names in the order of the network's input and output.
    settings
        The settings it was trained with.
    tokens
        Names of the Teacher's tokens; empty for a Student.
    calibration
        How logits become probabilities.
    normalisation
        What the input must be.
    novelty
        How unknown cells are found; None for a Teacher, and for a Student where too few cells were
        held out: by their confidence.
    background
        What is remembered of the reference's cells; Teacher and Student have the same.
    largest_offset
        How far the cells of a batch may be moved onto the reference; 0 if held-out batches of the
        reference were not labelled better for it.
    offsets
        By how much they are, of the batches of a query; None: nothing was looked at yet.
    surroundings
        How the cells around a cell on its slide have a say in its label, if they are asked.
    new_variation
        In which directions the cells of a query vary and the reference does not; None: in none, or
        nothing was looked at yet.
    """

    network: Teacher | Student
    genes: list[str]
    labels: list[str]
    settings: Settings
    tokens: list[str] = field(default_factory=list)
    calibration: Calibration = field(default_factory=Calibration)
    normalisation: Normalisation = field(default_factory=Normalisation)
    novelty: Novelty | None = None
    background: Background | None = None
    largest_offset: float = 0.0
    offsets: Offsets | None = None
    surroundings: Surroundings = ALONE
    new_variation: NewVariation | None = None

    def __post_init__(self) -> None:
        """Whoever uses the network, it predicts: without dropout. Refuse what cannot be."""
        self.network.eval()
        if not (math.isfinite(self.largest_offset) and self.largest_offset >= 0):
            raise ValueError(f"largest_offset = {self.largest_offset}: expected at least 0")

    @property
    def kind(self) -> Kind:
        """``"teacher"`` or ``"student"``."""
        return self.network.kind

    @property
    def unknown_above(self) -> float:
        """The score of unknown cells above which a cell is flagged; 1 if none can be."""
        if self.novelty is None:
            return 1.0 - self.calibration.unknown_threshold
        return 1.0 - self.calibration.alpha

    @property
    def new_genes(self) -> list[str]:
        """Genes in which a query varies and the reference does not; those that vary most first."""
        return (
            []
            if self.new_variation is None
            else [self.genes[i] for i in self.new_variation.leading]
        )

    @property
    def device(self) -> torch.device:
        """Where the network is, and where it predicts."""
        return device_of(self.network)

    def to(self, device: str | torch.device) -> TrainedNetwork:
        """The same on a device: itself if it is there, a copy if not."""
        if torch.empty(0, device=device).device == self.device:
            return self
        return replace(self, network=copy.deepcopy(self.network).to(device))

    def logits(
        self,
        cells: sparse.csr_matrix,
        batches: NDArray[np.str_] | None = None,
        *,
        batch_size: int = 2048,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits and embeddings of cells, see :func:`outputs`."""
        return outputs(self.network, cells, self.offsets, batches, batch_size=batch_size)

    def entering(
        self, cells: sparse.csr_matrix, batches: NDArray[np.str_] | None
    ) -> sparse.csr_matrix:
        """A few cells of a query as they enter the network: moved onto the reference."""
        if self.offsets is None or batches is None:
            return cells
        return self.offsets.moved(cells, batches)

    def filled(self, cells: sparse.csr_matrix, measured: NDArray[np.bool_]) -> sparse.csr_matrix:
        """Cells (cells, genes) whose genes that were not measured (genes,) are filled in.

        Without a background they stay as they are.
        """
        return cells if self.background is None else self.background.imputer.fill(cells, measured)

    def surprise(self, cells: sparse.csr_matrix) -> NDArray[np.float32] | None:
        """How odd the expression of cells (cells, genes) is, (cells,); None without novelty."""
        if self.novelty is None:
            return None
        if self.new_variation is None:
            return self.novelty.surprise(cells)
        return self.new_variation.surprise(self.novelty, cells)

    def predict(
        self,
        cells: sparse.csr_matrix,
        batches: NDArray[np.str_] | None = None,
        *,
        batch_size: int = 2048,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Calibrated probabilities and embeddings of cells.

        Parameters
        ----------
        cells
            Log-normalised expression, CSR of shape (cells, genes), genes in the model's order.
        batches
            Names of their batches, (cells,), of a query whose `offsets` are known; None: the cells
            are taken as they are.
        batch_size
            Cells made dense at a time.

        Returns
        -------
        probabilities
            float32 array of shape (cells, labels); rows sum to one.
        embeddings
            float32 array of shape (cells, width).

        Raises
        ------
        InputError
            If the number of genes is not the model's.
        """
        if cells.shape[1] != len(self.genes):
            raise InputError(
                f"the cells have {cells.shape[1]} genes, the model expects {len(self.genes)}: "
                "align them to `model.genes` first (plkd.io.genes.align_genes)."
            )
        n_cells = cells.shape[0]
        probabilities = np.empty((n_cells, len(self.labels)), dtype=np.float32)
        embeddings = np.empty((n_cells, self.network.classifier.in_features), dtype=np.float32)
        start = 0
        for logits, embedded in self.logits(cells, batches, batch_size=batch_size):
            stop = start + len(logits)
            probabilities[start:stop] = self.calibration.probabilities(logits).numpy()
            embeddings[start:stop] = embedded.numpy()
            start = stop
        return probabilities, embeddings


def device_of(network: nn.Module) -> torch.device:
    """Where the weights of a network are."""
    return next(network.parameters()).device


def outputs(
    network: nn.Module,
    cells: sparse.csr_matrix,
    offsets: Offsets | None = None,
    batches: NDArray[np.str_] | None = None,
    *,
    batch_size: int = 2048,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits and embeddings, batch by batch, on the CPU; computed where the network is.

    Parameters
    ----------
    network
        A Teacher or Student, which is set to predict (no dropout).
    cells
        Log-normalised expression, CSR of shape (cells, genes), genes in the network's order.
    offsets, batches
        What is taken off cells of these batches (cells,); None: nothing.
    batch_size
        Cells made dense at a time.
    """
    network.eval()
    device = device_of(network)
    for start in range(0, cells.shape[0], batch_size):
        rows = slice(start, start + batch_size)
        batch = cells[rows]
        moves = None if offsets is None or batches is None else offsets.codes(batches[rows])
        with torch.inference_mode():  # not around the yield: it would reach into the caller
            if isinstance(network, Student) and device.type == "cpu":
                few = batch.astype(np.float32, copy=False)
                logits, embedding = network.of_sparse(
                    few, None if offsets is None else offsets.rows, moves
                )
            else:
                logits, embedding = network(moved_batch(batch, offsets, moves, device))
        yield logits.float().cpu(), embedding.float().cpu()


def moved_batch(
    cells: sparse.csr_matrix,
    offsets: Offsets | None,
    codes: NDArray[np.intp] | None,
    device: str | torch.device = "cpu",
) -> Tensor:
    """As :func:`dense_batch`, of cells whose batches' offsets (their codes) are taken off."""
    x = dense_batch(cells, device)
    if offsets is None or codes is None:
        return x
    return x - torch.from_numpy(offsets.rows[codes]).to(device)


def dense_batch(cells: sparse.csr_matrix, device: str | torch.device = "cpu") -> Tensor:
    """float32 tensor of shape (cells, genes), on `device`, of a few rows of a sparse matrix.

    A GPU is sent what is not zero, from pinned memory while it works on, and fills in the zeros
    itself: with a tenth of the genes expressed that is a fifth of the bytes.
    """
    if torch.device(device).type == "cpu":
        return torch.from_numpy(cells.toarray().astype(np.float32, copy=False))
    parts = [
        torch.from_numpy(array).pin_memory().to(device, non_blocking=True)
        for array in (cells.data.astype(np.float32, copy=False), cells.indices, cells.indptr)
    ]
    return dense_from_csr(*parts, n_genes=cells.shape[1])


def dense_from_csr(values: Tensor, indices: Tensor, starts: Tensor, *, n_genes: int) -> Tensor:
    """Dense tensor (cells, genes) from the three arrays of a CSR matrix, on their device."""
    n_cells = len(starts) - 1
    rows = torch.repeat_interleave(
        torch.arange(n_cells, device=values.device), starts.diff(), output_size=len(values)
    )
    dense = values.new_zeros(n_cells, n_genes)
    dense[rows, indices.long()] = values
    return dense
