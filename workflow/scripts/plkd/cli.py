"""The command ``plkd``: annotate a file of cells with a trained model, without Snakemake."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plkd import __version__
from plkd.errors import InputError
from plkd.settings.datasets import ReadingOptions
from plkd.utils.logs import logger, start_logging


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
        description="Label the cells of a file with a trained model. The file is "
        "not changed: a copy is written with obs['plkd_label'], plkd_confidence, plkd_unknown, "
        "and more, and obsm['X_plkd'].",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    annotate.add_argument(
        "query", type=Path, metavar="QUERY", help="cells: h5ad, 10x h5 or mtx, csv, .."
    )
    annotate.add_argument(
        "--model", type=Path, required=True, metavar="FOLDER", help="folder of a trained model"
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
    _add_reading(annotate)
    annotate.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ..")
    annotate.add_argument("--chunk-size", type=int, default=4096, help="cells in memory at a time")
    annotate.add_argument("--no-progress", action="store_true", help="hide the progress bar")
    annotate.set_defaults(run=_annotate)
    _add_gene_activity(commands)
    _add_explain(commands)
    _add_simulate(commands)
    return parser


def _add_reading(command: argparse.ArgumentParser) -> None:
    """Add the options that say how to read a file of cells."""
    command.add_argument("--reader", default="auto", help="format of the cells")
    command.add_argument("--modality", help="rna, GEX, atac, .. where the file mixes features")
    command.add_argument("--layer", help="layer to use instead of X")
    command.add_argument("--raw", action="store_true", help="use .raw instead of X")
    command.add_argument("--transpose", action="store_true", help="csv with cells in columns")
    command.add_argument(
        "--gene-symbols-key", metavar="COLUMN", help="column of var with the names to use"
    )


def _reading(options: argparse.Namespace) -> ReadingOptions:
    """What the options of :func:`_add_reading` say."""
    return ReadingOptions(
        reader=options.reader,
        modality=options.modality,
        layer=options.layer,
        use_raw=options.raw,
        transpose=options.transpose,
        gene_symbols_key=options.gene_symbols_key,
    )


def _add_explain(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``plkd explain``."""
    explain = commands.add_parser(
        "explain",
        help="say why a cell, or a group of cells, got its label",
        description="Print the genes behind the label of a cell or a group of cells, against the "
        "runner-up, beside the values that are typical of both, and the pathways.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    explain.add_argument("query", type=Path, metavar="QUERY", help="cells: h5ad, 10x h5, csv, ..")
    explain.add_argument(
        "--model", type=Path, required=True, metavar="FOLDER", help="folder of a trained model"
    )
    which = explain.add_mutually_exclusive_group(required=True)
    which.add_argument("--cell", metavar="BARCODE", help="one cell")
    which.add_argument("--group", metavar="LABEL", help="the cells that the model labels so")
    which.add_argument("--obs", metavar="COLUMN=VALUE", help="the cells with a value in obs")
    explain.add_argument(
        "-o", "--output", type=Path, metavar="OUT.png", help="draw it; a PDF is put beside"
    )
    explain.add_argument("--table", type=Path, metavar="OUT.tsv", help="all genes and pathways")
    explain.add_argument("--top", type=int, default=10, metavar="N", help="genes to print")
    _add_reading(explain)
    explain.set_defaults(run=_explain)


def _explain(options: argparse.Namespace) -> None:
    from plkd.figures.explain import plot_explanation
    from plkd.figures.style import save_figure, style
    from plkd.interpret.explain import explain_file, explanation_table, explanation_text
    from plkd.model.trained_model import load_model
    from plkd.utils.files import writable_folder
    from plkd.utils.tables import write_tsv

    if options.top < 1:
        raise InputError(f"--top {options.top}: give at least 1.")
    if options.output is not None and options.output.suffix != ".png":
        raise InputError(f"--output '{options.output}': the name must end in .png.")
    obs = None
    if options.obs is not None:
        column, equals, value = options.obs.partition("=")
        if not equals:
            raise InputError(f"--obs '{options.obs}': expected COLUMN=VALUE.")
        obs = (column, value)
    for path in filter(None, (options.output, options.table)):
        writable_folder(path.parent)
    found = explain_file(
        load_model(options.model),
        options.query,
        cell=options.cell,
        group=options.group,
        obs=obs,
        reading=_reading(options),
    )
    print(explanation_text(found, options.top))
    if options.table is not None:
        write_tsv(explanation_table(found), options.table)
    if options.output is not None:
        with style():
            save_figure(plot_explanation(found), options.output, options.output.with_suffix(".pdf"))


def _add_simulate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``plkd simulate cells``."""
    simulate = commands.add_parser(
        "simulate",
        help="write simulated data with planted truth",
        description="Write simulated single-cell data in which labels, marker genes, pathway "
        "programmes and batch effects are known.",
    )
    kinds = simulate.add_subparsers(title="what", required=True, metavar="WHAT")
    formatter = argparse.ArgumentDefaultsHelpFormatter
    cells = kinds.add_parser(
        "cells",
        help="a reference, a query, gene sets, the truth, and a configuration to run on them",
        description="Write reference.h5ad, query.h5ad, gene_sets.gmt, truth.json and my_data.yaml, "
        "with which Snakemake runs the pipeline on them.",
        formatter_class=formatter,
    )
    cells.add_argument("folder", type=Path, metavar="FOLDER", help="where the files go")
    for option, default, text in (
        ("--cells", 2000, "cells of the reference"),
        ("--query-cells", 1000, "cells of the query"),
        ("--genes", 2000, "genes"),
        ("--labels", 8, "labels; those of one letter are related"),
        ("--unseen", 0, "labels that the query alone has"),
        ("--batches", 4, "batches of the reference"),
        ("--query-batches", 2, "batches of the query, all of them new"),
        ("--markers", 10, "marker genes of each label"),
        ("--programmes", 60, "gene sets, decoys among them"),
        ("--programme-size", 20, "genes of each gene set"),
        ("--programmes-per-label", 3, "gene sets that are active in a label"),
        ("--seed", 0, "the same seed gives the same cells"),
    ):
        cells.add_argument(option, type=int, default=default, metavar="N", help=text)
    for option, number, text in (
        ("--depth", 2000.0, "mean counts of a cell"),
        ("--batch-effect", 0.3, "standard deviation of log fold changes between batches"),
        ("--confounding", 0.0, "share of the batch effect that looks like a change of label"),
        ("--composition-shift", 0.0, "standard deviation of log abundances between batches"),
        ("--imbalance", 10.0, "cells of the commonest label for each of the rarest"),
        ("--label-noise", 0.0, "share of wrong labels in the reference"),
        ("--marker-effect", 2.2, "log fold change of the strongest markers"),
        ("--programme-effect", 0.7, "mean log fold change in an active gene set"),
        ("--dispersion", 0.3, "over-dispersion of the counts"),
    ):
        cells.add_argument(option, type=float, default=number, metavar="X", help=text)
    cells.add_argument("--no-progress", action="store_true", help="hide the progress bars")
    cells.set_defaults(run=_simulate_cells)


def _simulate_cells(options: argparse.Namespace) -> None:
    from plkd.simulation.project import CONFIGURATION, write_project

    reference, query = write_project(
        options.folder,
        n_cells=options.cells,
        n_query=options.query_cells,
        n_genes=options.genes,
        n_labels=options.labels,
        n_unseen=options.unseen,
        n_batches=options.batches,
        n_query_batches=options.query_batches,
        n_markers=options.markers,
        n_programmes=options.programmes,
        programme_size=options.programme_size,
        programmes_per_label=options.programmes_per_label,
        depth=options.depth,
        batch_effect=options.batch_effect,
        confounding=options.confounding,
        composition_shift=options.composition_shift,
        imbalance=options.imbalance,
        label_noise=options.label_noise,
        marker_effect=options.marker_effect,
        programme_effect=options.programme_effect,
        dispersion=options.dispersion,
        seed=options.seed,
        progress=not options.no_progress,
    )
    logger.info(
        "%d reference and %d query cells in '%s'. Next: snakemake --cores all --configfile %s",
        reference.cells.n_obs,
        query.cells.n_obs,
        options.folder,
        options.folder / CONFIGURATION,
    )


def _annotate(options: argparse.Namespace) -> None:
    # imported here so that --help and mistakes in the arguments answer at once
    from plkd.model.trained_model import load_model
    from plkd.prediction.annotate import annotate_file
    from plkd.utils.devices import choose_device
    from plkd.utils.files import writable_folder

    if options.chunk_size < 1:
        raise InputError(f"--chunk-size {options.chunk_size}: give at least 1.")
    if options.table is not None and options.table.suffix not in (".tsv", ".parquet"):
        raise InputError(f"--table '{options.table}': the name must end in .tsv or .parquet.")
    for path in filter(None, (options.output, options.table)):
        writable_folder(path.parent)
    predictions = annotate_file(
        load_model(options.model).require("student"),
        options.query,
        options.output,
        device=choose_device(options.device),
        chunk_cells=options.chunk_size,
        progress=not options.no_progress,
        reading=_reading(options),
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
    _add_reading(command)
    command.add_argument("--chunk-size", type=int, default=2048, help="cells in memory at a time")
    command.add_argument("--no-progress", action="store_true", help="hide the progress bar")
    command.set_defaults(run=_gene_activity)


def _gene_activity(options: argparse.Namespace) -> None:
    from plkd.gene_activity import write_gene_activity
    from plkd.utils.files import writable_folder

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
        reading=_reading(options),
    )
    logger.info("written: '%s'", options.output)


def _write_table(predictions, path: Path) -> None:  # type: ignore[no-untyped-def]
    from plkd.prediction.table import prediction_sets, write_predictions
    from plkd.utils.tables import write_tsv

    if path.suffix == ".parquet":
        write_predictions(predictions, path)
        return
    sets = [" | ".join(labels) for labels in prediction_sets(predictions).to_pylist()]
    write_tsv(predictions.assign(prediction_set=sets), path)


if __name__ == "__main__":
    sys.exit(main())
