"""Fetch one published file to where the pipeline expects it."""

from typing import TYPE_CHECKING

from plkd.download import fetch
from plkd.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    url = snakemake.params.url
    # The input of `repository:FILE` is that file, wherever Snakemake keeps the repository.
    file = url.removeprefix("repository:")
    root = snakemake.input[0].removesuffix(file) if file != url else None
    fetch(
        url,
        snakemake.output[0],
        sha256=snakemake.params.sha256,
        mirrors=snakemake.params.mirrors,
        repository=root,
    )


if __name__ == "__main__":
    run_script(main, snakemake)
