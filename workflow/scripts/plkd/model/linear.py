"""Linear models of the labels: what the simple methods and the jury have in common.

A fitted model is two arrays, whatever was done to the genes or the labels while it was fitted, so
that it can be applied to sparse cells and to a batch of tensors alike.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import softmax

from plkd.utils.logs import logger

COMPONENTS = 50
_NEVER = -30.0  # logit of a label that the cells which were fitted did not have


@dataclass(frozen=True)
class LinearModel:
    """Logits that are linear in the log-normalised genes.

    Attributes
    ----------
    weights
        float32 array (labels, genes).
    bias
        float32 array (labels,).
    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]

    def logits(self, cells: Any) -> NDArray[np.float32]:
        """Logits (cells, labels) of dense or sparse cells (cells, genes)."""
        return np.asarray(cells @ self.weights.T) + self.bias

    def probabilities(self, cells: Any) -> NDArray[np.float32]:
        """Softmax of the logits, (cells, labels)."""
        return softmax(self.logits(cells), axis=1).astype(np.float32)


def fit_logistic_regression(
    cells: Any,
    codes: NDArray[np.integer],
    n_labels: int,
    *,
    inverse_penalty: float = 1.0,
    balanced: bool = False,
    scaled: bool = False,
    components: int | None = None,
) -> LinearModel:
    """Multinomial logistic regression (scikit-learn, lbfgs); its solution is unique.

    Parameters
    ----------
    cells
        Log-normalised expression, (cells, genes), sparse or dense.
    codes
        Label of every cell, its position among the labels, (cells,).
    n_labels
        Number of labels; those that no cell has get no probability.
    inverse_penalty
        scikit-learn's C.
    balanced
        Give every label the same weight, however many cells it has.
    scaled
        Divide every gene by its standard deviation. Otherwise the genes share one unit,
        log1p(CP10k), and the noise of rare genes does not get the weight of markers. Nothing is
        subtracted, so that sparse cells stay sparse.
    components
        Fit on so many principal components of the cells (fewer, where there are not so many cells
        or genes). What tells labels apart in one batch alone is hardly among them.
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(
        solver="lbfgs",
        C=inverse_penalty,
        max_iter=1000,
        class_weight="balanced" if balanced else None,
    )
    if components is not None and min(cells.shape) > 1:
        pca = principal_components(cells.shape, components)
        within = fit_linear(model, pca.fit_transform(narrow(cells)), codes, n_labels)
        weights = within.weights @ pca.components_.astype(np.float32)
        return LinearModel(weights, within.bias - weights @ pca.mean_.astype(np.float32))
    return fit_linear(model, cells, codes, n_labels, scaled=scaled)


def principal_components(shape: tuple[int, int], n_components: int = COMPONENTS) -> Any:
    """Principal components of so many cells and genes (scikit-learn's PCA), not fitted yet."""
    from sklearn.decomposition import PCA

    return PCA(
        min(n_components, *(size - 1 for size in shape)), svd_solver="arpack", random_state=0
    )


def fit_linear(
    model: Any, cells: Any, codes: NDArray[np.integer], n_labels: int, *, scaled: bool = False
) -> LinearModel:
    """Fit a linear classifier of scikit-learn; parameters as for :func:`fit_logistic_regression`.

    Of two labels, scikit-learn has the log-odds of the second: half of them stand for it, and half,
    negated, for the first.
    """
    from sklearn.exceptions import ConvergenceWarning

    scale = _deviations(cells) if scaled else np.ones(cells.shape[1], dtype=np.float32)
    bias = np.full(n_labels, _NEVER, dtype=np.float32)
    weights = np.zeros((n_labels, cells.shape[1]), dtype=np.float32)
    present = np.unique(codes)
    if len(present) == 1:
        bias[present] = 0.0
        return LinearModel(weights, bias)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(
            narrow(cells @ sparse.diags_array(1.0 / scale)) if scaled else narrow(cells), codes
        )
    if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
        logger.warning("the fit has not converged")
    slopes, intercepts = model.coef_, model.intercept_
    if len(present) == 2:
        slopes, intercepts = np.vstack([-slopes, slopes]) / 2, np.r_[-intercepts, intercepts] / 2
    weights[present], bias[present] = slopes / scale, intercepts
    return LinearModel(weights, bias)


def narrow(matrix: Any) -> Any:
    """A matrix with 32-bit indices where they fit: scikit-learn refuses others."""
    if not sparse.issparse(matrix):
        return matrix
    csr = matrix.tocsr()
    # the constructor looks at the indices and takes the narrowest type that holds them
    return sparse.csr_matrix((csr.data, csr.indices, csr.indptr), shape=csr.shape)


def _deviations(cells: Any) -> NDArray[np.float32]:
    """Standard deviation of every gene, (genes,); one for a gene that does not vary."""
    from sklearn.utils.sparsefuncs import mean_variance_axis

    if sparse.issparse(cells):
        _, variances = mean_variance_axis(narrow(cells), axis=0)
    else:
        variances = np.var(cells, axis=0)
    return np.sqrt(np.where(variances > 0, variances, 1.0)).astype(np.float32)
