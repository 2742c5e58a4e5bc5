"""Gather the scores of cells as they are and made harder into a table and a figure."""

from typing import TYPE_CHECKING

import pandas as pd

from plkd.evaluation.comparison import by_entry
from plkd.evaluation.robustness import robustness_table
from plkd.evaluation.tables import METRIC_COLUMNS
from plkd.figures.benchmark import entries
from plkd.figures.robustness import plot_robustness
from plkd.figures.style import save_figure, style
from plkd.pipeline.methods import controls_of, read_registry
from plkd.utils.logs import run_script
from plkd.utils.tables import read_tsv, write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    output = snakemake.output
    methods = read_registry(snakemake.input.methods)
    controls = controls_of(methods)
    tables = [
        read_tsv(path, METRIC_COLUMNS, made_by="evaluate") for path in snakemake.input.metrics
    ]
    runs = pd.concat(tables, ignore_index=True)
    names, kinds = entries(runs[~runs["method"].isin(controls)], methods)
    table = robustness_table(by_entry(runs, names, controls), snakemake.params.made)
    write_tsv(table, output.table)
    with style():
        save_figure(plot_robustness(table, names, kinds), output.png, output.pdf)


if __name__ == "__main__":
    run_script(main, snakemake)
