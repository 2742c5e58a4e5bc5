"""Settings of a run: what can be chosen, what it means, and the three presets.

Every number of a preset stands in this module once, with the place where it comes from. A *variant*
of the configuration is a preset and a few overrides (``{"preset": "paper", "mask": {"kind":
"random"}}``); :func:`resolve` turns it into :class:`Settings`. :func:`json_schema` describes the
same choices for the validation of configuration files. Standard library only: Snakemake imports
this module itself.
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

    kind: Literal["pathways", "random", "dense"] = _setting(
        "pathways",
        "pathways: a token sees the genes of one gene set; random: the same sizes, the genes "
        "regrouped at random; dense: every token sees every gene (no mask).",
    )
    min_genes: int = _setting(
        5, "Use gene sets with at least this many genes among the selected genes.", minimum=1
    )
    max_genes: int = _setting(
        300, "Use gene sets with at most this many genes in total.", minimum=1
    )
    max_patterns: int = _setting(300, "Keep at most this many gene sets (tokens).", minimum=1)
    rank_by: Literal["enrichment", "coverage"] = _setting(
        "enrichment",
        "Which gene sets to keep: the most over-represented in the selected genes, or those with "
        "most selected genes.",
    )
    n_fully_connected: int = _setting(0, "Extra tokens that see every gene.", minimum=0)
    n_patterns: int | None = _setting(
        None,
        "Number of tokens of a random (Bernoulli) or dense mask; null: as the gene sets give.",
        minimum=1,
    )
    density: float | None = _setting(
        None,
        "Random mask: probability that a token sees a gene; null: the sizes of the gene sets.",
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
    mlp_ratio: float = _setting(4.0, "Width of a block's MLP over h; 0: no MLP.", minimum=0)
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
    dropout: float = _setting(0.1, "Dropout of hidden layers.", minimum=0, exclusiveMaximum=1)


@dataclass(frozen=True)
class TrainingSettings:
    """How one model is trained."""

    epochs: int = _setting(6, "Passes over the reference.", minimum=1)
    min_steps: int = _setting(
        0, "A small reference is passed over more often, until so many steps are made.", minimum=0
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
    sampling: Literal["natural", "balanced", "square_root"] = _setting(
        "natural",
        "How cells are drawn: as they are, every class equally often, or by the root of its size.",
    )
    gene_dropout: float = _setting(
        0.0,
        "Share of genes hidden from the model in a training step.",
        minimum=0,
        exclusiveMaximum=1,
    )
    clip_gradient: float | None = _setting(
        None, "Largest norm of the gradient; null: no limit.", exclusiveMinimum=0
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
    clustering_prefactor: Literal["classes", "pairs"] = _setting(
        "classes", "Factor of L1: 1/k (text) or 2/(k(k-1))."
    )
    cross_entropy_weight: float = _setting(1.0, "Weight of L2, cross-entropy.", minimum=0)
    label_smoothing: float = _setting(0.0, "Label smoothing of L2.", minimum=0, exclusiveMaximum=1)


@dataclass(frozen=True)
class StudentLossSettings:
    """L3 and L4."""

    distillation_weight: float = _setting(1.0, "Weight of L3, distillation.", minimum=0)
    temperature: float = _setting(3.0, "Temperature T of L3.", exclusiveMinimum=0)
    temperature_squared: bool = _setting(False, "Multiply L3 by T^2.")
    hard_label_weight: float = _setting(
        0.0, "Weight of cross-entropy with the reference labels.", minimum=0
    )
    self_entropy_weight: float = _setting(1.0, "Weight of L4, self-entropy.", minimum=0)
    self_entropy: Literal["maximise", "minimise"] = _setting(
        "maximise",
        "L4: maximise the entropy of the mean prediction (keeps all classes in use) or minimise it "
        "(authors' code).",
    )
    self_entropy_mean: Literal["logits", "softmax"] = _setting(
        "softmax", "L4: average logits and take the softmax, or average probabilities."
    )


@dataclass(frozen=True)
class Settings:
    """All choices of one variant."""

    mask: MaskSettings = field(default_factory=MaskSettings)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    teacher_training: TrainingSettings = field(default_factory=TrainingSettings)
    teacher_loss: TeacherLossSettings = field(default_factory=TeacherLossSettings)
    student: StudentSettings = field(default_factory=StudentSettings)
    student_training: TrainingSettings = field(default_factory=TrainingSettings)
    student_loss: StudentLossSettings = field(default_factory=StudentLossSettings)
    input_scaling: Literal["none", "unit_variance"] = _setting(
        "none", "Divide every gene by its standard deviation in the reference, inside the models."
    )
    validation_fraction: float = _setting(
        0.1,
        "Share of the reference (per class) held out of training for curves and calibration.",
        exclusiveMinimum=0,
        exclusiveMaximum=0.5,
    )
    error_rate: float = _setting(
        0.05,
        "Share of the reference's cells whose prediction set may miss the true label, and whose "
        "confidence lies below the threshold under which a cell is flagged unknown.",
        exclusiveMinimum=0,
        exclusiveMaximum=1,
    )

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionary, ready for JSON."""
        plain = dataclasses.asdict(self)
        plain["student"]["hidden"] = list(self.student.hidden)
        return plain


# The text of the paper. Where it is silent (batch size, learning rate, momentum, dropout, size of
# the Student) the authors' published code fills in; its learning rate of 1e-3 leaves the Teacher at
# chance within six epochs, so the rate is the one that trains (0.05 at batch 64).
PAPER = Settings(
    mask=MaskSettings(min_genes=5, max_genes=300, max_patterns=300, rank_by="enrichment"),  # 2.2
    teacher=TeacherSettings(
        width=48,  # the quoted parameter counts (4.1)
        depth=1,  # 2.2 "only 1 layer"
        heads=2,  # 2.2 "2 heads"
        block="bare",  # 2.2, equations for Attn and O
        mlp_ratio=0.0,
        attention_scale="width",  # 2.2 softmax(QK / sqrt(h))
        final_norm=False,
    ),
    teacher_training=TrainingSettings(
        epochs=6,  # 3.2 "converges within six epochs"
        optimiser="sgd",  # 3.2
        schedule="cosine",  # 3.2
        learning_rate=0.05,
        momentum=0.9,  # authors' code
        weight_decay=5e-5,  # authors' code
        clip_gradient=1.0,  # ours: without norms and residuals the weights run away at this rate
    ),
    teacher_loss=TeacherLossSettings(
        clustering_assignments="logits",  # 2.3 "Y_a = logits"
        clustering_kernel="fixed",  # 2.3 s_ij without a width
        clustering_prefactor="classes",  # 2.3 1/k
    ),
    student=StudentSettings(hidden=(256, 128), dropout=0.1),  # 547,597 weights (4.1); authors' code
    student_training=TrainingSettings(
        epochs=6, optimiser="sgd", schedule="cosine", learning_rate=0.05, weight_decay=5e-5
    ),
    student_loss=StudentLossSettings(
        temperature=3.0,  # 2.3 "T = 3"
        self_entropy="maximise",  # the sign is lost in the text; this one keeps classes in use
        self_entropy_mean="logits",  # 2.3 "the average of y_i"
    ),
)

# The settings of the authors' published code, with its mask laid out as the text says. Its batches
# of 8 and classes oversampled to the largest one are kept.
AUTHORS_CODE = Settings(
    mask=MaskSettings(rank_by="coverage", max_patterns=299, n_fully_connected=1),  # "node 0"
    teacher=TeacherSettings(
        width=48,
        depth=2,
        heads=4,
        block="prenorm",
        mlp_ratio=4.0,
        attention_scale="head",
        final_norm=True,
        token_dropout=0.5,
        attention_dropout=0.5,
        drop_path=0.5,
    ),
    teacher_training=TrainingSettings(
        epochs=10,
        batch_size=8,
        optimiser="sgd",
        learning_rate=1e-3,
        momentum=0.9,
        weight_decay=5e-5,
        final_learning_rate=0.01,
        sampling="balanced",
    ),
    teacher_loss=TeacherLossSettings(
        clustering_assignments="logits",
        clustering_kernel="fixed",
        clustering_prefactor="classes",
    ),
    student=StudentSettings(hidden=(256, 128), dropout=0.1),
    student_training=TrainingSettings(
        epochs=10,
        batch_size=8,
        optimiser="adam",
        learning_rate=1e-3,
        schedule="constant",
        sampling="balanced",
    ),
    student_loss=StudentLossSettings(
        distillation_weight=0.5,
        temperature=4.0,
        temperature_squared=True,
        hard_label_weight=0.5,
        self_entropy="minimise",
        self_entropy_mean="logits",
    ),
    validation_fraction=0.3,
)

# Chosen by the accuracy of the Student across batches on public transfers (README.md): two studies
# of PBMC, donors of Kang 2018, 10x chemistries, and never per data set. Hiding genes and dropout
# matter most, because they stop the models from leaning on few genes, which is what a batch effect
# punishes.
DEFAULT = Settings(
    teacher=TeacherSettings(
        width=48,
        depth=1,
        heads=2,
        block="prenorm",
        mlp_ratio=4.0,
        token_dropout=0.2,
        attention_dropout=0.2,
    ),
    teacher_training=TrainingSettings(
        epochs=10,
        min_steps=600,
        batch_size=64,
        optimiser="adamw",
        learning_rate=1e-3,
        sampling="square_root",  # rare types are seen often enough, common ones still more often
        gene_dropout=0.3,
    ),
    teacher_loss=TeacherLossSettings(
        clustering_assignments="softmax", clustering_kernel="median", clustering_prefactor="classes"
    ),
    student=StudentSettings(hidden=(256, 128), dropout=0.5),
    student_training=TrainingSettings(
        epochs=10,
        min_steps=600,
        batch_size=64,
        optimiser="adamw",
        learning_rate=1e-3,
        sampling="square_root",
        gene_dropout=0.3,
    ),
    student_loss=StudentLossSettings(
        temperature=3.0, self_entropy="maximise", self_entropy_mean="softmax"
    ),
)

PRESETS: dict[str, Settings] = {
    "default": DEFAULT,
    "paper": PAPER,
    "authors_code": AUTHORS_CODE,
}


def resolve(variant: Mapping[str, Any]) -> Settings:
    """Turn a variant of the configuration into settings.

    Parameters
    ----------
    variant
        ``preset`` names one of :data:`PRESETS` (default ``"default"``); the other keys are those of
        :class:`Settings`, each a mapping of the settings to override.

    Raises
    ------
    InputError
        For an unknown preset, key or choice, a value out of its limits, or a combination that
        cannot be built or trained.
    """
    overrides = dict(variant)
    preset = overrides.pop("preset", "default")
    if preset not in list(PRESETS):
        raise InputError(f"unknown preset '{preset}': choose one of {', '.join(PRESETS)}.")
    settings = _override(PRESETS[preset], overrides, where="variant")
    if settings.teacher.width % settings.teacher.heads:
        raise InputError(
            f"teacher.heads = {settings.teacher.heads} does not divide teacher.width = "
            f"{settings.teacher.width}: choose a divisor."
        )
    for name in ("teacher_loss", "student_loss"):
        weights = {
            key: value
            for key, value in dataclasses.asdict(getattr(settings, name)).items()
            if key.endswith("_weight")
        }
        if not any(weights.values()):
            raise InputError(f"{name}: one of {', '.join(weights)} must be more than 0.")
    return settings


def from_dict(content: Mapping[str, Any]) -> Settings:
    """Inverse of :meth:`Settings.to_dict`."""
    return _override(Settings(), content, where="settings")


def _override(settings: Any, overrides: Mapping[str, Any], where: str) -> Any:
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
            changes[name] = _override(current, value, where=f"{where}.{name}")
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


def json_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of a variant: every key described, unknown keys refused."""
    schema = _schema_of(Settings)
    preset = {
        "type": "string",
        "enum": list(PRESETS),
        "default": "default",
        "description": "Settings to start from; the other keys override single values of it.",
    }
    schema["properties"] = {"preset": preset, **schema["properties"]}
    return schema


def _schema_of(settings: type) -> dict[str, Any]:
    hints = typing.get_type_hints(settings)
    properties: dict[str, Any] = {}
    for item in dataclasses.fields(settings):
        if dataclasses.is_dataclass(hints[item.name]):
            properties[item.name] = _schema_of(typing.cast(type, hints[item.name]))
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


def _print_schema() -> None:
    import yaml

    header = (
        "# Made by `make schema` from workflow/scripts/plkd/settings.py; a test keeps them equal."
    )
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "PLKD variant"}
    schema |= json_schema()
    print(header)
    print(yaml.safe_dump(schema, sort_keys=False, allow_unicode=True, width=100), end="")


if __name__ == "__main__":
    _print_schema()
