"""Are known markers among the genes, and known pathways among the pathways, of the labels?"""

from typing import TYPE_CHECKING

from plkd.evaluation.marker_recovery import (
    gene_rankings,
    match_labels,
    pathway_rankings,
    read_markers,
    read_planted,
    recovery_summary,
    recovery_table,
    wilcoxon_table,
)
from plkd.figures.key_genes import plot_recovery
from plkd.figures.style import save_figure, style
from plkd.interpret.attributed_cells import AttributedCells
from plkd.interpret.key_genes import read_gene_table, write_gene_table
from plkd.utils.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    given, output = snakemake.input, snakemake.output
    item = snakemake.params.item
    if item == "gene":
        attributed = AttributedCells.load(given.values)
        candidates = attributed.genes
        rankings = gene_rankings(
            read_gene_table(given.genes),
            read_gene_table(given.key_genes),
            wilcoxon_table(attributed),
        )
        labels = attributed.labels
    else:
        ranked = read_gene_table(given.pathways)
        candidates, labels = list(ranked["pathway"].unique()), list(ranked["label"].unique())
        rankings = pathway_rankings(ranked)
    expected = match_labels(read_markers(given.markers, item), labels)
    recovery = recovery_table(expected, rankings, candidates, item)
    planted = read_planted(given.markers) if item == "gene" else None
    summary = recovery_summary(recovery, rankings, candidates, planted)
    write_gene_table(recovery, output.ranks)
    write_gene_table(summary, output.summary)
    with style():
        save_figure(plot_recovery(recovery, item=item), output.png, output.pdf)


if __name__ == "__main__":
    run_script(main, snakemake)
