"""The published files that a data set's configuration names. Standard library only."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any


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
    gene_table
        A table that renames genes: what :meth:`plkd.io.gene_names.GeneTable.from_config` takes.
    """

    reader: str = "auto"
    modality: str | None = None
    layer: str | None = None
    use_raw: bool = False
    transpose: bool = False
    gene_symbols_key: str | None = None
    gene_table: Mapping[str, Any] | str | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ReadingOptions:
        """Take the options that a source of a configuration sets; its other keys are no concern."""
        names = {one.name for one in fields(cls)}
        return cls(**{k: v for k, v in config.items() if k in names and v is not None})


AS_IT_IS = ReadingOptions()
"""The defaults: `X` with the names of `var`, in whatever format the file turns out to be."""

READING = tuple(one.name for one in fields(ReadingOptions) if one.name != "gene_table")
"""Options that the layout of the published file asks for; what is made of the file needs none of
them. A `gene_table` is for both."""


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
