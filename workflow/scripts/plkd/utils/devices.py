"""Where torch computes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import joblib
import torch

from plkd.errors import InputError
from plkd.utils.processes import started_by_torchrun

_WORTH_A_PROCESS = 2000  # cells


def choose_device(wish: str, *, threads: int | None = None) -> str:
    """Torch device for a wish such as ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.

    Parameters
    ----------
    wish
        ``"auto"`` takes the first CUDA device if there is one, else the CPU.
    threads
        Number of CPU threads torch may use; None leaves torch's own choice.

    Raises
    ------
    InputError
        If there is no such device.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if wish == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wish)
    except RuntimeError as error:
        raise InputError(
            f"there is no kind of device '{wish}': use 'auto', 'cpu', 'cuda' or 'cuda:1'."
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device '{wish}' was asked for, but torch {torch.__version__} sees "
            f"{torch.cuda.device_count()} CUDA device(s) here: use device 'auto' or 'cpu'."
        )
    return wish


def usable_cores() -> int:
    """How many cores this process may use: by its affinity, a container's quota, and Slurm.

    Slurm binds a step to its cores only where a site has it do so; what the step was given it says
    everywhere.
    """
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    cores = joblib.cpu_count()
    return min(cores, int(given)) if given.isdecimal() and int(given) else cores


def usable_threads() -> int:
    """How many threads torch may use, or fewer, where :func:`usable_cores` are fewer."""
    return min(torch.get_num_threads(), usable_cores())


@contextmanager
def one_thread_each() -> Iterator[int]:
    """Leave torch one thread for each of the threads that work side by side; give their number.

    That is as many as torch had and may use. A few threads that each do all of a piece of work wait
    less for each other than torch's, which share every step. As a decorator it does the same for a
    function whose steps are too small to be shared.
    """
    before, usable = torch.get_num_threads(), usable_threads()
    torch.set_num_threads(1)
    try:
        yield usable
    finally:
        torch.set_num_threads(before)


def processes_for(n_cells: int, device: str) -> int:
    """How many processes are worth starting for trainings on so many cells.

    One for a GPU, which they would share, for small data, because each loads torch anew, and where
    there are several already.
    """
    if device != "cpu" or n_cells < _WORTH_A_PROCESS or started_by_torchrun():
        return 1
    return usable_cores()
