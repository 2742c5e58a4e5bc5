"""Fit the jury that the Student learns from, and judge it on held-out cells of the reference."""

from typing import TYPE_CHECKING

from plkd.model.cross_fitting import QUERY_CELLS, cross_fit
from plkd.model.reference import Reference
from plkd.pipeline.measured import measured
from plkd.preparation.prepared import PreparedCells
from plkd.settings.models import Settings, override
from plkd.utils.devices import choose_device
from plkd.utils.logs import run_script
from plkd.utils.tables import write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> dict[str, int]:
    cells = PreparedCells.read(snakemake.input.reference)
    query = PreparedCells.read(snakemake.input.query)
    evidence = cross_fit(
        Reference.from_names(
            cells.to_learn_from(snakemake.resources.mem_mb),
            cells.label_column,
            cells.genes,
            cells.obs["batch"],
            cells.spatial,
        ),
        override(Settings(), snakemake.params.settings, where="settings"),
        seed=int(snakemake.wildcards.seed),
        query=query.sample(QUERY_CELLS),
        device=choose_device(snakemake.params.device, threads=1),
        n_jobs=snakemake.threads,
    )
    evidence.save(snakemake.output.evidence)
    write_tsv(evidence.members, snakemake.output.members)
    return {"n_reference": cells.n_cells}


if __name__ == "__main__":
    run_script(measured(main), snakemake)
