"""Turn open chromatin (peaks or fragments) into the activity of genes."""

from dataclasses import replace
from typing import TYPE_CHECKING

from plkd.gene_activity import write_gene_activity
from plkd.settings.datasets import ReadingOptions
from plkd.utils.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    source = snakemake.params.source
    settings = source["gene_activity"]
    # a gene table renames genes, not peaks: rule prepare does that
    reading = replace(ReadingOptions.from_config(source), gene_table=None)
    write_gene_activity(
        snakemake.input.cells,
        snakemake.input.annotation,
        snakemake.output.activity,
        rule=settings["rule"],
        upstream=settings["upstream"],
        chromosomes=settings["chromosomes"],
        biotypes=settings["biotypes"],
        barcodes=snakemake.input.get("barcodes") or None,
        min_fragments=settings["min_fragments"],
        report=snakemake.output.report,
        reading=reading,
    )


if __name__ == "__main__":
    run_script(main, snakemake)
