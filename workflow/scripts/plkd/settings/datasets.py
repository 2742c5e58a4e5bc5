"""What a data set's configuration may choose: sources, how to read and prepare them.

Standard library only.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from plkd.errors import InputError
from plkd.utils.text import visible

SCALES = ("auto", "counts", "log1p", "log2", "log10", "linear")
"""What values may be said to be: found out, whole counts, logarithms of 1 + x (natural, or to base
2 or 10), or not logged and not whole (CPM, TPM, corrected counts)."""


@dataclass(frozen=True)
class ReadingOptions:
    """How to read a file of cells, or an AnnData, as it was published.

    Attributes
    ----------
    reader
        One of :data:`plkd.io.cells.READERS`; ``auto`` looks into the file.
    modality
        Of a file with several modalities (h5mu) the one to take; of one that mixes features (`var`
        column ``feature_types``) the type to take. None: the genes.
    layer, use_raw
        Matrix to take instead of `X` (AnnData, h5ad, h5mu, zarr; `layer` of loom as well).
    transpose
        The rows of a ``csv`` are genes and its columns cells.
    gene_symbols_key
        Column of `var` with the gene names, instead of its index.
    scale
        What the values are, one of :data:`SCALES`; ``auto`` finds it out.
    gene_table
        A table that renames genes: what :meth:`plkd.io.gene_names.GeneTable.from_config` takes.
    """

    reader: str = "auto"
    modality: str | None = None
    layer: str | None = None
    use_raw: bool = False
    transpose: bool = False
    gene_symbols_key: str | None = None
    scale: str = "auto"
    gene_table: Mapping[str, Any] | str | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ReadingOptions:
        """Take the options that a source of a configuration sets; its other keys are no concern."""
        names = {one.name for one in fields(cls)}
        return cls(**{k: v for k, v in config.items() if k in names and v is not None})

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise InputError(f"`scale` is '{self.scale}'; expected {' or '.join(SCALES)}")


AS_IT_IS = ReadingOptions()
"""The defaults: `X` with the names of `var`, in whatever format the file turns out to be."""

READING = tuple(one.name for one in fields(ReadingOptions) if one.name != "gene_table")
"""Options that the layout of the published file asks for; what is made of the file needs none of
them. A `gene_table` is for both."""


LEAST_MINOR = 2
"""Cells of a rare label that a draw has at least."""


@dataclass(frozen=True)
class Imbalance:
    """Two labels of which one is so many times as frequent as the other; other cells are left out.

    Attributes
    ----------
    major, minor
        The labels.
    ratio
        Cells of `major` for each of `minor`.
    seed
        Of the draw.
    """

    major: str
    minor: str
    ratio: int
    seed: int = 0

    def n_minor(self, n_major: int, n_minor: int) -> int:
        """How many of these cells of `minor` are drawn: as many as the ratio allows.

        Fewer than :data:`LEAST_MINOR` are no draw.
        """
        return min(n_minor, n_major // self.ratio)


@dataclass(frozen=True)
class Part:
    """One of several parts of the cells, which their names decide (:func:`part_of_cell`).

    Attributes
    ----------
    number
        Which of them, from 1.
    of
        How many there are.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        if self.of < 2 or not 1 <= self.number <= self.of:
            raise InputError(
                f"`part` is {self.number} of {self.of}; expected a number from 1 to `of`, of at "
                "least 2 parts"
            )


def part_of_cell(name: str, n_parts: int) -> int:
    """The part that a cell belongs to, from 1: the same on every machine, and in every file.

    So one part of a file and the others of another one never hold the same cell.

    >>> [part_of_cell(name, 2) for name in ("AAACAGCCAAGGAATC-1", "AAACAGCCAATCCCTT-1")]
    [2, 1]
    """
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:8], "big") % n_parts + 1


@dataclass(frozen=True)
class SourceSettings:
    """How to read one side; the keys of `reference` and `query` in a data set's configuration."""

    url: str | None = None
    reading: ReadingOptions = AS_IT_IS
    labels_key: str | None = None
    batch_key: str | None = None
    keep: Mapping[str, Any] = field(default_factory=dict)
    drop: Mapping[str, Any] = field(default_factory=dict)
    part: Part | None = None
    drop_labels: list[str] = field(default_factory=list)
    imbalance: Imbalance | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SourceSettings:
        """Take the known keys that are set; the others keep their defaults."""
        names = {one.name for one in fields(cls)}
        known = {k: v for k, v in config.items() if k in names and v is not None}
        known["reading"] = ReadingOptions.from_config(config)
        known["drop_labels"] = [visible(str(label)) for label in known.get("drop_labels", ())]
        if "part" in known:
            known["part"] = Part(**known["part"])
        if "imbalance" in known:
            known["imbalance"] = Imbalance(**known["imbalance"])
        return cls(**known)

    @property
    def obs_columns(self) -> list[str]:
        """Columns of `obs` that the settings name."""
        named = (self.labels_key, self.batch_key, *self.keep, *self.drop)
        return [column for column in named if column is not None]


@dataclass(frozen=True)
class PrepareSettings:
    """The keys of `prepare` in a data set's configuration."""

    n_genes: int | Literal["all"] = 2000
    min_cells_per_gene: int = 3
    min_genes_per_cell: int = 0
    min_cells_per_label: int = 2
    gene_universe: Literal["shared", "reference"] = "shared"
    min_gene_overlap: float = 0.1

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | None) -> PrepareSettings:
        """Take the known keys that are set; the others keep their defaults."""
        names = {one.name for one in fields(cls)}
        return cls(**{k: v for k, v in (config or {}).items() if k in names and v is not None})

    def __post_init__(self) -> None:
        if self.gene_universe not in ("shared", "reference"):
            raise InputError(
                f"`prepare.gene_universe` is '{self.gene_universe}'; expected shared or reference"
            )
        if self.n_genes != "all" and self.n_genes < 1:
            raise InputError(f"`prepare.n_genes` is {self.n_genes}; expected at least 1, or all")


def sources_in(content: Any) -> Iterator[dict[str, Any]]:
    """All sources anywhere in a configuration, in order: the mappings that have a `url`."""
    if isinstance(content, dict):
        if "url" in content:
            yield content
        content = list(content.values())
    if isinstance(content, list):
        for part in content:
            yield from sources_in(part)


def with_paths(content: Any, paths: Iterable[str]) -> Any:
    """Copy of a configuration with the `path` of the fetched file beside every `url`, in order."""
    located = copy.deepcopy(content)
    for source, path in zip(sources_in(located), paths, strict=True):
        source["path"] = str(path)
    return located
