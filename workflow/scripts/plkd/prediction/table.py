"""The prediction table: one format for the Student, the Teacher and every baseline.

One row per cell:

=====================  ========  ==================================================================
column                 dtype     meaning
=====================  ========  ==================================================================
cell_id                str       the cell's name in the query, unique
label                  str       label with the highest probability (the first one of equals)
confidence             float32   its probability, in (0, 1]
margin                 float32   its probability minus that of the next label, in [0, 1]
entropy                float32   of the probabilities, in nats: 0 (certain) to ln k (no idea)
unknown                bool      whether the method flags the cell as none of its labels
unknown_score          float32   how odd the cell is, in [0, 1]; the method flags the highest
reason                 str       why the cell is unknown; empty if it is not
prediction_set         list      labels that cannot be ruled out, the most probable one first
probability:<label>    float32   one column per label; each row sums to 1
=====================  ========  ==================================================================
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr

from plkd.errors import InputError
from plkd.utils.files import intact, whole_file
from plkd.utils.tables import append_tsv
from plkd.utils.text import listed

PROBABILITY = "probability:"
LOW_CONFIDENCE = "low confidence"
"""Reason of unknown cells of methods that have no better one."""
SUM_TOLERANCE = 1e-4
_SETS = pa.list_(pa.string())
_SCHEMA = {
    "cell_id": pa.string(),
    "label": pa.string(),
    "confidence": pa.float32(),
    "margin": pa.float32(),
    "entropy": pa.float32(),
    "unknown": pa.bool_(),
    "unknown_score": pa.float32(),
    "reason": pa.string(),
    "prediction_set": _SETS,
}


@dataclass(frozen=True)
class UnknownCells:
    """Which cells a method takes for none of its labels.

    Attributes
    ----------
    score
        How odd every cell is, from 0 to 1, (cells,).
    reason
        Why a cell is flagged unknown, "" for those that are not, array of str (cells,).
    """

    score: NDArray[np.floating]
    reason: NDArray[Any]


def prediction_table(
    cell_ids: Sequence[str] | pd.Index,
    labels: Sequence[str],
    probabilities: ArrayLike,
    *,
    unknown_threshold: float = 0.0,
    unknown: UnknownCells | None = None,
    conformal_threshold: float | None = None,
) -> pd.DataFrame:
    """Make the prediction table out of label probabilities.

    Parameters
    ----------
    cell_ids
        Unique names of the n cells.
    labels
        Unique names of the k labels, in the order of the columns of `probabilities`.
    probabilities
        Array of shape (n_cells, n_labels), rows sum to 1.
    unknown_threshold
        Cells whose confidence is below are flagged `unknown`; 0 flags none.
    unknown
        Instead of this threshold, for a method that knows better which cells are unknown. Without
        it the score is 1 - confidence, and the reason is "low confidence".
    conformal_threshold
        The quantile q of the calibration scores (1 - probability of the true label). A prediction
        set holds the labels with a probability of at least 1 - q, and always the predicted label.
        None: the label alone.

    Returns
    -------
    DataFrame
        The columns described at the top of this module, one row per cell in the given order.

    Raises
    ------
    InputError
        If sizes disagree, names repeat, or the rows are not probabilities.
    """
    names = [str(name) for name in labels]
    matrix = np.asarray(probabilities, dtype=np.float32)
    if matrix.shape != (len(cell_ids), len(names)) or not names:
        raise InputError(
            f"probabilities have the shape {matrix.shape}, but there are {len(cell_ids)} cells and "
            f"{len(names)} labels: expected one row per cell and one column per label, at least "
            "one label"
        )
    twice = pd.Index(names)[pd.Index(names).duplicated()]
    if len(twice):
        raise InputError(f"label names must be unique, found {listed(twice)} twice")

    best = matrix.argmax(axis=1) if len(matrix) else np.zeros(0, dtype=np.intp)
    confidence = matrix[np.arange(len(matrix)), best]
    if unknown is None:
        flagged = confidence < unknown_threshold
        unknown = UnknownCells(1.0 - confidence, np.where(flagged, LOW_CONFIDENCE, ""))
    table = pd.DataFrame(
        {
            "cell_id": np.asarray(cell_ids, dtype=object),
            "label": np.asarray(names, dtype=object)[best],
            "confidence": confidence,
            "margin": _margin(matrix),
            "entropy": entr(matrix).sum(axis=1),
            "unknown": unknown.reason != "",
            "unknown_score": unknown.score.astype(np.float32),
            "reason": unknown.reason.astype(object),
            "prediction_set": _prediction_sets(names, matrix, best, conformal_threshold),
        }
    )
    columns = pd.DataFrame(matrix, columns=[PROBABILITY + name for name in names])
    table = pd.concat([table, columns], axis=1)
    validate_predictions(table)
    return table


def write_predictions(table: pd.DataFrame, path: str | Path) -> None:
    """Write a prediction table as parquet, after checking it; the file is whole or absent.

    Raises
    ------
    InputError
        If the table breaks the contract (see :func:`validate_predictions`).
    """
    validate_predictions(table, source=f"the predictions for '{path}'")
    with whole_file(path) as temporary:
        pq.write_table(_as_arrow(table), temporary)


@contextmanager
def predictions_file(path: str | Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Begin a table of all cells as ``.parquet`` or, with the sets as JSON lists, as ``.tsv``.

    Gives what writes the next rows, which are as of
    :meth:`plkd.prediction.predict.PredictedCells.table_of_all`. The file is whole or absent, and
    does not depend on how the rows are divided.
    """
    path = Path(path)
    with whole_file(path) as temporary, ExitStack() as files:
        if path.suffix == ".parquet":
            yield files.enter_context(_parquet_file(temporary))
            return
        file = files.enter_context(temporary.open("w", encoding="utf-8", newline=""))

        def write(table: pd.DataFrame) -> None:
            rows = table.assign(prediction_set=prediction_sets_as_json(table))
            append_tsv(rows, file, header=not file.tell())

        yield write


@contextmanager
def _parquet_file(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    """As :func:`predictions_file`; groups of rows are of one size, but for the last."""
    waiting: list[pa.Table] = []
    writer: pq.ParquetWriter | None = None

    def write_groups(least: int) -> None:
        nonlocal writer
        rows = pa.concat_tables(waiting).combine_chunks()
        writer = writer or pq.ParquetWriter(path, rows.schema)
        while rows.num_rows >= least and rows.num_rows:
            writer.write_table(rows.slice(0, _ROWS_OF_GROUP).combine_chunks())
            rows = rows.slice(_ROWS_OF_GROUP)
        waiting[:] = [rows]

    def write(table: pd.DataFrame) -> None:
        waiting.append(_as_arrow(table))
        if sum(rows.num_rows for rows in waiting) >= _ROWS_OF_GROUP:
            write_groups(_ROWS_OF_GROUP)

    try:
        yield write
        write_groups(1)
    finally:
        if writer is not None:
            writer.close()


_ROWS_OF_GROUP = 2**16


def read_predictions(path: str | Path, *, made_by: str | None = None) -> pd.DataFrame:
    """Read a prediction table and check it.

    Parameters
    ----------
    path
        The parquet file.
    made_by
        The rule that writes it, for messages; None for a file from elsewhere.

    Returns
    -------
    DataFrame
        As :func:`prediction_table` makes it; `prediction_set` is a pyarrow list column.

    Raises
    ------
    InputError
        If the file is absent or no parquet file, or if the table breaks the contract.
    """
    if made_by is not None:
        with intact(path, made_by):
            return read_predictions(path)
    try:
        arrow = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(
            f"cannot read the predictions in '{path}': {error}. Expected a parquet file that "
            "plkd.prediction.table.write_predictions wrote."
        ) from error
    table = arrow.to_pandas(
        ignore_metadata=True,
        types_mapper=lambda kind: pd.ArrowDtype(_SETS) if pa.types.is_list(kind) else None,
    )
    validate_predictions(table, source=f"the predictions in '{path}'")
    return table


def validate_predictions(table: pd.DataFrame, source: str = "the predictions") -> None:
    """Check a prediction table against the contract.

    Raises
    ------
    InputError
        If a column is missing, a cell appears twice, probabilities are not finite, negative or do
        not sum to 1 within 1e-4, `label`, `confidence` or `prediction_set` contradict them, or
        `unknown_score` or `reason` are not what they should be.
    """
    missing = [name for name in _SCHEMA if name not in table.columns]
    names = label_names(table)
    if missing or not names:
        what = missing or [f"{PROBABILITY}<label>"]
        raise InputError(
            f"{source} lack the column(s) {listed(what)}; found: {listed(table.columns)}"
        )
    extra = [
        name for name in table.columns if name not in _SCHEMA and not name.startswith(PROBABILITY)
    ]
    if extra:
        raise InputError(
            f"{source} have unexpected column(s) {listed(extra)}; allowed are "
            f"{', '.join(_SCHEMA)} and {PROBABILITY}<label>"
        )
    if not table["cell_id"].is_unique:
        twice = table.loc[table["cell_id"].duplicated(), "cell_id"]
        raise InputError(f"{source}: `cell_id` must be unique, found {listed(twice)} twice")

    matrix = label_probabilities(table)
    cells = table["cell_id"].to_numpy()
    sums = matrix.sum(axis=1, dtype=np.float64)
    best = matrix.max(axis=1)
    position = {name: column for column, name in enumerate(names)}
    labels = table["label"].map(position).to_numpy(dtype=float, na_value=np.nan)
    column = np.nan_to_num(labels, nan=0).astype(int)
    first = _set_heads(prediction_sets(table))
    score, flagged = table["unknown_score"].to_numpy(), table["unknown"].to_numpy(dtype=bool)
    for wrong, problem in (
        (~np.isfinite(matrix).all(axis=1), "a probability is not a finite number"),
        (matrix.min(axis=1) < 0, "a probability is negative"),
        (abs(sums - 1) > SUM_TOLERANCE, "the probabilities do not sum to 1 (within 1e-4)"),
        (np.isnan(labels), f"`label` is no label (a column {PROBABILITY}<label>)"),
        (matrix[np.arange(len(matrix)), column] < best, "`label` is not the most probable label"),
        (~np.isclose(table["confidence"], best, atol=1e-6), "`confidence` is not the maximum"),
        (first != table["label"].to_numpy(), "`prediction_set` does not begin with `label`"),
        (~((score >= 0) & (score <= 1)), "`unknown_score` is not from 0 to 1"),
        (flagged != (table["reason"] != ""), "`reason` is there or not against `unknown`"),
    ):
        if np.any(wrong):
            raise InputError(
                f"{source}: {problem} for {int(np.sum(wrong))} of {len(cells)} cells, "
                f"e.g. {listed(cells[wrong])}"
            )


def label_names(table: pd.DataFrame) -> list[str]:
    """Labels of a prediction table, in the order of its probability columns."""
    return [
        name.removeprefix(PROBABILITY) for name in table.columns if name.startswith(PROBABILITY)
    ]


def label_probabilities(table: pd.DataFrame) -> NDArray[np.float32]:
    """Probabilities of a prediction table, float32 of shape (n_cells, n_labels)."""
    columns = [PROBABILITY + name for name in label_names(table)]
    return table[columns].to_numpy(dtype=np.float32)


def prediction_sets(table: pd.DataFrame) -> pa.ListArray:
    """Prediction sets of a table as one pyarrow array of lists of strings."""
    sets = pa.array(table["prediction_set"], type=_SETS)
    return sets.combine_chunks() if isinstance(sets, pa.ChunkedArray) else sets


def prediction_sets_as_json(table: pd.DataFrame) -> list[str]:
    """Prediction sets as JSON lists, which are clear whatever the labels are called."""
    sets = prediction_sets(table)
    names = sets.values.dictionary_encode()
    texts = [json.dumps(name, ensure_ascii=False) for name in names.dictionary.to_pylist()]
    inside = pa.array(texts, pa.string()).take(names.indices)
    lists = pc.binary_join(pa.ListArray.from_arrays(sets.offsets, inside), ", ")
    return pc.binary_join_element_wise("[", lists, "]", "").to_pylist()


def _as_arrow(table: pd.DataFrame) -> pa.Table:
    fields = [pa.field(name, _SCHEMA.get(name, pa.float32())) for name in table.columns.astype(str)]
    # Without pandas' own metadata: pandas cannot read back its name for a list column.
    return pa.Table.from_pandas(
        table, schema=pa.schema(fields), preserve_index=False
    ).replace_schema_metadata(None)


def _margin(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Highest minus second highest probability; the second of a single label is 0."""
    if matrix.shape[1] == 1:
        return matrix[:, 0]
    top = np.partition(matrix, -2, axis=1)[:, -2:]
    return top[:, 1] - top[:, 0]


def _prediction_sets(
    names: list[str],
    matrix: NDArray[np.float32],
    best: NDArray[np.intp],
    conformal_threshold: float | None,
) -> pd.Series:
    """Sets of labels per cell as one pyarrow list column, by decreasing probability."""
    if conformal_threshold is None:
        rows, columns = np.arange(len(matrix)), best
    else:
        inside = matrix >= 1 - conformal_threshold
        inside[np.arange(len(matrix)), best] = True
        rows, columns = np.nonzero(inside)
        # lexsort keeps the order of equals, so that a tie begins with the label argmax chose.
        order = np.lexsort((-matrix[rows, columns], rows))
        columns = columns[order]
    sizes = np.bincount(rows, minlength=len(matrix))
    ends = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    sets = pa.ListArray.from_arrays(pa.array(ends), pa.array(names, pa.string()).take(columns))
    return pd.Series(sets, dtype=pd.ArrowDtype(_SETS))


def _set_heads(array: pa.ListArray) -> NDArray[np.object_]:
    """First label of every set, None for an empty one."""
    heads = np.full(len(array), None, dtype=object)
    filled = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False) > 0
    starts = array.offsets.to_numpy()[:-1][filled]
    heads[filled] = array.values.take(pa.array(starts)).to_numpy(zero_copy_only=False)
    return heads
