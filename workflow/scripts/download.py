"""Fetch one published file to where the pipeline expects it."""

from pathlib import Path
from typing import TYPE_CHECKING

from plkd.pipeline.download import Published, fetch
from plkd.utils.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    published = Published(**snakemake.params.source)
    # The input of `repository:FILE` is that file, wherever Snakemake keeps the repository.
    file = published.url.removeprefix("repository:")
    target = Path(snakemake.output[0])  # <resources>/datasets/<collection>/<file>
    fetch(
        published,
        target,
        repository=snakemake.input[0].removesuffix(file) if file != published.url else None,
        checksums=target.parents[2] / "checksums.tsv",
        offline_folder=snakemake.params.offline_folder,
    )


if __name__ == "__main__":
    run_script(main, snakemake)
