"""Score the labels of all methods in space, and draw the truth above the Student's labels."""

from typing import TYPE_CHECKING

import pandas as pd

from plkd.evaluation.spatial import spatial_scores
from plkd.evaluation.tables import label_counts, read_methods, read_truth
from plkd.figures.spatial import plot_truth_above, slide_table
from plkd.figures.style import save_figure, style
from plkd.preparation.prepared import PreparedCells
from plkd.utils.logs import run_script
from plkd.utils.tables import EXACT, write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    given, names = snakemake.input, snakemake.wildcards
    places, truth = PreparedCells.read(given.query).require_spatial(), read_truth(given.truth)
    labels = sorted(label_counts(given.reference))
    slides = {
        method: slide_table(predictions, truth, places, labels)
        for method, predictions in read_methods(given.predictions).items()
    }
    run = {name: names[name] for name in ("dataset", "variant", "seed")}
    scores = [
        spatial_scores(cells).assign(method=method, **run) for method, cells in slides.items()
    ]
    table = pd.concat(scores, ignore_index=True)
    first = [*run, "method"]
    write_tsv(table[[*first, *table.columns.difference(first, sort=False)]],
              snakemake.output.scores, digits=EXACT)  # fmt: skip
    with style():
        figure = plot_truth_above(slides["student"], labels, title=names.dataset)
        save_figure(figure, snakemake.output.png, snakemake.output.pdf)


if __name__ == "__main__":
    run_script(main, snakemake)
