"""What can be chosen for simulated cells, and what it means.

Each choice stands here once, with its default, description and limits: the functions check them,
and the options of ``plkd simulate`` are made from them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from plkd.settings.models import override

S = TypeVar("S")


def _setting(default: Any, description: str, **limits: float) -> Any:
    """A field with its description and limits, as :func:`plkd.settings.models.override` checks."""
    return field(default=default, metadata={"description": description, "limits": limits})


@dataclass(frozen=True)
class DesignSettings:
    """What the cells of all draws have in common: genes, labels, programmes, batch effects.

    The gene sets that no label needs are decoys: genes by chance from the same range of levels. Of
    the programmes that are active in a label, the first is shared by its lineage; its markers are
    members of its own programmes, at most half of each. A lineage has as many markers as a label.
    """

    n_genes: int = _setting(2000, "genes", minimum=1)
    n_labels: int = _setting(8, "labels; those of one letter are related", minimum=1)
    n_batches: int = _setting(4, "batches of the reference", minimum=1)
    n_programmes: int = _setting(60, "gene sets, decoys among them", minimum=0)
    programme_size: int = _setting(20, "genes of each gene set", minimum=1)
    programmes_per_label: int = _setting(3, "gene sets that are active in a label", minimum=0)
    n_markers: int = _setting(10, "genes that a label alone over-expresses", minimum=0)
    labels_per_lineage: int = _setting(3, "labels that are related", minimum=1)
    imbalance: float = _setting(
        10.0, "cells of the commonest label for each of the rarest", minimum=1
    )
    marker_effect: float = _setting(
        2.2, "log fold change of a label's strongest marker; the weakest has half of it"
    )
    programme_effect: float = _setting(
        0.7, "mean log fold change of a gene set's genes where it is active"
    )
    dispersion: float = _setting(
        0.3, "over-dispersion of the counts: variance = mean + dispersion x mean^2", minimum=0
    )
    batch_effect: float = _setting(
        0.3, "standard deviation of a batch's log fold changes and of its log depth", minimum=0
    )
    confounding: float = _setting(
        0.0,
        "share of the variance of a batch effect that looks like a change of label",
        minimum=0,
        maximum=1,
    )


@dataclass(frozen=True)
class DrawSettings:
    """What the cells of one draw have of their own."""

    depth: float = _setting(2000.0, "mean counts of a cell", exclusiveMinimum=0)
    composition_shift: float = _setting(
        0.0, "standard deviation of the labels' log abundances between batches", minimum=0
    )
    label_noise: float = _setting(
        0.0, "share of the labels that are replaced by others by chance", minimum=0, maximum=1
    )


@dataclass(frozen=True)
class ProjectSettings:
    """The two draws of a project: a labelled reference, and a query of other batches."""

    n_cells: int = _setting(2000, "cells of the reference", minimum=1)
    n_query_cells: int = _setting(1000, "cells of the query", minimum=1)
    n_unseen: int = _setting(0, "labels that the query alone has", minimum=0)
    n_query_batches: int = _setting(2, "batches of the query, all of them new", minimum=1)


def settings_from(kind: type[S], values: Mapping[str, Any]) -> S:
    """Settings of a class from values of some of them.

    Raises
    ------
    InputError
        For an unknown name, or a value of another type or out of its limits.
    """
    checked: S = override(kind(), values, where="simulation")
    return checked


def split_settings(kind: type[S], values: Mapping[str, Any]) -> tuple[S, dict[str, Any]]:
    """Settings of a class from those values that are its fields, and the other values.

    Raises
    ------
    InputError
        For a value of another type or out of its limits.
    """
    names = {item.name for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    own = {name: value for name, value in values.items() if name in names}
    return settings_from(kind, own), {n: v for n, v in values.items() if n not in names}
