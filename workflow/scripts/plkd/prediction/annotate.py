"""Put labels on cells: predictions in sparse chunks, and an annotated copy of the query.

The query is never dense as a whole: a chunk of rows is read, normalised, brought to the model's
genes and predicted. What grows with the number of cells is the prediction table and the embedding.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem, write_elem
from scipy import sparse

from plkd import __version__
from plkd.errors import InputError
from plkd.io.cells import detect_reader, read_cells, read_obs
from plkd.io.genes import GeneOverlap
from plkd.io.stores import modality_group, open_hdf5, open_store, read_annotations, readable
from plkd.model.trained_network import TrainedNetwork
from plkd.prediction.model_input import CHUNK_CELLS, MINIMUM_OVERLAP, model_input
from plkd.prediction.table import (
    label_names,
    label_probabilities,
    prediction_sets,
    prediction_table,
)
from plkd.preparation.prepared import PreparedCells
from plkd.settings.datasets import AS_IT_IS, ReadingOptions
from plkd.utils.files import whole_file
from plkd.utils.progress import ProgressBar


def predict_file(
    model: TrainedNetwork,
    query: str | Path,
    *,
    device: str = "cpu",
    chunk_cells: int = CHUNK_CELLS,
    minimum_overlap: float = MINIMUM_OVERLAP,
    progress: bool = True,
    reading: ReadingOptions = AS_IT_IS,
) -> tuple[pd.DataFrame, np.ndarray, GeneOverlap]:
    """Predict the labels of a file of cells as it comes: counts or logged, genes in any order.

    Parameters
    ----------
    model
        A Teacher or a Student.
    query
        File or folder of cells.
    device
        A torch device.
    chunk_cells
        Cells in memory at a time.
    minimum_overlap
        Smallest share of the model's genes that the query must have.
    progress
        Show a progress bar.
    reading
        How to read the query, see :func:`plkd.io.cells.open_cells`.

    Returns
    -------
    predictions
        Prediction table, one row per cell in the order of the file.
    embedding
        float32 array of shape (cells, width).
    overlap
        Which genes of the model the query has.

    Raises
    ------
    InputError
        If the file cannot be read, its values cannot be normalised, it has no cells, or too few of
        the model's genes.
    """
    with model_input(query, model, reading, minimum_overlap=minimum_overlap) as cells:
        chunks = cells.chunks(chunk_cells)
        predictions, embedding = _predict(model, cells.obs.index, chunks, device, progress)
        overlap = cells.overlap
    return predictions, embedding, overlap


def predict_prepared(
    model: TrainedNetwork, cells: str | Path, *, device: str = "cpu", progress: bool = True
) -> tuple[pd.DataFrame, np.ndarray]:
    """Predict the labels of a prepared file, whose values and genes are the model's already.

    Returns
    -------
    predictions, embedding
        As of :func:`predict_file`.
    """
    prepared = PreparedCells.read(cells)
    prepared.require_genes(model.genes)
    return _predict(model, prepared.cell_ids, prepared.chunks(), device, progress)


def write_embedding(sides: Mapping[str, tuple[pd.Series, np.ndarray]], output: str | Path) -> None:
    """Write embeddings of cells as one h5ad.

    Parameters
    ----------
    sides
        Cell ids and embedding of every role (reference, query), one below the other in the file.
    output
        h5ad: X float32 (cells, width), obs `role` and `cell_id`.
    """
    role = np.repeat(list(sides), [len(ids) for ids, _ in sides.values()])
    cell_ids = pd.concat([ids for ids, _ in sides.values()], ignore_index=True)
    stacked = np.vstack([embedding for _, embedding in sides.values()])
    # A cell id may occur on both sides, so the index is the position.
    index = np.arange(len(stacked)).astype(str)
    obs = pd.DataFrame({"role": pd.Categorical(role), "cell_id": cell_ids.to_numpy()}, index=index)
    with whole_file(output) as temporary:
        ad.AnnData(stacked, obs=obs).write_h5ad(temporary)


def annotate_file(
    model: TrainedNetwork,
    query: str | Path,
    output: str | Path,
    *,
    device: str = "cpu",
    chunk_cells: int = CHUNK_CELLS,
    progress: bool = True,
    reading: ReadingOptions = AS_IT_IS,
) -> pd.DataFrame:
    """Predict the labels of a file of cells and write an annotated copy of it.

    The input is not touched. Parameters and errors are those of :func:`predict_file` and
    :func:`write_annotated`; returns the prediction table.
    """
    if Path(output).resolve() == Path(query).resolve():
        raise InputError(f"'{output}' is the query itself: choose another name for the output.")
    predictions, embedding, overlap = predict_file(
        model, query, device=device, chunk_cells=chunk_cells, progress=progress, reading=reading
    )
    write_annotated(
        query,
        output,
        predictions,
        embedding,
        rows=read_obs(query, reading).index.get_indexer(pd.Index(predictions["cell_id"])),
        about=_about(model, overlap),
        reading=reading,
    )
    return predictions


def write_annotated(
    query: str | Path,
    output: str | Path,
    predictions: pd.DataFrame,
    embedding: np.ndarray,
    *,
    umap: np.ndarray | None = None,
    rows: np.ndarray | None = None,
    about: dict[str, Any] | None = None,
    reading: ReadingOptions = AS_IT_IS,
) -> None:
    """Write a copy of a file of cells with labels, whole or not at all.

    An h5ad keeps everything it holds; so does an h5mu, whose modality is annotated. Other formats
    become an h5ad of matrix, cells and genes. Added are ``obs['plkd_label']``,
    ``plkd_confidence``, ``plkd_margin``, ``plkd_entropy``, ``plkd_unknown``,
    ``plkd_prediction_set`` (labels joined by ``" | "``), ``obsm['X_plkd']``,
    ``obsm['plkd_probabilities']`` and ``uns['plkd']`` with the order of the labels.

    Parameters
    ----------
    query
        The file that was predicted.
    output
        The h5ad (of an h5mu, the h5mu) to write.
    predictions, embedding
        One row per cell.
    umap
        Places of the cells on a map, (cells, 2), for ``obsm['X_plkd_umap']``.
    rows
        Rows of the file that were predicted, in the order of `predictions`; None for all.
    about
        Goes into ``uns['plkd']``.
    reading
        How to read the query, see :func:`plkd.io.cells.open_cells`.
    """
    query = Path(query)
    reader = detect_reader(query) if reading.reader == "auto" else reading.reader
    obsm = {"X_plkd": embedding, "plkd_probabilities": label_probabilities(predictions)}
    if umap is not None:
        obsm["X_plkd_umap"] = umap
    uns = {**(about or {}), "labels": np.array(label_names(predictions), dtype=object)}
    added = _Added(_obs_columns(predictions), obsm, uns)
    with whole_file(output) as temporary:
        if reader in ("h5ad", "h5mu"):
            _copy_store(query, temporary, rows, reading.modality, added)
        else:
            cells = read_cells(query, reading)
            _add_to(cells if rows is None else cells[rows].copy(), added).write_h5ad(temporary)


def label_table(predictions: pd.DataFrame) -> pd.DataFrame:
    """Count the cells of every predicted label, most frequent first.

    Returns
    -------
    DataFrame
        ``label``, ``cells``, ``share`` of all cells, ``median_confidence``, and how many of the
        cells are flagged ``unknown``.
    """
    groups = predictions.groupby("label", sort=False)
    table = groups.agg(
        cells=("cell_id", "size"),
        median_confidence=("confidence", "median"),
        unknown=("unknown", "sum"),
    )
    table.insert(1, "share", table["cells"] / len(predictions))
    return table.sort_values("cells", ascending=False, kind="stable").reset_index()


def _predict(
    model: TrainedNetwork,
    cell_ids: pd.Index,
    chunks: Iterable[tuple[np.ndarray, sparse.csr_matrix]],
    device: str,
    progress: bool,
) -> tuple[pd.DataFrame, np.ndarray]:
    if len(cell_ids) == 0:
        raise InputError("the query has no cells.")
    predicted: list[np.ndarray] = []
    probabilities: list[np.ndarray] = []
    embeddings: list[np.ndarray] = []
    model = model.to(device)
    bar = ProgressBar(total=len(cell_ids), desc="annotating", unit="cell", disable=not progress)
    with bar:
        for rows, chunk in chunks:
            predicted.append(rows)
            probability, embedding = model.predict(chunk)
            probabilities.append(probability)
            embeddings.append(embedding)
            bar.update(chunk.shape[0])
    table = prediction_table(
        cell_ids[np.concatenate(predicted)],
        model.labels,
        np.concatenate(probabilities),
        unknown_threshold=model.calibration.unknown_threshold,
        conformal_threshold=model.calibration.conformal_threshold,
    )
    return table, np.concatenate(embeddings)


def _about(model: TrainedNetwork, overlap: GeneOverlap) -> dict[str, Any]:
    return {
        "version": __version__,
        "model": model.kind,
        "gene_overlap": overlap.share,
        "unknown_threshold": model.calibration.unknown_threshold,
    }


def _obs_columns(predictions: pd.DataFrame) -> pd.DataFrame:
    sets = prediction_sets(predictions).to_pylist()
    return pd.DataFrame(
        {
            "plkd_label": pd.Categorical(
                predictions["label"].astype(str), categories=label_names(predictions)
            ).remove_unused_categories(),
            "plkd_confidence": predictions["confidence"].to_numpy(),
            "plkd_margin": predictions["margin"].to_numpy(),
            "plkd_entropy": predictions["entropy"].to_numpy(),
            "plkd_unknown": predictions["unknown"].to_numpy(),
            "plkd_prediction_set": [" | ".join(labels) for labels in sets],
        }
    )


@dataclass(frozen=True)
class _Added:
    """What an annotated copy has more than the query."""

    obs: pd.DataFrame
    obsm: dict[str, np.ndarray]
    uns: dict[str, Any]


def _copy_store(
    query: Path, copy: Path, rows: np.ndarray | None, modality: str | None, added: _Added
) -> None:
    """Copy an h5ad or h5mu, all of its cells or some."""
    with open_hdf5(query) as store:
        group = modality_group(store, query, modality)
    with open_store(query, modality) as store:
        n_cells = len(read_annotations(store, query, use_raw=False)[0])
    if rows is None or np.array_equal(rows, np.arange(n_cells)):
        shutil.copyfile(query, copy)
        _add_in_place(copy, group, added)
    elif group is None:
        _add_to(ad.read_h5ad(query)[rows].copy(), added).write_h5ad(copy)
    else:
        _some_of_several(query, group.removeprefix("mod/"), rows, added).write_h5mu(copy)


def _some_of_several(query: Path, modality: str, rows: np.ndarray, added: _Added) -> Any:
    """Some cells of a modality; of the other modalities the values of the same cells."""
    import mudata

    with readable(query):
        everything = mudata.read_h5mu(query)
    place_of_row = np.argsort(everything.obsmap[modality].ravel(), kind="stable")
    n_absent = everything.n_obs - everything.mod[modality].n_obs  # these have 0 in obsmap
    chosen = everything[place_of_row[n_absent:][rows]].copy()
    _add_to(chosen.mod[modality], added)
    return chosen


def _add_to(cells: ad.AnnData, added: _Added) -> ad.AnnData:
    for name, values in added.obs.items():
        cells.obs[name] = values.to_numpy() if name != "plkd_label" else values.array
    cells.obsm.update(added.obsm)
    cells.uns["plkd"] = added.uns
    return cells


def _add_in_place(path: Path, group: str | None, added: _Added) -> None:
    """Add to an h5ad, or to a modality of an h5mu, without reading its matrices."""
    with h5py.File(path, "r+") as file:
        store = file if group is None else file[group]
        table = read_elem(store["obs"])
        for name, values in added.obs.items():
            table[name] = values.array
        write_elem(store, "obs", table)
        for name in ("obsm", "uns"):
            if name not in store:
                write_elem(store, name, {})
        for name, array in added.obsm.items():
            write_elem(store, f"obsm/{name}", array)
        write_elem(store, "uns/plkd", added.uns)
