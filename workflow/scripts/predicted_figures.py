"""Draw what the Student says of the query, beside its true labels where they are known."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from plkd.evaluation.embeddings import umap_of_query
from plkd.evaluation.tables import read_truth
from plkd.figures.predicted import marker_genes, plot_markers, plot_predicted
from plkd.figures.style import save_figure, style
from plkd.interpret.query_attribution import background_of
from plkd.model.trained_model import load_model
from plkd.prediction.table import read_predictions
from plkd.preparation.prepared import PreparedCells, sample_rows
from plkd.utils.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

MOST_CELLS = 20_000  # whose markers are drawn


def main(snakemake) -> None:
    given, output = snakemake.input, snakemake.output
    model = load_model(Path(given.model).parent)
    query = PreparedCells.read(given.query)
    said = query.in_order(read_predictions(given.predictions, made_by="predict"), "the predictions")
    truth = query.in_order(read_truth(given.truth), "the truth")["label"]
    cells = said[["label", "confidence", "unknown", "unknown_score"]].assign(truth=truth)
    cells[["umap1", "umap2"]] = umap_of_query(given.umap, said["cell_id"])
    mapped = cells[np.isfinite(cells["umap1"])]
    about = f"{len(mapped):,} of {len(cells):,} cells of the query"

    genes = marker_genes(background_of(model).label_means, model.genes)
    rows = sample_rows(len(cells), MOST_CELLS)
    columns = [model.genes.index(gene) for gene in genes]
    expression = query.take(rows)[:, columns].toarray()
    shown = cells.iloc[rows].reset_index(drop=True)
    unknown = shown["unknown"].astype(bool)
    groups = {"predicted label": shown["label"].astype(object).where(~unknown, "unknown")}
    if shown["truth"].notna().any():
        groups["true label"] = shown["truth"].astype(object)
    with style():
        figure = plot_predicted(mapped, model.labels, title=about)
        save_figure(figure, output.png, output.pdf)
        figure = plot_markers(
            expression, genes, groups, model.labels, title="Markers of the reference's labels"
        )
        save_figure(figure, output.markers_png, output.markers_pdf)


if __name__ == "__main__":
    run_script(main, snakemake)
