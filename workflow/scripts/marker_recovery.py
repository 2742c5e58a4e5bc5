"""Are known markers among a label's genes, and its known pathways among the Teacher's best?"""

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
from plkd.interpret.columns import LABEL_PATHWAY_COLUMNS
from plkd.interpret.key_genes import GENE_COLUMNS, KEY_GENE_COLUMNS
from plkd.utils.logs import run_script
from plkd.utils.tables import EXACT, read_tsv, write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    given, output = snakemake.input, snakemake.output
    item = snakemake.params.item
    if item == "gene":
        attributed = AttributedCells.load(given.values)
        candidates = attributed.genes
        rankings = gene_rankings(
            read_tsv(given.genes, GENE_COLUMNS, made_by="attribute_genes"),
            read_tsv(given.key_genes, KEY_GENE_COLUMNS, made_by="key_genes"),
            wilcoxon_table(attributed),
        )
        labels = attributed.labels
    else:
        ranked = read_tsv(given.pathways, LABEL_PATHWAY_COLUMNS, made_by="pathways")
        candidates, labels = list(ranked["pathway"].unique()), list(ranked["label"].unique())
        rankings = pathway_rankings(ranked)
    expected = match_labels(read_markers(given.markers, item), labels)
    recovery = recovery_table(expected, rankings, candidates, item)
    planted = read_planted(given.markers) if item == "gene" else None
    summary = recovery_summary(recovery, rankings, candidates, planted)
    write_tsv(recovery, output.ranks)
    write_tsv(summary, output.summary, digits=EXACT)
    with style():
        save_figure(plot_recovery(recovery, item=item), output.png, output.pdf)


if __name__ == "__main__":
    run_script(main, snakemake)
