"""Draw the evaluation of one run: confusion, F1 per label, confidence."""

from typing import TYPE_CHECKING

from plkd.evaluation.tables import (
    CONFIDENCE_COLUMNS,
    CONFUSION_COLUMNS,
    PER_LABEL_COLUMNS,
    label_counts,
)
from plkd.figures.confidence import plot_confidence
from plkd.figures.confusion import plot_confusion
from plkd.figures.per_label import plot_per_label
from plkd.figures.style import save_figure, style
from plkd.pipeline.methods import controls_of, read_registry
from plkd.utils.logs import run_script
from plkd.utils.tables import read_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    tables = {
        name: read_tsv(snakemake.input[name], columns, made_by="evaluate")
        for name, columns in (
            ("per_label", PER_LABEL_COLUMNS),
            ("confusion", CONFUSION_COLUMNS),
            ("confidence", CONFIDENCE_COLUMNS),
        )
    }
    registry = read_registry(snakemake.input.methods)
    names = {
        method: str(registry["name"].get(method, method))
        for method in tables["confidence"]["method"].unique()
        if method not in controls_of(registry)
    }
    first = "student" if "student" in names else next(iter(names))
    confusion = tables["confusion"].query("method == @first")
    labels = sorted(label_counts(snakemake.input.reference))
    output = snakemake.output
    with style():
        save_figure(
            plot_confusion(confusion, labels, title=names[first]),
            output.confusion_png,
            output.confusion_pdf,
        )
        save_figure(
            plot_per_label(tables["per_label"], names), output.per_label_png, output.per_label_pdf
        )
        save_figure(
            plot_confidence(tables["confidence"], names),
            output.confidence_png,
            output.confidence_pdf,
        )


if __name__ == "__main__":
    run_script(main, snakemake)
