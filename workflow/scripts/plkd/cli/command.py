"""From the arguments to a command and an exit code."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from plkd import __version__
from plkd.cli.annotate import add as add_annotate
from plkd.cli.explain import add as add_explain
from plkd.cli.gene_activity import add as add_gene_activity
from plkd.cli.info import add as add_info
from plkd.cli.label_tree import add as add_label_tree
from plkd.cli.options import EXIT_CODES, Formatter
from plkd.cli.report import add as add_report
from plkd.cli.simulate import add as add_simulate
from plkd.cli.train import add as add_train
from plkd.errors import InputError
from plkd.utils.files import full_disk
from plkd.utils.logs import logger, start_logging

_COMMANDS = (
    add_train,
    add_annotate,
    add_report,
    add_explain,
    add_info,
    add_label_tree,
    add_gene_activity,
    add_simulate,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    start_logging()
    if options.quiet:
        logger.setLevel(logging.WARNING)
    try:
        options.run(options)
    except InputError as error:
        logger.error("%s", error)
        return 1
    except OSError as error:
        if not (told := full_disk(error)):
            raise
        logger.error("%s", told)
        return 1
    except KeyboardInterrupt:
        logger.error("interrupted; nothing was written")
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    whole = argparse.ArgumentParser(
        prog="plkd",
        description="Cell-type labels from an annotated single-cell reference to new cells.",
        epilog="from labelled cells to the labels of others:\n"
        "  plkd train reference.h5ad --labels cell_type -o my_model\n"
        "  plkd annotate query.h5ad --model my_model -o labelled.h5ad\n\n" + EXIT_CODES,
        formatter_class=Formatter,
    )
    whole.add_argument("--version", action="version", version=f"plkd {__version__}")
    commands = whole.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in _COMMANDS:
        add(commands)
    return whole
