"""``plkd train``: labelled cells become a model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from plkd.cli.options import (
    Commands,
    add_command,
    add_device,
    add_json,
    add_progress,
    add_reading,
    at_least_one,
    check_files,
    column_values,
    print_json,
    reading_of,
    shows_progress,
)
from plkd.errors import InputError
from plkd.settings.presets import PRESETS
from plkd.utils.logs import follows_another, logger


def add(commands: Commands) -> None:
    """Add the command."""
    command = add_command(
        commands,
        "train",
        summary="train a model on labelled cells",
        description="Train Teacher and Student on a labelled reference and write the folder of the "
        "model, with which `plkd annotate` labels other cells and `plkd explain` says why.",
        example="plkd train reference.h5ad --labels cell_type --batch donor -o my_model",
    )
    command.add_argument(
        "reference", type=Path, metavar="REFERENCE", help="labelled cells: h5ad, 10x, csv, .."
    )
    command.add_argument(
        "--labels", required=True, metavar="COLUMN", help="column of obs with the labels"
    )
    command.add_argument(
        "-o", "--output", type=Path, required=True, metavar="MODEL", help="folder to write"
    )
    command.add_argument("--batch", metavar="COLUMN", help="column of obs with the batches")
    command.add_argument(
        "--gene-sets",
        nargs="+",
        type=Path,
        metavar="FILE.gmt",
        help="the pathways (default: those that come with plkd)",
    )
    command.add_argument(
        "--query",
        type=Path,
        metavar="CELLS",
        help="cells that are to be labelled: only genes that they have are used",
    )
    for option, text in (("--keep", "only these cells"), ("--drop", "not these cells")):
        command.add_argument(
            option,
            action="append",
            default=[],
            metavar="COLUMN=VALUE",
            help=f"{text} of the reference; may be given several times",
        )
    command.add_argument(
        "--genes", type=int, default=2000, metavar="N", help="variable genes that the model uses"
    )
    command.add_argument(
        "--preset", choices=sorted(PRESETS), default="default", help="settings to start from"
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of the models, such as teacher.width=32; may be given several times",
    )
    command.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the same seed gives the same model"
    )
    add_device(command)
    command.add_argument(
        "--threads",
        type=int,
        default=1,
        metavar="N",
        help="threads that share a step of training; more than one seldom gain anything",
    )
    add_reading(command)
    add_progress(command)
    add_json(command, "what was trained")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Train and write."""
    at_least_one(options.threads, "--threads")
    inputs = {"REFERENCE": options.reference, "--query": options.query}
    inputs |= {f"--gene-sets {path}": path for path in options.gene_sets or ()}
    check_files(inputs, {})
    _check_model_folder(options.output, [path for path in inputs.values() if path is not None])
    overrides = settings_of(options.set)
    keep = column_values(options.keep, "--keep")
    drop = column_values(options.drop, "--drop")

    from plkd.api import train

    model = train(
        options.reference,
        labels_key=options.labels,
        batch_key=options.batch,
        gene_sets=options.gene_sets,
        query=options.query,
        keep=keep,
        drop=drop,
        prepare={"n_genes": options.genes},
        preset=options.preset,
        overrides=overrides,
        reading=reading_of(options),
        seed=options.seed,
        device=options.device,
        threads=options.threads,
        progress=shows_progress(options),
    )
    if follows_another():
        return
    model.save(options.output)
    logger.info("%r", model)
    logger.info("written: '%s'", options.output)
    if options.json:
        print_json(model.summary() | {"output": str(options.output)})


def settings_of(pairs: list[str]) -> dict[str, Any]:
    """Nested settings from KEY=VALUE pairs whose keys have dots; values are read as YAML."""
    import yaml

    nested: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not (key and equals):
            raise InputError(f"--set '{pair}': expected KEY=VALUE.")
        *parents, last = key.split(".")
        place = nested
        for name in parents:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise InputError(f"--set '{pair}': '{name}' is given a value elsewhere.")
        try:
            place[last] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"--set '{pair}': the value cannot be read.") from error
    return nested


def _check_model_folder(folder: Path, inputs: list[Path]) -> None:
    """A model may be replaced by another; nothing else may."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"-o '{folder}' is a file: give the name of a folder.")
    for path in inputs:
        if folder.resolve() in (path.resolve(), *path.resolve().parents):
            raise InputError(f"-o '{folder}' holds the input '{path}': choose another folder.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "model.json").is_file():
        raise InputError(
            f"-o '{folder}' is a folder with other things in it: choose one that does not exist, "
            "or that holds a model, which is replaced."
        )
