"""Several processes that train one model, as torch's own launcher (torchrun) starts them.

Each process computes a part of every batch. What a loss needs of all cells of the batch is
gathered, so that every process computes the loss of the whole batch; its gradient reaches the
weights through a process's own cells alone, and the sum over the processes is the gradient of one
process. That holds for any loss of a batch, also for one that compares its cells with each other.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn

from plkd.errors import InputError


@dataclass(frozen=True)
class Team:
    """The processes of a training, and which of them this one is.

    Attributes
    ----------
    rank
        From 0; that of 0 writes and logs.
    size
        How many there are.

    Examples
    --------
    >>> Team().share(64), Team(rank=1, size=3).share(64)
    (slice(0, 64, None), slice(21, 42, None))
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def here(cls) -> Team:
        """That of this process; a team of one where nothing was joined."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    @property
    def is_first(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0

    def share(self, n_cells: int) -> slice:
        """Which of so many cells are this process's."""
        return slice(n_cells * self.rank // self.size, n_cells * (self.rank + 1) // self.size)

    def gather(self, own: Tensor, n_cells: int) -> Tensor:
        """Rows of all processes, (n_cells, width), from this one's; those alone have a gradient."""
        if self.size == 1:
            return own
        shares = [Team(rank, self.size).share(n_cells) for rank in range(self.size)]
        sizes = [share.stop - share.start for share in shares]
        padded = own.new_zeros(max(sizes), *own.shape[1:])
        padded[: len(own)] = own.detach()
        found = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(found, padded)
        parts = [part[:size] for part, size in zip(found, sizes, strict=True)]
        parts[self.rank] = own
        return torch.cat(parts)

    def add_gradients(self, network: nn.Module) -> None:
        """Replace the gradients of a network's weights by their sum over the processes."""
        if self.size == 1:
            return
        gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
        joined = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(joined)
        parts = joined.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def started_by_torchrun() -> bool:
    """Whether this process is one of those that torchrun starts."""
    return dist.is_available() and dist.is_torchelastic_launched()


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Join the processes that torchrun started with this one; without torchrun do nothing.

    Parameters
    ----------
    device
        Where to compute; of ``"cuda"`` each process takes a GPU of its own.

    Yields
    ------
    str
        The device of this process.

    Raises
    ------
    InputError
        If there are fewer GPUs here than processes.
    """
    if not started_by_torchrun() or dist.is_initialized():
        yield device
        return
    if device == "cuda":
        n_here, n_gpus = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
        if n_here > n_gpus:
            fewer = max(n_gpus, 1)
            raise InputError(
                f"{n_here} processes train together, each on a GPU of its own, but there are "
                f"{n_gpus} GPUs here: set `training: {{processes: {fewer}}}` (of torchrun "
                f"`--nproc-per-node {fewer}`), or have the job given {n_here} GPUs."
            )
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def run_again_in(processes: int) -> NoReturn:
    """Become torchrun, which runs this program in so many processes of this machine."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *launcher, *sys.argv])
