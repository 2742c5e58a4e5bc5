"""Key genes of the labels: in the pools of both models, ranked by attribution."""

from typing import TYPE_CHECKING

from plkd.evaluation.marker_recovery import match_labels, read_markers
from plkd.figures.key_genes import plot_key_genes
from plkd.figures.style import save_figure, style
from plkd.interpret.attributed_cells import AttributedCells
from plkd.interpret.columns import NETWORK_COLUMNS
from plkd.interpret.key_genes import GENE_COLUMNS, key_genes, pool_sizes
from plkd.utils.logs import run_script
from plkd.utils.tables import read_tsv, write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    attributed = AttributedCells.load(snakemake.input.values)
    genes = read_tsv(snakemake.input.genes, GENE_COLUMNS, made_by="attribute_genes")
    network = read_tsv(snakemake.input.network, NETWORK_COLUMNS, made_by="networks")
    markers = None
    if snakemake.input.markers:
        markers = match_labels(read_markers(snakemake.input.markers), attributed.labels)
    size = snakemake.params.interpretation["student_genes"]
    keys = key_genes(genes, network, markers, pool_size=size)
    write_tsv(keys, snakemake.output.genes)
    write_tsv(pool_sizes(genes, network, len(attributed.genes)), snakemake.output.pools)
    with style():
        save_figure(plot_key_genes(keys), snakemake.output.png, snakemake.output.pdf)


if __name__ == "__main__":
    run_script(main, snakemake)
