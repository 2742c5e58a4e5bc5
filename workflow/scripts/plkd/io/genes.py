"""Gene names: cleaning, duplicates, and matching the genes of one matrix to another's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from plkd.io.ensembl import ENSEMBL, are_ids, same_kind
from plkd.io.scale import MatrixScale
from plkd.utils.text import listed

LISTED_MISSING = 20
GENOME = re.compile(r"(GRC[hm]\d\d|hg\d\d|mm\d\d?)_+(?=.)")
_ID = r"ENS[A-Z]{0,4}G\d{11}(?:\.\d+)?"
ID_AND_SYMBOL = re.compile(rf"(?P<before>.+)[_|:]{_ID}|{_ID}[_|:](?P<behind>(?!PAR_Y).+)")
GOOD_OVERLAP = 0.8  # share of wanted genes below which a warning is due


@dataclass(frozen=True)
class GeneOverlap:
    """How many of the wanted genes a matrix has.

    Attributes
    ----------
    n_wanted, n_found
        Number of genes asked for, and of those that were found.
    missing
        The genes that were not found, in the order they were asked for.
    matched_by_case
        Whether names had to be compared without regard to upper and lower case.
    matched_by_id
        Whether Ensembl ids had to be compared by their symbols.
    """

    n_wanted: int
    n_found: int
    missing: list[str]
    matched_by_case: bool
    matched_by_id: bool = False

    @property
    def share(self) -> float:
        """Found genes among the wanted ones, 0 to 1."""
        return self.n_found / self.n_wanted if self.n_wanted else 0.0

    def describe(self) -> str:
        """Say in one sentence how much was found."""
        how = ", ignoring upper and lower case" if self.matched_by_case else ""
        how += ", Ensembl ids compared by their symbols" if self.matched_by_id else ""
        return f"{self.n_found:,} of {self.n_wanted:,} genes ({self.share:.1%}) found{how}"

    def as_dict(self) -> dict[str, Any]:
        """Fields for JSON; the list of missing genes is cut to its first ones."""
        fields = asdict(self) | {"share": self.share, "n_missing": len(self.missing)}
        return fields | {"missing": self.missing[:LISTED_MISSING]}


def clean_gene_names(names: Iterable[object]) -> list[str]:
    """Take off what other programs put around a name.

    That are blanks, the version of an Ensembl id (ENSG00000141510.18), an id beside its symbol
    (TP53_ENSG00000141510), and the genome that most names begin with (GRCh38_TP53). A missing name
    becomes the empty string. The length is that of the input.
    """
    texts = [as_text(name).strip() for name in names]
    genomes = Counter(match[1] for text in texts if (match := GENOME.match(text)))
    genome, n_of_it = genomes.most_common(1)[0] if genomes else ("", 0)
    if n_of_it > len(texts) / 2:
        texts = [re.sub(f"^{genome}_+(?=.)", "", text) for text in texts]
    return [_without_id(text) if "ENS" in text else text for text in texts]


def _without_id(name: str) -> str:
    """A symbol without the Ensembl id beside it; an id alone without its version."""
    if match := ENSEMBL.fullmatch(name):
        return str(match[1])
    match = ID_AND_SYMBOL.fullmatch(name)
    return (match["before"] or match["behind"]) if match else name


def as_text(name: object) -> str:
    """A name as text; the empty string for a missing one."""
    if isinstance(name, str):
        return name
    return "" if pd.isna(name) else str(name)  # type: ignore[call-overload]


@dataclass(frozen=True)
class GeneColumns:
    """Which columns of a stored matrix make up which gene.

    Attributes
    ----------
    genes
        Unique, non-empty names in the order of their first column.
    gene_of_column
        int array (n_columns,): position in `genes`, or -1 for a column without a name.
    """

    genes: list[str]
    gene_of_column: NDArray[np.intp]

    @classmethod
    def from_names(cls, names: Iterable[object]) -> GeneColumns:
        """Group columns by their cleaned names."""
        cleaned = pd.Series(clean_gene_names(names), dtype=object)
        codes, genes = pd.factorize(cleaned.where(cleaned != ""))
        return cls([str(gene) for gene in genes], codes.astype(np.intp))

    @property
    def as_stored(self) -> bool:
        """Whether every column is one gene, so that nothing has to be done."""
        return len(self.genes) == self.gene_of_column.size

    @property
    def first_columns(self) -> NDArray[np.intp]:
        """First column of each gene, int array (n_genes,)."""
        named = np.flatnonzero(self.gene_of_column >= 0)
        _, first = np.unique(self.gene_of_column[named], return_index=True)
        return named[first]

    @property
    def n_unnamed(self) -> int:
        """Number of columns without a name."""
        return int(np.count_nonzero(self.gene_of_column < 0))

    @property
    def n_merged(self) -> int:
        """Number of columns that disappear because another has the same name."""
        return self.gene_of_column.size - self.n_unnamed - len(self.genes)

    def merge(self, X: sparse.csr_matrix, scale: MatrixScale | None) -> sparse.csr_matrix:
        """Add up the columns of each gene and drop the nameless: (n_cells, n_genes).

        Counts and linear values are added. Logged values are added before the logarithm, so that
        the result is what merging the counts would have given (and no gene depends on the cells
        that happen to be in the matrix). `scale` is needed only if there are duplicates.
        """
        if self.as_stored:
            return X
        if self.n_merged and X.dtype.kind in "iu" and X.dtype.itemsize < 4:
            X = X.astype(np.int32)  # sums of small integers would overflow
        if self.n_merged and scale is not None and scale.kind == "log1p":
            return self._merge_logged(X, np.log(scale.log_base))
        return _move_columns(X, self.gene_of_column, len(self.genes))

    def _merge_logged(self, X: sparse.csr_matrix, log_base: float) -> sparse.csr_matrix:
        repeated = np.bincount(self.gene_of_column[self.gene_of_column >= 0]) > 1
        is_repeated = (self.gene_of_column >= 0) & repeated[self.gene_of_column]
        alone = np.where(is_repeated, -1, self.gene_of_column)
        together = np.where(is_repeated, self.gene_of_column, -1)
        linear = sparse.csr_matrix(X, dtype=np.float64, copy=True)
        linear.data = np.expm1(linear.data * log_base)
        summed = _move_columns(linear, together, len(self.genes))
        summed.data = np.log1p(summed.data) / log_base
        # The genes that are alone keep their values to the last bit.
        merged = _move_columns(X, alone, len(self.genes)) + summed.astype(X.dtype)
        return sparse.csr_matrix(merged)


def match_names(names: Sequence[str], wanted: Sequence[str]) -> NDArray[np.intp]:
    """Say which of the wanted names each name is: the one rule by which names are compared.

    A name is the wanted one that is equal to it; failing that, the wanted one that differs by upper
    and lower case alone (mouse genes spelled in capitals), if each list has only one such name.

    Parameters
    ----------
    names, wanted
        Two lists of names, each unique.

    Returns
    -------
    int array (n_names,)
        Place among `wanted`, each at most once, or -1.
    """
    place_of = {name: place for place, name in enumerate(wanted)}
    places = np.array([place_of.get(name, -1) for name in names], dtype=np.intp)
    read_so = Counter(name.casefold() for name in names)
    small: dict[str, list[int]] = {}
    for place, name in enumerate(wanted):
        small.setdefault(name.casefold(), []).append(place)
    for i, name in enumerate(names):
        found = small.get(name.casefold(), [])
        if places[i] < 0 and len(found) == 1 == read_so[name.casefold()]:
            places[i] = found[0]
    return places


def match_genes(
    from_genes: Sequence[str], to_genes: Sequence[str]
) -> tuple[NDArray[np.intp], GeneOverlap]:
    """Find each wanted gene among the genes of a matrix.

    Names are compared by :func:`match_names`. Where one of the lists holds Ensembl ids and the
    other does not, ids of human and mouse genes stand for their symbols (:mod:`plkd.io.ensembl`).

    Parameters
    ----------
    from_genes
        Names of the matrix's columns, unique.
    to_genes
        Names that are wanted, unique.

    Returns
    -------
    columns : int array (n_from,)
        For each column of the matrix its place among `to_genes`, or -1.
    overlap : GeneOverlap
    """
    columns = match_names(*same_kind(from_genes, to_genes))
    found = {int(place): column for column, place in enumerate(columns) if place >= 0}
    missing = [gene for place, gene in enumerate(to_genes) if place not in found]
    pairs = [(from_genes[column], to_genes[place]) for place, column in found.items()]
    by_case = any(a != b and a.casefold() == b.casefold() for a, b in pairs)
    by_id = any(a.casefold() != b.casefold() for a, b in pairs)
    return columns, GeneOverlap(len(to_genes), len(found), missing, by_case, by_id)


def take_genes(X: sparse.csr_matrix, columns: NDArray[np.intp], n_genes: int) -> sparse.csr_matrix:
    """Put the columns of `X` where :func:`match_genes` says: CSR (n_cells, n_genes)."""
    return _move_columns(X, columns, n_genes)


def align_genes(
    X: sparse.csr_matrix, from_genes: Sequence[str], to_genes: Sequence[str]
) -> tuple[sparse.csr_matrix, GeneOverlap]:
    """Reorder a matrix to the wanted genes; genes that it lacks become zero columns.

    Parameters
    ----------
    X
        Matrix (n_cells, n_from).
    from_genes, to_genes
        Unique names of its columns, and of the columns of the result.

    Returns
    -------
    X : csr_matrix (n_cells, n_to), values and dtype unchanged
    overlap : GeneOverlap
    """
    columns, overlap = match_genes(from_genes, to_genes)
    return take_genes(X, columns, len(to_genes)), overlap


def naming_hint(
    one: Sequence[str], other: Sequence[str], called: tuple[str, str] = ("one", "the other")
) -> str:
    """Advice for two gene lists that hardly overlap; `called` says whose they are."""
    if are_ids(one) != are_ids(other):
        ids, symbols = called if are_ids(one) else called[::-1]
        return (
            f"The genes of {ids} are named by Ensembl ids, those of {symbols} are not: set "
            f"`gene_symbols_key` of {ids} to a column of its `var` with symbols, or give it a "
            "`gene_table`."
        )
    return (
        f"The genes of {called[0]} look like {listed(one[:3])}, those of {called[1]} like "
        f"{listed(other[:3])}."
    )


def _move_columns(
    X: sparse.csr_matrix, places: NDArray[np.intp], n_columns: int
) -> sparse.csr_matrix:
    """Add column j of `X` to column places[j] of the result; -1 leaves it out."""
    targets = places.astype(np.int32)[X.indices]
    kept = np.flatnonzero(targets >= 0)
    starts = np.searchsorted(kept, X.indptr)  # how many are kept before each row
    moved = sparse.csr_matrix((X.data[kept], targets[kept], starts), shape=(X.shape[0], n_columns))
    moved.sum_duplicates()
    return moved
