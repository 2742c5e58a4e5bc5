"""The command ``plkd``: annotate a file of cells with a trained model, without Snakemake."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plkd import __version__
from plkd.errors import InputError
from plkd.logs import logger, start_logging


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = _parser().parse_args(arguments)
    start_logging()
    try:
        options.run(options)
    except InputError as error:
        logger.error("%s", error)
        return 1
    except KeyboardInterrupt:
        logger.error("interrupted; nothing was written")
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="plkd",
        description="Cell-type labels from an annotated single-cell reference to new cells.",
    )
    parser.add_argument("--version", action="version", version=f"plkd {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    annotate = commands.add_parser(
        "annotate",
        help="label the cells of a file with a trained model",
        description="Label the cells of a file with a trained Teacher or Student. The file is "
        "not changed: a copy is written with obs['plkd_label'], plkd_confidence, plkd_unknown, "
        "and more, and obsm['X_plkd'].",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    annotate.add_argument(
        "query", type=Path, metavar="QUERY", help="cells: h5ad, 10x h5 or mtx, csv, .."
    )
    annotate.add_argument(
        "--model", type=Path, required=True, metavar="FOLDER", help="folder 'student' or 'teacher'"
    )
    annotate.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT.h5ad",
        help="annotated copy to write",
    )
    annotate.add_argument(
        "--table", type=Path, metavar="FILE", help="also write the predictions as .tsv or .parquet"
    )
    annotate.add_argument("--reader", default="auto", help="format of the query")
    annotate.add_argument("--layer", help="layer to use instead of X")
    annotate.add_argument("--raw", action="store_true", help="use .raw instead of X")
    annotate.add_argument("--transpose", action="store_true", help="csv with genes in rows")
    annotate.add_argument("--gene-symbols-key", metavar="COLUMN", help="column of var with symbols")
    annotate.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ..")
    annotate.add_argument("--chunk-size", type=int, default=4096, help="cells in memory at a time")
    annotate.add_argument("--no-progress", action="store_true", help="hide the progress bar")
    annotate.set_defaults(run=_annotate)
    _add_gene_activity(commands)
    return parser


def _annotate(options: argparse.Namespace) -> None:
    # imported here so that --help and mistakes in the arguments answer at once
    from plkd.annotate import annotate_file
    from plkd.devices import choose_device
    from plkd.files import writable_folder
    from plkd.models.checkpoint import load_model

    if options.chunk_size < 1:
        raise InputError(f"--chunk-size {options.chunk_size}: give at least 1.")
    if options.table is not None and options.table.suffix not in (".tsv", ".parquet"):
        raise InputError(f"--table '{options.table}': the name must end in .tsv or .parquet.")
    for path in filter(None, (options.output, options.table)):
        writable_folder(path.parent)
    predictions = annotate_file(
        load_model(options.model),
        options.query,
        options.output,
        device=choose_device(options.device),
        chunk_cells=options.chunk_size,
        progress=not options.no_progress,
        reader=options.reader,
        layer=options.layer,
        use_raw=options.raw,
        gene_symbols_key=options.gene_symbols_key,
        transpose=options.transpose,
    )
    if options.table is not None:
        _write_table(predictions, options.table)
    counts = predictions["label"].value_counts()
    logger.info(
        "%d cells: %s", len(predictions), ", ".join(f"{n} {label}" for label, n in counts.items())
    )
    logger.info("%d flagged unknown", int(predictions["unknown"].sum()))
    logger.info("written: '%s'", options.output)


def _add_gene_activity(commands: Any) -> None:
    command = commands.add_parser(
        "gene-activity",
        help="turn open chromatin (peaks or fragments) into the activity of genes",
        description="Write the gene activity of ATAC cells as an h5ad of cells x genes, which can "
        "be annotated, or serve as a reference, like RNA.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
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
        "--rule",
        choices=["seurat", "distance", "signac"],
        default="seurat",
        help="seurat: each peak to one gene; distance: peaks around a gene, the less the farther; "
        "signac: fragments over genes",
    )
    command.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT.h5ad", help="file to write"
    )
    command.add_argument("--upstream", type=int, default=2000, help="bases before the gene")
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
    command.add_argument("--reader", default="auto", help="format of the peaks")
    command.add_argument("--layer", help="layer to use instead of X")
    command.add_argument("--raw", action="store_true", help="use .raw instead of X")
    command.add_argument("--transpose", action="store_true", help="csv with peaks in rows")
    command.add_argument("--chunk-size", type=int, default=2048, help="cells in memory at a time")
    command.add_argument("--no-progress", action="store_true", help="hide the progress bar")
    command.set_defaults(run=_gene_activity)


def _gene_activity(options: argparse.Namespace) -> None:
    from plkd.files import writable_folder
    from plkd.gene_activity import write_gene_activity

    if options.chunk_size < 1:
        raise InputError(f"--chunk-size {options.chunk_size}: give at least 1.")
    if options.output.resolve() == options.cells.resolve():
        raise InputError(f"'{options.output}' is the input itself: choose another name.")
    for path in filter(None, (options.output, options.report)):
        writable_folder(path.parent)
    chromosomes = options.chromosomes
    if chromosomes in (["human"], ["mouse"]):
        chromosomes = chromosomes[0]
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
        progress=not options.no_progress,
        reader=options.reader,
        layer=options.layer,
        use_raw=options.raw,
        transpose=options.transpose,
    )
    logger.info("written: '%s'", options.output)


def _write_table(predictions, path: Path) -> None:  # type: ignore[no-untyped-def]
    from plkd.files import whole_file
    from plkd.predictions import prediction_sets, write_predictions

    if path.suffix == ".parquet":
        write_predictions(predictions, path)
        return
    sets = [" | ".join(labels) for labels in prediction_sets(predictions).to_pylist()]
    with whole_file(path) as temporary:
        predictions.assign(prediction_set=sets).to_csv(temporary, sep="\t", index=False)


if __name__ == "__main__":
    sys.exit(main())
