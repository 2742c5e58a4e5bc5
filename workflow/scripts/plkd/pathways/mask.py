"""The mask from genes to tokens, made from gene sets.

The knowledge of the model is a sparse boolean matrix genes x pathways: token j sees the genes of
pathway j and nothing else (Zhang, Ren, Li 2026, section "Pattern learning").
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from plkd.errors import InputError
from plkd.pathways.gene_sets import (
    PATHWAY_COLUMNS,
    GeneSet,
    RankBy,
    check_gene_list,
    read_gmt,
    select_pathways,
    spell_as,
    usable_gene_sets,
    write_gmt,
)
from plkd.utils.files import intact, whole_file
from plkd.utils.logs import logger
from plkd.utils.tables import EXACT, read_tsv, write_tsv

MaskKind = Literal["pathways", "modules", "random", "dense"]

UNCOVERED = "uncovered_genes"
"""Name of the token of the genes that no other token sees."""

RANDOM_DENSITY = 0.015
"""Share of the genes that a random token sees where no gene sets give sizes (the authors' code)."""

LITTLE_COVERED = 0.5
"""Share of the genes in pathways below which they explain little."""

_GENE_SETS = "gene_sets.gmt"
_FILES = ("mask.npz", "pathways.tsv", "genes.txt", _GENE_SETS)
# A trade between two pathways moves only a share of their genes; five to ten trades per pathway
# are enough to forget the start (Strona et al. 2014, Nat Commun 5:4114).
_TRADES_PER_PATHWAY = 10


def is_pathway(matrix: sparse.csc_array, tokens: Sequence[str]) -> NDArray[np.bool_]:
    """Which tokens are pathways, bool (tokens,): not those of every gene, or of uncovered ones."""
    sees_all = np.diff(matrix.indptr) == matrix.shape[0]
    return np.asarray(~sees_all & (np.asarray(tokens) != UNCOVERED))


def coverage(matrix: sparse.csc_array, tokens: Sequence[str]) -> tuple[int, str]:
    """How many of the genes (rows of a mask) are in some pathway, and a sentence that says so.

    The sentence warns where that is less than :data:`LITTLE_COVERED`.
    """
    in_pathways = matrix[:, np.flatnonzero(is_pathway(matrix, tokens))]
    covered, n_genes = len(np.unique(in_pathways.indices)), matrix.shape[0]
    words = f"pathways cover {covered:,} of {n_genes:,} genes ({covered / max(n_genes, 1):.0%})"
    if covered < LITTLE_COVERED * n_genes:
        words += ": most of what the Teacher sees is outside of them, so they explain little"
    return covered, words


@dataclass
class Mask:
    """Which genes each token sees.

    Attributes
    ----------
    genes
        Gene names, the rows of `matrix`.
    tokens
        Names of the tokens, the columns of `matrix`.
    matrix
        Boolean CSC array (n_genes, n_tokens).
    table
        One row per token in the same order; the columns are those of :func:`select_pathways`.
    gene_sets
        The gene sets that could have become pathways, by the limits of size; their genes are
        spelled as `genes` are.
    """

    genes: list[str]
    tokens: list[str]
    matrix: sparse.csc_array
    table: pd.DataFrame
    gene_sets: dict[str, GeneSet] = field(default_factory=dict)

    @property
    def density(self) -> float:
        """Share of the genes x tokens entries that are inside the mask."""
        n_genes, n_tokens = self.matrix.shape
        return float(self.matrix.nnz / (n_genes * n_tokens))

    def save(self, folder: str | Path) -> None:
        """Write mask.npz, pathways.tsv, genes.txt and gene_sets.gmt into `folder`: all or none."""
        folder = Path(folder)
        with ExitStack() as stack:
            mask, pathways, genes, gene_sets = (
                stack.enter_context(whole_file(folder / name)) for name in _FILES
            )
            sparse.save_npz(mask, self.matrix)
            write_tsv(self.table, pathways, digits=EXACT)
            genes.write_text("".join(f"{gene}\n" for gene in self.genes), encoding="utf-8")
            write_gmt(self.gene_sets, gene_sets)

    @classmethod
    def load(cls, folder: str | Path) -> Mask:
        """Read what :meth:`save` wrote.

        Raises
        ------
        InputError
            If a file is absent or damaged, or the files do not belong together.
        """
        folder = Path(folder)
        remedy = f"Make the mask again (delete the folder '{folder}' and run the pipeline)."
        for name in _FILES:
            if not (folder / name).is_file():
                raise InputError(f"'{folder}' is not a mask: there is no file '{name}'. {remedy}")
        try:
            matrix = sparse.csc_array(sparse.load_npz(folder / "mask.npz"), dtype=bool)
            genes = (folder / "genes.txt").read_text(encoding="utf-8").split("\n")[:-1]
        except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
            raise InputError(f"the mask in '{folder}' cannot be read: {error}. {remedy}") from error
        table = read_tsv(folder / "pathways.tsv", PATHWAY_COLUMNS, made_by="mask")
        with intact(folder / _GENE_SETS, "mask"):
            gene_sets = read_gmt(folder / _GENE_SETS, may_be_empty=True)
        fits = matrix.shape == (len(genes), len(table)) and len(set(genes)) == len(genes)
        if not fits or not np.array_equal(_column_sums(matrix), table["overlap"]):
            raise InputError(
                f"the files of the mask in '{folder}' do not belong together: mask.npz is "
                f"{matrix.shape[0]} genes x {matrix.shape[1]} tokens, genes.txt lists "
                f"{len(genes)} genes, pathways.tsv {len(table)} tokens, and the numbers of "
                f"genes per token must agree too. {remedy}"
            )
        return cls(genes, list(table["name"]), matrix, table, gene_sets)


def build_mask(
    kind: MaskKind,
    genes: Sequence[str],
    *,
    gene_sets: Mapping[str, GeneSet] | None = None,
    background: Sequence[str] | None = None,
    min_genes: int = 5,
    max_genes: int = 300,
    max_pathways: int = 300,
    rank_by: RankBy = "enrichment",
    drop_duplicates: bool = True,
    n_fully_connected: int = 0,
    uncovered_token: bool = False,
    n_tokens: int | None = None,
    density: float | None = None,
    seed: int = 0,
) -> Mask:
    """Make the mask from genes to tokens.

    Only "pathways" and "modules" need gene sets. The others take their number of tokens (and the
    sizes of "random") from them, so that masks are compared at equal size; where there are none, or
    none has enough of the genes, there are `max_pathways` tokens, and those of "random" see each
    gene with the chance :data:`RANDOM_DENSITY`.

    Parameters
    ----------
    kind
        "pathways": the gene sets that :func:`select_pathways` chooses.
        "modules": the same of :func:`plkd.pathways.modules.gene_modules`, the largest first; of
        no enrichment, for they are made of the selected genes.
        "random": the same pathways with the genes traded between them at random: each keeps its
        size and each gene the number of pathways it is in, only the grouping is lost. With
        `density`, each entry by chance instead (the authors' code: 0.015).
        "dense": every token sees every gene.
    genes
        Selected genes of the reference: the rows of the mask.
    gene_sets
        Any spelling; see :func:`plkd.pathways.gene_sets.spell_as`.
    background, min_genes, max_genes, max_pathways, rank_by, drop_duplicates
        See :func:`select_pathways`; `background` defaults to `genes`.
    n_fully_connected
        Further tokens that see every gene (the authors' code has one, "node 0").
    uncovered_token
        One more token, :data:`UNCOVERED`, for the genes that no other token sees: the model has all
        genes, and those of a pathway act through pathways alone.
    n_tokens
        Number of tokens of "dense" and of "random" with `density`. Default: see above.
    density
        Share of genes per token, only for "random".
    seed
        Of the random mask.

    Raises
    ------
    InputError
        If the settings contradict each other, or, for "pathways", as :func:`select_pathways`.
    """
    genes = list(genes)
    background = genes if background is None else background
    _check_mask_settings(kind, n_fully_connected, n_tokens, density)
    check_gene_list(genes, background)
    from_sets = kind in ("pathways", "modules")
    if from_sets and not gene_sets:
        raise InputError(
            "the mask 'pathways' needs gene sets (a GMT file); without any, choose 'modules' "
            "(genes that go together in the reference), 'dense' or 'random'."
            if kind == "pathways"
            else "no genes go together in the reference, of which too few vary: choose the mask "
            "'dense'."
        )
    spelled = spell_as(gene_sets or {}, background)
    usable = usable_gene_sets(spelled, genes, min_genes, max_genes)
    table = None
    if from_sets or (usable and n_tokens is None):
        table = select_pathways(
            spelled,
            genes,
            background,
            min_genes=min_genes,
            max_genes=max_genes,
            max_pathways=max_pathways,
            rank_by="coverage" if kind == "modules" else rank_by,
            drop_duplicates=drop_duplicates,
        )
        if kind == "modules":
            table[["p_value", "adjusted_p_value"]] = np.nan
    elif n_tokens is None:
        n_tokens = max_pathways
        density = RANDOM_DENSITY if kind == "random" and density is None else density
        logger.warning(
            "the mask '%s' has %d tokens (max_pathways)%s, because %s",
            kind,
            n_tokens,
            f" that see each gene with chance {density}" if density is not None else "",
            f"none of the {len(spelled)} gene sets has {min_genes} of the genes"
            if spelled
            else "there are no gene sets to take their number from",
        )
    tokens = _tokens(kind, genes, table, spelled, n_tokens, density, np.random.default_rng(seed))
    table, members = _with_further_tokens(*tokens, len(genes), n_fully_connected, uncovered_token)
    twice = table["name"][table["name"].duplicated()]
    if len(twice):
        raise InputError(
            f"a gene set is called '{twice.iloc[0]}', which is the name of another token: rename "
            "it in the GMT file."
        )
    return Mask(genes, list(table["name"]), _to_matrix(members, len(genes)), table, usable)


def _tokens(
    kind: MaskKind,
    genes: Sequence[str],
    pathways: pd.DataFrame | None,
    gene_sets: Mapping[str, GeneSet],
    n_tokens: int | None,
    density: float | None,
    random: np.random.Generator,
) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """Table and genes (row numbers) of the tokens, made from pathways or as many as asked for."""
    n_genes = len(genes)
    n_tokens = len(pathways) if pathways is not None else n_tokens or 0
    if kind == "dense":
        members = [np.arange(n_genes)] * n_tokens
        return _plain_table(
            _numbered("dense", members), "sees every gene", members, n_genes
        ), members
    if density is not None:
        members = [_some_genes(n_genes, density, random) for _ in range(n_tokens)]
        about = f"genes drawn with chance {density}"
        return _plain_table(_numbered("random", members), about, members, n_genes), members
    assert pathways is not None
    members = _members(genes, [gene_sets[name] for name in pathways["name"]])
    if kind in ("pathways", "modules"):
        return pathways, members
    members = _trade_genes(members, random)
    regrouped = [f"as many genes as {name}, regrouped at random" for name in pathways["name"]]
    return _plain_table(_numbered("random", members), regrouped, members, n_genes), members


def _with_further_tokens(
    table: pd.DataFrame,
    members: list[np.ndarray],
    n_genes: int,
    n_fully_connected: int,
    uncovered_token: bool,
) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """Add the tokens that see every gene, and the one for what no other sees."""
    others = [np.arange(n_genes)] * n_fully_connected
    names, about = _numbered("fully_connected", others), ["sees every gene"] * len(others)
    if uncovered_token:
        uncovered = np.setdiff1d(np.arange(n_genes), np.concatenate(members + others))
        if len(uncovered):
            others.append(uncovered)
            names.append(UNCOVERED)
            about.append("genes that no gene set covers")
    if not others:
        return table, members
    further = _plain_table(names, about, others, n_genes)
    further["rank"] += len(table)
    return pd.concat([table, further], ignore_index=True), members + others


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

    Two pathways put the genes that only one of them has into a pool and draw as many back.
    """
    sets = [set(rows.tolist()) for rows in members]
    n_trades = _TRADES_PER_PATHWAY * len(sets) if len(sets) > 1 else 0
    for _ in range(n_trades):
        a, b = random.choice(len(sets), size=2, replace=False)
        shared, only_a = sets[a] & sets[b], sets[a] - sets[b]
        pool = random.permutation(sorted(sets[a] ^ sets[b])).tolist()
        sets[a] = shared.union(pool[: len(only_a)])
        sets[b] = shared.union(pool[len(only_a) :])
    return [np.array(sorted(genes)) for genes in sets]


def _numbered(stem: str, members: Sequence[np.ndarray]) -> list[str]:
    return [f"{stem}_{i}" for i in range(1, len(members) + 1)]


def _plain_table(
    names: list[str], description: str | list[str], members: Sequence[np.ndarray], n_genes: int
) -> pd.DataFrame:
    """Give the table of tokens that no gene set stands behind."""
    sizes = np.array([len(rows) for rows in members])
    return pd.DataFrame(
        {
            "name": names,
            "description": description,
            "size": sizes,
            "measured": sizes,
            "overlap": sizes,
            "coverage": sizes / n_genes,
            "p_value": np.nan,
            "adjusted_p_value": np.nan,
            "rank": np.arange(1, len(members) + 1),
            "duplicates": "",
        }
    )


def _check_mask_settings(
    kind: str, n_fully_connected: int, n_tokens: int | None, density: float | None
) -> None:
    if kind not in get_args(MaskKind):
        raise InputError(f"mask settings: kind is '{kind}'; choose one of {get_args(MaskKind)}.")
    if n_fully_connected < 0 or (n_tokens is not None and n_tokens < 1):
        raise InputError(
            f"mask settings: found n_fully_connected={n_fully_connected}, n_tokens={n_tokens}; "
            "expected n_fully_connected >= 0 and n_tokens >= 1 (or null)."
        )
    if density is not None and (kind != "random" or not 0 < density <= 1):
        raise InputError(
            f"mask settings: density is {density} with the mask '{kind}'; expected a share above 0 "
            "and at most 1, and only with the mask 'random'."
        )
    if n_tokens is not None and kind != "dense" and density is None:
        raise InputError(
            f"mask settings: n_tokens does not apply to the mask '{kind}', whose number of "
            "pathways comes from the gene sets; use max_pathways."
        )
