"""What can be chosen for the models and their training, what it means, and what is chosen.

:class:`Settings` holds all choices of one run; its defaults are the default preset, which was
chosen by the accuracy of the Student on config/development.yaml: one preset for all transfers. What
matters most there is what keeps the models from leaning on small shifts of many genes, which is
what a batch effect looks like: genes weighted by how far the labels lie apart in them, genes
hidden, and noise on all of them in proportion to that distance. The Student learns from what the
Teacher says of the very same corrupted cells, so they agree off the reference too. The other
presets are in :mod:`plkd.settings.presets`. Standard library only: Snakemake imports this module
itself.
"""

from __future__ import annotations

import dataclasses
import operator
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from plkd.errors import InputError


def _setting(default: Any, description: str, **limits: Any) -> Any:
    """A field with its description and JSON-schema limits (those of :data:`_LIMITS`)."""
    return field(default=default, metadata={"description": description, "limits": limits})


_LIMITS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "minimum": ("at least", operator.ge),
    "exclusiveMinimum": ("more than", operator.gt),
    "maximum": ("at most", operator.le),
    "exclusiveMaximum": ("less than", operator.lt),
}


@dataclass(frozen=True)
class MaskSettings:
    """Which genes feed which token."""

    kind: Literal["pathways", "modules", "random", "dense"] = _setting(
        "pathways",
        "pathways: a token sees the genes of one gene set; modules: genes that go together in the "
        "reference (needs no gene sets); random: the sizes of the gene sets, their genes regrouped "
        "at random; dense: every token sees every gene (no mask).",
    )
    min_genes: int = _setting(
        5, "Use gene sets with at least this many genes among the selected genes.", minimum=1
    )
    max_genes: int = _setting(
        300, "Use gene sets with at most this many genes in total.", minimum=1
    )
    max_pathways: int = _setting(300, "Keep at most this many gene sets (tokens).", minimum=1)
    rank_by: Literal["enrichment", "coverage"] = _setting(
        "enrichment",
        "Which gene sets to keep: the most over-represented in the selected genes, or those with "
        "most selected genes.",
    )
    n_fully_connected: int = _setting(0, "Extra tokens that see every gene.", minimum=0)
    # Without it a small panel, of which few gene sets have enough genes, leaves the Teacher blind.
    # A token that sees every gene, as the authors' code has it, would carry nearly all of a label,
    # and the pathways next to nothing.
    uncovered_token: bool = _setting(
        True, "One more token for the genes that no other token sees, if there are any."
    )
    n_tokens: int | None = _setting(
        None,
        "Number of tokens of a random (Bernoulli) or dense mask; null: as the gene sets give, or "
        "max_pathways where none fits.",
        minimum=1,
    )
    density: float | None = _setting(
        None,
        "Random mask: probability that a token sees a gene; null: the sizes of the gene sets, or "
        "0.015 where none fits.",
        exclusiveMinimum=0,
        maximum=1,
    )
    seed: int = _setting(0, "Seed of a random mask.", minimum=0)


@dataclass(frozen=True)
class TeacherSettings:
    """Architecture of the Teacher."""

    width: int = _setting(48, "Width h of tokens and cell embedding.", minimum=1)
    depth: int = _setting(1, "Number of attention layers.", minimum=1)
    heads: int = _setting(2, "Attention heads; must divide the width.", minimum=1)
    block: Literal["bare", "prenorm"] = _setting(
        "prenorm",
        "bare: attention alone, as the paper's text; prenorm: LayerNorm, attention, residual "
        "(and the MLP), as the authors' code.",
    )
    # no MLP and no dropout: with few tokens they cost more than they give, with many they change
    # nothing
    mlp_ratio: float = _setting(0.0, "Width of a block's MLP over h; 0: no MLP.", minimum=0)
    attention_scale: Literal["head", "width"] = _setting(
        "head", "Divide attention scores by the root of the head's width, or of h (paper's text)."
    )
    token_norm: bool = _setting(False, "LayerNorm on the tokens as they leave the Navigator.")
    final_norm: bool = _setting(True, "LayerNorm on the cell embedding.")
    pre_logits: bool = _setting(False, "A tanh layer h -> h before the classifier.")
    token_dropout: float = _setting(
        0.0, "Dropout after attention and MLP.", minimum=0, exclusiveMaximum=1
    )
    attention_dropout: float = _setting(
        0.0, "Dropout of attention weights.", minimum=0, exclusiveMaximum=1
    )
    drop_path: float = _setting(
        0.0, "Stochastic depth of the last layer (rising from 0).", minimum=0, exclusiveMaximum=1
    )


@dataclass(frozen=True)
class StudentSettings:
    """Architecture of the Student."""

    hidden: tuple[int, ...] = _setting((256, 128), "Widths of the hidden layers.")
    # what it imitates is smooth already, and dropout would keep it from following
    dropout: float = _setting(0.0, "Dropout of hidden layers.", minimum=0, exclusiveMaximum=1)


@dataclass(frozen=True)
class TrainingSettings:
    """How one model is trained."""

    epochs: int = _setting(10, "Passes over the reference.", minimum=1)
    # with fewer steps, or as many of smaller batches, small references are learnt less well
    min_steps: int = _setting(
        600, "A small reference is passed over more often, until so many steps are made.", minimum=0
    )
    batch_size: int = _setting(64, "Cells per step.", minimum=1)
    optimiser: Literal["sgd", "adam", "adamw"] = _setting("adamw", "Optimiser.")
    learning_rate: float = _setting(1e-3, "Learning rate at the start.", exclusiveMinimum=0)
    momentum: float = _setting(0.9, "Momentum of SGD.", minimum=0, exclusiveMaximum=1)
    weight_decay: float = _setting(0.0, "Weight decay.", minimum=0)
    schedule: Literal["cosine", "constant"] = _setting(
        "cosine", "cosine: decay of the learning rate to `final_learning_rate` of its start."
    )
    final_learning_rate: float = _setting(
        0.01, "Share of the learning rate left at the end of the cosine.", minimum=0, maximum=1
    )
    # rare types are seen often enough, common ones still more often
    sampling: Literal["natural", "balanced", "square_root"] = _setting(
        "square_root",
        "How cells are drawn: as they are, every label equally often, or by the root of its size.",
    )
    gene_dropout: float = _setting(
        0.8,
        "Largest share of genes hidden from a cell in a training step; every cell draws its share "
        "evenly between 0 and this.",
        minimum=0,
        maximum=1,
    )
    input_noise: float = _setting(
        0.03,
        "Standard deviation of the noise added to every weighted gene in a training step, as a "
        "share of the mean distance from a cell's label to the nearest other label.",
        minimum=0,
    )
    clip_gradient: float | None = _setting(
        None, "Largest norm of the gradient; null: no limit.", exclusiveMinimum=0
    )
    precision: Literal["fp32", "bf16"] = _setting(
        "fp32",
        "In what matrices are multiplied: single precision, or bfloat16 (torch's autocast), for "
        "GPUs that are faster in it. Weights and losses are in single precision either way.",
    )


@dataclass(frozen=True)
class TeacherLossSettings:
    """L1 and L2."""

    clustering_weight: float = _setting(
        1.0, "Weight of L1, divergence-based clustering.", minimum=0
    )
    clustering_assignments: Literal["logits", "softmax"] = _setting(
        "softmax", "Y of L1: the classifier's logits (paper's text) or probabilities (DDC, KIDA)."
    )
    clustering_kernel: Literal["fixed", "median"] = _setting(
        "median", "Kernel of L1: exp(-d2) (text), or its width by the median of d2 (DDC)."
    )
    # over all pairs of labels, because with 1/k many labels let L1 outweigh the cross-entropy
    clustering_prefactor: Literal["labels", "pairs"] = _setting(
        "pairs", "Factor of L1: 1/k (text) or 2/(k(k-1))."
    )
    cross_entropy_weight: float = _setting(1.0, "Weight of L2, cross-entropy.", minimum=0)


@dataclass(frozen=True)
class StudentLossSettings:
    """L3 and L4."""

    distillation_weight: float = _setting(1.0, "Weight of L3, distillation.", minimum=0)
    # a jury is soft already
    temperature: float = _setting(1.0, "Temperature T of L3.", exclusiveMinimum=0)
    temperature_squared: bool = _setting(False, "Multiply L3 by T^2.")
    teacher_sees: Literal["whole_cell", "same_cell"] = _setting(
        "same_cell",
        "whole_cell: soft labels are computed once, from all genes of a cell; same_cell: at every "
        "step, from the cell as the Student sees it, genes hidden and noise included.",
    )
    recombination: float = _setting(
        0.5,
        "Largest share of genes that a cell takes from another one of its batch before Student and "
        "Teacher see it (which needs teacher_sees: same_cell and no hard labels).",
        minimum=0,
        maximum=1,
    )
    hard_label_weight: float = _setting(
        0.0, "Weight of cross-entropy with the reference labels.", minimum=0
    )
    self_entropy_weight: float = _setting(0.0, "Weight of L4, self-entropy.", minimum=0)
    self_entropy: Literal["maximise", "minimise"] = _setting(
        "maximise",
        "L4: maximise the entropy of the mean prediction (keeps all labels in use) or minimise it "
        "(authors' code).",
    )
    self_entropy_mean: Literal["logits", "softmax"] = _setting(
        "softmax", "L4: average logits and take the softmax, or average probabilities."
    )


@dataclass(frozen=True)
class JurySettings:
    """From whom the Student learns, and how it is judged on cells that it has not seen."""

    members: Literal["all", "teacher"] = _setting(
        "all",
        "all: the Teacher, a network of the Student's shape and linear models, weighed on held-out "
        "cells of the reference; teacher: the Teacher alone, in a third of the time.",
    )
    folds: int = _setting(
        3,
        "Parts of the reference that are held out in turn: whole batches where there are several, "
        "else cells of every label.",
        minimum=2,
    )
    max_cells: int = _setting(
        20_000, "Of a larger reference so many cells take part in the cross-fitting.", minimum=100
    )


@dataclass(frozen=True)
class Settings:
    """All choices of one variant; by default the default preset."""

    mask: MaskSettings = field(default_factory=MaskSettings)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    teacher_training: TrainingSettings = field(default_factory=TrainingSettings)
    teacher_loss: TeacherLossSettings = field(default_factory=TeacherLossSettings)
    student: StudentSettings = field(default_factory=StudentSettings)
    student_training: TrainingSettings = field(
        default_factory=lambda: TrainingSettings(learning_rate=2e-3)
    )
    student_loss: StudentLossSettings = field(default_factory=StudentLossSettings)
    jury: JurySettings = field(default_factory=JurySettings)
    gene_weights: Literal["equal", "separation"] = _setting(
        "separation",
        "Weight of a gene at the entrance of the models. separation: learnt on the reference, how "
        "far the labels' means lie apart in units of the gene's spread within labels.",
    )
    label_noise: float = _setting(
        0.0,
        "Share of the reference's cells that are given another label by chance, to see what wrong "
        "labels cost.",
        minimum=0,
        exclusiveMaximum=1,
    )
    validation_fraction: float = _setting(
        0.1,
        "Share of the reference (per label) held out of training for curves and calibration.",
        exclusiveMinimum=0,
        exclusiveMaximum=0.5,
    )
    alpha: float = _setting(
        0.05,
        "Share of the reference's cells whose prediction set may miss the true label, and share of "
        "them that would be flagged unknown.",
        exclusiveMinimum=0,
        exclusiveMaximum=1,
    )

    background_cells: int = _setting(
        100,
        "Reference cells kept in a model's folder, evenly over the labels (at least one of each): "
        "explanations compare a cell with them. Five times as many are kept to tell in what a "
        "query varies and the reference does not. 0: only the mean of every label is kept.",
        minimum=0,
    )

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionary, ready for JSON."""
        plain = dataclasses.asdict(self)
        plain["student"]["hidden"] = list(self.student.hidden)
        return plain


def from_dict(content: Mapping[str, Any]) -> Settings:
    """Inverse of :meth:`Settings.to_dict`.

    Raises
    ------
    InputError
        If a setting is missing, for which no default may stand, or as of :func:`override`.
    """
    settings = override(Settings(), content, where="settings")
    for section, known in settings.to_dict().items():
        if section not in content:
            raise InputError(f"settings: '{section}' is missing.")
        for name in known if isinstance(known, dict) else ():
            if name not in content[section]:
                raise InputError(f"settings.{section}: '{name}' is missing.")
    return settings


def override(settings: Any, overrides: Mapping[str, Any], where: str) -> Any:
    """Replace fields of (nested) settings, checking names, types and limits.

    Raises
    ------
    InputError
        For an unknown key or choice, or a value of another type or out of its limits.
    """
    if not isinstance(overrides, Mapping):
        raise InputError(f"{where} = {overrides!r}: expected keys with values.")
    fields = {item.name: item for item in dataclasses.fields(settings)}
    hints = typing.get_type_hints(type(settings))
    changes: dict[str, Any] = {}
    for name, value in overrides.items():
        if name not in fields:
            raise InputError(f"unknown key '{name}' in {where}: known are {', '.join(fields)}.")
        current = getattr(settings, name)
        if dataclasses.is_dataclass(current):
            changes[name] = override(current, value, where=f"{where}.{name}")
        else:
            checked = _checked(value, hints[name], f"{where}.{name}")
            _check_limits(checked, fields[name].metadata["limits"], f"{where}.{name}")
            changes[name] = checked
    return replace(settings, **changes)


def _checked(value: Any, hint: Any, where: str) -> Any:
    """Accept `value` if it is of the type `hint`; integers pass for floats, lists for tuples."""
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            raise InputError(f"{where} = {value!r}: choose one of {', '.join(map(str, choices))}.")
        return value
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) is tuple:
        if not (isinstance(value, list | tuple) and value and all(map(_is_count, value))):
            raise InputError(f"{where} = {value!r}: expected a list of whole numbers, at least 1.")
        return tuple(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise InputError(f"{where} = {value!r}: expected {hint.__name__}.")
    return value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _check_limits(value: Any, limits: Mapping[str, float], where: str) -> None:
    for name, bound in limits.items():
        words, holds = _LIMITS[name]
        if value is not None and not holds(value, bound):
            raise InputError(f"{where} = {value!r}: must be {words} {bound}.")


def schema_of(settings: type) -> dict[str, Any]:
    """JSON schema of settings: every key described, unknown keys refused."""
    hints = typing.get_type_hints(settings)
    properties: dict[str, Any] = {}
    for item in dataclasses.fields(settings):
        if dataclasses.is_dataclass(hints[item.name]):
            properties[item.name] = schema_of(typing.cast(type, hints[item.name]))
        else:
            properties[item.name] = {
                **_json_type(hints[item.name]),
                "description": item.metadata["description"],
                **item.metadata["limits"],
            }
    return {
        "type": "object",
        "description": (settings.__doc__ or "").strip().splitlines()[0],
        "properties": properties,
        "additionalProperties": False,
    }


def _json_type(hint: Any) -> dict[str, Any]:
    if typing.get_origin(hint) is Literal:
        return {"type": "string", "enum": list(typing.get_args(hint))}
    if typing.get_origin(hint) is tuple:
        return {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1}
    if isinstance(hint, types.UnionType):
        return {"type": [_json_type(typing.get_args(hint)[0])["type"], "null"]}
    return {"type": {int: "integer", float: "number", bool: "boolean", str: "string"}[hint]}
