"""Predict the query's labels with a trained model, and embed its cells, and the reference's.

A large query is predicted in parts, which are put together again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from plkd.io.embedding import read_embedded_cells, write_embedding
from plkd.model.adaptation import Adaptation
from plkd.model.trained_model import load_model
from plkd.pipeline.measured import measured
from plkd.prediction.predict import embed_prepared, parts_of, predict_prepared
from plkd.prediction.table import read_predictions, write_predictions
from plkd.preparation.prepared import PreparedCells
from plkd.utils.devices import choose_device
from plkd.utils.files import read_json
from plkd.utils.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> dict[str, int]:
    model = load_model(Path(snakemake.input.model).parent).require(snakemake.wildcards.model)
    # what only puts parts together asks for no GPU, and runs where there is none
    only_gathers = snakemake.input.get("parts") and not snakemake.input.get("reference")
    wish = "cpu" if only_gathers else snakemake.params.device
    device = choose_device(wish, threads=snakemake.threads)
    query = PreparedCells.read(snakemake.input.query)
    n_passed = 0 if snakemake.input.get("parts") else query.n_cells
    part = snakemake.wildcards.get("scatteritem")  # "2-of-8"
    if part:
        number, n_parts = map(int, part.split("-of-"))
        predictions, embedding = predict_prepared(
            model,
            query,
            adaptation=Adaptation.from_dict(read_json(snakemake.input.adaptation, made_by="adapt")),
            rows=parts_of(query.n_cells, n_parts)[number - 1],
            device=device,
        )
        n_passed = len(predictions)
    elif snakemake.input.get("parts"):
        predictions, embedding = gathered(snakemake.input.parts, snakemake.input.embedded, query)
    else:
        predictions, embedding = predict_prepared(model, query, device=device)
    write_predictions(predictions, snakemake.output.predictions)
    sides = {"query": (predictions["cell_id"], embedding)}
    if snakemake.input.get("reference"):
        reference = PreparedCells.read(snakemake.input.reference)
        embedding = embed_prepared(model, reference, device=device)
        n_passed += reference.n_cells
        sides = {"reference": (reference.cell_ids.to_series(), embedding), **sides}
    write_embedding(sides, snakemake.output.embedding)
    return {"n_query": len(predictions), "n_passed": n_passed}


def gathered(
    parts: Sequence[str], embedded: Sequence[str], query: PreparedCells
) -> tuple[pd.DataFrame, np.ndarray]:
    """Predictions and embedding of all cells of a query, in its order, from those of its parts."""
    tables = [read_predictions(path, made_by="predict_part") for path in parts]
    predictions = pd.concat(tables, ignore_index=True)
    sides = [read_embedded_cells(path) for path in embedded]
    places = pd.concat([side.obs for side in sides], ignore_index=True).reset_index(names="place")
    order = query.in_order(places, "the embeddings of the parts")["place"]
    whole = np.concatenate([side.X for side in sides])[order]
    return query.in_order(predictions, "the predictions of the parts"), whole


if __name__ == "__main__":
    run_script(measured(main), snakemake)
