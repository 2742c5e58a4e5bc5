"""Put labels on cells, in sparse chunks.

Cells are never dense as a whole: a chunk of rows is read, normalised, brought to the model's genes
and predicted. What grows with the number of cells is the prediction table and the embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from plkd import __version__
from plkd.errors import InputError
from plkd.io.cells import CellFile, CellSource, open_cells
from plkd.model.adaptation import Adaptation, adapt, rows_to_look_at
from plkd.model.novelty import BETWEEN, FAR, entropy
from plkd.model.trained_model import Model
from plkd.model.trained_network import TrainedNetwork
from plkd.prediction.model_input import CHUNK_CELLS, MINIMUM_OVERLAP, ModelInput, as_model_input
from plkd.prediction.table import (
    PROBABILITY,
    UnknownCells,
    label_names,
    prediction_table,
)
from plkd.preparation.prepared import PreparedCells
from plkd.preparation.side import (
    OTHER_SCALE,
    no_cells_left_out,
    on_outlying,
    unique_cell_ids,
)
from plkd.settings.datasets import AS_IT_IS, ReadingOptions
from plkd.utils.devices import one_thread_each
from plkd.utils.files import whole_file
from plkd.utils.hdf5 import write_h5ad
from plkd.utils.logs import logger
from plkd.utils.parallel import in_order
from plkd.utils.progress import ProgressBar


@dataclass(frozen=True)
class PredictedCells:
    """What a model says of the cells of a query.

    Attributes
    ----------
    table
        Prediction table, one row per labelled cell in the order of the query.
    embedding
        float32 array (labelled cells, width).
    source_rows, source_ids
        Place of each labelled cell in the query as it was published, and its name there.
    left_out
        Cells of which nothing can be said: `source_row`, `cell_id`, `reason`.
    about
        Where the labels come from, see :func:`about_labels`.
    """

    table: pd.DataFrame
    embedding: NDArray[np.float32]
    source_rows: NDArray[np.intp]
    source_ids: NDArray[np.object_]
    left_out: pd.DataFrame = field(default_factory=no_cells_left_out)
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows_of_all(self) -> NDArray[np.intp]:
        """Places in the query of the labelled cells, then of those that were left out."""
        return np.concatenate([self.source_rows, self.left_out["source_row"]]).astype(np.intp)

    def warn_of_left_out(self) -> None:
        """Count the cells of which nothing can be said, in a warning."""
        if len(self.left_out):
            reasons = self.left_out["reason"].value_counts()
            logger.warning(
                "%d cells get no label and are flagged unknown: %s",
                len(self.left_out),
                "; ".join(f"{n:,} {reason}" for reason, n in reasons.items()),
            )

    def table_of_all(self) -> pd.DataFrame:
        """Prediction table with a row for every cell of the query, in its order.

        Cells of which nothing can be said have no label, no numbers and no prediction set, are
        unknown, and have the reason.
        """
        others = pd.DataFrame(index=np.arange(len(self.left_out)), columns=self.table.columns)
        others = others.astype(
            {
                name: kind
                for name, kind in self.table.dtypes.items()
                if pd.api.types.is_float_dtype(kind)
            }
        )
        others["cell_id"] = self.left_out["cell_id"].to_numpy()
        others["unknown"], others["reason"] = True, self.left_out["reason"].to_numpy()
        others["label"] = None
        others["prediction_set"] = pd.Series(
            [[]] * len(others), dtype=self.table["prediction_set"].dtype
        )
        whole = pd.concat([self.table, others.astype({"unknown": bool})], ignore_index=True)
        return whole.iloc[np.argsort(self.rows_of_all, kind="stable")].reset_index(drop=True)

    def without(self, cells: NDArray[np.bool_], reason: str) -> PredictedCells:
        """The same, some labelled cells (a bool for each) left out for a reason."""
        left_out = pd.DataFrame(
            {
                "source_row": self.source_rows[cells],
                "cell_id": self.source_ids[cells],
                "reason": reason,
            }
        )
        return PredictedCells(
            self.table[~cells].reset_index(drop=True),
            self.embedding[~cells],
            self.source_rows[~cells],
            self.source_ids[~cells],
            pd.concat([self.left_out, left_out], ignore_index=True),
            self.about,
        )


def predict_cells(
    model: TrainedNetwork,
    query: CellSource,
    reading: ReadingOptions = AS_IT_IS,
    *,
    batch_key: str | None = None,
    device: str = "cpu",
    chunk_cells: int = CHUNK_CELLS,
    minimum_overlap: float = MINIMUM_OVERLAP,
    provenance: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> PredictedCells:
    """Predict the labels of cells as they come: counts or logged, genes in any order.

    Parameters
    ----------
    model
        A Teacher or a Student.
    query
        File or folder of cells, or an AnnData, which is not changed.
    reading
        How to read the query.
    batch_key
        Column of obs with the batches of the cells, see
        :func:`plkd.prediction.model_input.model_input`.
    device
        A torch device.
    chunk_cells
        Cells in memory at a time.
    minimum_overlap
        Smallest share of the model's genes that the query must have.
    provenance
        Goes into :attr:`PredictedCells.about`, see :func:`provenance_of`.
    progress
        Show a progress bar.

    Raises
    ------
    InputError
        If the query cannot be read, its values cannot be normalised, it has no cells with counts,
        or too few of the model's genes.
    """
    named = [] if batch_key is None else [batch_key]
    with open_cells(query, reading, obs_columns=named) as cells:
        return predict_opened(
            model,
            cells,
            batch_key=batch_key,
            device=device,
            chunk_cells=chunk_cells,
            minimum_overlap=minimum_overlap,
            provenance=provenance,
            progress=progress,
        )


def predict_opened(
    model: TrainedNetwork,
    cells: CellFile,
    *,
    batch_key: str | None = None,
    device: str = "cpu",
    chunk_cells: int = CHUNK_CELLS,
    minimum_overlap: float = MINIMUM_OVERLAP,
    provenance: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> PredictedCells:
    """As :func:`predict_cells`, of cells that are open already."""
    return predict_input(
        as_model_input(cells, model, batch_key=batch_key, minimum_overlap=minimum_overlap),
        device=device,
        chunk_cells=chunk_cells,
        provenance=provenance,
        progress=progress,
    )


def predict_input(
    given: ModelInput,
    *,
    device: str = "cpu",
    chunk_cells: int = CHUNK_CELLS,
    provenance: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> PredictedCells:
    """As :func:`predict_cells`, of cells that are brought to the model already."""
    model = given.network
    chunks = given.as_stored(chunk_cells)
    rows, said = _predict(model, given.batches, chunks, given.brought, device, progress)
    if not len(rows):
        raise InputError(f"'{given.name}': none of its {given.n_cells:,} cells has any counts.")
    ids = np.asarray(given.obs.index, dtype=object)
    without = np.setdiff1d(np.arange(given.n_cells), rows)
    reasons = given.reasons(without)
    odd = without[reasons == OTHER_SCALE]
    if len(odd):
        logger.warning("'%s': %s", given.name, on_outlying(ids[odd], given.scale))
    return PredictedCells(
        said.table(model, unique_cell_ids(given.obs.index[rows], given.name)),
        said.embedding,
        rows,
        ids[rows],
        pd.DataFrame({"source_row": without, "cell_id": ids[without], "reason": reasons}),
        about_labels(
            model,
            gene_overlap=given.overlap.share,
            depth=given.depth,
            scale=given.scale.describe(),
            provenance=provenance or {},
        ),
    )


def predict_prepared(
    model: TrainedNetwork, cells: PreparedCells, *, device: str = "cpu", progress: bool = True
) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """Predict the labels of a prepared query, whose values and genes are the model's already.

    Returns
    -------
    predictions
        Prediction table.
    embedding
        float32 array (cells, width).

    Raises
    ------
    InputError
        If the cells have other genes than the model.
    """
    cells.require_genes(model.genes)
    network = model_for_prepared(model, cells)[0]

    def filled(rows: NDArray[np.intp], chunk: sparse.csr_matrix) -> _Cells:
        return rows, model.filled(chunk, cells.measured)

    _, said = _predict(network, cells.batches, cells.chunks(), filled, device, progress)
    return said.table(network, cells.cell_ids), said.embedding


def model_for_prepared(
    model: TrainedNetwork, cells: PreparedCells
) -> tuple[TrainedNetwork, Adaptation]:
    """Give the network as it labels a prepared query, and what was seen in the query."""
    batches = cells.batches
    rows = rows_to_look_at(model, batches)
    some = model.filled(cells.take(rows), cells.measured)
    found = adapt(model, some, cells.measured, batches[rows])
    return found.of(model), found


def embed_prepared(
    model: TrainedNetwork, cells: PreparedCells, *, device: str = "cpu", progress: bool = True
) -> NDArray[np.float32]:
    """Embed prepared cells of a reference, float32 array (cells, width).

    Raises
    ------
    InputError
        If the cells have other genes than the model.
    """
    cells.require_genes(model.genes)

    def as_they_are(rows: NDArray[np.intp], chunk: sparse.csr_matrix) -> _Cells:
        return rows, chunk

    chunks = cells.chunks()
    return _predict(model, cells.batches, chunks, as_they_are, device, progress)[1].embedding


def about_labels(
    model: TrainedNetwork,
    *,
    gene_overlap: float,
    depth: float,
    scale: str,
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """What ``uns['plkd']`` says of the labels, from the pipeline and from the command alike.

    Parameters
    ----------
    model
        The network that gave them, its confidence as it was lowered for the query.
    gene_overlap
        Share of its genes that the query has.
    depth
        At which share of their counts cells of the reference would be like the query's, at most 1.
    scale
        What the values of the query were.
    provenance
        Where the model comes from, see :func:`provenance_of`.

    Returns
    -------
    dict
        `version`, `model` (student or teacher), `labels` in the order of the probabilities,
        `gene_overlap`, `depth`, `moved_by` (how far batches were moved onto the reference, the
        mean of their offsets' lengths), `temperature` (by which logits were divided),
        `unknown_above` (the score of flagged cells; 1 if none can be), `alpha`, `target_sum` (of
        the normalisation before log1p), `scale`, and the provenance.
    """
    return {
        "version": __version__,
        "model": model.kind,
        "labels": np.array(model.labels, dtype=object),
        "gene_overlap": float(gene_overlap),
        "depth": float(depth),
        "moved_by": 0.0 if model.offsets is None else model.offsets.mean_length,
        "temperature": model.calibration.temperature,
        "unknown_above": model.unknown_above,
        "alpha": model.calibration.alpha,
        "target_sum": model.normalisation.target_sum,
        "scale": scale,
        **provenance,
    }


def provenance_of(model: Model) -> dict[str, Any]:
    """Seed of a model, and data set and variant that it was trained on, where they are known."""
    known = {name: model.provenance.get(name) for name in ("dataset", "variant")}
    return {"seed": model.seed} | {name: str(value) for name, value in known.items() if value}


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
        write_h5ad(ad.AnnData(stacked, obs=obs), temporary)


def label_table(predictions: pd.DataFrame) -> pd.DataFrame:
    """Count the cells of every predicted label, most frequent first, and say what to expect.

    Returns
    -------
    DataFrame
        ``label``, ``cells``, ``share`` of all cells, ``median_confidence``, how many of the cells
        are flagged ``unknown``, ``expected_precision`` (the share of the cells that should be
        labelled rightly: the mean of their calibrated confidence), and which other label they are
        most likely to be: ``next_label`` with its mean probability, ``next_probability``.
    """
    groups = predictions.groupby("label", sort=False)
    table = groups.agg(
        cells=("cell_id", "size"),
        median_confidence=("confidence", "median"),
        unknown=("unknown", "sum"),
        expected_precision=("confidence", "mean"),
    )
    table.insert(1, "share", table["cells"] / len(predictions))
    names = label_names(predictions)
    means = groups[[PROBABILITY + name for name in names]].mean().set_axis(names, axis=1)
    own = means.columns.to_numpy() == means.index.to_numpy()[:, None]
    others = means.mask(own)
    if len(names) > 1:
        table["next_label"], table["next_probability"] = others.idxmax(axis=1), others.max(axis=1)
    else:
        table["next_label"], table["next_probability"] = None, np.nan
    return table.sort_values("cells", ascending=False, kind="stable").reset_index()


def predictions_of(
    model: TrainedNetwork,
    cell_ids: Sequence[str] | pd.Index,
    probabilities: NDArray[np.float32],
    distance: NDArray[np.float32] | None,
) -> pd.DataFrame:
    """Prediction table of what a network says of cells.

    Parameters
    ----------
    model
        The network.
    cell_ids
        Unique names.
    probabilities
        From :meth:`TrainedNetwork.predict`, (cells, labels).
    distance
        From :meth:`TrainedNetwork.distance`, (cells,), or None.
    """
    unknown = None
    if model.novelty is not None and distance is not None:
        doubt = entropy(probabilities)
        score = model.novelty.scores(distance, doubt)
        why = np.where(model.novelty.is_far(distance, doubt), FAR, BETWEEN)
        unknown = UnknownCells(score, np.where(score > model.unknown_above, why, ""))
    return prediction_table(
        cell_ids,
        model.labels,
        probabilities,
        unknown_threshold=model.calibration.unknown_threshold,
        unknown=unknown,
        conformal_threshold=model.calibration.conformal_threshold,
    )


_Cells = tuple[NDArray[np.intp], sparse.csr_matrix]
"""Places of cells, and their expression (cells, genes)."""


@dataclass(frozen=True)
class _Said:
    """Probabilities, embedding, and distance (None if the network knows none) of some cells."""

    probabilities: NDArray[np.float32]
    embedding: NDArray[np.float32]
    distance: NDArray[np.float32] | None

    @classmethod
    def of(
        cls, model: TrainedNetwork, cells: sparse.csr_matrix, batches: NDArray[np.str_]
    ) -> _Said:
        return cls(*model.predict(cells, batches), model.distance(cells))

    @classmethod
    def room_for(cls, model: TrainedNetwork, n_cells: int) -> _Said:
        """Arrays to be filled; joining those of chunks would need all of them twice."""
        nothing = sparse.csr_matrix((0, len(model.genes)), dtype=np.float32)
        like = cls.of(model, nothing, np.empty(0, dtype=str))
        return cls(
            _with_rows(like.probabilities, n_cells),
            _with_rows(like.embedding, n_cells),
            None if like.distance is None else _with_rows(like.distance, n_cells),
        )

    def put(self, first: int, chunk: _Said) -> None:
        """Fill rows from `first` on with what was said of a chunk."""
        rows = slice(first, first + len(chunk.embedding))
        self.probabilities[rows] = chunk.probabilities
        self.embedding[rows] = chunk.embedding
        if self.distance is not None:
            self.distance[rows] = chunk.distance

    def first(self, n_cells: int) -> _Said:
        """The first rows."""
        distance = None if self.distance is None else self.distance[:n_cells]
        return _Said(self.probabilities[:n_cells], self.embedding[:n_cells], distance)

    def table(self, model: TrainedNetwork, cell_ids: Sequence[str] | pd.Index) -> pd.DataFrame:
        return predictions_of(model, cell_ids, self.probabilities, self.distance)


def _predict(
    model: TrainedNetwork,
    batches: NDArray[np.str_],
    chunks: Iterable[_Cells],
    brought: Callable[[NDArray[np.intp], sparse.csr_matrix], _Cells],
    device: str,
    progress: bool,
) -> tuple[NDArray[np.intp], _Said]:
    """Rows that came, and what is said of these cells.

    Chunks are read one after the other, and meanwhile those before are brought to the model and
    labelled, in as many threads as torch may use.
    """
    model, n_cells = model.to(device), len(batches)

    def label(chunk: _Cells) -> tuple[int, NDArray[np.intp], _Said]:
        rows, cells = brought(*chunk)
        return chunk[1].shape[0], rows, _Said.of(model, cells, batches[rows])

    whole, rows, n_said = _Said.room_for(model, n_cells), np.empty(n_cells, dtype=np.intp), 0
    with (
        ProgressBar(total=n_cells, desc="annotating", unit="cell", disable=not progress) as bar,
        one_thread_each() as workers,
    ):
        for n_done, here, said in in_order(label, chunks, workers):
            rows[n_said : n_said + len(here)] = here
            whole.put(n_said, said)
            n_said += len(here)
            bar.update(n_done)
    return rows[:n_said], whole.first(n_said)


def _with_rows(like: NDArray[np.float32], n_rows: int) -> NDArray[np.float32]:
    return np.empty((n_rows, *like.shape[1:]), dtype=like.dtype)
