"""Make the control `true_labels` out of the truth; part of the evaluation, never of a method."""

from typing import TYPE_CHECKING

from plkd.evaluation.baselines import true_labels
from plkd.evaluation.tables import label_counts, read_truth
from plkd.prediction.table import prediction_table, write_predictions
from plkd.utils.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    truth = read_truth(snakemake.input.truth)
    reference_labels = list(label_counts(snakemake.input.reference))
    labels, probabilities = true_labels(reference_labels, truth["label"])
    # A perfect method is certain of what it knows and flags everything else.
    table = prediction_table(truth["cell_id"], labels, probabilities, unknown_threshold=1.0)
    write_predictions(table, snakemake.output.predictions)


if __name__ == "__main__":
    run_script(main, snakemake)
