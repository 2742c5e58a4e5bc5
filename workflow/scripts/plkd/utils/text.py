"""Words for messages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


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


def visible(text: str) -> str:
    """A text as it looks: what cannot be seen is left out, every kind of blank is a space.

    Two labels that look alike are one, whether a zero-width space, an unbreakable blank or another
    way to write an accent is in one of them.

    >>> visible("T\\u200b cell\\u00a0")
    'T cell'
    """
    if text.isascii() and text.isprintable():
        return text.strip()
    spaced = "".join(" " if letter.isspace() else letter for letter in text)
    kept = (letter for letter in spaced if unicodedata.category(letter) not in ("Cc", "Cf"))
    return unicodedata.normalize("NFC", "".join(kept)).strip()


def for_xml(text: str) -> str:
    r"""A text for XML, which cannot hold control characters: they are written as ``\x1b``."""
    return _NOT_XML.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
