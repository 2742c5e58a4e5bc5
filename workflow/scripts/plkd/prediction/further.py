"""What else can be said of labelled cells: next labels, a wider name, what is said around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plkd.errors import InputError
from plkd.model.slide import ALONE, Surroundings
from plkd.model.trained_network import TrainedNetwork
from plkd.prediction.groups import LEAST_AGREEMENT, clusters_of, vote
from plkd.prediction.label_tree import LEVEL, LabelTree
from plkd.prediction.table import label_names, label_probabilities
from plkd.preparation.prepared import PreparedCells
from plkd.utils.logs import logger

CLUSTER = "cluster"
"""Column of clusters that are made here."""


@dataclass(frozen=True)
class FurtherLabels:
    """Which columns are added beside the label; by default none.

    Attributes
    ----------
    groups
        Column of obs whose groups get the label of most of their cells.
    cluster
        Instead of a column: groups are clusters of the Student's embedding (Leiden).
    least_agreement
        Share of a group's cells that must have its label, else it is heterogeneous.
    tree
        Wider names above the labels.
    level
        Probability that a name of the tree must reach.
    top
        So many labels of every cell, with their probabilities.
    slide
        How the cells around a cell on its slide have a say in its label.
    """

    groups: str | None = None
    cluster: bool = False
    least_agreement: float = LEAST_AGREEMENT
    tree: LabelTree | None = None
    level: float = LEVEL
    top: int = 1
    slide: Surroundings = ALONE

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.groups is not None and self.cluster:
            raise InputError("give either the column of the groups, or ask for clusters.")
        if not 0 <= self.least_agreement <= 1:
            raise InputError(
                f"the least agreement of a group is {self.least_agreement}: give 0 to 1."
            )
        if self.tree is not None:
            self.tree.back_off(np.zeros((0, len(self.tree.labels))), self.level)
        if self.top < 1:
            raise InputError(f"{self.top} labels of a cell: give at least 1.")

    @property
    def has_slide(self) -> bool:
        """Whether the cells around a cell have a say in a label."""
        return self.slide.neighbours > 0

    @property
    def has_groups(self) -> bool:
        """Whether groups of cells get a label."""
        return self.cluster or self.groups is not None

    def of_slide(
        self,
        probabilities: NDArray[np.floating],
        names: Sequence[str],
        places: NDArray[np.floating],
        slides: NDArray[np.generic] | None,
    ) -> Mapping[str, Any]:
        """Columns of the labels on the slide, as :meth:`of_cells`, where :attr:`has_slide`.

        Parameters
        ----------
        probabilities
            Of every labelled cell, (cells, labels).
        names
            Of the labels.
        places, slides
            Where these cells are, (cells, dimensions), and on which slide, (cells,).
        """
        around = self.slide.probabilities(probabilities, places, slides)
        best = around.argmax(axis=1)
        return {
            "slide_label": np.asarray(names, dtype=object)[best],
            "slide_confidence": np.take_along_axis(around, best[:, None], axis=1)[:, 0],
        }

    def of_cells(self, table: pd.DataFrame, unassigned: str) -> Mapping[str, Any]:
        """Columns by the end of their names, one value per labelled cell; not those of groups.

        Parameters
        ----------
        table
            Prediction table of labelled cells, all or some of them.
        unassigned
            What unknown cells are called.

        Returns
        -------
        mapping of arrays
            Texts are objects, None where there is nothing to say.
        """
        unknown = table["unknown"].to_numpy(dtype=bool)
        probabilities = label_probabilities(table)
        columns: dict[str, Any] = {}
        n_top = min(self.top, probabilities.shape[1])
        order = np.argsort(-probabilities, axis=1, kind="stable")
        names = np.asarray(label_names(table), dtype=object)
        for rank in range(1, n_top):
            columns[f"label_{rank + 1}"] = names[order[:, rank]]
            columns[f"confidence_{rank + 1}"] = np.take_along_axis(
                probabilities, order[:, rank : rank + 1], axis=1
            )[:, 0]
        if self.tree is not None:
            wider, probability = self.tree.back_off(probabilities, self.level)
            wider[unknown] = ""
            columns["tree_label"] = np.where(wider == "", unassigned, wider)
            probability = np.where(wider == "", np.nan, probability)
            columns["tree_confidence"] = probability.astype(np.float32)
            for depth, values in enumerate(self.tree.levels(wider).T, start=1):
                columns[f"level_{depth}"] = np.where(values == "", None, values)
        return columns

    def of_groups(
        self, labels: Any, obs: pd.DataFrame, embedding: Callable[[], Any]
    ) -> Mapping[str, Any]:
        """Columns of the groups, as :meth:`of_cells`, where :attr:`has_groups`.

        Parameters
        ----------
        labels
            Label of every labelled cell, that of unknown ones "unassigned".
        obs
            Of these cells, with the groups.
        embedding
            Gives that of these cells, (cells, width); called if clusters are to be made.

        Raises
        ------
        InputError
            If `obs` has no column of the groups.
        """
        groups = clusters_of(embedding()) if self.cluster else self._groups(obs)
        columns = {CLUSTER: groups} if self.cluster else {}
        voted = vote(groups, labels, self.least_agreement)
        found = voted["group_label"].to_numpy(dtype=object, copy=True)
        found[pd.isna(found)] = None
        columns["group_label"] = found
        columns["group_agreement"] = voted["group_agreement"].to_numpy(dtype=np.float32)
        return columns

    def require_groups(self, obs: pd.DataFrame) -> None:
        """Refuse cells that have no column of the groups.

        Raises
        ------
        InputError
            With the columns that there are.
        """
        if self.groups is not None and self.groups not in obs:
            raise InputError(
                f"obs has no column '{self.groups}' with groups of cells; its columns are: "
                f"{', '.join(map(str, obs.columns)) or 'none'}. Name one, or ask for clusters."
            )

    def _groups(self, obs: pd.DataFrame) -> Any:
        self.require_groups(obs)
        values = obs[self.groups]
        return values.astype(str).where(values.notna(), None).to_numpy(dtype=object)


NOTHING_FURTHER = FurtherLabels()


def surroundings_for(asked: bool | int, network: TrainedNetwork) -> Surroundings:
    """How the cells around a cell have a say: as many as are asked for, or as the model knows.

    A model whose reference had no places, or whose labels are not those of regions, knows of none:
    that is logged.

    Raises
    ------
    InputError
        If fewer than none are asked for.
    """
    known = network.surroundings
    if asked is not True:
        if asked < 0:
            raise InputError(f"{asked} cells around a cell: give at least 1.")
        return replace(known, neighbours=int(asked))
    if not known.neighbours:
        logger.warning(
            "the model's reference does not show that labels are those of the cells around, so "
            "there are no labels on the slide; say how many cells around a cell have a say, if "
            "they shall"
        )
    return known


def labels_on_slide(
    predictions: pd.DataFrame, query: PreparedCells, network: TrainedNetwork
) -> NDArray[np.object_] | None:
    """Label of every cell of a prepared query by what is said of the cells around as well.

    Parameters
    ----------
    predictions
        Of the query, in its order.
    query
        Cells with places; each batch is a slide.
    network
        Knows how many cells have a say; if none, there are no such labels: None.

    Raises
    ------
    InputError
        If the cells have no places.
    """
    if not network.surroundings.neighbours:
        return None
    found = FurtherLabels(slide=network.surroundings).of_slide(
        label_probabilities(predictions),
        label_names(predictions),
        query.require_spatial(),
        query.obs["batch"].astype(str).to_numpy(),
    )
    labels: NDArray[np.object_] = found["slide_label"]
    return labels
