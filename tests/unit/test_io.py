from __future__ import annotations

import gzip
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.io import mmwrite

from plkd.errors import InputError
from plkd.io.cells import (
    detect_reader,
    open_cells,
    read_cells,
    read_obs,
)
from plkd.io.scale import detect_scale
from plkd.settings.datasets import AS_IT_IS, ReadingOptions
from simulated import make_cells

SCANPY_EXAMPLE = "datasets/10x_pbmc68k_reduced.h5ad"


def iterate_cells(path, reading=AS_IT_IS, *, chunk_size=100):
    with open_cells(path, reading) as cells:
        yield from cells.chunks(chunk_size)


def matrix_scales(path):
    """Of every matrix: each is told of by a reader of another one."""
    found = {}
    for reading in (AS_IT_IS, ReadingOptions(use_raw=True)):
        with open_cells(path, reading) as cells:
            found |= cells.other_scales()
    return found


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    adata = make_cells(60, 90)
    adata.layers["counts"] = adata.X.copy()
    adata.X = adata.X.log1p()
    adata.raw = adata
    adata.obsm["spatial"] = np.arange(120.0).reshape(60, 2)
    adata.obsm["X_pca"] = np.ones((60, 3))
    adata.var["symbol"] = adata.var_names.str.lower()
    return adata


@pytest.fixture
def h5ad(cells: ad.AnnData, tmp_path: Path) -> Path:
    path = tmp_path / "cells.h5ad"
    cells.write_h5ad(path)
    return path


def assert_same(adata: ad.AnnData, X: sparse.csr_matrix, genes: list[str] | pd.Index) -> None:
    assert isinstance(adata.X, sparse.csr_matrix)
    np.testing.assert_array_equal(adata.X.toarray(), X.toarray())
    assert list(adata.var_names) == list(genes)


# ------------------------------------------------------------------------------ h5ad and zarr


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_stores_in_any_form(cells: ad.AnnData, tmp_path: Path, kind: str, form: str) -> None:
    stored = cells.copy()
    stored.X = {"csr": cells.X, "csc": cells.X.tocsc(), "dense": cells.X.toarray()}[form]
    path = tmp_path / "without_suffix"
    stored.write_zarr(path) if kind == "zarr" else stored.write_h5ad(path)
    assert detect_reader(path) == kind
    adata = read_cells(path)
    assert_same(adata, cells.X, cells.var_names)
    pd.testing.assert_frame_equal(adata.obs, cells.obs)
    assert list(adata.obsm) == ["spatial"]
    assert adata.raw is None
    parts = dict(enumerate(iterate_cells(path, chunk_size=7)))
    assert [rows for rows, _ in parts.values()] == [
        slice(i, min(i + 7, 60)) for i in range(0, 60, 7)
    ]
    chunks = sparse.vstack([chunk for _, chunk in parts.values()])
    np.testing.assert_array_equal(chunks.toarray(), cells.X.toarray())
    with open_cells(path) as opened:
        assert opened.scale == detect_scale(cells.X)
    assert set(matrix_scales(path)) == {"X (no `layer`)", "use_raw: true", "layer: counts"}


def test_layer_raw_and_symbols(cells: ad.AnnData, h5ad: Path) -> None:
    assert_same(
        read_cells(h5ad, ReadingOptions(layer="counts")), cells.layers["counts"], cells.var_names
    )
    assert_same(read_cells(h5ad, ReadingOptions(use_raw=True)), cells.raw.X, cells.var_names)
    symbols = read_cells(h5ad, ReadingOptions(gene_symbols_key="symbol"))
    assert list(symbols.var_names) == list(cells.var["symbol"])


def test_an_odd_x_does_not_matter_when_another_matrix_is_asked(
    cells: ad.AnnData, h5ad: Path
) -> None:
    with h5py.File(h5ad, "r+") as store:
        del store["X"]
        store["X"] = np.array([b"text"] * 60)
    assert_same(
        read_cells(h5ad, ReadingOptions(layer="counts")), cells.layers["counts"], cells.var_names
    )
    assert_same(read_cells(h5ad, ReadingOptions(use_raw=True)), cells.raw.X, cells.var_names)
    with pytest.raises(InputError, match="not numbers"):
        read_cells(h5ad)


def test_files_of_before_anndata_0_7() -> None:
    import scanpy as sc

    path = Path(sc.__file__).parent / SCANPY_EXAMPLE
    expected = sc.datasets.pbmc68k_reduced()
    assert_same(
        read_cells(path, ReadingOptions(use_raw=True)),
        sparse.csr_matrix(expected.raw.X),
        expected.raw.var_names,
    )
    scaled = read_cells(path)
    np.testing.assert_array_equal(scaled.X.toarray(), expected.X)
    assert list(scaled.obs["bulk_labels"]) == list(expected.obs["bulk_labels"])
    kinds = {name: scale.kind for name, scale in matrix_scales(path).items()}
    assert kinds == {"X (no `layer`)": "scaled", "use_raw: true": "log1p"}


def test_scales_of_all_matrices_are_named_by_their_settings(h5ad: Path) -> None:
    kinds = {name: scale.kind for name, scale in matrix_scales(h5ad).items()}
    assert kinds == {"X (no `layer`)": "log1p", "use_raw: true": "log1p", "layer: counts": "counts"}


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32, np.uint8])
def test_integers_are_kept_exactly(tmp_path: Path, dtype: type) -> None:
    large = min(np.iinfo(dtype).max, 2**31 - 1)
    X = np.array([[1, 0, large], [large - 1, 2, 0]], dtype=dtype)
    ad.AnnData(sparse.csr_matrix(X)).write_h5ad(tmp_path / "x.h5ad")
    read = read_cells(tmp_path / "x.h5ad").X
    assert read.dtype.kind in "iu"
    np.testing.assert_array_equal(read.toarray(), X)


def test_only_genes_of_a_multiome_file(cells: ad.AnnData, tmp_path: Path) -> None:
    mixed = cells.copy()
    mixed.var["feature_types"] = ["GEX"] * 50 + ["ATAC"] * 40
    mixed.write_h5ad(tmp_path / "x.h5ad")
    assert_same(read_cells(tmp_path / "x.h5ad"), cells.X[:, :50], cells.var_names[:50])


@pytest.mark.parametrize("layer", [None, "counts"])
def test_chunks_merge_genes_as_reading_does(
    cells: ad.AnnData, tmp_path: Path, layer: str | None
) -> None:
    double = cells.copy()
    double.var["symbol"] = [f"G{i // 2}.1" if i < 20 else f" G{i}" for i in range(90)]
    double.write_h5ad(tmp_path / "x.h5ad")
    options = {"layer": layer, "gene_symbols_key": "symbol"}
    whole = read_cells(tmp_path / "x.h5ad", ReadingOptions(**options))
    assert whole.n_vars == 80
    with open_cells(tmp_path / "x.h5ad", ReadingOptions(**options)) as opened:
        assert opened.genes == list(whole.var_names)
        assert opened.n_cells == 60
        assert opened.scale.kind == ("counts" if layer else "log1p")
        chunks = sparse.vstack([chunk for _, chunk in opened.chunks(16)])
    np.testing.assert_allclose(chunks.toarray(), whole.X.toarray(), rtol=1e-6)


def test_obs_alone(cells: ad.AnnData, h5ad: Path) -> None:
    pd.testing.assert_frame_equal(read_obs(h5ad), cells.obs)


def test_missing_slots_list_what_there_is(h5ad: Path) -> None:
    with pytest.raises(InputError, match=r"nope.*layers\['counts'\]"):
        read_cells(h5ad, ReadingOptions(layer="nope"))
    with pytest.raises(InputError, match=r"gene_ids.*marker_of, symbol"):
        read_cells(h5ad, ReadingOptions(gene_symbols_key="gene_ids"))
    with h5py.File(h5ad, "r+") as store:
        del store["raw"]
    with pytest.raises(InputError, match=r"raw.*X, layers"):
        read_cells(h5ad, ReadingOptions(use_raw=True))
    with pytest.raises(InputError, match="not both"):
        read_cells(h5ad, ReadingOptions(use_raw=True, layer="counts"))


@pytest.mark.parametrize("reader", ["h5ad", "auto"])
def test_damaged_files(h5ad: Path, tmp_path: Path, reader: str) -> None:
    content = h5ad.read_bytes()
    cases = {
        "truncated": content[: len(content) // 2],
        "not an HDF5 file": b"<html>Sorry</html>",
        "empty": b"",
        "gunzip": gzip.compress(content),
    }
    for words, damaged in cases.items():
        path = tmp_path / "damaged.h5ad"
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=rf"(?s)damaged\.h5ad.*{words}"):
            read_cells(path, ReadingOptions(reader=reader))


def test_missing_file_and_dangling_link(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.h5ad.*does not exist"):
        read_cells(tmp_path / "gone.h5ad")
    (tmp_path / "link.h5ad").symlink_to(tmp_path / "gone.h5ad")
    with pytest.raises(InputError, match="link"):
        read_cells(tmp_path / "link.h5ad")


def test_a_matrix_that_does_not_fit_its_tables(h5ad: Path) -> None:
    with h5py.File(h5ad, "r+") as store:
        store["X"].attrs["shape"] = [60, 89]
    with pytest.raises(InputError, match="60 x 89"):
        read_cells(h5ad)


def test_foreign_hdf5_and_unknown_content(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5ad", "w") as store:
        store["something"] = 1
    for reader in ("auto", "h5ad"):
        with pytest.raises(InputError, match="something"):
            read_cells(tmp_path / "a.h5ad", ReadingOptions(reader=reader))
    (tmp_path / "b.rds").write_bytes(b"RDX3 no separators")
    with pytest.raises(InputError, match="not known"):
        read_cells(tmp_path / "b.rds")
    (tmp_path / "c.bin").write_bytes(bytes(range(128, 256)))
    with pytest.raises(InputError, match=r"c\.bin"):
        read_cells(tmp_path / "c.bin")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="folder"):
        read_cells(tmp_path / "folder")
    with pytest.raises(InputError, match="10x_h5"):
        read_cells(tmp_path / "b.rds", ReadingOptions(reader="rds"))


# --------------------------------------------------------------------------------- 10x and loom


def write_mtx(folder: Path, cells: ad.AnnData, *, version: int, packed: bool, prefix: str) -> None:
    folder.mkdir(exist_ok=True)
    columns = [[f"ENSG{i:011d}" for i in range(cells.n_vars)], list(cells.var_names)]
    if version == 3:
        columns.append(["Gene Expression"] * (cells.n_vars - 1) + ["Antibody Capture"])
    texts = {
        "features.tsv" if version == 3 else "genes.tsv": "\n".join(
            map("\t".join, zip(*columns, strict=True))
        ),
        "barcodes.tsv": "\n".join(cells.obs_names),
    }
    mmwrite(folder / "m.mtx", cells.layers["counts"].T.astype(int))
    texts["matrix.mtx"] = (folder / "m.mtx").read_text()
    (folder / "m.mtx").unlink()
    for name, text in texts.items():
        if packed:
            (folder / f"{prefix}{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / f"{prefix}{name}").write_text(text + "\n")


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("prefix", ["", "GSM1_"])
def test_10x_mtx(
    cells: ad.AnnData, tmp_path: Path, version: int, packed: bool, prefix: str
) -> None:
    write_mtx(tmp_path / "mtx", cells, version=version, packed=packed, prefix=prefix)
    n_genes = 90 if version == 2 else 89
    for path in (tmp_path / "mtx", next((tmp_path / "mtx").glob("*matrix*"))):
        adata = read_cells(path)
        assert_same(adata, cells.layers["counts"][:, :n_genes], cells.var_names[:n_genes])
        assert adata.X.dtype == np.int32
        assert list(adata.obs_names) == list(cells.obs_names)
    ids = read_cells(tmp_path / "mtx", ReadingOptions(gene_symbols_key="gene_ids"))
    assert ids.var_names[0] == "ENSG00000000000"


def test_10x_mtx_incomplete(cells: ad.AnnData, tmp_path: Path) -> None:
    write_mtx(tmp_path / "mtx", cells, version=2, packed=False, prefix="")
    (tmp_path / "mtx" / "barcodes.tsv").write_text("one\n")
    with pytest.raises(InputError, match="1 barcodes"):
        read_cells(tmp_path / "mtx")
    (tmp_path / "mtx" / "barcodes.tsv").unlink()
    with pytest.raises(InputError, match=r"barcodes\.tsv"):
        read_cells(tmp_path / "mtx")


def test_10x_h5(cells: ad.AnnData, tmp_path: Path) -> None:
    counts = cells.layers["counts"].astype(np.int32)
    with h5py.File(tmp_path / "x.h5", "w") as store:
        matrix = store.create_group("matrix")
        matrix["data"], matrix["indices"] = counts.data, counts.indices
        matrix["indptr"], matrix["shape"] = counts.indptr, np.array([90, 60])
        matrix["barcodes"] = cells.obs_names.to_numpy().astype("S")
        features = matrix.create_group("features")
        features["id"] = np.array([f"ENSG{i:011d}" for i in range(90)], dtype="S")
        features["name"] = cells.var_names.to_numpy().astype("S")
        features["feature_type"] = np.array(["Gene Expression"] * 88 + ["Peaks"] * 2, dtype="S")
        features["genome"] = np.array(["GRCh38"] * 90, dtype="S")
    assert detect_reader(tmp_path / "x.h5") == "10x_h5"
    adata = read_cells(tmp_path / "x.h5")
    assert_same(adata, counts[:, :88], cells.var_names[:88])
    with pytest.raises(InputError, match="layer"):
        read_cells(tmp_path / "x.h5", ReadingOptions(layer="counts"))


def test_loom(cells: ad.AnnData, tmp_path: Path) -> None:
    import loompy

    counts = cells.layers["counts"].toarray().T
    loompy.create(
        str(tmp_path / "x.loom"),
        {"": counts, "spliced": counts * 2},
        {"Gene": cells.var_names.to_numpy()},
        {"CellID": cells.obs_names.to_numpy(), "t": cells.obs["cell_type"].astype(str).to_numpy()},
    )
    assert detect_reader(tmp_path / "x.loom") == "loom"
    adata = read_cells(tmp_path / "x.loom")
    assert_same(adata, cells.layers["counts"], cells.var_names)
    assert list(adata.obs["t"]) == list(cells.obs["cell_type"])
    assert (
        read_cells(tmp_path / "x.loom", ReadingOptions(layer="spliced")).X.sum() == 2 * counts.sum()
    )
    with pytest.raises(InputError, match="spliced"):
        read_cells(tmp_path / "x.loom", ReadingOptions(layer="nope"))


# ------------------------------------------------------------------------------------------ csv


@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("corner", [True, False])
@pytest.mark.parametrize("transpose", [True, False])
def test_csv(
    cells: ad.AnnData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    separator: str,
    packed: bool,
    corner: bool,
    transpose: bool,
) -> None:
    monkeypatch.setattr("plkd.io.formats.CSV_CHUNK_VALUES", 1000)  # several chunks
    counts = cells.layers["counts"].toarray().astype(int)
    frame = pd.DataFrame(counts, index=cells.obs_names, columns=cells.var_names)
    text = (frame.T if transpose else frame).to_csv(sep=separator)
    text = text if corner else text[1:]
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    adata = read_cells(path, ReadingOptions(transpose=transpose))
    assert_same(adata, cells.layers["counts"], cells.var_names)
    assert adata.X.dtype == np.int32
    assert list(adata.obs_names) == list(cells.obs_names)
    chunks = [
        chunk
        for _, chunk in iterate_cells(path, ReadingOptions(transpose=transpose), chunk_size=50)
    ]
    assert [chunk.shape[0] for chunk in chunks] == [50, 10]


def test_csv_with_repeated_genes_and_labels(tmp_path: Path) -> None:
    text = "\ufeffindex,A,B,A,type,B.1\nc1,1,0,2.0,T cell,3\n7,0,1,0,B cell,0\n"
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    adata = read_cells(tmp_path / "x.csv", obs_columns=["type", "absent"])
    assert list(adata.var_names) == ["A", "B", "B.1"]
    np.testing.assert_array_equal(adata.X.toarray(), [[3, 0, 3], [0, 1, 0]])
    assert list(adata.obs_names) == ["c1", "7"]
    assert list(adata.obs["type"]) == ["T cell", "B cell"]
    with pytest.raises(InputError, match=r"'type'.*T cell"):
        read_cells(tmp_path / "x.csv")


@pytest.mark.parametrize(
    "text", ["", "only one line,a\n", "index,a,b\nc1,1\n", "index,a\nc1,1\nc2,1,2,3\n"]
)
def test_csv_that_is_no_table(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(InputError, match=r"x\.csv"):
        read_cells(tmp_path / "x.csv", ReadingOptions(reader="csv"))


def test_options_of_other_readers(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("i,a\nc,1\n")
    with pytest.raises(InputError, match="use_raw"):
        read_cells(tmp_path / "x.csv", ReadingOptions(use_raw=True))
    ad.AnnData(np.ones((2, 2))).write_h5ad(tmp_path / "x.h5ad")
    with pytest.raises(InputError, match="transpose"):
        read_cells(tmp_path / "x.h5ad", ReadingOptions(transpose=True))


def test_the_file_is_not_modified(h5ad: Path) -> None:
    before = h5ad.read_bytes()
    read_cells(h5ad)
    list(iterate_cells(h5ad))
    assert h5ad.read_bytes() == before


@pytest.mark.real_data
def test_real_chunks_equal_reading(real_data: Path) -> None:
    path = real_data / "spatial_starmap_mpfc_3slices.h5ad"
    whole = read_cells(path)
    chunks = sparse.vstack([chunk for _, chunk in iterate_cells(path, chunk_size=1000)])
    assert (chunks != whole.X).nnz == 0
    assert whole.obsm["spatial"].shape == (whole.n_obs, 2)
