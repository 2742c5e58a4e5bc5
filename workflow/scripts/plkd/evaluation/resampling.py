"""How much of a score is luck of the cells: the same scores on cells drawn anew from the query."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plkd.evaluation.metrics import match_truth
from plkd.utils.tables import Columns

N_DRAWS = 200
RESAMPLED_COLUMNS: Columns = {"method": str, "draw": int, "accuracy": float, "macro_f1": float}
"""Columns of :func:`resampled_scores`."""


def resampled_scores(
    predictions: Mapping[str, pd.DataFrame],
    truth: pd.DataFrame,
    reference_labels: Collection[str],
    *,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """Score methods on cells drawn with replacement, every draw the same cells for all of them.

    Parameters
    ----------
    predictions, truth, reference_labels
        As for :func:`plkd.evaluation.tables.evaluate`; methods without predictions are left out.
    n_draws
        How often as many cells are drawn as there are shared ones.
    seed
        Of the draws.

    Returns
    -------
    DataFrame
        `method`, `draw` from 0, `accuracy`, `macro_f1`: a row per method and draw, none where no
        cell has a label of the reference. The mean F1 is over the labels of the cells drawn.
    """
    labels = truth[truth["label"].isin(set(reference_labels))].set_index("cell_id")["label"]
    found = {
        method: match_truth(table, truth).set_index("cell_id")["label"].reindex(labels.index)
        for method, table in predictions.items()
        if len(table) or truth.empty
    }
    if labels.empty or not found:
        return pd.DataFrame(columns=list(RESAMPLED_COLUMNS))
    columns = [labels, *found.values()]
    codes, names = pd.factorize(pd.concat(columns).to_numpy(dtype=object), sort=True)
    # cells with the same label and the same predictions are counted, not drawn one by one
    patterns, counts = np.unique(codes.reshape(len(columns), -1), axis=1, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(
        len(labels), counts / counts.sum(), size=n_draws
    )
    scores = [
        _scores(draws, patterns[0], predicted, len(names)).assign(method=method)
        for method, predicted in zip(found, patterns[1:], strict=True)
    ]
    return pd.concat(scores, ignore_index=True)[list(RESAMPLED_COLUMNS)]


def _scores(
    draws: NDArray[np.integer], true: NDArray[np.intp], predicted: NDArray[np.intp], n_labels: int
) -> pd.DataFrame:
    """Accuracy and macro F1 of every draw; `draws` counts the patterns, (draws, patterns)."""

    def per_label(codes: NDArray[np.intp], chosen: NDArray[np.bool_]) -> NDArray[np.integer]:
        member = np.eye(n_labels, dtype=np.int64)[codes[chosen]]
        return draws[:, chosen] @ member

    everything = np.ones(len(true), dtype=bool)
    right = per_label(true, true == predicted)
    support, called = per_label(true, everything), per_label(predicted, everything)
    with np.errstate(invalid="ignore"):
        f1 = np.where(support > 0, 2 * right / (support + called), np.nan)
    return pd.DataFrame(
        {
            "draw": np.arange(len(draws)),
            "accuracy": right.sum(axis=1) / support.sum(axis=1),
            "macro_f1": np.nanmean(f1, axis=1),
        }
    )
