"""The wish for a device becomes one that exists, or an error that names it."""

from __future__ import annotations

import pytest
import torch

from plkd.errors import InputError
from plkd.utils import devices
from plkd.utils.devices import choose_device, one_thread_each


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


def test_threads_are_set():
    before = torch.get_num_threads()
    try:
        choose_device("cpu", threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
