"""Wider names above labels, of a small piece of an ontology."""

from __future__ import annotations

import gzip
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import yaml

import plkd
from plkd.cli import main
from plkd.errors import InputError
from plkd.prediction.cell_ontology import ids_of_labels, read_ontology, tree_above
from plkd.prediction.label_tree import LabelTree

KINDS = {  # id: name, ids of wider terms
    "CL:0": ("cell", []),
    "CL:1": ("lymphocyte", ["CL:0"]),
    "CL:2": ("T cell", ["CL:1"]),
    "CL:3": ("alpha-beta T cell", ["CL:2"]),
    "CL:4": ("CD4-positive T cell", ["CL:3"]),
    "CL:5": ("CD8-positive T cell", ["CL:3", "CL:9"]),
    "CL:6": ("natural killer cell", ["CL:1", "CL:9"]),
    "CL:7": ("B cell", ["CL:1"]),
    "CL:8": ("monocyte", ["CL:0"]),
    "CL:9": ("killer cell", ["CL:0"]),
    "CL:10": ("gamma-delta T cell", ["CL:2"]),
}
IDS = {"CD4 T": "CL:4", "CD8 T": "CL:5", "NK": "CL:6", "B": "CL:7", "Mono": "CL:8"}


@pytest.fixture(scope="module")
def obo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    stanzas = ["format-version: 1.2"]
    for term, (name, wider) in KINDS.items():
        lines = ["[Term]", f"id: {term}", f"name: {name}", *(f"is_a: {one}" for one in wider)]
        stanzas.append("\n".join([*lines, "relationship: part_of CL:8"]))
    stanzas.append("[Term]\nid: CL:99\nname: obsolete cell\nis_obsolete: true")
    stanzas.append("[Typedef]\nid: part_of\nname: part of")
    path = tmp_path_factory.mktemp("obo") / "cl.obo"
    path.write_text("\n\n".join(stanzas) + "\n")
    return path


def test_terms_that_hold_several_labels(obo: Path) -> None:
    tree = tree_above(IDS, read_ontology(obo))
    # 'killer cell' (CD8 T, NK) would cut through 'alpha-beta T cell' (CD4 T, CD8 T): of terms that
    # hold the same labels the narrowest stands, and 'cell' holds all of them
    assert tree == {
        "lymphocyte": ["B", "NK", "alpha-beta T cell"],
        "alpha-beta T cell": ["CD4 T", "CD8 T"],
    }
    labels = LabelTree.of(tree, list(IDS))
    names, _ = labels.back_off(np.array([[0.45, 0.45, 0.1, 0, 0], [0.3, 0.3, 0.3, 0.1, 0]]))
    assert list(names) == ["alpha-beta T cell", "lymphocyte"]


def test_a_label_that_is_wider_than_others_stands_above_them(obo: Path) -> None:
    ids = {"T": "CL:2", "CD4": "CL:4", "gd": "CL:10", "Mono": "CL:8", "B": "CL:7"}
    assert tree_above(ids, read_ontology(obo)) == {"lymphocyte": ["B", "T"], "T": ["CD4", "gd"]}


def test_a_label_that_is_called_as_a_wider_term_is(obo: Path) -> None:
    ids = {"lymphocyte": "CL:7", "CD4": "CL:4", "CD8": "CL:5", "Mono": "CL:8"}
    tree = tree_above(ids, read_ontology(obo))
    assert tree["lymphocyte (CL:1)"] == ["alpha-beta T cell", "lymphocyte"]
    LabelTree.of(tree, list(ids))


def test_nothing_to_say(obo: Path) -> None:
    ontology = read_ontology(obo)
    assert tree_above({"B": "CL:7", "Mono": "CL:8"}, ontology) == {}
    assert tree_above({}, ontology) == {}


def test_what_cannot_be(obo: Path, tmp_path: Path) -> None:
    ontology = read_ontology(obo)
    with pytest.raises(InputError, match=r"the ontology has no 'CL:99'"):
        tree_above({"a": "CL:99", "b": "CL:7"}, ontology)
    with pytest.raises(InputError, match=r"'a', 'b' have one id"):
        tree_above({"a": "CL:7", "b": "CL:7"}, ontology)
    with pytest.raises(InputError, match="does not exist"):
        read_ontology(tmp_path / "none.obo")
    (tmp_path / "other.obo").write_text("no ontology\n\n[Term]\nid: GO:1\nname: x\n")
    with pytest.raises(InputError, match=r"cannot be read as OBO|no term of cells"):
        read_ontology(tmp_path / "other.obo")


def test_ids_of_cells(caplog: pytest.LogCaptureFixture) -> None:
    obs = pd.DataFrame(
        {"label": ["B", "B", "NK", "?", None], "id": ["CL:7", "CL:7", "CL:6", "", ""]}
    )
    assert ids_of_labels(obs, "label", "id") == {"B": "CL:7", "NK": "CL:6"}
    assert "'?' without an id" in caplog.text
    obs["id"] = ["CL:7", "CL:6", "CL:6", "", ""]
    with pytest.raises(InputError, match="the label 'B' has several ids"):
        ids_of_labels(obs, "label", "id")
    with pytest.raises(InputError, match="has no column 'ids'; its columns are 'label', 'id'"):
        ids_of_labels(obs, "label", "ids")


@pytest.mark.parametrize("source", ["cells.h5ad", "labels.tsv"])
def test_the_command_writes_what_annotate_reads(obo: Path, tmp_path: Path, source: str) -> None:
    table = pd.DataFrame({"cell_type": IDS.keys(), "cell_type_ontology_term_id": IDS.values()})
    path = tmp_path / source
    if source == "labels.tsv":
        table.to_csv(path, sep="\t", index=False)
    else:
        cells = table.loc[[0, 1, 2, 3, 4, 0, 1]].set_axis([f"c{i}" for i in range(7)])
        ad.AnnData(np.ones((7, 2), dtype=np.float32), obs=cells.astype("category")).write_h5ad(path)
    packed = tmp_path / "cl.obo.gz"
    packed.write_bytes(gzip.compress(obo.read_bytes()))
    output = tmp_path / "new" / "tree.yaml"
    arguments = ["--labels", "cell_type", "--ontology", str(packed), "-o", str(output)]
    assert main(["label-tree", str(path), *arguments]) == 0
    expected = tree_above(IDS, read_ontology(obo))
    assert yaml.safe_load(output.read_text()) == expected
    assert LabelTree.read(output, list(IDS)).path_to("CD4 T")[0] == "lymphocyte"
    assert plkd.label_tree(table, "cell_type", ontology=obo) == expected
