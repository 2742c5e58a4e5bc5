"""docs/columns.md names every column of the tables that the library declares, and no other."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from columns import columns_of, documented, undocumented
from plkd.evaluation import columns as evaluation_columns
from plkd.evaluation import (
    comparison,
    costs,
    embeddings,
    integration,
    marker_recovery,
    omics,
    resampling,
    robustness,
    spaces,
    spatial,
    tables,
)
from plkd.interpret import columns as interpret_columns
from plkd.interpret import key_genes, pathway_names
from plkd.paper import claims, efficiency, numbers
from plkd.paper import tables as paper_tables
from plkd.pathways import gene_sets
from plkd.prediction.columns import LABEL_COLUMNS

RUN = "data/default/seed0"
DECLARED = {
    "data/default/mask/pathways.tsv": gene_sets.PATHWAY_COLUMNS,
    f"{RUN}/labels.tsv": LABEL_COLUMNS,
    f"{RUN}/embeddings/umap.tsv": embeddings.UMAP_COLUMNS,
    f"{RUN}/embeddings/umap_pca.tsv": embeddings.UMAP_COLUMNS,
    f"{RUN}/evaluation/metrics.tsv": tables.METRIC_COLUMNS,
    f"{RUN}/evaluation/per_label.tsv": tables.PER_LABEL_COLUMNS,
    f"{RUN}/evaluation/abundance.tsv": tables.ABUNDANCE_COLUMNS,
    f"{RUN}/evaluation/confusion.tsv": tables.CONFUSION_COLUMNS,
    f"{RUN}/evaluation/confidence.tsv": tables.CONFIDENCE_COLUMNS,
    f"{RUN}/evaluation/embedding.tsv": embeddings.EMBEDDING_COLUMNS,
    f"{RUN}/evaluation/integration.tsv": integration.INTEGRATION_COLUMNS,
    f"{RUN}/evaluation/omics.tsv": omics.OMICS_COLUMNS,
    f"{RUN}/embeddings/integration.tsv": integration.SPACE_COLUMNS,
    "data/methods/embeddings/integration.tsv": integration.SPACE_COLUMNS,
    "data/methods/embeddings/omics.tsv": omics.SPACE_COLUMNS,
    "data/methods/seed0/embeddings/maps.tsv": spaces.MAP_COLUMNS,
    f"{RUN}/evaluation/spatial.tsv": spatial.SPATIAL_COLUMNS,
    "paper/efficiency.tsv": efficiency.EFFICIENCY_COLUMNS,
    "paper/table4.tsv": numbers.RESULT_COLUMNS,
    "paper/figure3.tsv": paper_tables.FIGURE3_COLUMNS,
    "paper/figure5.tsv": numbers.GENE_COLUMNS,
    "paper/figure7.tsv": numbers.RESULT_COLUMNS,
    "paper/claims.tsv": claims.VERDICT_COLUMNS,
    "benchmark/annotation.tsv": tables.METRIC_COLUMNS,
    "benchmark/annotation_summary.tsv": tables.SUMMARY_COLUMNS,
    "benchmark/overall.tsv": tables.OVERALL_COLUMNS,
    f"{RUN}/evaluation/resampled.tsv": resampling.RESAMPLED_COLUMNS,
    "benchmark/costs.tsv": costs.COST_COLUMNS,
    "benchmark/comparison.tsv": comparison.COMPARISON_COLUMNS,
    "benchmark/ranks.tsv": comparison.RANK_COLUMNS,
    "benchmark/choice.tsv": comparison.CHOICE_COLUMNS,
    "benchmark/trust.tsv": comparison.TRUST_COLUMNS,
    "benchmark/robustness.tsv": robustness.ROBUSTNESS_COLUMNS,
    f"{RUN}/evaluation/batches.tsv": tables.BATCH_COLUMNS,
    f"{RUN}/interpretation/pathways.tsv": pathway_names.PATHWAY_NAME_COLUMNS,
    f"{RUN}/interpretation/pathway_genes.tsv": pathway_names.PATHWAY_GENE_COLUMNS,
    f"{RUN}/interpretation/label_pathways.tsv": interpret_columns.LABEL_PATHWAY_COLUMNS,
    f"{RUN}/interpretation/network_genes.tsv": interpret_columns.NETWORK_COLUMNS,
    f"{RUN}/interpretation/network_edges.tsv": interpret_columns.EDGE_COLUMNS,
    f"{RUN}/interpretation/gene_attributions.tsv": key_genes.GENE_COLUMNS,
    f"{RUN}/interpretation/key_genes.tsv": key_genes.KEY_GENE_COLUMNS,
    f"{RUN}/interpretation/key_gene_pools.tsv": key_genes.POOL_COLUMNS,
    "data/default/stability.tsv": key_genes.STABILITY_COLUMNS,
    f"{RUN}/interpretation/faithfulness.tsv": evaluation_columns.AREA_COLUMNS,
    f"{RUN}/interpretation/faithfulness_curves.tsv": evaluation_columns.CURVE_COLUMNS,
    f"{RUN}/interpretation/pathway_recovery_summary.tsv": marker_recovery.RECOVERY_COLUMNS,
    f"{RUN}/interpretation/marker_recovery_summary.tsv": {
        **marker_recovery.RECOVERY_COLUMNS, **marker_recovery.PLANTED_COLUMNS,
    },
}  # fmt: skip


@pytest.mark.parametrize("place", DECLARED)
def test_declared_columns_are_documented(place: str) -> None:
    assert columns_of(place) == list(DECLARED[place])


def test_every_table_has_a_meaning_for_every_column() -> None:
    assert all(names and len(names) == len(set(names)) for names in documented().values())


def test_what_is_not_documented_is_found(tmp_path: Path) -> None:
    for place, names in (("benchmark/overall.tsv", ["variant", "luck"]), ("other.tsv", ["a"])):
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        pd.DataFrame(columns=names).to_csv(path, sep="\t", index=False)
    assert list(undocumented(tmp_path)) == ["benchmark/overall.tsv: luck", "other.tsv: a"]
