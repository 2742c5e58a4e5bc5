"""Names that give away what is no gene."""

from __future__ import annotations

import pytest

from plkd.io.ensembl import symbols_of_ids
from plkd.io.feature_names import TOTAL, is_quality, warnings_on_features

MEASURES = [
    *("nCount_RNA", "nFeature_RNA", "percent.mt", "percent_mito", "pct_counts_mt", "n_genes"),
    *("n_genes_by_counts", "log1p_total_counts", "total_counts_mt", "doublet_score", "S.Score"),
    *("G2M.Score", "orig.ident", "seurat_clusters", "RNA_snn_res.0.8", "UMAP_1", "nUMI", "leiden"),
]


@pytest.mark.parametrize("organism", ["human", "mouse"])
def test_no_gene_is_taken_for_anything_else(organism: str) -> None:
    genes = list(symbols_of_ids(organism).values())
    assert len(genes) > 40_000
    assert not [gene for gene in genes if is_quality(gene) or TOTAL.fullmatch(gene)]
    antibodies, peaks = (warnings_on_features([*genes, one]) for one in ("ADT_CD3", "chr1:5-9"))
    assert antibodies[0].startswith("1 of ")
    assert peaks[0].startswith("1 of ")


@pytest.mark.parametrize("name", MEASURES)
def test_measures_of_cells_are_known(name: str) -> None:
    assert is_quality(name)


def test_what_most_features_are_is_no_surprise() -> None:
    peaks = [f"chr1:{start}-{start + 500}" for start in range(0, 5000, 1000)]
    assert warnings_on_features(peaks) == []
    assert warnings_on_features([*peaks, "CD3_TotalSeqB"])[0].startswith("1 of 6 features")
