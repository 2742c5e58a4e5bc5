"""Speed and memory of the models: a table of ratios, both sides of each in one run.

Run it with ``make bench``, or as ``python tests/benchmarks/speed.py --help`` says.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[2] / "workflow" / "scripts")]

from measuring import Table, alone, as_text, peak_memory, processor  # noqa: E402

from dense_teacher import DenseTeacher  # noqa: E402
from plkd.model import losses  # noqa: E402
from plkd.model.reference import Reference  # noqa: E402
from plkd.model.student import Student  # noqa: E402
from plkd.model.teacher import Teacher  # noqa: E402
from plkd.model.training import train_student, train_teacher  # noqa: E402
from plkd.pathways.mask import Mask  # noqa: E402
from plkd.settings.models import MaskSettings, TeacherSettings  # noqa: E402
from plkd.settings.presets import PRESETS  # noqa: E402

GENES, PATHWAYS, LABELS, WIDTH = 2000, 300, 22, 48
NONZERO = 0.1  # share of a cell's genes with counts
BATCHES = (8, 64, 256)
CELLS = (3250, 6500, 13000, 26000)
# What a core does of small matrix products, and moves from and to memory, in round numbers.
GFLOPS, GIGABYTES = 30, 10


def make_mask(settings: MaskSettings | None = None) -> sparse.csc_array:
    """About 8,000 gene-pathway pairs; sizes with a heavy tail, 5 to 150 genes, as Reactome's.

    With the tokens beside the pathways that the settings ask for.
    """
    rng = np.random.default_rng(0)
    sizes = np.minimum(5 + (9 * rng.pareto(1.25, PATHWAYS)).astype(int), 150)
    columns = [np.sort(rng.choice(GENES, size, replace=False)) for size in sizes]
    if settings is not None:
        columns += [np.arange(GENES)] * settings.n_fully_connected
        if settings.uncovered_token:
            columns.append(np.setdiff1d(np.arange(GENES), np.concatenate(columns)))
    starts = np.cumsum([0, *map(len, columns)])
    rows = np.concatenate(columns)
    return sparse.csc_array((np.ones(len(rows), dtype=bool), rows, starts))


def make_reference(n_cells: int) -> Reference:
    """Log-normalised cells without structure: what training costs does not depend on it."""
    rng = np.random.default_rng(1)
    per_cell = rng.binomial(GENES, NONZERO, n_cells)
    indptr = np.concatenate([[0], per_cell.cumsum()])
    indices = np.concatenate([rng.choice(GENES, count, replace=False) for count in per_cell])
    values = rng.gamma(2.0, 0.8, len(indices)).astype(np.float32)
    parts = values, indices.astype(np.int32), indptr.astype(np.int32)
    cells = sparse.csr_matrix(parts, shape=(n_cells, GENES))  # of few cells no gene may be missing
    cells.sort_indices()
    labels = np.arange(n_cells) % LABELS
    genes, label_names = ([f"{x}{i}" for i in range(n)] for x, n in (("g", GENES), ("c", LABELS)))
    return Reference(cells, labels, genes, label_names)


# ------------------------------------------------------------------------- a step, an inference


def make_side(side: str, *, inference: bool) -> nn.Module:
    """``"plkd 1"``, ``"dense 2"`` (the number is the depth) or ``"student"``."""
    torch.manual_seed(0)
    if side == "student":
        return Student(GENES, LABELS, PRESETS["default"].student).train(not inference)
    kind, depth = side.split()
    settings = TeacherSettings(width=WIDTH, depth=int(depth))  # the default's block, no dropout
    teacher = Teacher(make_mask(), LABELS, settings)
    network: nn.Module = teacher if kind == "plkd" else DenseTeacher(teacher, settings)
    if inference and isinstance(network, DenseTeacher):
        network.navigator.mask_once()
    return network.train(not inference)


def make_work(side: str, batch: int, *, inference: bool, count: bool = False) -> Callable[[], None]:
    """What is timed: one pass, or one step with L1, L2 and AdamW, over a batch of dense cells.

    What is counted must not be in torch's inference mode, which hides operations.
    """
    network = make_side(side, inference=inference)
    reference = make_reference(batch)
    x = torch.from_numpy(reference.cells.toarray())
    labels = torch.from_numpy(reference.codes)

    def outputs() -> tuple[torch.Tensor, torch.Tensor]:
        found = network(x)
        return (found.logits, found.embedding) if isinstance(network, DenseTeacher) else found

    if inference:
        network.requires_grad_(False)
        quick = torch.no_grad() if count else torch.inference_mode()
        return quick(lambda: (outputs(), None)[1])
    return training_step(network, outputs, labels)


def training_step(
    network: nn.Module,
    outputs: Callable[[], tuple[torch.Tensor, torch.Tensor]],
    labels: torch.Tensor,
) -> Callable[[], None]:
    """One step with L1, L2 and AdamW on what `outputs` gives: logits and embeddings of a batch."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        logits, embedding = outputs()
        loss = losses.cross_entropy_loss(logits, labels) + losses.clustering_loss(
            embedding, logits, assignments="softmax", kernel="median"
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return step


def timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleaved(works: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median seconds of each side. A round gives every side a warm-up and up to 20 repeats."""
    seconds: dict[str, list[float]] = {side: [] for side in works}
    for _ in range(rounds):
        for side, work in works.items():
            first = timed(work)  # brings the side's weights back into the cache
            repeats = int(min(20, max(1, 0.1 / first)))
            seconds[side] += [timed(work) for _ in range(repeats)]
    return {side: statistics.median(values) for side, values in seconds.items()}


def compare_speed(*, inference: bool, batches: Sequence[int], rounds: int) -> Table:
    rows = [["batch", "Teacher", "dense, depth 1", "ratio", "dense, depth 2", "ratio"]]
    rows[0] += ["Teacher, depth 2", "ratio to dense, depth 2"]
    rows[0] += ["Student", "Teacher / Student"] if inference else []
    for batch in batches:
        sides = ["plkd 1", "dense 1", "plkd 2", "dense 2"] + ["student"] * inference
        works = {side: make_work(side, batch, inference=inference) for side in sides}
        cost = {k: 1e6 * v / batch for k, v in interleaved(works, rounds).items()}  # us per cell
        one, two, dense_one, dense_two = (
            cost[side] for side in ("plkd 1", "plkd 2", "dense 1", "dense 2")
        )
        row = [str(batch), f"{one:.1f} µs", f"{dense_one:.0f} µs", f"{dense_one / one:.0f}x"]
        row += [f"{dense_two:.0f} µs", f"{dense_two / one:.0f}x"]
        row += [f"{two:.0f} µs", f"{dense_two / two:.1f}x"]
        if inference:
            row += [f"{cost['student']:.1f} µs", f"{one / cost['student']:.1f}x"]
        rows.append(row)
    return rows


# --------------------------------------------------------------------------------------- counting


class BytesMoved(TorchDispatchMode):
    """Sums up what every operation reads and writes, as if nothing stayed in a cache."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            for one in tree_leaves((args, kwargs, result)):
                if isinstance(one, torch.Tensor):  # a broadcast one is no larger than what it holds
                    self.total += min(one.numel() * one.itemsize, one.untyped_storage().nbytes())
        return result


def count(batches: Sequence[int]) -> Table:
    """Operations of matrix products and bytes per cell, and the time that either takes."""
    rows = [["", "batch", "MFLOP", "kB", f"at {GFLOPS} GFLOP/s", f"at {GIGABYTES} GB/s"]]
    for side, inference in (("plkd 1", False), ("plkd 1", True), ("student", True)):
        for batch in batches:
            work = make_work(side, batch, inference=inference, count=True)
            work()
            with FlopCounterMode(display=False) as products:
                work()
            with BytesMoved() as moved:
                work()
            flops, size = products.get_total_flops() / batch, moved.total / batch
            name = "Student" if side == "student" else "Teacher"
            rows.append([f"{name}, {'inference' if inference else 'training step'}", str(batch)])
            rows[-1] += [f"{flops / 1e6:.2f}", f"{size / 1e3:.0f}"]
            rows[-1] += [f"{flops / GFLOPS / 1e3:.0f} µs", f"{size / GIGABYTES / 1e3:.0f} µs"]
    return rows


# ----------------------------------------------------------------------------- a process of its own


def memory_of_work(side: str, batch: int, inference: bool, threads: int) -> float:
    """MB by which three repeats of a side, model and all, raise the process's peak."""
    torch.set_num_threads(threads)
    before = peak_memory()
    work = make_work(side, batch, inference=inference)
    for _ in range(3):
        work()
    return peak_memory() - before


def cost_of_training(preset: str, n_cells: int, threads: int) -> tuple[float, float, float, int]:
    """Seconds of Teacher and of Student, MB by which the peak rises, epochs of each."""
    torch.set_num_threads(threads)
    settings = PRESETS[preset]
    reference = make_reference(n_cells)
    matrix = make_mask(settings.mask)
    tokens = [f"pathway{i}" for i in range(matrix.shape[1])]
    mask = Mask(reference.genes, tokens, matrix, pd.DataFrame())
    small = make_reference(200)  # what torch loads on first use is not the training's
    quick = replace(settings, teacher_training=replace(settings.teacher_training, min_steps=0))
    train_teacher(small, mask, quick, progress=False)
    before = peak_memory()
    start = time.perf_counter()
    model = train_teacher(reference, mask, settings, progress=False)
    middle = time.perf_counter()
    train_student(reference, model, progress=False)
    end = time.perf_counter()
    return middle - start, end - middle, peak_memory() - before, len(model.history)


def compare_memory(batches: Sequence[int], threads: int) -> Table:
    rows = [["", "batch", "Teacher", "dense, depth 1", "ratio", "dense, depth 2", "ratio"]]
    for inference in (False, True):
        for batch in batches:
            own, one, two = (
                alone(memory_of_work, side, batch, inference, threads)
                for side in ("plkd 1", "dense 1", "dense 2")
            )
            rows.append(["inference" if inference else "training step", str(batch)])
            rows[-1] += [f"{own:.0f} MB", f"{one:.0f} MB", f"{one / own:.0f}x"]
            rows[-1] += [f"{two:.0f} MB", f"{two / own:.0f}x"]
    return rows


def whole_trainings(sizes: Sequence[int], threads: int) -> Table:
    rows = [
        ["preset", "cells", "epochs", "Teacher", "Student", "both", "per epoch and 1,000 cells"]
    ]
    rows[0] += ["peak memory", "a dense copy would take"]
    for preset in ("paper", "default"):
        for size in sizes:
            teacher, student, memory, epochs = alone(cost_of_training, preset, size, threads)
            both = teacher + student
            rows.append([preset, f"{size:,}", str(epochs), f"{teacher:.1f} s", f"{student:.1f} s"])
            rows[-1] += [f"{both:.1f} s", f"{1e6 * both / epochs / size:.0f} ms"]
            rows[-1] += [f"+{memory:.0f} MB", f"{size * GENES * 4 / 2**20:.0f} MB"]
    return rows


# ------------------------------------------------------------------------------------- the report


def machine(threads: int) -> str:
    python = sys.version.split()[0]
    return f"{processor()}, {threads} thread(s), torch {torch.__version__}, Python {python}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("results/benchmark/speed.md"))
    parser.add_argument(
        "--threads", type=int, default=1, help="of torch (default: 1, with which plkd trains)"
    )
    parser.add_argument("--rounds", type=int, default=7, help="rounds of the interleaved timing")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="cells per batch")
    parser.add_argument("--cells", type=int, nargs="+", default=CELLS, help="sizes of a reference")
    parts = ("count", "step", "inference", "memory", "training")
    parser.add_argument("--only", choices=parts, nargs="+", default=parts, help="parts to run")
    choice = parser.parse_args()
    torch.set_num_threads(choice.threads)
    speed = functools.partial(compare_speed, batches=choice.batches, rounds=choice.rounds)
    known: dict[str, tuple[str, Callable[[], Table]]] = {
        "count": ("Counted, per cell", lambda: count(choice.batches)),
        "step": ("Training step, per cell", lambda: speed(inference=False)),
        "inference": ("Inference, per cell", lambda: speed(inference=True)),
        "memory": (
            "Peak memory beyond the imports",
            lambda: compare_memory(choice.batches, choice.threads),
        ),
        "training": (
            "Whole training",
            lambda: whole_trainings(choice.cells, choice.threads),
        ),
    }
    pairs = make_mask().nnz
    texts = [
        f"{machine(choice.threads)}.\n{GENES} genes, {PATHWAYS} pathways with {pairs} genes in "
        f"all, width {WIDTH}, {LABELS} labels, {NONZERO:.0%} of the input non-zero.\n"
    ]
    print(texts[0])
    for part in choice.only:
        title, run = known[part]
        texts.append(as_text(title, run()))
        print(texts[-1], flush=True)
    choice.output.parent.mkdir(parents=True, exist_ok=True)
    choice.output.write_text("\n".join(texts), encoding="utf-8")


if __name__ == "__main__":
    main()
