"""Gene sets: GMT files, spelling of gene names, over-representation, choice of pathways."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from plkd.errors import InputError
from plkd.io.genes import match_genes
from plkd.utils.files import whole_file
from plkd.utils.logs import logger
from plkd.utils.resources import resource
from plkd.utils.tables import Columns
from plkd.utils.text import listed

RankBy = Literal["enrichment", "coverage"]

SHIPPED = "resources/gene_sets/blood_programmes.gmt"
FITTING_SHARE, FITTING_SETS = 1 / 6, 10
"""When the gene sets of the library are used without being asked for (:func:`choose_gene_sets`)."""

PATHWAY_COLUMNS: Columns = {
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
"""Columns of the table of pathways (:func:`select_pathways`)."""


@dataclass(frozen=True)
class GeneSet:
    """A named list of genes: one line of a GMT file.

    Attributes
    ----------
    name
        Unique within a collection.
    description
        Free text, often a web address; may be empty.
    genes
        Symbols in the order of the file, each once.
    """

    name: str
    description: str
    genes: tuple[str, ...]


def read_gmt(path: str | Path, *, may_be_empty: bool = False) -> dict[str, GeneSet]:
    """Read a GMT file, plain or gzipped: name, description and genes, separated by tabs.

    Blank lines are left out, a gene named twice in a set counts once, sets without genes are left
    out with a warning, and the weights of some Enrichr libraries ("CD3D,1.0") are cut off.

    Returns
    -------
    Gene sets by name, in the order of the file.

    Raises
    ------
    InputError
        If the file is absent, is not text, has a line that is not a gene set, uses a name twice,
        or has no gene set at all and that is not allowed (`may_be_empty`).
    """
    gene_sets: dict[str, GeneSet] = {}
    first_seen: dict[str, int] = {}
    empty: list[str] = []
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        name, *rest = (field.strip() for field in line.split("\t"))
        if not name or not rest:
            raise InputError(
                f"'{path}', line {number}, is not a gene set: expected name, description and genes "
                f"separated by tabs, found {_shorten(line.strip())!r}. Is this a GMT file?"
            )
        if name in first_seen:
            raise InputError(
                f"'{path}', line {number}: the gene set {name!r} is already on line "
                f"{first_seen[name]}. Rename or remove one of them."
            )
        first_seen[name] = number
        symbols = (field.split(",")[0].strip() for field in rest[1:])
        genes = tuple(dict.fromkeys(symbol for symbol in symbols if symbol))
        if genes:
            gene_sets[name] = GeneSet(name, rest[0], genes)
        else:
            empty.append(name)
    if empty:
        logger.warning(
            "%s: %d sets without genes left out (%s)", path, len(empty), listed(empty, 3)
        )
    if not gene_sets and not may_be_empty:
        raise InputError(f"'{path}' holds no gene set. Give a GMT file with at least one.")
    return gene_sets


def read_gmts(paths: Sequence[str | Path]) -> dict[str, GeneSet]:
    """Read several GMT files into one collection.

    A name that occurs in more than one file is made unique by the name of its file
    ("reactome:APOPTOSIS").

    Raises
    ------
    InputError
        As for :func:`read_gmt`; also if no file is given, or two files with clashing sets have the
        same name.
    """
    if not paths:
        raise InputError("no gene sets: give at least one GMT file under `gene_sets`.")
    collections = [(Path(path), read_gmt(path)) for path in paths]
    counts = Counter(name for _, sets in collections for name in sets)
    joined: dict[str, GeneSet] = {}
    for path, sets in collections:
        for name, gene_set in sets.items():
            unique = name if counts[name] == 1 else f"{path.name.split('.')[0]}:{name}"
            if unique in joined:
                raise InputError(
                    f"the gene set {name!r} of '{path}' is in another file of the same name. List "
                    "each GMT file once, and give different files different names."
                )
            joined[unique] = replace(gene_set, name=unique)
    return joined


def choose_gene_sets(
    genes: Sequence[str], *, min_genes: int = 5, max_genes: int = 300
) -> dict[str, GeneSet] | None:
    """Gene sets for data that come without any: those that come with the library, if they fit.

    They are programmes of blood cells. They fit if at least a sixth (:data:`FITTING_SHARE`) of the
    selected genes are in any of them, and at least ten (:data:`FITTING_SETS`) have `min_genes` of
    the selected genes. Of the variable genes of blood cells a fifth to three quarters are in a set,
    of all protein-coding genes a ninth, so that other tissues do not fit.

    Parameters
    ----------
    genes
        Selected genes of the reference.
    min_genes, max_genes
        As for :func:`select_pathways`.

    Returns
    -------
    The sets by name; or None, with a warning: then only a mask that needs none can be made (`kind`
    ``modules``, ``dense`` or ``random``, :func:`plkd.pathways.mask.build_mask`).
    """
    shipped = spell_as(read_gmt(resource(SHIPPED)), genes)
    usable = usable_gene_sets(shipped, genes, min_genes, max_genes)
    covered = len(set(genes).intersection({g for s in shipped.values() for g in s.genes}))
    found = (
        f"{covered:,} of the {len(genes):,} selected genes are in a set, and {len(usable)} of the "
        f"{len(shipped)} sets have at least {min_genes} of them"
    )
    if covered >= FITTING_SHARE * len(genes) and len(usable) >= FITTING_SETS:
        logger.info("no gene sets were given: using the blood programmes of plkd (%s)", found)
        return shipped
    logger.warning(
        "no gene sets were given, and the blood programmes that come with plkd do not fit (%s). "
        "Give gene sets of the tissue; without any, no token stands for a known pathway.",
        found,
    )
    return None


def write_gmt(gene_sets: Mapping[str, GeneSet], path: str | Path) -> None:
    """Write gene sets as a GMT file, whole or not at all."""
    lines = ("\t".join((s.name, s.description, *s.genes)) + "\n" for s in gene_sets.values())
    with whole_file(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def spell_as(gene_sets: Mapping[str, GeneSet], measured: Sequence[str]) -> dict[str, GeneSet]:
    """Spell the genes of the sets as the data do.

    Genes are found by the rule that holds for all files (:func:`plkd.io.genes.match_genes`): equal
    names, then names that differ by upper and lower case alone; Ensembl ids by their symbols. The
    others keep their names.

    Parameters
    ----------
    gene_sets
        The collection.
    measured
        Gene names of the data.
    """
    wanted = list(dict.fromkeys(gene for s in gene_sets.values() for gene in s.genes))
    places, overlap = match_genes(measured, wanted)
    spelled = {wanted[p]: gene for gene, p in zip(measured, places, strict=True) if p >= 0}
    changed = sum(gene != name for gene, name in spelled.items())
    if not changed:
        return dict(gene_sets)
    if 2 * changed > len(spelled):
        logger.log(
            logging.INFO if overlap.matched_by_id else logging.WARNING,
            "gene sets and data spell genes differently (%s; %s): %s%s",
            listed(wanted, 3),
            listed(measured, 3),
            overlap.describe(),
            "" if overlap.matched_by_id else ". Prefer gene sets of the same species.",
        )
    return {
        name: replace(s, genes=tuple(dict.fromkeys(spelled.get(gene, gene) for gene in s.genes)))
        for name, s in gene_sets.items()
    }


def usable_gene_sets(
    gene_sets: Mapping[str, GeneSet], genes: Collection[str], min_genes: int, max_genes: int
) -> dict[str, GeneSet]:
    """Sets of at most `max_genes` genes with at least `min_genes` of them among `genes`.

    The sets are spelled as the genes are (:func:`spell_as`).
    """
    known = set(genes)
    return {
        name: s
        for name, s in gene_sets.items()
        if len(s.genes) <= max_genes and len(known.intersection(s.genes)) >= min_genes
    }


def over_representation(
    genes: Collection[str], gene_sets: Mapping[str, GeneSet], background: Collection[str]
) -> pd.DataFrame:
    """Test each gene set for more genes of a list than chance puts there.

    One-sided hypergeometric test within the background, by :func:`gseapy.enrich`. That leaves out
    the sets that share no gene with the list and so corrects for too few tests; here they are kept
    (p = 1) and count.

    Parameters
    ----------
    genes
        The gene list; genes outside the background do not count.
    gene_sets
        The sets to test.
    background
        All genes that could have been in the list.

    Returns
    -------
    One row per set, in the given order: name, measured (genes of the set in the background),
    overlap (genes of the set in the list), p_value, adjusted_p_value (Benjamini-Hochberg over all
    rows).
    """
    import gseapy
    from scipy.stats import false_discovery_control

    universe = set(background)
    chosen = universe & set(genes)
    members = {name: universe.intersection(s.genes) for name, s in gene_sets.items()}
    p_values = dict.fromkeys(members, 1.0)
    hit = {name: found for name, found in members.items() if found & chosen}
    if hit and chosen != universe:  # with every gene in the list each set is there for certain
        # gseapy has rules of its own for case and numbers; names of ours keep it from using them.
        code = {gene: f"G{i}" for i, gene in enumerate(sorted(universe))}
        tested = gseapy.enrich(
            gene_list=sorted(code[gene] for gene in chosen),
            gene_sets={name: [code[gene] for gene in found] for name, found in hit.items()},
            background=list(code.values()),
            outdir=None,
            no_plot=True,
        ).results
        p_values.update(zip(tested["Term"], tested["P-value"].astype(float), strict=True))
    table = pd.DataFrame(
        {
            "name": list(members),
            "measured": [len(found) for found in members.values()],
            "overlap": [len(found & chosen) for found in members.values()],
            "p_value": [p_values[name] for name in members],
        }
    )
    adjusted = false_discovery_control(table["p_value"]) if len(table) else []
    return table.assign(adjusted_p_value=adjusted)


def select_pathways(
    gene_sets: Mapping[str, GeneSet],
    genes: Sequence[str],
    background: Sequence[str],
    *,
    min_genes: int = 5,
    max_genes: int = 300,
    max_pathways: int = 300,
    rank_by: RankBy = "enrichment",
    drop_duplicates: bool = True,
) -> pd.DataFrame:
    """Choose the gene sets that become pathway tokens.

    Sets of at most `max_genes` genes with at least `min_genes` of them in the gene list are ranked,
    and the first `max_pathways` are kept. Ties go to the larger overlap, then to the name. The
    defaults are the authors' (at most 300 genes, more than 4 in the list, 300 pathways).

    Parameters
    ----------
    gene_sets
        The collection, spelled as the data are (:func:`spell_as`).
    genes
        Selected genes of the reference: the gene list. Each once, all of them in `background`.
    background
        All measured genes.
    min_genes, max_genes, max_pathways
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
    One row per pathway, best first: name, description, size (genes of the set in total), measured
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
    _check_limits(min_genes, max_genes, max_pathways, rank_by)
    check_gene_list(genes, background)
    chosen = set(genes)
    candidates = usable_gene_sets(gene_sets, background, min_genes, max_genes)
    tested = over_representation(genes, candidates, background)
    usable = tested[tested["overlap"] >= min_genes]
    if usable.empty:
        raise _no_pathway(gene_sets, genes, background, min_genes, max_genes)
    by = ["p_value", "overlap", "name"] if rank_by == "enrichment" else ["overlap", "name"]
    usable = usable.sort_values(by, ascending=[column != "overlap" for column in by])

    first_with: dict[frozenset[str], str] = {}
    duplicates: dict[str, list[str]] = {}
    for name in usable["name"]:
        found = frozenset(chosen.intersection(candidates[name].genes))
        first = first_with.setdefault(found, name) if drop_duplicates else name
        duplicates.setdefault(first, []).extend([name] if first != name else [])
    table = usable[usable["name"].isin(duplicates)].head(max_pathways)
    logger.info(
        f"{len(gene_sets)} gene sets: {len(usable)} of at most {max_genes} genes with at least "
        f"{min_genes} selected ones, {len(usable) - len(duplicates)} of them with just the genes "
        f"of another, {len(table)} kept"
    )
    table = table.assign(
        description=[candidates[name].description for name in table["name"]],
        size=[len(candidates[name].genes) for name in table["name"]],
        coverage=table["overlap"] / len(genes),
        rank=np.arange(1, len(table) + 1),
        duplicates=["; ".join(duplicates[name]) for name in table["name"]],
    )
    return table[list(PATHWAY_COLUMNS)].reset_index(drop=True)


def _read_text(path: str | Path) -> str:
    try:
        content = Path(path).read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"the gene sets '{path}' cannot be read: {error}. Check the path; if it was "
            "downloaded, download it again."
        ) from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InputError(
            f"'{path}' is not a GMT file: it is not text. Expected lines of name, description and "
            "genes, separated by tabs; plain or gzipped."
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _shorten(text: str, n: int = 60) -> str:
    return text if len(text) <= n else text[: n - 2] + ".."


def _check_limits(min_genes: int, max_genes: int, max_pathways: int, rank_by: str) -> None:
    if min_genes < 1 or max_genes < min_genes or max_pathways < 1:
        raise InputError(
            f"mask settings: found min_genes={min_genes}, max_genes={max_genes}, max_pathways="
            f"{max_pathways}; expected 1 <= min_genes <= max_genes and max_pathways >= 1."
        )
    if rank_by not in ("enrichment", "coverage"):
        raise InputError(
            f"mask settings: rank_by is '{rank_by}'; choose 'enrichment' or 'coverage'."
        )


def check_gene_list(genes: Sequence[str], background: Sequence[str]) -> None:
    """Refuse a gene list that is empty, repeats a gene or is not part of the background.

    Raises
    ------
    InputError
    """
    if not len(genes) or len(set(genes)) != len(genes):
        raise InputError(
            f"the gene list must name at least one gene and each gene once; found {len(genes)} "
            f"names, {len(set(genes))} different ones."
        )
    outside = sorted(set(genes) - set(background))
    if outside:
        raise InputError(
            f"{len(outside)} of the {len(genes)} selected genes are not among the "
            f"{len(set(background))} measured genes ({listed(outside, 3)}). The background must "
            "list every measured gene, the selected ones among them."
        )


def _no_pathway(
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
        f"no pathway: none of the {len(gene_sets)} gene sets has at most {max_genes} genes and at "
        f"least {min_genes} of the {len(genes)} selected genes (the best has {best}). Of the "
        f"{len(wanted)} genes in the sets {n_measured} are measured and {n_selected} selected. "
        f"Genes in the sets look like {listed(sorted(wanted), 3)}; genes in the data like "
        f"{listed(genes, 3)}. "
        + (
            "Use gene sets with the same kind of names (symbols or Ensembl ids) and of the same "
            "species as the data."
            if n_measured < min_genes
            else "Use other gene sets, select more genes (prepare: n_genes), lower min_genes or "
            "raise max_genes."
        )
    )
