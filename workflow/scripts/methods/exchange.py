"""What the scripts of methods share: the job in, the probabilities of labels out.

A script is run as ``python run_<tool>.py <job folder>`` by an interpreter of its own environment,
so this module needs numpy, scipy and h5py alone. The folder holds ``job.json``; what the script
leaves there is ``probabilities.csv`` (a column `cell_id`, then one per label) and ``told.json``
(what it knows of itself: version, seconds of training and of prediction, parameters; or why it
cannot run).
"""

import csv
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy import sparse


class CannotRun(Exception):
    """Why a method cannot run on these cells, in one sentence for the table of results."""


@dataclass(frozen=True)
class Cells:
    """Prepared cells: sparse expression (cells, genes) float32, and who they are.

    Reference and query have the same genes in the same order.
    """

    path: Path

    @cached_property
    def log_values(self) -> sparse.csr_matrix:
        """log1p of counts per 10,000."""
        return self._matrix("X")

    @cached_property
    def counts(self) -> sparse.csr_matrix:
        """Counts.

        Raises
        ------
        CannotRun
            If the prepared cells hold none.
        """
        with h5py.File(self.path) as file:
            if "layers/counts" not in file:
                raise CannotRun("it needs counts, and these cells came without")
        return self._matrix("layers/counts")

    @cached_property
    def ids(self) -> np.ndarray:
        return self._index("obs")

    @cached_property
    def genes(self) -> np.ndarray:
        return self._index("var")

    @cached_property
    def labels(self) -> np.ndarray:
        """Label of every cell of the reference."""
        return self._column("label")

    @cached_property
    def batches(self) -> np.ndarray:
        return self._column("batch")

    def feature(self, name: str) -> np.ndarray:
        """A column of the table of genes, or of peaks."""
        return self._column(name, "var")

    def table(self, place: str) -> sparse.csr_matrix:
        """Another sparse table of the file, such as ``varm/genes``."""
        return self._matrix(place)

    def _matrix(self, place: str) -> sparse.csr_matrix:
        with h5py.File(self.path) as file:
            group = file[place]
            parts = (group[name][:] for name in ("data", "indices", "indptr"))
            return sparse.csr_matrix(tuple(parts), shape=tuple(group.attrs["shape"]))

    def _index(self, table: str) -> np.ndarray:
        with h5py.File(self.path) as file:
            return _texts(file[table][file[table].attrs["_index"]])

    def _column(self, name: str, table: str = "obs") -> np.ndarray:
        with h5py.File(self.path) as file:
            return _texts(file[table][name])


def _texts(stored: Any) -> np.ndarray:
    """Text of a column as AnnData stores it: strings, perhaps missing ones, or categories."""
    if isinstance(stored, h5py.Group) and "codes" in stored:
        return _texts(stored["categories"])[stored["codes"][:]]
    if isinstance(stored, h5py.Group):
        return _texts(stored["values"])
    if h5py.check_string_dtype(stored.dtype):
        return np.asarray(stored.asstr()[:], dtype=object)
    return stored[:].astype(str).astype(object)


@dataclass
class Job:
    """What a method is asked to do."""

    method: str
    reference: Cells
    query: Cells
    folder: Path  # for files of its own
    seed: int
    threads: int
    device: str
    provided: Path | None  # the folder or the weights that the user named
    told: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def label_names(self) -> list[str]:
        """The labels of the reference, sorted."""
        return sorted(map(str, set(self.reference.labels)))

    @cached_property
    def label_codes(self) -> np.ndarray:
        """Label of every reference cell, its place among `label_names`."""
        place = {name: code for code, name in enumerate(self.label_names)}
        return np.array([place[str(label)] for label in self.reference.labels])

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Count the seconds of the block as those of `training` or `prediction`."""
        start = time.perf_counter()
        yield
        key = f"{phase}_seconds"
        self.told[key] = self.told.get(key, 0.0) + time.perf_counter() - start

    def torch_device(self) -> str:
        """Where torch computes."""
        import torch

        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.device


def run(
    annotate: Callable[[Job], tuple[list[str], np.ndarray]], package: str | None = None
) -> None:
    """Do the job that is given on the command line.

    Parameters
    ----------
    annotate
        Gives names of labels and their probabilities for every cell of the query, (cells, labels).
    package
        Distribution whose version is told.
    """
    folder = Path(sys.argv[1])
    content = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    job = Job(
        method=content["method"],
        reference=Cells(Path(content["reference"])),
        query=Cells(Path(content["query"])),
        folder=folder,
        seed=content["seed"],
        threads=content["threads"],
        device=content["device"],
        provided=Path(content["provided"]) if content["provided"] else None,
    )
    if package is not None:
        with suppress(PackageNotFoundError):
            job.told["version"] = f"{package} {version(package)}"
    try:
        labels, probabilities = annotate(job)
        _write(folder / "probabilities.csv", job.query.ids, labels, probabilities)
    except CannotRun as error:
        job.told["reason"] = str(error)
    (folder / "told.json").write_text(json.dumps(job.told), encoding="utf-8")


@dataclass
class Spaces:
    """What a method is asked to put into one space: all cells, the reference's first."""

    method: str
    reference: Cells
    query: Cells
    folder: Path  # for files of its own
    components: np.ndarray  # principal components of all cells (cells, 50)
    batches: np.ndarray  # of every cell, what is to be mixed
    pairs: np.ndarray  # rows of reference and query that are one cell (pairs, 2); none if not known
    seed: int
    threads: int

    @cached_property
    def log_values(self) -> sparse.csr_matrix:
        """log1p of counts per 10,000 of all cells."""
        return sparse.vstack([self.reference.log_values, self.query.log_values], format="csr")

    @cached_property
    def counts(self) -> sparse.csr_matrix:
        """Counts of all cells; CannotRun if there are none."""
        return sparse.vstack([self.reference.counts, self.query.counts], format="csr")

    @cached_property
    def peaks(self) -> Cells:
        """The query's cells by their peaks, for a method that reads them; `log_values` are counts.

        Its table ``varm/genes`` (peaks, genes) has a one where a peak lies at a gene.
        """
        return Cells(self.folder / "peaks.h5ad")

    def rows_of_batches(self) -> list[np.ndarray]:
        """Rows of the cells of every batch, the batches by their names."""
        names, codes = np.unique(self.batches.astype(str), return_inverse=True)
        return [np.flatnonzero(codes == one) for one in range(len(names))]

    def in_order(self, parts: list[np.ndarray]) -> np.ndarray:
        """Spaces of the batches, as `rows_of_batches` has them, as one of all cells in order."""
        order = np.argsort(np.concatenate(self.rows_of_batches()), kind="stable")
        return np.concatenate(parts)[order]


def run_integration(embed: Callable[[Spaces], np.ndarray], package: str) -> None:
    """Do the job that is given on the command line: ``embedding.npy`` and ``told.json``.

    Parameters
    ----------
    embed
        Gives the embedding of all cells, (cells, dimensions).
    package
        Distribution whose version is told.
    """
    folder = Path(sys.argv[1])
    content = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    job = Spaces(
        method=content["method"],
        reference=Cells(Path(content["reference"])),
        query=Cells(Path(content["query"])),
        folder=folder,
        components=np.load(folder / "components.npy"),
        batches=np.array(content["batches"], dtype=object),
        pairs=np.array(content["pairs"], dtype=int).reshape(-1, 2),
        seed=content["seed"],
        threads=content["threads"],
    )
    told: dict[str, Any] = {"version": f"{package} {version(package)}"}
    try:
        np.save(folder / "embedding.npy", np.asarray(embed(job), dtype=np.float32))
    except CannotRun as error:
        told["reason"] = str(error)
    (folder / "told.json").write_text(json.dumps(told), encoding="utf-8")


def _write(path: Path, cells: np.ndarray, labels: list[str], probabilities: np.ndarray) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["cell_id", *labels])
        for cell, row in zip(cells, np.asarray(probabilities, dtype=float).tolist(), strict=True):
            writer.writerow([cell, *(f"{value:.8g}" for value in row)])
