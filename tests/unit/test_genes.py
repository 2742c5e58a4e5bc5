from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from plkd.errors import InputError
from plkd.io.ensembl import ENSEMBL, symbols_of_ids, with_symbols
from plkd.io.genes import (
    GeneColumns,
    align_genes,
    clean_gene_names,
    match_genes,
    naming_hint,
)
from plkd.io.scale import detect_scale

GENE_NAMES = st.lists(st.sampled_from(list("AaBbCcDdEe")), unique=True, max_size=10)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("ENSG00000141510.18", "ENSG00000141510"),
        ("ENSMUSG00000059552.9", "ENSMUSG00000059552"),
        ("ENSG00000182378.13_PAR_Y", "ENSG00000182378"),
        (" CD8A\t", "CD8A"),
        ("HLA-A", "HLA-A"),
        ("RP11-34P13.7", "RP11-34P13.7"),
        ("AC012345.1", "AC012345.1"),
        (None, ""),
        (float("nan"), ""),
        (7, "7"),
    ],
)
def test_clean_gene_names(raw: object, clean: str) -> None:
    assert clean_gene_names([raw]) == [clean]


def merged(X: object, names: list[str]) -> tuple[list[str], sparse.csr_matrix]:
    matrix = sparse.csr_matrix(np.asarray(X))
    columns = GeneColumns.from_names(names)
    return columns.genes, columns.merge(matrix, detect_scale(matrix))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32])
def test_duplicates_of_counts_are_added(dtype: type) -> None:
    X = np.array([[1, 2, 127, 4], [100, 5, 120, 0]], dtype=dtype)
    genes, result = merged(X, ["A", "B", " A", "C"])
    assert genes == ["A", "B", "C"]
    np.testing.assert_array_equal(result.toarray(), [[128, 2, 4], [220, 5, 0]])
    assert result.dtype == (np.int32 if dtype in (np.uint8, np.int16) else dtype)
    assert list(GeneColumns.from_names(["A", "", "B", " A", "C"]).first_columns) == [0, 2, 4]


def test_small_integers_do_not_overflow() -> None:
    X = np.full((1, 300), 255, dtype=np.uint8)
    _, result = merged(X, ["A"] * 300)
    assert result.toarray().tolist() == [[300 * 255]]


def test_duplicates_of_logged_values_equal_merging_the_counts() -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(2.0, size=(20, 5)).astype(float)
    names = ["A", "B", "A", "C", "B"]
    logged = np.log1p(counts / counts.sum(1, keepdims=True) * 1e4)
    merged_counts = merged(counts, names)[1].toarray()
    expected = np.log1p(merged_counts / counts.sum(1, keepdims=True) * 1e4)
    result = merged(logged, names)[1].toarray()
    np.testing.assert_allclose(result, expected, rtol=1e-12)
    np.testing.assert_array_equal(result[:, 2], logged[:, 3])


def test_unnamed_genes_are_dropped() -> None:
    genes, result = merged([[1, 2, 3]], ["A", "", "B"])
    assert genes == ["A", "B"]
    np.testing.assert_array_equal(result.toarray(), [[1, 3]])


def test_columns_count_what_they_lose() -> None:
    columns = GeneColumns.from_names(["A", None, "A", "B", "", "A"])
    assert (columns.genes, columns.n_unnamed, columns.n_merged) == (["A", "B"], 2, 2)


def test_align_reorders_fills_and_reports() -> None:
    X = sparse.csr_matrix(np.array([[1, 2, 3], [4, 0, 6]], dtype=np.int32))
    aligned, overlap = align_genes(X, ["A", "B", "C"], ["C", "Z", "A"])
    np.testing.assert_array_equal(aligned.toarray(), [[3, 0, 1], [6, 0, 4]])
    assert aligned.dtype == np.int32
    assert aligned.format == "csr"
    assert aligned.has_sorted_indices
    assert (overlap.n_wanted, overlap.n_found, overlap.missing) == (3, 2, ["Z"])
    assert overlap.share == pytest.approx(2 / 3)
    assert not overlap.matched_by_case


def test_case_is_ignored_only_where_it_helps() -> None:
    X = sparse.csr_matrix(np.array([[1.0, 2.0, 3.0, 4.0]]))
    aligned, overlap = align_genes(X, ["CD8A", "Cd8a", "GAPDH", "x"], ["Cd8a", "Gapdh", "Actb"])
    np.testing.assert_array_equal(aligned.toarray(), [[2, 3, 0]])
    assert overlap.matched_by_case
    assert overlap.as_dict()["n_missing"] == 1


IDS = ["ENSG00000167286", "ENSG00000156738", "ENSG99999999999", "ENSG00000111640"]
SYMBOLS = ["MS4A1", "GAPDH", "CD3D", "MADE_UP"]


def test_ensembl_ids_and_symbols_are_the_same_genes() -> None:
    X = sparse.csr_matrix(np.array([[1, 2, 3, 4]]))
    aligned, overlap = align_genes(X, IDS, SYMBOLS)
    np.testing.assert_array_equal(aligned.toarray(), [[2, 4, 1, 0]])
    assert (overlap.missing, overlap.matched_by_id, overlap.matched_by_case) == (
        ["MADE_UP"], True, False,
    )  # fmt: skip
    assert "Ensembl ids" in overlap.describe()
    back, overlap = align_genes(aligned, SYMBOLS, IDS)
    np.testing.assert_array_equal(back.toarray(), [[1, 2, 0, 4]])
    assert overlap.matched_by_id
    mouse = [name.capitalize() for name in SYMBOLS[:3]]
    assert match_genes(IDS, mouse)[1].n_found == 3
    assert not match_genes(IDS, IDS[::-1])[1].matched_by_id


@pytest.mark.parametrize("organism", ["human", "mouse"])
def test_the_table_of_ensembl_ids_is_one_to_one(organism: str) -> None:
    table = symbols_of_ids(organism)
    assert len(set(table.values())) == len(table) > 40_000
    assert all(ENSEMBL.fullmatch(name) for name in table)
    assert with_symbols([*table][:50]) == [*table.values()][:50]
    assert with_symbols(["CD3D", "ENSG00000167286", ""]) == ["CD3D", "ENSG00000167286", ""]
    with pytest.raises(InputError, match="'human', 'mouse'"):
        symbols_of_ids("yeast")


def test_nothing_in_common() -> None:
    aligned, overlap = align_genes(sparse.csr_matrix(np.ones((2, 1))), ["A"], ["B", "C"])
    assert aligned.shape == (2, 2)
    assert aligned.nnz == 0
    assert overlap.share == 0
    assert match_genes(["A"], [])[1].share == 0
    assert "gene_symbols_key" in naming_hint(["ENSG00000141510"], ["TP53"])
    assert "TP53" in naming_hint(["1"], ["TP53"])


@given(GENE_NAMES, GENE_NAMES)
def test_matching_agrees_with_brute_force(have: list[str], want: list[str]) -> None:
    columns, overlap = match_genes(have, want)
    used = [place for place in columns if place >= 0]
    assert len(used) == len(set(used)) == overlap.n_found
    for gene, place in zip(have, columns, strict=True):
        if gene in want:
            assert want[place] == gene
        elif place >= 0:
            assert want[place].lower() == gene.lower()
            assert want[place] not in have
    folded = [{g for g in names if g.lower() == "a"} for names in (have, want)]
    assert sum(want[p].lower() == "a" for p in used) == min(map(len, folded))
    assert overlap.missing == [g for i, g in enumerate(want) if i not in used]


@given(GENE_NAMES, st.integers(0, 5))
def test_aligning_to_a_permutation_loses_nothing(genes: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = sparse.random_array((4, len(genes)), density=0.5, rng=rng, format="csr")
    order = rng.permutation(len(genes))
    there, _ = align_genes(sparse.csr_matrix(X), genes, [genes[i] for i in order])
    np.testing.assert_array_equal(there.toarray(), X.toarray()[:, order])


@given(GENE_NAMES, GENE_NAMES, st.integers(0, 5))
def test_aligning_agrees_with_a_dictionary(have: list[str], want: list[str], seed: int) -> None:
    X = np.random.default_rng(seed).poisson(1.0, (3, len(have)))
    aligned, overlap = align_genes(sparse.csr_matrix(X), have, want)
    by_name = dict(zip(have, X.T, strict=True))
    taken = set(have) & set(want)
    for place, gene in enumerate(want):
        column = aligned.toarray()[:, place]
        if gene in by_name:
            np.testing.assert_array_equal(column, by_name[gene])
            continue
        # Without an equal name, the other spelling serves if nobody else wants it.
        other = gene.swapcase()
        expected = by_name[other] if other in by_name and other not in taken else np.zeros(3)
        np.testing.assert_array_equal(column, expected)
        assert (gene in overlap.missing) == (other not in by_name or other in taken)


@given(st.integers(0, 20))
def test_order_of_cells_and_genes_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = sparse.csr_matrix(rng.poisson(0.7, (5, 6)))
    names = rng.choice(list("ABCD"), 6).tolist()
    genes, result = merged(X.toarray(), names)
    cells, order = rng.permutation(5), rng.permutation(6)
    other_genes, other = merged(X.toarray()[cells][:, order], [names[i] for i in order])
    back = [other_genes.index(gene) for gene in genes]
    np.testing.assert_array_equal(other.toarray()[:, back], result.toarray()[cells])
