"""Score and draw our embeddings of reference and query, and those of other methods."""

from typing import TYPE_CHECKING

from plkd.evaluation.embeddings import (
    read_cells_of_run,
    read_spaces,
    sample_cells,
    stack_maps,
    umap_coordinates,
)
from plkd.evaluation.integration import groups_of_cells, score_integration
from plkd.evaluation.integrators import batches_to_mix, paired_cells
from plkd.evaluation.tables import label_counts, read_truth
from plkd.figures.embedding import plot_integration
from plkd.figures.style import save_figure, style
from plkd.utils.logs import run_script
from plkd.utils.tables import EXACT, write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    given, seed = snakemake.input, int(snakemake.wildcards.seed)
    crossing = snakemake.params.crossing
    cells = read_cells_of_run(given.reference, given.query, read_truth(given.truth))
    # what the methods were told to mix
    cells["batch"] = batches_to_mix(given.reference, given.query, crossing)
    labels = sorted(label_counts(given.reference))
    spaces = read_spaces([*given.others, given.student, given.teacher], cells)
    paired = crossing and len(paired_cells(given.reference, given.query)) > 0
    groups = groups_of_cells(cells, labels, paired)
    table = score_integration(spaces, cells, groups, seed=seed)
    for column, name in enumerate(("dataset", "variant", "seed")):
        table.insert(column, name, snakemake.wildcards[name])
    write_tsv(table, snakemake.output.scores, digits=EXACT)

    chosen = sample_cells(len(cells), int(snakemake.params.mapped_cells), seed)
    maps = {name: umap_coordinates(space[chosen], seed) for name, space in spaces.items()}
    with style():
        figure = plot_integration(
            stack_maps(maps, cells.iloc[chosen]),
            labels,
            spaces={name: snakemake.params.methods.get(name, name) for name in spaces},
            subtitle=f"{len(chosen):,} of {len(cells):,} cells, seed {seed}; UMAP of every space",
            seed=seed,
        )
        save_figure(figure, snakemake.output.png, snakemake.output.pdf)


if __name__ == "__main__":
    run_script(main, snakemake)
