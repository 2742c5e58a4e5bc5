"""``plkd report``: a page for a browser on a query and its labels."""

from __future__ import annotations

import argparse
from pathlib import Path

from plkd.cli.options import (
    Commands,
    add_command,
    add_device,
    add_progress,
    add_reading,
    check_files,
    reading_of,
    shows_progress,
)
from plkd.utils.logs import logger


def add(commands: Commands) -> None:
    """Add the command."""
    command = add_command(
        commands,
        "report",
        summary="write a page for a browser on a query and its labels",
        description="Write one HTML file that needs nothing else: what to know first, a map of the "
        "cells, why a cell has its label, what a cut by confidence costs, the labels beside the "
        "reference's, and the labels as a table.",
        example="plkd report query.h5ad --model my_model -o query.html",
    )
    command.add_argument(
        "query", type=Path, metavar="QUERY", help="cells, annotated or not: h5ad, 10x h5, csv, .."
    )
    command.add_argument(
        "--model", type=Path, required=True, metavar="FOLDER", help="folder of a trained model"
    )
    command.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT.html", help="the page"
    )
    command.add_argument("--batch", metavar="COLUMN", help="column of obs with the batches")
    command.add_argument("--truth", metavar="COLUMN", help="column of obs with known labels")
    command.add_argument("--seed", type=int, default=0, help="random state of the map")
    add_device(command)
    add_progress(command)
    add_reading(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write it."""
    check_files({"QUERY": options.query}, {"-o": (options.output, (".html",))}, model=options.model)
    reading = reading_of(options)

    from plkd.api import report
    from plkd.model.trained_model import load_model
    from plkd.utils.files import writable_folder

    model = load_model(options.model)
    writable_folder(options.output.parent)
    report(
        options.query,
        model,
        options.output,
        batch_key=options.batch,
        truth_key=options.truth,
        reading=reading,
        seed=options.seed,
        device=options.device,
        progress=shows_progress(options),
    )
    logger.info("written: '%s'", options.output)
