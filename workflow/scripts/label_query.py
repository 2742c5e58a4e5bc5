"""Label a file of cells with a finished model."""

from pathlib import Path
from typing import TYPE_CHECKING

from plkd.model.trained_model import load_model
from plkd.prediction.annotated_copy import annotate_file
from plkd.prediction.predict import provenance_of
from plkd.utils.devices import choose_device
from plkd.utils.logs import logger, run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    model = load_model(Path(snakemake.input.model).parent)
    summary = annotate_file(
        model.require("student"),
        snakemake.input.query,
        snakemake.output.annotated,
        table=snakemake.output.table,
        labels_only=snakemake.params.labels_only,
        device=choose_device(snakemake.params.device, threads=snakemake.threads),
        workers=snakemake.threads,
        provenance=provenance_of(model),
    )
    logger.info("%d cells, %d flagged unknown", summary.n_cells, summary.n_unknown)


if __name__ == "__main__":
    run_script(main, snakemake)
