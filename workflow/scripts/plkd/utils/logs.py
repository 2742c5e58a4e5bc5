"""Messages: one logger, written to the terminal and, in a pipeline, to the rule's log file."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plkd.errors import InputError

logger = logging.getLogger("plkd")


def start_logging(log_file: str | Path | None = None) -> None:
    """Send the messages of the library to standard error and, if given, to `log_file` as well."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if log_file is not None:
        Path(log_file).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(log_file, mode="w"))
    logger.handlers.clear()
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    warnings.filterwarnings("ignore", category=FutureWarning)


def run_script(main: Callable[[Any], None], snakemake: Any) -> None:
    """Run a rule's `main(snakemake)`: log to the rule's log file, end cleanly on a user's mistake.

    An :class:`~plkd.errors.InputError` becomes one message and exit status 1; anything else is a
    defect of ours and keeps its traceback, in the log as well.
    """
    start_logging(snakemake.log[0] if snakemake.log else None)
    try:
        main(snakemake)
    except InputError as error:
        logger.error("%s", error)
        sys.exit(1)
    except Exception:
        logger.exception("unexpected failure")
        raise
