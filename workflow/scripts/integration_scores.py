"""Score spaces of reference and query, and map a sample of their cells in each."""

from typing import TYPE_CHECKING

import numpy as np

from plkd.evaluation.embeddings import read_cells_of_run, read_spaces, sample_cells
from plkd.evaluation.integration import SPACE_COLUMNS, groups_of_cells, score_integration
from plkd.evaluation.integrators import batches_to_mix, paired_cells
from plkd.evaluation.spaces import MAP_COLUMNS, SCORING_SEED, map_of_space, of_all_spaces
from plkd.evaluation.tables import label_counts, read_truth
from plkd.utils.logs import run_script
from plkd.utils.tables import EXACT, write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    given, crossing = snakemake.input, snakemake.params.crossing
    cells = read_cells_of_run(given.reference, given.query, read_truth(given.truth))
    # what the methods were told to mix
    cells["batch"] = batches_to_mix(given.reference, given.query, crossing)
    paired = crossing and len(paired_cells(given.reference, given.query)) > 0
    groups = groups_of_cells(cells, list(label_counts(given.reference)), paired)
    known = np.flatnonzero(cells["label"].notna())
    mapped = known[sample_cells(len(known), int(snakemake.params.mapped_cells), SCORING_SEED)]

    scores, maps = [], []
    for path in given.spaces:  # one after the other: one at a time is in memory
        for name, space in read_spaces([path], cells).items():
            scores.append(score_integration({name: space}, cells, groups, seed=SCORING_SEED))
            maps.append(map_of_space(name, space[mapped], cells.iloc[mapped]))
    write_tsv(of_all_spaces(scores, SPACE_COLUMNS), snakemake.output.scores, digits=EXACT)
    write_tsv(of_all_spaces(maps, MAP_COLUMNS), snakemake.output.maps)


if __name__ == "__main__":
    run_script(main, snakemake)
