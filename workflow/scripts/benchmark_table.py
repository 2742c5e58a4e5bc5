"""Gather the scores of all runs into the benchmark's tables and figure."""

from typing import TYPE_CHECKING

import pandas as pd

from plkd.evaluation.tables import overall, summarise
from plkd.figures.benchmark import plot_benchmark
from plkd.figures.style import save_figure, style
from plkd.utils.files import whole_file
from plkd.utils.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    runs = pd.concat(
        [pd.read_csv(path, sep="\t", dtype={"dataset": str, "variant": str}) for path in
         snakemake.input.metrics],
        ignore_index=True,
    )  # fmt: skip
    methods = pd.read_csv(snakemake.input.methods, sep="\t", index_col="id")
    controls = methods.index[methods["kind"] == "control"]
    for path, table in (
        (snakemake.output.annotation, runs),
        (snakemake.output.summary, summarise(runs)),
        (snakemake.output.overall, overall(runs[~runs["method"].isin(controls)])),
    ):
        with whole_file(path) as temporary:
            table.to_csv(temporary, sep="\t", index=False)
    with style():
        save_figure(plot_benchmark(runs, methods), snakemake.output.png, snakemake.output.pdf)


if __name__ == "__main__":
    run_script(main, snakemake)
