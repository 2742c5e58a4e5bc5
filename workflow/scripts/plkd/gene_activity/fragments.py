"""Fragment files: how many fragments of each cell overlap each gene, in bounded memory."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from plkd.errors import InputError
from plkd.gene_activity.genome import chromosome_keys
from plkd.gene_activity.weights import gene_regions, overlapping
from plkd.io.cells import read_obs
from plkd.io.formats import is_hdf5, open_text
from plkd.io.stores import existing, readable
from plkd.utils.progress import ProgressBar

CHUNK_LINES = 1_000_000
BLOCK_CELLS = 2048
SAMPLED_EVERY = 500
_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_TYPES: Any = {"chrom": "category", "start": np.int64, "end": np.int64, "barcode": "category"}
_TRIPLET = np.dtype([("cell", "<i4"), ("gene", "<i4"), ("count", "<i4")])


@dataclass
class FragmentCount:
    """What was found in a fragment file.

    Attributes
    ----------
    barcodes
        The cells, in the order of the rows of the counts.
    n_fragments
        Lines of each cell on any chromosome, int array (n_cells,).
    totals
        Number of lines ``read``, ``of_cells``, ``on_chromosomes`` in use, and ``in_genes``.
    left_out
        Lines of the cells by the chromosome that is not in use.
    sample
        Every `SAMPLED_EVERY`-th fragment of the cells and the last of each chromosome: `chrom`,
        `key`, `start`, `end`.
    """

    barcodes: pd.Index
    n_fragments: NDArray[np.int64]
    totals: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    sample: pd.DataFrame = field(default_factory=pd.DataFrame)


def is_fragment_file(path: str | Path) -> bool:
    """Tell a table of fragments (chromosome, start, end, barcode, ..) from a matrix of peaks."""
    path = existing(path)
    if path.is_dir() or is_hdf5(path):
        return False
    try:
        with open_text(path) as handle:
            line = next((line for line in handle if not line.startswith("#")), "")
    except (OSError, EOFError, UnicodeDecodeError):
        return False
    fields = line.rstrip("\r\n").split("\t")
    return (
        4 <= len(fields) <= 6
        and fields[0] != ""
        and fields[1].isdecimal()
        and fields[2].isdecimal()
        and not fields[3].isdecimal()
    )


def read_barcodes(path: str | Path) -> pd.DataFrame:
    """Read the cells to count: a list of barcodes, a table of cells, or an h5ad with them.

    Parameters
    ----------
    path
        Text, packed or not. One column: barcodes without a header. Several columns, separated by
        commas or tabs: a table with a header whose first column is the barcodes. An h5ad or zarr
        gives its `obs`.

    Returns
    -------
    DataFrame
        Its index the barcodes, unique; its columns become those of `obs`.

    Raises
    ------
    InputError
        If there are none, or one occurs twice.
    """
    path = existing(path)
    if path.is_dir() or is_hdf5(path):
        table = read_obs(path)
    else:
        with open_text(path) as handle, readable(path, "the list of barcodes"):
            first = handle.readline()
            handle.seek(0)
            separator = "\t" if "\t" in first else ","
            has_header = separator in first
            table = pd.read_csv(
                handle,
                sep=separator,
                header=0 if has_header else None,
                dtype=str,
                na_filter=False,
                index_col=0,
            )
    table.index = table.index.astype(str).str.strip().rename(None)
    if len(table) == 0:
        raise InputError(f"'{path}' holds no barcodes")
    again = table.index[table.index.duplicated()]
    if len(again):
        raise InputError(
            f"'{path}': {len(again):,} barcodes occur more than once, such as '{again[0]}'; each "
            "cell must be named once"
        )
    return table


def count_fragments_of_barcodes(path: str | Path, *, progress: bool = True) -> pd.Series:
    """Number of lines of every barcode of a fragment file, sorted by barcode."""
    counts = pd.Series(dtype=np.int64)
    for chunk in _chunks(Path(path), "counting barcodes", progress):
        counts = counts.add(chunk["barcode"].value_counts(), fill_value=0)
    return counts.astype(np.int64).sort_index()


@contextmanager
def counted_fragments(
    path: str | Path,
    genes: pd.DataFrame,
    barcodes: Sequence[str],
    *,
    upstream: int,
    scratch: str | Path,
    progress: bool = True,
) -> Iterator[tuple[FragmentCount, Iterator[sparse.csr_matrix]]]:
    """Count the fragments of each cell that overlap the region of each gene.

    The rule of ``GeneActivity`` of Signac: a fragment counts once for every gene whose body and
    upstream bases it overlaps, by one base or as a whole, and whatever the number of reads that the
    fifth column has for it (they are copies of one molecule). The file is read once, from the first
    line to the last, sorted or not, and needs no index. What was counted passes through files in
    `scratch`, so memory grows neither with the fragments nor with cells times genes.

    Parameters
    ----------
    path
        Columns chromosome, start, end (0-based, half-open), barcode, and any others; comment lines
        begin with ``#``; packed with bgzip or gzip, or not.
    genes
        As of :func:`~plkd.gene_activity.weights.peak_gene_weights`; the columns of the counts are
        its names in the order in which they occur first.
    barcodes
        The cells, unique.
    upstream
        Bases before the start of a gene that belong to its region.
    scratch
        Folder for temporary files.
    progress
        Show a progress bar.

    Yields
    ------
    found : FragmentCount
    chunks : iterator of csr_matrix
        float32, (up to `BLOCK_CELLS` cells, n_genes), from the first barcode to the last.

    Raises
    ------
    InputError
        If the file is cut off or no fragment file, or none of the barcodes is in it.
    """
    path, scratch = Path(path), Path(scratch)
    cells: pd.Index = pd.Index(pd.Series(barcodes, dtype=object))
    regions = gene_regions(genes, upstream)
    gene_of_place, names = pd.factorize(genes["gene"])
    has_places = np.bincount(gene_of_place)[gene_of_place] > 1
    in_use = set(regions["chrom"])
    found = FragmentCount(cells, np.zeros(len(cells), dtype=np.int64))
    totals = dict.fromkeys(("read", "of_cells", "on_chromosomes", "in_genes"), 0)
    samples: list[pd.DataFrame] = []
    examples: list[str] = []

    for chunk in _chunks(path, "counting fragments", progress):
        totals["read"] += len(chunk)
        cell = cells.get_indexer(chunk["barcode"].cat.categories)[chunk["barcode"].cat.codes]
        if not examples:
            examples = list(chunk["barcode"].cat.categories[:2])
        known = cell >= 0
        chunk, cell = chunk[known], cell[known]
        totals["of_cells"] += len(chunk)
        found.n_fragments += np.bincount(cell, minlength=len(cells))
        places = chunk[["chrom", "start", "end"]].assign(key=chromosome_keys(chunk["chrom"]))
        used = places["key"].isin(in_use).to_numpy()
        for name, n in places["chrom"][~used].value_counts().items():
            if n:
                found.left_out[str(name)] = found.left_out.get(str(name), 0) + int(n)
        places, cell = places[used], cell[used]
        totals["on_chromosomes"] += len(places)
        samples.append(_sample(places))
        fragment, place = overlapping(places.assign(chrom=places["key"]), regions)
        gene = gene_of_place[place]
        if has_places.any():
            fragment, gene = _once_per_gene(fragment, gene, has_places[place])
        totals["in_genes"] += len(np.unique(fragment))
        _spill(scratch, cell[fragment], gene, len(names))
    if totals["of_cells"] == 0:
        raise InputError(
            f"'{path}': none of its {totals['read']:,} fragments is of the {len(cells):,} cells: "
            f"its barcodes look like {', '.join(map(repr, examples))}, those asked for like "
            f"{', '.join(map(repr, cells[:2]))}"
        )
    found.totals = totals
    found.sample = pd.concat(samples, ignore_index=True)
    yield found, _blocks(scratch, len(cells), len(names), progress)


def _chunks(path: Path, title: str, progress: bool) -> Iterator[pd.DataFrame]:
    """Lines of a fragment file as `chrom`, `start`, `end`, `barcode`, with progress in bytes."""
    path = existing(path)
    _check_is_whole(path)
    with (
        path.open("rb") as raw,
        ProgressBar(
            total=path.stat().st_size, desc=title, unit="B", unit_scale=True, disable=not progress,
        ) as bar,
        readable(path, "the fragments"),
    ):  # fmt: skip
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        chunks = pd.read_csv(
            cast(IO[bytes], gzip.GzipFile(fileobj=raw) if packed else raw),
            sep="\t",
            header=None,
            comment="#",
            usecols=[0, 1, 2, 3],
            names=["chrom", "start", "end", "barcode"],
            dtype=_TYPES,
            chunksize=CHUNK_LINES,
            keep_default_na=False,
        )
        for chunk in chunks:
            wrong = ((chunk["start"] < 0) | (chunk["end"] <= chunk["start"])).to_numpy()
            if wrong.any():
                first = chunk[wrong].iloc[0]
                raise InputError(
                    f"'{path}', line {int(chunk.index[wrong][0]) + 1:,} without comments: a "
                    f"fragment from {first['start']:,} to {first['end']:,} on {first['chrom']}; "
                    "expected 0 <= start < end"
                )
            yield chunk
            bar.update(raw.tell() - bar.n)


def _check_is_whole(path: Path) -> None:
    """A bgzip file that was cut between two of its blocks is a valid gzip file: look at its end."""
    with path.open("rb") as raw:
        start = raw.read(16)
        if not (start[:4] == b"\x1f\x8b\x08\x04" and start[12:14] == b"BC"):
            return
        raw.seek(-min(len(_BGZF_END), path.stat().st_size), 2)
        if raw.read() != _BGZF_END:
            raise InputError(
                f"'{path}' is cut off: it lacks the block that ends a file of bgzip. Copy or "
                "download it again."
            )


def _sample(places: pd.DataFrame) -> pd.DataFrame:
    if places.empty:
        return places
    last = places.groupby("key")["end"].idxmax()
    chosen = pd.concat([places.iloc[::SAMPLED_EVERY], places.loc[last]])
    return chosen.astype({"chrom": str})


def _once_per_gene(
    fragment: NDArray[np.intp], gene: NDArray[np.intp], may_repeat: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Leave out a fragment's second overlap with another place of the same gene."""
    repeated = np.unique(np.stack([fragment[may_repeat], gene[may_repeat]]), axis=1)
    return (
        np.concatenate([fragment[~may_repeat], repeated[0]]),
        np.concatenate([gene[~may_repeat], repeated[1]]),
    )


def _spill(scratch: Path, cell: NDArray[np.intp], gene: NDArray[np.intp], n_genes: int) -> None:
    """Append counts to one file per block of cells."""
    pair, count = np.unique(cell.astype(np.int64) * n_genes + gene, return_counts=True)
    triplets = np.empty(pair.size, dtype=_TRIPLET)
    triplets["cell"], triplets["gene"] = np.divmod(pair, n_genes)
    triplets["count"] = count
    block = triplets["cell"] // BLOCK_CELLS
    bounds = np.searchsorted(block, np.arange(block[-1] + 2)) if pair.size else [0]
    for number, (start, stop) in enumerate(pairwise(bounds)):
        if stop > start:
            with (scratch / f"block{number}").open("ab") as handle:
                triplets[start:stop].tofile(handle)


def _blocks(
    scratch: Path, n_cells: int, n_genes: int, progress: bool
) -> Iterator[sparse.csr_matrix]:
    blocks = range(0, n_cells, BLOCK_CELLS)
    for first in ProgressBar(blocks, "writing", unit="block", disable=not progress):
        n_rows = min(BLOCK_CELLS, n_cells - first)
        path = scratch / f"block{first // BLOCK_CELLS}"
        triplets: NDArray[Any] = (
            np.fromfile(path, dtype=_TRIPLET) if path.exists() else np.empty(0, _TRIPLET)
        )
        counts = sparse.coo_matrix(
            (triplets["count"].astype(np.float32), (triplets["cell"] - first, triplets["gene"])),
            shape=(n_rows, n_genes),
        ).tocsr()
        counts.sort_indices()
        path.unlink(missing_ok=True)
        yield counts
