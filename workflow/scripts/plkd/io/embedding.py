"""Files of embeddings: the cells of a run beside what a network or another method makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from plkd.utils.files import intact, whole_file
from plkd.utils.hdf5 import write_h5ad
from plkd.utils.text import listed


def write_embedding(sides: Mapping[str, tuple[pd.Series, np.ndarray]], output: str | Path) -> None:
    """Write embeddings of cells as one h5ad.

    Parameters
    ----------
    sides
        Cell ids and embedding of every role (reference, query), one below the other in the file.
    output
        h5ad: X float32 (cells, width), obs `role` and `cell_id`.
    """
    role = np.repeat(list(sides), [len(ids) for ids, _ in sides.values()])
    cell_ids = pd.concat([ids for ids, _ in sides.values()], ignore_index=True)
    stacked = np.vstack([embedding for _, embedding in sides.values()])
    # A cell id may occur on both sides, so the index is the position.
    index = np.arange(len(stacked)).astype(str)
    obs = pd.DataFrame({"role": pd.Categorical(role), "cell_id": cell_ids.to_numpy()}, index=index)
    with whole_file(output) as temporary:
        write_h5ad(ad.AnnData(stacked, obs=obs), temporary)


def read_embedded_cells(path: str | Path) -> ad.AnnData:
    """Read an embedding as rule predict writes it: X (n_cells, n_dimensions), `role`, `cell_id`.

    Raises
    ------
    InputError
        If the file is absent, damaged, or something else.
    """
    with intact(path, "predict"):
        adata = ad.read_h5ad(path)
        lacking = {"role", "cell_id"} - set(adata.obs)
        if lacking:
            raise ValueError(f"obs has no column {listed(sorted(lacking))}")
        if not np.isfinite(adata.X).all():
            raise ValueError("a value is not a finite number")
    return adata
