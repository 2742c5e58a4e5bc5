"""What held-out cells of a reference promise, in words: for the model card and for pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Evidence = Mapping[str, Any]
""":attr:`plkd.model.trained_model.Model.cross_fitting` of a model that has it."""

NOT_CARRIED_OVER = 0.5
"""Share of its held-out cells found again below which a label does not carry over."""
WEAK_REFERENCE = 0.6
"""The same, of all cells."""


def held_out_cells(evidence: Evidence) -> str:
    """What was held out, in words."""
    return "cells of held-out batches" if evidence["held_out"] == "batch" else "held-out cells"


def held_out_scores(evidence: Evidence) -> tuple[float, float] | None:
    """Accuracy and macro F1 of Students on cells that they had not seen; None without any."""
    members = {one["member"]: one for one in evidence.get("members", [])}
    student = members.get("student", {})
    if student.get("accuracy") is None:
        return None
    return float(student["accuracy"]), float(student["macro_f1"])


def lost_labels(evidence: Evidence) -> list[Mapping[str, Any]]:
    """Labels that do not carry over, those of most cells first."""
    found = [
        one
        for one in evidence.get("labels", [])
        if one["recall"] is not None and one["recall"] < NOT_CARRIED_OVER
    ]
    return sorted(found, key=lambda one: -one["cells"])


def on_lost_label(label: Mapping[str, Any], evidence: Evidence) -> str:
    """A sentence on a label that does not carry over."""
    taken_for = f", most often taken for '{label['taken_for']}'" if label["taken_for"] else ""
    return (
        f"'{label['label']}' does not carry over: of its {label['cells']:,} "
        f"{held_out_cells(evidence)} in the reference {label['recall']:.0%} are found "
        f"again{taken_for}."
    )


def on_whole_reference(evidence: Evidence) -> str | None:
    """A sentence where the reference itself is weak."""
    scores = held_out_scores(evidence)
    if scores is None or scores[0] >= WEAK_REFERENCE:
        return None
    return (
        f"Even in the reference itself only {scores[0]:.0%} of {held_out_cells(evidence)} are "
        "labelled rightly: its labels do not carry over well, and little more can be expected of "
        "other cells."
    )


def on_held_out(evidence: Evidence) -> str | None:
    """A sentence where no whole batch could be held out."""
    if not evidence:
        return "Nothing was held out when the model was trained, so there is no forecast."
    if evidence["held_out"] == "batch":
        return None
    return (
        "The reference has one batch, or batches of different labels, so the forecast comes from "
        "its own held-out cells: for cells of another sample or study it promises too much."
    )
