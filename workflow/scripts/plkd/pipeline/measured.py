"""What programs cost: others, run within limits, and the steps of the pipeline themselves.

All are measured by the same looks at a process and what it starts, so that they can be compared.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache, wraps
from pathlib import Path
from typing import Any

import psutil

from plkd.utils.files import write_json
from plkd.utils.logs import follows_another

SECONDS_BETWEEN_LOOKS = 0.1
# Of a step at itself: a look goes through all processes of a machine, and takes time of its own.
SECONDS_BETWEEN_OWN_LOOKS = 1.0


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
    peak_gpu_mb
        The same of NVIDIA's GPUs, as their driver counts it; None where it counts none.
    """

    reason: str
    seconds: float
    cpu_seconds: float
    peak_mb: float
    peak_gpu_mb: float | None = None


class Watch:
    """Looks at a process and all that it started, and keeps the most that was seen.

    Parameters
    ----------
    pid
        Of the process.
    """

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._start = time.monotonic() - _age(self._process)
        self._cpu = self._mb = 0.0
        self._gpu_mb: float | None = None

    def look(self) -> float:
        """Look once; memory in MB at this moment."""
        memory = cpu = 0.0
        with suppress(psutil.NoSuchProcess):
            together = [self._process, *self._process.children(recursive=True)]
            for one in together:
                with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    with one.oneshot():
                        memory += one.memory_info().rss / 1e6
                        times = one.cpu_times()
                    cpu += times.user + times.system
                    # of those that it started and that have ended
                    cpu += getattr(times, "children_user", 0.0)
                    cpu += getattr(times, "children_system", 0.0)
            seen = [self._gpu_mb, _gpu_mb({one.pid for one in together})]
            self._gpu_mb = max((mb for mb in seen if mb is not None), default=None)
        self._cpu, self._mb = max(self._cpu, cpu), max(self._mb, memory)
        return memory

    def cost(self, reason: str = "") -> Cost:
        """What was seen until now, since the process began."""
        seconds = time.monotonic() - self._start
        return Cost(reason, seconds, self._cpu, self._mb, self._gpu_mb)


def measured(main: Callable[[Any], Mapping[str, Any]]) -> Callable[[Any], None]:
    """Have a rule's `main(snakemake)` write what its program took to the output `cost`.

    That is a :class:`Cost`, from the start of the program on, with what it imports, and of a
    training in several processes that of all of them; the machine; and what `main` returns.
    """

    @wraps(main)
    def with_cost(snakemake: Any) -> None:
        pid = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else os.getpid()
        watch, ended = Watch(pid), threading.Event()

        def looks() -> None:
            while not ended.wait(SECONDS_BETWEEN_OWN_LOOKS):
                watch.look()

        looking = threading.Thread(target=looks, daemon=True)
        looking.start()
        try:
            told = main(snakemake)
        finally:
            ended.set()
            looking.join()
        watch.look()
        if not follows_another():
            cost = watch.cost()
            cost = replace(cost, peak_mb=max(cost.peak_mb, _own_peak_mb()))
            content = {**asdict(cost), **told, "machine": machine()}
            write_json(snakemake.output.cost, content)

    return with_cost


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

    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    reason = ""
    with open(log, "ab") as said:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=folder, env=environment,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )  # fmt: skip
        try:
            watch = Watch(process.pid)
            while process.poll() is None:
                memory = watch.look()
                if time.monotonic() - start > seconds:
                    reason = f"out of time: more than {seconds:g} seconds"
                elif memory > memory_mb:
                    reason = f"out of memory: more than {memory_mb:g} MB"
                if reason:
                    break
                # sooner at first: some programs are at their end after a tenth of a second
                pause = min(SECONDS_BETWEEN_LOOKS, 0.01 + (time.monotonic() - start) / 2)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(pause)
        finally:
            _end(process)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    waited = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    if not reason and process.returncode:
        reason = f"failed: {_last_line(log) or how_it_ended(process.returncode)}"
    cost = watch.cost(reason)
    return replace(cost, cpu_seconds=max(cost.cpu_seconds, waited))


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


def _age(process: psutil.Process) -> float:
    """Seconds since a process began."""
    if sys.platform == "linux":  # it counts from the machine's own start, which psutil rounds
        began = process.create_time() - psutil.boot_time()
        return time.clock_gettime(time.CLOCK_BOOTTIME) - began
    return time.time() - process.create_time()


def _own_peak_mb() -> float:
    """Largest memory of this process since it began, which the system keeps."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _gpu_mb(pids: set[int]) -> float | None:
    """Memory of these processes on all GPUs in MB, where the driver tells it."""
    import pynvml

    found: list[float] = []
    for gpu in _gpus():
        with suppress(pynvml.NVMLError):
            running = pynvml.nvmlDeviceGetComputeRunningProcesses(gpu)
            found += [(one.usedGpuMemory or 0) / 1e6 for one in running if one.pid in pids]
    return sum(found) if found else None


@cache
def _gpus() -> list[Any]:
    """NVIDIA's GPUs here, as their driver names them."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return list(map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount())))
    except pynvml.NVMLError:
        return []


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
