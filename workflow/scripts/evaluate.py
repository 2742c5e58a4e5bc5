"""Score the predictions of all methods for one query against the true labels."""

from typing import TYPE_CHECKING

from plkd.evaluation.resampling import resampled_scores
from plkd.evaluation.tables import (
    batch_scores,
    evaluate,
    label_counts,
    read_methods,
    read_truth,
)
from plkd.utils.logs import run_script
from plkd.utils.tables import EXACT, READABLE, write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    predictions = read_methods(snakemake.input.predictions)
    truth = read_truth(snakemake.input.truth)
    counts = label_counts(snakemake.input.reference)
    tables = evaluate(predictions, truth, counts)
    tables["resampled"] = resampled_scores(predictions, truth, counts.keys())
    tables["batches"] = batch_scores(predictions, truth, counts.keys())
    for column, name in enumerate(("dataset", "variant", "seed")):
        tables["metrics"].insert(column, name, snakemake.params[name])
    for name, table in tables.items():
        # means over runs are made of the metrics, the others are for people and figures
        digits = EXACT if name == "metrics" else READABLE
        write_tsv(table, snakemake.output[name], digits=digits)


if __name__ == "__main__":
    run_script(main, snakemake)
