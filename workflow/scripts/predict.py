"""Predict the query's labels with a trained model, and embed reference and query with it."""

from pathlib import Path
from typing import TYPE_CHECKING

from plkd.model.trained_model import load_model
from plkd.prediction.annotate import embed_prepared, predict_prepared
from plkd.prediction.table import write_predictions
from plkd.utils.devices import choose_device
from plkd.utils.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    model = load_model(Path(snakemake.input.model).parent).require(snakemake.wildcards.model)
    device = choose_device(snakemake.params.device, threads=snakemake.threads)
    predictions, embedding = predict_prepared(model, snakemake.input.query, device=device)
    write_predictions(predictions, snakemake.output.predictions)
    embed_prepared(
        model, snakemake.input.reference, embedding, snakemake.output.embedding, device=device
    )


if __name__ == "__main__":
    run_script(main, snakemake)
