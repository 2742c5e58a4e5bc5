"""The registry of methods, ``config/methods.tsv``.

Snakemake imports this module itself: no library but pandas.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from plkd.errors import InputError
from plkd.pipeline.configuration import suggestion
from plkd.utils.tables import Columns, read_tsv

METHOD_COLUMNS: Columns = {
    "id": str, "name": str, "kind": str, "runs": str, "environment": str, "script": str,
    "reads": str, "device": str, "deterministic": bool, "sees_query": str, "reference": str,
    "licence": str, "description": str,
}  # fmt: skip
"""Columns of the registry of methods, ``config/methods.tsv``.

`kind`
    ours, baseline (a few lines on top of scikit-learn), rival (a published tool), control.
`runs`
    What it needs: library (the environment of the pipeline), pip (an environment of its own, which
    pip can make), R (packages of R), folder (code in a folder that the configuration names),
    weights (weights that the configuration names).
`environment`
    Its environment, ``envs/methods/<environment>.yaml``; plkd is that of the pipeline.
`script`
    In ``workflow/scripts/methods``; "-" where rules of their own run it, or nothing does, for the
    reason that is in the description after "No script runs it: ".
`reads`
    log_values, counts, or truth.
`deterministic`
    Whether it draws nothing by chance, so that one run serves all seeds.
`sees_query`
    What it sees of the query before it labels a single cell: nothing, or the expression of all
    cells.
"""
INTEGRATOR_COLUMNS: Columns = {
    name: kind for name, kind in METHOD_COLUMNS.items()
    if name not in ("kind", "task", "sees_query")
}  # fmt: skip
"""Columns of ``config/integrators.tsv``, the methods that put reference and query into one space.

They mean what those of the registry of methods mean, but for

`reads`
    log_values, counts, components (the principal ones), peaks (from expression to accessibility
    alone: counts of the query's peaks, and at which genes these lie) or pairs (these, of cells that
    were measured twice).
"""
RUNS = ("library", "pip", "R", "folder", "weights")


def read_registry(path: str | Path) -> pd.DataFrame:
    """Read the registry of methods: the other :data:`METHOD_COLUMNS` by `id`."""
    return read_tsv(path, METHOD_COLUMNS).set_index("id")


def read_integrators(path: str | Path) -> pd.DataFrame:
    """Read the registry of methods of integration: the other :data:`INTEGRATOR_COLUMNS` by `id`."""
    return read_tsv(path, INTEGRATOR_COLUMNS).set_index("id")


def controls_of(registry: pd.DataFrame) -> list[str]:
    """Ids of the methods that are no rivals but show what scores are worth."""
    return list(registry.index[registry["kind"] == "control"])


def chosen_methods(registry: pd.DataFrame, asked: Iterable[str]) -> list[str]:
    """Ids of methods that were asked for, in the order of the registry.

    Parameters
    ----------
    registry
        From :func:`read_registry` or :func:`read_integrators`.
    asked
        Ids, or a way to run (:data:`RUNS`) for all methods that run so, or "all". Our models and
        the controls are no matter of choice.

    Raises
    ------
    InputError
        If there is no such method.
    """
    choice = registry
    if "kind" in registry:
        choice = registry[registry["kind"].isin(["baseline", "rival"])]
    wanted: set[str] = set()
    for name in asked:
        if name == "all" or name in RUNS:
            wanted |= set(choice.index if name == "all" else choice.index[choice["runs"] == name])
        elif name in choice.index:
            wanted.add(name)
        else:
            known = [*choice.index, *RUNS, "all"]
            raise InputError(f"unknown method '{name}': {suggestion(name, known)}")
    return [method for method in choice.index if method in wanted]
