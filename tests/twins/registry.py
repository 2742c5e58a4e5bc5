"""The twins by the names of the data sets' configurations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from plkd.errors import InputError
from plkd.utils.files import writable_folder
from twins.common import Truth
from twins.geo import write_bmmc, write_pan_cancer
from twins.glue import (
    write_chen_2019,
    write_ma_2020,
    write_multiome_10x,
    write_muto_2021,
)
from twins.visium import write_dlpfc

WRITERS: dict[str, Callable[[Path, int, int], Truth]] = {
    "bmmc": write_bmmc,
    "pbmc": write_multiome_10x,  # the same files
    "pan_cancer": write_pan_cancer,
    "dlpfc": write_dlpfc,
    "multiome_10x": write_multiome_10x,
    "chen_2019": write_chen_2019,
    "ma_2020": write_ma_2020,
    "muto_2021": write_muto_2021,
}


def write_twin(name: str, root: str | Path, *, n_cells: int = 600, seed: int = 0) -> Truth:
    """Write the miniature twin of a data set of the paper.

    The files have the layout of the published ones (formats, names of keys and columns, spellings
    of labels, quirks) and hold simulated cells. ``config/datasets/<name>.yaml`` reads them if its
    sources are rewritten to a server of the folder: ``url_rewrites: {"https://":
    "http://127.0.0.1:PORT/", "http://": "http://127.0.0.1:PORT/"}``. Twins of the same seed share
    the genome and may lie in one folder.

    Parameters
    ----------
    name
        One of `WRITERS`.
    root
        Folder for the tree ``<host>/<path>``; ``truth_<name>.json`` is written into it too.
    n_cells
        Number of cells; for Muto-2021 of the expression, the accessibility has a fifth more.
    seed
        The same seed gives the same values.

    Returns
    -------
    Truth
        What was planted, and the numbers to expect.

    Raises
    ------
    InputError
        If there is no such twin, or the cells are too few for its labels.
    """
    if name not in WRITERS:
        raise InputError(f"there is no twin '{name}'; expected one of {', '.join(WRITERS)}")
    root = writable_folder(root)
    truth = replace(WRITERS[name](root, n_cells, seed), name=name)
    truth.save(root)
    return truth
