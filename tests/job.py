"""A stand-in for the object `snakemake` that a rule's script is given."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class Names(SimpleNamespace):
    """What Snakemake gives as input, output, params: by name, by key and in order."""

    def __getitem__(self, key: str | int) -> Any:
        return list(vars(self).values())[key] if isinstance(key, int) else vars(self)[key]

    def items(self) -> Any:
        return vars(self).items()

    def get(self, key: str, default: Any = None) -> Any:
        return vars(self).get(key, default)


def job(*, threads: int = 1, **parts: dict[str, Any]) -> SimpleNamespace:
    """A job with these parts."""
    return SimpleNamespace(threads=threads, **{name: Names(**part) for name, part in parts.items()})
