"""Score the predictions of all methods for one query against the true labels."""

from typing import TYPE_CHECKING

from plkd.evaluation.tables import evaluate, label_counts, read_methods, read_truth
from plkd.utils.logs import run_script
from plkd.utils.tables import EXACT, write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    tables = evaluate(
        read_methods(snakemake.input.predictions),
        read_truth(snakemake.input.truth),
        label_counts(snakemake.input.reference),
    )
    for column, name in enumerate(("dataset", "variant", "seed")):
        tables["metrics"].insert(column, name, snakemake.params[name])
    for name, table in tables.items():
        # the benchmark's means and the figures are made of these
        write_tsv(table, snakemake.output[name], digits=EXACT)


if __name__ == "__main__":
    run_script(main, snakemake)
