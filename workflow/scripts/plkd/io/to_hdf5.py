"""Copy an annotated matrix from zarr to HDF5, of its arrays some millions of numbers at a time."""

from __future__ import annotations

import math
from typing import Any

import h5py
import numpy as np
from anndata.io import read_elem, write_elem

_AT_ONCE = 2**22
_NUMBERS = "biuf"
_GROUPS = ("anndata", "raw", "dict", "csr_matrix", "csc_matrix")


def copy_to_hdf5(store: Any, target: h5py.Group) -> None:
    """Copy what a group of zarr holds, as anndata (0.7 or later) wrote it.

    Parameters
    ----------
    store
        A group of zarr: the whole, or a part of it.
    target
        An empty group of HDF5.
    """
    for name, value in store.attrs.items():
        target.attrs[name] = value
    for name in store:
        elem = store[name]
        if not hasattr(elem, "shape") and elem.attrs.get("encoding-type") in _GROUPS:
            copy_to_hdf5(elem, target.create_group(name))
        elif hasattr(elem, "shape") and elem.ndim and elem.dtype.kind in _NUMBERS:
            _copy_array(elem, target, name)
        else:  # tables, texts, single values
            write_elem(target, name, read_elem(elem))


def _copy_array(array: Any, target: h5py.Group, name: str) -> None:
    copy = target.create_dataset(name, array.shape, np.dtype(array.dtype))
    for key, value in array.attrs.items():
        copy.attrs[key] = value
    n_rows = max(1, _AT_ONCE // max(math.prod(array.shape[1:]), 1))
    for start in range(0, array.shape[0], n_rows):
        copy[start : start + n_rows] = array[start : start + n_rows]
