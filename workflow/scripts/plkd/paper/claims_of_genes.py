"""Claims on the genes that explain a label."""

from __future__ import annotations

import pandas as pd

from plkd.interpret.key_genes import TOP_GENES
from plkd.paper.verdicts import OPEN, Evidence, Verdict, judged


def key_genes(evidence: Evidence) -> Verdict:
    table, missing = _explained(evidence)
    if table.empty:
        return OPEN, "the data set is not in this run, or its labels were not explained"
    found = _in_most_runs(table)
    counts = zip(table["gene"], table["key"], table["runs"], strict=True)
    said = ", ".join(f"{gene} {int(key)}/{runs}" for gene, key, runs in counts)
    text = (
        f"{found.sum()} of {len(found)} named genes are key genes in most runs, to hold half of "
        f"them; runs in which they are: {said}"
    )
    return judged(found.mean() >= 0.5, text, missing)


def markers_on_top(evidence: Evidence) -> Verdict:
    table, missing = _explained(evidence)
    if table.empty:
        return OPEN, "the data set is not in this run, or its labels were not explained"
    on_top = _in_most_runs(table) & (table["attribution_rank"] <= TOP_GENES)
    ranks = zip(table["gene"], table["attribution_rank"], strict=True)
    said = ", ".join(f"{gene} {'-' if pd.isna(rank) else f'{rank:g}'}" for gene, rank in ranks)
    text = (
        f"{on_top.sum()} of {len(on_top)} named genes are key genes in most runs and among the "
        f"Student's first {TOP_GENES}, to hold half of them; median ranks: {said}"
    )
    return judged(on_top.mean() >= 0.5, text, missing)


def _in_most_runs(table: pd.DataFrame) -> pd.Series:
    """Whether a gene is a key gene in more than half of the runs; once may be chance."""
    return 2 * table["key"] > table["runs"]


def _explained(evidence: Evidence) -> tuple[pd.DataFrame, list[str]]:
    """The named genes of labels that were explained, and the labels that were not."""
    table = evidence.results["figure5"]
    ours = table[table["variant"] == evidence.variant]
    lacking = sorted(set(table["label"]) - set(ours["label"]))
    return ours, [f"{', '.join(lacking)}, not explained here"] if lacking else []
