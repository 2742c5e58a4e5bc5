"""Words for messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def listed(names: Iterable[object], most: int = 5, *, quote: str = "'") -> str:
    """Name the first few of many things, each once, for a message.

    Parameters
    ----------
    names
        The things.
    most
        How many are named.
    quote
        Stands before and after every name.

    Examples
    --------
    >>> listed(["B", "T", "NK", "B"], 2)
    "'B', 'T' and 1 more"
    >>> listed([])
    'none'
    """
    texts = list(dict.fromkeys(f"{quote}{name}{quote}" for name in names))
    rest = len(texts) - most
    return (", ".join(texts[:most]) or "none") + (f" and {rest:,} more" if rest > 0 else "")


def counted(numbers: Mapping[str, int], most: int = 5) -> str:
    """Name the most frequent of many things with their numbers.

    >>> counted({"B": 20, "T": 1500})
    "'T' (1,500), 'B' (20)"
    """
    ordered = sorted(numbers.items(), key=lambda item: (-item[1], str(item[0])))
    return listed((f"'{name}' ({number:,})" for name, number in ordered), most, quote="")
