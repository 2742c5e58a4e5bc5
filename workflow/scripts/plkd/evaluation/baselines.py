"""Controls and the simple classifiers that every benchmark holds.

A baseline is a function of the prepared reference, the prepared query and a seed, and gives the
names of the labels and the probabilities of every query cell. It says by `timed` which of its steps
are training and which prediction. To add one, write it, put it into `BASELINES` and add its row to
``config/methods.tsv``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import product
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from plkd.errors import InputError
from plkd.model.folds import make_folds
from plkd.model.linear import (
    COMPONENTS,
    fit_linear,
    fit_logistic_regression,
    narrow,
    principal_components,
)
from plkd.model.reference import Reference
from plkd.preparation.prepared import sample_rows
from plkd.utils.logs import logger

LabelProbabilities = tuple[list[str], NDArray[np.float32]]
Baseline = Callable[..., LabelProbabilities]
Timed = Callable[[str], AbstractContextManager[None]]
"""Gives a block whose seconds count as those of "training" or "prediction"."""


def _untimed(phase: str) -> AbstractContextManager[None]:
    return nullcontext()


def majority(
    reference: ad.AnnData, query: ad.AnnData, seed: int = 0, *, timed: Timed = _untimed
) -> LabelProbabilities:
    """Control: every cell gets the label frequencies of the reference as its probabilities.

    The label is the reference's most frequent one. `seed` is not used.
    """
    labels, frequencies = _label_frequencies(reference)
    return labels, np.tile(frequencies, (query.n_obs, 1)).astype(np.float32)


def random(
    reference: ad.AnnData, query: ad.AnnData, seed: int = 0, *, timed: Timed = _untimed
) -> LabelProbabilities:
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
    timed: Timed = _untimed,
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
    timed
        Times training and prediction, here as in the other baselines.

    Raises
    ------
    InputError
        If reference and query do not have the same genes in the same order.
    """
    labels, codes = _aligned(reference, query)
    with timed("training"):
        model = fit_logistic_regression(
            reference.X,
            codes,
            len(labels),
            inverse_penalty=inverse_penalty,
            balanced=balanced,
            scaled=scaled,
        )
    with timed("prediction"):
        return labels, model.probabilities(query.X)


def logistic_regression_tuned(
    reference: ad.AnnData, query: ad.AnnData, seed: int = 0, *, timed: Timed = _untimed
) -> LabelProbabilities:
    """Logistic regression with the options that label held-out cells of the reference best.

    Tried are penalties from 0.001 to 1, with and without balance and scaling, in three folds of at
    most 5,000 cells: whole batches where there are several (:func:`make_folds`). Best is the
    highest macro F1 in the mean over the folds. Folds are always the same, so `seed` is not used.
    Errors are those of :func:`logistic_regression`.
    """
    labels, codes = _aligned(reference, query)
    with timed("training"):
        chosen = _best_options(reference) if len(labels) > 1 else {}
        logger.info("chosen: %s", chosen)
        model = fit_logistic_regression(reference.X, codes, len(labels), **chosen)
    with timed("prediction"):
        return labels, model.probabilities(query.X)


TUNING_CELLS = 5000
TUNED_OPTIONS = [
    {"inverse_penalty": inverse_penalty, "balanced": balanced, "scaled": scaled}
    for inverse_penalty, balanced, scaled in product((1e-3, 1e-2, 1e-1, 1.0), *[(False, True)] * 2)
]


def _best_options(reference: ad.AnnData) -> dict[str, Any]:
    """Options of a logistic regression that label held-out cells of the reference best."""
    rows = sample_rows(reference.n_obs, TUNING_CELLS)
    batches = reference.obs["batch"].to_numpy()[rows] if "batch" in reference.obs else None
    cells = Reference.from_names(
        reference.X[rows], _labels(reference)[rows], reference.var_names, batches
    )
    folds = make_folds(cells, 3, 0).of_cell
    return max(TUNED_OPTIONS, key=lambda options: _held_out_f1(cells, folds, options))


def _held_out_f1(cells: Reference, folds: NDArray[np.intp], options: dict[str, Any]) -> float:
    """Macro F1 of a logistic regression on cells that it was not fitted on, mean over the folds."""
    from sklearn.metrics import f1_score

    scores = []
    for fold in np.unique(folds):
        fit, held_out = cells.take(np.flatnonzero(folds != fold)), folds == fold
        model = fit_logistic_regression(fit.cells, fit.codes, len(cells.labels), **options)
        found = model.logits(cells.cells[held_out]).argmax(axis=1)
        truth = cells.codes[held_out]
        present = np.unique(truth)
        scores.append(f1_score(truth, found, labels=present, average="macro", zero_division=0))
    return float(np.mean(scores))


def pca_logistic_regression(
    reference: ad.AnnData, query: ad.AnnData, seed: int = 0, *, timed: Timed = _untimed
) -> LabelProbabilities:
    """Logistic regression (C = 1) on 50 principal components of the reference.

    The query is projected onto them. The solution is unique, so `seed` is not used. Errors are
    those of :func:`logistic_regression`.
    """
    labels, codes = _aligned(reference, query)
    with timed("training"):
        model = fit_logistic_regression(reference.X, codes, len(labels), components=COMPONENTS)
    with timed("prediction"):
        return labels, model.probabilities(query.X)


def linear_svm(
    reference: ad.AnnData, query: ad.AnnData, seed: int = 0, *, timed: Timed = _untimed
) -> LabelProbabilities:
    """Linear support vector machine, one label against the rest (scikit-learn, C = 1).

    The softmax of its margins serves as probabilities; they are not calibrated. The primal problem
    is solved, whose solution is unique, so `seed` is not used. Errors are those of
    :func:`logistic_regression`.
    """
    from sklearn.svm import LinearSVC

    labels, codes = _aligned(reference, query)
    with timed("training"):
        svm = LinearSVC(C=1.0, dual=False, max_iter=5000)
        model = fit_linear(svm, reference.X, codes, len(labels))
    with timed("prediction"):
        margins = model.logits(query.X) * (2 if len(labels) == 2 else 1)
        return labels, softmax(margins, axis=1).astype(np.float32)


def nearest_neighbours(
    reference: ad.AnnData, query: ad.AnnData, seed: int = 0, *, timed: Timed = _untimed
) -> LabelProbabilities:
    """Share of labels among the 15 nearest reference cells, on 50 principal components.

    The components are those of the reference; the query is projected onto them. They are unique, so
    `seed` is not used. Errors are those of :func:`logistic_regression`.
    """
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline

    neighbours = KNeighborsClassifier(min(15, reference.n_obs))
    model = make_pipeline(principal_components(reference.shape), neighbours)
    labels, codes = _aligned(reference, query)
    with timed("training"):
        model.fit(narrow(reference.X), codes)
    with timed("prediction"):
        return labels, model.predict_proba(narrow(query.X)).astype(np.float32)


def _aligned(reference: ad.AnnData, query: ad.AnnData) -> tuple[list[str], NDArray[np.intp]]:
    """Labels of a reference by name, and of each of its cells the place among them.

    Raises
    ------
    InputError
        If reference and query do not have the same genes in the same order, or a label is missing.
    """
    if not reference.var_names.equals(query.var_names):
        raise InputError(
            f"the prepared reference ({reference.n_vars} genes) and query ({query.n_vars} genes) "
            "do not have the same genes in the same order. Prepare both together."
        )
    labels, codes = np.unique(_labels(reference), return_inverse=True)
    logger.info("fitting: %d cells, %d genes, %d labels", *reference.shape, len(labels))
    return list(map(str, labels)), codes


BASELINES: dict[str, Baseline] = {
    "majority": majority,
    "random": random,
    "logistic_regression": logistic_regression,
    "logistic_regression_balanced": partial(logistic_regression, balanced=True),
    "logistic_regression_scaled": partial(logistic_regression, scaled=True),
    "logistic_regression_ridge": partial(logistic_regression, balanced=True, inverse_penalty=1e-3),
    "logistic_regression_scaled_ridge": partial(
        logistic_regression, balanced=True, scaled=True, inverse_penalty=1e-2
    ),
    "logistic_regression_tuned": logistic_regression_tuned,
    "pca_logistic_regression": pca_logistic_regression,
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


def _label_frequencies(reference: ad.AnnData) -> tuple[list[str], NDArray[np.float64]]:
    labels, counts = np.unique(_labels(reference), return_counts=True)
    return list(map(str, labels)), counts / counts.sum()


def _one_hot(codes: NDArray[np.integer], n_labels: int) -> NDArray[np.float32]:
    return np.eye(n_labels, dtype=np.float32)[codes]
