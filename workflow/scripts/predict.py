"""Predict the query's labels with a trained model, and embed its cells, and the reference's."""

from pathlib import Path
from typing import TYPE_CHECKING

from plkd.model.trained_model import load_model
from plkd.prediction.predict import embed_prepared, predict_prepared, write_embedding
from plkd.prediction.table import write_predictions
from plkd.preparation.prepared import PreparedCells
from plkd.utils.devices import choose_device
from plkd.utils.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    model = load_model(Path(snakemake.input.model).parent).require(snakemake.wildcards.model)
    device = choose_device(snakemake.params.device, threads=snakemake.threads)
    predictions, embedding = predict_prepared(
        model, PreparedCells.read(snakemake.input.query), device=device
    )
    write_predictions(predictions, snakemake.output.predictions)
    sides = {"query": (predictions["cell_id"], embedding)}
    if snakemake.input.get("reference"):
        reference = PreparedCells.read(snakemake.input.reference)
        embedding = embed_prepared(model, reference, device=device)
        sides = {"reference": (reference.cell_ids.to_series(), embedding), **sides}
    write_embedding(sides, snakemake.output.embedding)


if __name__ == "__main__":
    run_script(main, snakemake)
