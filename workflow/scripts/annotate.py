"""Write a copy of the query with the Student's labels."""

from typing import TYPE_CHECKING

import anndata as ad

from plkd.evaluation.embeddings import umap_of_query
from plkd.prediction.annotate import label_table, write_annotated
from plkd.prediction.table import read_predictions
from plkd.preparation.prepared import PreparedCells
from plkd.settings.datasets import ReadingOptions
from plkd.utils.logs import run_script
from plkd.utils.tables import write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    predictions = read_predictions(snakemake.input.predictions)
    write_tsv(label_table(predictions), snakemake.output.labels)
    embedding = ad.read_h5ad(snakemake.input.embedding)
    write_annotated(
        snakemake.input.query,
        snakemake.output.annotated,
        predictions,
        embedding[embedding.obs["role"] == "query"].X,
        umap=umap_of_query(snakemake.input.umap, predictions["cell_id"]),
        rows=PreparedCells.read(snakemake.input.prepared).source_rows,
        about={
            "dataset": snakemake.wildcards.dataset,
            "variant": snakemake.wildcards.variant,
            "seed": int(snakemake.wildcards.seed),
        },
        reading=ReadingOptions.from_config(snakemake.params.source),
    )


if __name__ == "__main__":
    run_script(main, snakemake)
