"""Key genes of the labels: in the pools of both models, ranked by attribution."""

from typing import TYPE_CHECKING

from plkd.evaluation.marker_recovery import match_labels, read_markers
from plkd.figures.key_genes import plot_key_genes
from plkd.figures.style import save_figure, style
from plkd.interpret.attributed_cells import AttributedCells
from plkd.interpret.key_genes import key_genes, pool_sizes, read_gene_table, write_gene_table
from plkd.utils.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    attributed = AttributedCells.load(snakemake.input.values)
    genes = read_gene_table(snakemake.input.genes)
    network = read_gene_table(snakemake.input.network)
    markers = None
    if snakemake.input.markers:
        markers = match_labels(read_markers(snakemake.input.markers), attributed.labels)
    size = snakemake.params.interpretation["student_genes"]
    keys = key_genes(genes, network, markers, pool_size=size)
    write_gene_table(keys, snakemake.output.genes)
    write_gene_table(pool_sizes(genes, network, len(attributed.genes)), snakemake.output.pools)
    with style():
        save_figure(plot_key_genes(keys), snakemake.output.png, snakemake.output.pdf)


if __name__ == "__main__":
    run_script(main, snakemake)
