"""``plkd simulate``: cells with planted truth, and how to go on with them."""

from __future__ import annotations

import argparse
import dataclasses
import typing
from pathlib import Path

from plkd.cli.options import Commands, add_command, add_progress, shows_progress
from plkd.simulation.settings import DesignSettings, DrawSettings, ProjectSettings
from plkd.utils.logs import logger


def add(commands: Commands) -> None:
    """Add the command."""
    command = add_command(
        commands,
        "simulate",
        summary="write simulated cells with planted truth",
        description="Write reference.h5ad, query.h5ad, gene_sets.gmt, truth.json and my_data.yaml, "
        "with which the pipeline runs on them. Labels, marker genes, active gene sets and batch "
        "effects are known.",
        example="plkd simulate sim --cells 2000 --labels 8 --batch-effect 0.3",
    )
    command.add_argument("folder", type=Path, metavar="FOLDER", help="where the files go")
    command.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the same seed gives the same cells"
    )
    for kind, title in (
        (ProjectSettings, "reference and query"),
        (DrawSettings, "cells"),
        (DesignSettings, "what the cells have in common"),
    ):
        _add_settings(command.add_argument_group(title), kind)
    add_progress(command)
    command.set_defaults(run=run)


def _add_settings(group: argparse._ArgumentGroup, kind: type) -> None:
    """An option for each setting: ``n_query_cells`` is ``--query-cells``."""
    types = typing.get_type_hints(kind)
    for setting in dataclasses.fields(kind):
        group.add_argument(
            "--" + setting.name.removeprefix("n_").replace("_", "-"),
            dest=setting.name,
            type=types[setting.name],
            default=setting.default,
            metavar="N" if types[setting.name] is int else "X",
            help=setting.metadata["description"],
        )


def run(options: argparse.Namespace) -> None:
    """Simulate and write."""
    from plkd.simulation.project import next_steps, simulate_project, write_project

    kinds = (ProjectSettings, DrawSettings, DesignSettings)
    names = [setting.name for kind in kinds for setting in dataclasses.fields(kind)]
    reference, query = simulate_project(
        seed=options.seed,
        progress=shows_progress(options),
        **{name: getattr(options, name) for name in names},
    )
    write_project(options.folder, reference, query)
    logger.info(
        "%d reference and %d query cells in '%s'. Next:",
        reference.cells.n_obs,
        query.cells.n_obs,
        options.folder,
    )
    for step in next_steps(options.folder):
        print(step)
