"""Methods that put reference and query into one space, to compare our embeddings with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plkd.evaluation.embeddings import principal_components
from plkd.preparation.prepared import PreparedCells

Sides = Mapping[str, tuple[pd.Series, NDArray[np.float32]]]
"""Cell ids and embedding of the reference and of the query."""


def integrate(method: str, reference: str | Path, query: str | Path) -> Sides:
    """Embed all cells of a run by one method.

    Parameters
    ----------
    method
        ``pca``: 50 principal components of all cells, which mixes nothing.
    reference, query
        Prepared files.

    Returns
    -------
    dict
        Cell ids and embedding (n_cells, n_dimensions) of `reference` and `query`.
    """
    sides = {"reference": PreparedCells.read(reference), "query": PreparedCells.read(query)}
    n_cells = sum(side.n_cells for side in sides.values())
    embedding = principal_components(reference, query, np.arange(n_cells), seed=0)
    parts = np.split(embedding, [sides["reference"].n_cells])
    return {
        role: (pd.Series(side.cell_ids, dtype=object), part)
        for (role, side), part in zip(sides.items(), parts, strict=True)
    }
