"""The graph of nearest neighbours on which maps, clusters and scores of embeddings stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import anndata as ad

NEIGHBOURS = 15
# Up to here all distances are computed: it takes seconds, and spares compiling a library that
# approximates, which takes half a minute.
_EXACT = 20_000


def add_neighbours(cells: ad.AnnData, use_rep: str, seed: int, *, weighted: bool = True) -> None:
    """Add scanpy's graph of 15 neighbours to cells.

    Parameters
    ----------
    cells
        At least two; ``obsp`` and ``uns`` are written.
    use_rep
        Key of ``obsm`` with the embedding.
    seed
        Of the neighbours of more than 20,000 cells, which are approximate.
    weighted
        Whether the weights of the edges matter, which are UMAP's then. Which cells are neighbours
        is the same without, and found without loading UMAP.
    """
    import scanpy as sc

    sc.pp.neighbors(
        cells,
        n_neighbors=min(NEIGHBOURS, cells.n_obs - 1),
        use_rep=use_rep,
        method="umap" if weighted else "gauss",
        transformer="sklearn" if cells.n_obs <= _EXACT else None,
        random_state=seed,
    )
