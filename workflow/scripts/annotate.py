"""Write a copy of the query with the Student's labels."""

from pathlib import Path
from typing import TYPE_CHECKING

from plkd.evaluation.embeddings import umap_of_query
from plkd.io.cells import open_cells
from plkd.io.embedding import read_embedded_cells
from plkd.model.trained_model import load_model
from plkd.prediction.annotated_copy import write_annotated
from plkd.prediction.annotation import OnSlide, annotation_of
from plkd.prediction.further import FurtherLabels, surroundings_for
from plkd.prediction.label_tree import LabelTree
from plkd.prediction.predict import (
    PredictedCells,
    about_labels,
    model_for_prepared,
    provenance_of,
    warn_of_left_out,
)
from plkd.prediction.summary import label_table
from plkd.prediction.table import read_predictions
from plkd.preparation.prepared import PreparedCells
from plkd.preparation.side import NO_MODEL_GENES
from plkd.settings.datasets import SourceSettings
from plkd.utils.logs import run_script
from plkd.utils.tables import write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    model = load_model(Path(snakemake.input.model).parent)
    prepared = PreparedCells.read(snakemake.input.prepared)
    predictions = prepared.in_order(
        read_predictions(snakemake.input.predictions, made_by="predict"),
        f"'{snakemake.input.predictions}'",
    )
    embedded = read_embedded_cells(snakemake.input.embedding)
    embedded = embedded[embedded.obs["role"] == "query"]
    place = embedded.obs.reset_index(drop=True).reset_index(names="place")
    place = prepared.in_order(place, f"'{snakemake.input.embedding}'")["place"]
    network, seen = model_for_prepared(model.require("student"), prepared)
    predicted = PredictedCells(
        predictions,
        embedded.X[place],
        prepared.source_rows,
        prepared.source_ids,
        prepared.left_out,
        about_labels(
            network,
            gene_overlap=prepared.measured.mean(),
            depth=seen.depth,
            scale=str(prepared.about["scale"]["description"]),
            provenance=provenance_of(model),
        ),
    ).without(prepared.genes_per_cell() == 0, NO_MODEL_GENES)
    warn_of_left_out(predicted.left_out["reason"].value_counts().to_dict())
    write_tsv(label_table(predicted.table), snakemake.output.labels)
    source = SourceSettings.from_config(snakemake.params.source)
    umap = umap_of_query(snakemake.input.umap, predicted.table["cell_id"])
    tree = snakemake.input.get("label_tree")
    asked = dict(snakemake.params.further)
    further = FurtherLabels(
        tree=LabelTree.read(tree, model.labels) if tree else None,
        slide=surroundings_for(asked.pop("slide"), network),
        **asked,
    )
    obs = on_slide = None
    if further.has_slide:
        on_slide = OnSlide.of(prepared.require_spatial(), prepared.obs["batch"], prepared.name)
        on_slide = on_slide.at(prepared.source_rows, predicted.rows_of_all.max() + 1)
    if further.groups is not None:
        named = [*source.obs_columns, further.groups]
        with open_cells(snakemake.input.query, source.reading, obs_columns=named) as cells:
            obs = cells.obs
    write_annotated(
        snakemake.input.query,
        snakemake.output.annotated,
        annotation_of(predicted, obsm={"umap": umap}, further=further, obs=obs, on_slide=on_slide),
        source.reading,
        obs_columns=source.obs_columns,
    )


if __name__ == "__main__":
    run_script(main, snakemake)
