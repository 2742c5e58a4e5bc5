"""The stage `assemble`: several published files of cells become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from anndata.io import write_elem

from plkd.errors import InputError
from plkd.io.cells import read_cells
from plkd.io.formats import open_text, separator_of
from plkd.io.scale import detect_scale
from plkd.io.stores import existing, readable
from plkd.settings.datasets import ReadingOptions
from plkd.utils.files import scratch_folder, whole_file, write_json
from plkd.utils.hdf5 import hdf5_file, write_h5ad
from plkd.utils.logs import logger
from plkd.utils.progress import ProgressBar
from plkd.utils.text import listed

FILE_COLUMN = "file"
_POSITIONS = ["barcode", "in_tissue", "array_row", "array_col", "y", "x"]


@dataclass
class _Seen:
    """What the files before hold: scale, places, and which cells."""

    kinds: dict[str, str] = field(default_factory=dict)
    placed: dict[str, bool] = field(default_factory=dict)
    cells: set[tuple[str, ...]] = field(default_factory=set)


def assemble(config: Mapping[str, Any], output: str | Path, report: str | Path) -> dict[str, Any]:
    """Join files of cells over their genes and write one h5ad.

    The files are in memory one at a time.

    Parameters
    ----------
    config
        The key `cells` of a data set, with the `path` of the fetched file beside every `url`.
    output
        The h5ad to write. X: CSR (n_cells, n_genes), the values as they were; `obs`: the columns of
        the files and tables, and `file`; cell ids begin with the name of their file;
        ``obsm['spatial']``: (x, y) in pixels of the slide, where positions were given.
    report
        JSON to write: what each file held and what was left out.

    Returns
    -------
    dict
        The report, as written.

    Raises
    ------
    InputError
        If a file or table cannot be read, they do not belong together, or nothing is left.
    """
    table = _read_table(config["table"]) if config.get("table") else None
    seen = _Seen()
    parts: list[Path] = []
    described: list[tuple[dict[str, Any], pd.DataFrame]] = []
    places: list[np.ndarray] = []
    with (
        whole_file(output) as temporary,
        scratch_folder(Path(output).parent) as scratch,
    ):
        for entry in ProgressBar(config["files"], desc="assembling", unit="file"):
            cells, about = _read_file(entry, table, config, seen)
            part = scratch / f"{len(parts)}.h5ad"
            plain = ad.AnnData(
                cells.X,
                obs=pd.DataFrame(index=cells.obs_names),
                var=pd.DataFrame(index=cells.var_names),
            )
            write_h5ad(plain, part)
            parts.append(part)
            described.append((about, cells.obs))
            if "spatial" in cells.obsm:
                places.append(np.asarray(cells.obsm["spatial"]))
            logger.info("%s: %d cells, %d genes", entry["name"], *cells.shape)
        _concatenate(parts, config["genes"], temporary)
        obs = _joined_obs([obs for _, obs in described], config.get("columns") or {})
        with hdf5_file(temporary, "r+") as store:
            write_elem(store, "obs", obs)
            write_elem(store, "obsm", {"spatial": np.vstack(places)} if places else {})
            n_genes = store["X"].attrs["shape"][1]
        if n_genes == 0:
            raise InputError(
                "the files of `cells` have no gene in common: they may be named differently "
                "(`gene_symbols_key`); `genes: outer` joins them all the same"
            )
    content = {
        "cells": len(obs),
        "genes": int(n_genes),
        "join": config["genes"],
        "files": [about for about, _ in described],
    }
    write_json(report, content)
    return content


def _read_file(
    entry: Mapping[str, Any], table: pd.DataFrame | None, config: Mapping[str, Any], seen: _Seen
) -> tuple[ad.AnnData, dict[str, Any]]:
    """Cells of one file with their table and positions, repeats left out."""
    name, path = entry["name"], entry["path"]
    cells = read_cells(path, ReadingOptions.from_config(entry))
    about: dict[str, Any] = {"name": name, "cells_read": cells.n_obs, "genes": cells.n_vars}
    own_ids = cells.obs_names.copy()
    if not own_ids.is_unique:
        raise InputError(f"'{path}': {int(own_ids.duplicated().sum()):,} cell ids occur twice")

    kept = np.ones(cells.n_obs, dtype=bool)
    if entry.get("table"):
        kept &= _describe(cells, _read_table(entry["table"]), entry["table"], about)
    if table is not None:
        settings = config["table"]
        rows = table[table[settings["file"]] == name]
        if rows.empty:
            raise InputError(
                f"'{settings['path']}', column '{settings['file']}': no row is of the file "
                f"'{name}'; the values are "
                f"{', '.join(map(str, table[settings['file']].unique()[:20]))}"
            )
        kept &= _describe(cells, rows, settings, about)
    if entry.get("positions"):
        cells.obsm["spatial"] = _read_positions(entry["positions"]["path"], own_ids)
    if config.get("unique_by"):
        kept &= _first_of_their_kind(cells, own_ids, kept, config["unique_by"], path, seen)
        about["cells_repeated"] = cells.n_obs - int(kept.sum()) - about.get("cells_not_listed", 0)

    cells.obs[FILE_COLUMN] = name
    cells.obs_names = [f"{name}:{one}" for one in own_ids]
    cells = cells[kept].copy()
    seen.kinds[name] = detect_scale(cells.X, told=entry.get("scale") or "auto").kind
    seen.placed[name] = "spatial" in cells.obsm
    for found, what in ((seen.kinds, "hold values of the same kind"), (seen.placed, "have places")):
        if len(set(found.values())) > 1:
            raise InputError(f"'{path}': either all files must {what}, or none; found {found}")
    about |= {"cells": cells.n_obs, "values": seen.kinds[name]}
    return cells, about


def _read_table(settings: Mapping[str, Any]) -> pd.DataFrame:
    """Table of cells, all of it text as it is written; its index the cell ids."""
    path = existing(settings["path"])
    columns = settings.get("columns")
    with open_text(path) as handle, readable(path, "the header"):
        separator = separator_of(handle.readline(1_000_000)) or ","
    with open_text(path) as handle, readable(path, "the table of cells"):
        table = pd.read_csv(
            handle,
            sep=separator,
            header=None if columns else 0,
            names=columns,
            dtype=str,
            na_filter=False,
        )
        names = [settings.get("cell") or table.columns[0]]
        names += [settings["file"]] if settings.get("file") else []
    absent = [name for name in names if name not in table]
    if absent:
        raise InputError(
            f"'{path}' has no column '{absent[0]}'; its columns are: "
            f"{', '.join(map(str, table.columns[:30]))}"
        )
    return table.set_index(names[0])


def _describe(
    cells: ad.AnnData, table: pd.DataFrame, settings: Mapping[str, Any], about: dict[str, Any]
) -> np.ndarray:
    """Add the columns of a table to the cells; says which cells are to be kept."""
    path = settings["path"]
    if not table.index.is_unique:
        twice = table.index[table.index.duplicated()].unique()
        raise InputError(f"'{path}': {len(twice):,} cells are listed twice, such as '{twice[0]}'")
    places = table.index.get_indexer(cells.obs_names)
    known = places >= 0
    if not known.any():
        raise InputError(
            f"'{path}' lists none of the cells of '{about['name']}': its ids look like "
            f"{listed(table.index[:3])}, those of the cells like "
            f"{listed(cells.obs_names[:3])}"
        )
    for column in table:
        cells.obs[column] = table[column].reindex(cells.obs_names).to_numpy()
    about["cells_not_listed"] = int((~known).sum())
    if not known.all() and not settings.get("only_listed"):
        logger.warning("'%s' does not list %d cells of '%s'", path, (~known).sum(), about["name"])
        return np.ones(cells.n_obs, dtype=bool)
    return known


def _read_positions(path: str | Path, cell_ids: pd.Index) -> np.ndarray:
    """Places of the spots on the slide, (n_cells, 2) float32: x to the right, y downwards."""
    path = existing(path)
    with open_text(path) as handle, readable(path, "the positions"):
        has_header = handle.readline(10_000).startswith("barcode")
        handle.seek(0)
        table = pd.read_csv(handle, header=0 if has_header else None, dtype={0: str})
        if table.shape[1] != len(_POSITIONS):
            raise InputError(
                f"'{path}' has {table.shape[1]} columns; expected the {len(_POSITIONS)} of Visium: "
                "barcode, in_tissue, array_row, array_col, and row and column in pixels"
            )
        table.columns = pd.Index(_POSITIONS)
        places = table.set_index("barcode")[["x", "y"]].reindex(cell_ids)
    if places["x"].isna().any():
        lost = cell_ids[places["x"].isna()]
        raise InputError(f"'{path}' has no place for {len(lost):,} spots, such as '{lost[0]}'")
    return places.to_numpy(dtype=np.float32)


def _first_of_their_kind(
    cells: ad.AnnData,
    own_ids: pd.Index,
    candidates: np.ndarray,
    columns: Sequence[str],
    path: str | Path,
    seen: _Seen,
) -> np.ndarray:
    """Which cells no earlier file has, by their id and some columns."""
    absent = [column for column in columns if column not in cells.obs]
    if absent:
        raise InputError(
            f"'{path}': the cells have no column '{absent[0]}' (`unique_by`); their columns are: "
            f"{', '.join(map(str, cells.obs.columns))}"
        )
    keys = zip(own_ids, *(cells.obs[column].astype(str) for column in columns), strict=True)
    first = np.zeros(cells.n_obs, dtype=bool)
    for row, key in enumerate(keys):
        if candidates[row] and key not in seen.cells:
            first[row] = True
            seen.cells.add(key)
    return first


def _concatenate(parts: Sequence[Path], join: str, output: Path) -> None:
    if len(parts) == 1:
        parts[0].replace(output)
        return
    with hdf5_file(output) as file:
        ad.experimental.concat_on_disk(list(parts), file["/"], join=join, merge="same")


def _joined_obs(tables: Sequence[pd.DataFrame], derived: Mapping[str, Any]) -> pd.DataFrame:
    obs = pd.concat(tables)
    for name, rule in derived.items():
        if rule["from"] not in obs:
            raise InputError(
                f"`cells.columns.{name}`: there is no column '{rule['from']}'; the columns are: "
                f"{', '.join(map(str, obs.columns))}"
            )
        values = obs[rule["from"]].astype("string")
        obs[name] = values.str.replace(rule.get("remove", ""), "", regex=True)
    for name in obs.columns[[obs[c].dtype == object or obs[c].dtype == "string" for c in obs]]:
        known = obs[name].notna()
        obs[name] = pd.Categorical(obs[name].astype(str).where(known, None))
    return obs
