"""A query with its labels: a file that is labelled here, or what a run of the pipeline made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plkd.errors import InputError
from plkd.evaluation.embeddings import (
    MAPPED_CELLS,
    place_between,
    sample_cells,
    umap_coordinates,
    umap_of_query,
)
from plkd.evaluation.tables import read_truth
from plkd.io.cells import CellSource, open_cells
from plkd.io.embedding import read_embedded_cells
from plkd.io.stores import open_store
from plkd.model.trained_model import Model
from plkd.pages.query import LabelledQuery
from plkd.prediction.annotated_copy import KEY_ADDED
from plkd.prediction.model_input import ModelInput, as_model_input
from plkd.prediction.predict import PredictedCells, model_for_prepared, predict_input
from plkd.prediction.table import read_predictions
from plkd.preparation.prepared import PreparedCells
from plkd.preparation.side import NO_MODEL_GENES
from plkd.settings.datasets import AS_IT_IS, ReadingOptions

MAP = f"X_{KEY_ADDED}_umap"
"""Where annotated copies of the pipeline have their map, in `obsm`."""
_FEWEST_MAPPED = 3  # UMAP needs neighbours


@contextmanager
def label_file(
    query: CellSource,
    model: Model,
    reading: ReadingOptions = AS_IT_IS,
    *,
    batch_key: str | None = None,
    truth_key: str | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: bool = True,
) -> Iterator[LabelledQuery]:
    """Label the cells of a file, or an AnnData, and put them on a map, while it is open.

    The map is that in ``obsm['X_plkd_umap']`` where there is one; else a UMAP of at most
    :data:`plkd.evaluation.embeddings.MAPPED_CELLS` cells in the space of the Teacher. Cells that
    are not on the map are put between those that are, by the Student's embedding.

    Parameters
    ----------
    query
        Cells, annotated or not; they are labelled anew.
    model
        Labels them.
    reading
        How to read the query.
    batch_key, truth_key
        Columns of obs with batches, and with labels that are known.
    seed
        Of the map.
    device
        A torch device.
    progress
        Show a progress bar.

    Raises
    ------
    InputError
        If the query cannot be read, has no such column, or too few of the model's genes.
    """
    wanted = [key for key in (batch_key, truth_key) if key is not None]
    student = model.require("student")
    with open_cells(query, reading, obs_columns=wanted) as cells:
        given = as_model_input(cells, student, batch_key=batch_key)
        batches = _column(given.obs, batch_key, "not known", given.name)
        truth = _column(given.obs, truth_key, "", given.name)
        predicted = predict_input(given, device=device, progress=progress)
        rows = predicted.source_rows
        places = _map_of(cells.path if not isinstance(query, ad.AnnData) else query, rows, reading)
        if places is None:
            places = _new_map(given, rows, model, predicted.embedding, seed)
        yield LabelledQuery(
            name="the query" if isinstance(query, ad.AnnData) else Path(query).name,
            cells=given,
            network=given.network,
            rows=rows,
            table=predicted.table,
            places=_all_placed(places, predicted.embedding),
            gene_overlap=given.overlap.share,
            batches=None if batches is None else batches[rows],
            truth=None if truth is None else truth[rows],
            left_out=_counted(predicted.left_out),
        )


def of_run(
    model: Model,
    *,
    name: str,
    prepared: str | Path,
    predictions: str | Path,
    embedding: str | Path,
    umap: str | Path,
    truth: str | Path,
) -> LabelledQuery:
    """Take the query of a run of the pipeline, as its rules left it.

    Parameters
    ----------
    model
        Of the run.
    name
        What the page calls the query.
    prepared, predictions, embedding, umap, truth
        ``prepared/query.h5ad``, ``predictions/student.parquet``, ``embeddings/student.h5ad``,
        ``embeddings/umap.tsv``, ``prepared/truth.parquet``.
    """
    cells = PreparedCells.read(prepared)
    cells.require_genes(model.genes)
    table = cells.in_order(read_predictions(predictions, made_by="predict"), f"'{predictions}'")
    known = cells.in_order(read_truth(truth), f"'{truth}'")["label"]
    embedded = read_embedded_cells(embedding)
    embedded = embedded[embedded.obs["role"] == "query"]
    order = embedded.obs.reset_index(drop=True).reset_index(names="place")
    order = cells.in_order(order, f"'{embedding}'")["place"].to_numpy()
    whole = PredictedCells(
        table,
        np.asarray(embedded.X[order], dtype=np.float32),
        np.arange(cells.n_cells),
        cells.source_ids,
        cells.left_out,
    ).without(cells.genes_per_cell() == 0, NO_MODEL_GENES)
    rows = whole.source_rows
    places = umap_of_query(umap, whole.table["cell_id"])
    return LabelledQuery(
        name=name,
        cells=cells,
        network=model_for_prepared(model.require("student"), cells)[0],
        rows=rows,
        table=whole.table,
        places=_all_placed(places, whole.embedding),
        gene_overlap=float(cells.measured.mean()),
        batches=cells.batches[rows].astype(object),
        truth=known.astype(object).where(known.notna(), "").to_numpy()[rows],
        left_out=_counted(whole.left_out),
    )


def _map_of(
    query: str | Path | ad.AnnData, rows: NDArray[np.intp], reading: ReadingOptions
) -> NDArray[np.float32] | None:
    """Places of cells on the map that a query brings; None if it has none."""
    if isinstance(query, ad.AnnData):
        found = query.obsm.get(MAP)
    elif Path(query).suffix in (".h5ad", ".h5mu", ".zarr"):
        with open_store(Path(query), reading.modality) as store:
            found = store[f"obsm/{MAP}"][:] if "obsm" in store and MAP in store["obsm"] else None
    else:
        found = None
    if found is None:
        return None
    places = np.asarray(found, dtype=np.float32)[rows]
    enough = np.isfinite(places).all(axis=1).sum() >= _FEWEST_MAPPED
    return places if enough else None


def _new_map(
    cells: ModelInput,
    rows: NDArray[np.intp],
    model: Model,
    embedding: NDArray[np.float32],
    seed: int,
) -> NDArray[np.float32]:
    """UMAP of some cells in the space of the Teacher, or of the Student; NaN for the others."""
    places = np.full((len(rows), 2), np.nan, dtype=np.float32)
    chosen = sample_cells(len(rows), MAPPED_CELLS, seed)
    if len(chosen) < _FEWEST_MAPPED:
        places[chosen] = np.arange(len(chosen))[:, None]
        return places
    space = embedding[chosen]
    if model.teacher is not None:
        teacher = replace(model.teacher, offsets=cells.network.offsets)
        space = teacher.predict(cells.take(rows[chosen]), cells.batches[rows[chosen]])[1]
    places[chosen] = umap_coordinates(space, seed)
    return places


def _all_placed(places: NDArray[np.float32], embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same, cells without a place put between those that have one."""
    mapped = np.isfinite(places).all(axis=1)
    if mapped.all() or not mapped.any():
        return places
    whole = places.copy()
    whole[~mapped] = place_between(embedding[~mapped], embedding[mapped], places[mapped])
    return whole


def _column(obs: pd.DataFrame, key: str | None, missing: str, name: str) -> NDArray[Any] | None:
    """Texts of a column of obs."""
    if key is None:
        return None
    if key not in obs:
        raise InputError(
            f"'{name}': obs has no column '{key}'; its columns are: "
            f"{', '.join(map(str, obs.columns)) or 'none'}."
        )
    values = obs[key]
    return values.astype(object).where(values.notna(), missing).astype(str).to_numpy(dtype=object)


def _counted(left_out: pd.DataFrame) -> dict[str, int]:
    return {str(reason): int(n) for reason, n in left_out["reason"].value_counts().items()}
