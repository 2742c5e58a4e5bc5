"""Gather the scores of all runs into the benchmark's tables and figure."""

from typing import TYPE_CHECKING

import pandas as pd

from plkd.evaluation.tables import METRIC_COLUMNS, overall, summarise
from plkd.figures.benchmark import plot_benchmark
from plkd.figures.style import save_figure, style
from plkd.pipeline.methods import controls_of, read_registry
from plkd.utils.logs import run_script
from plkd.utils.tables import read_tsv, write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    runs = pd.concat(
        [read_tsv(path, METRIC_COLUMNS, made_by="evaluate") for path in snakemake.input.metrics],
        ignore_index=True,
    )
    methods = read_registry(snakemake.input.methods)
    controls = controls_of(methods)
    write_tsv(runs, snakemake.output.annotation)
    write_tsv(summarise(runs, controls), snakemake.output.summary)
    write_tsv(overall(runs[~runs["method"].isin(controls)]), snakemake.output.overall)
    with style():
        save_figure(plot_benchmark(runs, methods), snakemake.output.png, snakemake.output.pdf)


if __name__ == "__main__":
    run_script(main, snakemake)
