"""Write a copy of the query with the Student's labels."""

from typing import TYPE_CHECKING

import anndata as ad

from plkd.annotate import write_annotated
from plkd.logs import run_script
from plkd.predictions import read_predictions
from plkd.preprocess import query_reading, source_rows

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    embedding = ad.read_h5ad(snakemake.input.embedding)
    write_annotated(
        snakemake.input.query,
        snakemake.output[0],
        read_predictions(snakemake.input.predictions),
        embedding[embedding.obs["role"] == "query"].X,
        rows=source_rows(snakemake.input.prepared),
        about={
            "dataset": snakemake.wildcards.dataset,
            "variant": snakemake.wildcards.variant,
            "seed": int(snakemake.wildcards.seed),
        },
        **query_reading(snakemake.params.dataset),
    )


if __name__ == "__main__":
    run_script(main, snakemake)
