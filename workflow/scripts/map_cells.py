"""Map reference and query together, in the space of the Teacher."""

from typing import TYPE_CHECKING

from plkd.evaluation.embeddings import umap_table
from plkd.utils.logs import run_script
from plkd.utils.tables import write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    table = umap_table(
        snakemake.input.embedding,
        int(snakemake.params.max_cells),
        int(snakemake.wildcards.seed),
    )
    write_tsv(table, snakemake.output.coordinates, digits=6)  # as many as a float32 has


if __name__ == "__main__":
    run_script(main, snakemake)
