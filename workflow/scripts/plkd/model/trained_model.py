"""Teacher and Student of one reference, and what stands in their folder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from plkd.errors import InputError
from plkd.model.background import Background
from plkd.model.calibration import Calibration
from plkd.model.folder import ModelFolder, read_folder, write_folder
from plkd.model.imputation import Imputer
from plkd.model.novelty import Novelty
from plkd.model.slide import Surroundings
from plkd.model.student import Student
from plkd.model.teacher import Teacher
from plkd.model.trained_network import Kind, Normalisation, TrainedNetwork
from plkd.settings.models import Settings, from_dict

_NOVELTY = "novelty."  # begins the names of what the Student remembers of the reference
_KNOWN = "known."  # and then those of its cells


@dataclass(frozen=True)
class Model:
    """Teacher and Student of one reference; :func:`load_model` reads one.

    Attributes
    ----------
    teacher, student
        The networks; the Student, which labels cells, is None until it is trained.
    history
        One row per epoch: `model` (teacher, student), `epoch`, learning rate, mean of every loss
        term, accuracies.
    seed
        The seed it was trained with.
    provenance
        Where it comes from: `cells_per_label` of the reference; data set, hash of the reference.
    cross_fitting
        What held-out cells of the reference said of it
        (:meth:`plkd.model.cross_fitting.CrossFit.describe`); empty without cross-fitting.
    """

    teacher: TrainedNetwork | None = None
    student: TrainedNetwork | None = None
    history: pd.DataFrame = field(default_factory=lambda: pd.DataFrame({"model": [], "epoch": []}))
    seed: int = 0
    provenance: dict[str, Any] = field(default_factory=dict)
    cross_fitting: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse networks that are not of one training."""
        if not self.networks:
            raise ValueError("a model has a Teacher, a Student, or both")
        first, *others = self.networks.values()
        for name in ("genes", "labels", "settings", "normalisation"):
            if any(getattr(other, name) != getattr(first, name) for other in others):
                raise ValueError(f"Teacher and Student differ in their {name}")
        if any(other.background is not first.background for other in others):
            raise ValueError("Teacher and Student remember different cells")

    @property
    def background(self) -> Background | None:
        """What is remembered of the reference's cells; explanations compare with them."""
        return self._either.background

    @property
    def networks(self) -> dict[Kind, TrainedNetwork]:
        """The networks that are there, by their kind."""
        both: dict[Kind, TrainedNetwork | None] = {"teacher": self.teacher, "student": self.student}
        return {kind: network for kind, network in both.items() if network is not None}

    def require(self, kind: Kind) -> TrainedNetwork:
        """Give the Teacher or the Student.

        Raises
        ------
        InputError
            If it is not trained yet.
        """
        if kind not in self.networks:
            raise InputError(
                f"the model has no {kind.capitalize()}, its training was not brought to an end: "
                "give the folder 'model' of a finished run."
            )
        return self.networks[kind]

    def card(self) -> str:
        """What the model is, what to expect of it and where it ends: Markdown for people."""
        from plkd.model.card import model_card

        return model_card(self)

    def save(self, folder: str | Path) -> None:
        """Write the folder of the model, whole or not at all; :func:`load_model` reads it."""
        tensors: dict[str, dict[str, Tensor]] = {
            kind: _export(one.network) for kind, one in self.networks.items()
        }
        if self.background is not None:
            tensors["background"] = _export_background(self.background)
        if self.student is not None and self.student.novelty is not None:
            tensors["student"] |= _export_novelty(self.student.novelty)
        description = {
            "labels": self.labels,
            "genes": self.genes,
            "normalisation": dataclasses.asdict(self.normalisation),
            "networks": {
                kind: {
                    "calibration": dataclasses.asdict(one.calibration),
                    "tokens": one.tokens,
                    "largest_offset": one.largest_offset,
                    "surroundings": dataclasses.asdict(one.surroundings),
                }
                for kind, one in self.networks.items()
            },
            "settings": self.settings.to_dict(),
            "seed": self.seed,
            "provenance": self.provenance,
            "cross_fitting": self.cross_fitting,
        }
        write_folder(folder, ModelFolder(description, tensors, self.history, self.card()))

    @property
    def genes(self) -> list[str]:
        """Names of the genes, in the order of the networks' input."""
        return self._either.genes

    @property
    def labels(self) -> list[str]:
        """Names of the labels, in the order of the networks' output."""
        return self._either.labels

    @property
    def settings(self) -> Settings:
        """The settings that both were trained with."""
        return self._either.settings

    @property
    def normalisation(self) -> Normalisation:
        """What the values of a cell must be."""
        return self._either.normalisation

    @property
    def cells_per_label(self) -> dict[str, int]:
        """How many cells of the reference had each label."""
        known = self.provenance.get("cells_per_label", {})
        return {label: int(known.get(label, 0)) for label in self.labels}

    def summary(self) -> dict[str, Any]:
        """What the model is, ready for JSON: names in order, thresholds, settings, origin."""
        network = self._either if self.student is None else self.student
        calibration = dataclasses.asdict(network.calibration)
        del calibration["unknown_threshold"]  # in `unknown_above`, which is true of all networks
        return {
            "labels": self.cells_per_label,
            "genes": self.genes,
            "pathways": [] if self.teacher is None else self.teacher.tokens,
            "networks": list(self.networks),
            **calibration,
            "unknown_above": network.unknown_above,
            "target_sum": self.normalisation.target_sum,
            "seed": self.seed,
            "settings": self.settings.to_dict(),
            "provenance": {k: v for k, v in self.provenance.items() if k != "cells_per_label"},
            "cross_fitting": self.cross_fitting,
        }

    def __repr__(self) -> str:
        tokens = [] if self.teacher is None else self.teacher.tokens
        return (
            f"Model of {len(self.labels)} labels, {len(self.genes)} genes, {len(tokens)} pathways "
            f"({' and '.join(self.networks)}); model.card() says more"
        )

    @property
    def _either(self) -> TrainedNetwork:
        return next(iter(self.networks.values()))


def load_model(folder: str | Path) -> Model:
    """Rebuild a model, on the CPU, from the folder that :meth:`Model.save` wrote.

    Raises
    ------
    InputError
        If a file is missing or damaged, the files do not belong together, the description was
        changed or says what no model can be, or the folder has the layout of another version.
    """
    content = read_folder(folder)
    try:
        settings = from_dict(content.description["settings"])
    except (InputError, KeyError, TypeError) as error:
        version = content.description.get("versions", {}).get("plkd", "unknown")
        raise InputError(
            f"the model in '{folder}' has settings of another version of plkd ({version}; "
            f"{str(error).rstrip('.')}): train it again, with `plkd train`, or by a run of the "
            "pipeline after the folder is deleted."
        ) from error
    try:
        return _rebuild(content, settings)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"the files in '{folder}' are damaged or do not fit together ({error!r}): copy the "
            "folder again, or train the model again."
        ) from error


def _rebuild(content: ModelFolder, settings: Settings) -> Model:
    description, tensors = content.description, content.tensors
    genes, labels = (_names(description[key], key) for key in ("genes", "labels"))
    normalisation = Normalisation(**description["normalisation"])
    if set(description["networks"]) != set(tensors) - {"background"}:
        raise ValueError(f"networks {set(description['networks'])}, tensors {set(tensors)}")

    background = None
    if "background" in tensors:
        background = _background(tensors["background"], len(genes), len(labels))

    def network(kind: Kind) -> TrainedNetwork | None:
        if kind not in tensors:
            return None
        about = description["networks"][kind]
        tokens = _names(about["tokens"], "tokens")
        novelty = _take_novelty(tensors[kind], len(genes))
        return TrainedNetwork(
            _student(tensors[kind], len(genes), len(labels), settings)
            if kind == "student"
            else _teacher(tensors[kind], len(genes), len(labels), len(tokens), settings),
            genes,
            labels,
            settings,
            tokens,
            Calibration(**about["calibration"]),
            normalisation,
            novelty,
            background,
            about.get("largest_offset", 0.0),  # older models move nothing
            surroundings=Surroundings(**about.get("surroundings", {})),
        )

    return Model(
        network("teacher"),
        network("student"),
        content.history,
        int(description["seed"]),
        description["provenance"],
        description["cross_fitting"],
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
    arrays = {
        **_of_cells(background.cells),
        "codes": background.codes.astype(np.int32),
        "label_means": background.label_means.astype(np.float32),
        "gene_mean": background.imputer.mean,
        "gene_spread": background.imputer.spread,
        "gene_loadings": background.imputer.loadings,
        "gene_noise": np.array([background.imputer.noise], dtype=np.float64),
    }
    return {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}


def _of_cells(cells: sparse.csr_matrix) -> dict[str, NDArray[Any]]:
    """Arrays of sparse cells (cells, genes); :func:`_take_cells` puts them together again."""
    return {
        "values": cells.data.astype(np.float32),
        "genes": cells.indices.astype(np.int32),
        "starts": cells.indptr.astype(np.int32),
    }


def _take_cells(arrays: dict[str, NDArray[Any]], n_genes: int) -> sparse.csr_matrix:
    values, genes, starts = (arrays.pop(name) for name in ("values", "genes", "starts"))
    return sparse.csr_matrix((values, genes, starts), shape=(len(starts) - 1, n_genes))


def _background(tensors: dict[str, Tensor], n_genes: int, n_labels: int) -> Background:
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    codes, means = arrays["codes"].astype(int), arrays["label_means"]
    cells = _take_cells(arrays, n_genes)
    if cells.shape[0] != len(codes):
        raise ValueError(f"{cells.shape[0]} cells of which {len(codes)} have a label")
    if means.shape != (n_labels, n_genes):
        raise ValueError(f"label means of shape {means.shape}")
    noise = float(arrays["gene_noise"].item())
    imputer = Imputer(arrays["gene_mean"], arrays["gene_spread"], arrays["gene_loadings"], noise)
    if len(imputer.mean) != n_genes:
        raise ValueError(f"means of {len(imputer.mean)} genes")
    return Background(cells, codes, means, imputer)


def _export_novelty(novelty: Novelty) -> dict[str, Tensor]:
    fields = {field.name: getattr(novelty, field.name) for field in dataclasses.fields(novelty)}
    known = fields.pop("known")
    if known is not None:
        fields |= {_KNOWN + name: array for name, array in _of_cells(known).items()}
    return {
        _NOVELTY + name: torch.from_numpy(np.atleast_1d(np.ascontiguousarray(array)))
        for name, array in fields.items()
        if array is not None
    }


def _take_novelty(tensors: dict[str, Tensor], n_genes: int) -> Novelty | None:
    """Take what is no weight of the network out of its tensors; None if there is nothing."""
    names = [name for name in tensors if name.startswith(_NOVELTY)]
    arrays: dict[str, Any] = {
        name.removeprefix(_NOVELTY): tensors.pop(name).numpy() for name in names
    }
    if not arrays:
        return None
    arrays.pop("stretch", None)  # of models of before
    cells = {n.removeprefix(_KNOWN): arrays.pop(n) for n in list(arrays) if n.startswith(_KNOWN)}
    novelty = Novelty(
        **arrays
        | {
            "neighbours": int(arrays["neighbours"].item()),
            "of_one_batch": bool(arrays["of_one_batch"].item()),
            "known": _take_cells(cells, n_genes) if cells else None,
        }
    )
    if len(novelty.components) != n_genes:
        raise ValueError(f"components of {len(novelty.components)} genes")
    return novelty


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
