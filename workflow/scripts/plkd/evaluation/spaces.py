"""Scores and maps of spaces, each made once and shown in every run that it stands beside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plkd.evaluation.columns import RUN_COLUMNS
from plkd.evaluation.embeddings import umap_coordinates
from plkd.utils.tables import Columns, read_tsv

SCORING_SEED = 0
"""Of all that scores draw by chance, alike for all spaces and seeds, so that these are compared on
the same cells."""
MAP_COLUMNS: Columns = {
    **dict.fromkeys(("space", "cell_id", "role", "batch", "label"), str),
    "umap1": float,
    "umap2": float,
}
"""Columns of :func:`map_of_space`."""


def map_of_space(
    name: str, embedding: NDArray[np.float32], cells: pd.DataFrame, seed: int = SCORING_SEED
) -> pd.DataFrame:
    """Map cells in one space.

    Parameters
    ----------
    name
        Of the method whose space it is.
    embedding
        Of shape (n_cells, n_dimensions).
    cells
        `cell_id`, `role`, `batch` and `label` of the cells.
    seed
        Of UMAP.

    Returns
    -------
    DataFrame
        Columns :data:`MAP_COLUMNS`, one row per cell.
    """
    plane = umap_coordinates(embedding, seed)
    table = cells.reset_index(drop=True).assign(space=name, umap1=plane[:, 0], umap2=plane[:, 1])
    return table[list(MAP_COLUMNS)]


def of_all_spaces(tables: Sequence[pd.DataFrame], columns: Iterable[str]) -> pd.DataFrame:
    """Tables of some spaces in one; one without rows where no method had a space."""
    found = [table for table in tables if len(table)]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(columns))


def read_maps(paths: Iterable[str | Path], made_by: str) -> pd.DataFrame:
    """Read maps that were made apart.

    Returns
    -------
    DataFrame
        Columns :data:`MAP_COLUMNS`.

    Raises
    ------
    InputError
        If a file is absent or no such table.
    """
    return of_all_spaces(
        [read_tsv(path, MAP_COLUMNS, made_by=made_by) for path in paths], MAP_COLUMNS
    )


def scores_of_run(
    paths: Iterable[str | Path],
    columns: Columns,
    spaces: Sequence[str],
    run: Mapping[str, str],
    made_by: str,
) -> pd.DataFrame:
    """Put the scores of a run's spaces together, of which most were made for many runs.

    Parameters
    ----------
    paths
        Tables of scores, as :func:`plkd.evaluation.integration.score_integration` or
        :func:`plkd.evaluation.omics.score_omics` make them.
    columns
        Columns of the result: those of the tables, and the names of the run.
    spaces
        Methods in the order in which they are shown.
    run
        Its names (:data:`plkd.evaluation.columns.RUN_COLUMNS`).
    made_by
        The rule that wrote the tables, for messages.

    Returns
    -------
    DataFrame
        `columns`: a row per group of cells and space, in the order of `spaces`.

    Raises
    ------
    InputError
        If a file is absent or no such table.
    """
    of_space = {name: kind for name, kind in columns.items() if name not in RUN_COLUMNS}
    tables = [read_tsv(path, of_space, made_by=made_by) for path in paths]
    table = of_all_spaces(tables, of_space)
    place = {name: position for position, name in enumerate(spaces)}
    groups = pd.factorize(table["cells"])[0]
    table = table.iloc[np.lexsort([table["method"].map(place).to_numpy(), groups])]
    table = table.assign(dataset=run["dataset"], variant=run["variant"], seed=int(run["seed"]))
    return table[list(columns)]
