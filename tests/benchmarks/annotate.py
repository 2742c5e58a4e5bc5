"""Time and memory of annotating large generated files, beside reading them and other methods.

Run it with ``make bench``, or as ``python tests/benchmarks/annotate.py --help`` says.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

HERE = Path(__file__).resolve()
LIBRARY = HERE.parents[2] / "workflow" / "scripts"
sys.path[:0] = [str(HERE.parent), str(LIBRARY)]

from measuring import Table, alone, as_text, command, peak_memory, processor  # noqa: E402

from plkd import api  # noqa: E402
from plkd.io.cells import open_cells  # noqa: E402
from plkd.model.trained_model import load_model  # noqa: E402
from plkd.prediction.model_input import model_input  # noqa: E402
from plkd.prediction.predict import predict_cells  # noqa: E402
from prepare import GENES, generate  # noqa: E402

CELLS = (100_000, 400_000, 1_000_000)
REFERENCE = 5_000  # cells of the file that the model learns from
STRETCH = 4_000_000  # values read at a time where nothing else is done
# The names of the generated genes are in no gene set.
MASK = {"mask": {"kind": "random"}}
CELLTYPIST = 100_000  # cells at most: it makes a dense matrix of them in double precision
FORMATS = {"csc": "csc.h5ad", "zarr": "zarr"}
CONVERTED = 200_000  # cells at most: they are in memory while they are written in another format


def train(path: Path, folder: Path) -> None:
    """Train on the first cells of a file; leaves them beside the model, as it takes them."""
    with open_cells(path) as cells:
        rows = np.arange(min(REFERENCE, cells.n_cells))
        reference = ad.AnnData(cells.take(rows), obs=cells.obs.iloc[rows], var=cells.var)
    model = api.train(reference, "cell_type", batch_key="donor", overrides=MASK, progress=False)
    model.save(folder / "model")
    with model_input(reference, model.require("student")) as given:
        cells = ad.AnnData(given.take(rows), obs=reference.obs, var=pd.DataFrame(index=model.genes))
    cells.write_h5ad(folder / "reference.h5ad")


def convert(path: Path, other: Path) -> None:
    """Write the same cells as zarr, or as an h5ad whose matrix lies by genes."""
    cells = ad.read_h5ad(path)
    if other.suffix == ".zarr":
        cells.write_zarr(other)
    else:
        cells.X = sparse.csc_matrix(cells.X)
        cells.write_h5ad(other, compression="gzip")


def read(path: Path) -> None:
    """Read the values and their places, as they lie."""
    with h5py.File(path) as file:
        for name in ("X/data", "X/indices"):
            for start in range(0, file[name].shape[0], STRETCH):
                file[name][start : start + STRETCH]


def label(path: Path, model: Path, network: str) -> None:
    """Label all cells with one of the networks."""
    predict_cells(load_model(model).require(network), path, progress=False)


def regress(path: Path, model: Path) -> None:
    """Label all cells by a logistic regression on the model's genes."""
    from sklearn.linear_model import LogisticRegression

    student = load_model(model).require("student")
    background = student.background
    assert background is not None
    regression = LogisticRegression(max_iter=200).fit(background.cells, background.codes)
    with model_input(path, student) as given:
        for _, chunk in given.chunks():
            regression.predict_proba(sparse.csr_matrix(chunk))


def measured(function: Callable[..., None], *arguments: object) -> tuple[float, float, float]:
    """Seconds, those of the processor, and peak memory, MB, of a call."""
    start, worked = time.perf_counter(), time.process_time()
    function(*arguments)
    return time.perf_counter() - start, time.process_time() - worked, peak_memory()


def compare(n_cells: int, folder: Path, celltypist: Path | None, formats: Sequence[str]) -> Table:
    path, model, copy = folder / "cells.h5ad", folder / "model", folder / "labelled.h5ad"
    alone(generate, path, n_cells)
    alone(train, path, folder)
    plkd = [sys.executable, "-m", "plkd", "annotate"]
    options = ["--model", model, "--quiet"]
    annotate = [*plkd, path, *options]
    table = ["--table", folder / "labels.parquet"]
    runs = {
        "reading the matrix": lambda: alone(measured, read, path),
        "labels (Student)": lambda: alone(measured, label, path, model, "student"),
        "labels (Teacher)": lambda: alone(measured, label, path, model, "teacher"),
        "labels (logistic regression)": lambda: alone(measured, regress, path, model),
        "plkd annotate --table": lambda: command(*annotate, *table),
        "plkd annotate --table, --workers 1": lambda: command(*annotate, *table, "--workers", 1),
        "plkd annotate -o --labels-only": lambda: command(*annotate, "-o", copy, "--labels-only"),
        "plkd annotate -o --table": lambda: command(*annotate, "-o", copy, *table),
    }
    for name in formats if n_cells <= CONVERTED else ():
        other = path.with_suffix(f".{FORMATS[name]}")
        alone(convert, path, other)
        runs[f"plkd annotate --table, {name}"] = partial(command, *plkd, other, *options, *table)
    if celltypist is not None and n_cells <= CELLTYPIST:
        beside = [celltypist, HERE.parent / "beside_celltypist.py"]
        learnt = folder / "celltypist.pkl"
        command(*beside, "train", folder / "reference.h5ad", learnt)
        runs["CellTypist, file to table"] = lambda: command(
            *beside, "annotate", path, learnt, folder / "celltypist.csv"
        )
    rows = [["", "time", "to reading", "cells per second", "processor time", "peak memory"]]
    reading = 0.0
    for name, run in runs.items():
        copy.unlink(missing_ok=True)
        seconds, worked, peak = run()
        reading = reading or seconds
        rows.append([name, f"{seconds:.1f} s", f"{seconds / reading:.1f}"])
        rows[-1] += [f"{n_cells / seconds:,.0f}", f"{worked:.1f} s", f"{peak:,.0f} MB"]
        print(*rows[-1], sep="  ", flush=True)
    return rows


def interpreter_of_celltypist() -> Path | None:
    """That of the environment which the pipeline made for the method, if it did."""
    found = sorted(HERE.parents[2].glob("environments/celltypist-*/bin/python"))
    return found[-1] if found else None


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("results/benchmark/annotate.md"))
    parser.add_argument("--cells", type=int, nargs="+", default=CELLS, help="sizes of the query")
    parser.add_argument("--folder", type=Path, help="where the data go for the while")
    parser.add_argument(
        "--celltypist",
        type=Path,
        default=interpreter_of_celltypist(),
        metavar="PYTHON",
        help="a Python that has CellTypist (default: that of environments/celltypist-*)",
    )
    parser.add_argument(
        "--formats",
        nargs="*",
        choices=FORMATS,
        default=[*FORMATS],
        help=f"also label the same cells in these, up to {CONVERTED:,} of them",
    )
    choice = parser.parse_args(arguments)
    if choice.celltypist is None:
        print("CellTypist is left out: no Python that has it was found, name one by --celltypist.")
    choice.output.parent.mkdir(parents=True, exist_ok=True)
    text = f"{processor()}, {os.cpu_count()} cores.\n"
    for size in choice.cells:
        with tempfile.TemporaryDirectory(dir=choice.folder) as folder:
            rows = compare(size, Path(folder), choice.celltypist, choice.formats)
        text += f"\n{as_text(f'Annotating {size:,} cells x {GENES:,} genes', rows)}"
    print(text)
    choice.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
