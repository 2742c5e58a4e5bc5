"""Controls and the simple classifiers that every benchmark holds.

A baseline is a function of the prepared reference, the prepared query and a seed, and gives the
names of the labels and the probabilities of every query cell. To add one, write it, put it into
`BASELINES` and add its row to ``config/methods.tsv``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import softmax

from plkd.errors import InputError
from plkd.utils.logs import logger

LabelProbabilities = tuple[list[str], NDArray[np.float32]]
Baseline = Callable[[ad.AnnData, ad.AnnData, int], LabelProbabilities]


def majority(reference: ad.AnnData, query: ad.AnnData, seed: int = 0) -> LabelProbabilities:
    """Control: every cell gets the label frequencies of the reference as its probabilities.

    The label is the reference's most frequent one. `seed` is not used.
    """
    labels, frequencies = _label_frequencies(reference)
    return labels, np.tile(frequencies, (query.n_obs, 1)).astype(np.float32)


def random(reference: ad.AnnData, query: ad.AnnData, seed: int = 0) -> LabelProbabilities:
    """Control: every cell gets a label drawn with the reference's frequencies, at confidence 1."""
    labels, frequencies = _label_frequencies(reference)
    drawn = np.random.default_rng(seed).choice(len(labels), size=query.n_obs, p=frequencies)
    return labels, _one_hot(drawn, len(labels))


def logistic_regression(
    reference: ad.AnnData,
    query: ad.AnnData,
    seed: int = 0,
    *,
    inverse_penalty: float = 1.0,
    balanced: bool = False,
    scaled: bool = False,
) -> LabelProbabilities:
    """Multinomial logistic regression on the log-normalised genes (scikit-learn, lbfgs).

    The solution is unique, so `seed` is not used.

    Parameters
    ----------
    inverse_penalty
        scikit-learn's C.
    balanced
        Give every label the same weight, however many cells it has.
    scaled
        Divide every gene by its standard deviation in the reference. Otherwise the genes share one
        unit, log1p(CP10k), and the noise of rare genes does not get the weight of markers. The
        input stays sparse either way.

    Raises
    ------
    InputError
        If reference and query do not have the same genes in the same order.
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(
        solver="lbfgs",
        C=inverse_penalty,
        max_iter=1000,
        class_weight="balanced" if balanced else None,
    )
    return _fit_and_predict(model, reference, query, scaled=scaled)


def linear_svm(reference: ad.AnnData, query: ad.AnnData, seed: int = 0) -> LabelProbabilities:
    """Linear support vector machine, one label against the rest (scikit-learn, C = 1).

    The softmax of its margins serves as probabilities; they are not calibrated. The primal problem
    is solved, whose solution is unique, so `seed` is not used. Errors are those of
    :func:`logistic_regression`.
    """
    from sklearn.svm import LinearSVC

    return _fit_and_predict(LinearSVC(C=1.0, dual=False, max_iter=5000), reference, query)


def nearest_neighbours(
    reference: ad.AnnData, query: ad.AnnData, seed: int = 0
) -> LabelProbabilities:
    """Share of labels among the 15 nearest reference cells, on 50 principal components.

    The components are those of the reference; the query is projected onto them. They are unique, so
    `seed` is not used. Errors are those of :func:`logistic_regression`.
    """
    from sklearn.decomposition import PCA
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        PCA(min(50, *(size - 1 for size in reference.shape)), svd_solver="arpack", random_state=0),
        KNeighborsClassifier(min(15, reference.n_obs)),
    )
    return _fit_and_predict(model, reference, query)


def _fit_and_predict(
    model: Any, reference: ad.AnnData, query: ad.AnnData, *, scaled: bool = False
) -> LabelProbabilities:
    """Fit a classifier of scikit-learn on the reference and apply it to the query."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if not reference.var_names.equals(query.var_names):
        raise InputError(
            f"the prepared reference ({reference.n_vars} genes) and query ({query.n_vars} genes) "
            "do not have the same genes in the same order. Prepare both together."
        )
    labels = _labels(reference)
    names = sorted(set(labels))
    if len(names) == 1:
        return names, np.ones((query.n_obs, 1), dtype=np.float32)
    logger.info("fitting: %d cells, %d genes, %d labels", *reference.shape, len(names))
    train, test = _narrow(reference.X), _narrow(query.X)
    if scaled:
        model = make_pipeline(StandardScaler(with_mean=False), model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(train, labels)
    if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
        logger.warning("the fit has not converged")
    if hasattr(model, "predict_proba"):
        return list(map(str, model.classes_)), model.predict_proba(test).astype(np.float32)
    margins = model.decision_function(test)
    if margins.ndim == 1:  # two labels: the margin of the second
        margins = np.column_stack([-margins, margins])
    return list(map(str, model.classes_)), softmax(margins, axis=1).astype(np.float32)


BASELINES: dict[str, Baseline] = {
    "majority": majority,
    "random": random,
    "logistic_regression": logistic_regression,
    "logistic_regression_balanced": partial(logistic_regression, balanced=True),
    "logistic_regression_scaled": partial(logistic_regression, scaled=True),
    "logistic_regression_ridge": partial(logistic_regression, balanced=True, inverse_penalty=1e-3),
    "linear_svm": linear_svm,
    "nearest_neighbours": nearest_neighbours,
}


def true_labels(
    reference_labels: Sequence[str], labels: Sequence[str | None] | pd.Series
) -> LabelProbabilities:
    """Control: the best that a method with the reference's labels can do, made from the truth.

    A cell whose label the reference has gets it at confidence 1. Any other cell (unseen label, or
    none) gets equal probabilities: a perfect method knows that it does not know. Only evaluation
    may call this.

    Parameters
    ----------
    reference_labels
        Labels that the reference has.
    labels
        True label of every query cell, null where it is not known.
    """
    names = sorted(map(str, set(reference_labels)))
    codes = pd.Index(names).get_indexer(pd.Index(labels, dtype=object))
    probabilities = np.full((len(codes), len(names)), 1 / len(names), dtype=np.float32)
    known = codes >= 0
    probabilities[known] = _one_hot(codes[known], len(names))
    return names, probabilities


def _labels(reference: ad.AnnData) -> NDArray[np.str_]:
    if "label" not in reference.obs or reference.n_obs == 0 or reference.obs["label"].isna().any():
        raise InputError(
            "the prepared reference needs cells with a label each in obs['label']; found "
            f"{reference.n_obs} cells and the obs columns {list(reference.obs.columns)}"
        )
    return reference.obs["label"].astype(str).to_numpy(dtype=str)


def _narrow(matrix: Any) -> Any:
    """A matrix with 32-bit indices where they fit: scikit-learn refuses others."""
    if not sparse.issparse(matrix):
        return matrix
    csr = matrix.tocsr()
    # the constructor looks at the indices and takes the narrowest type that holds them
    return sparse.csr_matrix((csr.data, csr.indices, csr.indptr), shape=csr.shape)


def _label_frequencies(reference: ad.AnnData) -> tuple[list[str], NDArray[np.float64]]:
    labels, counts = np.unique(_labels(reference), return_counts=True)
    return list(map(str, labels)), counts / counts.sum()


def _one_hot(codes: NDArray[np.integer], n_labels: int) -> NDArray[np.float32]:
    return np.eye(n_labels, dtype=np.float32)[codes]
