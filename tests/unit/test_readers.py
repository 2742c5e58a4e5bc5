"""What holds for every format: nothing is lost, and nothing but an InputError goes wrong."""

from __future__ import annotations

import doctest
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import h5py
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from plkd.errors import InputError
from plkd.io import row_store, stores
from plkd.io.cells import open_cells, read_cells
from plkd.io.hdf5_values import read_values
from written import WRITERS

few = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


@st.composite
def matrices(draw: st.DrawFn) -> sparse.csr_matrix:
    n_cells, n_genes = draw(st.integers(1, 7)), draw(st.integers(1, 6))
    seed, density = draw(st.integers(0, 999)), draw(st.sampled_from([0.0, 0.3, 1.0]))
    rng = np.random.default_rng(seed)
    X = rng.integers(1, 2**20, (n_cells, n_genes)) * (rng.random((n_cells, n_genes)) < density)
    return sparse.csr_matrix(X.astype(np.float32))


def named(X: sparse.csr_matrix) -> tuple[list[str], list[str]]:
    cells = [f"cell{i}-1" for i in np.random.default_rng(0).permutation(X.shape[0])]
    return cells, [f"G{i}" for i in range(X.shape[1])]


@pytest.mark.parametrize("kind", WRITERS)
@few
@given(X=matrices(), chunk_size=st.integers(1, 8))
def test_nothing_is_lost_on_the_way(kind: str, X: sparse.csr_matrix, chunk_size: int) -> None:
    cells, genes = named(X)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cells"
        WRITERS[kind](X, cells, genes, path)
        read = read_cells(path)
        assert list(read.obs_names) == cells
        assert list(read.var_names) == genes
        np.testing.assert_array_equal(read.X.toarray(), X.toarray())
        with open_cells(path) as opened:
            seen = [(rows, chunk.toarray()) for rows, chunk in opened.chunks(chunk_size)]
        assert [row for rows, _ in seen for row in range(rows.start, rows.stop)] == list(
            range(len(cells))
        )
        np.testing.assert_array_equal(np.vstack([chunk for _, chunk in seen]), X.toarray())


@few
@given(X=matrices(), seed=st.integers(0, 99))
def test_order_in_the_file_does_not_matter(X: sparse.csr_matrix, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells, genes = named(X)
    rows, columns = rng.permutation(X.shape[0]), rng.permutation(X.shape[1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cells"
        WRITERS["h5ad csr"](
            X[rows][:, columns], [cells[i] for i in rows], [genes[i] for i in columns], path
        )
        read = read_cells(path)[cells, genes]
        np.testing.assert_array_equal(read.X.toarray(), X.toarray())


def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have small matrices read as large ones are."""
    monkeypatch.setattr(stores, "DECODED_VALUES", 0)
    monkeypatch.setattr(stores, "HELD_BYTES", 0)
    monkeypatch.setattr(stores, "SCANNED_VALUES", 37)
    monkeypatch.setattr(row_store, "BUCKET_ROWS", 8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.float16, bool])
@pytest.mark.parametrize("kind", ["h5ad csr", "h5ad csc", "zarr csc"])
@pytest.mark.parametrize("chunk_size", [3, 8, 20, 100])
def test_large_matrices_are_read_by_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, chunk_size: int, dtype: type
) -> None:
    X = some_values()
    WRITERS[kind](X, *named(X), tmp_path / "x")
    if dtype is not np.float32:
        stored_as(tmp_path / "x", dtype)
    large(monkeypatch)
    expected = X.toarray().astype(dtype)
    with open_cells(tmp_path / "x") as opened:
        parts = list(opened.chunks(chunk_size))
        assert [rows.start for rows, _ in parts] == list(range(0, 50, chunk_size))
        whole = sparse.vstack([chunk for _, chunk in parts])
        np.testing.assert_array_equal(whole.toarray(), expected)
        wanted = np.zeros(50, dtype=bool)
        wanted[[20, 41]] = True
        rows = [rows for rows, _ in opened.chunks(chunk_size, wanted)]
        assert len(rows) == len({20 // chunk_size, 41 // chunk_size})
        taken = opened.take(np.array([20, 41]))
        np.testing.assert_array_equal(taken.toarray(), expected[[20, 41]])


def some_values() -> sparse.csr_matrix:
    """50 x 20, the last rows and columns empty; whole numbers."""
    rng = np.random.default_rng(0)
    X = rng.integers(1, 9, (50, 20)) * (rng.random((50, 20)) < 0.3)
    X[47:], X[:, 18:] = 0, 0
    return sparse.csr_matrix(X.astype(np.float32))


def stored_as(path: Path, dtype: type) -> None:
    """Give the values another type; in zarr that of the file is changed as well."""
    store = zarr.open_group(path, mode="r+") if path.is_dir() else h5py.File(path, "r+")
    group = store["X"]
    values = group["data"][...].astype(dtype)
    del group["data"]
    if path.is_dir():
        group.create_array("data", data=values, chunks=(16,))
    else:
        group.create_dataset("data", data=values, chunks=(16,), compression="gzip")
        store.close()


def test_the_example_of_the_documentation_holds() -> None:
    assert doctest.testmod(row_store).failed == 0


@pytest.mark.parametrize("kind", ["h5ad csc", "zarr csc"])
def test_a_matrix_by_columns_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    X = some_values()
    WRITERS[kind](X, *named(X), tmp_path / "x")
    stored_as(tmp_path / "x", np.float32)
    large(monkeypatch)
    read: list[tuple[str, int, int]] = []

    def counted(values: object, first: int, last: int) -> NDArray[np.generic]:
        read.append((values.name.rpartition("/")[2], first, last))
        return read_values(values, first, last)

    monkeypatch.setattr(stores, "read_values", counted)
    with open_cells(tmp_path / "x") as opened:
        assert opened.scale.kind == "counts"
        for _ in range(2):
            opened.take(np.array([3, 30]))
            assert sum(chunk.nnz for _, chunk in opened.chunks(8)) == X.nnz
    for name in ("data", "indices"):
        stretches = [(first, last) for part, first, last in read if part == name]
        assert len(stretches) > 3
        assert [first for first, _ in stretches] == [0, *(last for _, last in stretches[:-1])]
        assert stretches[-1][1] == X.nnz
        assert all(first % 16 == 0 for first, _ in stretches)  # no chunk is unpacked twice
    read.clear()
    with stores.open_store(tmp_path / "x") as store:
        scales = stores.scales_of(stores.matrices_of(store), tmp_path / "x", but="")
    assert scales["X (no `layer`)"].kind == "counts"
    assert sum(last - first for _, first, last in read) == 2 * X.nnz


@pytest.mark.parametrize("fails", ["never", "reading", "later"])
def test_the_file_of_the_rows_is_gone_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    X = some_values()
    WRITERS["h5ad csc"](X, *named(X), tmp_path / "x")
    large(monkeypatch)
    if fails == "reading":
        with h5py.File(tmp_path / "x", "r+") as store:
            store["X/indices"][-1] = 50
    made: list[IO[bytes]] = []
    real = row_store.scratch_file
    monkeypatch.setattr(row_store, "scratch_file", lambda n: made.append(real(n)) or made[-1])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    expected = nullcontext() if fails == "never" else pytest.raises((InputError, KeyError))
    with expected as error, open_cells(tmp_path / "x") as opened:  # the error holds all frames
        for _ in opened.chunks(8):
            assert not made[0].closed
            if fails == "later":
                raise KeyError
    assert [file.closed for file in made] == [True]
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    del error


def test_a_disk_without_room_for_the_rows_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = some_values()
    WRITERS["h5ad csc"](X, *named(X), tmp_path / "x")
    large(monkeypatch)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    little = SimpleNamespace(free=7 * X.nnz - 1)  # two bytes of row, one of column, four of value
    monkeypatch.setattr("plkd.utils.files.shutil.disk_usage", lambda _: little)
    expected = rf"needed .* folder of temporary files, '{tmp_path}', .* TMPDIR"
    with open_cells(tmp_path / "x") as opened, pytest.raises(InputError, match=expected):
        opened.take(np.arange(3))


@pytest.mark.parametrize(("n_values", "at_once"), [(60, 3), (300, 8), (500, 24), (10**6, 50)])
@pytest.mark.parametrize("kind", ["h5ad dense", "zarr dense"])
def test_pieces_of_dense_rows_begin_where_those_of_others_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, n_values: int, at_once: int
) -> None:
    X = some_values()
    WRITERS[kind](X, *named(X), tmp_path / "x")
    large(monkeypatch)
    monkeypatch.setattr(stores, "DENSE_CHUNK_VALUES", n_values)
    monkeypatch.setattr(stores, "BLOCK_ROWS", 8)
    read: list[int] = []
    real = stores._wide_enough
    monkeypatch.setattr(stores, "_wide_enough", lambda x: read.append(x.shape[0]) or real(x))
    with open_cells(tmp_path / "x") as opened:
        for chunk_size in (16, 50):
            read.clear()
            pieces = list(opened.chunks(chunk_size))
            assert {rows.start % 8 for rows, _ in pieces} == {0}
            assert max(rows.stop - rows.start for rows, _ in pieces) <= max(at_once, 8)
            assert max(read) == min(at_once, chunk_size, n_values // 20)
            whole = sparse.vstack([chunk for _, chunk in pieces])
            np.testing.assert_array_equal(whole.toarray(), X.toarray())


def damaged(path: Path, seed: int) -> None:
    """Cut a file off, or overwrite some of its bytes.

    In HDF5 only stored numbers are overwritten: a wrong byte among its own pointers can make the
    HDF5 library itself turn in circles.
    """
    rng = np.random.default_rng(seed)
    file = path
    if path.is_dir():
        files = sorted(one for one in path.rglob("*") if one.is_file())
        file = files[rng.integers(len(files))]
    content = bytearray(file.read_bytes())
    if seed % 3 == 0 or len(content) < 2:
        file.write_bytes(bytes(content[: rng.integers(len(content))]))
    elif h5py.is_hdf5(file):
        overwrite_numbers(file, rng)
    else:
        for place in rng.integers(len(content), size=rng.integers(1, 40)):
            content[place] = rng.integers(256)
        file.write_bytes(bytes(content))


def overwrite_numbers(file: Path, rng: np.random.Generator) -> None:
    def look(_: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "iuf" and item.size:
            numbers.append(item)

    numbers: list[h5py.Dataset] = []
    with h5py.File(file, "r+") as store:
        store.visititems(look)
        for _ in range(rng.integers(1, 4)):
            dataset = numbers[rng.integers(len(numbers))]
            values = dataset[()]
            places = rng.integers(values.size, size=rng.integers(1, 4))
            noise = rng.integers(-(2**60), 2**60, size=places.size) >> rng.integers(60)
            values.reshape(-1)[places] = noise.astype(values.dtype)
            dataset[()] = values


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind != "h5ad packed"])
def test_damaged_files_are_read_or_refused(kind: str, folder: Path) -> None:
    X = sparse.csr_matrix(np.random.default_rng(0).poisson(0.6, (30, 20)).astype(np.float32))
    WRITERS[kind](X, *named(X), folder / "whole")
    outcomes = []
    for seed in range(30):
        path = folder / f"damaged{seed}"
        if (folder / "whole").is_dir():
            shutil.copytree(folder / "whole", path)
        else:
            shutil.copyfile(folder / "whole", path)
        damaged(path, seed)
        refusal = None
        try:
            read = read_cells(path)
        except InputError as error:
            refusal = str(error)
        if refusal is None:
            assert read.X.shape == (read.n_obs, read.n_vars)
        else:
            assert str(path) in refusal
        outcomes.append(refusal is None)
    assert False in outcomes
