"""Choose the gene sets that become pathway tokens, and make the mask from genes to pathways."""

from pathlib import Path
from typing import TYPE_CHECKING

from plkd.figures.mask import plot_pathways
from plkd.figures.style import save_figure, style
from plkd.pathways.gene_sets import read_gmts
from plkd.pathways.mask import build_mask, coverage
from plkd.pathways.modules import CELLS, gene_modules
from plkd.pipeline.measured import measured
from plkd.preparation.prepared import PreparedCells, sample_rows
from plkd.utils.logs import logger, run_script
from plkd.utils.tables import read_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> dict[str, int]:
    cells, choices = PreparedCells.read(snakemake.input.reference), snakemake.params.mask
    of_table = read_tsv(snakemake.input.genes, {"gene": str}, made_by="prepare")
    paths = snakemake.input.gene_sets
    paths = [paths] if isinstance(paths, str) else list(paths)
    sets = read_gmts(paths) if paths else None
    if choices["kind"] == "modules":
        rows = sample_rows(cells.n_cells, CELLS)
        sets = gene_modules(cells.take(rows), cells.genes, cells.batches[rows])
    mask = build_mask(
        genes=cells.genes, gene_sets=sets, background=of_table["gene"].tolist(), **choices
    )
    logger.info("mask: %d genes x %d tokens, density %.4f", *mask.matrix.shape, mask.density)
    mask.save(Path(snakemake.output.mask).parent)
    _, words = coverage(mask.matrix, mask.tokens)
    with style():
        save_figure(plot_pathways(mask.table, words), snakemake.output.png, snakemake.output.pdf)
    return {"n_reference": cells.n_cells}


if __name__ == "__main__":
    run_script(measured(main), snakemake)
