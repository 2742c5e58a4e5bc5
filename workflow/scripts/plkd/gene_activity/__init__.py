"""Gene activity: from open chromatin (peaks or fragments) to cells x genes.

>>> write_gene_activity("peaks.h5ad", "genes.gtf.gz", "activity.h5ad", rule="seurat")

`annotation` (where the genes are), `peaks` (where the peaks are), `genome` (one name for every
chromosome; the same genome on both sides), `weights` (the rules for peaks), `fragments` (the rule
for fragments), `output` (writing by chunks), `activity` (files in, file out).
"""

from plkd.gene_activity.activity import RULES, write_gene_activity
from plkd.gene_activity.annotation import read_annotation
from plkd.gene_activity.peaks import parse_peaks
from plkd.gene_activity.weights import peak_gene_weights

__all__ = ["RULES", "parse_peaks", "peak_gene_weights", "read_annotation", "write_gene_activity"]
