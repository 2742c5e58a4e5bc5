"""What holds for every format: nothing is lost, and nothing but an InputError goes wrong."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from plkd.errors import InputError
from plkd.io.cells import open_cells, read_cells
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


@pytest.mark.parametrize("form", ["csr", "csc"])
@pytest.mark.parametrize("chunk_size", [3, 7, 100])
def test_large_matrices_by_columns_are_scanned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, chunk_size: int
) -> None:
    rng = np.random.default_rng(0)
    X = sparse.random_array((50, 20), density=0.3, rng=rng, format="csr", dtype=np.float32)
    X = sparse.csr_matrix(X)
    WRITERS[f"h5ad {form}"](X, *named(X), tmp_path / "x.h5ad")
    monkeypatch.setattr("plkd.io.stores.HELD_VALUES", 80)
    monkeypatch.setattr("plkd.io.stores.SCANNED_VALUES", 37)
    with open_cells(tmp_path / "x.h5ad") as opened:
        parts = list(opened.chunks(chunk_size))
        assert [rows.start for rows, _ in parts] == list(range(0, 50, chunk_size))
        whole = sparse.vstack([chunk for _, chunk in parts])
        np.testing.assert_array_equal(whole.toarray(), X.toarray())
        wanted = np.zeros(50, dtype=bool)
        wanted[[20, 41]] = True
        rows = [rows for rows, _ in opened.chunks(chunk_size, wanted)]
        assert len(rows) == len({20 // chunk_size, 41 // chunk_size})
        np.testing.assert_array_equal(
            opened.take(np.array([20, 41])).toarray(), X[[20, 41]].toarray()
        )


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
