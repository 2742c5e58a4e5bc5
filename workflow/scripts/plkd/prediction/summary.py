"""How many cells got which label, and what to expect of them, counted as the predictions come."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plkd.prediction.table import label_names, label_probabilities


class LabelSummary:
    """Counts of cells by label, taken piece by piece; it holds five bytes of every cell.

    Attributes
    ----------
    n_cells, n_unknown
        Cells so far, and those of them that are flagged unknown.
    """

    def __init__(self) -> None:
        self.n_cells = self.n_unknown = 0
        self._labels: list[str] = []
        self._codes: list[NDArray[np.integer]] = []
        self._confidence: list[NDArray[np.float32]] = []
        self._sums: NDArray[np.float64] = np.empty((0, 0))  # of probabilities, by label
        self._unknown: NDArray[np.integer] = np.empty(0, dtype=np.intp)

    def add(self, predictions: pd.DataFrame) -> None:
        """Count the cells of a prediction table; those without a label are among `n_cells`."""
        if not self._labels:
            self._labels = label_names(predictions)
            self._sums = np.zeros((len(self._labels),) * 2)
            self._unknown = np.zeros(len(self._labels), dtype=np.intp)
        flagged = predictions["unknown"].to_numpy(dtype=bool)
        self.n_cells += len(predictions)
        self.n_unknown += int(flagged.sum())
        codes = pd.Categorical(predictions["label"], categories=self._labels).codes
        labelled = codes >= 0
        codes, probabilities = codes[labelled], label_probabilities(predictions)[labelled]
        n_labels = len(self._labels)
        self._codes.append(codes)
        self._confidence.append(predictions["confidence"].to_numpy(dtype=np.float32)[labelled])
        self._unknown += np.bincount(codes[flagged[labelled]], minlength=n_labels)
        for code in np.unique(codes):
            self._sums[code] += probabilities[codes == code].sum(axis=0, dtype=np.float64)

    def table(self) -> pd.DataFrame:
        """See :func:`label_table`."""
        confidence = pd.Series(np.concatenate(self._confidence, dtype=np.float32))
        groups = confidence.groupby(np.concatenate(self._codes, dtype=np.intp))
        cells = groups.size()
        names, present = np.asarray(self._labels, dtype=object), cells.index.to_numpy()
        means = self._sums[present] / cells.to_numpy()[:, None]
        own = np.arange(len(present)), present
        table = pd.DataFrame(
            {
                "label": names[present],
                "cells": cells.to_numpy(),
                "share": cells.to_numpy() / self.n_cells,
                "median_confidence": groups.median().to_numpy(),
                "unknown": self._unknown[present],
                "expected_precision": means[own],
                "next_label": None,
                "next_probability": np.nan,
            }
        )
        if len(names) > 1:
            means[own] = -1.0
            table["next_label"] = names[means.argmax(axis=1)]
            table["next_probability"] = means.max(axis=1)
        return table.sort_values("cells", ascending=False, kind="stable").reset_index(drop=True)


def label_table(predictions: pd.DataFrame) -> pd.DataFrame:
    """Count the cells of every predicted label, most frequent first, and say what to expect.

    Returns
    -------
    DataFrame
        ``label``, ``cells``, ``share`` of all cells, ``median_confidence``, how many of the cells
        are flagged ``unknown``, ``expected_precision`` (the share of the cells that should be
        labelled rightly: the mean of their calibrated confidence), and which other label they are
        most likely to be: ``next_label`` with its mean probability, ``next_probability``.
    """
    summary = LabelSummary()
    summary.add(predictions)
    return summary.table()
