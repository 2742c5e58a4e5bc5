"""One side of a data set, reference or query: its cells, labels, batches and scale."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata.utils import make_index_unique
from numpy.typing import NDArray
from pandas.util import hash_array
from scipy import sparse

from plkd.errors import InputError
from plkd.io.cells import CellFile
from plkd.io.counts import recover_counts
from plkd.io.scale import MatrixScale, ValueRange, sampled_blocks
from plkd.io.stores import slot_name
from plkd.preparation.chunks import chunks_of
from plkd.settings.datasets import (
    LEAST_MINOR,
    Imbalance,
    Part,
    SourceSettings,
    part_of_cell,
)
from plkd.utils.logs import logger
from plkd.utils.text import counted, listed, visible

MISSING_BATCH = "missing"
ONLY_BATCH = "batch0"
LISTED_VALUES = 20
NO_COUNTS = "no counts at all"
NO_MODEL_GENES = "no counts of the model's genes"
OTHER_SCALE = "values on another scale than the other cells'"
LOOK_MISSING = ("na", "n/a", "none", "null", "<na>", "unassigned", "unlabelled", "unlabeled")


@dataclass
class Side:
    """The chosen cells of one side. Their values stay in the file, on the scale they have there.

    Attributes
    ----------
    role
        ``reference`` or ``query``.
    cells
        The open file.
    rows
        Row of each cell in the file, ascending int array (n_cells,).
    cell_ids
        Unique names.
    labels
        Object array (n_cells,) of str, None where unknown.
    batches
        Object array (n_cells,) of str.
    scale
        What the values are.
    left_out
        Cells that were asked for and then dropped: `source_row`, `cell_id` (in the file), `reason`.
    report
        What was read, dropped and found, ready for JSON.
    """

    role: str
    cells: CellFile
    rows: NDArray[np.intp]
    cell_ids: pd.Index
    labels: NDArray[np.object_]
    batches: NDArray[np.object_]
    scale: MatrixScale
    report: dict[str, Any]
    left_out: pd.DataFrame
    warnings: list[str] = field(default_factory=list)

    @property
    def source_ids(self) -> pd.Index:
        """Names of the cells in the file, unique or not."""
        return self.cells.obs.index[self.rows]

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.rows.size

    @property
    def genes(self) -> list[str]:
        """Unique names: the columns of the file."""
        return self.cells.genes

    @property
    def spatial(self) -> NDArray[np.floating] | None:
        """Coordinates (n_cells, n_dimensions), if there are any."""
        coordinates = self.cells.spatial
        return None if coordinates is None else coordinates[self.rows]

    def take(self, kept: NDArray[np.bool_], reason: str | None = None) -> Side:
        """Keep some cells; those dropped for a `reason` are reported and listed as left out."""
        if kept.all():
            return self
        report, left_out = dict(self.report), self.left_out
        if reason is not None:
            report["dropped"] = [*report["dropped"], *_dropped(kept, reason)]
            dropped = {
                "source_row": self.rows[~kept],
                "cell_id": self.source_ids[~kept],
                "reason": reason,
            }
            left_out = pd.concat([left_out, pd.DataFrame(dropped)], ignore_index=True)
        return replace(
            self,
            rows=self.rows[kept],
            cell_ids=self.cell_ids[kept],
            labels=self.labels[kept],
            batches=self.batches[kept],
            report=report,
            left_out=left_out,
            warnings=list(self.warnings),
        )

    def counts(self, X: sparse.csr_matrix) -> sparse.csr_matrix | None:
        """Whole numbers of some of the cells as float32, stored or recovered; None if gone."""
        if self.scale.kind == "counts":
            return X.astype(np.float32)
        if self.scale.counts_recoverable:
            return recover_counts(X, logged=self.scale.kind == "log1p", base=self.scale.log_base)
        return None


def choose_cells(cells: CellFile, settings: SourceSettings, role: str) -> Side:
    """Take the cells that the settings ask for, by the table of the cells alone.

    The scale is that of most of them; :func:`check_values` looks at all.

    Parameters
    ----------
    cells
        The open file.
    settings
        Those of the side.
    role
        ``reference`` or ``query``, for messages.

    Raises
    ------
    InputError
        If a column or a value of `keep` or `drop` does not exist, no cell is chosen, or the matrix
        is neither counts nor normalised.
    """
    if settings.labels_key is not None and settings.labels_key == settings.batch_key:
        raise InputError(
            f"{role}: `labels_key` and `batch_key` are the same column '{settings.labels_key}'; "
            "the batch would give the label away. Name another column as `batch_key`, or none."
        )
    if cells.n_cells == 0:
        raise InputError(f"'{cells.path}' has no cells; give a {role} with cells")
    kept = _kept(cells.obs, settings, cells.path)
    if settings.part is not None:
        kept &= _in_part(cells.obs.index, settings.part)
        if not kept.any():
            raise InputError(
                f"'{cells.path}': no {role} cell is in part {settings.part.number} of "
                f"{settings.part.of} (`part`). Ask for fewer parts."
            )
    if settings.imbalance is not None:
        labels = _column(cells.obs, settings.labels_key, "labels_key", cells.path)
        kept &= _imbalanced(labels, kept, settings.imbalance, f"'{cells.path}': {role}")
    rows = np.flatnonzero(kept)
    scale = cells.scale if kept.all() else cells.scale_of(_sample(cells, rows))
    cells.require_usable(scale)
    obs = cells.obs if kept.all() else cells.obs[kept]
    labels = _column(obs, settings.labels_key, "labels_key", cells.path)
    batches = _column(obs, settings.batch_key, "batch_key", cells.path)
    n_nameless = int(pd.isna(batches).sum()) if settings.batch_key else 0
    batches[pd.isna(batches)] = MISSING_BATCH if settings.batch_key else ONLY_BATCH
    ids = unique_cell_ids(obs.index.rename(None), cells.path)
    side = Side(
        role,
        cells,
        rows,
        ids,
        labels,
        batches,
        scale,
        {
            "url": settings.url or Path(cells.path).name,
            "matrix": slot_name(settings.reading.layer, settings.reading.use_raw),
            "cells_read": cells.n_cells,
            "genes_read": len(cells.genes),
            "gene_names": cells.names_report,
            "dropped": _dropped(kept, "not in `keep` or `part`, or in `drop`"),
            "cell_ids_made_unique": int(obs.index.duplicated().sum()),
        },
        no_cells_left_out(),
    )
    if settings.labels_key:
        side.warnings.extend(f"{role}: {text}" for text in _on_labels(obs[settings.labels_key]))
    if n_nameless:
        side.warnings.append(
            f"{role}: {n_nameless:,} cells without a value in '{settings.batch_key}' form the "
            f"batch '{MISSING_BATCH}'"
        )
    return side


def check_values(
    sides: Sequence[Side], min_genes_per_cell: int = 0, *, progress: bool = True
) -> list[Side]:
    """Look at all values of some sides, and drop cells on another scale or that hold too little.

    Parameters
    ----------
    sides
        From :func:`choose_cells`; a file that serves several is read once.
    min_genes_per_cell
        Cells with fewer genes above zero are dropped; those with none always are.
    progress
        Show a progress bar.

    Raises
    ------
    InputError
        If no cell is left, or a value is missing, infinite or negative.
    """
    ranges = {side.role: ValueRange() for side in sides}
    n_genes = {side.role: np.zeros(side.n_cells, dtype=np.int32) for side in sides}
    outlying = {side.role: np.zeros(side.n_cells, dtype=bool) for side in sides}
    for side, here, X in chunks_of(sides, "checking values", progress=progress):
        outlying[side.role][here] = side.cells.outlying(side.rows[here], X, side.scale)
        ranges[side.role] += ValueRange.of(X)
        n_genes[side.role][here] = _genes_per_cell(X)
    checked = []
    for side in sides:
        lowest, highest = ranges[side.role].limits
        scale = replace(side.scale, minimum=lowest, maximum=highest)
        side = replace(side, scale=scale, report=side.report | {"scale": scale.as_dict()})
        side.warnings.extend(f"{side.role}: {text}" for text in scale.doubts())
        odd = outlying[side.role]
        if odd.any():
            side.warnings.append(f"{side.role}: {on_outlying(side.cell_ids[odd], scale)}")
        of_cell = n_genes[side.role]
        side = side.take(~odd, OTHER_SCALE)
        of_cell = of_cell[~odd]
        side = side.take(of_cell > 0, NO_COUNTS).take(
            of_cell[of_cell > 0] >= min_genes_per_cell,
            f"fewer than {min_genes_per_cell} genes (`min_genes_per_cell`)",
        )
        if side.n_cells == 0:
            raise InputError(
                f"'{side.cells.path}': no {side.role} cell is left (of {side.cells.n_cells:,}): "
                f"{_drops(side)}"
            )
        checked.append(side)
    return checked


def labelled_cells(
    side: Side, settings: SourceSettings, path: str | Path, min_cells_per_label: int
) -> Side:
    """Keep the cells of a reference that have a usable label.

    Raises
    ------
    InputError
        If there is no label column, or fewer than two labels are left.
    """
    if settings.labels_key is None:
        raise InputError(
            f"'{path}': the reference needs `labels_key`, the obs column of its labels"
        )
    before = dict(Counter(side.labels[~pd.isna(side.labels)]))
    unknown = set(settings.drop_labels) - set(before)
    if unknown:
        side.warnings.append(
            f"reference: `drop_labels` not found: {listed(sorted(unknown), LISTED_VALUES)}"
        )
    side = side.take(~pd.isna(side.labels), f"no label in '{settings.labels_key}'")
    side = side.take(~np.isin(side.labels, settings.drop_labels), "`drop_labels`")
    rare = sorted(k for k, n in Counter(side.labels).items() if n < min_cells_per_label)
    if rare:
        side.warnings.append(
            f"reference: labels with fewer than {min_cells_per_label} cells are left out "
            f"(`min_cells_per_label`): {listed(rare, LISTED_VALUES)}"
        )
        side = side.take(
            ~np.isin(side.labels, rare),
            f"label with fewer than {min_cells_per_label} cells (`min_cells_per_label`)",
        )
    if len(set(side.labels)) < 2:
        raise InputError(
            f"'{path}', obs['{settings.labels_key}']: at least two labels are needed, found "
            f"{counted(before, LISTED_VALUES)}; left after cleaning: "
            f"{listed(sorted(set(side.labels)), LISTED_VALUES)}. Name another column "
            "as `labels_key`, or change `drop_labels`, `keep`, "
            "`min_cells_per_label`."
        )
    return side


def on_outlying(cell_ids: Sequence[str] | pd.Index, scale: MatrixScale) -> str:
    """A sentence on cells that :func:`plkd.io.scale.outlying_rows` finds."""
    return (
        f"{len(cell_ids):,} cells ({listed(cell_ids, 3)}) hold other values than the rest, which "
        f"are {scale.describe()}; they are left out"
    )


def no_cells_left_out() -> pd.DataFrame:
    """The empty table of :attr:`Side.left_out`."""
    return pd.DataFrame({"source_row": np.empty(0, np.intp), "cell_id": [], "reason": []})


def unique_cell_ids(names: pd.Index, path: str | Path) -> pd.Index:
    """Names of cells; where one occurs again it gets a number, with a warning.

    Cells keep their place, so that an annotated copy of the file has them under their own names.
    """
    if _are_unique(names):
        return names
    twice = names[names.duplicated()]
    logger.warning(
        "'%s': %d cells have the name of another (%s); in tables they get a number",
        *(path, len(twice), listed(twice, 3)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that end with numbers: any unique one will do
        return make_index_unique(names.astype(object))


def _are_unique(names: pd.Index) -> bool:
    """Whether no name occurs twice; by hashes, which take a tenth of the memory of a look-up."""
    if not len(names):
        return True
    pieces = [names[start : start + _HASHED] for start in range(0, len(names), _HASHED)]
    hashes = np.concatenate(
        [hash_array(np.asarray(piece, dtype=object), categorize=False) for piece in pieces]
    )
    hashes.sort()
    return bool((hashes[1:] != hashes[:-1]).all()) or names.is_unique


_HASHED = 2**16


def clean_labels(values: pd.Series) -> NDArray[np.object_]:
    """Labels as str, as they look; None for a missing one, an empty one and the text ``nan``.

    Whole numbers stored as floats (because one is missing) lose their ``.0``.
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if values.dtype.kind == "f" and np.all(values.dropna() % 1 == 0):
        values = values.astype("Int64")
    text = values.astype("string")
    text = text.map({one: visible(one) for one in text.dropna().unique()}).astype("string")
    missing = text.isna() | text.str.lower().isin(["", "nan"])
    labels = text.astype(object).to_numpy(copy=True)
    labels[missing.to_numpy(dtype=bool)] = None
    return labels


def _on_labels(values: pd.Series) -> list[str]:
    """Sentences on labels that may not be meant as they are written."""
    found = []
    texts = {text for text in values.dropna().unique() if isinstance(text, str)}
    looks = Counter(map(visible, texts))
    alike = [repr(text) for text in sorted(texts) if looks[visible(text)] > 1]
    if alike:
        found.append(
            "labels that differ by blanks, or by what cannot be seen, are taken as one: "
            f"{listed(alike, quote='')}"
        )
    doubtful = sorted(text for text in texts if visible(text).casefold() in LOOK_MISSING)
    if doubtful:
        found.append(
            f"{listed(doubtful)} in '{values.name}' are taken as labels like all others; leave "
            "such cells out by `drop_labels`, or `drop`, if they have none"
        )
    return found


def _kept(obs: pd.DataFrame, settings: SourceSettings, path: str | Path) -> NDArray[np.bool_]:
    kept = np.ones(len(obs), dtype=bool)
    for setting in ("keep", "drop"):
        for column, wanted in getattr(settings, setting).items():
            found = _column(obs, column, setting, path)
            values = [wanted] if isinstance(wanted, str | int | float) else wanted
            asked = {visible(str(value)) for value in values}
            unknown = asked - set(found)
            if unknown:
                raise InputError(
                    f"'{path}', obs['{column}'] (`{setting}`): no cell has the value "
                    f"{listed(sorted(unknown), LISTED_VALUES)}; the values are: "
                    f"{counted(Counter(found), LISTED_VALUES)}"
                )
            kept &= np.isin(found, list(asked), invert=setting == "drop")
    if not kept.any():
        raise InputError(
            f"'{path}': no cell has all the values that `keep` asks for ({dict(settings.keep)}) "
            f"and none that `drop` takes out ({dict(settings.drop)})"
        )
    return kept


def _in_part(names: pd.Index, part: Part) -> NDArray[np.bool_]:
    """Which cells are in a part, by the names that they have in their file."""
    return np.array([part_of_cell(str(name), part.of) == part.number for name in names])


def _imbalanced(
    labels: NDArray[np.object_], kept: NDArray[np.bool_], asked: Imbalance, where: str
) -> NDArray[np.bool_]:
    """Draw cells of two labels in a given ratio, as many as there are.

    Raises
    ------
    InputError
        If there is no such draw with two cells of the minor label.
    """
    major, minor = (
        np.flatnonzero(kept & (labels == visible(name))) for name in (asked.major, asked.minor)
    )
    n_minor = asked.n_minor(len(major), len(minor))
    if n_minor < LEAST_MINOR:
        raise InputError(
            f"{where} has {len(major):,} cells of '{asked.major}' and {len(minor):,} of "
            f"'{asked.minor}': too few for two cells of the latter at {asked.ratio} to 1 "
            "(`imbalance`). Choose a smaller ratio or other labels."
        )
    rng = np.random.default_rng(asked.seed)
    chosen = np.zeros(len(labels), dtype=bool)
    chosen[rng.choice(minor, n_minor, replace=False)] = True
    n_major = min(len(major), n_minor * asked.ratio)
    chosen[rng.choice(major, n_major, replace=False)] = True
    return chosen


def _column(
    obs: pd.DataFrame, column: str | None, setting: str, path: str | Path
) -> NDArray[np.object_]:
    if column is None:
        return np.full(len(obs), None, dtype=object)
    if column not in obs:
        raise InputError(
            f"'{path}': obs has no column '{column}' (`{setting}`); its columns are: "
            f"{', '.join(map(str, obs.columns)) or 'none'}"
        )
    return clean_labels(obs[column])


def _sample(cells: CellFile, rows: NDArray[np.intp]) -> sparse.csr_matrix:
    """Some of the chosen cells, spread over all of them."""
    return cells.take(np.concatenate([rows[block] for block in sampled_blocks(rows.size)]))


def _genes_per_cell(X: sparse.csr_matrix) -> NDArray[np.intp]:
    """Number of values that are not zero, stored zeros aside."""
    stored = np.diff(X.indptr)
    if X.data.all():
        return stored
    rows = np.repeat(np.arange(X.shape[0]), stored)
    return stored - np.bincount(rows[X.data == 0], minlength=X.shape[0])


def _dropped(kept: NDArray[np.bool_], reason: str) -> list[dict[str, Any]]:
    return [] if kept.all() else [{"reason": reason, "cells": int(np.count_nonzero(~kept))}]


def _drops(side: Side) -> str:
    return (
        "; ".join(f"{d['cells']:,} {d['reason']}" for d in side.report["dropped"]) or "it is empty"
    )
