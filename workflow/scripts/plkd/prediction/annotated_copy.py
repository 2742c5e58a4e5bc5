"""Labels in the query itself: added to an AnnData, or to a copy of its file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem, write_elem
from numpy.typing import NDArray

from plkd.errors import InputError
from plkd.io.cells import CellFile, open_cells
from plkd.io.stores import modality_group, open_hdf5, open_store, readable
from plkd.io.to_hdf5 import copy_to_hdf5
from plkd.model.trained_network import TrainedNetwork
from plkd.prediction.annotation import (
    KEY_ADDED,
    Annotation,
    OnSlide,
    annotation_of_piece,
    whole_columns,
)
from plkd.prediction.further import NOTHING_FURTHER, FurtherLabels
from plkd.prediction.model_input import CHUNK_CELLS, as_model_input
from plkd.prediction.predict import PredictedCells, predict_pieces
from plkd.prediction.summary import LabelSummary
from plkd.prediction.table import predictions_file
from plkd.settings.datasets import AS_IT_IS, ReadingOptions
from plkd.utils.files import copy_file, require_room, whole_file, writable_folder
from plkd.utils.hdf5 import checked_hdf5_file, hdf5_file, write_h5ad
from plkd.utils.logs import logger

SUFFIXES = (".h5ad", ".h5mu")
"""Of the names of annotated copies."""


def add_annotation(cells: ad.AnnData, annotation: Annotation) -> None:
    """Add labels to cells in memory, all or those that a query consists of, see `annotation.rows`.

    Raises
    ------
    InputError
        If the cells are not those that were labelled.
    """
    annotation.require_cells(cells.obs_names, "the AnnData")
    if len(annotation.rows) != cells.n_obs:
        raise InputError(
            f"{len(annotation.rows):,} of the {cells.n_obs:,} cells of the AnnData were labelled: "
            "take these cells first"
        )
    _add_to(cells, annotation)


def annotate_file(
    model: TrainedNetwork,
    query: str | Path,
    output: str | Path | None = None,
    *,
    table: str | Path | None = None,
    labels_only: bool = False,
    also: Callable[[pd.DataFrame], None] | None = None,
    batch_key: str | None = None,
    device: str = "cpu",
    chunk_cells: int = CHUNK_CELLS,
    workers: int | None = None,
    key_added: str = KEY_ADDED,
    provenance: Mapping[str, Any] | None = None,
    progress: bool = True,
    reading: ReadingOptions = AS_IT_IS,
    further: FurtherLabels = NOTHING_FURTHER,
) -> LabelSummary:
    """Predict the labels of a file of cells; write an annotated copy, a table, or both.

    The input is not touched. What is said of cells is written as it comes: memory holds the names
    of the cells, some tens of bytes of each, and a few pieces.

    Parameters
    ----------
    model, query, batch_key, device, chunk_cells, provenance, progress, reading
        As for :func:`plkd.prediction.predict.predict_cells`.
    output
        The annotated copy, see :func:`write_annotated`.
    table
        The predictions, as ``.tsv`` or ``.parquet``.
    labels_only
        Whether `output`, an h5ad, shall hold what is added and the names of the cells alone.
    also
        Is given the prediction table of each piece as it comes.
    workers
        How many threads read and label pieces side by side; the results are the same. Default: as
        many as torch may use.
    key_added, further
        As for :func:`plkd.prediction.annotation.annotation_of`.

    Returns
    -------
    LabelSummary
        How many cells got which label.

    Raises
    ------
    InputError
        As those functions, and if `output` is the query itself.
    """
    summary = LabelSummary()
    named = [] if batch_key is None else [batch_key]
    with open_cells(query, reading, obs_columns=named) as cells, ExitStack() as files:
        cells.pack_names()
        if output is not None:
            _require_output(cells, output, labels_only)
            further.require_groups(cells.obs)
        given = as_model_input(cells, model, batch_key=batch_key)
        pieces = predict_pieces(
            given,
            device=device,
            chunk_cells=chunk_cells,
            provenance=provenance,
            progress=progress,
            workers=workers,
        )
        files.enter_context(closing(pieces))
        annotate = write = None
        if output is not None:
            on_slide = None
            if further.has_slide:
                on_slide = OnSlide.of(cells.spatial, given.batches, f"'{cells.path}'")
            copy = _annotated_file(cells, output, key_added, further, labels_only, on_slide)
            annotate = files.enter_context(copy)
        if table is not None:
            write = files.enter_context(predictions_file(table))
        for piece in pieces:
            predictions = piece.table_of_all()
            summary.add(predictions)
            if annotate is not None:
                annotate(piece)
            for take in filter(None, (write, also)):
                take(predictions)
    return summary


def _require_output(cells: CellFile, output: str | Path, labels_only: bool) -> None:
    """Refuse a copy that cannot be written, before there is work."""
    if Path(output).resolve() == cells.path.resolve():
        raise InputError(f"'{output}' is the query itself: choose another name for the output.")
    require_copy_name(output, cells.reader, labels_only)
    writable_folder(Path(output).parent)
    if not labels_only:
        cells.require_writable()
        require_room(output, _least_size(cells, output))


@contextmanager
def _annotated_file(
    cells: CellFile,
    output: str | Path,
    key: str,
    further: FurtherLabels,
    labels_only: bool,
    on_slide: OnSlide | None,
) -> Iterator[Callable[[PredictedCells], None]]:
    """Begin an annotated copy of all cells; gives what takes them piece by piece, in order."""
    columns: list[pd.DataFrame] = []
    said: list[NDArray[np.float32]] = []  # of all cells, if there are labels on the slide
    needs = 0 if labels_only else _least_size(cells, output)
    with whole_file(output, needs=needs) as temporary:
        if labels_only:
            names = cells.obs.index.astype(object)
            write_h5ad(ad.AnnData(obs=pd.DataFrame(index=names)), temporary)
        else:
            _copy(cells, temporary)
        group = _modality(cells) if temporary.suffix == ".h5mu" else None
        with checked_hdf5_file(temporary, "r+") as (file, check):
            added = _Added(file if group is None else file[group], cells.n_cells)

            def take(piece: PredictedCells) -> None:
                annotation = annotation_of_piece(piece, key, further=further)
                added.put(annotation)
                columns.append(annotation.obs)
                if further.has_slide:
                    said.append(np.asarray(annotation.obsm[f"{key}_probabilities"]))
                check()

            yield take
            embedding = added.obsm[f"X_{key}"]
            whole = whole_columns(
                columns,
                key,
                further,
                cells.obs,
                lambda: embedding[...],
                lambda: np.concatenate(said),
                on_slide,
            )
            added.finish(whole)


def write_annotated(
    query: str | Path,
    output: str | Path,
    annotation: Annotation,
    reading: ReadingOptions = AS_IT_IS,
    *,
    obs_columns: Sequence[str] = (),
) -> None:
    """Write a copy of a file of cells with labels, whole or not at all.

    The copy holds all that the query does, with the names it has there. An h5mu may be copied as a
    whole, or the labelled modality alone as an h5ad; all other formats become an h5ad. Added are,
    for ``plkd``:

    - in `obs` ``plkd_label``, ``plkd_confidence``, ``plkd_margin``, ``plkd_entropy``,
      ``plkd_unknown``, ``plkd_unknown_score``, ``plkd_prediction_set`` (the labels as a JSON
      list), ``plkd_reason`` (why a cell is unknown) and ``plkd_label_or_unassigned``, which has
      "unassigned" for unknown cells, where ``plkd_label`` has the nearest label;
    - there too, where they are asked for (:class:`plkd.prediction.further.FurtherLabels`),
      ``plkd_label_2``, .., ``plkd_group_label``, ``plkd_slide_label``, ``plkd_tree_label`` and so
      on;
    - in `obsm` ``X_plkd`` (embedding), ``X_plkd_umap`` in the pipeline, and
      ``plkd_probabilities``, a table with a column for each label
      (:func:`plkd.prediction.annotation.column_names`);
    - ``uns['plkd']``, see :func:`plkd.prediction.predict.about_labels`.

    Parameters
    ----------
    query
        The file that was predicted.
    output
        The h5ad (of an h5mu also h5mu) to write; it has the cells of the annotation.
    annotation
        From :func:`plkd.prediction.annotation.annotation_of`.
    reading, obs_columns
        How to read the query, see :func:`plkd.io.cells.open_cells`.

    Raises
    ------
    InputError
        If the file cannot be read, its cells are not those that were labelled, or `output` has
        another suffix.
    """
    with open_cells(query, reading, obs_columns=obs_columns) as cells:
        _write(cells, output, annotation)


def require_copy_name(output: str | Path, reader: str, labels_only: bool = False) -> None:
    """Refuse a name of the annotated copy that says another format than it will have.

    Parameters
    ----------
    output
        The name.
    reader
        Format of the query, one of :data:`plkd.io.cells.READERS`.
    labels_only
        Whether it holds the labels alone.

    Raises
    ------
    InputError
        If it ends neither in ``.h5ad`` nor, for a whole copy of a query of that format, in
        ``.h5mu``.
    """
    suffixes = SUFFIXES if reader == "h5mu" and not labels_only else SUFFIXES[:1]
    if Path(output).suffix not in suffixes:
        what = "the file of the labels" if labels_only else "the annotated copy of this file"
        raise InputError(f"'{output}': {what} must end in {' or '.join(suffixes)}")


def _write(cells: CellFile, output: str | Path, annotation: Annotation) -> None:
    require_copy_name(output, cells.reader)
    annotation.require_cells(cells.obs.index, str(cells.path))
    with whole_file(output, needs=_least_size(cells, output)) as temporary:
        if len(annotation.rows) == cells.n_cells:
            _copy(cells, temporary)
            group = _modality(cells) if temporary.suffix == ".h5mu" else None
            with hdf5_file(temporary, "r+") as file:
                added = _Added(file if group is None else file[group], cells.n_cells)
                added.put(annotation)
                added.finish(annotation.obs)
        elif temporary.suffix == ".h5mu":
            with readable(cells.path):
                some = _some_of_several(cells.path, str(_modality(cells)), annotation)
            with _NULLABLE_TEXTS():
                some.write_h5mu(temporary)
        else:
            copy = cells.everything()[annotation.rows].copy()
            _add_to(copy, annotation)
            with _NULLABLE_TEXTS():
                write_h5ad(copy, temporary)


def _copy(cells: CellFile, output: Path) -> None:
    """Copy all that is stored of the cells; `output` ends as :func:`require_copy_name` wants it."""
    if f".{cells.reader}" == output.suffix and _has_columns(cells):
        copy_file(cells.path, output)
        return
    if cells.reader == "zarr":
        with open_store(cells.path, cells.reading.modality) as store:
            if "encoding-type" in store.attrs:
                with hdf5_file(output) as file:
                    copy_to_hdf5(store, file)
                return
    if cells.reader == "h5mu":
        logger.info(
            "of '%s' the copy holds the labelled modality alone; a name that ends in .h5mu keeps "
            "the others",
            cells.path,
        )
    with _NULLABLE_TEXTS():
        write_h5ad(cells.everything(), output)


_NULLABLE_TEXTS = partial(ad.settings.override, allow_write_nullable_strings=True)


def _least_size(cells: CellFile, output: str | Path) -> int:
    """Bytes of the query where the copy holds them all; of other formats nothing is known."""
    return cells.path.stat().st_size if f".{cells.reader}" == Path(output).suffix else 0


def _modality(cells: CellFile) -> str | None:
    """Name of the group (``mod/rna``) that was labelled; None in a file without modalities."""
    with open_hdf5(cells.path) as store:
        return modality_group(store, cells.path, cells.reading.modality)


def _has_columns(cells: CellFile) -> bool:
    """Whether `obs` can be added to where it is: before anndata 0.7 it was one array of records."""
    with open_store(cells.path, cells.reading.modality) as store:
        return hasattr(store["obs"], "keys")


def _some_of_several(query: Path, group: str, annotation: Annotation) -> Any:
    """Some cells of a modality; of the other modalities the values of the same cells."""
    import mudata

    modality = group.removeprefix("mod/")
    everything = mudata.read_h5mu(query)
    place_of_row = np.argsort(everything.obsmap[modality].ravel(), kind="stable")
    n_absent = everything.n_obs - everything.mod[modality].n_obs  # these have 0 in obsmap
    chosen = everything[place_of_row[n_absent:][annotation.rows]].copy()
    _add_to(chosen.mod[modality], annotation)
    return chosen


def _named(values: NDArray[Any] | pd.DataFrame, index: pd.Index) -> NDArray[Any] | pd.DataFrame:
    """A table gets the names of the cells, as anndata wants it."""
    return values.set_index(index) if isinstance(values, pd.DataFrame) else values


def _add_to(cells: ad.AnnData, annotation: Annotation) -> None:
    for name, values in annotation.obs.items():
        cells.obs[name] = values.array
    for name, array in annotation.obsm.items():
        cells.obsm[name] = _named(array, cells.obs_names)
    cells.uns[annotation.key] = dict(annotation.uns)


class _Added:
    """What an annotation adds to a store in HDF5, all at once or piece by piece.

    What is there already stays as it is.
    """

    def __init__(self, store: h5py.Group, n_cells: int) -> None:
        self._store, self._n_cells = store, n_cells
        for name in ("obsm", "uns"):
            if name not in store:
                write_elem(store, name, {})
        self.obsm: h5py.Group = store["obsm"]
        self._begun = False

    def put(self, annotation: Annotation) -> None:
        """Arrays of the next cells, whose rows follow each other; the entry of `uns`."""
        if not self._begun:
            for name, values in annotation.obsm.items():
                self._make_room(name, values)
            write_elem(self._store["uns"], annotation.key, dict(annotation.uns))
            self._begun = True
        rows = slice(int(annotation.rows[0]), int(annotation.rows[-1]) + 1)
        for name, values in annotation.obsm.items():
            if isinstance(values, pd.DataFrame):
                for column in values:
                    self.obsm[name][column][rows] = values[column].to_numpy()
            else:
                self.obsm[name][rows] = values

    def finish(self, columns: pd.DataFrame) -> None:
        """Columns of all cells."""
        obs = self._store["obs"]
        before = list(obs.attrs["column-order"])
        for name, values in columns.items():
            categories = isinstance(values.dtype, pd.CategoricalDtype)
            write_elem(obs, str(name), values.array if categories else values.to_numpy())
        obs.attrs["column-order"] = [*before, *columns.columns.difference(before, sort=False)]

    def _make_room(self, name: str, values: NDArray[Any] | pd.DataFrame) -> None:
        """An array or table of as many rows as there are cells, as anndata would write it."""
        write_elem(self.obsm, name, values[:0])
        if not isinstance(values, pd.DataFrame):
            _lengthen(self.obsm, name, self._n_cells)
            return
        table, obs = self.obsm[name], self._store["obs"]
        for column in values:
            _lengthen(table, str(column), self._n_cells)
        names = table.attrs["_index"]
        del table[names]
        index = obs[obs.attrs["_index"]]
        if index.attrs.get("encoding-type") in ("string-array", "nullable-string-array"):
            table[names] = index  # a second name for the same texts
        else:
            write_elem(table, names, read_elem(index).astype(str))


def _lengthen(group: h5py.Group, name: str, n_rows: int) -> None:
    """Put an array of more rows in the place of an empty one."""
    empty = group[name]
    about = dict(empty.attrs)
    del group[name]
    filled = group.create_dataset(name, (n_rows, *empty.shape[1:]), empty.dtype)
    filled.attrs.update(about)
