"""Put the scores of our spaces of two modalities and of other methods' beside each other."""

from typing import TYPE_CHECKING

from plkd.evaluation.omics import OMICS_COLUMNS
from plkd.evaluation.spaces import scores_of_run
from plkd.utils.logs import run_script
from plkd.utils.tables import EXACT, write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    spaces, run = list(snakemake.params.spaces), dict(snakemake.wildcards.items())
    table = scores_of_run(snakemake.input.scores, OMICS_COLUMNS, spaces, run, "omics_scores")
    write_tsv(table, snakemake.output.scores, digits=EXACT)


if __name__ == "__main__":
    run_script(main, snakemake)
