"""Training on a GPU: single precision and bfloat16, dense beside reduced, agreement with the CPU.

``python tests/benchmarks/gpu.py`` on a machine with a GPU (``--help`` lists the options); without
one it says the same of the CPU. A step is as in a training: sparse cells are sent to the device and
made dense there, then forward, L1 and L2, backward and AdamW.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1]), str(HERE.parents[2] / "workflow/scripts")]

from measuring import Table, as_text, peak_memory, processor  # noqa: E402
from speed import GENES, PATHWAYS, make_reference, make_side, training_step  # noqa: E402

from dense_teacher import DenseTeacher  # noqa: E402
from plkd.model import losses  # noqa: E402
from plkd.model.trained_network import dense_batch  # noqa: E402
from plkd.utils.devices import choose_device  # noqa: E402

SIDES = ("plkd 1", "dense 1", "plkd 2", "dense 2")  # the number is the depth
PRECISIONS = ("fp32", "bf16")
EPOCH = 1_000_000  # cells, for which the time is given
UP_TO_SPEED = 5  # steps that are not counted


class Cost(NamedTuple):
    """Seconds of a step; the peak of memory, of the GPU or of the process so far; and in which
    share of the time the GPU had something to do, in %, None without one."""

    seconds: float
    mb: float
    busy: float | None


def outputs(network: nn.Module, x: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    """Logits and embeddings in single precision."""
    with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
        found = network(x)
    pair = (found.logits, found.embedding) if isinstance(network, DenseTeacher) else found
    return pair[0].float(), pair[1].float()


def make_step(side: str, batch: int, precision: str, device: str) -> Callable[[], None]:
    network = make_side(side, inference=False).to(device)
    reference = make_reference(batch)
    labels = torch.from_numpy(reference.codes).to(device)

    def of_batch() -> tuple[Tensor, Tensor]:
        return outputs(network, dense_batch(reference.cells, device), precision)

    return training_step(network, of_batch, labels)


def wait_for(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def cost(side: str, batch: int, precision: str, device: str, seconds: float) -> Cost:
    """What steps of one side cost, measured for so long."""
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    step = make_step(side, batch, precision, device)
    for _ in range(UP_TO_SPEED):
        step()
    wait_for(device)
    start, n_steps, busy = time.perf_counter(), 0, []
    while time.perf_counter() - start < seconds:
        for _ in range(10 if on_gpu else 1):
            step()
        if on_gpu:
            busy.append(torch.cuda.utilization(device))  # of the last moments, by the driver
        wait_for(device)
        n_steps += 10 if on_gpu else 1
    taken = (time.perf_counter() - start) / n_steps
    memory = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else peak_memory()
    return Cost(taken, memory, statistics.median(busy) if busy else None)


def compare_steps(batches: list[int], device: str, seconds: float) -> Table:
    of_side = ["an epoch", "memory", "GPU busy"]
    rows = [["batch", "precision", "depth", "Teacher", *of_side, "dense", *of_side, "ratio"]]
    for batch in batches:
        for precision in PRECISIONS:
            for depth in (1, 2):
                found = [
                    cost(f"{side} {depth}", batch, precision, device, seconds)
                    for side in ("plkd", "dense")
                ]
                row = [f"{batch:,}", precision, str(depth)]
                for one in found:
                    of_cell = one.seconds / batch
                    row += [f"{1e6 * of_cell:.2f} µs", f"{EPOCH * of_cell:,.0f} s"]
                    row += [f"{one.mb:,.0f} MB", "" if one.busy is None else f"{one.busy:.0f} %"]
                rows.append([*row, f"{found[1].seconds / found[0].seconds:.0f}x"])
    return rows


def compare_with_cpu(device: str) -> Table:
    """Largest difference of logits and of a gradient from those of the CPU, by precision."""
    rows = [["precision", "logits", "gradient, of its largest"]]
    network = make_side("plkd 1", inference=False)
    reference = make_reference(256)

    def results(where: str, precision: str) -> tuple[Tensor, Tensor]:
        copied = copy.deepcopy(network).to(where)
        logits, embedding = outputs(copied, dense_batch(reference.cells, where), precision)
        loss = losses.clustering_loss(embedding, logits, assignments="softmax", kernel="median")
        loss.backward()
        return logits.detach().cpu(), copied.get_parameter("navigator.weight").grad.cpu()

    expected = results("cpu", "fp32")
    for precision in PRECISIONS:
        logits, gradient = results(device, precision)
        largest = expected[1].abs().max()
        rows.append([precision, f"{(logits - expected[0]).abs().max():.1e}"])
        rows[-1].append(f"{(gradient - expected[1]).abs().max() / largest:.1e}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("results/benchmark/gpu.md"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 512, 4096])
    parser.add_argument("--seconds", type=float, default=3.0, help="of every measurement")
    choice = parser.parse_args()
    device = choose_device(choice.device)
    on_gpu = device.startswith("cuda")
    name = torch.cuda.get_device_name(device) if on_gpu else processor()
    texts = [
        f"{name}, torch {torch.__version__}. {GENES} genes, {PATHWAYS} pathways; an epoch is of "
        f"{EPOCH:,} cells.\n",
        as_text("Training step, per cell", compare_steps(choice.batches, device, choice.seconds)),
        as_text("Difference from the CPU in single precision", compare_with_cpu(device)),
    ]
    choice.output.parent.mkdir(parents=True, exist_ok=True)
    choice.output.write_text("\n".join(texts), encoding="utf-8")
    print("\n".join(texts))


if __name__ == "__main__":
    main()
