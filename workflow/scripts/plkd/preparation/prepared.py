"""Prepared cells, as the stage `prepare` leaves them, for everything that reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from anndata.io import read_elem
from numpy.typing import NDArray
from scipy import sparse

from plkd.errors import InputError
from plkd.io.blocks import Cells, CellsOnDisk
from plkd.io.cells import CellFile, open_cells
from plkd.io.stores import Pieces, open_store, readable
from plkd.settings.datasets import ReadingOptions
from plkd.utils.text import listed

CHUNK_CELLS = 4096
LEFT_OUT = ("source_row", "cell_id", "reason")
_COPIES = 3  # of a matrix in memory while it is read
_AS_H5AD = ReadingOptions(reader="h5ad")


@dataclass(frozen=True)
class PreparedCells:
    """Prepared cells of a reference or a query; their expression is read when it is asked for.

    Attributes
    ----------
    source
        The file (``prepared/reference.h5ad``, ``prepared/query.h5ad``), or an AnnData like it.
    obs
        Table of the cells, its index the unique cell ids: `batch`, `source_row` (row of the source
        file), `source_id` where the id there is another one, and for a reference `label`.
    var
        Table of the genes: `in_query` (whether the query measured them).
    about
        ``uns['plkd']``: scale found, `target_sum`, `dataset`.
    """

    source: Path | ad.AnnData
    obs: pd.DataFrame
    var: pd.DataFrame
    about: dict[str, Any]

    @classmethod
    def read(cls, path: str | Path) -> PreparedCells:
        """Read the tables of a prepared file; its matrix stays on disk.

        Raises
        ------
        InputError
            If the file is absent, damaged, or none that `prepare` wrote.
        """
        path = Path(path)
        if not path.exists():
            raise InputError(f"'{path}' does not exist: rule prepare of the pipeline makes it.")
        with (
            _made_anew(path),
            open_store(path) as store,
            readable(path, "a table"),
        ):
            obs, var = read_elem(store["obs"]), read_elem(store["var"])
            about = read_elem(store["uns/plkd"]) if "uns/plkd" in store else {}
        return cls(path, obs, var, about)

    @classmethod
    def of(cls, cells: ad.AnnData) -> PreparedCells:
        """Prepared cells in memory (:func:`plkd.preparation.prepare.prepare_reference`)."""
        return cls(cells, cells.obs, cells.var, dict(cells.uns["plkd"]))

    @property
    def name(self) -> str:
        """The file, for messages."""
        return "the prepared cells" if isinstance(self.source, ad.AnnData) else str(self.source)

    @property
    def genes(self) -> list[str]:
        """The columns, in order."""
        return list(map(str, self.var.index))

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Whether the query measured each gene, (n_genes,)."""
        return self.var["in_query"].to_numpy(dtype=bool)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.obs)

    @property
    def cell_ids(self) -> pd.Index:
        """Unique names of the cells."""
        return self.obs.index

    @property
    def source_ids(self) -> NDArray[np.object_]:
        """Names of the cells in the source file, (n_cells,)."""
        return np.asarray(self.obs.get("source_id", self.obs.index).astype(str), dtype=object)

    @property
    def source_rows(self) -> NDArray[np.intp]:
        """Row of each cell in the source file, (n_cells,)."""
        return self.obs["source_row"].to_numpy(dtype=np.intp)

    @property
    def labels(self) -> NDArray[np.str_]:
        """Label of each cell of a reference, (n_cells,); errors are those of `label_column`."""
        return self.label_column.astype(str).to_numpy(dtype=str)

    @property
    def label_column(self) -> pd.Series:
        """Label of each cell of a reference, as it is in the file: categories.

        Raises
        ------
        InputError
            If it is no reference, or a cell has no label.
        """
        if "label" not in self.obs or self.obs["label"].isna().any():
            raise InputError(
                f"'{self.name}' has no obs['label'] for every cell; expected a prepared reference "
                "(results/<dataset>/prepared/reference.h5ad)"
            )
        return self.obs["label"]

    @property
    def batches(self) -> NDArray[np.str_]:
        """Batch of each cell, (n_cells,)."""
        return self.obs["batch"].astype(str).to_numpy(dtype=str)

    @property
    def left_out(self) -> pd.DataFrame:
        """Cells that were asked for and are not here: `source_row`, `cell_id` there, `reason`."""
        table = self.about.get("left_out")
        return pd.DataFrame(columns=list(LEFT_OUT)) if table is None else table

    @property
    def spatial(self) -> np.ndarray | None:
        """Coordinates, float32 (n_cells, n_dimensions), if there are any."""
        with self._opened() as cells:
            return cells.spatial

    def require_spatial(self) -> np.ndarray:
        """Coordinates (n_cells, n_dimensions), of which there must be two or more.

        Raises
        ------
        InputError
            If there are none.
        """
        spatial = self.spatial
        if spatial is None or spatial.shape[1] < 2:
            raise InputError(
                f"'{self.name}' has no coordinates in obsm['spatial'], but the data set says "
                "`spatial: true`; take that out, or give a query with coordinates"
            )
        return spatial

    def to_learn_from(self, memory_mb: float = np.inf) -> Cells:
        """Log-normalised expression for a training that may take so much memory.

        In memory as :attr:`X`, or, where that and what a training copies of it would take more, on
        disk, to be read in blocks. A model learns the same from both.
        """
        if isinstance(self.source, ad.AnnData):
            return self.X
        on_disk = CellsOnDisk.of(self.source)
        return on_disk if _COPIES * on_disk.nbytes / 1e6 > memory_mb else self.X

    @cached_property
    def X(self) -> sparse.csr_matrix:
        """Log-normalised expression, CSR float32 (n_cells, n_genes) with 32-bit indices."""
        return self.take(np.arange(self.n_cells))

    def chunks(
        self, chunk_cells: int = CHUNK_CELLS
    ) -> Iterator[tuple[NDArray[np.intp], sparse.csr_matrix]]:
        """Yield (rows, expression of these cells) from the first cell to the last."""
        with self.pieces(chunk_cells) as pieces:
            for rows, read in pieces:
                yield np.arange(rows.start, rows.stop), read()

    @contextmanager
    def pieces(
        self, chunk_cells: int = CHUNK_CELLS, wanted: NDArray[np.bool_] | None = None
    ) -> Iterator[Pieces]:
        """Open the file; gives rows of all cells, or of those wanted, and what reads them."""
        with self._opened() as cells:
            yield cells.pieces(chunk_cells, wanted)

    def take(self, rows: NDArray[np.intp]) -> sparse.csr_matrix:
        """Expression of some cells by their ascending places."""
        with self._opened() as cells:
            return _narrow(cells.take(rows))

    def genes_per_cell(self) -> NDArray[np.intp]:
        """Number of genes above zero in each cell, (n_cells,)."""
        return np.concatenate(
            [np.empty(0, np.intp), *(X.getnnz(axis=1) for _, X in self.chunks())]
        ).astype(np.intp)

    def sample(self, n_cells: int) -> sparse.csr_matrix:
        """Expression of at most so many cells; see :func:`sample_rows`."""
        return self.take(sample_rows(self.n_cells, n_cells))

    def in_memory(self) -> ad.AnnData:
        """All of it as an AnnData."""
        return ad.AnnData(self.X, obs=self.obs.copy(), var=pd.DataFrame(index=self.genes))

    def require_genes(self, genes: Sequence[str], whose: str = "the model") -> None:
        """Refuse genes that are not these, in this order.

        Raises
        ------
        InputError
            If they differ.
        """
        if self.genes != list(genes):
            raise InputError(
                f"'{self.name}' has other genes than {whose}: both must come from one preparation."
            )

    def in_order(self, table: pd.DataFrame, what: str) -> pd.DataFrame:
        """Rows of a table (its column `cell_id`) in the order of these cells.

        Parameters
        ----------
        table
            Such as predictions or the truth.
        what
            What it is, for messages.

        Raises
        ------
        InputError
            If the table is not of these cells, each once.
        """
        asked = pd.Index(table["cell_id"]).astype(str)
        if not asked.is_unique:
            raise InputError(f"{what}: {listed(asked[asked.duplicated()])} stand there twice.")
        places = asked.get_indexer(self.obs.index)
        strange, absent = asked.difference(self.obs.index), self.obs.index[places < 0]
        if len(strange) or len(absent):
            raise InputError(
                f"{what} and '{self.name}' are not of the same cells: {len(strange):,} are in the "
                f"first alone ({listed(strange)}), {len(absent):,} in the second alone "
                f"({listed(absent)}). Make {what} of this file."
            )
        return table.iloc[places].reset_index(drop=True)

    @contextmanager
    def _opened(self) -> Iterator[CellFile]:
        if isinstance(self.source, ad.AnnData):
            with open_cells(self.source) as cells:
                yield cells
            return
        with _made_anew(self.source), open_cells(self.source, _AS_H5AD) as cells:
            if cells.genes != self.genes or cells.n_cells != self.n_cells:
                raise InputError("its genes are not unique, or the file has changed")
            yield cells


def sample_rows(n_all: int, n_cells: int) -> NDArray[np.intp]:
    """At most `n_cells` ascending rows of `n_all`, drawn by chance, always the same ones."""
    rows = np.random.default_rng(11).permutation(n_all)[:n_cells]
    return np.sort(rows)


@contextmanager
def _made_anew(path: Path) -> Iterator[None]:
    """Say of any failure inside that the file can be made anew."""
    try:
        yield
    except InputError as error:
        reason = str(error).removeprefix(f"'{path}'").strip(" .,:")
        raise InputError(
            f"'{path}' is no whole prepared file ({reason}): delete it and run the pipeline again, "
            "rule prepare makes it anew."
        ) from error


def _narrow(X: sparse.csr_matrix) -> sparse.csr_matrix:
    """The same matrix, float32, with 32-bit indices if they fit (scikit-learn refuses others)."""
    X = X.astype(np.float32, copy=False)
    if X.indptr[-1] <= np.iinfo(np.int32).max:
        parts = (X.data, X.indices.astype(np.int32), X.indptr.astype(np.int32))
        return sparse.csr_matrix(parts, shape=X.shape, copy=False)
    return X
