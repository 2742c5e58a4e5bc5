"""Draw the evaluation of one run: confusion, F1 per label, confidence."""

from typing import TYPE_CHECKING

import pandas as pd

from plkd.evaluation.tables import evaluate, label_counts, read_methods, read_registry
from plkd.figures.confidence import plot_confidence
from plkd.figures.confusion import plot_confusion
from plkd.figures.per_label import plot_per_label
from plkd.figures.style import save_figure, style
from plkd.utils.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    truth = pd.read_parquet(snakemake.input.truth)
    reference_counts = label_counts(snakemake.input.reference)
    registry = read_registry(snakemake.input.methods)
    predictions = {
        method: table
        for method, table in read_methods(snakemake.input.predictions).items()
        if registry["kind"].get(method) != "control"
    }
    names = {method: registry["name"].get(method, method) for method in predictions}
    tables = evaluate(predictions, truth, reference_counts)

    shown = "student" if "student" in names else next(iter(names))
    confusion = tables["confusion"].query("method == @shown")
    named = {names[method]: table for method, table in predictions.items()}
    output = snakemake.output
    with style():
        save_figure(
            plot_confusion(confusion, sorted(reference_counts), title=names[shown]),
            output.confusion_png,
            output.confusion_pdf,
        )
        save_figure(
            plot_per_label(tables["per_label"], names), output.per_label_png, output.per_label_pdf
        )
        save_figure(
            plot_confidence(named, truth, set(reference_counts)),
            output.confidence_png,
            output.confidence_pdf,
        )


if __name__ == "__main__":
    run_script(main, snakemake)
