"""Two processes train the model that one trains."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import two_processes
from plkd.errors import InputError
from plkd.utils import processes
from plkd.utils.logs import follows_another, logger, start_logging
from plkd.utils.processes import Team, joined

PROGRAM = Path(two_processes.__file__)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("processes")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [sys.executable, *launcher, str(PROGRAM), str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=300,
    )
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return two_processes.everything()


def test_the_example_of_the_documentation_holds() -> None:
    assert doctest.testmod(processes).failed == 0


def test_shares_are_even_and_lose_no_cell() -> None:
    for n_cells in (0, 1, 2, 64, 65):
        shares = [Team(rank, 3).share(n_cells) for rank in range(3)]
        assert [i for one in shares for i in range(n_cells)[one]] == list(range(n_cells))
        sizes = [one.stop - one.start for one in shares]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("what", ["gradient", "teacher", "student"])
def test_two_processes_learn_what_one_learns(
    found: list[dict[str, Any]], alone: dict[str, Any], what: str
) -> None:
    assert [one["processes"] for one in found] == [2, 2]
    assert alone["processes"] == 1
    for name, expected in alone[what].items():
        for one in found:
            torch.testing.assert_close(one[what][name], expected, rtol=1e-5, atol=1e-5)
        assert torch.equal(found[0][what][name], found[1][what][name])


def test_they_report_what_one_reports(found: list[dict[str, Any]], alone: dict[str, Any]) -> None:
    for one in found:
        for what in ("accuracy", "loss", "temperature"):
            assert one[what] == pytest.approx(alone[what], rel=1e-5)


def test_the_gradient_of_a_part_alone_would_be_another(alone: dict[str, Any]) -> None:
    """What the comparison above can tell: the mean of two half batches is not it."""
    reference, mask = two_processes.make_reference()

    class Half(Team):
        """Half of the batch as if it were all."""

        def gather(self, own: torch.Tensor, n_cells: int) -> torch.Tensor:
            return own

        def add_gradients(self, network: torch.nn.Module) -> None:
            pass

    gradients = []
    for rank in range(2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Team, "here", classmethod(lambda cls, rank=rank: Half(rank, 2)))
            gradients.append(two_processes.gradient_of_clustering(reference, mask))
    mean = {name: (gradients[0][name] + gradients[1][name]) / 2 for name in gradients[0]}
    difference = max(float((mean[n] - alone["gradient"][n]).abs().max()) for n in mean)
    assert difference > 1e-3


@pytest.mark.parametrize("n_gpus", [0, 1, 3])
def test_more_processes_than_gpus_are_refused(n_gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "started_by_torchrun", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", str(n_gpus))
    said = f"4 processes .* {n_gpus} GPUs .*training: {{processes: {max(n_gpus, 1)}}}"
    with pytest.raises(InputError, match=said), joined("cuda"):
        pass


def test_the_first_process_speaks_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "train.log"
    handlers = logger.handlers[:]
    try:
        start_logging(log)
        logger.info("of the first")
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
        monkeypatch.setenv("RANK", "1")
        assert follows_another()
        start_logging(log)
        logger.info("of the second")
        logger.error("what went wrong in the second")
    finally:
        for handler in logger.handlers:
            handler.close()
        logger.handlers[:] = handlers
    text = log.read_text()
    assert "of the first" in text
    assert "of the second" not in text
    assert "what went wrong in the second" in text
