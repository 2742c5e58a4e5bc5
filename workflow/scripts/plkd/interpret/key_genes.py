"""Genes of a label: ranked by the Student's attributions, and confirmed by the Teacher's networks.

A gene may speak for a label by its absence (no CD3D: not a T cell), and such genes are among the
largest attributions. The ranks are the paper's, over all genes; `present_rank` beside them is over
the genes that the label expresses, among which markers are looked for.

The *Student's pool* of a label is the genes with the largest mean absolute attribution over cells
predicted as the label (paper, section 2.4), the *Teacher's pool* the genes of the label's
co-expression network. *Key genes* are in both, ranked by attribution (Figure 5).

The text takes ten genes for the Student's pool when it names a label's genes, and does not say how
many enter the intersection. The Teacher's pool has at most 20 genes, of 2,000: with ten genes of
the Student most intersections are empty. The default is 100 genes (:data:`POOL_SIZE`), so that by
chance one gene of 2,000 would be shared; :func:`pool_sizes` counts the shared ones for other sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import comb

import numpy as np
import pandas as pd

from plkd.interpret.attributed_cells import AttributedCells
from plkd.utils.tables import Columns

TOP_GENES = 10
POOL_SIZE = 100
SIZES = (10, 20, 50, 100, 200, 500)

GENE_COLUMNS: Columns = {
    "label": str,
    "gene": str,
    "cells": int,
    "mean_abs_attribution": float,
    "mean_attribution": float,
    "mean_expression": float,
    "background_expression": float,
    "present": bool,
    "rank": int,
    "present_rank": "Int64",
    "top": bool,
}
"""Columns of :func:`gene_table`."""

KEY_GENE_COLUMNS: Columns = {
    "label": str,
    "gene": str,
    "key": bool,
    "in_attribution": bool,
    "in_network": bool,
    "attribution_rank": "Int64",
    "mean_abs_attribution": float,
    "mean_attribution": float,
    "present": "boolean",
    "q": float,
    "network_rank": "Int64",
    "marker": "boolean",
}
"""Columns of :func:`key_genes`."""

POOL_COLUMNS: Columns = {
    "label": str,
    "pool_size": int,
    "network_genes": int,
    "shared": int,
    "expected": float,
    "p_value": float,
}
"""Columns of :func:`pool_sizes`."""

STABILITY_COLUMNS: Columns = {
    "label": str,
    "top": int,
    "runs": int,
    "jaccard": float,
    "lowest": float,
    "highest": float,
    "chance": float,
    "in_all": str,
}
"""Columns of :func:`stability`."""


def gene_table(attributed: AttributedCells) -> pd.DataFrame:
    """Rank the genes of every predicted label by their attributions.

    Returns
    -------
    DataFrame
        `label`; `gene`; `cells` (how many were attributed); `mean_abs_attribution` (mean of the
        absolute attribution, in units of the logit) and `mean_attribution`; `mean_expression` of
        these cells and `background_expression`; `present` (True: the label expresses the gene more
        than the background does; False: the label is known by the gene's absence); `rank` by
        `mean_abs_attribution` from 1; `present_rank`, the rank among the genes that are present
        (missing for the others); `top` (the first ten by `rank`). Genes that add nothing are left
        out.
    """
    tables = []
    for code, label in enumerate(attributed.labels):
        chosen = attributed.codes == code
        if not chosen.any():
            continue
        values = attributed.values[chosen]
        expression = np.asarray(attributed.cells[chosen].mean(axis=0)).ravel()
        table = pd.DataFrame(
            {
                "label": label,
                "gene": attributed.genes,
                "cells": int(chosen.sum()),
                "mean_abs_attribution": abs(values).mean(axis=0, dtype=np.float64),
                "mean_attribution": values.mean(axis=0, dtype=np.float64),
                "mean_expression": expression,
                "background_expression": attributed.background_mean,
                "present": expression > attributed.background_mean,
            }
        )
        table = table[table["mean_abs_attribution"] > 0]
        table = table.sort_values("mean_abs_attribution", ascending=False, kind="stable")
        table["rank"] = np.arange(1, len(table) + 1)
        table["present_rank"] = table["present"].cumsum().where(table["present"]).astype("Int64")
        tables.append(table)
    joined = pd.concat(tables, ignore_index=True)
    return joined.assign(top=joined["rank"] <= TOP_GENES)


def key_genes(
    genes: pd.DataFrame,
    network: pd.DataFrame,
    markers: Mapping[str, Sequence[str]] | None = None,
    *,
    pool_size: int = POOL_SIZE,
) -> pd.DataFrame:
    """Join the pools of Student and Teacher.

    Parameters
    ----------
    genes
        As of :func:`gene_table`.
    network
        The Teacher's pool: `label`, `gene`, `q`, `rank` (network_genes.tsv).
    markers
        Known markers of labels, by the labels' names here.
    pool_size
        Size of the Student's pool.

    Returns
    -------
    DataFrame
        The union of both pools: `label`, `gene`, `key` (in both), `in_attribution`, `in_network`,
        `attribution_rank`, `mean_abs_attribution`, `mean_attribution`, `present`, `q`,
        `network_rank`, `marker`. Key genes come first, by attribution, then the Student's, then
        the Teacher's. `marker` is empty where the label has no list.
    """
    student = genes[
        ["label", "gene", "rank", "mean_abs_attribution", "mean_attribution", "present"]
    ]
    student = student.rename(columns={"rank": "attribution_rank"})
    teacher = network[["label", "gene", "q", "rank"]].rename(columns={"rank": "network_rank"})
    teacher = teacher[teacher["label"].isin(genes["label"])]
    joined = student.merge(teacher, on=["label", "gene"], how="outer")
    joined["in_attribution"] = joined["attribution_rank"] <= pool_size
    joined["in_network"] = joined["network_rank"].notna()
    joined["key"] = joined["in_attribution"] & joined["in_network"]
    joined = joined[joined["in_attribution"] | joined["in_network"]]
    marked = [
        pd.NA if label not in (markers or {}) else gene in set((markers or {})[label])
        for label, gene in joined[["label", "gene"]].itertuples(index=False)
    ]
    joined["marker"] = pd.array(marked, dtype="boolean")
    order = pd.Index(genes["label"].unique())
    joined["place"] = order.get_indexer(pd.Index(joined["label"]))
    joined = joined.sort_values(
        ["place", "key", "in_attribution", "attribution_rank", "network_rank"],
        ascending=[True, False, False, True, True],
        kind="stable",
    )
    for name in ("attribution_rank", "network_rank"):
        joined[name] = joined[name].astype("Int64")
    return joined[list(KEY_GENE_COLUMNS)].reset_index(drop=True)


def pool_sizes(genes: pd.DataFrame, network: pd.DataFrame, n_genes: int) -> pd.DataFrame:
    """How many genes both pools share, for several sizes of the Student's.

    Parameters
    ----------
    genes, network
        As of :func:`key_genes`.
    n_genes
        Genes of the models.

    Returns
    -------
    DataFrame
        `label`, `pool_size`, `network_genes`, `shared`, `expected` (by chance) and `p_value` (of
        so many or more, hypergeometric).
    """
    rows = []
    for label, table in genes.groupby("label", sort=False):
        pool = set(network.loc[network["label"] == label, "gene"])
        for size in sorted({min(size, n_genes) for size in SIZES}):
            shared = len(pool & set(table.loc[table["rank"] <= size, "gene"]))
            rows.append(
                {
                    "label": label,
                    "pool_size": size,
                    "network_genes": len(pool),
                    "shared": shared,
                    "expected": len(pool) * size / n_genes,
                    "p_value": _chance_of(shared, n_genes, len(pool), size),
                }
            )
    return pd.DataFrame(rows)


def stability(tables: Mapping[str, pd.DataFrame], n_genes: int) -> pd.DataFrame:
    """How alike the top genes of runs are that differ by their seed.

    Parameters
    ----------
    tables
        :func:`gene_table` of every run.
    n_genes
        Genes of the models, for the Jaccard index that chance gives.

    Returns
    -------
    DataFrame
        For every label and for 10, 20 and 50 top genes: `label`, `top`, `runs` (with the label),
        `jaccard` (mean over pairs of runs), `lowest`, `highest`, `chance` and `in_all` (genes that
        are among the top of every run, best first). Labels of a single run are left out.
    """
    rows = []
    labels = dict.fromkeys(label for table in tables.values() for label in table["label"].unique())
    for label in labels:
        ranked = [
            table[table["label"] == label].sort_values("rank")["gene"].tolist()
            for table in tables.values()
        ]
        ranked = [genes for genes in ranked if genes]
        if len(ranked) < 2:
            continue
        for top in (10, 20, 50):
            tops = [set(genes[:top]) for genes in ranked]
            indices = [len(a & b) / len(a | b) for a, b in combinations(tops, 2)]
            shared = set.intersection(*tops)
            expected = min(top, n_genes) ** 2 / n_genes
            rows.append(
                {
                    "label": label,
                    "top": top,
                    "runs": len(ranked),
                    "jaccard": float(np.mean(indices)),
                    "lowest": min(indices),
                    "highest": max(indices),
                    "chance": expected / (2 * min(top, n_genes) - expected),
                    "in_all": ";".join(gene for gene in ranked[0] if gene in shared),
                }
            )
    return pd.DataFrame(rows, columns=list(STABILITY_COLUMNS))


def _chance_of(shared: int, n_genes: int, pool: int, size: int) -> float:
    """Chance that so many genes of a pool, or more, are among `size` genes drawn (hypergeometric).

    The whole numbers are exact, and importing scipy.stats takes longer than all key genes.
    """
    most = min(pool, size)
    ways = (comb(pool, k) * comb(n_genes - pool, size - k) for k in range(shared, most + 1))
    return sum(ways) / comb(n_genes, size)
