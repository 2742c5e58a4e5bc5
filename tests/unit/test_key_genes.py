"""Tables of genes, key genes and their stability, against small cases done by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from plkd.interpret.cells import AttributedCells, draw_cells
from plkd.interpret.key_genes import (
    gene_table,
    key_genes,
    pool_sizes,
    read_gene_table,
    stability,
    write_gene_table,
)


def attributed(values, labels, expression, classes=("A", "B", "C"), genes=None) -> AttributedCells:
    values = np.asarray(values, dtype=np.float32)
    return AttributedCells(
        np.array([f"c{i}" for i in range(len(values))]),
        list(genes or [f"g{i}" for i in range(values.shape[1])]),
        list(classes),
        np.asarray(labels),
        values,
        sparse.csr_matrix(np.asarray(expression, dtype=np.float32)),
        np.full(values.shape[1], 1.0, dtype=np.float32),
        np.zeros(len(values)),
    )


SMALL = attributed(
    [[1, -3, 0, 0.5], [3, -1, 0, -0.5], [0, 0, 2, -4]],
    [0, 0, 2],
    [[2, 0, 1, 3], [2, 0, 1, 3], [0, 0, 5, 0]],
    genes=["CD3D", "NA", "g2", "g3"],
)


def test_table_by_hand(tmp_path):
    table = gene_table(SMALL)
    assert list(table["label"]) == ["A", "A", "A", "C", "C"]  # B has no cell, zeros are left out
    first = table[table["label"] == "A"].set_index("gene")
    assert list(first.index) == ["CD3D", "NA", "g3"]  # a tie keeps the order of the genes
    np.testing.assert_allclose(first["mean_abs_shap"], [2, 2, 0.5])
    np.testing.assert_allclose(first["mean_shap"], [2, -2, 0])
    assert list(first["present"]) == [True, False, True]
    assert first["present_rank"].tolist() == [1, pd.NA, 2]
    assert first["cells"].eq(2).all()
    write_gene_table(table, tmp_path / "t.tsv")
    again = read_gene_table(tmp_path / "t.tsv")
    assert list(again["gene"]) == list(table["gene"])  # the gene named NA is still there
    pd.testing.assert_frame_equal(
        again, table.astype({"present_rank": float, "rank": "int64"}), check_dtype=False,
        rtol=1e-5,
    )  # fmt: skip


def test_cells_come_back_from_their_file(tmp_path):
    SMALL.save(tmp_path / "x.npz")
    again = AttributedCells.load(tmp_path / "x.npz")
    assert (again.genes, again.classes) == (SMALL.genes, SMALL.classes)
    np.testing.assert_array_equal(again.values, SMALL.values)
    np.testing.assert_array_equal(again.cells.toarray(), SMALL.cells.toarray())
    np.testing.assert_array_equal(again.cell_ids, SMALL.cell_ids)


def network(*rows: tuple[str, str, float, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["label", "gene", "q", "rank"])


def test_both_pools_by_hand():
    found = key_genes(
        gene_table(SMALL),
        network(("A", "g3", 0.1, 1), ("A", "NA", 0.2, 2), ("A", "g2", 0.3, 3), ("B", "g0", 0, 1)),
        {"A": ["NA"]},
        pool_size=2,
    )
    a = found[found["label"] == "A"]
    assert list(a["gene"]) == ["NA", "CD3D", "g3", "g2"]
    assert list(a["key"]) == [True, False, False, False]
    assert list(a["in_shap"]) == [True, True, False, False]
    assert list(a["in_network"]) == [True, False, True, True]
    assert a["shap_rank"].tolist() == [2, 1, 3, pd.NA]
    assert a["marker"].tolist() == [True, False, False, False]
    assert "B" not in set(found["label"])  # no cell is called B
    assert found.loc[found["label"] == "C", "marker"].isna().all()


def test_pools_by_chance_and_by_hand():
    table = gene_table(SMALL)
    found = pool_sizes(table, network(("A", "g3", 0.1, 1), ("A", "NA", 0.2, 2)), n_genes=4)
    row = found[(found["label"] == "A")].iloc[0]
    assert (row["pool_size"], row["shared"], row["expected"], row["p_value"]) == (4, 2, 2, 1)
    empty = found[found["label"] == "C"].iloc[0]
    assert (empty["network_genes"], empty["shared"], empty["p_value"]) == (0, 0, 1)


def ranked(**genes: str) -> pd.DataFrame:
    rows = [
        {"label": label, "gene": gene, "rank": i + 1}
        for label, names in genes.items()
        for i, gene in enumerate(names.split())
    ]
    return pd.DataFrame(rows, columns=["label", "gene", "rank"])


def test_stability_by_hand():
    names = [f"g{i}" for i in range(12)]
    same = " ".join(names[:10])
    moved = " ".join(names[2:12])
    found = stability({"1": ranked(A=same, B="x"), "2": ranked(A=same), "3": ranked(A=moved)}, 100)
    assert set(found["label"]) == {"A"}  # B occurs in one run
    row = found[found["top"] == 10].iloc[0]
    assert row["runs"] == 3
    assert row["jaccard"] == pytest.approx((1 + 8 / 12 + 8 / 12) / 3)
    assert (row["lowest"], row["highest"]) == (8 / 12, 1)
    assert row["chance"] == pytest.approx(1 / 19)
    assert row["in_all"].split(";") == names[2:10]
    assert stability({"1": ranked(A=same)}, 100).empty


def test_chance_is_what_random_sets_have():
    rng = np.random.default_rng(0)
    tables = {
        str(i): ranked(A=" ".join(f"g{j}" for j in rng.permutation(60)[:20])) for i in range(60)
    }
    row = stability(tables, 60).query("top == 20").iloc[0]
    assert row["jaccard"] == pytest.approx(row["chance"], rel=0.05)


def test_cells_are_drawn_evenly_and_by_seed():
    labels = np.array(["a"] * 50 + ["b"] * 3 + ["c"])
    rows = draw_cells(labels, 5, seed=1)
    assert pd.Series(labels[rows]).value_counts().to_dict() == {"a": 5, "b": 3, "c": 1}
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, draw_cells(labels, 5, seed=1))
    assert not np.array_equal(rows, draw_cells(labels, 5, seed=2))
