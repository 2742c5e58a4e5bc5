"""Are the explanations true? What happens to a label when its genes or pathways are taken away.

Deletion: the genes of a cell are replaced one after the other, in the order of a ranking, and the
probability of the cell's label is followed. Insertion: the other way round, from a cell of which
everything is replaced. If the ranking is true, the probability falls (rises) early, so the area
under the curve is small for deletion and large for insertion. A gene is replaced by zero, as if it
had not been measured, or by its mean over the background. Tokens of the Teacher are replaced by
their mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from scipy.integrate import trapezoid
from torch import Tensor

from plkd.evaluation.columns import SETTING
from plkd.interpret.pathway_attribution import attribute_tokens, mean_tokens, no_pathways
from plkd.interpret.pathway_scores import teacher_of
from plkd.model.background import Background
from plkd.model.trained_network import TrainedNetwork, dense_batch

STEPS = (0, 1, 2, 5, 10, 20, 50, 100)
"""How many genes or tokens are replaced; the area is over this range."""
N_RANDOM = 5
_CELLS_AT_ONCE = 64

Ranking = Tensor | list[Tensor]
"""Scores (cells, items), the highest taken first; of several the mean curve is taken."""


def student_curves(
    model: TrainedNetwork,
    cells: sparse.csr_matrix,
    labels: np.ndarray,
    attributions: np.ndarray,
    background: Background,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Deletion and insertion curves of genes.

    The rankings: ``attribution`` (what supports the label most first); ``expression`` (highest
    first); ``difference`` (by how much the label's mean exceeds the mean of the background: what a
    list of markers knows, without looking at the cell or the model); ``random``. Where genes are
    replaced by zero only those that the cell expresses are taken, by every ranking.

    Parameters
    ----------
    model
        A Student.
    cells
        Log-normalised expression, CSR (cells, genes).
    labels
        The label that is followed, int array (cells,).
    attributions
        What every gene adds to the logit of that label, (cells, genes).
    background
        Gives means of genes and labels.
    seed
        Seed of the random orders.

    Returns
    -------
    DataFrame
        `model`, `items` (genes), `replaced_by` (zero, mean), `curve` (deletion, insertion),
        `ranking`, `cell` (position), `k` (items replaced, or put back), `probability` (float32, of
        the label).
    """
    network = model.to("cpu").network
    x = dense_batch(cells)
    targets = torch.from_numpy(np.asarray(labels, dtype=np.int64))
    mean = torch.from_numpy(background.mean()).float()
    label_means = torch.from_numpy(background.label_means)
    rankings: dict[str, Ranking] = {
        "attribution": torch.from_numpy(attributions),
        "expression": x,
        "difference": label_means[targets] - mean,
        "random": _random(x.shape, seed),
    }

    def probability(changed: Tensor, target: Tensor) -> Tensor:
        logits, _ = network(changed)
        return model.calibration.probabilities(logits).gather(1, target[:, None])[:, 0]

    tables = []
    for name, baseline in (("zero", torch.zeros_like(mean)), ("mean", mean)):
        usable = x > 0 if name == "zero" else None
        curves = removal_curves(probability, x, baseline, targets, rankings, usable)
        tables.append(curves.assign(replaced_by=name))
    return _ordered(pd.concat(tables, ignore_index=True), "student", "genes")


def teacher_curves(
    model: TrainedNetwork,
    cells: sparse.csr_matrix,
    labels: np.ndarray,
    background: Background,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Deletion and insertion curves of pathway tokens, as :func:`student_curves` of genes.

    The rankings: ``contribution`` (what supports the label most first), ``attention`` (highest
    first), ``random``. A second set of curves, with `items` = "pathways" instead of "tokens", is of
    the pathways alone, where the Teacher has other tokens as well: those are replaced from
    the start.
    """
    network = teacher_of(model.to("cpu"))
    targets = torch.from_numpy(np.asarray(labels, dtype=np.int64))
    baseline = mean_tokens(model, background)
    with torch.inference_mode():
        tokens = torch.cat(
            [
                network.tokens(dense_batch(cells[start : start + _CELLS_AT_ONCE]))
                for start in range(0, cells.shape[0], _CELLS_AT_ONCE)
            ]
        )

    def probability(changed: Tensor, target: Tensor) -> Tensor:
        logits, _ = network.classify_tokens(changed)
        return model.calibration.probabilities(logits).gather(1, target[:, None])[:, 0]

    others = no_pathways(model)
    sets = [("tokens", np.zeros_like(others))]
    if others.any() and not others.all():
        sets.append(("pathways", others))
    tables = []
    for items, left_out in sets:
        found = attribute_tokens(model, cells, background, labels, left_out=left_out)
        rankings: dict[str, Ranking] = {
            "contribution": torch.from_numpy(found.contributions),
            "attention": torch.from_numpy(found.attention),
            "random": _random(tokens.shape[:2], seed),
        }
        out = torch.from_numpy(left_out)
        x = torch.where(out[:, None], baseline, tokens)
        usable = ~out.expand(tokens.shape[:2])
        curves = removal_curves(probability, x, baseline, targets, rankings, usable)
        tables.append(_ordered(curves.assign(replaced_by="mean"), "teacher", items))
    return pd.concat(tables, ignore_index=True)


def removal_curves(
    probability: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    baseline: Tensor,
    targets: Tensor,
    rankings: Mapping[str, Ranking],
    usable: Tensor | None = None,
) -> pd.DataFrame:
    """Follow the probability of a label while items of `x` are replaced, by several rankings.

    Parameters
    ----------
    probability
        (changed x, targets) of some cells -> probability of the target (cells,).
    x
        (cells, items) or (cells, items, width).
    baseline
        What replaces the items, (items,) or (items, width).
    targets
        Label of every cell, (cells,).
    rankings
        Scores by name.
    usable
        Boolean (cells, items): items that can be replaced; the others stay as they are, and at the
        baseline where all others are. None for all.

    Returns
    -------
    DataFrame
        `curve`, `ranking`, `cell`, `k`, `probability`.
    """
    n_cells, n_items = x.shape[:2]
    steps = sorted({min(k, n_items) for k in STEPS})
    rows = []
    with torch.inference_mode():
        for name, ranking in rankings.items():
            repeats = ranking if isinstance(ranking, list) else [ranking]
            found = np.zeros((2, n_cells, len(steps)))
            for scores in repeats:
                place = places(scores, usable)
                for start in range(0, n_cells, _CELLS_AT_ONCE):
                    some = slice(start, start + _CELLS_AT_ONCE)
                    for j, k in enumerate(steps):
                        taken = place[some] < k
                        taken = taken.view(*taken.shape, *(1,) * (x.dim() - 2))
                        for i, changed in enumerate(
                            (
                                torch.where(taken, baseline, x[some]),
                                torch.where(taken, x[some], baseline),
                            )
                        ):
                            found[i, some, j] += probability(changed, targets[some]).numpy()
            for curve, values in zip(("deletion", "insertion"), found / len(repeats), strict=True):
                rows.append(
                    pd.DataFrame(
                        {
                            "curve": curve,
                            "ranking": name,
                            "cell": np.repeat(np.arange(n_cells), len(steps)),
                            "k": np.tile(steps, n_cells),
                            "probability": values.ravel().astype(np.float32),
                        }
                    )
                )
    return pd.concat(rows, ignore_index=True)


def places(scores: Tensor, usable: Tensor | None = None) -> Tensor:
    """Place of every item in its cell's ranking, from 0 for the highest score; (cells, items).

    Items that cannot be used get a place behind all others. Ties go by position.
    """
    scores = scores.double()
    order = torch.where(usable, scores, -torch.inf) if usable is not None else scores
    ranked = order.argsort(dim=1, descending=True, stable=True)
    place = torch.empty_like(ranked)
    place.scatter_(1, ranked, torch.arange(scores.shape[1]).expand_as(ranked).contiguous())
    if usable is not None:
        place = torch.where(usable, place, scores.shape[1])
    return place


def curve_areas(curves: pd.DataFrame) -> pd.DataFrame:
    """Area under the curve of every cell: mean probability over the steps, in [0, 1].

    The curve is taken as straight between two steps. Columns are those of `curves`, with `area`
    instead of `k` and `probability`.
    """
    keys = [name for name in curves.columns if name not in ("cell", "k", "probability")]
    tables = []
    for key, group in curves.groupby(keys, sort=False):
        wide = group.pivot_table(index="cell", columns="k", values="probability")
        k = wide.columns.to_numpy(dtype=float)
        values = wide.to_numpy(dtype=float)
        areas = trapezoid(values, k, axis=1) / (k[-1] - k[0])
        known = dict(zip(keys, key, strict=True))
        tables.append(pd.DataFrame({**known, "cell": wide.index, "area": areas}))
    return pd.concat(tables, ignore_index=True)


def summarise_areas(areas: pd.DataFrame) -> pd.DataFrame:
    """Mean areas of every ranking, and how they compare with random ones on the same cells.

    Returns
    -------
    DataFrame
        `model`, `items`, `replaced_by`, `curve`, `ranking`, `cells`, `area` (mean over cells),
        `sd` (over cells), `gain` (mean of how much better than random: lower for deletion, higher
        for insertion), `standard_error` of it, and `share_better` of the cells.
    """
    keys = SETTING
    random = areas[areas["ranking"] == "random"].set_index([*keys, "cell"])["area"]
    joined = areas.join(random.rename("random"), on=[*keys, "cell"])
    sign = np.where(joined["curve"] == "deletion", -1.0, 1.0)
    joined["gain"] = sign * (joined["area"] - joined["random"])
    joined["better"] = joined["gain"] > 0
    groups = joined.groupby([*keys, "ranking"], sort=False)
    table = groups.agg(
        cells=("area", "size"),
        area=("area", "mean"),
        sd=("area", "std"),
        gain=("gain", "mean"),
        standard_error=("gain", "sem"),
        share_better=("better", "mean"),
    ).reset_index()
    chance = table["ranking"] == "random"
    table.loc[chance, ["gain", "standard_error", "share_better"]] = np.nan
    return table


def summarise_curves(curves: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread over cells of every curve: columns `mean`, `sd`, `cells`."""
    keys = [*SETTING, "ranking", "k"]
    groups = curves.groupby(keys, sort=False)["probability"]
    return groups.agg(mean="mean", sd="std", cells="size").reset_index()


def _random(shape: tuple[int, ...] | torch.Size, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(tuple(shape), generator=generator) for _ in range(N_RANDOM)]


def _ordered(curves: pd.DataFrame, model: str, items: str) -> pd.DataFrame:
    columns = [*SETTING, "ranking", "cell", "k", "probability"]
    return cast(pd.DataFrame, curves.assign(model=model, items=items)[columns])
