"""Training on cells on disk beside the same cells in memory: memory, time, accuracy.

Run it with ``make bench``, or as ``python tests/benchmarks/larger_than_memory.py --help`` says.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1]), str(HERE.parents[2] / "workflow/scripts")]

from measuring import Table, alone, as_text, peak_memory, processor  # noqa: E402
from speed import GENES, make_mask, make_reference  # noqa: E402

import plkd  # noqa: E402
from plkd.io import blocks  # noqa: E402
from plkd.io.blocks import CellsOnDisk  # noqa: E402
from plkd.io.h5ad_writer import chunked_h5ad  # noqa: E402
from plkd.model.cross_fitting import cross_fit  # noqa: E402
from plkd.model.reference import Reference  # noqa: E402
from plkd.model.training import train_student, train_teacher  # noqa: E402
from plkd.pathways.mask import Mask  # noqa: E402
from plkd.preparation.prepared import PreparedCells  # noqa: E402
from plkd.settings.models import Settings  # noqa: E402
from plkd.settings.presets import resolve  # noqa: E402

CELLS = (100_000, 1_000_000)
PIECE = 50_000  # generated cells, written again and again
QUICK = {"epochs": 1, "min_steps": 0}
ONE_EPOCH: dict[str, Any] = {
    "teacher_training": QUICK,
    "student_training": QUICK,
    "jury": {"max_cells": 2000},
}
BARE = QUICK | {"gene_dropout": 0.0, "input_noise": 0.0, "batch_size": 512}
SMALL: dict[str, Any] = {
    "mask": {"uncovered_token": False},
    "teacher": {"width": 2},
    "teacher_training": BARE,
    "student": {"hidden": [8]},
    "student_training": BARE,
    "student_loss": {"recombination": 0.0},
    "jury": {"max_cells": 2000},
}


def write(n_cells: int, path: Path) -> None:
    """A prepared reference; its values repeat, which costs nothing less."""
    piece = make_reference(min(PIECE, n_cells))
    n_pieces = n_cells // len(piece.codes)
    labels = pd.Categorical.from_codes(np.tile(piece.codes, n_pieces), piece.labels)
    donors = np.repeat([f"donor {i}" for i in range(10)], n_cells // 10)
    barcodes = [f"ACGTACGTACGTACGT-1-{i}" for i in range(n_cells)]
    obs = pd.DataFrame({"label": labels, "batch": pd.Categorical(donors)}, index=barcodes)
    obs["source_row"] = np.arange(n_cells)
    var = pd.DataFrame({"in_query": True}, index=piece.genes)
    frame = ad.AnnData(obs=obs, var=var, uns={"plkd": {"target_sum": 1e4}})
    with chunked_h5ad(path, frame, compression=1) as append:
        for _ in range(n_pieces):
            append("X", piece.cells)


def mask_for(genes: list[str], settings: Settings) -> Mask:
    matrix = make_mask(settings.mask)
    return Mask(genes, [f"pathway{i}" for i in range(matrix.shape[1])], matrix, pd.DataFrame())


def one_epoch(
    path: Path, memory_mb: float, overrides: dict[str, Any]
) -> tuple[float, float, float]:
    """Seconds per epoch of Teacher and Student, and the peak of the process in MB."""
    cells = PreparedCells.read(path)
    reference = Reference.from_names(
        cells.to_learn_from(memory_mb), cells.label_column, cells.genes, cells.obs["batch"]
    )
    settings = resolve({"preset": "default", **overrides})
    start = time.perf_counter()
    model = train_teacher(reference, mask_for(cells.genes, settings), settings, progress=False)
    middle = time.perf_counter()
    evidence = cross_fit(reference, settings, progress=False)
    late = time.perf_counter()
    train_student(reference, model, evidence, progress=False)
    return middle - start, time.perf_counter() - late, peak_memory()


def compare_memory(
    sizes: list[int], in_memory: float, overrides: dict[str, Any], folder: Path
) -> Table:
    rows = [["cells", "in memory", "read from", "Teacher, one epoch", "Student, one epoch", "peak"]]
    for n_cells in sizes:
        path = folder / f"{n_cells}.h5ad"
        alone(write, n_cells, path)
        size = CellsOnDisk.of(path).nbytes
        sides = {"memory": np.inf, "disk": 0.0} if size / 1e6 <= in_memory else {"disk": 0.0}
        for side, memory_mb in sides.items():
            teacher, student, peak = alone(one_epoch, path, memory_mb, overrides)
            rows.append([f"{n_cells:,}", f"{size / 1e9:.1f} GB", side, f"{teacher:.0f} s"])
            rows[-1] += [f"{student:.0f} s", f"{peak:,.0f} MB"]
        path.unlink()
    return rows


# ------------------------------------------------------------------------------------- accuracy


def simulated(n_cells: int, path: Path) -> tuple[Reference, Any]:
    """A reference in the order of its labels, and a query of other batches."""
    reference, query = plkd.simulate(
        n_cells=n_cells, n_query_cells=10_000, n_genes=1000, n_labels=12, marker_effect=1.8,
        programme_effect=0.5, depth=1500.0, seed=0,
    )  # fmt: skip
    order = np.argsort(reference.cells.obs["label"].to_numpy().astype(str), kind="stable")
    cells = reference.cells[order]
    frame = ad.AnnData(
        obs=pd.DataFrame(index=cells.obs_names), var=pd.DataFrame(index=cells.var_names)
    )
    values = log_normalised(cells.X)
    with chunked_h5ad(path, frame, compression=1) as append:
        append("X", values)
    labels = cells.obs["label"].astype(str)
    other = query.cells
    return (
        Reference.from_names(values, labels, cells.var_names),
        (log_normalised(other.X), other.obs["label"].astype(str).to_numpy()),
    )


def log_normalised(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    totals = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)
    return sparse.csr_matrix(sparse.diags_array(1e4 / totals) @ counts, dtype=np.float32).log1p()


def accuracies(reference: Reference, query: Any, epochs: int, seed: int) -> Iterator[float]:
    """Of Teacher and Student on the query."""
    training = {"epochs": epochs, "min_steps": 0}
    settings = resolve(
        {"preset": "fast", "teacher_training": training, "student_training": training}
    )
    rng = np.random.default_rng(0)
    matrix = sparse.csc_array(rng.random((len(reference.genes), 100)) < 0.02)
    mask = Mask(reference.genes, [f"pathway{i}" for i in range(100)], matrix, pd.DataFrame())
    model = train_teacher(reference, mask, settings, seed=seed, progress=False)
    model = train_student(reference, model, progress=False)
    cells, truth = query
    for network in (model.require("teacher"), model.require("student")):
        found = np.array(network.labels)[network.predict(cells)[0].argmax(axis=1)]
        yield float((found == truth).mean())


def compare_accuracy(n_cells: int, epochs: int, seeds: int, folder: Path) -> Table:
    rows = [["seed", "shuffled", "Teacher", "Student"]]
    path = folder / "simulated.h5ad"
    reference, query = simulated(n_cells, path)
    on_disk = replace(reference, cells=CellsOnDisk.of(path))
    blocks_per_window = blocks.WINDOW_CELLS // blocks.BLOCK_CELLS  # as many as of a large reference
    sides = {
        "all cells, in memory": (reference, n_cells),
        "a twelfth at a time, on disk": (on_disk, n_cells // 12),
    }
    for seed in range(seeds):
        for name, (cells, window) in sides.items():
            blocks.WINDOW_CELLS, blocks.BLOCK_CELLS = window, max(window // blocks_per_window, 1)
            found = [f"{100 * one:.2f} %" for one in accuracies(cells, query, epochs, seed)]
            rows.append([str(seed), name, *found])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("results/benchmark/larger.md"))
    parser.add_argument("--cells", type=int, nargs="+", default=CELLS, help="sizes of a reference")
    parser.add_argument("--in-memory", type=float, default=2000, metavar="MB",
                        help="references up to this size are also held in memory")  # fmt: skip
    parser.add_argument("--simulated", type=int, default=100_000, help="cells, for the accuracy")
    parser.add_argument(
        "--epochs", type=int, default=3, help="of the trainings compared in accuracy"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parts = ("memory", "accuracy")
    parser.add_argument("--only", choices=parts, nargs="+", default=parts, help="parts to run")
    parser.add_argument(
        "--small-networks", action="store_true", help="for memory: hardly anything but reading"
    )
    parser.add_argument("--folder", type=Path, help="where the files go while it runs")
    choice = parser.parse_args()
    texts = [f"{processor()}; {GENES} genes, a tenth of them above zero.\n"]
    with tempfile.TemporaryDirectory(dir=choice.folder) as scratch:
        folder = Path(scratch)
        if "memory" in choice.only:
            overrides = SMALL if choice.small_networks else ONE_EPOCH
            found = compare_memory(choice.cells, choice.in_memory, overrides, folder)
            title = "Cells in memory and on disk"
            texts.append(as_text(title + ", small networks" * choice.small_networks, found))
        if "accuracy" in choice.only:
            found = compare_accuracy(choice.simulated, choice.epochs, choice.seeds, folder)
            texts.append(as_text(f"Accuracy with {choice.simulated:,} simulated cells", found))
    choice.output.parent.mkdir(parents=True, exist_ok=True)
    choice.output.write_text("\n".join(texts), encoding="utf-8")
    print("\n".join(texts))


if __name__ == "__main__":
    main()
