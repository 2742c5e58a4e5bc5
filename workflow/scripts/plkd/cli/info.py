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
        description="Print the card of a model: what it learnt from, what to expect of it, label "
        "by label, its settings, and where it ends. README.md in its folder says the same.",
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
        print(model.card())
