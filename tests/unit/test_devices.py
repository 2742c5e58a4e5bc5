"""The wish for a device becomes one that exists, or an error that names it."""

from __future__ import annotations

from unittest.mock import MagicMock

import pytest
import torch

from plkd.errors import InputError
from plkd.interpret import explain, gene_attribution, pathway_attribution
from plkd.interpret.explain import explain_cells
from plkd.interpret.gene_attribution import attribute_genes
from plkd.interpret.pathway_attribution import attribute_tokens
from plkd.pages import query
from plkd.pages.query import page_content
from plkd.utils import devices
from plkd.utils.devices import (
    choose_device,
    one_thread_each,
    processes_for,
    usable_cores,
    usable_threads,
)


def test_auto_takes_a_cuda_device_if_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == "cuda"


@pytest.mark.parametrize(
    ("wish", "exists"), [("cuda", 1), ("cuda:0", 1), ("cuda:1", 2), ("cpu", 0)]
)
def test_a_device_that_exists_is_taken(wish, exists, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: exists)
    assert choose_device(wish) == wish


@pytest.mark.parametrize("wish", ["cuda", "cuda:2", "cuda:x", "gpu", "", "cpu:a"])
def test_a_device_that_does_not_exist_is_named(wish, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2 if wish == "cuda:2" else 0)
    with pytest.raises(InputError, match=f"device.*'{wish}'"):
        choose_device(wish)


@pytest.mark.parametrize(("allowed", "workers"), [(1, 1), (2, 2), (64, 3)])
def test_a_quota_of_cores_is_kept(allowed, workers, monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(devices.joblib, "cpu_count", lambda: allowed)
    torch.set_num_threads(3)
    try:
        with one_thread_each() as found:
            assert (found, torch.get_num_threads()) == (workers, 1)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("given", "cores"), [("2", 2), ("64", 8), ("", 8), ("0", 8), ("2(x3)", 8), (None, 8)]
)
def test_the_cores_that_slurm_gave_a_step_are_kept(given, cores, monkeypatch):
    monkeypatch.setattr(devices.joblib, "cpu_count", lambda: 8)
    monkeypatch.setattr(devices.torch, "get_num_threads", lambda: 16)
    if given is None:
        monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    else:
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", given)
    assert usable_cores() == usable_threads() == processes_for(10_000, "cpu") == cores


@pytest.mark.parametrize(
    ("explaining", "module", "within", "n_given"),
    [
        (attribute_genes, gene_attribution, "student_of", 3),
        (attribute_tokens, pathway_attribution, "teacher_of", 4),
        (explain_cells, explain, "background_of", 2),
        (page_content, query, "_explanations", 2),
    ],
)
def test_explaining_takes_one_thread(explaining, module, within, n_given, monkeypatch):
    class Seen(Exception):
        pass

    def look(*_: object, **__: object) -> None:
        raise Seen(torch.get_num_threads())

    monkeypatch.setattr(module, within, look)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(Seen) as seen:
            explaining(*[MagicMock()] * n_given)
        assert seen.value.args == (1,)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_threads_are_set():
    before = torch.get_num_threads()
    try:
        choose_device("cpu", threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
