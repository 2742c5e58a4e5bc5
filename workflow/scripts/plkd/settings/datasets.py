"""The published files that a data set's configuration names. Standard library only."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

READING = ("reader", "modality", "layer", "use_raw", "transpose", "gene_symbols_key")
"""The keys of a source that say how to read it as it was published."""


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
