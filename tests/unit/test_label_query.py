"""The rule that labels a file with a finished model gives what the command gives."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import pandas as pd
import pytest

import label_query
import plkd
from job import job
from simulated import make_cells
from trained import trained_model


@pytest.mark.parametrize("labels_only", [False, True])
def test_a_finished_model_labels_a_file(tmp_path: Path, labels_only: bool) -> None:
    model = trained_model()
    model.save(tmp_path / "model")
    cells = make_cells(60, 110, types=5, seed=4)
    cells.write_h5ad(tmp_path / "query.h5ad")
    label_query.main(
        job(
            input={"query": tmp_path / "query.h5ad", "model": tmp_path / "model" / "model.json"},
            output={"annotated": tmp_path / "labelled.h5ad", "table": tmp_path / "labels.tsv"},
            params={"device": "cpu", "labels_only": labels_only},
        )
    )
    expected = plkd.annotate(cells, model, inplace=False, progress=False)
    assert isinstance(expected, pd.DataFrame)
    table = pd.read_csv(tmp_path / "labels.tsv", sep="\t")
    assert table["cell_id"].tolist() == list(cells.obs_names)
    assert table["label"].tolist() == expected["label"].tolist()
    annotated = ad.read_h5ad(tmp_path / "labelled.h5ad")
    assert annotated.obs["plkd_label"].tolist() == expected["label"].tolist()
    assert (annotated.X is None or not annotated.X.nnz) == labels_only
