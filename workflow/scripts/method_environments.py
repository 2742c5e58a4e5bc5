"""Make the environments of other methods: where there is a network, for where there is none."""

from typing import TYPE_CHECKING

from plkd.errors import InputError
from plkd.pipeline.environments import NotProvidedError, python_of
from plkd.utils.logs import logger, run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    failed = []
    for name, lock in zip(snakemake.params.names, snakemake.input.locks, strict=True):
        try:
            place = python_of(name, lock, snakemake.params.environments).parents[1]
            logger.info("'%s' is in '%s'", name, place)
        except NotProvidedError as error:
            failed.append(str(error))
    if failed:
        raise InputError("\n".join(failed))


if __name__ == "__main__":
    run_script(main, snakemake)
