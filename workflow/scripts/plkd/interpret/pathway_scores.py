"""The Teacher's tokens as features of cells: one number per token and cell, tested per label.

A token v_j = W_j^T x + b_j is a vector of width h. A test needs a number, and a gene of the pathway
a weight: both come from one axis u_j, score = v_j . u_j and P_j = W_j u_j, so that the score is the
expression of the pathway's genes weighted by P_j. The choice of the axis:

``principal``
    The direction in which the token varies most over the cells, turned so that the score rises with
    the expression of the pathway's genes. The default.
``sum``
    All ones, the text of the paper ("sum W_j up"). A LayerNorm takes the mean over the width out of
    every token before the Teacher reads it, so where there is one (presets `default` and
    `authors_code`) this sum is just what the Teacher cannot see.

W_j is meant as the cell meets it: with the weight of the gene at the model's entrance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import anndata as ad
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from plkd.errors import InputError
from plkd.interpret.sampling import sample_per_label
from plkd.model.teacher import Teacher
from plkd.model.trained_network import TrainedNetwork, dense_batch
from plkd.prediction.table import read_predictions
from plkd.preparation.prepared import PreparedCells
from plkd.utils.logs import logger
from plkd.utils.progress import ProgressBar

Axis = Literal["principal", "sum"]

_CHUNK = 128  # cells whose tokens are in memory at a time


@dataclass(frozen=True)
class TokenStatistics:
    """What the tokens do over a set of labelled cells.

    Attributes
    ----------
    axes
        Direction u_j of every token, float64 (tokens, width); of length one but for "sum".
    variance_share
        Share of the token's variance along its axis, (tokens,); nan for a token that is the same
        in all cells.
    attention
        Attention of the cell token, mean over heads and the cells of a label: one row per label,
        one column per token. What is missing to one is its attention to itself.
    """

    axes: NDArray[np.float64]
    variance_share: NDArray[np.float64]
    attention: pd.DataFrame


def teacher_of(model: TrainedNetwork) -> Teacher:
    """Give the network of a model that must be a Teacher.

    Raises
    ------
    InputError
        If it is not.
    """
    if not isinstance(model.network, Teacher):
        raise InputError(
            "pathways are those of a Teacher, this is a Student: give `model.teacher`."
        )
    return model.network


def reads_centred(teacher: Teacher) -> bool:
    """Tell whether a LayerNorm takes the mean over the width out of every token."""
    first = teacher.layers[0]
    return isinstance(first.norm, nn.LayerNorm) or isinstance(teacher.token_norm, nn.LayerNorm)


def labelled_cells(
    path: str | Path,
    model: TrainedNetwork,
    *,
    predictions: str | Path | None = None,
    most: int = 1000,
    seed: int = 0,
) -> tuple[sparse.csr_matrix, NDArray[np.str_], str]:
    """Cells to explain labels with, of a prepared file.

    Parameters
    ----------
    path
        The prepared reference, which has ``obs['label']``, or, with predictions, the query.
    model
        Whose genes the file must have.
    predictions
        Prediction table of the cells; those flagged unknown are left out.
    most
        Cells of a label; of more, a sample.
    seed
        Of the sample.

    Returns
    -------
    cells
        Log-normalised expression, CSR float32 of shape (cells, genes).
    labels
        One per cell.
    about
        Says in words which cells these are.

    Raises
    ------
    InputError
        If the file has other genes than the model, or there is no labelled cell.
    """
    prepared = PreparedCells.read(path)
    prepared.require_genes(model.genes)
    if predictions is None:
        known, kind = pd.Series(prepared.labels), "reference cells by their labels"
    else:
        table = prepared.in_order(
            read_predictions(predictions, made_by="predict"), f"'{predictions}'"
        )
        known = table["label"].where(~table["unknown"].astype(bool))
        kind = "query cells by their predicted labels"
    usable = np.flatnonzero(known.notna().to_numpy())
    if len(usable) == 0:
        raise InputError(f"'{path}': no cell has a label. Nothing can be explained.")
    labels = known.to_numpy(dtype=object)[usable].astype(str)
    chosen = sample_per_label(labels, most, seed)
    whole = len(chosen) == len(usable)
    about = (
        f"{len(chosen):,} {kind}"
        if whole
        else (f"{len(chosen):,} of {len(usable):,} {kind}: at most {most:,} per label, seed {seed}")
    )
    cells = prepared.take(usable[chosen])
    return cells, labels[chosen], about


def token_statistics(
    model: TrainedNetwork,
    cells: sparse.csr_matrix,
    labels: NDArray[np.str_],
    *,
    axis: Axis = "principal",
    device: str = "cpu",
    progress: bool = True,
) -> TokenStatistics:
    """Pass over the cells once: axes of the tokens, attention per label.

    Parameters
    ----------
    model
        A Teacher.
    cells
        Log-normalised expression, CSR of shape (cells, genes), genes in the model's order.
    labels
        Label of every cell.
    axis
        See the module.
    device
        A torch device.
    progress
        Show a progress bar.
    """
    teacher = teacher_of(model.to(device))
    n_tokens, width = teacher.navigator.n_tokens, teacher.navigator.width
    names = np.unique(labels)
    code = torch.from_numpy(np.searchsorted(names, labels))
    total = torch.zeros(n_tokens, width, dtype=torch.float64, device=device)
    products = torch.zeros(n_tokens, width, width, dtype=torch.float64, device=device)
    attention = torch.zeros(len(names), n_tokens + 1, dtype=torch.float64)
    starts = range(0, cells.shape[0], _CHUNK)
    for start in ProgressBar(starts, desc="tokens", unit="chunk", disable=not progress):
        x = dense_batch(cells[start : start + _CHUNK], device)
        with torch.inference_mode():
            looked = teacher.cell_attention(teacher.tokens(x)).mean(dim=1)
            attention.index_add_(0, code[start : start + _CHUNK], looked.double().cpu())
            if axis == "principal":
                by_token = _linear_tokens(teacher, x)
                total += by_token.sum(dim=1)
                products += by_token.transpose(1, 2) @ by_token
    counts = np.bincount(code.numpy(), minlength=len(names))
    looked_at = pd.DataFrame(
        attention[:, :-1].numpy() / counts[:, None], index=names, columns=model.tokens
    )
    if axis == "sum":
        return TokenStatistics(np.ones((n_tokens, width)), np.full(n_tokens, np.nan), looked_at)
    n = max(cells.shape[0], 1)
    mean = total / n
    covariance = (products / n - mean[:, :, None] * mean[:, None, :]).cpu().numpy()
    values, vectors = np.linalg.eigh(covariance)
    axes = np.ascontiguousarray(vectors[:, :, -1])
    whole = values.clip(min=0).sum(axis=1)
    share = np.divide(values[:, -1], whole, out=np.full(n_tokens, np.nan), where=whole > 1e-12)
    rising = _rises_with_expression(teacher, axes, cells)
    return TokenStatistics(axes * np.where(rising, 1.0, -1.0)[:, None], share, looked_at)


def effective_weights(teacher: Teacher) -> tuple[sparse.csc_array, NDArray[np.float64]]:
    """W_j as a cell's expression meets it.

    Returns
    -------
    mask
        Boolean (genes, tokens).
    weights
        float64 (entries of the mask, width), in the order of the mask's columns, each gene's with
        its weight at the entrance.
    """
    mask = teacher.navigator.mask()
    scale = teacher.input_scale.double().cpu().numpy()
    weights = teacher.navigator.entry_weights().double().cpu().numpy()
    return mask, weights * scale[mask.indices, None]


def pathway_weights(teacher: Teacher, axes: NDArray[np.float64]) -> sparse.csc_array:
    """P_j = W_j u_j of all tokens, float64 (genes, tokens), stored inside the mask only.

    Positive: the more of the gene, the higher the token's score.
    """
    mask, weights = effective_weights(teacher)
    token = np.repeat(np.arange(mask.shape[1]), np.diff(mask.indptr))
    values = np.einsum("eh,eh->e", weights, axes[token])
    return sparse.csc_array((values, mask.indices, mask.indptr), shape=mask.shape)


def pathway_scores(cells: sparse.csr_matrix, weights: sparse.csc_array) -> NDArray[np.float64]:
    """Score of every token in every cell, v_j . u_j less its mean over the cells.

    Parameters
    ----------
    cells
        Log-normalised expression (cells, genes).
    weights
        P of :func:`pathway_weights`.

    Returns
    -------
    float64 array of shape (cells, tokens)
    """
    scores = (sparse.csr_array(cells, dtype=np.float64) @ weights).toarray()
    return scores - scores.mean(axis=0)


def rank_label_pathways(
    scores: NDArray[np.float64],
    labels: NDArray[np.str_],
    attention: pd.DataFrame,
    *,
    top: int = 10,
) -> pd.DataFrame:
    """Test every pathway for higher scores in the cells of a label than in all others.

    Wilcoxon's rank-sum test with correction for ties, by scanpy's ``rank_genes_groups``. Labels of
    fewer than two cells, or of all cells, cannot be tested and are left out with a warning.

    Parameters
    ----------
    scores
        Shape (cells, tokens).
    labels
        Label of every cell.
    attention
        Mean attention, one row per label, one column per token; names the pathways.
    top
        How many pathways of a label are its own.

    Returns
    -------
    DataFrame
        One row per label and pathway, the best first: `label`, `pathway`, `rank` (from 1: by
        `score`, then `cohen_d`), `top` (rank at most `top` and score above zero), `score` (z of the
        test), `auroc` (chance that a cell of the label scores higher than another; half for ties),
        `cohen_d` (difference of means over the pooled standard deviation), `mean` and `mean_other`
        (of the scores in units of the pathway's standard deviation), `p_value`, `adjusted_p_value`
        (two-sided; Benjamini-Hochberg over the pathways), `attention`, `attention_other` (mean over
        the other labels), `attention_fold` (over an even share, 1 / (pathways + 1)).

    Raises
    ------
    InputError
        If no label can be tested.
    """
    import scanpy as sc

    names, counts = np.unique(labels, return_counts=True)
    testable = names[(counts >= 2) & (counts < len(labels))]
    if len(testable) == 0:
        raise InputError(
            f"no label can be tested: found {len(names)} labels in {len(labels)} cells; expected "
            "two or more, one of them with two cells."
        )
    if len(testable) < len(names):
        logger.warning(
            "labels of a single cell are not explained: %s",
            ", ".join(sorted(set(names) - set(testable))),
        )
    pathways = list(attention.columns)
    cells = ad.AnnData(
        scores.astype(np.float32),
        obs=pd.DataFrame({"label": pd.Categorical(labels)}, index=_numbers(len(labels))),
        var=pd.DataFrame(index=_numbers(len(pathways))),
    )
    with np.errstate(all="ignore"):  # of its fold changes, which mean nothing here
        sc.tl.rank_genes_groups(
            cells, "label", groups=list(testable), method="wilcoxon", tie_correct=True
        )
    effects = _effects(scores, labels, testable)
    parts = []
    for label in testable:
        tested = sc.get.rank_genes_groups_df(cells, str(label))
        position = tested["names"].astype(int).to_numpy()
        inside = attention.loc[label].to_numpy()[position]
        others = attention.drop(index=label).mean(axis=0).to_numpy()[position]
        table = pd.DataFrame(
            {
                "label": str(label),
                "pathway": [pathways[i] for i in position],
                "score": tested["scores"].to_numpy(dtype=float),
                **{name: values[position] for name, values in effects[label].items()},
                # a pathway with the same score in all cells is no evidence
                "p_value": tested["pvals"].fillna(1.0).to_numpy(),
                "adjusted_p_value": tested["pvals_adj"].fillna(1.0).to_numpy(),
                "attention": inside,
                "attention_other": others,
                "attention_fold": inside * (len(pathways) + 1),
            }
        ).fillna({"score": 0.0})
        table = table.sort_values(
            ["score", "cohen_d", "pathway"], ascending=[False, False, True], kind="stable"
        )
        rank = np.arange(1, len(table) + 1)
        table.insert(2, "rank", rank)
        table.insert(3, "top", (rank <= top) & (table["score"] > 0))
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def _linear_tokens(teacher: Teacher, x: Tensor) -> Tensor:
    """Tokens before any norm, less their mean over the width if the Teacher does not see it.

    float64 of shape (tokens, cells, width).
    """
    tokens = teacher.navigator(x * teacher.input_scale).transpose(0, 1).double()
    return tokens - tokens.mean(dim=2, keepdim=True) if reads_centred(teacher) else tokens


def _rises_with_expression(
    teacher: Teacher, axes: NDArray[np.float64], cells: sparse.csr_matrix
) -> NDArray[np.bool_]:
    """Does the score along the axis rise with the genes, each counted by the length of its row?"""
    mask, weights = effective_weights(teacher)
    lengths = np.linalg.norm(weights, axis=1)
    expression = pathway_scores(
        cells, sparse.csc_array((lengths, mask.indices, mask.indptr), shape=mask.shape)
    )
    scores = pathway_scores(cells, pathway_weights(teacher, axes))
    return np.einsum("cp,cp->p", scores, expression) >= 0


def _effects(
    scores: NDArray[np.float64], labels: NDArray[np.str_], names: NDArray[np.str_]
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Effect sizes of every label against all other cells, arrays of shape (tokens,)."""
    ranks = pd.DataFrame(scores).rank().to_numpy()
    spread = scores.std(axis=0)
    scaled = scores / np.where(spread > 0, spread, 1.0)
    effects = {}
    for label in names:
        members = labels == label
        inside, others = scaled[members], scaled[~members]
        n, m = len(inside), len(others)
        pooled = n * inside.var(axis=0) + m * others.var(axis=0)
        pooled = np.sqrt(pooled / max(n + m - 2, 1))
        difference = inside.mean(axis=0) - others.mean(axis=0)
        effects[label] = {
            "auroc": (ranks[members].sum(axis=0) - n * (n + 1) / 2) / (n * m),
            "cohen_d": np.divide(difference, pooled, out=np.zeros_like(pooled), where=pooled > 0),
            "mean": inside.mean(axis=0),
            "mean_other": others.mean(axis=0),
        }
    return effects


def _numbers(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def outside_share(
    ranked: pd.DataFrame, others: Sequence[str] | NDArray[np.str_]
) -> dict[str, float]:
    """Share of every label's attention that tokens get which are no pathways.

    Parameters
    ----------
    ranked
        Pathways of the labels (:func:`rank_label_pathways`).
    others
        Tokens that see every gene, or those that no pathway covers.
    """
    apart = ranked[ranked["pathway"].isin(others)]
    found = apart.groupby("label")["attention"].sum()
    return {str(label): float(found.get(label, 0.0)) for label in pd.unique(ranked["label"])}
