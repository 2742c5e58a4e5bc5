"""Inputs of other tools: `plkd.annotate`, `plkd.train` and the pipeline do what the page says."""

from __future__ import annotations

import re
from dataclasses import asdict
from functools import cache
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import plkd
from other_tools import PAGE, QUERIES, REFERENCES, Query, Reference, page, reference_cells
from plkd.errors import InputError
from plkd.prediction.predict import predict_cells
from plkd.preparation.prepare import PreparedPaths, prepare_dataset, prepare_reference
from plkd.settings.datasets import SourceSettings
from trained import trained_model

PREPARE = {"n_genes": "all", "min_cells_per_gene": 0, "gene_universe": "reference"}


def prepared(query: Path | ad.AnnData, folder: Path, **reading: object) -> ad.AnnData:
    """The query as the pipeline prepares it."""
    outputs = PreparedPaths.in_folder(folder / "prepared")
    options = {key: value for key, value in reading.items() if value is not None}
    config = {"reference": {"labels_key": "cell_type"}, "query": options, "prepare": PREPARE}
    try:
        prepare_dataset(config, reference_cells(), query, outputs)
    except InputError:
        assert not list(folder.glob("prepared/*"))
        raise
    return ad.read_h5ad(outputs.query)


@cache
def plain_labels(row: Query) -> list[str]:
    table = predict_cells(
        trained_model().require("student"), row.cells(), chunk_cells=1000, progress=False
    ).table
    return list(table["label"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "given").mkdir()
    return tmp_path


@pytest.mark.parametrize("row", QUERIES, ids=lambda row: row.what)
def test_a_query(row: Query, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    query = row.make(folder / "given")
    expected = np.array(plain_labels(row), dtype=object)
    copy = folder / "copy.h5ad"
    if row.refused is not None:
        with pytest.raises(InputError, match=f"(?s){row.refused}"):
            plkd.annotate(query, trained_model(), output=copy, reading=row.reading, progress=False)
        assert not copy.exists()
        with pytest.raises(InputError, match=f"(?s){row.refused}"):
            prepared(query, folder, **asdict(row.reading))
        return
    caplog.clear()
    plkd.annotate(query, trained_model(), output=copy, reading=row.reading, progress=False)
    warned = [caplog.text]
    said = np.setdiff1d(np.arange(len(expected)), row.unknown)
    found = ad.read_h5ad(copy)
    assert found.n_obs == len(expected)
    assert list(np.flatnonzero(found.obs["plkd_label"].isna())) == list(row.unknown)
    assert found.obs["plkd_unknown"].to_numpy()[list(row.unknown)].all()
    same = found.obs["plkd_label"].to_numpy()[said] == expected[said]
    assert same.mean() >= row.same

    caplog.clear()
    done = prepared(query, folder, **asdict(row.reading))
    warned.append(caplog.text)
    np.testing.assert_array_equal(done.obs["source_row"], said)
    if row.values:
        counts = row.cells()[said].copy()
        counts.obs_names = [f"plain{i}" for i in said]
        plain = prepared(counts, folder / "plain")
        np.testing.assert_allclose(done.X.toarray(), plain.X.toarray(), rtol=2e-3, atol=1e-3)
    for text in warned:
        if row.warned is None:
            assert "WARNING" not in text
        else:
            assert re.search(row.warned, text)


@pytest.mark.parametrize("row", REFERENCES, ids=lambda row: row.what)
def test_labels_of_a_reference(
    row: Reference, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reference = row.make(folder / "given")
    source = SourceSettings(labels_key="cell_type", batch_key="site")
    if row.refused is not None:
        with pytest.raises(InputError, match=row.refused):
            prepare_reference(reference, source, progress=False)
        return
    cells, _ = prepare_reference(reference, source, progress=False)
    assert tuple(sorted(set(cells.labels))) == row.labels
    if row.warned is None:
        assert "WARNING" not in caplog.text
    else:
        assert re.search(row.warned, caplog.text)
    assert tuple(sorted(set(cells.obs["batch"]))) == row.labels


def test_the_page_says_what_is_tried() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text), "write it: python tests/other_tools.py"
