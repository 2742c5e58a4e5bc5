"""Put reference and query into one space by one of the methods of plkd.evaluation.integrators."""

from typing import TYPE_CHECKING

from plkd.evaluation.integrators import integrate
from plkd.prediction.predict import write_embedding
from plkd.utils.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    sides = integrate(
        snakemake.wildcards.integrator, snakemake.input.reference, snakemake.input.query
    )
    write_embedding(sides, snakemake.output.embedding)


if __name__ == "__main__":
    run_script(main, snakemake)
