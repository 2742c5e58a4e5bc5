"""Cells of a query drawn and attributed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from plkd.errors import InputError
from plkd.interpret.attributed_cells import AttributedCells
from plkd.interpret.explainers import Explainer, attribute_labels
from plkd.interpret.sampling import sample_per_label
from plkd.model.background import Background
from plkd.model.trained_model import Model
from plkd.prediction.predict import model_for_prepared
from plkd.preparation.prepared import PreparedCells
from plkd.utils.logs import logger


def background_of(model: Model) -> Background:
    """Give the background in a model's folder.

    Raises
    ------
    InputError
        If there is none.
    """
    if model.background is None:
        raise InputError(
            "the model has no background, which explanations compare cells with: train it again."
        )
    return model.background


def attribute_query(
    model: Model,
    query: str | Path,
    predictions: pd.DataFrame,
    *,
    per_label: int,
    seed: int,
    explainer: Explainer = "plkd",
    device: str = "cpu",
    progress: bool = True,
) -> AttributedCells:
    """Attribute the label of some cells of every predicted label.

    Cells that are flagged unknown are left out: what speaks for their label is not what makes it
    one. Where all are unknown a warning says so, and they are taken.

    Parameters
    ----------
    model
        A trained model, whose Student is asked.
    query
        Prepared query (``prepared/query.h5ad``).
    predictions
        Its prediction table.
    per_label
        Cells of every predicted label, or all it has.
    seed
        Seed of their choice.
    explainer, device, progress
        As of :func:`plkd.interpret.explainers.attribute_labels`.

    Raises
    ------
    InputError
        If the query has other genes, or the predictions have other labels, than the model, the
        predictions are of other cells than the query's, or the model keeps no background.
    """
    background = background_of(model)
    cells = PreparedCells.read(query)
    cells.require_genes(model.genes)
    predictions = cells.in_order(predictions, "the predictions")
    usable = np.flatnonzero(~predictions["unknown"].to_numpy(dtype=bool))
    if not len(usable):
        logger.warning("every cell is flagged unknown; they are attributed all the same")
        usable = np.arange(len(predictions))
    names = predictions["label"].to_numpy()[usable]
    rows = usable[sample_per_label(names, per_label, seed)]
    chosen = background.imputer.fill(cells.take(rows), cells.measured)
    codes = pd.Index(model.labels).get_indexer(pd.Index(predictions["label"].iloc[rows]))
    if (codes < 0).any():
        raise InputError(
            f"the predictions have the label '{predictions['label'].iloc[rows[codes < 0][0]]}', "
            "which the model does not know: give the predictions of this model."
        )
    network = model_for_prepared(model.require("student"), cells)[0]
    entering = network.entering(chosen, cells.batches[rows])
    found = attribute_labels(
        network,
        entering,
        background,
        codes[:, None],
        explainer=explainer,
        seed=seed,
        device=device,
        progress=progress,
    )
    return AttributedCells(
        cell_ids=predictions["cell_id"].to_numpy(dtype=str)[rows],
        genes=model.genes,
        labels=model.labels,
        codes=codes,
        values=found.values[:, 0],
        cells=chosen,
        background_mean=background.mean().astype(np.float32),
        base=found.base,
        error=found.error[:, 0],
        entering=None if network.offsets is None else entering,
    )
