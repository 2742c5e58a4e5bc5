"""Gene sets, the patterns chosen from them, and the mask from genes to pattern tokens.

The knowledge of the model is a sparse boolean matrix genes x patterns: token j sees the genes of
pattern j and nothing else (Zhang, Ren, Li 2026, section "Pattern learning").
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from scipy import sparse

from plkd.errors import InputError
from plkd.files import whole_file
from plkd.gene_sets import (
    GeneSet,
    match_spelling,
    over_representation,
    read_gmt,
    read_gmts,
    some,
)
from plkd.logs import logger

__all__ = [
    "GeneSet",
    "Mask",
    "build_mask",
    "match_spelling",
    "over_representation",
    "read_gmt",
    "read_gmts",
    "select_patterns",
]

MaskKind = Literal["pathways", "random", "dense"]
RankBy = Literal["enrichment", "coverage"]

_TABLE_COLUMNS = {
    "name": str,
    "description": str,
    "size": int,
    "measured": int,
    "overlap": int,
    "coverage": float,
    "p_value": float,
    "adjusted_p_value": float,
    "rank": int,
    "duplicates": str,
}
_FILES = ("mask.npz", "patterns.tsv", "genes.txt")
# A trade between two patterns moves only a share of their genes; five to ten trades per pattern
# are enough to forget the start (Strona et al. 2014, Nat Commun 5:4114).
_TRADES_PER_PATTERN = 10


@dataclass
class Mask:
    """Which genes each pattern token sees.

    Attributes
    ----------
    genes
        Gene names, the rows of `matrix`.
    patterns
        Pattern names, the columns of `matrix`.
    matrix
        Boolean CSC array (n_genes, n_patterns).
    table
        One row per pattern in the same order; the columns are those of :func:`select_patterns`.
    """

    genes: list[str]
    patterns: list[str]
    matrix: sparse.csc_array
    table: pd.DataFrame

    @property
    def density(self) -> float:
        """Share of the genes x patterns entries that are inside the mask."""
        n_genes, n_patterns = self.matrix.shape
        return float(self.matrix.nnz / (n_genes * n_patterns))

    def save(self, folder: str | Path) -> None:
        """Write mask.npz, patterns.tsv and genes.txt into `folder`: all three, or none."""
        folder = Path(folder)
        with ExitStack() as stack:
            mask, patterns, genes = (stack.enter_context(whole_file(folder / f)) for f in _FILES)
            sparse.save_npz(mask, self.matrix)
            self.table.to_csv(patterns, sep="\t", index=False)
            genes.write_text("".join(f"{gene}\n" for gene in self.genes), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Mask:
        """Read what :meth:`save` wrote.

        Raises
        ------
        InputError
            If a file is absent or damaged, or the three do not belong together.
        """
        folder = Path(folder)
        remedy = f"Make the mask again (delete the folder '{folder}' and run the pipeline)."
        for name in _FILES:
            if not (folder / name).is_file():
                raise InputError(f"'{folder}' is not a mask: there is no file '{name}'. {remedy}")
        try:
            matrix = sparse.csc_array(sparse.load_npz(folder / "mask.npz"), dtype=bool)
            # A gene may be called NA or nan: text columns are read as they stand.
            table = pd.read_csv(
                folder / "patterns.tsv",
                sep="\t",
                float_precision="round_trip",
                dtype=_TABLE_COLUMNS,
                keep_default_na=False,
                na_values={"p_value": [""], "adjusted_p_value": [""]},
            )
            genes = (folder / "genes.txt").read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError, KeyError, EOFError, zlib.error) as error:
            raise InputError(f"the mask in '{folder}' cannot be read: {error}. {remedy}") from error
        missing = [column for column in _TABLE_COLUMNS if column not in table]
        if missing:
            raise InputError(
                f"'{folder / 'patterns.tsv'}' has no column {', '.join(missing)}. {remedy}"
            )
        fits = matrix.shape == (len(genes), len(table)) and len(set(genes)) == len(genes)
        if not fits or not np.array_equal(_column_sums(matrix), table["overlap"]):
            raise InputError(
                f"the files of the mask in '{folder}' do not belong together: mask.npz is "
                f"{matrix.shape[0]} genes x {matrix.shape[1]} patterns, genes.txt lists "
                f"{len(genes)} genes, patterns.tsv {len(table)} patterns, and the numbers of "
                f"genes per pattern must agree too. {remedy}"
            )
        return cls(genes, list(table["name"]), matrix, table)


def select_patterns(
    gene_sets: Mapping[str, GeneSet],
    genes: Sequence[str],
    background: Sequence[str],
    *,
    min_genes: int = 5,
    max_genes: int = 300,
    max_patterns: int = 300,
    rank_by: RankBy = "enrichment",
    drop_duplicates: bool = True,
) -> pd.DataFrame:
    """Choose the gene sets that become pattern tokens.

    Sets of at most `max_genes` genes with at least `min_genes` of them in the gene list are ranked,
    and the first `max_patterns` are kept. Ties go to the larger overlap, then to the name. The
    defaults are the authors' (at most 300 genes, more than 4 in the list, 300 patterns).

    Parameters
    ----------
    gene_sets
        The collection.
    genes
        Selected genes of the reference: the gene list. Each once, all of them in `background`.
    background
        All measured genes.
    min_genes, max_genes, max_patterns
        Limits, see above.
    rank_by
        "enrichment": over-representation of the gene list in the set, smallest p first (with all
        measured genes selected every p is 1, and the overlap decides). "coverage": most genes in
        the list first, the rule of the authors' code.
    drop_duplicates
        Of sets with the very same genes in the list keep only the first; the names of the others
        are in the column `duplicates`.

    Returns
    -------
    One row per pattern, best first: name, description, size (genes of the set in total), measured
    (of these in the background), overlap (of these in the gene list), coverage (share of the gene
    list that is in the set), p_value and adjusted_p_value (:func:`over_representation`; all sets
    that the background lets reach `min_genes` count as tests), rank (from 1), duplicates (names
    joined by "; ").

    Raises
    ------
    InputError
        If a limit makes no sense, the gene list is not part of the background, or no gene set
        remains.
    """
    _check_limits(min_genes, max_genes, max_patterns, rank_by)
    _check_genes(genes, background)
    gene_sets = match_spelling(gene_sets, background)
    universe, position = set(background), {gene: i for i, gene in enumerate(genes)}
    candidates = {
        name: gene_set
        for name, gene_set in gene_sets.items()
        if len(gene_set.genes) <= max_genes
        and len(universe.intersection(gene_set.genes)) >= min_genes
    }
    tested = over_representation(genes, candidates, background)
    table = tested[tested["overlap"] >= min_genes]
    if table.empty:
        raise _no_pattern(gene_sets, genes, background, min_genes, max_genes)
    by = ["p_value", "overlap", "name"] if rank_by == "enrichment" else ["overlap", "name"]
    table = table.sort_values(by, ascending=[column != "overlap" for column in by])

    same_genes: dict[tuple[int, ...], list[str]] = {}
    for name in table["name"]:
        found = tuple(sorted(position[g] for g in candidates[name].genes if g in position))
        same_genes.setdefault(found if drop_duplicates else (len(same_genes),), []).append(name)
    duplicates = {first: "; ".join(others) for first, *others in same_genes.values()}
    table = table[table["name"].isin(duplicates)].head(max_patterns)
    n_dropped = len(tested[tested["overlap"] >= min_genes]) - len(duplicates)
    logger.info(
        "%d gene sets: %d of at most %d genes with at least %d selected ones (%d of them with the "
        "genes of another), %d kept",
        len(gene_sets),
        len(duplicates) + n_dropped,
        max_genes,
        min_genes,
        n_dropped,
        len(table),
    )
    table = table.assign(
        description=[candidates[name].description for name in table["name"]],
        size=[len(candidates[name].genes) for name in table["name"]],
        coverage=table["overlap"] / len(genes),
        rank=np.arange(1, len(table) + 1),
        duplicates=table["name"].map(duplicates),
    )
    return table[list(_TABLE_COLUMNS)].reset_index(drop=True)


def build_mask(
    kind: MaskKind,
    genes: Sequence[str],
    *,
    gene_sets: Mapping[str, GeneSet] | None = None,
    background: Sequence[str] | None = None,
    min_genes: int = 5,
    max_genes: int = 300,
    max_patterns: int = 300,
    rank_by: RankBy = "enrichment",
    drop_duplicates: bool = True,
    n_fully_connected: int = 0,
    n_patterns: int | None = None,
    density: float | None = None,
    seed: int = 0,
) -> Mask:
    """Make the mask from genes to pattern tokens.

    Parameters
    ----------
    kind
        "pathways": the gene sets that :func:`select_patterns` chooses.
        "random": the same pathways with the genes traded between them at random: each pattern
        keeps its size and each gene the number of patterns it is in, only the grouping is lost.
        With `density`, each entry by chance instead (the authors' code: 0.015).
        "dense": every token sees every gene.
    genes
        Selected genes of the reference: the rows of the mask.
    gene_sets, background, min_genes, max_genes, max_patterns, rank_by, drop_duplicates
        See :func:`select_patterns`; `background` defaults to `genes`. Not used by "dense", nor with
        `density`, when `n_patterns` is given.
    n_fully_connected
        Further tokens that see every gene (the authors' code has one, "node 0").
    n_patterns
        Number of tokens of "dense" and of "random" with `density`. Default: as many as
        :func:`select_patterns` chooses, so that masks are compared at equal size.
    density
        Share of genes per token, only for "random".
    seed
        Of the random mask.

    Raises
    ------
    InputError
        If the settings contradict each other, or as :func:`select_patterns`.
    """
    genes = list(genes)
    background = genes if background is None else background
    _check_mask_settings(kind, n_fully_connected, n_patterns, density)
    _check_genes(genes, background)
    random = np.random.default_rng(seed)
    by_size = kind == "dense" or density is not None
    if not (by_size and n_patterns is not None):
        if gene_sets is None:
            raise InputError(f"the mask '{kind}' needs gene sets (a GMT file), or `n_patterns`.")
        gene_sets = match_spelling(gene_sets, background)
        table = select_patterns(
            gene_sets,
            genes,
            background,
            min_genes=min_genes,
            max_genes=max_genes,
            max_patterns=max_patterns,
            rank_by=rank_by,
            drop_duplicates=drop_duplicates,
        )
        members = _members(genes, [gene_sets[name] for name in table["name"]])
        n_patterns = len(table)

    if kind == "dense":
        members = [np.arange(len(genes))] * n_patterns
        table = _plain_table("dense", "sees every gene", members, len(genes))
    elif density is not None:
        members = [_some_genes(len(genes), density, random) for _ in range(n_patterns)]
        table = _plain_table("random", f"genes drawn with chance {density}", members, len(genes))
    elif kind == "random":
        members = _trade_genes(members, random)
        names = [f"as many genes as {name}, regrouped at random" for name in table["name"]]
        table = _plain_table("random", names, members, len(genes))

    full = [np.arange(len(genes))] * n_fully_connected
    if full:
        extra = _plain_table("fully_connected", "sees every gene", full, len(genes))
        extra["rank"] += len(table)
        table = pd.concat([table, extra], ignore_index=True)
    return Mask(genes, list(table["name"]), _to_matrix(members + full, len(genes)), table)


def _members(genes: Sequence[str], gene_sets: Sequence[GeneSet]) -> list[np.ndarray]:
    """Row numbers of the genes of each set, ascending; genes outside `genes` are left out."""
    position = {gene: i for i, gene in enumerate(genes)}
    return [
        np.array(sorted(position[gene] for gene in gene_set.genes if gene in position))
        for gene_set in gene_sets
    ]


def _to_matrix(members: Sequence[np.ndarray], n_genes: int) -> sparse.csc_array:
    starts = np.cumsum([0, *(len(rows) for rows in members)])
    rows = np.concatenate(members).astype(np.int32)
    inside = np.ones(len(rows), dtype=bool)
    return sparse.csc_array((inside, rows, starts.astype(np.int32)), (n_genes, len(members)))


def _column_sums(matrix: sparse.csc_array) -> np.ndarray:
    return np.diff(matrix.indptr)


def _some_genes(n_genes: int, density: float, random: np.random.Generator) -> np.ndarray:
    """Each gene with chance `density`; one gene at least, for a token must see something."""
    rows = np.flatnonzero(random.random(n_genes) < density)
    return rows if len(rows) else random.integers(n_genes, size=1)


def _trade_genes(members: Sequence[np.ndarray], random: np.random.Generator) -> list[np.ndarray]:
    """Shuffle a bipartite graph without changing any degree ("curveball", Strona et al. 2014).

    Two patterns put the genes that only one of them has into a pool and draw as many back.
    """
    sets = [set(rows.tolist()) for rows in members]
    n_trades = _TRADES_PER_PATTERN * len(sets) if len(sets) > 1 else 0
    for _ in range(n_trades):
        a, b = random.choice(len(sets), size=2, replace=False)
        shared, only_a = sets[a] & sets[b], sets[a] - sets[b]
        pool = random.permutation(sorted(sets[a] ^ sets[b])).tolist()
        sets[a] = shared.union(pool[: len(only_a)])
        sets[b] = shared.union(pool[len(only_a) :])
    return [np.array(sorted(genes)) for genes in sets]


def _plain_table(
    stem: str, description: str | list[str], members: Sequence[np.ndarray], n_genes: int
) -> pd.DataFrame:
    """Give the table of patterns that no gene set stands behind."""
    sizes = np.array([len(rows) for rows in members])
    number = np.arange(1, len(members) + 1)
    return pd.DataFrame(
        {
            "name": [f"{stem}_{i}" for i in number],
            "description": description,
            "size": sizes,
            "measured": sizes,
            "overlap": sizes,
            "coverage": sizes / n_genes,
            "p_value": np.nan,
            "adjusted_p_value": np.nan,
            "rank": number,
            "duplicates": "",
        }
    )


def _check_limits(min_genes: int, max_genes: int, max_patterns: int, rank_by: str) -> None:
    if min_genes < 1 or max_genes < min_genes or max_patterns < 1:
        raise InputError(
            f"mask settings: found min_genes={min_genes}, max_genes={max_genes}, max_patterns="
            f"{max_patterns}; expected 1 <= min_genes <= max_genes and max_patterns >= 1."
        )
    if rank_by not in ("enrichment", "coverage"):
        raise InputError(
            f"mask settings: rank_by is '{rank_by}'; choose 'enrichment' or 'coverage'."
        )


def _check_mask_settings(
    kind: str, n_fully_connected: int, n_patterns: int | None, density: float | None
) -> None:
    if kind not in ("pathways", "random", "dense"):
        raise InputError(
            f"mask settings: kind is '{kind}'; choose 'pathways', 'random' or 'dense'."
        )
    if n_fully_connected < 0 or (n_patterns is not None and n_patterns < 1):
        raise InputError(
            f"mask settings: found n_fully_connected={n_fully_connected}, n_patterns={n_patterns}; "
            "expected n_fully_connected >= 0 and n_patterns >= 1 (or null)."
        )
    if density is not None and (kind != "random" or not 0 < density <= 1):
        raise InputError(
            f"mask settings: density is {density} with the mask '{kind}'; expected a share above 0 "
            "and at most 1, and only with the mask 'random'."
        )
    if n_patterns is not None and kind != "dense" and density is None:
        raise InputError(
            f"mask settings: n_patterns does not apply to the mask '{kind}', whose number of "
            "patterns comes from the gene sets; use max_patterns."
        )


def _check_genes(genes: Sequence[str], background: Sequence[str]) -> None:
    if not len(genes) or len(set(genes)) != len(genes):
        raise InputError(
            f"the gene list must name at least one gene and each gene once; found {len(genes)} "
            f"names, {len(set(genes))} different ones."
        )
    outside = sorted(set(genes) - set(background))
    if outside:
        raise InputError(
            f"{len(outside)} of the {len(genes)} selected genes are not among the "
            f"{len(set(background))} measured genes ({some(outside)}). The background must list "
            "every measured gene, the selected ones among them."
        )


def _no_pattern(
    gene_sets: Mapping[str, GeneSet],
    genes: Sequence[str],
    background: Sequence[str],
    min_genes: int,
    max_genes: int,
) -> InputError:
    """Say why no gene set can be used."""
    wanted = {gene for gene_set in gene_sets.values() for gene in gene_set.genes}
    chosen = set(genes)
    best = max(len(chosen.intersection(s.genes)) for s in gene_sets.values()) if gene_sets else 0
    n_selected, n_measured = len(wanted & chosen), len(wanted.intersection(background))
    return InputError(
        f"no pattern: none of the {len(gene_sets)} gene sets has at most {max_genes} genes and at "
        f"least {min_genes} of the {len(genes)} selected genes (the best has {best}). Of the "
        f"{len(wanted)} genes in the sets {n_measured} are measured and {n_selected} selected. "
        f"Genes in the sets look like {some(sorted(wanted))}; genes in the data like "
        f"{some(list(genes))}. "
        + (
            "Use gene sets with the same kind of names (symbols or Ensembl ids) and of the same "
            "species as the data."
            if n_measured < min_genes
            else "Use other gene sets, select more genes (prepare: n_genes), lower min_genes or "
            "raise max_genes."
        )
    )
