"""Annotate the query by one of the baselines of plkd.evaluation.baselines."""

from pathlib import Path
from typing import TYPE_CHECKING

from plkd.errors import InputError
from plkd.evaluation.baselines import BASELINES
from plkd.prediction.table import prediction_table, write_predictions
from plkd.preparation.prepared import PreparedCells
from plkd.utils.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    method = snakemake.wildcards.method
    if method not in BASELINES:
        raise InputError(f"no baseline is called '{method}'; there are {', '.join(BASELINES)}")
    reference = PreparedCells.read(snakemake.input.reference).in_memory()
    query = PreparedCells.read(snakemake.input.query).in_memory()
    labels, probabilities = BASELINES[method](reference, query, int(snakemake.params.seed))
    table = prediction_table(query.obs_names, labels, probabilities)
    write_predictions(table, Path(snakemake.output.predictions))


if __name__ == "__main__":
    run_script(main, snakemake)
