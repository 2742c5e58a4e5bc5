"""How alike are the top genes of runs with different seeds?"""

from typing import TYPE_CHECKING

from plkd.figures.key_genes import plot_stability
from plkd.figures.style import save_figure, style
from plkd.interpret.key_genes import GENE_COLUMNS, stability
from plkd.preparation.prepared import PreparedCells
from plkd.utils.logs import run_script
from plkd.utils.tables import read_tsv, write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    tables = {
        path: read_tsv(path, GENE_COLUMNS, made_by="attribute_genes")
        for path in snakemake.input.genes
    }
    cells = PreparedCells.read(snakemake.input.reference)
    table = stability(tables, len(cells.genes))
    write_tsv(table, snakemake.output.table)
    with style():
        save_figure(plot_stability(table), snakemake.output.png, snakemake.output.pdf)


if __name__ == "__main__":
    run_script(main, snakemake)
