"""Pathways of the Teacher as gene sets, and the names of these (paper, section 2.4).

P_j weighs the genes of pathway j (:func:`plkd.interpret.pathway_scores.pathway_weights`). A gene
belongs to the pathway where ``|P_j|`` lies above its mean over all genes of the model, as in the
text, but for the sign: a gene that lowers the score is as much part of what the token tells apart
as one that raises it. With a mask the many zeros outside pull the mean down, so nearly the whole
pathway belongs; then a name that is not that of the pathway says that tokens, genes and names have
been mixed up. Without a mask the mean is what makes the choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from plkd.pathways.gene_sets import GeneSet, over_representation
from plkd.utils.progress import ProgressBar
from plkd.utils.tables import Columns

PATHWAY_NAME_COLUMNS: Columns = {
    "pathway": str,
    "name": str,
    "variance_share": float,
    "genes": int,
    "best_match": str,
    "best_overlap": "Int64",
    "best_size": "Int64",
    "p_value": float,
    "adjusted_p_value": float,
    "origin_rank": "Int64",
    "origin_ties": "Int64",
    "origin_p_value": float,
    "origin_likeness": float,
}
"""Columns of pathways.tsv: :func:`name_pathways` and the share of variance of their scores."""
PATHWAY_GENE_COLUMNS: Columns = {"pathway": str, "gene": str, "weight": float}
"""Columns of :func:`pathway_genes`."""

# A name is given to a learnt pathway up to this adjusted p-value.
SIGNIFICANT = 0.05


def pathway_genes(
    weights: sparse.csc_array, genes: Sequence[str], pathways: Sequence[str]
) -> pd.DataFrame:
    """Genes of every pathway and their weights.

    Parameters
    ----------
    weights
        P, (genes, tokens), stored inside the mask only.
    genes, pathways
        Names of its rows and columns.

    Returns
    -------
    DataFrame
        `pathway`, `gene`, `weight` (P: above zero, the gene raises the pathway's score; below, it
        lowers it), pathway after pathway, the largest weight first, ties by name. Where no gene
        lies above the mean (all alike) all genes that the token sees.
    """
    names = np.asarray(genes, dtype=object)
    parts = []
    for position, pathway in enumerate(pathways):
        inside = slice(weights.indptr[position], weights.indptr[position + 1])
        values, found = weights.data[inside], names[weights.indices[inside]]
        size = np.abs(values)
        above = size > size.sum() / len(genes)
        if not above.any():
            above[:] = True
        part = pd.DataFrame({"pathway": pathway, "gene": found[above], "weight": values[above]})
        parts.append(part.sort_values(["weight", "gene"], ascending=[False, True], kind="stable"))
    return pd.concat(parts, ignore_index=True)


def name_pathways(
    members: pd.DataFrame,
    genes: Sequence[str],
    gene_sets: Mapping[str, GeneSet],
    *,
    progress: bool = True,
) -> pd.DataFrame:
    """Find the gene set that every pathway looks most like.

    Over-representation (:func:`plkd.pathways.gene_sets.over_representation`) of the pathway's
    genes against all genes of the model; p-values are adjusted over all sets and all pathways
    together.

    Parameters
    ----------
    members
        Genes of the pathways (:func:`pathway_genes`).
    genes
        Genes of the model.
    gene_sets
        What may be found, spelled as `genes` (:attr:`plkd.pathways.mask.Mask.gene_sets`).
    progress
        Show a progress bar.

    Returns
    -------
    DataFrame
        One row per pathway: `pathway`; `name`, the gene set it was made from, or else the best
        match if it is significant, or else the pathway; `genes` (how many), `best_match`,
        `best_overlap`, `best_size` (its genes in the model), `p_value`, `adjusted_p_value`; and,
        where the origin is among the gene sets, `origin_rank` (1 + sets with a smaller p-value),
        `origin_ties` (other sets with the same), `origin_p_value`, `origin_likeness` (Jaccard index
        of origin and best match).
    """
    known = set(genes)
    sets = {
        str(pathway): list(part["gene"]) for pathway, part in members.groupby("pathway", sort=False)
    }
    tests = [
        over_representation(chosen, gene_sets, genes)
        for chosen in ProgressBar(
            sets.values(),
            desc="naming pathways",
            unit="pathway",
            disable=not progress,
        )
    ]
    adjusted = _adjust_together([test["p_value"].to_numpy() for test in tests])
    rows: list[dict[str, Any]] = []
    for position, (pathway, test) in enumerate(zip(sets, tests, strict=True)):
        row: dict[str, Any] = {
            "pathway": pathway,
            "name": pathway,
            "genes": len(sets[pathway]),
        }
        if len(test):
            p = test["p_value"].to_numpy()
            # of sets with the same p-value the origin first, then the one that is hit most
            order = np.lexsort((test["name"], -test["overlap"], test["name"] != pathway, p))
            best = test.iloc[order[0]]
            row |= {
                "best_match": best["name"],
                "best_overlap": int(best["overlap"]),
                "best_size": int(best["measured"]),
                "p_value": float(p[order[0]]),
                "adjusted_p_value": float(adjusted[position][order[0]]),
            }
            if pathway in gene_sets:
                own = p[list(test["name"]).index(pathway)]
                row |= {
                    "origin_rank": 1 + int((p < own).sum()),
                    "origin_ties": int((p == own).sum()) - 1,
                    "origin_p_value": float(own),
                    "origin_likeness": _jaccard(
                        *(
                            known.intersection(gene_sets[name].genes)
                            for name in (pathway, best["name"])
                        )
                    ),
                }
            elif row["adjusted_p_value"] < SIGNIFICANT:
                row["name"] = best["name"]
        rows.append(row)
    columns = [
        "pathway", "name", "genes", "best_match", "best_overlap", "best_size", "p_value",
        "adjusted_p_value", "origin_rank", "origin_ties", "origin_p_value", "origin_likeness",
    ]  # fmt: skip
    counts = ["best_overlap", "best_size", "origin_rank", "origin_ties"]
    named = pd.DataFrame(rows).reindex(columns=columns)
    return named.astype(dict.fromkeys(counts, "Int64"))


def summarise_names(named: pd.DataFrame) -> dict[str, Any]:
    """Say how well the pathways of a Teacher can be named.

    Returns
    -------
    dict
        `pathways`; `with_origin` (made from a gene set) and of these `origin_first` (no set has a
        smaller p-value), `origin_alone_first` (nor the same), `origin_first_share`,
        `likeness_of_others` (median Jaccard index of origin and best match where the origin is not
        first); of the others, `learnt`, those with a significant name, `learnt_named`.
    """
    made = named[named["origin_rank"].notna()]
    first = made["origin_rank"] == 1
    learnt = named[named["origin_rank"].isna()]
    likeness = made.loc[~first, "origin_likeness"].median()
    return {
        "pathways": len(named),
        "with_origin": len(made),
        "origin_first": int(first.sum()),
        "origin_alone_first": int((first & (made["origin_ties"] == 0)).sum()),
        "origin_first_share": float(first.mean()) if len(made) else None,
        "likeness_of_others": None if np.isnan(likeness) else float(likeness),
        "learnt": len(learnt),
        "learnt_named": int((learnt["adjusted_p_value"] < SIGNIFICANT).sum()),
    }


def _adjust_together(p_values: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Benjamini-Hochberg over several arrays of p-values as one family."""
    from scipy.stats import false_discovery_control

    lengths = [len(p) for p in p_values]
    joined = np.concatenate(p_values) if p_values else np.empty(0)
    adjusted = false_discovery_control(joined) if len(joined) else joined
    return np.split(adjusted, np.cumsum(lengths)[:-1])


def _jaccard(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)
