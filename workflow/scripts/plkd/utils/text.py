"""Words for messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def listed(names: Iterable[object] | Mapping[Any, int], most: int = 5, *, quote: str = "'") -> str:
    """Name the first few of many things, each once, for a message.

    Parameters
    ----------
    names
        The things; or numbers of things by their names, which are given in brackets, the largest
        first.
    most
        How many are named.
    quote
        Stands before and after every name.

    Examples
    --------
    >>> listed(["B", "T", "NK", "B"], 2)
    "'B', 'T' and 1 more"
    >>> listed({"B": 20, "T": 1500}, quote="")
    'T (1,500), B (20)'
    >>> listed([])
    'none'
    """
    if isinstance(names, Mapping):
        ordered = sorted(names.items(), key=lambda item: (-item[1], str(item[0])))
        texts = [f"{quote}{name}{quote} ({number:,})" for name, number in ordered]
    else:
        texts = list(dict.fromkeys(f"{quote}{name}{quote}" for name in names))
    rest = len(texts) - most
    return (", ".join(texts[:most]) or "none") + (f" and {rest:,} more" if rest > 0 else "")
