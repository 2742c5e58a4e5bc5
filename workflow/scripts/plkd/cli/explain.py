"""``plkd explain``: why cells got their label."""

from __future__ import annotations

import argparse
from pathlib import Path

from plkd.cli.options import (
    Commands,
    add_batch,
    add_command,
    add_json,
    add_reading,
    at_least_one,
    check_files,
    column_value,
    print_json,
    reading_of,
)


def add(commands: Commands) -> None:
    """Add the command."""
    command = add_command(
        commands,
        "explain",
        summary="say why a cell, or the cells of a label, got their label",
        description="Print the genes behind the label of a cell, or of several, against the "
        "runner-up, beside the values that are typical of both, and the pathways.",
        example="plkd explain query.h5ad --model my_model --cell AAACATACAACCAC-1 -o why.png",
    )
    command.add_argument("query", type=Path, metavar="QUERY", help="cells: h5ad, 10x h5, csv, ..")
    command.add_argument(
        "--model", type=Path, required=True, metavar="FOLDER", help="folder of a trained model"
    )
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--cell", metavar="BARCODE", help="one cell")
    which.add_argument("--label", metavar="LABEL", help="the cells that the model labels so")
    which.add_argument("--obs", metavar="COLUMN=VALUE", help="the cells with a value in obs")
    command.add_argument(
        "-o", "--output", type=Path, metavar="OUT.png", help="draw it; a PDF is put beside"
    )
    command.add_argument("--table", type=Path, metavar="OUT.tsv", help="all genes and pathways")
    command.add_argument("--top", type=int, default=10, metavar="N", help="genes to print")
    add_batch(command)
    add_reading(command)
    add_json(command, "all genes and pathways, instead of the text,")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Explain, print and write."""
    at_least_one(options.top, "--top")
    pdf = None if options.output is None else options.output.with_suffix(".pdf")
    check_files(
        {"QUERY": options.query},
        {
            "-o": (options.output, (".png",)),
            "the PDF of -o": (pdf, (".pdf",)),
            "--table": (options.table, (".tsv",)),
        },
        model=options.model,
    )
    obs = None if options.obs is None else column_value(options.obs, "--obs")

    from plkd.api import explain
    from plkd.figures.style import save_figure, style
    from plkd.model.trained_model import load_model
    from plkd.utils.files import writable_folder
    from plkd.utils.tables import write_tsv

    model = load_model(options.model)
    for path in filter(None, (options.output, options.table)):
        writable_folder(path.parent)
    found = explain(
        options.query,
        model,
        cell=options.cell,
        label=options.label,
        obs=obs,
        batch_key=options.batch,
        reading=reading_of(options),
    )
    if options.json:
        print_json(found.to_dict())
    else:
        print(found.text(options.top))
    if options.table is not None:
        write_tsv(found.table, options.table)
    if options.output is not None:
        with style():
            save_figure(found.plot(), options.output, options.output.with_suffix(".pdf"))
