"""Make one file of cells out of several published ones and what describes their cells."""

from typing import TYPE_CHECKING

from plkd.preparation.assemble import assemble
from plkd.utils.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    assemble(snakemake.params.cells, snakemake.output.cells, snakemake.output.report)


if __name__ == "__main__":
    run_script(main, snakemake)
