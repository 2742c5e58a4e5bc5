"""Fetch one published file to where the pipeline expects it."""

from typing import TYPE_CHECKING

from plkd.download import Published, fetch
from plkd.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    published = Published(**snakemake.params.source)
    # The input of `repository:FILE` is that file, wherever Snakemake keeps the repository.
    file = published.url.removeprefix("repository:")
    fetch(
        published,
        snakemake.output[0],
        repository=snakemake.input[0].removesuffix(file) if file != published.url else None,
        checksums=snakemake.params.checksums,
        offline_folder=snakemake.params.offline_folder,
    )


if __name__ == "__main__":
    run_script(main, snakemake)
