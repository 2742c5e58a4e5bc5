"""What methods take: time, memory and parameters, or why one could not run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plkd import __version__
from plkd.utils.files import read_json
from plkd.utils.tables import Columns

COST_COLUMNS: Columns = {
    "dataset": str, "variant": str, "seed": int, "method": str, "reason": str,
    "training_seconds": float, "prediction_seconds": float, "seconds": float,
    "cpu_seconds": float, "peak_mb": float, "peak_gpu_mb": float, "parameters": float,
    "n_reference": "Int64", "n_query": "Int64", "n_passed": "Int64", "version": str, "machine": str,
}  # fmt: skip
"""Columns of the table of costs."""
_TOLD = [name for name in COST_COLUMNS if name not in ("dataset", "variant", "seed", "method")]
_LEARNED = ("weight", "bias", "cell")  # last parts of the names of what training sets


def cost_of_outcome(path: str | Path) -> dict[str, Any]:
    """What a method's outcome says (``methods/<method>.json``), as columns of the table of costs.

    Raises
    ------
    InputError
        If the file is absent or damaged.
    """
    content = read_json(path, made_by="method")
    return {name: content.get(name, "" if COST_COLUMNS[name] is str else np.nan) for name in _TOLD}


def cost_of_steps(
    training: Sequence[str | Path],
    prediction: Sequence[str | Path],
    weights: str | Path,
) -> dict[str, Any]:
    """What one of our models took, as columns of the table of costs.

    Parameters
    ----------
    training, prediction
        What the steps measured of themselves (:func:`plkd.pipeline.measured.measured`).
    weights
        Its safetensors file, whose parameters are counted.

    Raises
    ------
    InputError
        If a measurement is absent or damaged.
    """
    steps = [read_json(path, made_by=Path(path).stem) for path in [*training, *prediction]]
    told = pd.DataFrame(steps).astype({"peak_gpu_mb": float})
    return {
        "reason": "",
        "training_seconds": told["seconds"].iloc[: len(training)].sum(),
        "prediction_seconds": told["seconds"].iloc[len(training) :].sum(),
        **told[["seconds", "cpu_seconds"]].sum(),
        **told[["peak_mb", "peak_gpu_mb", "n_reference", "n_query"]].max(),
        "n_passed": told["n_passed"].sum(),
        "parameters": n_parameters(weights),
        "machine": "; ".join(told["machine"].unique()),
        "version": f"plkd {__version__}",
    }


def costs_of_runs(runs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What runs of our models took, as rows of the table of costs.

    Parameters
    ----------
    runs
        Of each: `names` (data set, variant, seed, method), and `files`, the arguments of
        :func:`cost_of_steps`.
    """
    return [{**run["names"], **cost_of_steps(**run["files"])} for run in runs]


def n_parameters(weights: str | Path) -> int:
    """Number of parameters that training set, in a file of one of our networks."""
    from safetensors import safe_open

    with safe_open(str(weights), framework="numpy") as stored:
        sizes = [
            int(np.prod(stored.get_slice(name).get_shape()))
            for name in stored.keys()  # noqa: SIM118 (it is no mapping)
            if name.rsplit(".", 1)[-1] in _LEARNED
        ]
    return sum(sizes)


def cost_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Gather costs of methods into a table with the columns of :data:`COST_COLUMNS`."""
    table = pd.DataFrame(list(rows), columns=list(COST_COLUMNS))
    return table.astype({name: kind for name, kind in COST_COLUMNS.items() if kind == "Int64"})
