"""An AnnData as a source of cells: looked at and sliced, never changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np

from plkd.io.stores import Matrices, slot_name


def name_of(adata: ad.AnnData) -> Path:
    """What messages call it: the file of a backed one, or "the AnnData"."""
    return Path(adata.filename) if adata.isbacked else Path("the AnnData")


def matrices_of_anndata(adata: ad.AnnData) -> Matrices:
    """All matrices by the names of their slots, see :data:`plkd.io.stores.Matrices`.

    Those of a backed AnnData stay on disk; of a view of one anndata reads the chosen cells.
    """

    def layer(name: str) -> Callable[[], Any]:
        return lambda: adata.layers[name]

    found: dict[str, Callable[[], Any]] = {}
    if adata.isbacked or adata.X is not None:
        found["X"] = lambda: adata.X
    raw = adata.raw
    if raw is not None:
        found["raw.X"] = lambda: raw.X
    return found | {slot_name(name, False): layer(name) for name in sorted(adata.layers)}


def coordinates_of(adata: ad.AnnData) -> np.ndarray | None:
    """``obsm['spatial']`` as float32 (n_cells, n_dimensions), if there is one."""
    spatial = adata.obsm.get("spatial")
    return None if spatial is None else np.asarray(spatial, dtype=np.float32)
