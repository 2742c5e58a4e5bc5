"""Are labels right at the boundaries of regions, and as continuous in space as the true ones?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from plkd.utils.tables import Columns

N_AROUND = 6
"""Neighbours of a spot on a hexagonal grid, as of the slides of 10x Visium."""
SPATIAL_COLUMNS: Columns = {
    **dict.fromkeys(("dataset", "variant"), str), "seed": int,
    **dict.fromkeys(("method", "slice"), str), "n_cells": int,
    **dict.fromkeys(
        ("accuracy", "share_boundary", "accuracy_boundary", "accuracy_inside", "coherence_true",
         "coherence"),
        float,
    ),
}  # fmt: skip
"""Columns of :func:`spatial_scores` after the names of the run and the method."""


def spatial_scores(cells: pd.DataFrame, n_around: int = N_AROUND) -> pd.DataFrame:
    """Score labels in space, slice by slice.

    Parameters
    ----------
    cells
        `slice`, `x`, `y`, `label` (given by a method) and `true_label` (null where not known) of
        cells or spots; those without a true label are left out.
    n_around
        How many of the nearest cells of the slice are a cell's neighbours.

    Returns
    -------
    DataFrame
        One row per slice, and one of all, `slice` "all": `n_cells`, `accuracy`, `share_boundary`
        (cells with a neighbour of another true label), `accuracy_boundary` and `accuracy_inside`
        (of these and of the others), `coherence_true` and `coherence` (share of neighbours with a
        cell's own true, and own given label). NaN where there is no such cell.
    """
    known = cells[cells["true_label"].notna()].reset_index(drop=True)
    about = pd.DataFrame(
        {
            "slice": known["slice"].astype(str),
            "right": (known["label"] == known["true_label"]).to_numpy(dtype=bool),
            "coherence_true": np.nan,
            "coherence": np.nan,
        }
    )
    for members in known.groupby("slice", sort=False).indices.values():
        one = known.iloc[members]
        around = _neighbours(one[["x", "y"]].to_numpy(dtype=float), n_around)
        for column, score in (("true_label", "coherence_true"), ("label", "coherence")):
            codes = pd.factorize(one[column].astype(str))[0]
            same = (codes[around] == codes[:, None]).mean(axis=1) if around.size else np.nan
            about.loc[members, score] = same
    about["boundary"] = about["coherence_true"] < 1
    parts = [*about.groupby("slice", sort=True), ("all", about)]
    return pd.DataFrame([{"slice": name, **_summary(part)} for name, part in parts])


def _summary(cells: pd.DataFrame) -> dict[str, float]:
    boundary = cells["boundary"]
    return {
        "n_cells": len(cells),
        "accuracy": cells["right"].mean(),
        "share_boundary": boundary.mean(),
        "accuracy_boundary": cells.loc[boundary, "right"].mean(),
        "accuracy_inside": cells.loc[~boundary, "right"].mean(),
        "coherence_true": cells["coherence_true"].mean(),
        "coherence": cells["coherence"].mean(),
    }


def _neighbours(places: NDArray[np.float64], n_around: int) -> NDArray[np.intp]:
    """Positions of the nearest places of each, itself left out: (n_cells, n_around or fewer)."""
    k = min(n_around, len(places) - 1)
    found = cKDTree(places).query(places, k=k + 1)[1].reshape(len(places), k + 1)
    # of places that coincide the place itself need not come first
    itself = found == np.arange(len(places))[:, None]
    itself[~itself.any(axis=1), -1] = True
    return found[~itself].reshape(len(places), k)
