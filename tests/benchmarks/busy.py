"""Training, prediction and attribution beside busy processes, and alone: at most twice the time.

Run it with ``make bench``, or as ``python tests/benchmarks/busy.py --help`` says. A machine that is
busy with other work is not alone.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import anndata as ad
import joblib
import numpy as np
import pandas as pd

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1]), str(HERE.parents[2] / "workflow/scripts")]

importlib.import_module("plkd")  # before torch, whose threads it tells not to spin while they wait

from larger_than_memory import mask_for  # noqa: E402
from measuring import Table, as_text  # noqa: E402
from speed import machine, make_reference  # noqa: E402

from plkd.interpret.gene_attribution import attribute_genes  # noqa: E402
from plkd.model.training import train_student, train_teacher  # noqa: E402
from plkd.prediction.predict import predict_cells  # noqa: E402
from plkd.settings.models import Settings  # noqa: E402
from plkd.utils.devices import choose_device  # noqa: E402

CORES = joblib.cpu_count()
TRAINED, PREDICTED, ATTRIBUTED = 3_250, 26_000, 50  # cells

Work = Callable[[], object]


def make_works() -> dict[str, Work]:
    """What is timed, by name."""
    settings = Settings()
    settings = replace(
        settings,
        teacher_training=replace(settings.teacher_training, epochs=1, min_steps=0),
        student_training=replace(settings.student_training, epochs=1, min_steps=0),
    )
    reference = make_reference(TRAINED)
    mask = mask_for(reference.genes, settings)

    def train() -> object:
        return train_teacher(reference, mask, settings, progress=False)

    student = train_student(reference, train_teacher(reference, mask, settings, progress=False),
                            progress=False).require("student")  # fmt: skip
    assert student.background is not None
    counts = make_reference(PREDICTED).cells
    counts.data = np.ceil(counts.data)
    query = ad.AnnData(counts, var=pd.DataFrame(index=reference.genes))
    some = reference.cells[:ATTRIBUTED]
    return {
        f"training, an epoch of {TRAINED:,} cells": train,
        f"prediction, {PREDICTED:,} cells": lambda: predict_cells(student, query, progress=False),
        f"attribution, {ATTRIBUTED} cells": lambda: attribute_genes(
            student, some, student.background, progress=False
        ),
    }


@contextmanager
def busy(n_processes: int) -> Iterator[None]:
    """Keep so many processes busy meanwhile."""
    command = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    spinning = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(n_processes)]
    try:
        for process in spinning:
            assert process.stdout is not None
            process.stdout.readline()  # it has started
        yield
    finally:
        for process in spinning:
            process.kill()
            process.communicate()


def timed(work: Work) -> tuple[float, float]:
    """Seconds, and those of the processor."""
    start, worked = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - worked


def compare(works: dict[str, Work], threads: Sequence[int], neighbours: int, rounds: int) -> Table:
    rows = [["", "threads", "alone", "beside", "ratio"]]
    rows[0] += ["processor, alone", "beside", "ratio"]
    for name, work in works.items():
        for number in threads:
            choose_device("cpu", threads=number)
            work()  # what is loaded on first use is not its own
            found: dict[int, list[tuple[float, float]]] = {0: [], neighbours: []}
            for _ in range(rounds):
                for n_processes, measured in found.items():
                    with busy(n_processes):
                        measured.append(timed(work))
            row = [name, str(number)]
            for values in zip(*(zip(*one, strict=True) for one in found.values()), strict=True):
                alone, beside = map(statistics.median, values)
                row += [f"{alone:.2f} s", f"{beside:.2f} s", f"{beside / alone:.2f}x"]
            rows.append(row)
            print(*row, sep="  ", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("results/benchmark/busy.md"))
    parser.add_argument(
        "--neighbours", type=int, default=max(CORES - 1, 1), metavar="N", help="busy processes"
    )
    parser.add_argument(
        "--threads", type=int, nargs="+", default=sorted({1, CORES}), help="of torch, in turn"
    )
    parser.add_argument("--rounds", type=int, default=7, help="of each side, one after the other")
    choice = parser.parse_args()
    rows = compare(make_works(), choice.threads, choice.neighbours, choice.rounds)
    title = f"Alone, and beside {choice.neighbours} busy process(es) on {CORES} cores"
    text = f"{machine(max(choice.threads))}.\n\n{as_text(title, rows)}"
    choice.output.parent.mkdir(parents=True, exist_ok=True)
    choice.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
