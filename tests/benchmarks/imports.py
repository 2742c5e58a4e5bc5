"""What every step of the pipeline takes before it does anything: the imports of its script.

Run it with ``make bench``, or as ``python tests/benchmarks/imports.py --help`` says.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve()
SCRIPTS = HERE.parents[2] / "workflow" / "scripts"
sys.path.insert(0, str(HERE.parent))

from measuring import Table, as_text, processor  # noqa: E402

HEAVY = ("torch", "scanpy", "matplotlib.pyplot", "anndata", "sklearn", "pandas", "numpy")


def start(script: str) -> tuple[float, float, list[str]]:
    """Seconds, those of the processor until a script is imported, and which of HEAVY it loads."""
    said = f"import sys, {script}; print(*(one for one in {HEAVY} if one in sys.modules))"
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", said],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    loaded = process.stdout.read().split()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the script {script} cannot be imported")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, loaded


def compare(rounds: int) -> Table:
    """Medians of all scripts, the slowest first; all once in every round, one round before them."""
    scripts = sorted(path.stem for path in SCRIPTS.glob("*.py"))
    found = {name: [start(name)] for name in scripts}  # from a cold disk, perhaps
    for _ in range(rounds):
        for name in scripts:
            found[name].append(start(name))
    rows = []
    for name, (_, *runs) in found.items():
        seconds, worked, loaded = zip(*runs, strict=True)
        rows.append((statistics.median(seconds), statistics.median(worked), name, loaded[0]))
    table = [["script", "time", "processor time", "loads"]]
    for took, used, name, heavy in sorted(rows, reverse=True):
        table.append([f"`{name}`", f"{took:.2f} s", f"{used:.2f} s", ", ".join(heavy)])
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
