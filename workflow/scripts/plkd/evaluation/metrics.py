"""Scores of predictions against the true labels, and of embeddings.

A cell is *shared* if the reference has its true label, and *unseen* if the reference does not: no
method can name an unseen cell, it can only be unsure of it. Cells without a true label are left
out of everything. Scores of labels are taken on the shared cells and do not look at the `unknown`
flag: a method cannot raise its accuracy by refusing cells.

Most steps that import this module score nothing, and scikit-learn takes most of a second to load:
it is imported where it is needed.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from plkd.errors import InputError
from plkd.prediction.table import label_names, label_probabilities, prediction_sets
from plkd.utils.neighbours import add_neighbours

ABUNDANCE_GROUPS = ("high", "medium", "low")
N_BINS = 15
"""Bins of confidence."""


def match_truth(predictions: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Put the true labels beside the predictions.

    Parameters
    ----------
    predictions
        Prediction table (:mod:`plkd.prediction.table`).
    truth
        Columns `cell_id` and `label` (str, null where the label is not known), in any order.

    Returns
    -------
    DataFrame
        The predictions of the cells that have a true label, in their order, with one more column
        `true_label`.

    Raises
    ------
    InputError
        If truth and predictions are not of the same cells, or a cell appears twice.
    """
    labels = truth.set_index("cell_id")["label"]
    for name, ids in (("truth", labels.index), ("predictions", predictions["cell_id"])):
        if not ids.is_unique:
            raise InputError(f"the {name} hold cell '{ids[ids.duplicated()][0]}' more than once")
    position = labels.index.get_indexer(pd.Index(predictions["cell_id"]))
    n_strangers, n_missing = int((position < 0).sum()), len(labels) - int((position >= 0).sum())
    if n_strangers or n_missing:
        raise InputError(
            f"truth and predictions are not of the same cells: {n_strangers} of "
            f"{len(predictions)} predicted cells have no entry in the truth and {n_missing} of "
            f"{len(labels)} cells of the truth have no prediction. Make both from the same "
            "prepared query."
        )
    true_label = labels.to_numpy(dtype=object)[position]
    return predictions.assign(true_label=true_label)[pd.notna(true_label)]


def annotation_metrics(
    predictions: pd.DataFrame, truth: pd.DataFrame, reference_labels: Collection[str]
) -> dict[str, float]:
    """Score one method's predictions.

    Parameters
    ----------
    predictions, truth
        See :func:`match_truth`.
    reference_labels
        Labels that the reference has.

    Returns
    -------
    dict
        On the shared cells: `n_cells`, `accuracy`, `balanced_accuracy` (mean recall), `macro_f1`,
        `weighted_f1`, `adjusted_rand_index`, `calibration_error` (see
        :func:`calibration_error`), `mean_confidence`, `set_coverage` (share of the prediction
        sets that hold the true label), `set_size` (mean), `top95_coverage` and `top95_size` (the
        same of the most probable labels that together have 95 %), `accuracy_when_known` and
        `share_shared_unknown` (cells not flagged and flagged `unknown`). On all cells:
        `share_unknown`. On the unseen cells: `n_unseen`, `share_unseen_unknown` (flagged, as it
        should be), `auroc_unseen` (area under the curve of `unknown_score` for unseen against
        shared cells; 0.5 is chance) and `unseen_found` (share of them whose score is above that of
        95 % of the shared cells). NaN where there are no cells to score.

    Notes
    -----
    `macro_f1` and `balanced_accuracy` are means over the labels that occur among the shared
    cells, whatever else is predicted; a prediction of another label counts as an error of the
    cell's own label. This is the usual choice in annotation benchmarks: a label that the query
    does not hold has no recall, and counting it as 0 would measure the query, not the method.
    """
    matched = match_truth(predictions, truth)
    seen = matched["true_label"].isin(set(reference_labels)).to_numpy()
    unknown = matched["unknown"].to_numpy(dtype=bool)
    confidence = matched["confidence"].to_numpy(dtype=float)
    shared = matched[seen]
    metrics = {"n_cells": float(len(shared)), **_label_metrics(shared)}
    right = (shared["label"] == shared["true_label"]).to_numpy(dtype=bool)
    inside, size = _prediction_set_hits(shared)
    inside_top, size_top = _top_hits(shared)
    metrics |= {
        "calibration_error": calibration_error(confidence[seen], right),
        "mean_confidence": _mean(confidence[seen]),
        "set_coverage": _mean(inside),
        "set_size": _mean(size),
        "top95_coverage": _mean(inside_top),
        "top95_size": _mean(size_top),
        "accuracy_when_known": _mean(right[~unknown[seen]]),
        "share_shared_unknown": _mean(unknown[seen]),
        "share_unknown": _mean(unknown),
        "n_unseen": float((~seen).sum()),
        "share_unseen_unknown": _mean(unknown[~seen]),
        "auroc_unseen": np.nan,
        "unseen_found": np.nan,
    }
    if 0 < seen.sum() < len(seen):
        from sklearn.metrics import roc_auc_score

        score = matched["unknown_score"].to_numpy(dtype=float)
        metrics["auroc_unseen"] = float(roc_auc_score(~seen, score))
        metrics["unseen_found"] = _mean(score[~seen] > np.quantile(score[seen], 0.95))
    return metrics


def calibration_error(confidence: ArrayLike, right: ArrayLike, n_bins: int = N_BINS) -> float:
    """Expected calibration error: mean gap between confidence and accuracy.

    The confidences are cut into bins of equal width, (0, 1/n], (1/n, 2/n] ..; each bin's gap counts
    by its share of the cells (Guo et al., ICML 2017).

    Parameters
    ----------
    confidence, right
        Arrays of shape (n_cells,): highest probability, and whether the label is right.
    """
    confidence, right = np.asarray(confidence, dtype=float), np.asarray(right, dtype=float)
    if not len(confidence):
        return np.nan
    bins = _bins(confidence, n_bins)
    sums = (np.bincount(bins, weights=values, minlength=n_bins) for values in (confidence, right))
    return float(np.abs(np.subtract(*sums)).sum() / len(confidence))


def confidence_table(
    predictions: pd.DataFrame,
    truth: pd.DataFrame,
    reference_labels: Collection[str],
    n_bins: int = N_BINS,
) -> pd.DataFrame:
    """Count who has which confidence; the bins are those of :func:`calibration_error`.

    Parameters
    ----------
    predictions, truth
        See :func:`match_truth`.
    reference_labels
        Labels that the reference has.

    Returns
    -------
    DataFrame
        One row per bin: `lower`, `upper` (its edges), `right`, `wrong` (shared cells with the right
        and with a wrong label), `unseen` (unseen cells), `confidence` (mean of the shared cells;
        NaN without any).
    """
    matched = match_truth(predictions, truth)
    seen = matched["true_label"].isin(set(reference_labels)).to_numpy()
    right = (matched["true_label"] == matched["label"]).to_numpy(dtype=bool)
    confidence = matched["confidence"].to_numpy(dtype=float)
    bins = _bins(confidence, n_bins)
    edges = np.linspace(0, 1, n_bins + 1)
    groups = {"right": seen & right, "wrong": seen & ~right, "unseen": ~seen}
    counts = {name: np.bincount(bins[of], minlength=n_bins) for name, of in groups.items()}
    table = pd.DataFrame({"lower": edges[:-1], "upper": edges[1:], **counts})
    total = np.bincount(bins[seen], weights=confidence[seen], minlength=n_bins)
    return table.assign(confidence=total / (table["right"] + table["wrong"]).replace(0, np.nan))


def per_label_table(
    predictions: pd.DataFrame, truth: pd.DataFrame, reference_counts: Mapping[str, int]
) -> pd.DataFrame:
    """Scores of every label that occurs among the shared cells.

    Parameters
    ----------
    predictions, truth
        See :func:`match_truth`.
    reference_counts
        Cells of every label in the reference.

    Returns
    -------
    DataFrame
        `label`, `n` (cells in the query), `n_reference`, `precision`, `recall`, `f1`, `abundance`
        (of reference and query together, as in the paper's Table 6: `high` above 5000 cells,
        `medium` from 1000, `low` below), the most abundant label first. The precision of a label
        that is never predicted is 0.
    """
    matched = match_truth(predictions, truth)
    shared = matched[matched["true_label"].isin(set(reference_counts))]
    true, predicted, names = _codes(shared)
    present = np.unique(true)
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, n = precision_recall_fscore_support(
        true, predicted, labels=present, zero_division=0
    ) if len(present) else (np.zeros(0),) * 4  # fmt: skip
    table = pd.DataFrame({"label": names[present], "n": n.astype(int)})
    table["n_reference"] = [int(reference_counts[name]) for name in table["label"]]
    table[["precision", "recall", "f1"]] = np.column_stack([precision, recall, f1])
    total = table["n"] + table["n_reference"]
    table["abundance"] = np.select([total > 5000, total >= 1000], ["high", "medium"], "low")
    order = total.sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def abundance_table(per_label: pd.DataFrame) -> pd.DataFrame:
    """Mean scores of the labels of each abundance group (the paper's Table 6).

    Returns
    -------
    DataFrame
        `abundance`, `n_labels`, `f1`, `recall`, `precision`; groups without a label are left out.
    """
    table = per_label.groupby("abundance").agg(
        n_labels=("label", "size"),
        f1=("f1", "mean"),
        recall=("recall", "mean"),
        precision=("precision", "mean"),
    )
    order = [group for group in ABUNDANCE_GROUPS if group in table.index]
    return table.loc[order].reset_index()


def confusion_table(predictions: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """How often each true label was given each predicted label, unseen labels included.

    Returns
    -------
    DataFrame
        `true`, `predicted`, `n`: pairs that occur, sorted by both names, and how many of these
        cells are flagged unknown, `n_unknown`.
    """
    matched = match_truth(predictions, truth)
    pairs = matched.groupby(["true_label", "label"], observed=True, sort=True)["unknown"]
    table = pairs.agg(n="size", n_unknown="sum").astype(int)
    return table.rename_axis(["true", "predicted"]).reset_index()


def embedding_metrics(
    embedding: ArrayLike,
    labels: Sequence[str],
    batches: Sequence[str],
    *,
    max_cells: int = 10_000,
    seed: int = 0,
) -> dict[str, float]:
    """Score how well an embedding separates cell types and mixes batches (by scib).

    Parameters
    ----------
    embedding
        Array of shape (n_cells, n_dimensions).
    labels, batches
        One per cell; cells without a label (null) are left out.
    max_cells
        The scores take time quadratic in the cells; above this number they are computed on a
        random sample.
    seed
        Of the sample.

    Returns
    -------
    dict
        `n_cells` (scored), `cell_type_asw` (silhouette width in [-1, 1], the form of the paper's
        Table 3), `cell_type_asw_scaled` ((asw + 1) / 2), `batch_asw` (1 minus the
        absolute silhouette of the batches within a type, mean over types; 1 is perfectly mixed)
        and `graph_connectivity` (share of a type's cells in the largest connected part of its
        15-neighbour graph, mean over types). NaN where there is only one type, or only one batch.
    """
    import anndata as ad
    import matplotlib

    with matplotlib.rc_context():  # importing scib enlarges the fonts of all later figures
        from scib.metrics import graph_connectivity, silhouette, silhouette_batch

    obs = pd.DataFrame({"label": pd.Series(labels, dtype=object), "batch": list(batches)})
    cells = np.flatnonzero(obs["label"].notna())
    if len(cells) > max_cells:
        rng = np.random.default_rng(seed)
        cells = np.sort(rng.choice(cells, max_cells, replace=False))
    obs = obs.iloc[cells].astype(str).astype("category").reset_index(drop=True)
    obs.index = obs.index.astype(str)
    adata = ad.AnnData(obs=obs)
    adata.obsm["X_emb"] = np.asarray(embedding, dtype=np.float32)[cells]

    n_cells, n_types = adata.n_obs, obs["label"].nunique()
    scores = dict.fromkeys(
        ("cell_type_asw", "cell_type_asw_scaled", "batch_asw", "graph_connectivity"), np.nan
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scib calls what pandas is about to remove
        if 1 < n_types < n_cells:
            asw = float(silhouette(adata, "label", "X_emb", scale=False))
            scores |= {"cell_type_asw": asw, "cell_type_asw_scaled": (asw + 1) / 2}
        if len(obs["batch"].cat.categories) > 1:
            scores["batch_asw"] = float(
                silhouette_batch(adata, "batch", "label", "X_emb", verbose=False)
            )
        if n_cells > 2:
            add_neighbours(adata, "X_emb", seed, weighted=False)
            scores["graph_connectivity"] = float(graph_connectivity(adata, "label"))
    return {"n_cells": float(n_cells), **scores}


def _label_metrics(shared: pd.DataFrame) -> dict[str, float]:
    """Scores of the labels, NaN without cells."""
    if shared.empty:
        names = "accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "adjusted_rand_index"
        return dict.fromkeys(names, np.nan)
    from sklearn.metrics import accuracy_score, adjusted_rand_score, f1_score, recall_score

    true, predicted, _ = _codes(shared)
    scores: dict[str, Any] = {"labels": np.unique(true), "zero_division": 0}
    return {
        "accuracy": float(accuracy_score(true, predicted)),
        "balanced_accuracy": float(recall_score(true, predicted, average="macro", **scores)),
        "macro_f1": float(f1_score(true, predicted, average="macro", **scores)),
        "weighted_f1": float(f1_score(true, predicted, average="weighted", **scores)),
        "adjusted_rand_index": float(adjusted_rand_score(true, predicted)),
    }


def _codes(matched: pd.DataFrame) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[Any]]:
    """True and predicted labels as numbers of one list of names (scikit-learn is slow on str)."""
    both = pd.concat([matched["true_label"], matched["label"]])
    codes, names = pd.factorize(both.to_numpy(dtype=object), sort=True)
    return codes[: len(matched)], codes[len(matched) :], names


def _prediction_set_hits(matched: pd.DataFrame) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Whether each prediction set holds the true label, and its size."""
    sets = prediction_sets(matched)
    owner = pc.list_parent_indices(sets).to_numpy(zero_copy_only=False)
    members = pc.list_flatten(sets).to_numpy(zero_copy_only=False)
    hit = members == matched["true_label"].to_numpy(dtype=object)[owner]
    inside = np.bincount(owner, weights=hit, minlength=len(matched)) > 0
    return inside, np.bincount(owner, minlength=len(matched))


def _top_hits(
    matched: pd.DataFrame, share: float = 0.95
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Whether the most probable labels that together have this share hold the true one, and how
    many these are."""
    names = label_names(matched)
    probabilities = label_probabilities(matched)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    before = np.cumsum(np.take_along_axis(probabilities, order, axis=1), axis=1)
    size = np.minimum((before < share).sum(axis=1) + 1, len(names))
    true = pd.Index(names).get_indexer(pd.Index(matched["true_label"]))
    place = (order == true[:, None]).argmax(axis=1)
    return (true >= 0) & (place < size), size


def _bins(confidence: NDArray[np.float64], n_bins: int) -> NDArray[np.intp]:
    """Bin of every confidence; an edge belongs to the bin below it."""
    edges = np.linspace(0, 1, n_bins + 1)
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, n_bins - 1)


def _mean(values: NDArray) -> float:
    """Mean, NaN of nothing (without numpy's warning)."""
    return float(values.mean()) if len(values) else np.nan
