"""Write the labels of a query on one page for a browser."""

from pathlib import Path
from typing import TYPE_CHECKING

from plkd.model.trained_model import load_model
from plkd.pages.query import page_content
from plkd.pages.sources import of_run
from plkd.pages.write import PageParts, write_page
from plkd.utils.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    given, names = snakemake.input, snakemake.wildcards
    model = load_model(Path(given.model).parent)
    query = of_run(
        model,
        name=f"{names.dataset} ({names.variant}, seed {names.seed})",
        prepared=given.prepared,
        predictions=given.predictions,
        embedding=given.embedding,
        umap=given.umap,
        truth=given.truth,
    )
    content = page_content(query, model, seed=int(names.seed))
    write_page(content, snakemake.output.page, PageParts(*given.parts))


if __name__ == "__main__":
    run_script(main, snakemake)
