"""The folder of a model, which rebuilds it with no further argument.

``model.json`` says everything that is not a tensor: genes and labels in order, settings,
normalisation, calibration, where the model comes from. ``teacher.safetensors`` and
``student.safetensors`` hold the weights, ``background.safetensors`` what explanations compare a
cell with, ``history.tsv`` the training. None of them can run code when it is read. model.json
holds the SHA-256 of every file of tensors and a checksum over itself, so that neither files of two
models can be mixed nor a label be renamed unnoticed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
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
from plkd.model.trained_model import Kind, Model, Normalisation, TrainedNetwork
from plkd.settings.models import Settings, from_dict
from plkd.utils.files import sha256_of, whole_folder
from plkd.utils.tables import EXACT, Columns, read_tsv, write_tsv

FORMAT = 2
_HISTORY_COLUMNS: Columns = {"model": str, "epoch": int}  # all others are numbers
_MODEL, _HISTORY, _BACKGROUND = "model.json", "history.tsv", "background.safetensors"
_WEIGHTS: dict[Kind, str] = {
    "teacher": "teacher.safetensors",
    "student": "student.safetensors",
}


def save_model(model: Model, folder: str | Path) -> None:
    """Write the folder of a model, whole or not at all."""
    tensors = {_WEIGHTS[kind]: _export(one.network) for kind, one in model.networks.items()}
    if model.background is not None:
        tensors[_BACKGROUND] = _export_background(model.background)
    with whole_folder(folder) as target:
        for name, content in tensors.items():
            save_file(content, target / name)
        description = {
            "format": FORMAT,
            "labels": model.labels,
            "genes": model.genes,
            "normalisation": dataclasses.asdict(model.normalisation),
            "networks": {
                kind: {"calibration": dataclasses.asdict(one.calibration), "tokens": one.tokens}
                for kind, one in model.networks.items()
            },
            "settings": model.settings.to_dict(),
            "seed": model.seed,
            "provenance": model.provenance,
            "versions": {
                "plkd": __version__,
                "torch": torch.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            "files": {name: sha256_of(target / name) for name in tensors},
        }
        description["checksum"] = checksum_of(description)
        text = json.dumps(description, indent=1, ensure_ascii=False) + "\n"
        (target / _MODEL).write_text(text, encoding="utf-8")
        write_tsv(model.history, target / _HISTORY, digits=EXACT)


def load_model(folder: str | Path) -> Model:
    """Rebuild a model, on the CPU, from its folder.

    Raises
    ------
    InputError
        If a file is missing or damaged, the files do not belong together, the description was
        changed or says what no model can be, or the folder has the layout of another version.
    """
    folder = Path(folder)
    description = _read_description(folder)
    _check_files(folder, description)
    try:
        return _rebuild(folder, description)
    except (KeyError, TypeError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise InputError(
            f"the files in '{folder}' are damaged or do not fit together ({error!r}): copy the "
            "folder again, or train the model again."
        ) from error


def checksum_of(description: Mapping[str, Any]) -> str:
    """SHA-256 of the content of model.json, but for its key `checksum`; its layout is free."""
    content = {key: value for key, value in description.items() if key != "checksum"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _read_description(folder: Path) -> dict[str, Any]:
    """Content of model.json, which is of this format and as it was written."""
    path = folder / _MODEL
    if not path.is_file():
        raise InputError(
            f"'{folder}' is no model folder: '{_MODEL}' is missing. Give the folder that "
            "`plkd train` or a run of the pipeline (its folder 'model') wrote."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"'{path}' is damaged ({error}): copy the folder again.") from error
    if not isinstance(content, dict):
        raise InputError(f"'{path}' does not describe a model: copy the folder again.")
    found = content.get("format")
    if found == 1:
        raise InputError(
            f"'{path}' has format 1, of a version that kept Teacher and Student in two folders; "
            f"this one reads format {FORMAT}, one folder for both. Train the model again: run the "
            "pipeline, which writes the folder 'model', or `plkd train`."
        )
    if found != FORMAT:
        raise InputError(
            f"'{path}' has format {found}, this version reads {FORMAT}: update plkd or train the "
            "model again."
        )
    if content.get("checksum") != checksum_of(content):
        raise InputError(
            f"'{path}' is not as it was written (its checksum is wrong): copy the folder again as "
            "a whole, and change names of genes or labels in the results, not in the model."
        )
    return content


def _check_files(folder: Path, description: Mapping[str, Any]) -> None:
    """Make sure that the files of tensors are those of the description."""
    files = description.get("files")
    for name, expected in files.items() if isinstance(files, dict) else ():
        if not (folder / name).is_file():
            raise InputError(
                f"'{folder}' is no whole model folder: '{name}' is missing. Copy the folder again."
            )
        found = sha256_of(folder / name)
        if found != expected:
            raise InputError(
                f"'{name}' in '{folder}' does not belong to its model.json (SHA-256 "
                f"{found[:12]}.., expected {str(expected)[:12]}..): copy the folder again as a "
                "whole."
            )


def _rebuild(folder: Path, description: Mapping[str, Any]) -> Model:
    genes, labels = (_names(description[key], key) for key in ("genes", "labels"))
    files = description["files"]
    settings = from_dict(description["settings"])
    normalisation = Normalisation(**description["normalisation"])
    networks: dict[Kind, TrainedNetwork] = {}
    for kind, file in _WEIGHTS.items():
        if (kind in description["networks"]) != (file in files):
            raise ValueError(f"'{file}' without a {kind}, or the other way round")
        if file not in files:
            continue
        about = description["networks"][kind]
        tokens = _names(about["tokens"], "tokens")
        tensors = load_file(folder / file)
        networks[kind] = TrainedNetwork(
            _student(tensors, len(genes), len(labels), settings)
            if kind == "student"
            else _teacher(tensors, len(genes), len(labels), len(tokens), settings),
            genes,
            labels,
            settings,
            tokens,
            Calibration(**about["calibration"]),
            normalisation,
        )
    background = None
    if _BACKGROUND in files:
        background = _read_background(folder / _BACKGROUND, len(genes), len(labels))
    return Model(
        networks.get("teacher"),
        networks.get("student"),
        background,
        read_tsv(folder / _HISTORY, _HISTORY_COLUMNS, others=float),
        int(description["seed"]),
        description["provenance"],
    )


def _names(content: Any, what: str) -> list[str]:
    if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
        raise TypeError(f"{what}: expected a list of names")
    if len(set(content)) != len(content):
        raise ValueError(f"{what}: a name is there twice")
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


def _read_background(path: Path, n_genes: int, n_labels: int) -> Background:
    arrays = {name: tensor.numpy() for name, tensor in load_file(path).items()}
    codes, means = arrays["codes"].astype(int), arrays["label_means"]
    cells = sparse.csr_matrix(
        (arrays["values"], arrays["genes"], arrays["starts"]), shape=(len(codes), n_genes)
    )
    if means.shape != (n_labels, n_genes):
        raise ValueError(f"label means of shape {means.shape}")
    return Background(cells, codes, means)


def _student(
    tensors: dict[str, Tensor], n_genes: int, n_labels: int, settings: Settings
) -> Student:
    network = Student(n_genes, n_labels, settings.student)
    network.load_state_dict(tensors)
    return network


def _teacher(
    tensors: dict[str, Tensor], n_genes: int, n_labels: int, n_tokens: int, settings: Settings
) -> Teacher:
    starts = tensors.pop("navigator.mask_starts").numpy()
    rows = tensors.pop("navigator.mask_genes").numpy()
    if len(starts) - 1 != n_tokens:
        raise ValueError(f"{n_tokens} names for {len(starts) - 1} tokens")
    mask = sparse.csc_array(
        (np.ones(len(rows), dtype=bool), rows, starts), shape=(n_genes, n_tokens)
    )
    network = Teacher(mask, n_labels, settings.teacher)
    network.navigator.load_entry_weights(tensors.pop("navigator.weight"))
    network.navigator.load_token_bias(tensors.pop("navigator.bias"))
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    if unexpected or set(missing) != {"navigator.weight", "navigator.bias"}:
        raise ValueError(f"tensors missing {missing}, unexpected {unexpected}")
    return network
