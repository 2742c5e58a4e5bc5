"""An AnnData in place of a file: the same cells, checks and names, and never a change to it."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

from plkd.errors import InputError
from plkd.io.cells import open_cells, read_cells
from plkd.prediction.model_input import model_input
from plkd.settings.datasets import ReadingOptions
from simulated import make_cells
from trained import TYPES, trained_model


@pytest.fixture
def cells() -> ad.AnnData:
    """Counts, a layer, raw, places; one gene occurs twice and one has no name."""
    cells = make_cells(50, 110, types=TYPES, seed=3)
    cells.layers["double"] = cells.X * 2
    cells.obsm["spatial"] = np.arange(100.0).reshape(50, 2)
    cells.var["symbol"] = [f"s{i}" for i in range(110)]
    cells.raw = cells.copy()
    names = list(cells.var_names)
    names[1], names[4] = names[0], ""
    cells.var_names = names
    return cells


def copies(cells: ad.AnnData, path, kind: str) -> ad.AnnData:
    if kind == "csc":
        cells.X = sparse.csc_matrix(cells.X)
    elif kind == "csr_array":
        cells.X = sparse.csr_array(cells.X)
    elif kind == "dense":
        cells.X = cells.X.toarray()
    elif kind.startswith("backed"):
        cells.write_h5ad(path)
        cells = ad.read_h5ad(path, backed="r")
    return cells[10:40] if kind.endswith("view") else cells


@pytest.mark.parametrize("reading", [{}, {"layer": "double"}, {"use_raw": True}])
@pytest.mark.parametrize(
    "kind", ["csr", "csc", "csr_array", "dense", "view", "backed", "backed view"]
)
def test_as_the_file_of_the_same_cells(cells, tmp_path, kind, reading):
    rows = slice(10, 40) if kind.endswith("view") else slice(None)
    cells[rows].copy().write_h5ad(tmp_path / "file.h5ad")
    options = ReadingOptions(**reading)
    expected = read_cells(tmp_path / "file.h5ad", options)
    source = copies(cells, tmp_path / "backed.h5ad", kind)
    with open_cells(source, options) as opened:
        assert opened.scale.kind == "counts"
        np.testing.assert_array_equal(opened.spatial, cells.obsm["spatial"][rows])
        assert opened.genes == list(expected.var_names)
        pd.testing.assert_frame_equal(opened.obs, expected.obs)
        chunks = [chunk for _, chunk in opened.chunks(7)]
        assert len(chunks) > 4
        found = sparse.vstack(chunks)
        some = opened.take(np.array([2, 17]))
    np.testing.assert_array_equal(found.toarray(), expected.X.toarray())
    np.testing.assert_array_equal(some.toarray(), expected.X[[2, 17]].toarray())


def test_nothing_of_it_changes(cells):
    shuffled = cells.X.copy()
    for row in range(50):  # values of a row in no order, which readers sort
        part = slice(shuffled.indptr[row], shuffled.indptr[row + 1])
        shuffled.indices[part] = shuffled.indices[part][::-1].copy()
        shuffled.data[part] = shuffled.data[part][::-1].copy()
    shuffled.has_sorted_indices = False
    cells.X = shuffled
    cells.obs.index = pd.Index(range(50))
    index, indices, data = cells.obs.index.copy(), shuffled.indices.copy(), shuffled.data.copy()
    read = read_cells(cells)
    assert list(read.obs_names) == [str(i) for i in range(50)]
    read.obs["new"] = 1
    read.X.data[:] = 0
    np.testing.assert_array_equal(cells.X.indices, indices)
    np.testing.assert_array_equal(cells.X.data, data)
    pd.testing.assert_index_equal(cells.obs.index, index)
    assert "new" not in cells.obs


def test_what_an_anndata_lacks(cells):
    with pytest.raises(InputError, match=r"'the AnnData' has no layers\['nope'\]; .*double"):
        read_cells(cells, ReadingOptions(layer="nope"))
    with pytest.raises(InputError, match="not a file for the reader 'csv'"):
        read_cells(cells, ReadingOptions(reader="csv"))
    with pytest.raises(InputError, match="transpose"):
        read_cells(cells, ReadingOptions(transpose=True))
    with pytest.raises(InputError, match="var has no column 'gene'"):
        read_cells(cells, ReadingOptions(gene_symbols_key="gene"))
    with pytest.raises(InputError, match=r"found dict\. .*mdata\['rna'\]"):
        read_cells({"rna": cells})
    with pytest.raises(InputError, match="has no X"):
        read_cells(ad.AnnData(obs=cells.obs))
    negative = cells.copy()
    negative.X = negative.X.toarray() - 0.5
    with open_cells(negative) as opened:
        assert not opened.scale.usable
        assert opened.other_scales()["layer: double"].kind == "counts"


def test_model_input_is_in_genes_and_scale_of_the_model():
    student = trained_model().require("student")
    cells = make_cells(30, 110, types=TYPES, seed=8)
    cells.X[7] = 0
    cells.X.eliminate_zeros()
    mixed = cells[:, np.random.default_rng(0).permutation(110)[:100]].copy()
    expected = mixed.copy()
    sc.pp.normalize_total(expected, target_sum=student.normalisation.target_sum)
    sc.pp.log1p(expected)
    expected = expected.to_df().reindex(columns=student.genes)
    there = expected.notna().all().to_numpy()
    with model_input(mixed, student) as prepared:
        assert prepared.overlap.n_found == 100
        assert prepared.n_cells == 30
        rows, parts = zip(*prepared.chunks(4), strict=True)
        taken = prepared.take(np.array([3, 29])).toarray()
    assert list(np.concatenate(rows)) == [i for i in range(30) if i != 7]
    found = sparse.vstack(parts).toarray()
    left = expected.drop(expected.index[7])
    np.testing.assert_allclose(found[:, there], left.loc[:, there], atol=1e-5)
    np.testing.assert_allclose(taken[:, there], expected.iloc[[3, 29]].loc[:, there], atol=1e-5)
    filled = student.filled(sparse.csr_matrix(left.fillna(0), dtype=np.float32), there).toarray()
    np.testing.assert_allclose(found[:, ~there], filled[:, ~there], atol=1e-5)
    assert (found[:, ~there] > 0).any()


def test_model_input_refuses_foreign_and_broken_cells():
    student = trained_model().require("student")
    cells = make_cells(30, 110, types=TYPES, seed=8)
    few = cells[:, 105:].copy()
    with pytest.raises(InputError, match="5 of the model's 110 genes; at least 10%"):  # noqa: SIM117
        with model_input(few, student):
            pass
    with model_input(few, student, minimum_overlap=0.01) as prepared:
        assert prepared.overlap.n_found == 5
    with pytest.raises(InputError, match="has no cells"), model_input(cells[:0], student):
        pass
    cells.layers["counts"] = cells.X.copy()
    cells.X = cells.X.toarray() - 0.5
    with (
        pytest.raises(InputError, match=r"scaled values.*Use one of: layer: counts"),
        model_input(cells, student),
    ):
        pass
