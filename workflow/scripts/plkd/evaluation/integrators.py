"""Methods that put reference and query into one space, to compare our embeddings with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plkd.evaluation.embeddings import principal_components
from plkd.evaluation.tables import SHARE_PAIRED
from plkd.preparation.prepared import PreparedCells

Sides = Mapping[str, tuple[pd.Series, NDArray[np.float32]]]
"""Cell ids and embedding of the reference and of the query."""


def all_components(reference: str | Path, query: str | Path) -> NDArray[np.float32]:
    """50 principal components of all cells of prepared reference and query: nothing is mixed."""
    n_cells = sum(PreparedCells.read(path).n_cells for path in (reference, query))
    return principal_components(reference, query, np.arange(n_cells), seed=0)


def batches_to_mix(
    reference: str | Path, query: str | Path, crossing: bool = False
) -> NDArray[np.object_]:
    """What a method is told to mix, for all cells, the reference's first.

    Parameters
    ----------
    reference, query
        Prepared files.
    crossing
        The query is of another modality than the reference: these are to be mixed.

    Returns
    -------
    Array of str
        The batches; reference and query where they are of one batch each, or of two modalities.
    """
    sides = {"reference": PreparedCells.read(reference), "query": PreparedCells.read(query)}
    batches = np.concatenate([side.batches.astype(object) for side in sides.values()])
    if crossing or len(set(batches)) == 1:
        return np.repeat(np.array(list(sides), object), [side.n_cells for side in sides.values()])
    return batches


def paired_cells(reference: str | Path, query: str | Path) -> NDArray[np.intp]:
    """Cells that are in reference and query, measured twice, by their names in the files.

    Parameters
    ----------
    reference, query
        Prepared files.

    Returns
    -------
    Array of shape (n_pairs, 2)
        Rows in the reference and in the query; none where fewer than nine in ten cells of the
        smaller side are in the other, because barcodes of different cells may coincide.
    """
    names = [pd.Index(PreparedCells.read(path).source_ids) for path in (reference, query)]
    shared = names[0].unique().intersection(names[1].unique())
    once = [shared.isin(one[~one.duplicated(keep=False)]) for one in names]
    shared = shared[once[0] & once[1]]
    if len(shared) < SHARE_PAIRED * min(map(len, names)):
        return np.empty((0, 2), np.intp)
    rows = [pd.Series(np.arange(len(one)), index=one)[shared] for one in names]
    return np.column_stack(rows).astype(np.intp)


def split_sides(embedding: NDArray[np.floating], reference: str | Path, query: str | Path) -> Sides:
    """Give every cell of an embedding of all cells, the reference's first, its side and id."""
    sides = {"reference": PreparedCells.read(reference), "query": PreparedCells.read(query)}
    parts = np.split(np.asarray(embedding, np.float32), [sides["reference"].n_cells])
    return {
        role: (pd.Series(side.cell_ids, dtype=object), part)
        for (role, side), part in zip(sides.items(), parts, strict=True)
    }
