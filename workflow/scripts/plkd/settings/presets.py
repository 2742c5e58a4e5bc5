"""The presets, and how a variant of the configuration becomes settings.

The default preset is the defaults of :mod:`plkd.settings.models`; of the others stands here what
differs from it or is said by their source. A *variant* is a preset and a few overrides
(``{"preset": "paper", "mask": {"kind": "random"}}``); :func:`resolve` turns it into
:class:`~plkd.settings.models.Settings`, :func:`json_schema` describes what a variant may say.
Standard library only: Snakemake imports this module itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from plkd.errors import InputError
from plkd.settings.models import (
    JurySettings,
    MaskSettings,
    Settings,
    StudentLossSettings,
    StudentSettings,
    TeacherLossSettings,
    TeacherSettings,
    TrainingSettings,
    override,
    schema_of,
)

_TEACHER_ALONE = JurySettings(members="teacher")
# What the default preset does to the cells that are learnt from, and the others do not.
_UNCHANGED_CELLS: dict[str, Any] = {"min_steps": 0, "gene_dropout": 0.0, "input_noise": 0.0}

# The text of the paper. Where it is silent (batch size, learning rate, momentum, dropout, size of
# the Student) the authors' published code fills in; its learning rate of 1e-3 leaves the Teacher at
# chance within six epochs, so the rate is the one that trains (0.05).
PAPER = Settings(
    mask=MaskSettings(  # 2.2
        min_genes=5,
        max_genes=300,
        max_pathways=300,
        rank_by="enrichment",
        uncovered_token=False,
    ),
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
        batch_size=16,  # authors' tutorial; 64 makes too few steps in six epochs
        optimiser="sgd",  # 3.2
        schedule="cosine",  # 3.2
        learning_rate=0.05,
        momentum=0.9,  # authors' code
        weight_decay=5e-5,  # authors' code
        clip_gradient=1.0,  # ours: without norms and residuals the weights run away at this rate
        sampling="natural",
        **_UNCHANGED_CELLS,
    ),
    teacher_loss=TeacherLossSettings(
        clustering_assignments="logits",  # 2.3 "Y_a = logits"
        clustering_kernel="fixed",  # 2.3 s_ij without a width
        clustering_prefactor="labels",  # 2.3 1/k
    ),
    student=StudentSettings(hidden=(256, 128), dropout=0.1),  # 547,597 weights (4.1); authors' code
    student_training=TrainingSettings(
        epochs=6,
        batch_size=16,
        optimiser="sgd",
        schedule="cosine",
        learning_rate=0.05,
        weight_decay=5e-5,
        sampling="natural",
        **_UNCHANGED_CELLS,
    ),
    student_loss=StudentLossSettings(
        teacher_sees="whole_cell",
        recombination=0.0,
        self_entropy_weight=1.0,  # 2.3
        hard_label_weight=0.0,
        temperature=3.0,  # 2.3 "T = 3"
        self_entropy="maximise",  # the sign is lost in the text; this one keeps labels in use
        self_entropy_mean="logits",  # 2.3 "the average of y_i"
    ),
    gene_weights="equal",
    jury=_TEACHER_ALONE,
)

# The settings of the authors' published code, with its mask laid out as the text says. Its batches
# of 8 and labels oversampled to the largest one are kept.
AUTHORS_CODE = Settings(
    mask=MaskSettings(
        rank_by="coverage",
        max_pathways=299,
        n_fully_connected=1,  # "node 0"
        uncovered_token=False,
    ),
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
        **_UNCHANGED_CELLS,
    ),
    teacher_loss=TeacherLossSettings(
        clustering_assignments="logits",
        clustering_kernel="fixed",
        clustering_prefactor="labels",
    ),
    student=StudentSettings(hidden=(256, 128), dropout=0.1),
    student_training=TrainingSettings(
        epochs=10,
        batch_size=8,
        optimiser="adam",
        learning_rate=1e-3,
        schedule="constant",
        sampling="balanced",
        **_UNCHANGED_CELLS,
    ),
    student_loss=StudentLossSettings(
        teacher_sees="whole_cell",
        recombination=0.0,
        self_entropy_weight=1.0,
        distillation_weight=0.5,
        temperature=4.0,
        temperature_squared=True,
        hard_label_weight=0.5,
        self_entropy="minimise",
        self_entropy_mean="logits",
    ),
    gene_weights="equal",
    jury=_TEACHER_ALONE,
    validation_fraction=0.3,
)

# The default without the jury: the Student learns from the Teacher and the labels of the reference.
FAST = Settings(
    jury=_TEACHER_ALONE,
    student=StudentSettings(dropout=0.4),
    student_training=TrainingSettings(),
    student_loss=StudentLossSettings(
        recombination=0.0, hard_label_weight=0.5, temperature=2.0, self_entropy_weight=1.0
    ),
)

PRESETS: dict[str, Settings] = {
    "default": Settings(),
    "fast": FAST,
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
    settings = override(PRESETS[preset], overrides, where="variant")
    if settings.teacher.width % settings.teacher.heads:
        raise InputError(
            f"teacher.heads = {settings.teacher.heads} does not divide teacher.width = "
            f"{settings.teacher.width}: choose a divisor."
        )
    loss = settings.student_loss
    if loss.recombination and (loss.hard_label_weight or loss.teacher_sees != "same_cell"):
        raise InputError(
            "student_loss.recombination makes cells that are nobody's: set it to 0, or "
            "hard_label_weight to 0 and teacher_sees to same_cell."
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


def json_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of a variant: every key described, unknown keys refused."""
    schema = schema_of(Settings)
    preset = {
        "type": "string",
        "enum": list(PRESETS),
        "default": "default",
        "description": "Settings to start from; the other keys override single values of it.",
    }
    schema["properties"] = {"preset": preset, **schema["properties"]}
    return schema


def _print_schema() -> None:
    import yaml

    header = (
        "# Made by `make schema` from workflow/scripts/plkd/settings/models.py; a test keeps them "
        "equal."
    )
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "PLKD variant"}
    schema |= json_schema()
    print(header)
    print(yaml.safe_dump(schema, sort_keys=False, allow_unicode=True, width=100), end="")


if __name__ == "__main__":
    _print_schema()
