"""Run a program within limits, and say what it cost."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SECONDS_BETWEEN_LOOKS = 0.1


@dataclass(frozen=True)
class Cost:
    """What a program took, and why it ended before its time.

    Attributes
    ----------
    reason
        Why there is no result; "" if it ended well.
    seconds
        Wall time.
    cpu_seconds
        Processor time of the program and all that it started.
    peak_mb
        Largest memory of these together at any of the looks at them, ten a second (resident; what
        they share counts for each).
    """

    reason: str
    seconds: float
    cpu_seconds: float
    peak_mb: float


def run_measured(
    command: Sequence[str | Path],
    *,
    seconds: float,
    memory_mb: float,
    log: str | Path,
    environment: Mapping[str, str] | None = None,
    folder: str | Path | None = None,
) -> Cost:
    """Run a program to its end, or to the end of its time or memory.

    Parameters
    ----------
    command
        The program and its arguments.
    seconds, memory_mb
        What it may take; beyond that it is killed with all that it started.
    log
        File that what it says is appended to.
    environment
        Variables of its environment; None for ours.
    folder
        Its working directory; None for ours.
    """
    import resource

    import psutil  # comes with Snakemake, not with the library

    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    peak, cpu, reason = 0.0, 0.0, ""
    with open(log, "ab") as said:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=folder, env=environment,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )  # fmt: skip
        try:
            watched = psutil.Process(process.pid)
            while process.poll() is None:
                memory, now = _usage(watched)
                peak, cpu = max(peak, memory), max(cpu, now)
                if time.monotonic() - start > seconds:
                    reason = f"out of time: more than {seconds:g} seconds"
                elif memory > memory_mb:
                    reason = f"out of memory: more than {memory_mb:g} MB"
                if reason:
                    break
                with suppress(subprocess.TimeoutExpired):
                    process.wait(SECONDS_BETWEEN_LOOKS)
        finally:
            _end(process)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    waited = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    if not reason and process.returncode:
        reason = f"failed: {_last_line(log) or how_it_ended(process.returncode)}"
    return Cost(reason, time.monotonic() - start, max(cpu, waited), peak)


def _end_with_parent() -> None:
    """Have Linux kill this program when the one that started it is killed.

    It is in a session of its own, which a signal to that of its parent does not reach; it would
    write on into files that the next run makes anew.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def machine() -> str:
    """This machine in words: its processor and how many of them this process may use.

    >>> machine()  # doctest: +SKIP
    'Intel(R) Xeon(R) Gold 6230 CPU @ 2.10GHz, 2 cores'
    """
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    usable = getattr(os, "sched_getaffinity", None)
    n_cores = len(usable(0)) if usable else os.cpu_count()
    return f"{name}, {n_cores} cores"


def how_it_ended(code: int) -> str:
    """An exit status in words.

    >>> how_it_ended(-9), how_it_ended(3)
    ('ended by the signal SIGKILL', 'ended with the status 3')
    """
    if code < 0:
        return f"ended by the signal {signal.Signals(-code).name}"
    return f"ended with the status {code}"


def _usage(process) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    """Memory in MB and processor seconds of a process and all that it started."""
    import psutil

    memory = cpu = 0.0
    with suppress(psutil.NoSuchProcess):
        for one in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                with one.oneshot():
                    memory += one.memory_info().rss / 1e6
                    times = one.cpu_times()
                cpu += times.user + times.system
                # of those that it started and that have ended
                cpu += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return memory, cpu


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what still runs of a program that was started in a session of its own."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_line(log: str | Path) -> str:
    """The last thing that a program said, which is its error."""
    text = Path(log).read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # R ends with the calls that led to an error, and with a word of farewell
    lines = [line for line in lines if not line.startswith(("Calls: ", "Execution halted"))]
    return lines[-1][:300] if lines else ""
