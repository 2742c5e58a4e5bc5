from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from plkd.errors import InputError
from plkd.io.gene_names import GeneTable, resolve_gene_names

TEXT = """gene_id,old,new,note
1,SEPT2,SEPTIN2,
2,MARCH1,MARCHF1,
3,MLL2,KMT2D,alias of two
4,MLL2,KMT2B,
5,ENSG00000141510,TP53,
6,WISP1,CCN4,
7,CYR61,,no new name
8,SEPT2,SEPTIN2,again
9,CTGF,CCN2,
"""


@pytest.fixture(params=["plain", "packed", "tabs"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    text = TEXT.replace(",", "\t") if request.param == "tabs" else TEXT
    file = tmp_path / "table"
    file.write_bytes(gzip.compress(text.encode()) if request.param == "packed" else text.encode())
    return file


def test_a_table_renames_and_the_rest_stays(path: Path) -> None:
    table = GeneTable.from_config({"path": str(path), "from": "old", "to": "new"})
    names = [
        "SEPT2",
        "MLL2",
        "ENSG00000141510.18",
        " CD8A",
        "CYR61",
        None,
        "wisp1",
        "GAPDH",
        "CCN4",
    ]
    resolved, report = resolve_gene_names(names, table)
    assert resolved == ["SEPTIN2", "MLL2", "TP53", "CD8A", "CYR61", "", "CCN4", "GAPDH", "CCN4"]
    assert report == {
        "in_file": 9,
        "unnamed": 1,
        "as_they_were": 4,
        "cleaned": 1,
        "renamed": 3,
        "renamed_by_case": 1,
        "ambiguous": 1,
        "not_listed": 0,
    }


def test_orthologues_leave_the_rest_out(tmp_path: Path) -> None:
    (tmp_path / "mouse.tsv").write_text(
        "mouse\thuman\nCd8a\tCD8A\nTrp53\tTP53\nH2-K1\tHLA-A\nH2-D1\tHLA-A\n"
        "Xist\tXIST\nOas1a\tOAS1\nOas1a\tOAS2\n"
    )
    table = GeneTable.read(tmp_path / "mouse.tsv", only_listed=True)
    names = ["Cd8a", "H2-K1", "H2-D1", "Oas1a", "Gm1", "TRP53"]
    resolved, report = resolve_gene_names(names, table)
    assert resolved == ["CD8A", "HLA-A", "HLA-A", "", "", "TP53"]
    assert (report["renamed"], report["ambiguous"], report["not_listed"]) == (4, 1, 2)


def test_case_that_is_not_clear_is_left_alone() -> None:
    table = GeneTable({"Ab": "ONE", "aB": "TWO", "C": "THREE"}, frozenset({"c"}))
    resolved, _ = resolve_gene_names(["AB", "Ab", "C", "c"], table)
    assert resolved == ["AB", "ONE", "THREE", "c"]


def test_without_a_table_only_versions_and_blanks_go() -> None:
    resolved, report = resolve_gene_names(["ENSMUSG00000059552.9", "AC012345.1", float("nan")])
    assert resolved == ["ENSMUSG00000059552", "AC012345.1", ""]
    assert (report["cleaned"], report["as_they_were"], report["unnamed"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("text", "settings", "words"),
    [
        ("a,b\nX,Y\n", {"to": "symbol"}, "'symbol'.*a, b"),
        ("a,b\nX,\n", {}, "no row has both"),
        ("only\nX\n", {}, "single field"),
        ("", {}, "single field"),
        ("a,b\nX,Y,Z,W\nQ,R,S,T,U\n", {}, "table"),
    ],
)
def test_tables_that_cannot_be_used(
    tmp_path: Path, text: str, settings: dict[str, str], words: str
) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(InputError, match=rf"table\.csv.*{words}"):
        GeneTable.from_config({"path": tmp_path / "table.csv", **settings})


def test_a_table_that_is_not_there_or_not_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.csv.*does not exist"):
        GeneTable.read(tmp_path / "gone.csv")
    with pytest.raises(InputError, match="needs the path"):
        GeneTable.from_config({"from": "a"})


def test_the_tables_that_come_with_the_library() -> None:
    table = GeneTable.from_config("human")
    resolved, counts = resolve_gene_names(["ENSG00000167286.9", "MS4A1", "ENSG99999999999"], table)
    assert resolved == ["CD3D", "MS4A1", "ENSG99999999999"]
    assert counts["renamed"] == 1
    with pytest.raises(InputError, match="'human', 'mouse'"):
        GeneTable.from_config("yeast")
