"""Controls and the in-house baseline that every benchmark holds.

A baseline is a function of the prepared reference, the prepared query and a seed, and gives the
names of the classes and the probabilities of every query cell. To add one, write it, put it into
`BASELINES` and add its row to ``config/methods.tsv``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plkd.errors import InputError
from plkd.logs import logger

ClassProbabilities = tuple[list[str], NDArray[np.float32]]
Baseline = Callable[[ad.AnnData, ad.AnnData, int], ClassProbabilities]


def majority(reference: ad.AnnData, query: ad.AnnData, seed: int = 0) -> ClassProbabilities:
    """Control: every cell gets the label frequencies of the reference as its probabilities.

    The label is the reference's most frequent one. `seed` is not used.
    """
    classes, frequencies = _label_frequencies(reference)
    return classes, np.tile(frequencies, (query.n_obs, 1)).astype(np.float32)


def random(reference: ad.AnnData, query: ad.AnnData, seed: int = 0) -> ClassProbabilities:
    """Control: every cell gets a label drawn with the reference's frequencies, at confidence 1."""
    classes, frequencies = _label_frequencies(reference)
    drawn = np.random.default_rng(seed).choice(len(classes), size=query.n_obs, p=frequencies)
    return classes, _one_hot(drawn, len(classes))


def logistic_regression(
    reference: ad.AnnData, query: ad.AnnData, seed: int = 0
) -> ClassProbabilities:
    """Multinomial logistic regression on the log-normalised genes (scikit-learn, lbfgs, C = 1).

    The genes are not scaled: they share one unit, log1p(CP10k), and scaling would give the noise
    of rare genes the weight of markers. The input stays sparse. The solution is unique, so `seed`
    is not used.

    Raises
    ------
    InputError
        If reference and query do not have the same genes in the same order.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if not reference.var_names.equals(query.var_names):
        raise InputError(
            f"the prepared reference ({reference.n_vars} genes) and query ({query.n_vars} genes) "
            "do not have the same genes in the same order. Prepare both together."
        )
    labels = _labels(reference)
    classes = sorted(set(labels))
    if len(classes) == 1:
        return classes, np.ones((query.n_obs, 1), dtype=np.float32)
    logger.info(
        "fitting logistic regression: %d cells, %d genes, %d classes",
        *reference.shape,
        len(classes),
    )
    model = LogisticRegression(solver="lbfgs", C=1.0, max_iter=1000)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(reference.X, labels)
    if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
        logger.warning("logistic regression has not converged after %d steps", model.max_iter)
    return list(map(str, model.classes_)), model.predict_proba(query.X).astype(np.float32)


BASELINES: dict[str, Baseline] = {
    "majority": majority,
    "random": random,
    "logistic_regression": logistic_regression,
}


def true_labels(
    reference_classes: Sequence[str], labels: Sequence[str | None] | pd.Series
) -> ClassProbabilities:
    """Control: the best that a method with the reference's classes can do, made from the truth.

    A cell whose label the reference has gets it at confidence 1. Any other cell (unseen label, or
    none) gets equal probabilities: a perfect method knows that it does not know. Only evaluation
    may call this.

    Parameters
    ----------
    reference_classes
        Labels that the reference has.
    labels
        True label of every query cell, null where it is not known.
    """
    classes = sorted(map(str, set(reference_classes)))
    codes = pd.Index(classes).get_indexer(pd.Index(labels, dtype=object))
    probabilities = np.full((len(codes), len(classes)), 1 / len(classes), dtype=np.float32)
    known = codes >= 0
    probabilities[known] = _one_hot(codes[known], len(classes))
    return classes, probabilities


def _labels(reference: ad.AnnData) -> NDArray[np.str_]:
    if "label" not in reference.obs or reference.n_obs == 0 or reference.obs["label"].isna().any():
        raise InputError(
            "the prepared reference needs cells with a label each in obs['label']; found "
            f"{reference.n_obs} cells and the obs columns {list(reference.obs.columns)}"
        )
    return reference.obs["label"].astype(str).to_numpy(dtype=str)


def _label_frequencies(reference: ad.AnnData) -> tuple[list[str], NDArray[np.float64]]:
    classes, counts = np.unique(_labels(reference), return_counts=True)
    return list(map(str, classes)), counts / counts.sum()


def _one_hot(codes: NDArray[np.integer], n_classes: int) -> NDArray[np.float32]:
    return np.eye(n_classes, dtype=np.float32)[codes]
