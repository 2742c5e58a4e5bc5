"""Score spaces that hold gene expression (reference) and chromatin accessibility (query)."""

from typing import TYPE_CHECKING

import numpy as np

from plkd.evaluation.embeddings import read_cells_of_run, read_spaces, sample_cells
from plkd.evaluation.geometry import MOST_CELLS
from plkd.evaluation.integrators import paired_cells
from plkd.evaluation.omics import (
    SPACE_COLUMNS,
    accessibility_components,
    expression_components,
    score_omics,
)
from plkd.evaluation.spaces import SCORING_SEED, of_all_spaces
from plkd.evaluation.tables import read_truth
from plkd.io.cells import open_cells
from plkd.preparation.prepared import PreparedCells
from plkd.settings.datasets import ReadingOptions
from plkd.utils.logs import run_script
from plkd.utils.tables import EXACT, write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    given = snakemake.input
    cells = read_cells_of_run(given.reference, given.query, read_truth(given.truth))
    known = np.flatnonzero(cells["label"].notna())
    chosen = known[sample_cells(len(known), MOST_CELLS, SCORING_SEED)]
    expression = PreparedCells.read(given.reference)
    accessibility = PreparedCells.read(given.query)
    inside = chosen < expression.n_cells
    rows = accessibility.source_rows[chosen[~inside] - expression.n_cells]
    with open_cells(given.peaks, ReadingOptions.from_config(snakemake.params.reading)) as file:
        of_peaks = accessibility_components(file.take(rows), seed=SCORING_SEED)
    of_genes = expression_components(expression.take(chosen[inside]), seed=SCORING_SEED)
    paired = len(paired_cells(given.reference, given.query)) > 0
    scored = cells.iloc[chosen].assign(modality=lambda scored: scored["role"])

    scores = [
        score_omics(
            {name: space[chosen]},
            scored,
            {"reference": of_genes, "query": of_peaks},
            SCORING_SEED,
            paired,
        )
        for path in given.spaces  # one after the other: one at a time is in memory
        for name, space in read_spaces([path], cells).items()
    ]
    write_tsv(of_all_spaces(scores, SPACE_COLUMNS), snakemake.output.scores, digits=EXACT)


if __name__ == "__main__":
    run_script(main, snakemake)
