"""Reference and query in one space: samples of cells, principal components, UMAP, scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plkd.errors import InputError
from plkd.evaluation.metrics import embedding_metrics
from plkd.io.embedding import read_embedded_cells
from plkd.preparation.prepared import PreparedCells
from plkd.utils.neighbours import add_neighbours
from plkd.utils.tables import Columns, read_tsv

UMAP_COLUMNS: Columns = {"cell_id": str, "role": str, "umap1": float, "umap2": float}
"""Columns of a map; a cell is named by its role and its id."""
EMBEDDING_COLUMNS: Columns = {
    "space": str, "cells": str, "mixed": str, "n_cells": int, "cell_type_asw": float,
    "cell_type_asw_scaled": float, "batch_asw": float, "graph_connectivity": float,
}  # fmt: skip
"""Columns of :func:`score_spaces`."""
MAPPED_CELLS = 20_000
"""Of more cells so many are mapped; more would not be told apart on a map."""


def read_cells_of_run(
    reference: str | Path, query: str | Path, query_labels: pd.DataFrame
) -> pd.DataFrame:
    """List all cells of a run, the reference's first; of the prepared files only `obs` is read.

    Parameters
    ----------
    reference, query
        Prepared files.
    query_labels
        Columns `cell_id` and `label`: the truth (evaluation only) or a prediction table.

    Returns
    -------
    DataFrame
        `cell_id`, `role` (reference or query), `batch` (str) and `label` (null where there is
        none), in the order of the two files.

    Raises
    ------
    InputError
        If `query_labels` is of other cells than the query.
    """
    labelled, asked = PreparedCells.read(reference), PreparedCells.read(query)
    of_query = asked.in_order(query_labels, "the truth or predictions")["label"]
    parts = {
        "reference": (labelled.obs, labelled.obs["label"]),
        "query": (asked.obs, of_query),
    }
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "cell_id": obs.index.astype(str),
                    "role": role,
                    "batch": obs["batch"].astype(str).to_numpy(),
                    "label": label.astype(object).to_numpy(),
                }
            )
            for role, (obs, label) in parts.items()
        ],
        ignore_index=True,
    )


def sample_cells(n_cells: int, max_cells: int, seed: int) -> NDArray[np.intp]:
    """Positions of at most `max_cells` of `n_cells` cells, drawn at random, in increasing order."""
    if n_cells <= max_cells:
        return np.arange(n_cells)
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(n_cells, max_cells, replace=False))


def principal_components(
    reference: str | Path, query: str | Path, cells: NDArray[np.intp], seed: int, n: int = 50
) -> NDArray[np.float32]:
    """Principal components of some cells of the prepared reference and query together.

    Parameters
    ----------
    reference, query
        Prepared files (log-normalised, the same genes).
    cells
        Positions in the list of all cells, reference first, in increasing order.
    seed
        Of the solver.
    n
        Number of components, fewer if there are fewer cells or genes.

    Returns
    -------
    Array of shape (len(cells), n), float32
    """
    import scanpy as sc

    labelled, asked = PreparedCells.read(reference), PreparedCells.read(query)
    inside = cells < labelled.n_cells
    parts = {
        "reference": _some_cells(labelled, cells[inside]),
        "query": _some_cells(asked, cells[~inside] - labelled.n_cells),
    }
    # Names of both files may coincide.
    joint = ad.concat({k: part for k, part in parts.items() if part.n_obs}, index_unique="-")
    sc.pp.pca(joint, n_comps=min(n, *(size - 1 for size in joint.shape)), random_state=seed)
    return np.asarray(joint.obsm["X_pca"], dtype=np.float32)


def umap_coordinates(embedding: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """UMAP of an embedding (scanpy, 15 neighbours): array of shape (n_cells, 2)."""
    import scanpy as sc

    adata = ad.AnnData(obs=pd.DataFrame(index=np.arange(len(embedding)).astype(str)))
    adata.obsm["X_emb"] = embedding
    add_neighbours(adata, "X_emb", seed)
    sc.tl.umap(adata, random_state=seed)
    return np.asarray(adata.obsm["X_umap"], dtype=np.float32)


def place_between(
    embedding: NDArray[np.float32],
    mapped: NDArray[np.float32],
    places: NDArray[np.float32],
    neighbours: int = 5,
) -> NDArray[np.float32]:
    """Put cells on a map between the nearest of those that are on it.

    Parameters
    ----------
    embedding
        Of the cells to place, (cells, width).
    mapped, places
        Embedding, and place on the map, of the cells that have one: (mapped, width), (mapped, 2).
    neighbours
        How many are looked at; the nearer ones weigh more.

    Returns
    -------
    float32 array (cells, 2)
    """
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=min(neighbours, len(mapped))).fit(mapped)
    distance, nearest = index.kneighbors(embedding)
    # by the distance to the furthest of them, so that the unit of the embedding does not matter
    weight = np.exp(-3.0 * distance / (distance[:, -1:] + 1e-12))
    weight /= weight.sum(axis=1, keepdims=True)
    return np.einsum("ck,ckd->cd", weight, places[nearest]).astype(np.float32)


def read_embedding(path: str | Path, cells: pd.DataFrame) -> NDArray[np.float32]:
    """Read an embedding of all cells of a run and check that it is of these cells.

    Parameters
    ----------
    path
        h5ad, X of shape (n_cells, n_dimensions), obs `role` and `cell_id`.
    cells
        All cells of the run (:func:`read_cells_of_run`).

    Raises
    ------
    InputError
        If the rows are not `cells`, in their order.
    """
    return _of_run(read_embedded_cells(path), cells, path)


def read_spaces(paths: Iterable[str | Path], cells: pd.DataFrame) -> dict[str, NDArray[np.float32]]:
    """Read embeddings of all cells of a run by several methods; the name of a file is its method's.

    A method that had no result, whose embedding is of no cell, is left out.
    """
    embedded = {path: read_embedded_cells(path) for path in paths}
    return {
        Path(path).stem: _of_run(adata, cells, path)
        for path, adata in embedded.items()
        if adata.n_obs
    }


def umap_table(cells: pd.DataFrame, embedding: NDArray[np.float32], seed: int) -> pd.DataFrame:
    """Map of an embedding.

    Parameters
    ----------
    cells
        `cell_id` and `role` of the cells.
    embedding
        Of shape (n_cells, n_dimensions).
    seed
        Of UMAP.

    Returns
    -------
    DataFrame
        Columns :data:`UMAP_COLUMNS`, in the order of the cells.
    """
    plane = umap_coordinates(embedding, seed)
    table = cells[["cell_id", "role"]].astype(str).reset_index(drop=True)
    return table.assign(umap1=plane[:, 0], umap2=plane[:, 1])


def read_umap(path: str | Path, cells: pd.DataFrame) -> NDArray[np.float32]:
    """Coordinates (n_cells, 2) of a map that must be of these cells.

    Raises
    ------
    InputError
        If the rows are not `cells`, in their order.
    """
    table = read_tsv(path, UMAP_COLUMNS, made_by="map_cells")
    _require_cells(table, cells, path)
    return table[["umap1", "umap2"]].to_numpy(dtype=np.float32)


def umap_of_query(path: str | Path, cell_ids: Sequence[str] | pd.Series) -> NDArray[np.float32]:
    """Coordinates (n_cells, 2) of cells of the query; NaN for those that were not mapped."""
    table = read_tsv(path, UMAP_COLUMNS, made_by="map_cells")
    query = table[table["role"] == "query"].set_index("cell_id")
    return query[["umap1", "umap2"]].reindex(list(cell_ids)).to_numpy(dtype=np.float32)


def stack_maps(maps: Mapping[str, NDArray[np.float32]], cells: pd.DataFrame) -> pd.DataFrame:
    """Put several maps of the same cells into one table.

    Parameters
    ----------
    maps
        Coordinates by the name of the space, each of shape (n_cells, 2).
    cells
        One row per cell, with any columns.

    Returns
    -------
    DataFrame
        `space`, `umap1`, `umap2` and the columns of `cells`; one row per space and cell.
    """
    parts = []
    for name, plane in maps.items():
        part = cells.reset_index(drop=True).copy()
        part.insert(0, "space", name)
        part.insert(1, "umap1", plane[:, 0])
        part.insert(2, "umap2", plane[:, 1])
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def score_spaces(
    spaces: Mapping[str, NDArray[np.float32]], cells: pd.DataFrame, seed: int
) -> pd.DataFrame:
    """Score several embeddings of the same cells, all cells together and the query alone.

    Parameters
    ----------
    spaces, cells, seed
        Embeddings by name, each of shape (n_cells, n_dimensions); `role`, `batch` and `label` of
        the cells; seed of a sample.

    Returns
    -------
    DataFrame
        `space`, `cells` (all or query), `mixed` (what plays the batch: `batch`, or `role` where all
        cells bear the same batch) and the scores of
        :func:`plkd.evaluation.metrics.embedding_metrics`.
    """
    rows = []
    subsets = {"all": np.ones(len(cells), bool), "query": (cells["role"] == "query").to_numpy()}
    for name, embedding in spaces.items():
        for subset, members in subsets.items():
            chosen = cells[members]
            mixed = "role" if subset == "all" and len(chosen["batch"].unique()) == 1 else "batch"
            scores = embedding_metrics(
                embedding[members], list(chosen["label"]), list(chosen[mixed]), seed=seed
            )
            scores["n_cells"] = int(scores["n_cells"])
            rows.append({"space": name, "cells": subset, "mixed": mixed, **scores})
    return pd.DataFrame(rows)


def _of_run(adata: ad.AnnData, cells: pd.DataFrame, path: str | Path) -> NDArray[np.float32]:
    """Values of an embedding that must be of these cells, as :func:`read_embedding` gives them."""
    _require_cells(adata.obs, cells, path)
    return np.asarray(adata.X, dtype=np.float32)


def _require_cells(found: pd.DataFrame, cells: pd.DataFrame, path: str | Path) -> None:
    """Raise unless a table has the ids and roles of these cells, row by row."""
    names = ["role", "cell_id"]
    if len(found) != len(cells) or not np.array_equal(
        found[names].astype(str).to_numpy(), cells[names].astype(str).to_numpy()
    ):
        raise InputError(
            f"'{path}' holds {len(found)} cells that are not, or not in this order, those of the "
            f"prepared files ({dict(cells['role'].value_counts())}; the reference's, then the "
            "query's). Delete it and run the pipeline again, which makes it anew."
        )


def _some_cells(prepared: PreparedCells, rows: NDArray[np.intp]) -> ad.AnnData:
    return ad.AnnData(
        prepared.take(rows),
        obs=prepared.obs.iloc[rows][[]],
        var=pd.DataFrame(index=prepared.genes),
    )
