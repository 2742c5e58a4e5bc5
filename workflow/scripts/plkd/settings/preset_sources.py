"""Where every value of the presets comes from, and the table that says so (config/presets.md)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from plkd.settings.models import Settings
from plkd.settings.presets import PRESETS

_TRAINING = ("teacher_training", "student_training")
_SILENT = "text silent; authors' code"

# Preset -> source -> settings. Numbers are sections of the paper; "authors' code" is the published
# repository of its authors; "measured" is config/development.yaml.
SOURCES: dict[str, dict[str, list[str]]] = {
    "paper": {
        "2.2": [
            "mask.kind", "mask.rank_by", "teacher.depth", "teacher.heads", "teacher.block",
            "teacher.mlp_ratio", "teacher.attention_scale", "teacher.token_norm",
            "teacher.final_norm", "teacher.pre_logits",
        ],
        "2.3": [
            "teacher_loss.clustering_weight", "teacher_loss.clustering_assignments",
            "teacher_loss.clustering_kernel", "teacher_loss.clustering_prefactor",
            "teacher_loss.cross_entropy_weight", "student_loss.distillation_weight",
            "student_loss.temperature", "student_loss.temperature_squared",
            "student_loss.hard_label_weight", "student_loss.self_entropy_weight",
            "student_loss.self_entropy_mean", "student_loss.teacher_sees", "jury.members",
        ],
        "2.3, whose sign is lost; this one keeps all labels in use": ["student_loss.self_entropy"],
        "3.2": [
            f"{model}.{name}" for model in _TRAINING for name in ("epochs", "optimiser", "schedule")
        ],
        "4.1, the numbers of weights": ["teacher.width", "student.hidden"],
        _SILENT: [
            "mask.min_genes", "mask.max_genes", "mask.max_pathways", "student.dropout",
            *(f"{model}.{name}" for model in _TRAINING
              for name in ("momentum", "weight_decay", "final_learning_rate")),
        ],
        "text silent; the authors' 0.001 does not train within six epochs": [
            f"{model}.learning_rate" for model in _TRAINING
        ],
        "text silent; authors' tutorial": [f"{model}.batch_size" for model in _TRAINING],
        "text silent; ours": [
            *(f"{model}.{name}" for model in _TRAINING for name in ("sampling", "precision")),
            "validation_fraction", "alpha", "background_cells",
        ],
        "ours: without norms and residuals the weights run away": [
            "teacher_training.clip_gradient"
        ],
    },
    "authors_code": {
        "authors' code": [
            "mask.kind", "mask.min_genes", "mask.max_genes", "mask.max_pathways", "mask.rank_by",
            "mask.n_fully_connected", "validation_fraction", "student.hidden", "student.dropout",
            "jury.members",
            *(f"teacher.{field.name}" for field in dataclasses.fields(PRESETS["paper"].teacher)),
            *(f"{model}.{name}" for model in _TRAINING
              for name in ("epochs", "batch_size", "optimiser", "learning_rate", "momentum",
                           "weight_decay", "schedule", "final_learning_rate", "sampling")),
            *(f"{loss}.{field.name}" for loss in ("teacher_loss", "student_loss")
              for field in dataclasses.fields(getattr(PRESETS["paper"], loss))),
        ],
        "ours": [
            "alpha", "background_cells", *(f"{model}.precision" for model in _TRAINING)
        ],
    },
    "default": {
        "as the paper": [
            "mask.kind", "mask.min_genes", "mask.max_genes", "mask.max_pathways", "mask.rank_by",
            "teacher.width", "teacher.depth", "teacher.heads", "student.hidden",
            "teacher_loss.clustering_weight", "teacher_loss.cross_entropy_weight",
            "student_loss.distillation_weight",
        ],
        "measured": [
            "mask.n_fully_connected", "mask.uncovered_token", "gene_weights", "teacher.mlp_ratio",
            "teacher.token_dropout", "teacher.attention_dropout", "student.dropout",
            "teacher_loss.clustering_prefactor", "student_loss.temperature",
            "student_loss.teacher_sees", "student_loss.hard_label_weight",
            "student_loss.self_entropy_weight", "student_loss.recombination", "jury.members",
            "student_training.learning_rate",
            *(f"{model}.{name}" for model in _TRAINING
              for name in ("epochs", "min_steps", "sampling", "gene_dropout", "input_noise")),
        ],
        "as the authors' code": [
            "teacher.block", "teacher.attention_scale", "teacher.final_norm", "teacher.token_norm",
            "teacher.pre_logits",
        ],
        "ours: the usual choice": [
            *(f"{model}.{name}" for model in _TRAINING
              for name in ("batch_size", "optimiser", "weight_decay", "momentum", "schedule",
                           "final_learning_rate", "precision")),
            "teacher_training.learning_rate", "jury.folds", "jury.max_cells",
            "validation_fraction", "alpha", "background_cells",
        ],
        "DDC and KIDA, whose loss it is": [
            "teacher_loss.clustering_assignments", "teacher_loss.clustering_kernel"
        ],
        "as is usual with T, where L4 keeps its share": ["student_loss.temperature_squared"],
        "UnitedNet, which keeps all labels in use": [
            "student_loss.self_entropy", "student_loss.self_entropy_mean"
        ],
    },
}  # fmt: skip
# What the fast preset has of its own was chosen in the same way, before there was a jury.
SOURCES["fast"] = SOURCES["default"]


def settings_of(settings: Any, section: str = "") -> Iterator[tuple[str, Any, str]]:
    """Every setting as (dotted name, value, description)."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from settings_of(value, f"{section}{field.name}.")
        else:
            yield f"{section}{field.name}", value, field.metadata["description"]


def source_of(preset: str, name: str) -> str | None:
    """Where a preset's value of a setting comes from; None for what the preset does not use."""
    for source, names in SOURCES[preset].items():
        if name in names:
            return source
    return None


def markdown() -> str:
    """Give the table of all settings with the values of the presets and their sources."""
    lines = [
        "# The presets, value by value",
        "",
        "Made by `make schema` from `presets.py` and `preset_sources.py`; a test keeps them equal.",
        "Behind a value stands where it comes from: a section of the paper; the authors' published",
        "code; *measured*, which is chosen on the transfers of `config/development.yaml`; or us. A",
        "value without source belongs to something that the preset does not use.",
    ]
    rows = {preset: list(settings_of(PRESETS[preset])) for preset in PRESETS}
    section = None
    for position, (name, _, description) in enumerate(settings_of(Settings())):
        head, _, short = name.rpartition(".")
        if head != section:
            section = head
            lines += ["", f"## {head or 'The rest'}", ""]
            lines += ["| setting | " + " | ".join(PRESETS) + " | what it is |"]
            lines += ["|---" * (len(PRESETS) + 2) + "|"]
        cells = [_cell(preset, name, rows[preset][position][1]) for preset in PRESETS]
        lines.append(f"| `{short}` | " + " | ".join(cells) + f" | {description} |")
    return "\n".join(lines) + "\n"


def _cell(preset: str, name: str, value: Any) -> str:
    source = source_of(preset, name)
    return _text(value) if source is None else f"{_text(value)}<br>*{source}*"


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    print(markdown(), end="")
