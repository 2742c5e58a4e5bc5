"""Groups of cells and their label: the one that most of their cells have."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from plkd.utils.neighbours import add_neighbours

HETEROGENEOUS = "heterogeneous"
"""Label of a group in which no label is frequent enough."""
LEAST_AGREEMENT = 0.5
"""Share of a group's cells that must have its label."""


def vote(
    groups: ArrayLike, labels: ArrayLike, least_agreement: float = LEAST_AGREEMENT
) -> pd.DataFrame:
    """Label groups of cells by the majority.

    Parameters
    ----------
    groups
        Group of every cell; missing for those that are in none.
    labels
        Label of every cell; "unassigned" is one as any other.
    least_agreement
        A group is heterogeneous if its most frequent label has a smaller share of its cells.

    Returns
    -------
    DataFrame
        `group_label` and `group_agreement` of every cell: the label of its group (of equals the
        first in the alphabet), missing without a group, and how many of the group's cells have
        the label that is most frequent.
    """
    cells = pd.DataFrame({"group": pd.Series(groups).to_numpy(dtype=object), "label": labels})
    cells = cells.reset_index(drop=True)
    counts = cells.groupby(["group", "label"], observed=True).size().rename("n").reset_index()
    counts = counts.sort_values(["n", "label"], ascending=[False, True], kind="stable")
    winners = counts.drop_duplicates("group").set_index("group")
    sizes = counts.groupby("group")["n"].sum()
    agreement = winners["n"] / sizes.reindex(winners.index)
    names = winners["label"].where(agreement >= least_agreement, HETEROGENEOUS)
    return pd.DataFrame(
        {
            "group_label": cells["group"].map(names).astype(object),
            "group_agreement": cells["group"].map(agreement).astype(np.float32),
        }
    )


def clusters_of(embedding: NDArray[np.floating], seed: int = 0) -> NDArray[np.object_]:
    """Leiden clusters of cells by an embedding (cells, width): names "0", "1", .. by their size."""
    import anndata as ad
    import scanpy as sc

    n_cells = len(embedding)
    if n_cells < 3:
        return np.full(n_cells, "0", dtype=object)
    cells = ad.AnnData(obs=pd.DataFrame(index=np.arange(n_cells).astype(str)))
    cells.obsm["X_emb"] = np.asarray(embedding, dtype=np.float32)
    add_neighbours(cells, "X_emb", seed)
    sc.tl.leiden(cells, flavor="igraph", n_iterations=2, directed=False, random_state=seed)
    return cells.obs["leiden"].to_numpy(dtype=object)
