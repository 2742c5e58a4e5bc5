"""Messages: one logger, written to the terminal and, in a pipeline, to the rule's log file."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plkd.errors import InputError
from plkd.utils.files import full_disk

logger = logging.getLogger("plkd")


def start_logging(log_file: str | Path | None = None) -> None:
    """Send messages of the library to standard error, or to `log_file` and warnings to both.

    Errors are in the file alone: the pipeline shows them from there, once. Of several processes of
    a training the first one logs; the others add their errors.
    """
    follows = follows_another()
    terminal = logging.StreamHandler(sys.stderr)
    handlers: list[logging.Handler] = [terminal]
    if log_file is not None:
        terminal.addFilter(lambda record: record.levelno == logging.WARNING)
        Path(log_file).parent.mkdir(parents=True, exist_ok=True)
        if not follows:
            Path(log_file).unlink(missing_ok=True)
        # appending, because a program that is called may write there as well
        handlers.append(_LogFile(log_file, mode="a", encoding="utf-8"))
    logger.handlers.clear()
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)
    logger.setLevel(logging.ERROR if follows else logging.INFO)
    logger.propagate = False
    warnings.filterwarnings("ignore", category=FutureWarning)


def follows_another() -> bool:
    """Whether torchrun started this process beside a first one, which speaks for all."""
    return "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("RANK", "0") != "0"


class _LogFile(logging.FileHandler):
    """A log whose messages go to the terminal once the disk is full."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say what cannot be written."""
        sys.stderr.write(f"{self.format(record)}\n")


def run_script(main: Callable[[Any], None], snakemake: Any) -> None:
    """Run a rule's `main(snakemake)`: log to the rule's log file, end cleanly on a user's mistake.

    An :class:`~plkd.errors.InputError` and a full disk become one message in the log and exit
    status 1; anything else is a defect of ours and keeps its traceback there.
    """
    start_logging(snakemake.log[0] if snakemake.log else None)
    try:
        main(snakemake)
    except InputError as error:
        logger.error("%s", error)
        sys.exit(1)
    except Exception as error:
        if told := full_disk(error):
            logger.error("%s", told)
            sys.exit(1)
        if not snakemake.log:
            raise
        logger.exception("unexpected failure")
        sys.exit(1)
