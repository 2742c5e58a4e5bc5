"""Every batch of a labelled file left out in turn, as a query for the others.

``python tests/benchmarks/left_out.py cells.h5ad --labels cell_type --batch donor`` (``--help``
lists the options): what to expect of the next batch of your own data, and whether a simple method
would do. For every batch, accuracy and macro F1 of the Student and of the best simple method of
each score, chosen with the truth. Without ``--batch`` half of the cells are the query, once for
every seed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
from sklearn.model_selection import train_test_split

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parent), str(HERE.parents[2] / "workflow" / "scripts")]

from grid import beside_simple, run  # noqa: E402


def left_out(
    cells: ad.AnnData, batch: str, labels_key: str, options: dict[str, Any], seed: int
) -> list[dict[str, Any]]:
    """Scores with one batch as the query."""
    query = (cells.obs["batch"] == batch).to_numpy()
    return beside_simple(
        cells[~query].copy(), cells[query].copy(), labels_key, seed=seed, **options
    )


def split(
    cells: ad.AnnData, labels_key: str, options: dict[str, Any], seed: int
) -> list[dict[str, Any]]:
    """Scores with half of the cells of every label as the query."""
    labels = cells.obs[labels_key].astype(str)
    sides = train_test_split(
        np.arange(cells.n_obs), test_size=0.5, stratify=labels, random_state=seed
    )
    reference, query = (cells[np.sort(rows)].copy() for rows in sides)
    return beside_simple(reference, query, labels_key, seed=seed, **options)


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("cells", type=Path, help="h5ad of labelled cells")
    command.add_argument("--labels", default="cell_type", help="column of obs with labels")
    command.add_argument("--batch", help="column of obs with batches")
    command.add_argument("--use-raw", action="store_true", help="the values are in .raw")
    command.add_argument("--gene-sets", type=Path, help="GMT; without one as `plkd train` does")
    command.add_argument("--preset", default="default")
    command.add_argument("--seeds", type=int, nargs="+", default=[0])
    command.add_argument("--output", type=Path, default=Path("results/benchmark/left_out.tsv"))
    asked = command.parse_args()
    cells = ad.read_h5ad(asked.cells)
    if asked.use_raw:
        obs, cells = cells.obs, cells.raw.to_adata()
        cells.obs = obs
    options = {"preset": asked.preset, "gene_sets": asked.gene_sets}
    points: dict[str, Callable[[int], list[dict[str, Any]]]]
    if asked.batch is None:
        cells.obs["batch"] = "all"
        points = {"half of the cells": partial(split, cells, asked.labels, options)}
    else:
        cells.obs["batch"] = cells.obs[asked.batch].astype(str)
        points = {
            batch: partial(left_out, cells, batch, asked.labels, options)
            for batch in sorted(cells.obs["batch"].unique())
        }
    run(points, asked.seeds, asked.output, asked.cells.name)


if __name__ == "__main__":
    main()
