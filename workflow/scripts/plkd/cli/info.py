"""``plkd info``: what a model is."""

from __future__ import annotations

import argparse
from pathlib import Path

from plkd.cli.options import Commands, add_command, add_json, print_json


def add(commands: Commands) -> None:
    """Add the command."""
    command = add_command(
        commands,
        "info",
        summary="say what a model is",
        description="Print what a model can name, the genes and pathways it looks at, its settings "
        "and where it comes from.",
        example="plkd info my_model",
    )
    command.add_argument("model", type=Path, metavar="MODEL", help="folder of a trained model")
    add_json(command, "everything, genes and pathways included,")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print it."""
    from plkd.model.trained_model import load_model

    model = load_model(options.model)
    if options.json:
        print_json(model.summary())
    else:
        print(repr(model))
