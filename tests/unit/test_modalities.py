"""Files of several modalities: which one is read, and what an annotated copy keeps."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import mudata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from plkd.errors import InputError
from plkd.io.cells import detect_reader, open_cells, read_cells, read_obs
from plkd.prediction.annotated_copy import write_annotated
from plkd.prediction.annotation import annotation_of
from plkd.prediction.predict import PredictedCells
from plkd.prediction.table import prediction_table
from plkd.settings.datasets import ReadingOptions
from simulated import make_cells

PEAKS = ["chr1:100-200", "chr1:300-400", "chr2:5-50"]


def peaks_of(cells: list[str]) -> ad.AnnData:
    var = pd.DataFrame(
        {
            "chrom": ["chr1", "chr1", "chr2"],
            "chromStart": [100, 300, 5],
            "chromEnd": [200, 400, 50],
        },
        index=PEAKS,
    )
    X = sparse.csr_matrix(np.arange(len(cells) * 3).reshape(-1, 3) % 3, dtype=np.float32)
    return ad.AnnData(X, obs=pd.DataFrame(index=cells), var=var)


@pytest.fixture
def rna() -> ad.AnnData:
    return make_cells(40, 60)


@pytest.fixture
def multiome(rna: ad.AnnData, tmp_path: Path) -> Path:
    """Thirty paired cells, ten of RNA alone, five of ATAC alone."""
    path = tmp_path / "cells.h5mu"
    atac = peaks_of([*rna.obs_names[:30], *(f"atac{i}" for i in range(5))])
    mudata.MuData({"rna": rna, "atac": atac}).write_h5mu(path)
    return path


@pytest.mark.parametrize("modality", [None, "rna", "GEX", "Gene Expression"])
def test_the_genes_of_an_h5mu(rna: ad.AnnData, multiome: Path, modality: str | None) -> None:
    assert detect_reader(multiome) == "h5mu"
    read = read_cells(multiome, ReadingOptions(modality=modality))
    np.testing.assert_array_equal(read.X.toarray(), rna.X.toarray())
    assert list(read.obs_names) == list(rna.obs_names)
    assert list(read.obs["cell_type"]) == list(rna.obs["cell_type"])
    assert len(read_obs(multiome)) == 40


@pytest.mark.parametrize("modality", ["atac", "Peaks"])
def test_the_peaks_of_an_h5mu_with_their_places(multiome: Path, modality: str) -> None:
    with open_cells(multiome, ReadingOptions(modality=modality)) as cells:
        assert cells.genes == PEAKS == list(cells.var.index)
        assert list(cells.var["chromStart"]) == [100, 300, 5]
        assert cells.n_cells == 35


def test_modalities_to_choose_from_are_listed(rna: ad.AnnData, tmp_path: Path) -> None:
    path = tmp_path / "x.h5mu"
    mudata.MuData({"one": rna, "two": peaks_of(list(rna.obs_names))}).write_h5mu(path)
    for modality in (None, "three"):
        with pytest.raises(InputError, match=r"x\.h5mu.*'one', 'two'.*modality"):
            read_cells(path, ReadingOptions(modality=modality))
    assert read_cells(path, ReadingOptions(modality="one")).n_vars == 60
    mudata.MuData({"only": rna}).write_h5mu(path)
    assert read_cells(path).n_vars == 60


def test_a_truncated_h5mu(multiome: Path) -> None:
    multiome.write_bytes(multiome.read_bytes()[:20_000])
    with pytest.raises(InputError, match="truncated"):
        read_cells(multiome)


def test_features_of_a_mixed_h5ad(rna: ad.AnnData, tmp_path: Path) -> None:
    mixed = rna.copy()
    mixed.var["feature_types"] = ["GEX"] * 50 + ["ATAC"] * 10
    mixed.var["chrom"] = [f"chr{i}" for i in range(60)]
    mixed.write_h5ad(tmp_path / "x.h5ad")
    for modality, expected in ((None, rna[:, :50]), ("GEX", rna[:, :50]), ("atac", rna[:, 50:])):
        with open_cells(tmp_path / "x.h5ad", ReadingOptions(modality=modality)) as cells:
            assert cells.genes == list(expected.var_names)
            chunks = sparse.vstack([chunk for _, chunk in cells.chunks(7)])
            np.testing.assert_array_equal(chunks.toarray(), expected.X.toarray())
            assert list(cells.var["chrom"]) == [
                f"chr{rna.var_names.get_loc(name)}" for name in expected.var_names
            ]
    with pytest.raises(InputError, match=r"x\.h5ad.*ADT.*'GEX' \(50\)"):
        read_cells(tmp_path / "x.h5ad", ReadingOptions(modality="ADT"))
    rna.write_h5ad(tmp_path / "plain.h5ad")
    with pytest.raises(InputError, match=r"plain\.h5ad.*feature_types"):
        read_cells(tmp_path / "plain.h5ad", ReadingOptions(modality="GEX"))


@pytest.mark.parametrize("some", [False, True])
def test_an_annotated_h5mu_is_one(
    rna: ad.AnnData, multiome: Path, tmp_path: Path, some: bool
) -> None:
    before = multiome.read_bytes()
    rows = np.array([3, 20, 35]) if some else np.arange(40)
    rng = np.random.default_rng(0)
    table = prediction_table(
        rna.obs_names[rows],
        ["a", "b"],
        rng.dirichlet([1, 1], rows.size),
        unknown_threshold=0.5,
        conformal_threshold=0.9,
    )
    embedding = rng.normal(size=(rows.size, 4)).astype(np.float32)
    output = tmp_path / "out.h5mu"
    names = np.asarray(rna.obs_names[rows], dtype=object)
    write_annotated(multiome, output, annotation_of(PredictedCells(table, embedding, rows, names)))
    assert multiome.read_bytes() == before
    copy = mudata.read_h5mu(output)
    annotated = copy.mod["rna"]
    assert list(annotated.obs_names) == list(rna.obs_names[rows])
    assert list(annotated.obs["plkd_label"]) == list(table["label"])
    np.testing.assert_array_equal(annotated.obsm["X_plkd"], embedding)
    np.testing.assert_array_equal(annotated.X.toarray(), rna.X[rows].toarray())
    peaks = copy.mod["atac"]
    assert list(peaks.obs_names) == (
        list(rna.obs_names[[3, 20]])
        if some
        else [*rna.obs_names[:30], *(f"atac{i}" for i in range(5))]
    )
    assert "plkd_label" not in peaks.obs
    assert detect_reader(output) == "h5mu"


def test_an_annotated_h5ad_of_an_h5mu_is_its_modality(
    rna: ad.AnnData, multiome: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    table = prediction_table(
        rna.obs_names,
        ["a", "b"],
        rng.dirichlet([1, 1], rna.n_obs),
        unknown_threshold=0.5,
        conformal_threshold=0.9,
    )
    predicted = PredictedCells(
        table,
        rng.normal(size=(rna.n_obs, 4)),
        np.arange(rna.n_obs),
        np.asarray(rna.obs_names, dtype=object),
    )
    write_annotated(multiome, tmp_path / "out.h5ad", annotation_of(predicted))
    copy = ad.read_h5ad(tmp_path / "out.h5ad")
    assert list(copy.obs["plkd_label"]) == list(table["label"])
    np.testing.assert_array_equal(copy.X.toarray(), rna.X.toarray())
