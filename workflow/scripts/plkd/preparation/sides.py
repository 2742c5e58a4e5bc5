"""Open reference and query, and choose their cells and the names that their genes go by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np

from plkd.errors import InputError
from plkd.io.cells import CellFile, CellSource, open_cells
from plkd.io.symbols import with_symbols_of_file
from plkd.preparation.side import (
    Side,
    check_values,
    choose_cells,
    labelled_cells,
    no_cells_left_out,
)
from plkd.preparation.variable_genes import split_cells
from plkd.settings.datasets import PrepareSettings, SourceSettings


@dataclass(frozen=True)
class Sides:
    """Reference and query with their cells chosen; their values stay in the open files."""

    reference: Side
    query: Side
    notes: list[str] = field(default_factory=list)


@contextmanager
def open_sides(
    config: Mapping[str, Any],
    reference: CellSource,
    query: CellSource | None,
    choices: PrepareSettings,
) -> Iterator[Sides]:
    """Open the two sides of a data set; a file that serves both is opened once.

    Parameters
    ----------
    config
        The data set's configuration: `reference`, and `query` or `split`.
    reference, query
        The cells; no query where `split` makes it out of the reference.
    choices
        What a cell or a label needs to be kept.

    Raises
    ------
    InputError
        If the data or the settings cannot be used.
    """
    settings = SourceSettings.from_config(config["reference"])
    with ExitStack() as files:
        if query is None:
            opened = files.enter_context(
                open_cells(reference, settings.reading, obs_columns=settings.obs_columns)
            )
            opened.require_writable()
            labelled = reference_side(opened, settings, choices)
            yield _split(labelled, config.get("split"))
            return
        query_settings = SourceSettings.from_config(config.get("query") or {})
        columns = [*settings.obs_columns, *query_settings.obs_columns]
        same_file = _is_one_file(reference, query)
        opened = files.enter_context(open_cells(reference, settings.reading, obs_columns=columns))
        asked = (
            opened
            if same_file and settings.reading == query_settings.reading
            else files.enter_context(open_cells(query, query_settings.reading, obs_columns=columns))
        )
        asked.require_writable()
        opened, asked = (
            with_symbols_of_file(opened, asked.genes),
            with_symbols_of_file(asked, opened.genes),
        )
        sides = _two_sides(opened, settings, asked, query_settings, choices)
        sides.notes.extend(_shared_cells(sides, same_file))
        yield sides


def reference_side(
    opened: CellFile, settings: SourceSettings, choices: PrepareSettings, *, progress: bool = True
) -> Side:
    """Choose and check the cells of a reference alone; errors are those of :func:`open_sides`."""
    chosen = choose_cells(opened, settings, "reference")
    (side,) = check_values([chosen], choices.min_genes_per_cell, progress=progress)
    return labelled_cells(side, settings, opened.path, choices.min_cells_per_label)


def _split(labelled: Side, split: Mapping[str, Any] | None) -> Sides:
    """Make the query out of the reference."""
    if split is None:
        raise InputError("the data set has neither `query` nor `split`: add one of them")
    is_query = split_cells(
        list(labelled.labels), split.get("query_fraction", 0.5), split.get("seed", 0)
    )
    # What was dropped before the split was never a cell of the query.
    query = replace(labelled.take(is_query), role="query", left_out=no_cells_left_out())
    query.warnings.clear()
    return Sides(labelled.take(~is_query), query)


def _two_sides(
    opened: CellFile,
    settings: SourceSettings,
    asked: CellFile,
    query_settings: SourceSettings,
    choices: PrepareSettings,
) -> Sides:
    chosen = [
        choose_cells(opened, settings, "reference"),
        choose_cells(asked, query_settings, "query"),
    ]
    reference, query = check_values(chosen, choices.min_genes_per_cell)
    reference = labelled_cells(reference, settings, opened.path, choices.min_cells_per_label)
    query.labels[np.isin(query.labels, query_settings.drop_labels)] = None
    return Sides(reference, query)


def _shared_cells(sides: Sides, same_file: bool) -> list[str]:
    shared = int(sides.reference.cell_ids.isin(sides.query.cell_ids).sum())
    if shared and (same_file or shared > 0.5 * sides.query.n_cells):
        return [
            f"{shared:,} cell ids are in reference and query: if they are the same cells, the "
            "evaluation says nothing about new cells"
        ]
    return []


def _is_one_file(one: CellSource, other: CellSource) -> bool:
    if isinstance(one, ad.AnnData) or isinstance(other, ad.AnnData):
        return one is other
    return Path(one).resolve() == Path(other).resolve()
