"""Time and memory of `prepare` on large generated data: a table over the number of cells.

Run it with ``make bench``, or as ``python tests/benchmarks/prepare.py --help`` says.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parent), str(HERE.parents[2] / "workflow" / "scripts")]

from measuring import Table, alone, as_text, peak_memory, processor  # noqa: E402

from plkd.io.h5ad_writer import chunked_h5ad  # noqa: E402
from plkd.preparation.prepare import PreparedPaths, prepare_dataset  # noqa: E402

CELLS = (10_000, 100_000, 1_000_000)
GENES, LABELS, BATCHES = 20_000, 10, 5
MOLECULES = 1_085  # of a cell, so that about 5 % of its genes are found
POOL = 500_000  # molecules drawn for each label in each batch
ROWS = 5_000  # generated at a time


def generate(path: Path, n_cells: int) -> None:
    """Write cells to an h5ad, some thousand at a time.

    Molecules are drawn by frequencies that are log-normal over the genes; every label has a
    hundred genes of its own, every batch shifts all genes a little. A cell is a stretch of the
    molecules drawn for its label and batch, which is quick.
    """
    rng = np.random.default_rng(0)
    labels, batches = rng.integers(LABELS, size=n_cells), rng.integers(BATCHES, size=n_cells)
    genes = [f"G{i}" for i in range(GENES)]
    base = rng.lognormal(0, 1.2, GENES)
    pools = {}
    for label in range(LABELS):
        for batch in range(BATCHES):
            levels = base * np.exp(np.random.default_rng(batch).normal(0, 0.2, GENES))
            levels[100 * label : 100 * (label + 1)] *= 8
            frequencies = np.cumsum(levels) / levels.sum()
            pools[label, batch] = np.searchsorted(frequencies, rng.random(POOL)).astype(np.int32)
    frame = ad.AnnData(
        obs=pd.DataFrame(
            {
                "cell_type": pd.Categorical.from_codes(labels, [f"type{i}" for i in range(LABELS)]),
                "donor": pd.Categorical.from_codes(batches, [f"d{i}" for i in range(BATCHES)]),
            },
            index=np.char.add("cell", np.arange(n_cells).astype(str)),
        ),
        var=pd.DataFrame(index=genes),
    )
    with chunked_h5ad(path, frame, ["X"]) as append:
        for start in range(0, n_cells, ROWS):
            rows = np.arange(start, min(start + ROWS, n_cells))
            depths = rng.poisson(MOLECULES * rng.lognormal(0, 0.3, rows.size))
            ends = np.append(0, np.cumsum(depths))
            drawn = np.empty(ends[-1], dtype=np.int32)
            for row, (first, last) in zip(rows, pairwise(ends), strict=True):
                begin = rng.integers(POOL - (last - first))
                drawn[first:last] = pools[labels[row], batches[row]][begin : begin + last - first]
            counts = sparse.csr_matrix(
                (np.ones(drawn.size, dtype=np.float32), drawn, ends), shape=(rows.size, GENES)
            )
            counts.sum_duplicates()
            append("X", counts)


def cost_of_preparing(path: Path, folder: Path) -> tuple[float, float, float, float]:
    """Seconds, those of the processor, peak memory and the part of it that libraries take, MB."""
    before = peak_memory()
    donors = [f"d{i}" for i in range(BATCHES)]
    source = {"labels_key": "cell_type", "batch_key": "donor"}
    config = {
        "name": "generated",
        "reference": source | {"keep": {"donor": donors[:-1]}},
        "query": source | {"keep": {"donor": donors[-1:]}},
    }
    start, worked = time.perf_counter(), time.process_time()
    prepare_dataset(config, path, path, PreparedPaths.in_folder(folder))
    seconds = time.perf_counter() - start
    return seconds, time.process_time() - worked, peak_memory(), before


def compare_sizes(sizes: Sequence[int], folder: Path) -> Table:
    rows = [["cells", "values", "file", "prepare", "processor time", "its exponent", "peak memory"]]
    rows[0] += ["of it libraries"]
    previous: tuple[int, float] | None = None
    for size in sizes:
        path = folder / "cells.h5ad"
        start = time.perf_counter()
        alone(generate, path, size)
        print(f"{size:,} cells generated in {time.perf_counter() - start:.0f} s", flush=True)
        with h5py.File(path) as file:
            n_values = file["X/data"].shape[0]
        gigabytes = path.stat().st_size / 1e9
        seconds, worked, peak, libraries = alone(cost_of_preparing, path, folder / "prepared")
        path.unlink()
        exponent = (
            f"{math.log(worked / previous[1]) / math.log(size / previous[0]):.2f}"
            if previous
            else ""
        )
        previous = size, worked
        rows.append([f"{size:,}", f"{n_values:,}", f"{gigabytes:.2f} GB", f"{seconds:.0f} s"])
        rows[-1] += [f"{worked:.0f} s", exponent, f"{peak:.0f} MB"]
        rows[-1] += [f"{libraries:.0f} MB"]
        print(f"prepared in {seconds:.0f} s, peak {peak:.0f} MB", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("results/benchmark/prepare.md"))
    parser.add_argument("--cells", type=int, nargs="+", default=CELLS, help="sizes of the data set")
    parser.add_argument("--folder", type=Path, help="where the data go for the while")
    choice = parser.parse_args()
    choice.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=choice.folder) as folder:
        rows = compare_sizes(choice.cells, Path(folder))
    title = f"Preparing cells x {GENES:,} genes, one file for both sides"
    text = f"{processor()}.\n\n{as_text(title, rows)}"
    print(text)
    choice.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
