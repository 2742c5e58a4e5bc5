"""Genes behind the Student's labels: attributions of some cells of every label."""

from pathlib import Path
from typing import TYPE_CHECKING

from plkd.figures.attribution import plot_beeswarm, plot_top_genes
from plkd.figures.style import save_figure, style
from plkd.interpret.key_genes import gene_table
from plkd.interpret.query_attribution import attribute_query
from plkd.model.trained_model import load_model
from plkd.prediction.table import read_predictions
from plkd.utils.devices import choose_device
from plkd.utils.logs import logger, run_script
from plkd.utils.tables import write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    output = snakemake.output
    attributed = attribute_query(
        load_model(Path(snakemake.input.model).parent),
        snakemake.input.query,
        read_predictions(snakemake.input.predictions, made_by="predict"),
        per_label=snakemake.params.interpretation["attributed_cells"],
        seed=int(snakemake.wildcards.seed),
        explainer=snakemake.params.interpretation["explainer"],
        device=choose_device("cpu", threads=snakemake.threads),
    )
    logger.info(
        "%d cells attributed, largest error of additivity %.1e",
        len(attributed.codes),
        abs(attributed.error).max(),
    )
    genes = gene_table(attributed)
    attributed.save(output.values)
    write_tsv(genes, output.genes)
    with style():
        save_figure(plot_top_genes(genes), output.png, output.pdf)
        save_figure(plot_beeswarm(attributed, genes), output.cells_png, output.cells_pdf)


if __name__ == "__main__":
    run_script(main, snakemake)
