from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from plkd.errors import InputError
from plkd.preparation.assemble import assemble

GENES = {"a": ["G1", "G2", "G3", "G4"], "b": ["G4", "G2", "G5"]}
IDS = {"a": ["AAAC-1", "AAAG-1", "AAAT-1"], "b": ["AAAC-1", "CCCC-1"]}


def counts_of(name: str) -> pd.DataFrame:
    seed = {"a": 1, "b": 2}[name]
    values = np.random.default_rng(seed).poisson(2.0, (len(IDS[name]), len(GENES[name])))
    return pd.DataFrame(values + (values.sum() == 0), index=IDS[name], columns=GENES[name])


def write_h5ad(folder: Path, name: str) -> Path:
    frame = counts_of(name)
    cells = ad.AnnData(
        sparse.csr_matrix(frame.to_numpy(dtype=np.float32)),
        obs=pd.DataFrame(index=frame.index),
        var=pd.DataFrame(index=frame.columns),
    )
    cells.write_h5ad(folder / f"{name}.h5ad")
    return folder / f"{name}.h5ad"


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    files = [{"name": name, "path": str(write_h5ad(tmp_path, name))} for name in ("a", "b")]
    return {"files": files, "genes": "inner"}


def run(config: dict[str, Any], folder: Path) -> tuple[ad.AnnData, dict[str, Any]]:
    report = assemble(config, folder / "out" / "cells.h5ad", folder / "out" / "report.json")
    return ad.read_h5ad(folder / "out" / "cells.h5ad"), report


def written(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return str(path)


def expected_frame(join: str) -> pd.DataFrame:
    """By pandas: cells of both files, genes in common or all."""
    frames = [counts_of(name).rename(index=lambda one, n=name: f"{n}:{one}") for name in IDS]
    return pd.concat(frames, join=join).fillna(0)


@pytest.mark.parametrize("join", ["inner", "outer"])
def test_joins_files_over_their_genes(config: dict[str, Any], tmp_path: Path, join: str) -> None:
    cells, report = run({**config, "genes": join}, tmp_path)
    expected = expected_frame(join)
    assert isinstance(cells.X, sparse.csr_matrix)
    assert list(cells.obs_names) == list(expected.index)  # a barcode of both files: two cells
    pd.testing.assert_frame_equal(
        cells.to_df()[expected.columns], expected, check_dtype=False, check_names=False
    )
    assert list(cells.obs["file"]) == ["a", "a", "a", "b", "b"]
    assert report["genes"] == len(expected.columns)


def test_csv_tables_and_derived_columns(tmp_path: Path) -> None:
    """Matrices and tables as separate packed csv files, a cell of the first one repeated."""
    files = []
    for name in ("a", "b"):
        frame = np.log1p(counts_of(name)).rename_axis("index")
        about = pd.DataFrame(
            {
                "patient": "P1" if name == "a" else ["P1", "P2"],
                "cluster": [f"M{i:02d}_Type/{i}+" for i in range(len(frame))],
                "n_counts": range(len(frame)),
            },
            index=frame.index,
        )
        about = about.iloc[::-1]  # in another order than the cells
        files.append(
            {
                "name": name,
                "path": written(tmp_path, f"{name}.csv.gz", frame.to_csv()),
                "reader": "csv",
                "table": {"path": written(tmp_path, f"{name}_meta.csv.gz", about.to_csv())},
            }
        )
    columns = {"cell_type": {"from": "cluster", "remove": "^M[0-9]+_"}}
    config = {"files": files, "genes": "inner", "unique_by": ["patient"], "columns": columns}
    cells, report = run(config, tmp_path)
    assert list(cells.obs_names) == ["a:AAAC-1", "a:AAAG-1", "a:AAAT-1", "b:CCCC-1"]
    assert list(cells.obs["cell_type"]) == ["Type/0+", "Type/1+", "Type/2+", "Type/1+"]
    assert list(cells.obs["n_counts"]) == ["0", "1", "2", "1"]  # text as it is written
    assert [file["cells_repeated"] for file in report["files"]] == [0, 1]
    expected = np.log1p(expected_frame("inner")).drop("b:AAAC-1")
    np.testing.assert_allclose(cells.to_df()[expected.columns], expected, rtol=1e-6)


def test_tables_stay_text(config: dict[str, Any], tmp_path: Path) -> None:
    """Labels that look like numbers or missing ones, and a cell that is called 0001."""
    cells = ad.read_h5ad(config["files"][0]["path"])
    cells.obs_names = ["0001", "1", "NA"]
    cells.write_h5ad(config["files"][0]["path"])
    rows = ["cell,cluster", "0001,01", "1,1", "NA,None"]
    about = {"path": written(tmp_path, "about.csv", "\n".join(rows) + "\n")}
    config["files"] = [{**config["files"][0], "table": about}]
    found, _ = run(config, tmp_path)
    assert list(found.obs_names) == ["a:0001", "a:1", "a:NA"]
    assert list(found.obs["cluster"]) == ["01", "1", "None"]


def test_one_table_of_all_files_and_places(config: dict[str, Any], tmp_path: Path) -> None:
    """Numbers as file names, no header, a cell that is not listed, spots in another order."""
    for file, name in zip(config["files"], ("151507", "151508"), strict=True):
        ids = IDS[file["name"]]
        file["name"] = name
        rows = [f"{one},1,{i},{i},{100 * i},{10 * i}" for i, one in enumerate(ids)][::-1]
        rows.append("TTTT-1,0,9,9,9,9")
        file["positions"] = {"path": written(tmp_path, f"{name}.txt", "\n".join(rows) + "\n")}
    rows = ["AAAC-1\t151507\tL1", "AAAT-1\t151507\tWM", "CCCC-1\t151508\tL2"]
    config["table"] = {
        "path": written(tmp_path, "layers.tsv", "\n".join(rows) + "\n"),
        "columns": ["barcode", "slice", "layer"],
        "cell": "barcode",
        "file": "slice",
        "only_listed": True,
    }
    cells, report = run(config, tmp_path)
    assert list(cells.obs_names) == ["151507:AAAC-1", "151507:AAAT-1", "151508:CCCC-1"]
    assert list(cells.obs["layer"]) == ["L1", "WM", "L2"]
    assert list(cells.obs["slice"]) == ["151507", "151507", "151508"]
    np.testing.assert_array_equal(cells.obsm["spatial"], [[0, 0], [20, 200], [10, 100]])
    assert [file["cells_not_listed"] for file in report["files"]] == [1, 1]
    config["table"]["only_listed"] = False
    cells, _ = run(config, tmp_path)
    assert cells.n_obs == 5
    assert cells.obs["layer"].isna().sum() == 2


def with_table(text: str, **settings: Any):  # type: ignore[no-untyped-def]
    def change(config: dict[str, Any], folder: Path) -> None:
        config["files"][0]["table"] = {"path": written(folder, "t.csv", text), **settings}

    return change


def log_one_file(config: dict[str, Any], folder: Path) -> None:
    path = config["files"][1]["path"]
    cells = ad.read_h5ad(path)
    cells.X = cells.X.log1p()
    cells.write_h5ad(path)


def other_genes(config: dict[str, Any], folder: Path) -> None:
    path = config["files"][1]["path"]
    cells = ad.read_h5ad(path)
    cells.var_names = ["X1", "X2", "X3"]
    cells.write_h5ad(path)


def repeated_ids(config: dict[str, Any], folder: Path) -> None:
    path = config["files"][1]["path"]
    cells = ad.read_h5ad(path)
    cells.obs_names = ["A", "A"]
    cells.write_h5ad(path)


def places_of_one_file(config: dict[str, Any], folder: Path) -> None:
    rows = "".join(f"{one},1,0,0,0,0\n" for one in IDS["a"])
    config["files"][0]["positions"] = {"path": written(folder, "p.txt", rows)}


def places_that_lack_a_spot(config: dict[str, Any], folder: Path) -> None:
    rows = "".join(f"{one},1,0,0,0,0\n" for one in IDS["a"][1:])
    config["files"][0]["positions"] = {"path": written(folder, "p.txt", rows)}


def no_places(config: dict[str, Any], folder: Path) -> None:
    config["files"][0]["positions"] = {"path": written(folder, "p.txt", "a,b\nc,d\n")}


def table_of_other_files(config: dict[str, Any], folder: Path) -> None:
    text = "cell,of,layer\nAAAC-1,other,L1\n"
    config["table"] = {"path": written(folder, "t.csv", text), "file": "of"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_table("id,label\nX-1,B\n"), ("t.csv", "X-1", "AAAC-1")),
        (with_table("id,label\nAAAC-1,B\nAAAC-1,T\n"), ("t.csv", "AAAC-1", "twice")),
        (with_table("id,label\nAAAC-1,B\n", cell="barcode"), ("t.csv", "barcode", "label")),
        (table_of_other_files, ("t.csv", "other", "'a'")),
        (log_one_file, ("b.h5ad", "log1p", "counts")),
        (other_genes, ("gene", "common")),
        (repeated_ids, ("b.h5ad", "twice")),
        (places_of_one_file, ("b.h5ad", "places")),
        (places_that_lack_a_spot, ("p.txt", "AAAC-1")),
        (no_places, ("p.txt", "columns")),
        (lambda config, folder: config.update(unique_by=["donor"]), ("donor",)),
        (
            lambda config, folder: config.update(columns={"new": {"from": "gone"}}),
            ("gone", "file"),
        ),
        (lambda config, folder: Path(config["files"][1]["path"]).unlink(), ("b.h5ad",)),
    ],
)
def test_what_does_not_belong_together(
    config: dict[str, Any], tmp_path: Path, change: Any, words: tuple[str, ...]
) -> None:
    change(config, tmp_path)
    with pytest.raises(InputError) as error:
        run(config, tmp_path)
    assert all(word in str(error.value) for word in words), str(error.value)
    assert list((tmp_path / "out").iterdir()) == []
