"""Labels in the query itself: added to an AnnData, or to a copy of its file."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from anndata.io import read_elem, write_elem
from numpy.typing import NDArray

from plkd.errors import InputError
from plkd.io.cells import CellFile, open_cells
from plkd.io.stores import modality_group, open_hdf5, open_store, readable
from plkd.model.trained_network import TrainedNetwork
from plkd.prediction.further import NOTHING_FURTHER, FurtherLabels
from plkd.prediction.model_input import CHUNK_CELLS
from plkd.prediction.predict import PredictedCells, predict_opened
from plkd.prediction.table import label_names, label_probabilities, prediction_sets_as_json
from plkd.settings.datasets import AS_IT_IS, ReadingOptions
from plkd.utils.files import require_room, whole_file, writable_folder
from plkd.utils.hdf5 import hdf5_file, write_h5ad
from plkd.utils.logs import logger

KEY_ADDED = "plkd"
"""Start of the names of what is added to cells."""
UNASSIGNED = "unassigned"
"""In the column of labels that has none for unknown cells."""
SUFFIXES = (".h5ad", ".h5mu")
"""Of the names of annotated copies."""


@dataclass(frozen=True)
class Annotation:
    """What annotated cells have more than the query, in the order of the query.

    Attributes
    ----------
    rows, cell_ids
        Ascending places of the cells in the query, and their names there.
    obs
        Columns to add.
    obsm
        Arrays, and tables by column name, with a row for every cell.
    key, uns
        Name and content of the entry of `uns`.
    """

    rows: NDArray[np.intp]
    cell_ids: NDArray[np.object_]
    obs: pd.DataFrame
    obsm: Mapping[str, NDArray[Any] | pd.DataFrame]
    key: str
    uns: Mapping[str, Any]

    def require_cells(self, cell_ids: pd.Index, name: str) -> None:
        """Refuse a query whose cells are not these.

        Parameters
        ----------
        cell_ids
            Names of all cells of the query.
        name
            Its file, for messages.

        Raises
        ------
        InputError
            If a cell is missing or has another name.
        """
        if not len(self.rows) or self.rows[-1] < len(cell_ids):
            found = np.asarray(cell_ids[self.rows].astype(str), dtype=object)
            wrong = np.flatnonzero(found != self.cell_ids)
            if not len(wrong):
                return
            what = (
                f"{len(wrong):,} of {len(found):,} cells have another name: in row "
                f"{self.rows[wrong[0]]:,} is '{found[wrong[0]]}' where '{self.cell_ids[wrong[0]]}' "
                "was labelled"
            )
        else:
            what = f"it has {len(cell_ids):,} cells, but row {self.rows[-1]:,} was labelled"
        raise InputError(
            f"'{name}' is not the file whose cells were labelled: {what}. Label the file anew (in "
            "the pipeline: delete the prepared query and run it again)."
        )


def annotation_of(
    predicted: PredictedCells,
    key_added: str = KEY_ADDED,
    obsm: Mapping[str, NDArray[np.floating]] | None = None,
    further: FurtherLabels = NOTHING_FURTHER,
    obs: pd.DataFrame | None = None,
) -> Annotation:
    """Put predictions into columns, with the cells of which nothing can be said among the others.

    Such cells have no label and NaN in place of every number, are flagged unknown, and have the
    reason in ``plkd_reason``, as other unknown cells do; a warning counts them.

    Parameters
    ----------
    predicted
        From :func:`plkd.prediction.predict.predict_cells`.
    key_added
        Stands for ``plkd`` in the names of what is added.
    obsm
        More arrays with a row for every labelled cell, by the end of their names: ``umap`` becomes
        ``obsm['X_plkd_umap']``.
    further
        Columns to add beside the label.
    obs
        Table of all cells of the query, for the groups of `further`.
    """
    left_out, table = predicted.left_out, predicted.table
    predicted.warn_of_left_out()
    rows = predicted.rows_of_all
    ids = np.concatenate([predicted.source_ids, left_out["cell_id"]]).astype(object)
    order = np.argsort(rows, kind="stable")
    labelled = order < len(table)
    place = order[labelled]

    def spread(values: NDArray[Any]) -> NDArray[Any]:
        """Values of the labelled cells among NaN for the others."""
        if labelled.all() and (place[:-1] < place[1:]).all():
            return values  # as they are: those of a million cells are large
        whole = np.full((len(rows), *values.shape[1:]), np.nan, dtype=np.float32)
        whole[labelled] = values[place]
        return whole

    arrays = {f"X_{key_added}": predicted.embedding} | {
        f"X_{key_added}_{name}": values for name, values in (obsm or {}).items()
    }
    columns = _obs_columns(table.iloc[place], labelled, left_out, order, key_added)
    more = further.columns(
        table,
        predicted.embedding,
        pd.DataFrame() if obs is None else obs.iloc[predicted.source_rows],
        UNASSIGNED,
    )
    for name, values in more.items():
        if values.dtype == object:
            texts = np.full(len(rows), None, dtype=object)
            texts[labelled] = values[place]
            columns[f"{key_added}_{name}"] = pd.Categorical(texts)
        else:
            columns[f"{key_added}_{name}"] = spread(values)
    probabilities = pd.DataFrame(
        spread(label_probabilities(table)), columns=column_names(label_names(table))
    )
    return Annotation(
        rows[order],
        ids[order],
        columns,
        {name: spread(values) for name, values in arrays.items()}
        | {f"{key_added}_probabilities": probabilities},
        key_added,
        {**predicted.about, "labels": np.array(label_names(table), dtype=object)},
    )


def column_names(labels: Sequence[str]) -> list[str]:
    """Names of the columns of ``obsm['plkd_probabilities']``: the labels, with ``|`` for ``/``.

    HDF5 takes a slash for a step into a group: a label ``CD4+/CD25`` beside ``CD4+`` would make a
    file that cannot be read. The labels themselves are in ``uns['plkd']['labels']``.
    """
    names = pd.Index([label.replace("/", "|") for label in labels], dtype=object)
    return list(names if names.is_unique else ad.utils.make_index_unique(names))


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
    output: str | Path,
    *,
    device: str = "cpu",
    chunk_cells: int = CHUNK_CELLS,
    key_added: str = KEY_ADDED,
    provenance: Mapping[str, Any] | None = None,
    progress: bool = True,
    reading: ReadingOptions = AS_IT_IS,
    further: FurtherLabels = NOTHING_FURTHER,
) -> pd.DataFrame:
    """Predict the labels of a file of cells and write an annotated copy of it.

    The input is not touched, and read once where it is read as a whole. Parameters and errors are
    those of :func:`~plkd.prediction.predict.predict_cells` and :func:`write_annotated`; returns the
    prediction table of all cells.
    """
    if Path(output).resolve() == Path(query).resolve():
        raise InputError(f"'{output}' is the query itself: choose another name for the output.")
    with open_cells(query, reading) as cells:
        require_copy_name(output, cells.reader)
        cells.require_writable()
        writable_folder(Path(output).parent)
        require_room(output, _least_size(cells, output))
        predicted = predict_opened(
            model,
            cells,
            device=device,
            chunk_cells=chunk_cells,
            provenance=provenance,
            progress=progress,
        )
        annotation = annotation_of(predicted, key_added, further=further, obs=cells.obs)
        _write(cells, output, annotation)
    return predicted.table_of_all()


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
      ``plkd_label_2``, .., ``plkd_group_label``, ``plkd_tree_label`` and so on;
    - in `obsm` ``X_plkd`` (embedding), ``X_plkd_umap`` in the pipeline, and
      ``plkd_probabilities``, a table with a column for each label (:func:`column_names`);
    - ``uns['plkd']``, see :func:`plkd.prediction.predict.about_labels`.

    Parameters
    ----------
    query
        The file that was predicted.
    output
        The h5ad (of an h5mu also h5mu) to write; it has the cells of the annotation.
    annotation
        From :func:`annotation_of`.
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


def require_copy_name(output: str | Path, reader: str) -> None:
    """Refuse a name of the annotated copy that says another format than it will have.

    Parameters
    ----------
    output
        The name.
    reader
        Format of the query, one of :data:`plkd.io.cells.READERS`.

    Raises
    ------
    InputError
        If it ends neither in ``.h5ad`` nor, for a query of that format, in ``.h5mu``.
    """
    suffixes = SUFFIXES if reader == "h5mu" else SUFFIXES[:1]
    if Path(output).suffix not in suffixes:
        raise InputError(
            f"'{output}': the annotated copy of this file must end in {' or '.join(suffixes)}"
        )


def _write(cells: CellFile, output: str | Path, annotation: Annotation) -> None:
    require_copy_name(output, cells.reader)
    annotation.require_cells(cells.obs.index, str(cells.path))
    all_cells = len(annotation.rows) == cells.n_cells
    whole_store = f".{cells.reader}" == Path(output).suffix
    nullable_texts = ad.settings.override(allow_write_nullable_strings=True)
    with whole_file(output, needs=_least_size(cells, output)) as temporary, nullable_texts:
        if whole_store and all_cells and _has_columns(cells):
            shutil.copyfile(cells.path, temporary)
            _add_in_place(temporary, _modality(cells), annotation)
        elif whole_store and cells.reader == "h5mu":
            with readable(cells.path):
                some = _some_of_several(cells.path, str(_modality(cells)), annotation)
            some.write_h5mu(temporary)
        else:
            if cells.reader == "h5mu":
                logger.info(
                    "of '%s' the copy holds the labelled modality alone; a name that ends in .h5mu "
                    "keeps the others",
                    cells.path,
                )
            copy = cells.everything()
            copy = copy if all_cells else copy[annotation.rows].copy()
            _add_to(copy, annotation)
            write_h5ad(copy, temporary)


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


def _obs_columns(
    table: pd.DataFrame,
    labelled: NDArray[np.bool_],
    left_out: pd.DataFrame,
    order: NDArray[np.intp],
    key: str,
) -> pd.DataFrame:
    """Columns for `obs`; `table` has the labelled cells, `order` the left out ones behind them."""
    n_cells = len(labelled)
    label, sets = np.full(n_cells, None, dtype=object), np.full(n_cells, "[]", dtype=object)
    unknown, reason = np.ones(n_cells, dtype=bool), np.full(n_cells, "", dtype=object)
    label[labelled] = table["label"].astype(str)
    sets[labelled] = prediction_sets_as_json(table)
    unknown[labelled] = table["unknown"]
    reason[labelled] = table["reason"].astype(str)
    reason[~labelled] = left_out["reason"].to_numpy()[order[~labelled] - len(table)]
    numbers = {}
    for name in ("confidence", "margin", "entropy", "unknown_score"):
        numbers[f"{key}_{name}"] = np.full(n_cells, np.nan, dtype=np.float32)
        numbers[f"{key}_{name}"][labelled] = table[name]
    names = [name for name in label_names(table) if name in set(table["label"])]
    return pd.DataFrame(
        {
            f"{key}_label": pd.Categorical(label, categories=names),
            **numbers,
            f"{key}_unknown": unknown,
            f"{key}_prediction_set": pd.Categorical(sets),
            f"{key}_reason": pd.Categorical(reason),
            f"{key}_label_or_unassigned": pd.Categorical(
                np.where(unknown, UNASSIGNED, label),
                categories=list(dict.fromkeys([*names, UNASSIGNED])),
            ),
        }
    )


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


def _add_in_place(path: Path, group: str | None, annotation: Annotation) -> None:
    """Add to an h5ad, or to a modality of an h5mu; what is there is not touched."""
    with hdf5_file(path, "r+") as file:
        store = file if group is None else file[group]
        columns = list(store["obs"].attrs["column-order"])
        for name, values in annotation.obs.items():
            categories = isinstance(values.dtype, pd.CategoricalDtype)
            column = values.array if categories else values.to_numpy()
            write_elem(store["obs"], str(name), column)
        store["obs"].attrs["column-order"] = [
            *columns,
            *annotation.obs.columns.difference(columns, sort=False),
        ]
        cell_ids = read_elem(store["obs"]).index
        for name in ("obsm", "uns"):
            if name not in store:
                write_elem(store, name, {})
        for name, array in annotation.obsm.items():
            write_elem(store["obsm"], name, _named(array, cell_ids))
        write_elem(store["uns"], annotation.key, dict(annotation.uns))
