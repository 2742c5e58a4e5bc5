"""CellTypist on a file, from its start to its end; run by its own interpreter for `annotate.py`."""

from __future__ import annotations

import sys

import anndata as ad
import celltypist
import scanpy as sc


def train(reference: str, model: str) -> None:
    """Train on log-normalised cells of the genes that it shall use."""
    cells = ad.read_h5ad(reference)
    celltypist.train(cells, labels="cell_type", check_expression=False, n_jobs=2).write(model)


def annotate(query: str, model: str, table: str) -> None:
    """Label the counts of a file."""
    cells = ad.read_h5ad(query)
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    found = celltypist.annotate(cells, model=model)
    found.predicted_labels.join(found.probability_matrix).to_csv(
        table
    )  # its environment has no parquet


if __name__ == "__main__":
    {"train": train, "annotate": annotate}[sys.argv[1]](*sys.argv[2:])
