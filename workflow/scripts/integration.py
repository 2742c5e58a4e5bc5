"""Put the scores of our spaces and of other methods' beside each other, and draw their maps."""

from typing import TYPE_CHECKING

from plkd.evaluation.integration import INTEGRATION_COLUMNS
from plkd.evaluation.spaces import read_maps, scores_of_run
from plkd.evaluation.tables import label_counts
from plkd.figures.embedding import plot_integration
from plkd.figures.style import save_figure, style
from plkd.utils.logs import run_script
from plkd.utils.tables import EXACT, write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    given, spaces = snakemake.input, dict(snakemake.params.spaces)
    run, made_by = dict(snakemake.wildcards.items()), "integration_scores"
    table = scores_of_run(given.scores, INTEGRATION_COLUMNS, list(spaces), run, made_by)
    write_tsv(table, snakemake.output.scores, digits=EXACT)

    maps = read_maps(given.maps, made_by)
    n_mapped, n_scored = maps["space"].value_counts().max(), table["n_cells"].max()
    with style():
        figure = plot_integration(
            maps,
            sorted(label_counts(given.reference)),
            spaces={one: name for one, name in spaces.items() if one in set(maps["space"])},
            subtitle=f"{n_mapped:,} of {n_scored:,} scored cells, seed {run['seed']}; "
            "UMAP of every space",
        )
        save_figure(figure, snakemake.output.png, snakemake.output.pdf)


if __name__ == "__main__":
    run_script(main, snakemake)
