"""Draw reference and query in the raw and in the learnt space, and score the spaces."""

from typing import TYPE_CHECKING

from plkd.evaluation.embeddings import (
    MAPPED_CELLS,
    principal_components,
    read_cells_of_run,
    read_embedding,
    read_umap,
    sample_cells,
    score_spaces,
    stack_maps,
)
from plkd.evaluation.tables import label_counts, read_truth
from plkd.figures.embedding import plot_embedding
from plkd.figures.style import save_figure, style
from plkd.prediction.table import read_predictions
from plkd.utils.logs import run_script
from plkd.utils.tables import write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    reference, query = snakemake.input.reference, snakemake.input.query
    seed = int(snakemake.wildcards.seed)
    truth = read_truth(snakemake.input.truth)
    cells = read_cells_of_run(reference, query, truth)
    chosen = sample_cells(len(cells), MAPPED_CELLS, seed)
    spaces = {
        "pca": principal_components(reference, query, chosen, seed),
        "teacher": read_embedding(snakemake.input.embedding, cells)[chosen],
    }
    shown = cells.iloc[chosen]
    write_tsv(score_spaces(spaces, shown, seed), snakemake.output.metrics)
    maps = {
        "pca": read_umap(snakemake.input.umap_pca, shown),
        "teacher": read_umap(snakemake.input.umap, shown),
    }
    labels = "the query bears its true labels"
    if truth["label"].isna().all():  # nothing but the Student's word for it
        predictions = read_predictions(snakemake.input.predictions, made_by="predict")
        shown = read_cells_of_run(reference, query, predictions).iloc[chosen]
        labels = "the query bears the Student's labels"
    with style():
        figure = plot_embedding(
            stack_maps(maps, shown),
            sorted(label_counts(reference)),
            spaces={"pca": "PCA of the genes", "teacher": "Teacher embedding"},
            subtitle=f"{len(chosen):,} of {len(cells):,} cells, seed {seed}; {labels}",
            seed=seed,
        )
        save_figure(figure, snakemake.output.png, snakemake.output.pdf)


if __name__ == "__main__":
    run_script(main, snakemake)
