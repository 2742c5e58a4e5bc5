"""Columns of tables that are read without the models: importing torch takes longer than reading."""

from __future__ import annotations

from plkd.utils.tables import Columns

LABEL_PATHWAY_COLUMNS: Columns = {
    "label": str,
    "pathway": str,
    "name": str,
    "rank": int,
    "top": bool,
    "score": float,
    "auroc": float,
    "cohen_d": float,
    "mean": float,
    "mean_other": float,
    "p_value": float,
    "adjusted_p_value": float,
    "attention": float,
    "attention_other": float,
    "attention_fold": float,
}
"""Columns of label_pathways.tsv: :func:`plkd.interpret.pathway_scores.rank_label_pathways`, and the
pathways' names."""

CENTRALITIES = ("degree", "betweenness", "eigenvector", "pagerank", "closeness")

NETWORK_COLUMNS: Columns = {
    "label": str,
    "gene": str,
    "pathway": str,
    **dict.fromkeys(CENTRALITIES, float),
    "q": float,
    "rank": int,
}
"""Columns of the table of :func:`plkd.interpret.networks.label_networks`."""

EDGE_COLUMNS: Columns = {"label": str, "gene": str, "other": str, "similarity": float}
"""Columns of network_edges.tsv: :func:`plkd.interpret.networks.edge_table` of every label."""
