"""Bring reference and query to one scale over the same genes, with the query's truth apart."""

from pathlib import Path
from typing import TYPE_CHECKING

from plkd.preparation.prepare import PreparedPaths, prepare_dataset
from plkd.utils.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    outputs = PreparedPaths(
        reference=Path(snakemake.output.reference),
        query=Path(snakemake.output.query),
        truth=Path(snakemake.output.truth),
        genes=Path(snakemake.output.genes),
        report=Path(snakemake.output.report),
    )
    dataset = dict(snakemake.params.dataset)
    for side in ("reference", "query"):
        table = snakemake.input.get(f"{side}_gene_table")
        if table:
            dataset[side] = {**dataset[side]}
            dataset[side]["gene_table"] = {**dataset[side]["gene_table"], "path": table}
    prepare_dataset(
        dataset,
        snakemake.input.reference,
        snakemake.input.get("query") or None,
        outputs,
    )


if __name__ == "__main__":
    run_script(main, snakemake)
