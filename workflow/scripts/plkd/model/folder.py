"""The folder of a model: files that belong together, and are as they were written.

``model.json`` says everything that is not a tensor; ``teacher.safetensors``,
``student.safetensors`` and ``background.safetensors`` hold what is,
``history.tsv`` how the training went, ``README.md`` what it is in words. None of them can run code
when it is read. model.json has the SHA-256 of every file of tensors and a checksum over itself, so
that neither files of two models can be mixed nor a label be renamed unnoticed. What the content
means is the matter of
:mod:`plkd.model.trained_model`.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from plkd import __version__
from plkd.errors import InputError
from plkd.utils.files import sha256_of, whole_folder
from plkd.utils.tables import EXACT, Columns, read_tsv, write_tsv

FORMAT = 2
_MODEL, _HISTORY, _TENSORS = "model.json", "history.tsv", ".safetensors"
_CARD = "README.md"
_HISTORY_COLUMNS: Columns = {"model": str, "epoch": int}  # all others are numbers


@dataclass(frozen=True)
class ModelFolder:
    """Content of a model folder.

    Attributes
    ----------
    description
        What model.json says, but for format, versions and checksums.
    tensors
        By file (without its ending) and name.
    history
        One row per epoch.
    card
        What it is, for people; written, not read.
    """

    description: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]
    history: pd.DataFrame
    card: str = ""


def write_folder(folder: str | Path, content: ModelFolder) -> None:
    """Write the folder of a model, whole or not at all."""
    with whole_folder(folder) as target:
        for name, tensors in content.tensors.items():
            save_file(tensors, target / (name + _TENSORS))
        description = {
            "format": FORMAT,
            **content.description,
            "versions": {
                "plkd": __version__,
                "torch": torch.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            "files": {
                name + _TENSORS: sha256_of(target / (name + _TENSORS)) for name in content.tensors
            },
        }
        description["checksum"] = checksum_of(description)
        text = json.dumps(description, indent=1, ensure_ascii=False) + "\n"
        (target / _MODEL).write_text(text, encoding="utf-8")
        write_tsv(content.history, target / _HISTORY, digits=EXACT)
        (target / _CARD).write_text(content.card, encoding="utf-8")


def read_folder(folder: str | Path) -> ModelFolder:
    """Read a folder that :func:`write_folder` wrote.

    Raises
    ------
    InputError
        If a file is missing or not as it was written, or the folder has another format.
    """
    folder = Path(folder)
    description = _read_description(folder)
    files = description.get("files")
    if not isinstance(files, dict):
        raise InputError(f"'{folder / _MODEL}' names no files: copy the folder again.")
    return ModelFolder(
        description,
        {
            name.removesuffix(_TENSORS): _read_tensors(folder, name, expected)
            for name, expected in files.items()
        },
        read_tsv(folder / _HISTORY, _HISTORY_COLUMNS, others=float),
    )


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


def _read_tensors(folder: Path, name: str, expected: str) -> dict[str, Tensor]:
    path = folder / name
    if not path.is_file():
        raise InputError(
            f"'{folder}' is no whole model folder: '{name}' is missing. Copy the folder again."
        )
    found = sha256_of(path)
    if found != expected:
        raise InputError(
            f"'{name}' in '{folder}' does not belong to its model.json (SHA-256 {found[:12]}.., "
            f"expected {expected[:12]}..): copy the folder again as a whole."
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"'{path}' is damaged ({error}): copy the folder again.") from error
