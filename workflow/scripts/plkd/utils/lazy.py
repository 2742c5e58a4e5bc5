"""Names of a package that are loaded when they are first asked for (PEP 562)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(
    package: str, places: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Give a package its ``__getattr__`` and ``__dir__``.

    The places are strings and no imports: whoever follows the imports of a script (the fingerprints
    of the rules do) does not end up at all that the package names.

    Parameters
    ----------
    package
        Its ``__name__``.
    places
        Name -> ``"module:attribute"``, or ``"module"`` for a module itself.

    Returns
    -------
    tuple of functions
        To be assigned to ``__getattr__`` and ``__dir__`` of the package.
    """

    def load(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        module, _, attribute = places[name].partition(":")
        found = importlib.import_module(module)
        value = getattr(found, attribute) if attribute else found
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *places})

    return load, names
