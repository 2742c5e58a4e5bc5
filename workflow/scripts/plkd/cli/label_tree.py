"""``plkd label-tree``: wider names above labels, from their Cell Ontology ids."""

from __future__ import annotations

import argparse
from pathlib import Path

from plkd.cli.options import Commands, add_command, check_files
from plkd.utils.logs import logger


def add(commands: Commands) -> None:
    """Add the command."""
    command = add_command(
        commands,
        "label-tree",
        summary="make wider names above the labels from their Cell Ontology ids",
        description="Write the tree that `plkd annotate --label-tree` reads, from the Cell "
        "Ontology ids of labels: a file of cells that has them in obs (as those of CELLxGENE do), "
        "or a .tsv with a row per label. The ontology is cl-basic.obo of the OBO Foundry. The tree "
        "is a short text: read it, and change it where you see fit.",
        example="plkd label-tree reference.h5ad --labels cell_type --ontology cl-basic.obo "
        "-o tree.yaml",
    )
    command.add_argument(
        "source", type=Path, metavar="CELLS", help="cells, or a table of labels (.tsv)"
    )
    command.add_argument("--labels", required=True, metavar="COLUMN", help="its column of labels")
    command.add_argument(
        "--ids",
        default="cell_type_ontology_term_id",
        metavar="COLUMN",
        help="its column of ids such as CL:0000084 (default: cell_type_ontology_term_id)",
    )
    command.add_argument(
        "--ontology", type=Path, required=True, metavar="FILE.obo", help="the Cell Ontology"
    )
    command.add_argument(
        "-o", "--output", type=Path, required=True, metavar="TREE.yaml", help="tree to write"
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Make the tree and write it."""
    check_files(
        {"CELLS": options.source, "--ontology": options.ontology},
        {"-o": (options.output, (".yaml", ".yml"))},
    )
    import plkd
    from plkd.prediction.label_tree import write_tree

    tree = plkd.label_tree(
        options.source, options.labels, ids_key=options.ids, ontology=options.ontology
    )
    write_tree(tree, options.output)
    logger.info("%d wider names; written: '%s'", len(tree), options.output)
