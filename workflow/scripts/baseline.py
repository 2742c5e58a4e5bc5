"""Annotate the query by one of the baselines of plkd.evaluation.baselines."""

from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad

from plkd.errors import InputError
from plkd.evaluation.baselines import BASELINES
from plkd.prediction.table import prediction_table, write_predictions
from plkd.utils.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    method = snakemake.wildcards.method
    if method not in BASELINES:
        raise InputError(f"no baseline is called '{method}'; there are {', '.join(BASELINES)}")
    reference = ad.read_h5ad(snakemake.input.reference)
    query = ad.read_h5ad(snakemake.input.query)
    labels, probabilities = BASELINES[method](reference, query, int(snakemake.params.seed))
    table = prediction_table(query.obs_names, labels, probabilities)
    write_predictions(table, Path(snakemake.output.predictions))


if __name__ == "__main__":
    run_script(main, snakemake)
