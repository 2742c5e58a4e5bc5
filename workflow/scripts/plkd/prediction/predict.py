"""Put labels on cells, in sparse chunks.

Cells are never dense as a whole: a chunk of rows is read, normalised, brought to the model's genes
and predicted. What grows with the number of cells is the prediction table and the embedding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from plkd import __version__
from plkd.errors import InputError
from plkd.io.cells import CellFile, CellSource, open_cells
from plkd.io.stores import BLOCK_ROWS, Pieces
from plkd.model.adaptation import Adaptation, adapt, rows_to_look_at
from plkd.model.novelty import BETWEEN, FAR, entropy
from plkd.model.trained_model import Model
from plkd.model.trained_network import TrainedNetwork
from plkd.prediction.model_input import CHUNK_CELLS, MINIMUM_OVERLAP, ModelInput, as_model_input
from plkd.prediction.table import (
    UnknownCells,
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
from plkd.utils.logs import logger
from plkd.utils.parallel import in_order
from plkd.utils.progress import ProgressBar

Result = TypeVar("Result")


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

    @classmethod
    def joined(cls, pieces: Iterable[PredictedCells], n_cells: int) -> PredictedCells:
        """The cells of several pieces, one after the other; there are `n_cells` at most."""
        embedding, n_said = np.empty((0, 0), dtype=np.float32), 0
        parts: list[PredictedCells] = []
        for piece in pieces:
            if not parts:
                embedding = _with_rows(piece.embedding, n_cells)
            embedding[n_said : n_said + len(piece.embedding)] = piece.embedding
            n_said += len(piece.embedding)
            parts.append(replace(piece, embedding=embedding[:0]))
        return cls(
            pd.concat([part.table for part in parts], ignore_index=True),
            embedding[:n_said],
            np.concatenate([part.source_rows for part in parts]),
            np.concatenate([part.source_ids for part in parts]),
            pd.concat([part.left_out for part in parts], ignore_index=True),
            parts[0].about,
        )

    def table_of_all(self) -> pd.DataFrame:
        """Prediction table with a row for every cell of the query, in its order.

        Cells of which nothing can be said have no label, no numbers and no prediction set, are
        unknown, and have the reason.
        """
        if not len(self.left_out):
            return self.table
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
        Cells of a piece, at least 2,048; each worker has one in memory.
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
    pieces = predict_pieces(
        given, device=device, chunk_cells=chunk_cells, provenance=provenance, progress=progress
    )
    with closing(pieces):
        return PredictedCells.joined(pieces, given.n_cells)


def predict_pieces(
    given: ModelInput,
    *,
    device: str = "cpu",
    chunk_cells: int = CHUNK_CELLS,
    provenance: Mapping[str, Any] | None = None,
    progress: bool = True,
    workers: int | None = None,
) -> Generator[PredictedCells]:
    """Yield what is said of the cells of a query piece by piece, in their order.

    Nothing but the names of the cells grows with their number. Parameters and errors are those of
    :func:`predict_cells`; that no cell has counts is found at the end. Who may stop before closes
    it: until then threads wait for more, and torch has one.
    """
    names = given.obs.index
    unique_names = unique_cell_ids(names, given.name)
    about = about_labels(
        given.network,
        gene_overlap=given.overlap.share,
        depth=given.depth,
        scale=given.scale.describe(),
        provenance=provenance or {},
    )
    network = given.network.to(device)

    def texts(some: pd.Index) -> NDArray[np.object_]:
        return np.asarray(some, dtype=object)

    def label(rows: NDArray[np.intp], X: sparse.csr_matrix) -> PredictedCells:
        here, cells = given.brought(rows, X)
        without = np.setdiff1d(rows, here, assume_unique=True)
        left_out = no_cells_left_out()
        if len(without):
            reasons = given.reasons(without, X[without - rows[0]])
            left_out = pd.DataFrame(
                {"source_row": without, "cell_id": texts(names[without]), "reason": reasons}
            )
        said = _Said.of_rows(network, here, cells, given.batches[here])
        table = said.table(network, unique_names[here])
        return PredictedCells(table, said.embedding, here, texts(names[here]), left_out, about)

    left_out: Counter[str] = Counter()
    odd: list[str] = []
    pieces = given.pieces(_whole_blocks(chunk_cells))
    with closing(_in_pieces(label, pieces, given.n_cells, progress, workers)) as labelled:
        for piece in labelled:
            left_out.update(piece.left_out["reason"])
            odd += piece.left_out.loc[piece.left_out["reason"] == OTHER_SCALE, "cell_id"].tolist()
            yield piece
    if left_out.total() == given.n_cells:
        raise InputError(f"'{given.name}': none of its {given.n_cells:,} cells has any counts.")
    if odd:
        logger.warning("'%s': %s", given.name, on_outlying(odd, given.scale))
    warn_of_left_out(left_out)


def warn_of_left_out(reasons: Mapping[str, int]) -> None:
    """Count the cells of which nothing can be said, by the reason, in a warning."""
    if reasons:
        logger.warning(
            "%d cells get no label and are flagged unknown: %s",
            sum(reasons.values()),
            "; ".join(f"{n:,} {reason}" for reason, n in reasons.items()),
        )


def predict_prepared(
    model: TrainedNetwork,
    cells: PreparedCells,
    *,
    adaptation: Adaptation | None = None,
    rows: slice | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """Predict the labels of a prepared query, whose values and genes are the model's already.

    Parameters
    ----------
    model
        A Teacher or a Student.
    cells
        The query.
    adaptation
        What :func:`model_for_prepared` saw in it; by default it looks.
    rows
        One of :func:`parts_of`, to predict these cells alone.
    device
        A torch device.
    progress
        Show a progress bar.

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
    network = adaptation.of(model) if adaptation else model_for_prepared(model, cells)[0]

    def filled(chunk: sparse.csr_matrix) -> sparse.csr_matrix:
        return network.filled(chunk, cells.measured)

    rows = rows or slice(0, cells.n_cells)
    said = _of_prepared(network.to(device), cells, filled, rows, progress)
    return said.table(network, cells.cell_ids[rows]), said.embedding


def parts_of(n_cells: int, n_parts: int) -> list[slice]:
    """Rows of a query in so many parts, which give the labels that they give together.

    Parts are whole blocks of cells, of which a small query has fewer than parts: some are empty.
    """
    n_blocks = -(-n_cells // _BLOCK)
    edges = np.minimum(np.arange(n_parts + 1) * n_blocks // n_parts * _BLOCK, n_cells)
    return [slice(start, stop) for start, stop in pairwise(edges.tolist())]


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
    rows = slice(0, cells.n_cells)
    said = _of_prepared(model.to(device), cells, lambda chunk: chunk, rows, progress)
    return said.embedding


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
        mean of their offsets' lengths), `new_genes` (in which its cells vary as the reference's do
        not), `temperature` (by which logits were divided),
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
        "new_genes": np.array(model.new_genes, dtype=object),
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


def predictions_of(
    model: TrainedNetwork,
    cell_ids: Sequence[str] | pd.Index,
    probabilities: NDArray[np.float32],
    surprise: NDArray[np.float32] | None,
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
    surprise
        From :meth:`TrainedNetwork.surprise`, (cells,), or None.
    """
    unknown = None
    if model.novelty is not None and surprise is not None:
        doubt, new = entropy(probabilities), model.new_variation is not None
        score = model.novelty.scores(surprise, doubt, new_directions=new)
        why = np.where(model.novelty.is_far(surprise, doubt), FAR, BETWEEN)
        unknown = UnknownCells(score, np.where(score > model.unknown_above, why, ""))
    return prediction_table(
        cell_ids,
        model.labels,
        probabilities,
        unknown_threshold=model.calibration.unknown_threshold,
        unknown=unknown,
        conformal_threshold=model.calibration.conformal_threshold,
    )


@dataclass(frozen=True)
class _Said:
    """Probabilities, embedding, and surprise (None if the network knows none) of some cells."""

    probabilities: NDArray[np.float32]
    embedding: NDArray[np.float32]
    surprise: NDArray[np.float32] | None

    @classmethod
    def of(
        cls, model: TrainedNetwork, cells: sparse.csr_matrix, batches: NDArray[np.str_]
    ) -> _Said:
        return cls(*model.predict(cells, batches), model.surprise(cells))

    @classmethod
    def of_rows(
        cls,
        model: TrainedNetwork,
        rows: NDArray[np.intp],
        cells: sparse.csr_matrix,
        batches: NDArray[np.str_],
    ) -> _Said:
        """Of cells in ascending rows of a file, block by block."""
        starts = np.unique(np.searchsorted(rows, rows - rows % _BLOCK))
        blocks = [slice(a, b) for a, b in pairwise([*starts.tolist(), len(rows)])]
        said = (cls.of(model, cells[block], batches[block]) for block in blocks)
        return cls.joined(model, said, len(rows))

    @classmethod
    def joined(cls, model: TrainedNetwork, pieces: Iterable[_Said], n_cells: int) -> _Said:
        """Of so many cells at once; the pieces need not all be there at one time."""
        nothing = sparse.csr_matrix((0, len(model.genes)), dtype=np.float32)
        like = cls.of(model, nothing, np.empty(0, dtype=str))
        surprise = None if like.surprise is None else _with_rows(like.surprise, n_cells)
        whole = cls(
            _with_rows(like.probabilities, n_cells), _with_rows(like.embedding, n_cells), surprise
        )
        start = 0
        for said in pieces:
            rows = slice(start, start + len(said.embedding))
            whole.probabilities[rows], whole.embedding[rows] = said.probabilities, said.embedding
            if surprise is not None:
                surprise[rows] = said.surprise
            start = rows.stop
        return whole

    def table(self, model: TrainedNetwork, cell_ids: Sequence[str] | pd.Index) -> pd.DataFrame:
        return predictions_of(model, cell_ids, self.probabilities, self.surprise)


_BLOCK = BLOCK_ROWS
"""Cells go through the network in blocks that begin at multiples of this row of their file.

A sum over other numbers of rows at once may differ in the last digit: so that nothing that is said
of a cell depends on how a file is divided, it never does.
"""


def _whole_blocks(n_cells: int) -> int:
    return max(_BLOCK, n_cells - n_cells % _BLOCK)


def _of_prepared(
    model: TrainedNetwork,
    cells: PreparedCells,
    filled: Callable[[sparse.csr_matrix], sparse.csr_matrix],
    rows: slice,
    progress: bool,
) -> _Said:
    """What is said of prepared cells, once `filled` has seen to genes not measured."""
    n_cells = rows.stop - rows.start
    wanted, batches = np.zeros(cells.n_cells, dtype=bool), cells.batches
    wanted[rows] = True

    def say(places: NDArray[np.intp], X: sparse.csr_matrix) -> _Said:
        return _Said.of_rows(model, places, filled(X), batches[places])

    with (
        cells.pieces(wanted=wanted) as pieces,
        closing(_in_pieces(say, pieces, n_cells, progress)) as said,
    ):
        return _Said.joined(model, said, n_cells)


def _in_pieces(
    work: Callable[[NDArray[np.intp], sparse.csr_matrix], Result],
    pieces: Pieces,
    n_cells: int,
    progress: bool,
    workers: int | None = None,
) -> Generator[Result]:
    """Yield what `work` makes of the places and values of cells, piece by piece.

    Meanwhile the next pieces are read and worked on, in as many threads as torch may use or as are
    asked for.
    """

    def done(piece: tuple[slice, Callable[[], sparse.csr_matrix]]) -> tuple[int, Result]:
        rows, read = piece
        return rows.stop - rows.start, work(np.arange(rows.start, rows.stop), read())

    with (
        ProgressBar(total=n_cells, desc="annotating", unit="cell", disable=not progress) as bar,
        one_thread_each() as threads,
        closing(in_order(done, pieces, workers or threads)) as results,
    ):
        for n_done, result in results:
            yield result
            bar.update(n_done)


def _with_rows(like: NDArray[np.float32], n_rows: int) -> NDArray[np.float32]:
    return np.empty((n_rows, *like.shape[1:]), dtype=like.dtype)
