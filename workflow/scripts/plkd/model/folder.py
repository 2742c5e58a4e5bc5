"""A trained model and the folder that rebuilds it with no further argument.

``model.json`` says everything that is not a weight (genes and labels in order, settings,
normalisation, calibration, where it comes from); ``weights.safetensors`` holds the tensors. Neither
can run code when it is read. ``model.json`` carries the checksum of the weights, so files of two
models cannot be mixed. ``background.safetensors`` keeps what explanations compare a cell with; a
model without it annotates as well.
"""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors
import torch
from safetensors.torch import load_file, save_file
from scipy import sparse
from torch import Tensor

from plkd import __version__
from plkd.errors import InputError
from plkd.model.background import Background
from plkd.model.calibration import Calibration
from plkd.model.student import Student
from plkd.model.teacher import Teacher
from plkd.settings.models import Settings, from_dict
from plkd.utils.files import sha256_of, whole_folder
from plkd.utils.tables import EXACT, write_tsv

FORMAT = 1
_WEIGHTS, _MODEL, _HISTORY = "weights.safetensors", "model.json", "history.tsv"
_BACKGROUND = "background.safetensors"


@dataclass
class TrainedModel:
    """A Teacher or Student with all that is needed to annotate cells.

    Attributes
    ----------
    network
        The torch module.
    genes, labels
        Names in the order of the network's input and output.
    tokens
        Names of the Teacher's tokens; empty for a Student.
    settings
        The settings it was trained with.
    calibration
        How logits become probabilities.
    normalisation
        What the input must be: ``{"target_sum": 1e4, "log1p": True}``.
    provenance
        Seed, hashes of the training data, versions of the software.
    background
        Reference cells that explanations compare with; None for a folder that holds none.
    """

    network: Teacher | Student
    genes: list[str]
    labels: list[str]
    settings: Settings
    tokens: list[str] = field(default_factory=list)
    calibration: Calibration = field(default_factory=Calibration)
    normalisation: dict[str, Any] = field(
        default_factory=lambda: {"target_sum": 1e4, "log1p": True}
    )
    provenance: dict[str, Any] = field(default_factory=dict)
    background: Background | None = None

    @property
    def kind(self) -> str:
        """``"teacher"`` or ``"student"``."""
        return self.network.kind

    def logits(
        self, cells: sparse.csr_matrix, *, batch_size: int = 2048, device: str = "cpu"
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits and embeddings, batch by batch, on the CPU; the network is left on `device`.

        Parameters
        ----------
        cells
            Log-normalised expression, CSR of shape (cells, genes), genes in the model's order.
        """
        network = self.network.to(device).eval()
        for start in range(0, cells.shape[0], batch_size):
            x = dense_batch(cells[start : start + batch_size], device)
            with torch.inference_mode():  # not around the yield: it would reach into the caller
                logits, embedding = network(x)
            yield logits.float().cpu(), embedding.float().cpu()

    def predict(
        self,
        cells: sparse.csr_matrix,
        *,
        batch_size: int = 2048,
        device: str = "cpu",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Calibrated probabilities and embeddings of cells.

        Parameters
        ----------
        cells
            Log-normalised expression, CSR of shape (cells, genes), genes in the model's order.
        batch_size
            Cells made dense at a time.
        device
            A torch device.

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
        for logits, embedded in self.logits(cells, batch_size=batch_size, device=device):
            stop = start + len(logits)
            probabilities[start:stop] = self.calibration.probabilities(logits).numpy()
            embeddings[start:stop] = embedded.numpy()
            start = stop
        return probabilities, embeddings


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


def save_model(model: TrainedModel, history: pd.DataFrame, folder: str | Path) -> None:
    """Write the folder of a model, whole or not at all, with its training history as a table."""
    with whole_folder(folder) as target:
        save_file(_export(model.network), target / _WEIGHTS)
        content = {
            "format": FORMAT,
            "kind": model.kind,
            "labels": model.labels,
            "genes": model.genes,
            "tokens": model.tokens,
            "normalisation": model.normalisation,
            "calibration": dataclasses.asdict(model.calibration),
            "settings": model.settings.to_dict(),
            "provenance": {
                **model.provenance,
                "plkd": __version__,
                "torch": torch.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            "weights_sha256": sha256_of(target / _WEIGHTS),
        }
        if model.background is not None:
            save_file(_export_background(model.background), target / _BACKGROUND)
            content["background_sha256"] = sha256_of(target / _BACKGROUND)
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        (target / _MODEL).write_text(text, encoding="utf-8")
        write_tsv(history, target / _HISTORY, digits=EXACT)


def load_model(folder: str | Path) -> TrainedModel:
    """Rebuild a model from its folder.

    Raises
    ------
    InputError
        If a file is missing or damaged, the files do not belong together, or the folder was written
        by a newer, incompatible version.
    """
    folder = Path(folder)
    for name in (_MODEL, _WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(
                f"'{folder}' is no model folder: '{name}' is missing. Give the folder 'teacher' or "
                "'student' that a training wrote."
            )
    content = _read_description(folder / _MODEL)
    if content.get("format") != FORMAT:
        raise InputError(
            f"'{folder / _MODEL}' has format {content.get('format')}, this version reads {FORMAT}: "
            "update plkd or train the model again."
        )
    for name, what in ((_WEIGHTS, "weights"), (_BACKGROUND, "background")):
        if what == "background" and not (folder / name).is_file():
            continue
        found, expected = sha256_of(folder / name), str(content.get(f"{what}_sha256"))
        if found != expected:
            raise InputError(
                f"'{name}' in '{folder}' does not belong to its model.json (SHA-256 "
                f"{found[:12]}.., expected {expected[:12]}..): copy the folder again as a whole."
            )
    try:
        settings = from_dict(content["settings"])
        genes, labels, tokens = content["genes"], content["labels"], content["tokens"]
        network = _rebuild(
            content["kind"], load_file(folder / _WEIGHTS), len(genes), len(labels), settings
        )
        if isinstance(network, Teacher) and network.navigator.n_tokens != len(tokens):
            raise ValueError(f"{len(tokens)} names for {network.navigator.n_tokens} tokens")
        return TrainedModel(
            network=network,
            genes=genes,
            labels=labels,
            settings=settings,
            tokens=tokens,
            calibration=Calibration(**content["calibration"]),
            normalisation=content["normalisation"],
            provenance=content["provenance"],
            background=_read_background(folder / _BACKGROUND, len(genes), len(labels)),
        )
    except (KeyError, TypeError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise InputError(
            f"the files in '{folder}' are damaged or do not fit together ({error!r}): copy the "
            "folder again, or train the model again."
        ) from error


def _read_description(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"'{path}' is damaged ({error}): copy the folder again.") from error
    if not isinstance(content, dict):
        raise InputError(f"'{path}' does not describe a model: copy the folder again.")
    return content


def _export(network: Teacher | Student) -> dict[str, Tensor]:
    """Tensors by name; the Navigator as the entries of its mask, free of how it is computed."""
    tensors = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    if isinstance(network, Teacher):
        navigator = network.navigator
        mask = navigator.mask()
        tensors["navigator.weight"] = navigator.entry_weights().cpu()
        tensors["navigator.bias"] = navigator.token_bias().cpu()
        tensors["navigator.mask_genes"] = torch.from_numpy(mask.indices.astype(np.int32))
        tensors["navigator.mask_starts"] = torch.from_numpy(mask.indptr.astype(np.int32))
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _export_background(background: Background) -> dict[str, Tensor]:
    cells = background.cells
    arrays = {
        "values": cells.data.astype(np.float32),
        "genes": cells.indices.astype(np.int32),
        "starts": cells.indptr.astype(np.int32),
        "codes": background.codes.astype(np.int32),
        "label_means": background.label_means.astype(np.float32),
    }
    return {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}


def _read_background(path: Path, n_genes: int, n_labels: int) -> Background | None:
    if not path.is_file():
        return None
    arrays = {name: tensor.numpy() for name, tensor in load_file(path).items()}
    codes, means = arrays["codes"].astype(int), arrays["label_means"]
    cells = sparse.csr_matrix(
        (arrays["values"], arrays["genes"], arrays["starts"]), shape=(len(codes), n_genes)
    )
    if means.shape != (n_labels, n_genes):
        raise ValueError(f"label means of shape {means.shape}")
    return Background(cells, codes, means)


def _rebuild(
    kind: str, tensors: dict[str, Tensor], n_genes: int, n_labels: int, settings: Settings
) -> Teacher | Student:
    network: Teacher | Student
    if kind == "student":
        network = Student(n_genes, n_labels, settings.student)
        network.load_state_dict(tensors)
        return network
    if kind != "teacher":
        raise ValueError(f"unknown kind of model '{kind}'")
    starts = tensors.pop("navigator.mask_starts").numpy()
    rows = tensors.pop("navigator.mask_genes").numpy()
    mask = sparse.csc_array(
        (np.ones(len(rows), dtype=bool), rows, starts), shape=(n_genes, len(starts) - 1)
    )
    network = Teacher(mask, n_labels, settings.teacher)
    network.navigator.load_entry_weights(tensors.pop("navigator.weight"))
    network.navigator.load_token_bias(tensors.pop("navigator.bias"))
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    if unexpected or set(missing) != {"navigator.weight", "navigator.bias"}:
        raise ValueError(f"tensors missing {missing}, unexpected {unexpected}")
    return network
