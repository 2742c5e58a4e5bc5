"""The model card says what the model is and what its evidence promises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from plkd.cli import main
from plkd.model.trained_model import Model, load_model
from trained import trained_model

EVIDENCE = {
    "held_out": "batch",
    "folds": 3,
    "cells": 400,
    "shift": 0.91,
    "members": [
        {"member": "ridge", "accuracy": 0.9, "macro_f1": 0.9},
        {"member": "student", "accuracy": 0.41, "macro_f1": 0.37},
    ],
    "labels": [
        {"label": "B cell", "cells": 90, "recall": 0.1, "precision": 0.5, "taken_for": "Monocyte"},
        {"label": "CD4 T cell", "cells": 30, "recall": None, "precision": None, "taken_for": None},
        {"label": "CD8 T cell", "cells": 99, "recall": 0.8, "precision": 0.7, "taken_for": None},
    ],
}


def card(model: Model) -> str:
    """Without the breaks of its lines."""
    return " ".join(model.card().split())


def test_it_counts_what_the_model_learnt_from() -> None:
    text = trained_model().card()
    for label, n in trained_model().cells_per_label.items():
        assert f"| {label} | {n} |" in text
    assert "400 cells of 4 labels" in text
    assert f"110 genes, {len(trained_model().require('teacher').tokens)} pathways" in text
    assert "- one batch\n" in text


def test_what_does_not_carry_over_is_said_in_words() -> None:
    text = card(replace(trained_model(), cross_fitting=EVIDENCE))
    assert "Of cells of held-out batches of the reference 41.0% are labelled rightly" in text
    assert "only 41% of cells of held-out batches are labelled rightly" in text
    assert "'B cell' does not carry over" in text
    assert "most often taken for 'Monocyte'" in text
    assert "'CD8 T cell' does not" not in text
    assert "promises too much" not in text  # whole batches were held out
    assert "0.91" in text
    assert "| 10% | 50% | Monocyte |" in text


def test_a_label_cannot_break_the_table() -> None:
    model = trained_model()
    labels = ["a|b", *model.labels[1:]]
    networks = {kind: replace(one, labels=labels) for kind, one in model.networks.items()}
    assert r"| a\|b | 0 |" in replace(model, **networks).card()


def test_without_evidence_there_is_no_forecast() -> None:
    assert "no forecast" in card(replace(trained_model(), cross_fitting={}))
    of_cells = replace(trained_model(), cross_fitting=EVIDENCE | {"held_out": "cell"})
    assert "promises too much" in card(of_cells)


def test_settings_that_are_not_the_usual_ones_are_listed() -> None:
    text = trained_model().card()
    assert "- teacher.width: 16" in text
    assert "- background_cells: 40" in text
    assert "- alpha:" not in text


@pytest.mark.parametrize("cross_fitting", [{}, EVIDENCE])
def test_the_folder_and_the_command_say_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cross_fitting: dict
) -> None:
    model = replace(trained_model(), cross_fitting=cross_fitting)
    model.save(tmp_path / "model")
    written = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert written == model.card() == load_model(tmp_path / "model").card()
    assert main(["info", str(tmp_path / "model")]) == 0
    assert capsys.readouterr().out.strip() == written.strip()
