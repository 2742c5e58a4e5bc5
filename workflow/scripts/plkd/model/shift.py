"""How far a query lies from the reference, as its expression alone can tell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

# Between cells of one sample a classifier guesses; between donors of one study it is right by
# about .7 (area under the curve), between studies or technologies by .87 to 1.
_ONE_SAMPLE, _OTHER_BATCH = 0.55, 0.65
_CELLS_PER_LABEL, _COMPONENTS, _PARTS = 300, 50, 5


def measure_shift(
    reference: sparse.csr_matrix,
    query: sparse.csr_matrix,
    reference_codes: NDArray[np.integer],
    query_codes: NDArray[np.integer],
    seed: int = 0,
) -> float:
    """How well reference and query can be told apart among cells of the same label.

    As many cells of each label are taken from both, so that another composition is no shift.

    Parameters
    ----------
    reference, query
        Log-normalised expression, CSR of shape (cells, genes).
    reference_codes, query_codes
        Label of every cell (of the query: as predicted), its position among the labels.
    seed
        Seed of the choice of cells.

    Returns
    -------
    float
        Cross-validated area under the curve of a logistic regression on principal components: .5
        for cells of one sample, 1 where batches are wholly apart. .5 where no label has enough
        cells on both sides.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    rng = np.random.default_rng([seed, 10])
    chosen: tuple[list[NDArray[np.intp]], list[NDArray[np.intp]]] = ([], [])
    for label in np.intersect1d(reference_codes, query_codes):
        members = [np.flatnonzero(codes == label) for codes in (reference_codes, query_codes)]
        n_cells = min(_CELLS_PER_LABEL, *map(len, members))
        if n_cells >= _PARTS:
            for rows, ours in zip(chosen, members, strict=True):
                rows.append(rng.choice(ours, n_cells, replace=False))
    if not chosen[0]:
        return 0.5
    cells = sparse.vstack(
        [reference[np.concatenate(chosen[0])], query[np.concatenate(chosen[1])]], format="csr"
    )
    is_query = np.repeat([0, 1], cells.shape[0] // 2)
    size = min(_COMPONENTS, cells.shape[1] - 1, cells.shape[0] // 4)
    components = TruncatedSVD(size, random_state=seed).fit_transform(cells)
    components /= components.std(axis=0) + 1e-9
    odds = cross_val_predict(
        LogisticRegression(C=0.1, max_iter=500),
        components,
        is_query,
        cv=StratifiedKFold(_PARTS, shuffle=True, random_state=seed),
        method="decision_function",
    )
    return float(roc_auc_score(is_query, odds))


def is_other_batch(shift: float) -> float:
    """From 0 (the query is of the reference's sample) to 1 (it is another batch)."""
    return float(np.clip((shift - _ONE_SAMPLE) / (_OTHER_BATCH - _ONE_SAMPLE), 0.0, 1.0))
