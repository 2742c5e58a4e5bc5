"""Prepared cells: one reader, one check of genes, one join by cell id; the reference alone."""

from __future__ import annotations

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from plkd.errors import InputError
from plkd.io.blocks import CellsOnDisk
from plkd.preparation.prepare import PreparedPaths, prepare_dataset, prepare_reference
from plkd.preparation.prepared import PreparedCells
from plkd.settings.datasets import PrepareSettings, SourceSettings
from simulated import make_cells

SOURCE = {"labels_key": "cell_type", "batch_key": "batch"}
SETTINGS = {"n_genes": 60, "min_genes_per_cell": 2}


@pytest.fixture(scope="module")
def sides() -> tuple[ad.AnnData, ad.AnnData]:
    """A reference, and a query of which one cell is empty and another has a single gene."""
    reference = make_cells(150, 120, batches=["d1", "d2"], seed=0)
    query = make_cells(40, 100, batches=["d3"], seed=1)
    X = query.X.toarray()
    X[[5, 30]] = 0
    X[30, 2] = 4
    query.X = sparse.csr_matrix(X)
    return reference, query


@pytest.fixture(scope="module")
def prepared(sides, tmp_path_factory) -> PreparedPaths:
    paths = PreparedPaths.in_folder(tmp_path_factory.mktemp("prepared"))
    config = {"reference": SOURCE, "query": SOURCE, "prepare": SETTINGS}
    prepare_dataset(config, *sides, paths)
    return paths


def test_indices_have_32_bits_in_the_file_and_in_memory(prepared, tmp_path):
    for path in (prepared.reference, prepared.query):
        with h5py.File(path) as file:
            for matrix in ("X", "layers/counts"):
                assert {file[f"{matrix}/{part}"].dtype for part in ("indices", "indptr")} == {
                    np.dtype(np.int32)
                }
    old = tmp_path / "old.h5ad"
    old.write_bytes(prepared.reference.read_bytes())
    with h5py.File(old, "r+") as file:  # as they were written before
        starts = file["X/indptr"][...].astype(np.int64)
        del file["X/indptr"]
        file["X/indptr"] = starts
    expected = ad.read_h5ad(prepared.reference)
    for path in (prepared.reference, old):
        X = PreparedCells.read(path).X
        assert (X.dtype, X.indices.dtype, X.indptr.dtype) == (np.float32, np.int32, np.int32)
        assert (X != expected.X).nnz == 0


def test_parts_of_a_file(prepared):
    cells, expected = PreparedCells.read(prepared.reference), ad.read_h5ad(prepared.reference)
    assert cells.genes == list(expected.var_names)
    assert list(cells.labels) == list(expected.obs["label"])
    rows, parts = zip(*cells.chunks(47), strict=True)
    assert list(np.concatenate(rows)) == list(range(cells.n_cells))
    assert (sparse.vstack(parts) != expected.X).nnz == 0
    assert (cells.take(np.array([3, 70])) != expected.X[[3, 70]]).nnz == 0
    whole = cells.in_memory()
    assert list(whole.obs_names) == list(expected.obs_names)
    with pytest.raises(InputError, match=r"query.h5ad' has no obs\['label'\]"):
        _ = PreparedCells.read(prepared.query).labels


def test_cells_left_out_are_listed_with_reasons(sides, prepared):
    cells = PreparedCells.read(prepared.query)
    left_out = cells.left_out.set_index("source_row")
    assert set(left_out.index) == {5, 30}
    assert left_out["reason"][5] == "no counts at all"
    assert "fewer than 2 genes" in left_out["reason"][30]
    assert list(left_out["cell_id"]) == list(sides[1].obs_names[list(left_out.index)])
    assert sorted([*cells.source_rows, *left_out.index]) == list(range(40))
    assert list(cells.source_ids) == list(sides[1].obs_names[cells.source_rows])


def test_ids_of_the_source_are_kept_where_they_were_not_unique(sides, tmp_path):
    reference, query = sides[0], sides[1].copy()
    query.obs_names = ["same"] * query.n_obs
    paths = PreparedPaths.in_folder(tmp_path)
    prepare_dataset(
        {"reference": SOURCE, "query": SOURCE, "prepare": SETTINGS}, reference, query, paths
    )
    cells = PreparedCells.read(paths.query)
    assert cells.cell_ids.is_unique
    assert set(cells.source_ids) == {"same"}


def test_one_check_of_genes_and_one_join(prepared):
    cells = PreparedCells.read(prepared.query)
    cells.require_genes(cells.genes)
    with pytest.raises(InputError, match=r"query.h5ad' has other genes than the model"):
        cells.require_genes(cells.genes[::-1])
    table = pd.DataFrame({"cell_id": cells.cell_ids, "value": np.arange(cells.n_cells)})
    shuffled = table.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(cells.in_order(shuffled, "the table"), table)
    with pytest.raises(InputError, match=r"the table and .* 0 are in the first alone .*, 2 in"):
        cells.in_order(table.iloc[2:], "the table")
    other = table.assign(cell_id=["x", *table["cell_id"][1:]])
    with pytest.raises(InputError, match=r"1 are in the first alone .'x'."):
        cells.in_order(other, "the table")
    with pytest.raises(InputError, match="twice"):
        cells.in_order(pd.concat([table, table.head(1)]), "the table")


@pytest.mark.parametrize("harm", ["cut", "no obs", "text", "indices"])
def test_a_damaged_file_says_who_makes_it_anew(prepared, tmp_path, harm):
    path = tmp_path / "reference.h5ad"
    content = prepared.reference.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "text": b"cells"}.get(harm, content))
    if harm in ("no obs", "indices"):
        with h5py.File(path, "r+") as file:
            if harm == "no obs":
                del file["obs"]
            else:
                file["X/indices"][0] = 10_000
    with pytest.raises(InputError, match=r"reference.h5ad' is no whole .*rule prepare makes it"):
        _ = PreparedCells.read(path).X
    with pytest.raises(InputError, match=r"gone.h5ad' does not exist.*rule prepare"):
        PreparedCells.read(tmp_path / "gone.h5ad")


@pytest.mark.parametrize("query", ["file", "anndata", "names"])
def test_a_reference_alone_is_that_of_the_whole_stage(sides, prepared, tmp_path, query):
    reference, asked = sides
    asked.write_h5ad(tmp_path / "query.h5ad")
    given = {"file": tmp_path / "query.h5ad", "anndata": asked, "names": list(asked.var_names)}
    alone, _ = prepare_reference(
        reference,
        SourceSettings.from_config(SOURCE),
        PrepareSettings.from_config(SETTINGS),
        query=given[query],
    )
    whole = PreparedCells.read(prepared.reference)
    assert alone.genes == whole.genes
    assert alone.X.indptr.dtype == np.int32
    assert (alone.X != whole.X).nnz == 0
    pd.testing.assert_frame_equal(alone.obs, whole.obs, check_categorical=False)
    assert alone.about["target_sum"] == whole.about["target_sum"]


def test_a_reference_without_a_query_takes_all_its_genes(sides):
    source = SourceSettings.from_config(SOURCE)
    alone, _ = prepare_reference(sides[0], source, PrepareSettings(n_genes="all"))
    assert set(alone.genes) > set(sides[1].var_names)
    with pytest.raises(InputError, match="at least 10% are needed"):
        prepare_reference(sides[0], source, query=["A", "B"])
    with pytest.raises(InputError, match="labels_key"):
        prepare_reference(sides[0], SourceSettings())


def test_cells_that_a_training_has_no_memory_for_stay_on_disk(prepared):
    cells = PreparedCells.read(prepared.reference)
    assert isinstance(cells.to_learn_from(), sparse.csr_matrix)
    on_disk = cells.to_learn_from(memory_mb=0)
    assert isinstance(on_disk, CellsOnDisk)
    assert (on_disk[:] != cells.X).nnz == 0
    assert isinstance(cells.to_learn_from(3.1 * on_disk.nbytes / 1e6), sparse.csr_matrix)
    assert isinstance(
        PreparedCells.of(ad.read_h5ad(prepared.reference)).to_learn_from(0), sparse.csr_matrix
    )
    column = cells.label_column
    assert column.dtype == "category"
    assert cells.labels.tolist() == column.tolist()
