"""``plkd annotate``: label the cells of a file."""

from __future__ import annotations

import argparse
from pathlib import Path

from plkd.cli.options import (
    Commands,
    add_batch,
    add_command,
    add_device,
    add_json,
    add_progress,
    add_reading,
    at_least_one,
    check_files,
    print_json,
    reading_of,
    shows_progress,
)
from plkd.errors import InputError
from plkd.utils.logs import logger


def add(commands: Commands) -> None:
    """Add the command."""
    command = add_command(
        commands,
        "annotate",
        summary="label the cells of a file with a trained model",
        description="Label the cells of a file with a trained model. The file is not changed: a "
        "copy is written with obs['plkd_label'], plkd_confidence, plkd_unknown, and more, and "
        "obsm['X_plkd'], or a table of the labels, or both.",
        example="plkd annotate query.h5ad --model my_model -o labelled.h5ad --table labels.tsv",
    )
    command.add_argument(
        "query", type=Path, metavar="QUERY", help="cells: h5ad, h5mu, 10x h5 or mtx, csv, .."
    )
    command.add_argument(
        "--model", type=Path, required=True, metavar="FOLDER", help="folder of a trained model"
    )
    command.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUT.h5ad",
        help="annotated copy to write (of an h5mu also OUT.h5mu)",
    )
    command.add_argument(
        "--table", type=Path, metavar="FILE", help="the labels alone, as .tsv or .parquet"
    )
    command.add_argument(
        "--labels-only",
        action="store_true",
        help="leave the expression out of the copy: it holds the labels and the names of the cells",
    )
    command.add_argument(
        "--key-added", default="plkd", metavar="NAME", help="start of the names of what is added"
    )
    group = command.add_argument_group("what else to say of the cells")
    group.add_argument(
        "--groups", metavar="COLUMN", help="column of obs (leiden): label each group by majority"
    )
    group.add_argument(
        "--cluster", action="store_true", help="the same for clusters that are made here"
    )
    group.add_argument(
        "--agreement",
        type=float,
        default=0.5,
        metavar="X",
        help="share of a group that its label must have, else it is heterogeneous",
    )
    group.add_argument(
        "--label-tree",
        type=Path,
        metavar="FILE.yaml",
        help="'parent: [children]' above the labels: name cells as narrowly as is sure",
    )
    group.add_argument(
        "--level", type=float, default=0.8, metavar="X", help="probability that is sure enough"
    )
    group.add_argument(
        "--top-labels", type=int, default=1, metavar="N", help="labels of every cell"
    )
    group.add_argument(
        "--slide",
        type=int,
        nargs="?",
        const=True,
        default=0,
        metavar="N",
        help="a label by what is said of a cell and of the N cells around it (obsm['spatial'], "
        "each batch a slide); without N as many as the reference has shown to help",
    )
    add_device(command)
    command.add_argument(
        "--chunk-size", type=int, default=2048, metavar="N", help="cells of a piece, at least 2,048"
    )
    command.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="threads that read and label cells side by side; the results are the same (default: "
        "one for each core, or what OMP_NUM_THREADS says)",
    )
    add_batch(command)
    add_reading(command)
    add_progress(command)
    add_json(command, "the labels with their numbers of cells")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Annotate and write."""
    at_least_one(options.chunk_size, "--chunk-size")
    if options.workers is not None:
        at_least_one(options.workers, "--workers")
    if options.labels_only and options.output is None:
        raise InputError("`--labels-only` says what the file of `-o` holds: give `-o` too.")
    if options.output is None and options.table is None:
        raise InputError("nothing to write: give `-o` (an annotated copy), `--table`, or both.")
    check_files(
        {"QUERY": options.query, "--label-tree": options.label_tree},
        {
            "-o": (options.output, (".h5ad", ".h5mu")),
            "--table": (options.table, (".tsv", ".parquet")),
        },
        model=options.model,
    )
    reading = reading_of(options)

    from plkd.io.cells import detect_reader
    from plkd.model.trained_model import load_model
    from plkd.prediction.annotated_copy import annotate_file, require_copy_name
    from plkd.prediction.further import NOTHING_FURTHER, FurtherLabels, surroundings_for
    from plkd.prediction.label_tree import LabelTree
    from plkd.prediction.predict import provenance_of
    from plkd.utils.devices import choose_device
    from plkd.utils.files import writable_folder

    reader = detect_reader(options.query) if reading.reader == "auto" else reading.reader
    if options.output is not None:
        require_copy_name(options.output, reader, options.labels_only)
    model = load_model(options.model)
    tree = options.label_tree and LabelTree.read(options.label_tree, model.labels)
    further = FurtherLabels(
        options.groups,
        options.cluster,
        options.agreement,
        tree,
        options.level,
        options.top_labels,
        surroundings_for(options.slide, model.require("student")),
    )
    device = choose_device(options.device)
    for path in filter(None, (options.output, options.table)):
        writable_folder(path.parent)
    if options.output is None and further != NOTHING_FURTHER:
        raise InputError(
            "groups, a label tree, labels on the slide and further labels are columns of an "
            "annotated copy: give `-o` too."
        )
    summary = annotate_file(
        model.require("student"),
        options.query,
        options.output,
        table=options.table,
        labels_only=options.labels_only,
        device=device,
        chunk_cells=options.chunk_size,
        workers=options.workers,
        batch_key=options.batch,
        key_added=options.key_added,
        provenance=provenance_of(model),
        progress=shows_progress(options),
        reading=reading,
        further=further,
    )
    labels = summary.table()
    logger.info(
        "%d cells: %s",
        summary.n_cells,
        ", ".join(f"{row.cells} {row.label}" for row in labels.itertuples()),
    )
    logger.info("%d flagged unknown", summary.n_unknown)
    written = [str(path) for path in (options.output, options.table) if path is not None]
    logger.info("written: %s", ", ".join(map(repr, written)))
    if options.json:
        print_json(
            {
                "output": options.output and str(options.output),
                "table": options.table and str(options.table),
                "cells": summary.n_cells,
                "unknown": summary.n_unknown,
                "labels": labels.to_dict("records"),
            }
        )
