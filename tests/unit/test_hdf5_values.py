"""Stretches of compressed arrays are those that h5py reads."""

from __future__ import annotations

import zlib

import h5py
import numpy as np
import pytest

from plkd.io.hdf5_values import read_values

STORED = {
    "gzip": {"compression": "gzip", "chunks": (64,)},
    "gzip and shuffle": {"compression": "gzip", "shuffle": True, "chunks": (64,)},
    "lzf": {"compression": "lzf", "chunks": (64,)},
    "gzip and checksum": {"compression": "gzip", "fletcher32": True, "chunks": (64,)},
    "chunks": {"chunks": (64,)},
    "one piece": {},
}


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<i4", "<i8", "u1"])
@pytest.mark.parametrize("stored", STORED)
def test_as_h5py_reads(stored, dtype, tmp_path):
    expected = np.random.default_rng(0).integers(0, 200, 1000).astype(dtype)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        values = file.create_dataset("x", data=expected, **STORED[stored])
        for first, last in [(0, 1000), (0, 64), (63, 65), (64, 64), (5, 3), (900, 1000), (1, 999)]:
            found = read_values(values, first, last)
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected[first:last])


def test_chunks_that_were_never_written_and_those_written_without_a_filter(tmp_path):
    packed = {"chunks": (10,), "compression": "gzip", "fillvalue": 7}
    with h5py.File(tmp_path / "f.h5", "w") as file:
        values = file.create_dataset("x", (35,), "<f4", **packed)
        values[10:20] = np.arange(10)
        plain = np.arange(10, 20, dtype="<f4")
        values.id.write_direct_chunk((20,), plain.tobytes(), filter_mask=1)
        np.testing.assert_array_equal(read_values(values, 0, 35), values[:])
        np.testing.assert_array_equal(read_values(values, 20, 30), plain)


@pytest.mark.parametrize(
    "content", [b"", b"no zlib", zlib.compress(bytes(4)), zlib.compress(bytes(10**6))]
)
def test_a_damaged_chunk_is_an_error(content, tmp_path):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        values = file.create_dataset("x", data=np.arange(30.0), chunks=(10,), compression="gzip")
        values.id.write_direct_chunk((10,), content or b"\0")
        assert read_values(values, 0, 10).tolist() == list(range(10))
        with pytest.raises(ValueError, match="chunk at 10"):
            read_values(values, 0, 30)
