"""What every step of the pipeline takes before it does anything: the imports of its script.

Run it with ``make bench``, or as ``python tests/benchmarks/imports.py --help`` says.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measuring import LIBRARY, Table, as_text, command, processor


def compare(rounds: int) -> Table:
    """Medians of all scripts, the slowest first; all once in every round, one round before them."""
    found: dict[str, list[tuple[float, float, float]]] = {
        path.stem: [] for path in sorted(LIBRARY.glob("*.py"))
    }
    for _ in range(rounds + 1):
        for name, runs in found.items():
            runs.append(command(sys.executable, "-c", f"import {name}"))
    medians = {name: np.median(runs[1:], axis=0) for name, runs in found.items()}
    table = [["script", "time", "processor time", "peak memory"]]
    for name in sorted(medians, key=lambda name: -medians[name][0]):
        took, used, peak = medians[name]
        table.append([f"`{name}`", f"{took:.2f} s", f"{used:.2f} s", f"{peak:.0f} MB"])
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("results/benchmark/imports.md"))
    parser.add_argument("--rounds", type=int, default=5)
    choice = parser.parse_args(arguments)
    table = compare(choice.rounds)
    text = f"{processor()}, {os.cpu_count()} cores, medians of {choice.rounds}.\n\n"
    text += as_text("Imports of every script", table)
    print(text)
    choice.output.parent.mkdir(parents=True, exist_ok=True)
    choice.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
