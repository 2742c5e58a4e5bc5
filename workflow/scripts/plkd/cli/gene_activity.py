"""``plkd gene-activity``: open chromatin becomes the activity of genes."""

from __future__ import annotations

import argparse
from pathlib import Path

from plkd.cli.options import (
    Commands,
    add_command,
    add_progress,
    add_reading,
    at_least_one,
    check_files,
    reading_of,
    shows_progress,
)
from plkd.utils.logs import logger


def add(commands: Commands) -> None:
    """Add the command."""
    command = add_command(
        commands,
        "gene-activity",
        summary="turn open chromatin (peaks or fragments) into the activity of genes",
        description="Write the gene activity of ATAC cells as an h5ad of cells x genes, which can "
        "be annotated, or serve as a reference, like RNA.",
        example="plkd gene-activity peaks.h5ad --annotation genes.gtf.gz -o activity.h5ad",
    )
    command.add_argument(
        "cells",
        type=Path,
        metavar="PEAKS_OR_FRAGMENTS",
        help="counts of cells x peaks (h5ad, ..) or a fragment file (.tsv.gz)",
    )
    command.add_argument(
        "--annotation", type=Path, required=True, metavar="FILE", help="genes: GTF, GFF3 or BED"
    )
    command.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT.h5ad", help="file to write"
    )
    command.add_argument(
        "--rule",
        choices=["seurat", "distance", "signac"],
        default="seurat",
        help="seurat: each peak to one gene; distance: peaks around a gene, the less the farther; "
        "signac: fragments over genes",
    )
    command.add_argument(
        "--upstream", type=int, default=2000, metavar="N", help="bases before the gene"
    )
    command.add_argument(
        "--chromosomes", nargs="+", metavar="NAME", help="human, mouse, or names of chromosomes"
    )
    command.add_argument("--biotypes", nargs="+", metavar="NAME", help="kinds of genes, or all")
    command.add_argument(
        "--barcodes", type=Path, metavar="FILE", help="fragments: list or table of the cells"
    )
    command.add_argument(
        "--min-fragments", type=int, metavar="N", help="fragments: least number of a cell"
    )
    command.add_argument(
        "--report", type=Path, metavar="FILE.json", help="also write what was used and left out"
    )
    command.add_argument(
        "--chunk-size", type=int, default=2048, metavar="N", help="cells in memory at a time"
    )
    add_reading(command)
    add_progress(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Compute and write."""
    at_least_one(options.chunk_size, "--chunk-size")
    check_files(
        {
            "PEAKS_OR_FRAGMENTS": options.cells,
            "--annotation": options.annotation,
            "--barcodes": options.barcodes,
        },
        {"-o": (options.output, (".h5ad",)), "--report": (options.report, (".json",))},
    )
    chromosomes = options.chromosomes
    if chromosomes in (["human"], ["mouse"]):
        chromosomes = chromosomes[0]

    from plkd.gene_activity import write_gene_activity
    from plkd.utils.files import writable_folder

    for path in filter(None, (options.output, options.report)):
        writable_folder(path.parent)
    write_gene_activity(
        options.cells,
        options.annotation,
        options.output,
        rule=options.rule,
        upstream=options.upstream,
        chromosomes=chromosomes,
        biotypes=options.biotypes,
        barcodes=options.barcodes,
        min_fragments=options.min_fragments,
        report=options.report,
        chunk_cells=options.chunk_size,
        progress=shows_progress(options),
        reading=reading_of(options),
    )
    logger.info("written: '%s'", options.output)
