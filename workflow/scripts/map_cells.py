"""Map reference and query together, in the space of the Teacher and in that of the genes.

Both in one process, because loading scanpy and UMAP takes longer than a map of some hundred cells.
"""

from typing import TYPE_CHECKING

from plkd.evaluation.embeddings import (
    MAPPED_CELLS,
    principal_components,
    sample_cells,
    umap_table,
)
from plkd.io.embedding import read_embedded_cells
from plkd.utils.logs import run_script
from plkd.utils.tables import write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    given, seed = snakemake.input, int(snakemake.wildcards.seed)
    embedded = read_embedded_cells(given.embedding)
    chosen = sample_cells(embedded.n_obs, MAPPED_CELLS, seed)
    cells = embedded.obs.iloc[chosen]
    maps = {
        "teacher": umap_table(cells, embedded.X[chosen], seed),
        "pca": umap_table(
            cells, principal_components(given.reference, given.query, chosen, seed), seed
        ),
    }
    for space, table in maps.items():
        write_tsv(table, snakemake.output[space], digits=6)  # as many as a float32 has


if __name__ == "__main__":
    run_script(main, snakemake)
