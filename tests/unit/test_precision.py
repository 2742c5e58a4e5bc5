"""Training in bfloat16, and on a GPU, against single precision on the CPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import two_processes
from plkd.model import loop
from plkd.model.trained_model import Model
from plkd.model.trained_network import TrainedNetwork
from plkd.model.training import train_student, train_teacher
from plkd.settings.models import Settings

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
# Of probabilities, and of losses in relation to them; bfloat16 has 8 bits of precision.
TOLERANCE = {"fp32": 1e-3, "bf16": 2e-2}


def settings_in(precision: str) -> Settings:
    """Without chance, which a GPU draws in another way than a CPU."""
    settings = two_processes.SETTINGS
    return replace(
        settings,
        teacher_training=replace(settings.teacher_training, precision=precision),
        student_training=replace(settings.student_training, precision=precision),
    )


def trained(precision: str, device: str = "cpu") -> Model:
    reference, mask = two_processes.make_reference()
    model = train_teacher(reference, mask, settings_in(precision), device=device, progress=False)
    return train_student(reference, model, device=device, progress=False)


def said(model: Model, kind: Any) -> np.ndarray:
    network: TrainedNetwork = model.require(kind)
    return network.predict(two_processes.make_reference()[0].cells)[0]


@pytest.fixture(scope="module")
def expected() -> Model:
    return trained("fp32")


@pytest.mark.parametrize(
    ("precision", "device"),
    [
        ("bf16", "cpu"),
        pytest.param("fp32", "cuda", marks=GPU),
        pytest.param("bf16", "cuda", marks=GPU),
    ],
)
def test_what_is_learnt_agrees_with_single_precision_on_the_cpu(
    expected: Model, precision: str, device: str
) -> None:
    found = trained(precision, device)
    within = TOLERANCE[precision]
    np.testing.assert_allclose(found.history["loss"], expected.history["loss"], rtol=within)
    for kind in ("teacher", "student"):
        np.testing.assert_allclose(said(found, kind), said(expected, kind), atol=within)
        for weight in found.require(kind).network.parameters():
            assert weight.dtype == torch.float32
            assert weight.device.type == "cpu"


def test_bfloat16_is_what_matrices_are_multiplied_in(
    expected: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the agreement above would say nothing."""
    types: set[torch.dtype] = set()
    outputs = loop.Training.outputs

    def watched(self: loop.Training, *arguments: Any) -> Any:
        embedding = self.network.classifier.register_forward_hook(
            lambda module, given, result: types.add(result.dtype)
        )
        found = outputs(self, *arguments)
        embedding.remove()
        assert {one.dtype for one in found} == {torch.float32}
        return found

    monkeypatch.setattr(loop.Training, "outputs", watched)
    found = trained("bf16")
    assert types == {torch.bfloat16}
    assert not np.array_equal(said(found, "student"), said(expected, "student"))
