"""What a run of the workflow shows in the terminal: a line for each step, an error once.

Works on the records that Snakemake logs, of which it knows the names of events and fields alone;
the file in ``.snakemake/log`` keeps everything. Standard library only: Snakemake imports this
module itself.
"""

from __future__ import annotations

import csv
import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

SILENT = {
    "debug_dag", "group_info", "job_finished", "job_started", "progress", "resources_info",
    "rulegraph", "run_info", "shellcmd", "workflow_started",
}  # fmt: skip
NOISE = (
    "Assuming unrestricted", "Building DAG", "Conda environments: ignored", "Exiting because",
    "Elapsed time", "Provided ", "Removing output files", "Rules claiming", "Select jobs",
    "Shutting down", "Using shell",
)  # fmt: skip
NAMES = ("dataset", "variant", "seed", "model", "method", "side", "collection", "file")
SHOWN_LINES = 30  # of the log of a failed step


class StepFormatter(logging.Formatter):
    """One line for a step that starts, one block for a step that failed.

    Parameters
    ----------
    erase
        Clear the line before writing to it, because the bar of a running step may stand there.

    Attributes
    ----------
    n_steps
        Number of steps of the run, once it is known.
    """

    def __init__(self, *, erase: bool = False) -> None:
        super().__init__()
        self.before = "\r\033[K" if erase else ""
        self.n_started = 0
        self.n_steps = 0

    def format(self, record: logging.LogRecord) -> str:
        """Text of a record of Snakemake's."""
        event, fields = _event(record), record.__dict__
        if event == "job_info":
            self.n_started += 1
            number = f"{self.n_started} of {max(self.n_steps, self.n_started)}".rjust(9)
            name = step_name(fields["rule_name"], fields.get("wildcards") or {})
            return f"{self.before}{time.strftime('%H:%M:%S')} {number}  {name}"
        if event == "job_error":
            return self.before + failure(fields["rule_name"], fields.get("log") or [])
        return self.before + (record.getMessage() if record.msg else "")


def is_shown(record: logging.LogRecord) -> bool:
    """Whether a record of Snakemake's belongs into the terminal; a filter of a handler."""
    event = _event(record)
    if event == "job_info":
        return bool(getattr(record, "log", None))  # not the targets, which do nothing
    if event == "error":  # of a failed script: its log says it, which is shown with the step
        text = record.getMessage()
        return "CalledProcessError" not in text and "At least one job did not" not in text
    if event:
        return event not in SILENT
    text = str(record.msg or "").strip()
    return bool(text) and not text.startswith(NOISE)


def step_name(rule: str, wildcards: Mapping[str, object]) -> str:
    """The name of a step for people.

    >>> step_name("predict", {"model": "student", "dataset": "lung", "seed": 0})
    'predict  lung seed 0 student'
    """
    words = [
        f"seed {wildcards[name]}" if name == "seed" else str(wildcards[name])
        for name in NAMES
        if name in wildcards
    ]
    return f"{rule}  {' '.join(words)}".rstrip()


def failure(rule: str, logs: Iterable[str]) -> str:
    """The error of a failed step, out of its log: from the last message of level ERROR on.

    Before it stands why Slurm ended it (cancelled, out of time, out of memory), if it did.
    """
    lines = [f"FAILED: {rule}"]
    for log in logs:
        try:
            text = Path(log).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines.append("    It ended before it wrote a log; what it said stands above.")
            continue
        errors = [number for number, line in enumerate(text) if " ERROR " in line]
        told = text[errors[-1] :] if errors else text
        shown = told[:1] + told[1:][-SHOWN_LINES:]
        by_slurm = [line for line in text if line.startswith("slurmstepd") and line not in shown]
        lines += [f"    {line}" for line in by_slurm + shown]
        lines.append(f"    The whole log: {log}")
    return "\n".join(lines)


def plan(steps: Sequence[tuple[str, str | None]], benchmarks: str | Path, cores: int) -> str:
    """What will run, and about how long it takes, in one line.

    Parameters
    ----------
    steps
        Rule and benchmark file of every step.
    benchmarks
        Folder of the benchmarks of earlier runs: a step takes as long as it did then, or as the
        same step took for other data on average.
    cores
        Steps that may run at a time, at most.
    """
    kinds = Counter(rule for rule, _ in steps)
    listed = ", ".join(rule if n == 1 else f"{n} {rule}" for rule, n in kinds.items())
    seconds = [_seconds_of(file, Path(benchmarks)) for _, file in steps]
    known = [one for one in seconds if one is not None]
    text = f"{len(steps)} steps: {listed}."
    if not known:
        return (
            f"{text} How long they take is not known before the first run: 700 cells take about 4 "
            "minutes on two cores, and time grows with the cells."
        )
    # never less than the longest step, and steps wait for each other
    took = max(sum(known) / max(1, min(cores, 4)), max(known))
    new = f", and {len(seconds) - len(known)} that never ran before" * (len(known) < len(seconds))
    return f"{text} About {duration(took)}, as measured in earlier runs{new}."


def duration(seconds: float) -> str:
    """A time span for people.

    >>> duration(42), duration(200), duration(9000)
    ('1 min', '3 min', '2.5 h')
    """
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.1f} h"


def _seconds_of(file: str | None, benchmarks: Path) -> float | None:
    if file is None:
        return None
    own = Path(file)
    measured = [own] if own.is_file() else benchmarks.rglob(own.name.replace("[", "[[]"))
    seconds = []
    for path in measured:
        try:
            with path.open(encoding="utf-8", newline="") as table:
                seconds += [float(row["s"]) for row in csv.DictReader(table, delimiter="\t")]
        except (OSError, KeyError, ValueError):
            continue  # cut off, or of another version: no measurement
    return fmean(seconds) if seconds else None


def _event(record: logging.LogRecord) -> str:
    return str(getattr(record, "event", None) or "")
