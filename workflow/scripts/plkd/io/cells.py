"""Read cells from the formats they are published in, at once or in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeAlias

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem
from numpy.typing import NDArray
from scipy import sparse

from plkd.errors import InputError
from plkd.io.feature_names import is_quality, warnings_on_features
from plkd.io.formats import (
    is_hdf5,
    is_packed_hdf5,
    open_text,
    read_10x_h5,
    read_10x_mtx,
    read_csv,
    read_loom,
    separator_of,
)
from plkd.io.gene_names import GeneTable, resolve_gene_names
from plkd.io.genes import GeneColumns, as_text
from plkd.io.in_memory import coordinates_of, matrices_of_anndata, name_of
from plkd.io.normalisation import other_matrices, require_usable
from plkd.io.row_store import RowStore
from plkd.io.scale import (
    LARGEST_COUNT,
    OVERFLOWED,
    SAMPLED_ROWS,
    MatrixScale,
    detect_scale,
    outlying_rows,
)
from plkd.io.stores import (
    CHUNK_ROWS,
    RNA_MODALITIES,
    Notices,
    Pieces,
    check_shape,
    existing,
    find_matrix,
    held,
    matrices_of,
    open_hdf5,
    open_store,
    read_annotations,
    read_coordinates,
    read_everything,
    readable,
    row_pieces,
    same_modality,
    sample_of,
    scales_of,
    slot_name,
)
from plkd.settings.datasets import AS_IT_IS, ReadingOptions
from plkd.utils.logs import logger
from plkd.utils.text import listed

READERS = ("auto", "h5ad", "h5mu", "10x_h5", "10x_mtx", "csv", "loom", "zarr")
STORES = ("h5ad", "h5mu", "zarr")


_MOST = np.finfo(np.float64).max

CellSource: TypeAlias = str | Path | ad.AnnData
"""Where cells can come from: a file or folder, or an AnnData in memory or backed."""


@dataclass
class _Source:
    """What a file or an AnnData holds, before its columns are named."""

    path: Path
    reader: str
    obs: pd.DataFrame
    var: pd.DataFrame
    stored: Any
    feature_type: str | None
    read_spatial: Callable[[], np.ndarray | None]
    read_scales: Callable[[], dict[str, MatrixScale]]
    read_everything: Callable[[], ad.AnnData]
    notice: Notices = field(default_factory=Notices)

    @cached_property
    def matrix(self) -> Any:
        return held(self.stored, self.path, self.notice)

    @cached_property
    def sample(self) -> sparse.csr_matrix:
        return sample_of(self.matrix, self.path, SAMPLED_ROWS, self.notice)

    def close(self) -> None:
        """Remove what was written for the while, see :func:`plkd.io.stores.held`."""
        matrix = self.__dict__.get("matrix")
        if isinstance(matrix, RowStore):
            matrix.close()


@dataclass(frozen=True)
class CellFile:
    """Cells of an open file, or of an AnnData, read chunk by chunk.

    Attributes
    ----------
    var
        Table of the genes (or peaks), its index :attr:`genes`; of columns that were added up, the
        row of the first.
    names_report
        What became of the names in the file, see :func:`plkd.io.gene_names.resolve_gene_names`.
    reading
        How it is read.
    """

    var: pd.DataFrame
    names_report: dict[str, Any]
    reading: ReadingOptions
    _columns: GeneColumns
    _source: _Source

    @property
    def path(self) -> Path:
        """The file; "the AnnData" for one in memory."""
        return self._source.path

    @property
    def reader(self) -> str:
        """The format, one of :data:`READERS`; ``anndata`` for an AnnData."""
        return self._source.reader

    @property
    def obs(self) -> pd.DataFrame:
        """Table of the cells, its index the cell ids."""
        return self._source.obs

    def pack_names(self) -> None:
        """Hold the names of the cells as Arrow does, in a fifth of the memory.

        For who needs them a few at a time; :attr:`obs` has them as before. What a file in memory
        holds, and is written of it, stays as it is.
        """
        self._source.obs = self.obs.set_axis(self.obs.index.astype("string[pyarrow]"))

    @property
    def genes(self) -> list[str]:
        """Clean, unique gene names: the columns of every chunk."""
        return self._columns.genes

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.obs)

    @property
    def slot(self) -> str:
        """The matrix, for messages: file and slot."""
        return f"'{self.path}', {slot_name(self.reading.layer, self.reading.use_raw)}"

    @cached_property
    def scale(self) -> MatrixScale:
        """What the values are, from rows sampled over the file."""
        return self.scale_of(self._source.sample)

    def scale_of(self, rows: sparse.csr_matrix) -> MatrixScale:
        """What the values are, from some rows of the matrix, or what the user says.

        Raises
        ------
        InputError
            If they cannot be what the user says.
        """
        try:
            return detect_scale(rows, told=self.reading.scale)
        except InputError as error:
            raise InputError(f"{self.slot}: {error}") from error

    def require_usable(self, scale: MatrixScale) -> None:
        """Refuse a scale that log1p(CP10k) cannot be made of.

        Raises
        ------
        InputError
            With the matrices of the file that could be used.
        """
        if scale.usable:  # looking at the other matrices takes time
            return
        where = self.slot
        if scale.kind == "invalid":
            found = (
                self._wrong_value(np.arange(rows.start, rows.stop), X, scale)
                for rows, X in self.chunks()
            )
            first = next(filter(None, found), None)
            where += f", {first}; it" if first else ""
        require_usable(scale, where, self.other_scales())

    def outlying(
        self, places: NDArray[np.intp], X: sparse.csr_matrix, scale: MatrixScale
    ) -> NDArray[np.bool_]:
        """Which cells cannot be on the scale that most of their file is on, (n_cells,).

        Parameters
        ----------
        places
            Their places in the file.
        X
            Their values (n_cells, n_genes).
        scale
            What most values are.

        Raises
        ------
        InputError
            If a value is missing, infinite, negative, or too large for a count; it is named.
        """
        wrong = self._wrong_value(places, X, scale)
        if wrong is not None:
            raise InputError(
                f"{self.slot}, {wrong}, where most cells hold {scale.describe()}. "
                f"{other_matrices(self.other_scales())}"
            )
        return outlying_rows(X, scale)

    def _wrong_value(
        self, places: NDArray[np.intp], X: sparse.csr_matrix, scale: MatrixScale
    ) -> str | None:
        """The first value that none can be, in words; `places` are those of the cells."""
        whole = scale.kind in ("counts", "invalid")
        if X.nnz and X.data.min() >= 0 and X.data.max() <= (LARGEST_COUNT if whole else _MOST):
            return None  # nor is one missing, which would be the smallest and the largest
        wrong = ~np.isfinite(X.data) | (X.data < 0) | (whole and X.data > LARGEST_COUNT)
        if not wrong.any():
            return None
        first = int(np.flatnonzero(wrong)[0])
        row = int(np.searchsorted(X.indptr, first, side="right")) - 1
        place, value = places[row], X.data[first]
        what = OVERFLOWED
        if np.isnan(value):
            what = "missing (NaN)"
        elif np.isinf(value):
            what = "infinite"
        elif value < 0:
            what = "negative"
        return (
            f"cell '{self.obs.index[place]}' (row {place}), gene '{self.genes[X.indices[first]]}': "
            f"the value {value:g} is {what}"
        )

    @property
    def warnings(self) -> list[str]:
        """What was noticed so far, and logged as a warning each."""
        return list(self._source.notice.texts)

    @cached_property
    def spatial(self) -> np.ndarray | None:
        """``obsm['spatial']`` as float32 (n_cells, n_dimensions), if there is one."""
        coordinates = self._source.read_spatial()
        if coordinates is not None and (coordinates.ndim != 2 or len(coordinates) != self.n_cells):
            raise InputError(
                f"'{self.path}', obsm['spatial']: its shape is {coordinates.shape}; expected "
                f"one row of coordinates for each of {self.n_cells} cells"
            )
        return coordinates

    def other_scales(self) -> dict[str, MatrixScale]:
        """Scale of the other matrices of the file, by the setting that selects each."""
        return self._source.read_scales()

    def chunks(
        self, chunk_size: int = CHUNK_ROWS, wanted: NDArray[np.bool_] | None = None
    ) -> Iterator[tuple[slice, sparse.csr_matrix]]:
        """Yield (rows, CSR (n_rows, n_genes)) from the first cell to the last.

        With `wanted`, a bool array (n_cells,), what no wanted cell lies beside is not read.
        """
        for rows, read in self.pieces(chunk_size, wanted):
            yield rows, read()

    def pieces(
        self, chunk_size: int = CHUNK_ROWS, wanted: NDArray[np.bool_] | None = None
    ) -> Pieces:
        """As :meth:`chunks`; each is read when it is called, in whichever thread."""
        scale = self.scale if self._columns.n_merged else None
        source = self._source

        def whole(read: Callable[[], sparse.csr_matrix]) -> sparse.csr_matrix:
            return self._columns.merge(_compact(read(), self.path), scale)

        for rows, read in row_pieces(source.matrix, self.path, chunk_size, wanted, source.notice):
            yield rows, partial(whole, read)

    def take(self, cells: NDArray[np.intp]) -> sparse.csr_matrix:
        """Some cells, by their ascending places in the file: CSR (n_taken, n_genes)."""
        wanted = np.zeros(self.n_cells, dtype=bool)
        wanted[cells] = True
        taken = [chunk[wanted[rows]] for rows, chunk in self.chunks(wanted=wanted)]
        if not taken:
            return sparse.csr_matrix((0, len(self.genes)), dtype=np.float32)
        return sparse.csr_matrix(sparse.vstack(taken, format="csr"))

    def named_by(self, column: str) -> CellFile:
        """The same cells, their genes named by a column of `var`; without a name there, as now."""
        names = _feature_names(self._source, self.reading.gene_symbols_key)
        found = map(as_text, self._source.var[column])
        renamed = [name and (new or name) for name, new in zip(names, found, strict=True)]
        return _named(self._source, self.reading, renamed)

    def to_anndata(self) -> ad.AnnData:
        """All cells with what is known of them; `X` as :func:`read_cells` gives it."""
        X = self.take(np.arange(self.n_cells))
        obsm = {} if self.spatial is None else {"spatial": self.spatial}
        return ad.AnnData(X, obs=self.obs, var=self.var, obsm=obsm)

    def everything(self) -> ad.AnnData:
        """All that is stored about the cells, as it stands in the file; of modalities the one."""
        return self._source.read_everything()

    def require_writable(self) -> None:
        """Refuse tables of cells or genes that no h5ad can hold, before work is done for a copy.

        Raises
        ------
        InputError
            With the table, and what is wrong.
        """
        if self.reader in ("h5ad", "h5mu"):  # it holds them already
            return
        nullable_texts = ad.settings.override(allow_write_nullable_strings=True)
        with h5py.File("tables", "w", driver="core", backing_store=False) as memory, nullable_texts:
            for name, table in (("obs", self.obs), ("var", self._source.var)):
                try:
                    write_elem(memory, name, table)
                except Exception as error:  # whatever the writers of anndata raise
                    reason = " ".join(str(error).split())
                    raise InputError(
                        f"'{self.path}': its table `{name}` cannot be written to an annotated copy "
                        f"({reason}). Rename or take out the column."
                    ) from error


@contextmanager
def open_cells(
    source: CellSource, reading: ReadingOptions = AS_IT_IS, *, obs_columns: Sequence[str] = ()
) -> Iterator[CellFile]:
    """Open a matrix of cells x genes, with clean and unique gene names, for reading in chunks.

    A large h5ad or h5mu file, zarr folder or backed AnnData is never in memory as a whole; the
    other formats are read at once, as CSR. An AnnData is not changed.

    Parameters
    ----------
    source
        File, folder (for ``10x_mtx`` and ``zarr``), or an AnnData in memory or backed.
    reading
        Which matrix and names to take, and of what format the file is.
    obs_columns
        Columns of a ``csv`` (cells in rows) that describe the cells where they occur.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another format, or lacks the matrix, the column or
        the modality.
    """
    if isinstance(source, ad.AnnData):
        path = name_of(source)
        if reading.reader not in ("auto", "h5ad"):
            raise InputError(
                f"'{path}' is an AnnData, not a file for the reader '{reading.reader}'"
            )
        _check_options(path, "h5ad", reading)
        with closing(_anndata_source(source, path, "anndata", reading)) as found:
            yield _named(found, reading)
        return
    path = existing(source)
    reader = _chosen_reader(path, reading.reader)
    _check_options(path, reader, reading)
    if reader in STORES:
        with (
            open_store(path, reading.modality) as store,
            closing(_store_source(store, path, reader, reading)) as found,
        ):
            yield _named(found, reading)
    else:
        notice = Notices()
        adata = _read_at_once(path, reader, reading, obs_columns, notice)
        yield _named(_anndata_source(adata, path, reader, reading, notice), reading)


def read_cells(
    source: CellSource, reading: ReadingOptions = AS_IT_IS, *, obs_columns: Sequence[str] = ()
) -> ad.AnnData:
    """Read a matrix of cells x genes at once; parameters and errors are :func:`open_cells`'s.

    Returns
    -------
    AnnData
        X: CSR (n_cells, n_genes), float32, or integers as they were stored; `obs`, `var` and
        ``obsm['spatial']``.
    """
    with open_cells(source, reading, obs_columns=obs_columns) as cells:
        return cells.to_anndata()


def read_obs(source: CellSource, reading: ReadingOptions = AS_IT_IS) -> pd.DataFrame:
    """Table of the cells alone; parameters and errors are those of :func:`open_cells`."""
    with open_cells(source, reading) as cells:
        return cells.obs


def detect_reader(path: str | Path) -> str:
    """Name the reader for a file by its content (a link or a copy may have lost its suffix).

    Raises
    ------
    InputError
        If no reader knows the content.
    """
    path = existing(path)
    if path.is_dir():
        if any((path / name).exists() for name in (".zgroup", "zarr.json", ".zattrs")):
            return "zarr"
        if list(path.glob("*matrix.mtx*")):
            return "10x_mtx"
        names = listed(sorted(p.name for p in path.iterdir()), 10)
        raise InputError(
            f"'{path}' is neither a zarr folder nor one with a 10x matrix.mtx (found {names})"
        )
    if is_hdf5(path):
        with open_hdf5(path) as store, readable(path):
            keys = set(store)
            if {"obs", "var", "mod"} <= keys:
                return "h5mu"
            if {"obs", "var"} <= keys:
                return "h5ad"
            if {"row_attrs", "col_attrs"} <= keys:
                return "loom"
            if any("barcodes" in store[key] for key in keys if hasattr(store[key], "keys")):
                return "10x_h5"
        raise InputError(
            f"'{path}' is an HDF5 file of an unknown kind (found {', '.join(sorted(keys))}); "
            "expected h5ad, h5mu, loom or 10x"
        )
    if path.suffix in (".h5ad", ".h5mu", ".h5", ".hdf5", ".loom") or is_packed_hdf5(path):
        with open_hdf5(path):  # not HDF5: raises
            pass
    with open_text(path) as handle, readable(path, "the text"):
        line = handle.readline(10_000_000)
    if line.startswith("%%MatrixMarket"):
        return "10x_mtx"
    if separator_of(line):
        return "csv"
    raise InputError(
        f"'{path}': the format is not known. Expected one of {', '.join(READERS[1:])}; "
        "set `reader` if it is one of these."
    )


def _chosen_reader(path: Path, reader: str) -> str:
    if reader not in READERS:
        raise InputError(f"reader '{reader}' is not known; expected one of {', '.join(READERS)}")
    return detect_reader(path) if reader == "auto" else reader


def _check_options(path: Path, reader: str, reading: ReadingOptions) -> None:
    if reading.use_raw and reader not in STORES:
        raise InputError(f"'{path}': `use_raw` is for h5ad, h5mu and zarr, not for '{reader}'")
    if reading.layer is not None and reader not in (*STORES, "loom"):
        raise InputError(f"'{path}': `layer` is for h5ad, h5mu, zarr and loom, not for '{reader}'")
    if reading.transpose and reader != "csv":
        raise InputError(f"'{path}': `transpose` is for csv, not for '{reader}'")


def _store_source(store: Any, path: Path, reader: str, reading: ReadingOptions) -> _Source:
    matrices = matrices_of(store)
    matrix = find_matrix(matrices, path, reading.layer, reading.use_raw)
    obs, var = read_annotations(store, path, reading.use_raw)
    return _Source(
        path,
        reader,
        obs,
        var,
        matrix,
        reading.modality if store.name == "/" else None,
        lambda: read_coordinates(store, path),
        lambda: scales_of(matrices, path, slot_name(reading.layer, reading.use_raw)),
        lambda: read_everything(store, path),
    )


def _anndata_source(
    adata: ad.AnnData,
    path: Path,
    reader: str,
    reading: ReadingOptions,
    notice: Notices | None = None,
) -> _Source:
    matrices = matrices_of_anndata(adata)
    matrix = find_matrix(matrices, path, reading.layer, reading.use_raw)
    return _Source(
        path,
        reader,
        adata.obs.copy(),
        adata.raw.var if reading.use_raw else adata.var,
        matrix,
        reading.modality,
        lambda: coordinates_of(adata),
        lambda: scales_of(matrices, path, slot_name(reading.layer, reading.use_raw)),
        adata.to_memory,
        notice or Notices(),
    )


def _read_at_once(
    path: Path,
    reader: str,
    reading: ReadingOptions,
    obs_columns: Sequence[str],
    notice: Notices,
) -> ad.AnnData:
    if reader == "10x_h5":
        return read_10x_h5(path)
    if reader == "10x_mtx":
        return read_10x_mtx(path)
    if reader == "loom":
        return read_loom(path)
    return read_csv(path, reading.transpose, obs_columns, notice)


def _named(
    source: _Source, reading: ReadingOptions, names: Sequence[object] | None = None
) -> CellFile:
    """Name the columns of a source, by the options or by names that are given."""
    check_shape(source.stored, source.path, len(source.obs), len(source.var))
    source.obs.index = source.obs.index.astype(str)
    table = None if reading.gene_table is None else GeneTable.from_config(reading.gene_table)
    if names is None:
        names = _feature_names(source, reading.gene_symbols_key)
    names = _without_measures(names, source)
    resolved, report = resolve_gene_names(names, table)
    columns = GeneColumns.from_names(resolved)
    report["merged"] = columns.n_merged
    if not columns.as_stored:
        logger.info(
            "'%s': %d genes with the name of another are added to it, %d columns left out",
            source.path,
            columns.n_merged,
            columns.n_unnamed,
        )
    if "feature_types" not in source.var:
        for text in warnings_on_features(columns.genes):
            source.notice(f"'{source.path}': {text}")
    var = source.var.iloc[columns.first_columns].copy()
    var.index = pd.Index(columns.genes, dtype=object)
    return CellFile(var, report, reading, columns, source)


def _without_measures(names: Sequence[object], source: _Source) -> Sequence[object]:
    """Take the names away from columns that measure cells (nCount_RNA): they are no genes."""
    measures = [name for name in map(as_text, names) if is_quality(name)]
    if not measures:
        return names
    source.notice(
        f"'{source.path}': {listed(measures)} are no genes but measures of the cells, by their "
        "names; they are left out"
    )
    return ["" if is_quality(as_text(name)) else name for name in names]


def _feature_names(source: _Source, gene_symbols_key: str | None) -> list[object]:
    """Names of the columns; an empty one for a feature that was not asked for (ATAC, antibody)."""
    path, var, modality = source.path, source.var, source.feature_type
    if gene_symbols_key is not None and gene_symbols_key not in var:
        raise InputError(
            f"'{path}': var has no column '{gene_symbols_key}' (`gene_symbols_key`); its columns "
            f"are: {', '.join(map(str, var.columns)) or 'none'}"
        )
    names: list[object] = list(var.index if gene_symbols_key is None else var[gene_symbols_key])
    if "feature_types" not in var:
        if modality is None:
            return names
        raise InputError(
            f"'{path}': var has no column 'feature_types' to find the `modality` '{modality}' in; "
            "leave `modality` out"
        )
    types = var["feature_types"].astype(str)
    wanted = RNA_MODALITIES if modality is None else same_modality(modality)
    is_wanted = types.str.casefold().isin(wanted).to_numpy()
    if modality is not None and not is_wanted.any():
        found = ", ".join(f"'{name}' ({n:,})" for name, n in types.value_counts().items())
        raise InputError(
            f"'{path}', var['feature_types']: no feature is '{modality}' (`modality`); there are "
            f"{found or 'none'}"
        )
    if is_wanted.all() or not is_wanted.any():
        return names
    logger.info("'%s': %d features of another type left out", path, (~is_wanted).sum())
    return [name if wanted else "" for name, wanted in zip(names, is_wanted, strict=True)]


def _compact(X: sparse.csr_matrix, path: Path) -> sparse.csr_matrix:
    """CSR in four bytes per value where no integer is lost."""
    if X.dtype == np.int64 and (X.nnz == 0 or np.abs(X.data).max() < 2**31):
        return X.astype(np.int32)
    if X.dtype == bool or X.dtype.kind == "f":
        return X.astype(np.float32, copy=False)
    if X.dtype.kind not in "iu":
        raise InputError(f"'{path}': the values have the type '{X.dtype}', not numbers")
    return X
