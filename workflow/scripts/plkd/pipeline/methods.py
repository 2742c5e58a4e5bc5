"""The registry of methods, ``config/methods.tsv``.

Snakemake imports this module itself: no library but pandas.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from plkd.utils.tables import Columns, read_tsv

METHOD_COLUMNS: Columns = {
    "id": str, "name": str, "kind": str, "task": str, "env": str, "device": str, "input": str,
    "deterministic": bool, "description": str,
}  # fmt: skip
"""Columns of the registry of methods, ``config/methods.tsv``."""


def read_registry(path: str | Path) -> pd.DataFrame:
    """Read the registry of methods: the other :data:`METHOD_COLUMNS` by `id`."""
    return read_tsv(path, METHOD_COLUMNS).set_index("id")


def controls_of(registry: pd.DataFrame) -> list[str]:
    """Ids of the methods that are no rivals but show what scores are worth."""
    return list(registry.index[registry["kind"] == "control"])
