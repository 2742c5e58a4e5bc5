"""What is added to annotated cells: columns of `obs`, arrays of `obsm`, an entry of `uns`.

It is made of all cells at once, or piece by piece and joined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import union_categoricals

from plkd.errors import InputError
from plkd.prediction.further import NOTHING_FURTHER, FurtherLabels
from plkd.prediction.predict import PredictedCells
from plkd.prediction.table import label_names, label_probabilities, prediction_sets_as_json

KEY_ADDED = "plkd"
"""Start of the names of what is added to cells."""
UNASSIGNED = "unassigned"
"""In the column of labels that has none for unknown cells."""


@dataclass(frozen=True)
class Annotation:
    """What annotated cells have more than the query, in the order of the query.

    Attributes
    ----------
    rows, cell_ids
        Ascending places of the cells in the query, and their names there.
    obs
        Columns to add, by their whole names.
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


@dataclass(frozen=True)
class OnSlide:
    """Where the cells of a query are.

    Attributes
    ----------
    places
        Of every cell, (cells, dimensions).
    slides
        Its slide, (cells,); None: all are on one.
    """

    places: NDArray[np.floating]
    slides: NDArray[Any] | None = None

    @classmethod
    def of(cls, places: NDArray[np.floating] | None, slides: Any, name: str) -> OnSlide:
        """Where the cells of a query of this name are.

        Raises
        ------
        InputError
            If they have no places, or a place is not a number.
        """
        if places is None or not places.shape[1]:
            raise InputError(
                f"{name} has no places of its cells in obsm['spatial'], which labels on the slide "
                "need."
            )
        if not np.isfinite(places).all():
            raise InputError(f"{name}, obsm['spatial']: a place is not a finite number.")
        return cls(places, None if slides is None else np.asarray(slides).astype(str))

    def at(self, rows: NDArray[np.intp], n_cells: int) -> OnSlide:
        """Of more cells, among which these are in these rows; of the others nothing is known."""
        place_of = np.zeros(n_cells, dtype=np.intp)
        place_of[rows] = np.arange(len(rows))
        return self.some(place_of)

    def some(self, chosen: NDArray[Any]) -> OnSlide:
        """Of some of the cells, by place or by truth value."""
        return OnSlide(self.places[chosen], None if self.slides is None else self.slides[chosen])


def annotation_of(
    predicted: PredictedCells,
    key_added: str = KEY_ADDED,
    obsm: Mapping[str, NDArray[np.floating]] | None = None,
    further: FurtherLabels = NOTHING_FURTHER,
    obs: pd.DataFrame | None = None,
    on_slide: OnSlide | None = None,
) -> Annotation:
    """Put predictions into columns, with the cells of which nothing can be said among the others.

    Such cells have no label and NaN in place of every number, are flagged unknown, and have the
    reason in ``plkd_reason``, as other unknown cells do.

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
    on_slide
        Of all cells of the query, for the slide of `further`.
    """
    cells = annotation_of_piece(predicted, key_added, obsm, further)
    of_cells = pd.DataFrame(index=cells.rows) if obs is None else obs.iloc[cells.rows]
    columns = whole_columns(
        [cells.obs],
        key_added,
        further,
        of_cells,
        lambda: cells.obsm[f"X_{key_added}"],
        lambda: cells.obsm[f"{key_added}_probabilities"],
        None if on_slide is None else on_slide.some(cells.rows),
    )
    return replace(cells, obs=columns)


def annotation_of_piece(
    predicted: PredictedCells,
    key_added: str = KEY_ADDED,
    obsm: Mapping[str, NDArray[np.floating]] | None = None,
    further: FurtherLabels = NOTHING_FURTHER,
) -> Annotation:
    """As :func:`annotation_of`, of some cells; columns are made whole by :func:`whole_columns`."""
    left_out, table = predicted.left_out, predicted.table
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
    for name, values in further.of_cells(table, UNASSIGNED).items():
        columns[f"{key_added}_{name}"] = (
            _texts(values[place], labelled) if values.dtype == object else spread(values)
        )
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


def whole_columns(
    pieces: Sequence[pd.DataFrame],
    key: str,
    further: FurtherLabels,
    obs: pd.DataFrame,
    embedding: Callable[[], Any],
    probabilities: Callable[[], Any],
    on_slide: OnSlide | None = None,
) -> pd.DataFrame:
    """Join the columns of pieces, and add what can be said of all cells alone.

    Parameters
    ----------
    pieces
        :attr:`Annotation.obs` of each, from :func:`annotation_of_piece`.
    key
        Start of their names.
    further
        Its groups, and labels on the slide, become columns.
    obs
        Table of the same cells, with the groups.
    embedding, probabilities
        Give those of the same cells, (cells, width) and (cells, labels), where they are needed.
    on_slide
        Where the same cells are.
    """
    columns = pd.DataFrame({name: _joined([piece[name] for piece in pieces]) for name in pieces[0]})
    label, assigned = columns[f"{key}_label"], columns[f"{key}_label_or_unassigned"]
    names = label.cat.categories[np.isin(label.cat.categories, label.unique())]
    columns[f"{key}_label"] = label.cat.set_categories(names)
    columns[f"{key}_label_or_unassigned"] = assigned.cat.set_categories(
        list(dict.fromkeys([*names, UNASSIGNED]))
    )
    labelled = label.notna().to_numpy()
    added: dict[str, Any] = {}
    if further.has_groups:
        added |= further.of_groups(
            assigned[labelled].astype(object).to_numpy(),
            obs[labelled],
            lambda: embedding()[labelled],
        )
    if further.has_slide and on_slide is not None:
        said, where = np.asarray(probabilities())[labelled], on_slide.some(labelled)
        all_names = list(pieces[0][f"{key}_label"].cat.categories)
        added |= further.of_slide(said, all_names, where.places, where.slides)
    for name, values in added.items():
        if values.dtype == object:
            columns[f"{key}_{name}"] = _texts(values, labelled)
        else:
            numbers = np.full(len(labelled), np.nan, dtype=np.float32)
            numbers[labelled] = values
            columns[f"{key}_{name}"] = numbers
    return columns


def _joined(pieces: Sequence[pd.Series]) -> Any:
    """One column of several; categories stay in their order if all have the same."""
    if len(pieces) == 1:
        return pieces[0].array
    if isinstance(pieces[0].dtype, pd.CategoricalDtype):
        same = all(piece.dtype == pieces[0].dtype for piece in pieces)
        return union_categoricals(list(pieces), sort_categories=not same)
    return np.concatenate([piece.to_numpy() for piece in pieces])


def _texts(values: NDArray[Any], labelled: NDArray[np.bool_]) -> pd.Categorical:
    """Texts of the labelled cells among nothing for the others."""
    texts = np.full(len(labelled), None, dtype=object)
    texts[labelled] = values
    return pd.Categorical(texts)


def column_names(labels: Sequence[str]) -> list[str]:
    """Names of the columns of ``obsm['plkd_probabilities']``: the labels, with ``|`` for ``/``.

    HDF5 takes a slash for a step into a group: a label ``CD4+/CD25`` beside ``CD4+`` would make a
    file that cannot be read. The labels themselves are in ``uns['plkd']['labels']``.
    """
    names = pd.Index([label.replace("/", "|") for label in labels], dtype=object)
    return list(names if names.is_unique else ad.utils.make_index_unique(names))


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
    names = label_names(table)
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
