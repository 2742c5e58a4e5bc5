"""What the benchmarks share: a process or a command of its own, its peak memory, a table."""

from __future__ import annotations

import multiprocessing
import os
import platform
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

LIBRARY = Path(__file__).resolve().parents[2] / "workflow" / "scripts"
Table = list[list[str]]


def peak_memory() -> float:
    """Largest resident memory of this process so far, MB (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(row.split()[1]) for row in status.splitlines() if row[:6] == "VmHWM:") / 1024


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Result of a function in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def command(*arguments: object) -> tuple[float, float, float]:
    """Seconds, those of the processor, and peak memory, MB, of a command of Python."""
    start = time.perf_counter()
    process = subprocess.Popen(
        list(map(str, arguments)),
        env={**os.environ, "PYTHONPATH": str(LIBRARY)},
        stdout=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {process.args}")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text(encoding="utf-8").splitlines()
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def as_text(title: str, rows: Table) -> str:
    """A Markdown table with aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [" | ".join(map(str.ljust, row, widths)) for row in rows]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return f"### {title}\n\n" + "\n".join(f"| {line} |" for line in lines) + "\n"
