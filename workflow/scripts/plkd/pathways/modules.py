"""Groups of genes that go together in the reference: tokens for data without gene sets.

Where no collection fits, of a small panel, of an organism or a tissue of which none is at hand, the
expression itself says which genes belong together. Unlike a random mask, such a token sees genes
that say the same, and its leading genes tell what it stands for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from plkd.pathways.gene_sets import GeneSet

CELLS = 5000
"""Of a reference that are enough to find its modules."""

_COMPONENTS = 30
_GENES_PER_MODULE = 15
_MODULES_OF_GENE = 2
_FEWEST_MODULES = 5
_LEAST_SPREAD = 0.1  # of a gene, in log-normalised units: rare genes do not count more
_NAMED = 3
_STARTS = 5  # of k-means, of which the best counts


def gene_modules(
    cells: sparse.csr_matrix,
    genes: Sequence[str],
    batches: Sequence[str] | NDArray[np.str_] | None = None,
    *,
    seed: int = 0,
) -> dict[str, GeneSet]:
    """Group genes by how they vary from cell to cell.

    k-means on the genes' principal components (of unit length, so that near are genes which
    correlate), one module for every 15 genes. A gene is in the two modules that it is nearest to.

    Parameters
    ----------
    cells
        Log-normalised expression of some cells of the reference, CSR (cells, genes).
    genes
        Names.
    batches
        Of the cells, (cells,): what sets batches apart puts no genes together.
    seed
        Random state.

    Returns
    -------
    dict
        By name, which has the three genes in the middle of the module; larger ones first. Genes
        that do not vary are in none.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD

    x = cells.toarray().astype(np.float32, copy=False)
    names = np.zeros(len(x), dtype=int) if batches is None else np.asarray(batches)
    for batch in np.unique(names):
        x[names == batch] -= x[names == batch].mean(axis=0)
    spread = x.std(axis=0)
    varying = np.flatnonzero(spread > _NO_SPREAD)
    width = min(_COMPONENTS, len(varying) - 1, len(x) - 1)
    if width < 1:
        return {}
    x = x[:, varying] / (spread[varying] + _LEAST_SPREAD)
    found = TruncatedSVD(width, random_state=seed).fit(x)
    patterns = found.components_.T * found.singular_values_
    patterns /= np.maximum(np.linalg.norm(patterns, axis=1, keepdims=True), _NO_SPREAD)
    n_modules = min(max(len(varying) // _GENES_PER_MODULE, _FEWEST_MODULES), len(varying))
    groups = KMeans(n_modules, n_init=_STARTS, random_state=seed).fit(patterns)
    distance = groups.transform(patterns)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :_MODULES_OF_GENE]
    modules = []
    for module in range(n_modules):
        members = np.flatnonzero((nearest == module).any(axis=1))
        members = members[np.argsort(distance[members, module], kind="stable")]
        modules.append([genes[i] for i in varying[members]])
    modules.sort(key=lambda members: (-len(members), members[:_NAMED]))
    return {
        name: GeneSet(name, "genes that go together in the reference", tuple(members))
        for members in modules
        if members
        for name in [", ".join(members[:_NAMED])]
    }


_NO_SPREAD = 1e-6
