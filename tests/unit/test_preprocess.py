from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import download
import plkd.io.cells
import plkd.io.h5ad_writer
import plkd.io.stores
import prepare
from plkd.errors import InputError
from plkd.preparation.prepare import PreparedPaths, prepare_dataset
from plkd.preparation.side import clean_labels
from plkd.preparation.variable_genes import GeneSums, merge_small_batches, select_genes, split_cells
from plkd.settings.datasets import part_of_cell
from simulated import MARKERS, make_cells


class Prepared(SimpleNamespace):
    reference: ad.AnnData
    query: ad.AnnData
    truth: pd.DataFrame
    genes: pd.DataFrame
    report: dict[str, Any]


class Workbench:
    """Writes the two sides to disk, runs the stage, and reads what came out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = PreparedPaths.in_folder(folder / "prepared")

    def __call__(
        self,
        reference: ad.AnnData | Path,
        query: ad.AnnData | Path | None = None,
        **settings: Any,
    ) -> Prepared:
        config = {
            "name": "test",
            "reference": {"labels_key": "cell_type", "batch_key": "batch"}
            | settings.pop("reference_settings", {}),
            "prepare": {"n_genes": 60} | settings.pop("prepare", {}),
        }
        if query is not None:
            config["query"] = {"labels_key": "cell_type", "batch_key": "batch"} | settings.pop(
                "query_settings", {}
            )
        paths = [self._write(reference, "r"), None if query is None else self._write(query, "q")]
        prepare_dataset(config | settings, *paths, self.out)
        return self.read()

    def read(self) -> Prepared:
        return Prepared(
            reference=ad.read_h5ad(self.out.reference),
            query=ad.read_h5ad(self.out.query),
            truth=pd.read_parquet(self.out.truth),
            genes=pd.read_csv(self.out.genes, sep="\t", keep_default_na=False, na_values=[""]),
            report=json.loads(self.out.report.read_text()),
        )

    def _write(self, adata: ad.AnnData | Path, name: str) -> Path:
        if isinstance(adata, Path):
            return adata
        path = self.folder / f"{name}.h5ad"
        adata.write_h5ad(path)
        return path


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path)


@pytest.fixture
def reference() -> ad.AnnData:
    return make_cells(240, 120, batches=["d1", "d2"], seed=0)


@pytest.fixture
def query() -> ad.AnnData:
    return make_cells(90, 120, batches=["d3"], seed=1)


def log_cp10k(adata: ad.AnnData) -> ad.AnnData:
    result = ad.AnnData(adata.X.copy(), obs=adata.obs.copy(), var=adata.var.copy())
    sc.pp.normalize_total(result, target_sum=1e4)
    sc.pp.log1p(result)
    del result.uns["log1p"]
    return result


# ---------------------------------------------------------------------------------- split_cells


def sum_genes(X: sparse.csr_matrix, batches: list[str]) -> GeneSums:
    """Sums over a matrix in memory; batches below 50 cells are joined with the next smallest."""
    codes, names = pd.factorize(merge_small_batches(batches), sort=True)
    sums = GeneSums.zeros(len(names), X.shape[1])
    sums.add(X, codes)
    return sums


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(2, 30), min_size=2, max_size=6),
    st.sampled_from([0.2, 0.5, 0.8, 0.9]),
    st.integers(0, 3),
)
def test_split_is_stratified_and_keeps_every_label(
    sizes: list[int], fraction: float, seed: int
) -> None:
    labels = [f"t{i}" for i, n in enumerate(sizes) for _ in range(n)]
    total, n_labels = sum(sizes), len(sizes)
    if min(int(np.ceil(total * fraction)), int(total - np.ceil(total * fraction))) < n_labels:
        with pytest.raises(InputError, match="query_fraction"):
            split_cells(labels, fraction, seed)
        return
    is_query = split_cells(labels, fraction, seed)
    np.testing.assert_array_equal(is_query, split_cells(labels, fraction, seed))
    kept = Counter(np.array(labels)[~is_query])
    share = np.ceil(total * fraction) / total
    for i, n in enumerate(sizes):
        assert kept[f"t{i}"] >= 1
        assert abs((n - kept[f"t{i}"]) - n * share) <= 1


def test_split_depends_on_the_seed() -> None:
    labels = ["a", "b"] * 50
    assert not np.array_equal(split_cells(labels, 0.5, 0), split_cells(labels, 0.5, 1))


def test_split_refuses_what_cannot_be_split() -> None:
    with pytest.raises(InputError, match=r"'lonely'.*drop_labels.*query"):
        split_cells(["a", "a", "b", "b", "lonely"], 0.5, 0)
    for fraction in (0, 1, -1, 2):
        with pytest.raises(InputError, match="query_fraction"):
            split_cells(["a", "a"], fraction, 0)


# --------------------------------------------------------------------------------- select_genes


def scanpy_choice(adata: ad.AnnData, n_genes: int, batch_key: str | None) -> set[str]:
    found = sc.pp.highly_variable_genes(
        adata, flavor="seurat", n_top_genes=n_genes, batch_key=batch_key, inplace=False
    )
    return set(np.asarray(adata.var_names)[found["highly_variable"].to_numpy()])


@pytest.mark.parametrize("batches", [["d1"], ["d1", "d2", "d3"]])
def test_genes_are_those_of_scanpy(batches: list[str]) -> None:
    adata = log_cp10k(make_cells(400, 300, batches=batches))
    table = select_genes(sum_genes(adata.X, list(adata.obs["batch"])), 80, np.ones(300, dtype=bool))
    chosen = set(adata.var_names[table["selected"]])
    assert chosen == scanpy_choice(adata, 80, "batch" if len(batches) > 1 else None)
    assert sorted(table["rank"]) == list(range(1, 301))
    assert table.loc[table["selected"], "rank"].max() == 80
    np.testing.assert_allclose(table["mean"], np.asarray(adata.X.mean(0)).ravel(), rtol=1e-5)


def test_ranks_are_those_of_scanpy_and_chunks_do_not_matter() -> None:
    adata = log_cp10k(make_cells(500, 300, batches=["d1", "d2", "d3"], seed=4))
    found = sc.pp.highly_variable_genes(
        adata, flavor="seurat", n_top_genes=80, batch_key="batch", inplace=False
    )
    order = found.sort_values(
        ["highly_variable_nbatches", "dispersions_norm"], ascending=False
    ).index
    batches = adata.obs["batch"].cat.codes.to_numpy()
    sums = GeneSums.zeros(3, 300)
    for start in range(0, 500, 37):
        sums.add(adata.X[start : start + 37], batches[start : start + 37])
    table = select_genes(sums, 80, np.ones(300, dtype=bool))
    assert list(adata.var_names[np.argsort(table["rank"].to_numpy())]) == list(order)
    dense = np.expm1(adata.X[batches == 1].toarray()).astype(np.float64)
    np.testing.assert_allclose(sums.moments(1)[0], dense.mean(0), rtol=1e-12)
    np.testing.assert_allclose(sums.moments(1)[1], dense.var(0, ddof=1), rtol=1e-9)


def test_markers_are_found_and_batch_genes_are_not() -> None:
    adata = make_cells(600, 300, types=4, batches=["d1", "d2"], batch_effect=0)
    batch_genes = adata.var_names.get_indexer([f"GENE{i:04d}" for i in range(1, 21)])
    X = adata.X.toarray()
    in_d2 = np.ix_((adata.obs["batch"] == "d2").to_numpy(), batch_genes)
    X[in_d2] += np.random.default_rng(0).poisson(9 * X[:, batch_genes].mean(0), X[in_d2].shape)
    adata.X = sparse.csr_matrix(X)
    logged = log_cp10k(adata)
    everything = np.ones(300, dtype=bool)
    table = select_genes(sum_genes(logged.X, list(adata.obs["batch"])), 60, everything)
    chosen = set(adata.var_names[table["selected"]])
    planted = {gene for name in list(MARKERS)[:4] for gene in MARKERS[name]}
    assert len(planted & chosen) > 0.7 * len(planted)
    blind = select_genes(sum_genes(logged.X, ["one"] * 600), 60, everything)
    n_aware, n_blind = (t["selected"].to_numpy()[batch_genes].sum() for t in (table, blind))
    assert n_aware < 5
    assert n_blind > 10


def test_only_candidates_are_ranked_and_chosen() -> None:
    adata = log_cp10k(make_cells(200, 100))
    candidates = np.arange(100) % 2 == 0
    sums = sum_genes(adata.X, ["b"] * 200)
    table = select_genes(sums, 20, candidates)
    assert table["selected"].sum() == 20
    assert not table["selected"].to_numpy()[~candidates].any()
    assert table["rank"].notna().to_numpy().tolist() == candidates.tolist()
    for n_genes in ("all", 50, 1000):
        table = select_genes(sums, n_genes, candidates)  # type: ignore[arg-type]
        assert table["selected"].tolist() == candidates.tolist()
        assert table["rank"].isna().all()


def test_tiny_batches_do_not_break_the_ranking() -> None:
    adata = log_cp10k(make_cells(200, 100))
    batches = ["one cell", "two", "two", *["d1"] * 100, *["d2"] * 97]
    table = select_genes(sum_genes(adata.X, batches), 20, np.ones(100, dtype=bool))
    assert table["selected"].sum() == 20


@pytest.mark.parametrize("n_cells", [2, 60])
def test_genes_that_do_not_vary_cannot_be_ranked(n_cells: int) -> None:
    constant = sparse.csr_matrix(np.ones((n_cells, 10), dtype=np.float32))
    with pytest.raises(InputError, match="n_genes: all"):
        select_genes(sum_genes(constant, ["b"] * n_cells), 5, np.ones(10, dtype=bool))


def test_small_batches_are_joined() -> None:
    batches = ["a"] * 100 + ["b"] * 60 + ["c"] * 30 + ["d"] * 15 + ["e"] * 10
    merged = merge_small_batches(batches, 50)
    assert sorted(Counter(merged).values()) == [55, 60, 100]
    assert set(merged[:160]) == {"a", "b"}
    assert len(set(merge_small_batches(["a", "b", "c"], 50))) == 1
    assert list(merge_small_batches(["x"] * 3, 50)) == ["x"] * 3


# --------------------------------------------------------------------------------- clean_labels


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([" T cell", "B cell ", ""], ["T cell", "B cell", None]),
        (["nan", "NaN", None], [None, None, None]),
        ([1, 2, 1], ["1", "2", "1"]),
        ([1.0, float("nan"), 2.0], ["1", None, "2"]),
        ([0.5, 1.0, 2.0], ["0.5", "1.0", "2.0"]),
        ([True, False, True], ["True", "False", "True"]),
        (pd.Categorical(["a", None, "b"]), ["a", None, "b"]),
        (pd.Categorical([1.0, None, 2.0]), ["1", None, "2"]),
    ],
)
def test_clean_labels(values: Any, expected: list[str | None]) -> None:
    assert clean_labels(pd.Series(values)).tolist() == expected


# ------------------------------------------------------------------------------ prepare_dataset


def test_what_the_stage_promises(
    bench: Workbench, reference: ad.AnnData, query: ad.AnnData
) -> None:
    reference.obsm["spatial"] = np.arange(480.0).reshape(240, 2)
    done = bench(reference, query)
    for side, source in ((done.reference, reference), (done.query, query)):
        assert isinstance(side.X, sparse.csr_matrix)
        assert side.X.dtype == np.float32
        expected = log_cp10k(source)[source.obs_names, side.var_names].X.toarray()
        np.testing.assert_allclose(side.X.toarray(), expected, rtol=1e-5)
        counts = source[:, side.var_names].X.toarray()
        np.testing.assert_array_equal(side.layers["counts"].toarray(), counts)
        assert side.layers["counts"].dtype == np.float32
        assert list(side.obs_names) == list(source.obs_names)
        assert side.uns["plkd"]["target_sum"] == 1e4
        assert side.uns["plkd"]["dataset"] == "test"
        assert side.uns["plkd"]["scale"]["kind"] == "counts"
        assert list(side.obs["batch"]) == list(source.obs["batch"])
    assert list(done.reference.var_names) == list(done.query.var_names)
    assert list(done.reference.obs["label"]) == list(reference.obs["cell_type"])
    assert isinstance(done.reference.obs["label"].dtype, pd.CategoricalDtype)
    assert list(done.query.obs.columns) == ["batch", "source_row"]
    np.testing.assert_array_equal(done.reference.obsm["spatial"], reference.obsm["spatial"])
    assert "spatial" not in done.query.obsm

    assert list(done.truth.columns) == ["cell_id", "label", "batch"]
    assert list(done.truth["cell_id"]) == list(query.obs_names)
    assert list(done.truth["label"]) == list(query.obs["cell_type"])
    assert list(done.truth["batch"]) == ["d3"] * 90

    genes = done.genes
    assert list(genes.columns) == ["gene", "in_query", "mean", "rank", "selected"]
    assert list(genes["gene"]) == list(reference.var_names)
    assert list(genes.loc[genes["selected"], "gene"]) == list(done.reference.var_names)
    assert genes["selected"].sum() == 60

    assert done.report["reference"]["cells"] == 240
    assert done.report["query"]["labels"] == dict(Counter(query.obs["cell_type"]))
    assert done.report["genes"]["selected"] == 60
    assert done.report["warnings"] == []


def test_no_trace_of_the_truth_in_the_query_file(
    bench: Workbench, reference: ad.AnnData, query: ad.AnnData
) -> None:
    secret = [f"SECRET {label}" for label in query.obs["cell_type"]]
    for column in ("cell_type", "cell_type_orig", "cluster"):
        query.obs[column] = pd.Categorical(secret)
    query.uns["cell_type_colors"] = sorted(set(secret))
    query.obsm["votes"] = pd.DataFrame({secret[0]: np.ones(90)}, index=query.obs_names)
    query.var[secret[0]] = 1.0
    done = bench(reference, query)
    assert set(done.truth["label"]) == set(secret)
    texts: list[str] = []

    def collect(name: str, item: h5py.Group | h5py.Dataset) -> None:
        texts.append(name)
        texts.extend(f"{key}={value!r}" for key, value in item.attrs.items())
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "OSU":
            texts.append(repr(item[()].tolist() if item.shape else item[()]))

    with h5py.File(bench.out.query) as store:
        store.visititems(collect)
        assert set(store["obs"]) == {"_index", "batch", "source_row"}
    found = "\n".join(texts)
    assert "d3" in found  # the search does look into the columns
    assert not [label for label in set(secret) if label in found]
    assert b"SECRET" not in bench.out.query.read_bytes()


def test_genes_come_from_the_reference_alone(
    bench: Workbench, reference: ad.AnnData, query: ad.AnnData
) -> None:
    first = bench(reference, query).genes
    other = query[:20].copy()
    other.X = sparse.csr_matrix(np.random.default_rng(0).poisson(5, other.shape).astype(np.float32))
    pd.testing.assert_frame_equal(bench(reference, other).genes, first)


def test_the_same_input_gives_the_same_output(
    bench: Workbench, reference: ad.AnnData, query: ad.AnnData
) -> None:
    def sums() -> list[str]:
        bench(reference, query)
        paths = (bench.out.genes, bench.out.truth, bench.out.report, bench.out.query)
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]

    assert sums() == sums()


def test_query_genes_in_another_order_case_and_number(
    bench: Workbench, reference: ad.AnnData, query: ad.AnnData
) -> None:
    order = np.random.default_rng(0).permutation(120)[:100]
    other = query[:, order].copy()
    other.var_names = [name.capitalize() for name in other.var_names]
    done = bench(reference, other, prepare={"n_genes": "all", "min_cells_per_gene": 0})
    assert set(done.query.var_names) == set(query.var_names[order])
    np.testing.assert_array_equal(
        done.query.layers["counts"].toarray(), query[:, done.query.var_names].X.toarray()
    )
    # Normalised by all genes the query has, selected or not.
    totals = np.asarray(other.X.sum(1))
    np.testing.assert_allclose(
        done.query.X.toarray(),
        np.log1p(query[:, done.query.var_names].X.toarray() / totals * 1e4),
        rtol=1e-5,
    )
    overlap = done.report["genes"]["overlap"]
    assert (overlap["n_found"], overlap["n_missing"], overlap["matched_by_case"]) == (100, 20, True)
    assert done.genes["in_query"].sum() == 100


def test_genes_absent_from_the_query_are_zero_in_the_reference_universe(
    bench: Workbench, reference: ad.AnnData, query: ad.AnnData
) -> None:
    done = bench(
        reference, query[:, 40:].copy(), prepare={"n_genes": 120, "gene_universe": "reference"}
    )
    absent = ~done.query.var["in_query"].to_numpy()
    assert absent.sum() > 30
    assert done.query.X[:, absent].nnz == 0
    assert any("67%" in note or "66.7%" in note for note in done.report["warnings"])


def test_too_few_genes_in_common(
    bench: Workbench, reference: ad.AnnData, query: ad.AnnData
) -> None:
    with pytest.raises(InputError, match=r"5 of 120.*min_gene_overlap"):
        bench(reference, query[:, :5].copy())
    bench(reference, query[:, :5].copy(), prepare={"min_gene_overlap": 0.0})
    query.var_names = [f"ENSG{i:011d}.2" for i in range(120)]
    with pytest.raises(InputError, match=r"0 of 120.*gene_symbols_key"):
        bench(reference, query, prepare={"min_gene_overlap": 0.0})
    assert not list(bench.folder.glob("prepared/.partial*"))


def test_gene_symbols_of_a_column(
    bench: Workbench, reference: ad.AnnData, query: ad.AnnData
) -> None:
    query.var["symbol"] = query.var_names
    query.var_names = [f"ENSG{i:011d}.2" for i in range(120)]
    done = bench(reference, query, query_settings={"gene_symbols_key": "symbol"})
    assert done.report["genes"]["overlap"]["n_found"] == 120


@pytest.mark.parametrize("stored", ["log1p", "log1p CPM", "linear", "log1p counts"])
def test_sides_on_different_scales_meet(
    bench: Workbench, reference: ad.AnnData, query: ad.AnnData, stored: str
) -> None:
    expected = bench(reference, query)
    other = query.copy()
    if stored != "log1p counts":
        sc.pp.normalize_total(other, target_sum=1e6 if "CPM" in stored else 1e4)
    if stored != "linear":
        other.X = other.X.log1p()
    done = bench(reference, other)
    np.testing.assert_allclose(done.query.X.toarray(), expected.query.X.toarray(), rtol=1e-4)
    np.testing.assert_array_equal(
        done.query.layers["counts"].toarray(), expected.query.layers["counts"].toarray()
    )
    assert done.report["query"]["scale"]["kind"] == stored.split()[0]
    assert done.report["query"]["counts"] == "recovered"


def test_scaled_values_are_refused_with_the_way_out(
    bench: Workbench, reference: ad.AnnData, query: ad.AnnData
) -> None:
    query.layers["counts"] = query.X.copy()
    query.X = query.X.toarray() - 1.5
    with pytest.raises(InputError, match=r"q\.h5ad.*z-scores.*layer: counts"):
        bench(reference, query)
    done = bench(reference, query, query_settings={"layer": "counts"})
    assert done.report["query"]["matrix"] == "layers['counts']"
    assert done.report["query"]["scale"]["kind"] == "counts"


def test_values_without_counts_have_no_counts_layer(
    bench: Workbench, reference: ad.AnnData, query: ad.AnnData
) -> None:
    query.X.data *= np.random.default_rng(0).lognormal(0, 0.3, query.X.nnz).astype(np.float32)
    done = bench(reference, query)
    assert "counts" not in done.query.layers
    assert done.report["query"]["counts"] == "unknown"


def test_cells_are_dropped_with_reasons(
    bench: Workbench, reference: ad.AnnData, query: ad.AnnData
) -> None:
    X = reference.X.tolil()
    X[:3] = 0
    X[3:5, 1:] = 0
    X[3:5, 0] = 7
    reference.X = X.tocsr()
    labels = reference.obs["cell_type"].astype(object)
    labels.iloc[10:14] = None
    labels.iloc[14:20] = "doublet"
    labels.iloc[20] = "rare"
    labels.iloc[21:40] = [f" {label} " for label in labels.iloc[21:40]]
    reference.obs["cell_type"] = labels
    query.obs["cell_type"] = query.obs["cell_type"].astype(object)
    query.obs.iloc[:7, 0] = "doublet"
    query.obs.iloc[7:9, 0] = np.nan
    done = bench(
        reference,
        query,
        reference_settings={"drop_labels": ["doublet", "absent"]},
        query_settings={"drop_labels": ["doublet"]},
        prepare={"min_genes_per_cell": 3},
    )
    dropped = {entry["reason"]: entry["cells"] for entry in done.report["reference"]["dropped"]}
    assert list(dropped.values()) == [3, 2, 4, 6, 1]
    assert done.reference.n_obs == 240 - 16
    assert set(done.reference.obs["label"]) == set(list(MARKERS)[:4])
    assert any("rare" in note for note in done.report["warnings"])
    assert any("absent" in note for note in done.report["warnings"])
    # Cells of the query are never dropped for their labels.
    assert done.query.n_obs == 90
    assert done.truth["label"].isna().sum() == 9
    assert done.report["query"]["cells_without_label"] == 9


def test_labels_that_only_the_query_has(bench: Workbench, query: ad.AnnData) -> None:
    reference = make_cells(200, 120, types=["B cell", "Monocyte", "NK cell"], batches=["d1"])
    done = bench(reference, query)
    only = done.report["labels"]["only_in_query"]
    assert set(only) == {"CD4 T cell", "CD8 T cell"}
    assert done.report["labels"]["only_in_reference"] == ["Monocyte"]
    assert done.truth["label"].isin(list(only)).sum() == sum(only.values())


@pytest.mark.parametrize("kind", ["boolean", "nullable boolean", "number", "category of numbers"])
def test_labels_that_are_no_text_become_text(
    bench: Workbench, reference: ad.AnnData, query: ad.AnnData, kind: str
) -> None:
    for cells in (reference, query):
        is_b = (cells.obs["cell_type"] == "B cell").to_numpy()
        cells.obs["cell_type"] = {
            "boolean": is_b,
            "nullable boolean": pd.array(is_b, dtype="boolean"),
            "number": is_b.astype(int),
            "category of numbers": pd.Categorical(is_b.astype(int)),
        }[kind]
    made = bench(reference, query)
    names = {"True", "False"} if "boolean" in kind else {"0", "1"}
    for labels in (made.reference.obs["label"], made.truth["label"]):
        assert set(labels.astype(object)) == names


def test_unlabelled_query(bench: Workbench, reference: ad.AnnData, query: ad.AnnData) -> None:
    del query.obs["cell_type"]
    done = bench(reference, query, query_settings={"labels_key": None, "batch_key": None})
    assert done.truth["label"].tolist() == [None] * 90
    assert set(done.query.obs["batch"]) == {"batch0"}
    assert done.report["labels"]["only_in_query"] == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels_key": "celltype"}, r"r\.h5ad.*celltype.*cell_type, batch"),
        ({"labels_key": None}, "labels_key"),
        ({"batch_key": "donor"}, r"donor.*batch_key.*cell_type, batch"),
        ({"batch_key": "cell_type"}, "give the label away"),
        ({"keep": {"site": ["s1"]}}, r"site.*keep.*cell_type, batch"),
        ({"keep": {"batch": ["d9"]}}, r"d9.*'d1'"),
        ({"keep": {"cell_type": ["B cell"]}}, r"two labels.*'B cell'"),
        ({"keep": {"batch": "d1", "flag": ["y"]}}, "no cell has all"),
        ({"drop": {"site": ["s1"]}}, r"site.*drop.*cell_type, batch"),
        ({"drop": {"batch": ["d9"]}}, r"d9.*'d1'"),
        ({"drop": {"batch": ["d1", "d2"]}}, "no cell has all"),
        ({"layer": "raw_counts"}, "raw_counts"),
        ({"part": {"number": 3, "of": 2}}, "3 of 2; expected a number from 1"),
        ({"part": {"number": 1, "of": 1}}, "1 of 1; .* at least 2 parts"),
        ({"part": {"number": 1, "of": 10**9}}, r"no reference cell is in part 1 of .*`part`"),
    ],
)
def test_settings_that_do_not_fit_the_file(
    bench: Workbench,
    reference: ad.AnnData,
    query: ad.AnnData,
    change: dict[str, Any],
    words: str,
) -> None:
    reference.obs["flag"] = np.where(reference.obs["batch"] == "d1", "n", "y")
    if "flag" not in change.get("keep", {}):
        del reference.obs["flag"]
    with pytest.raises(InputError, match=words):
        bench(reference, query, reference_settings=change)
    assert not (bench.folder / "prepared").exists()


def test_parts_are_disjoint_in_any_file_and_the_same_everywhere(
    bench: Workbench, reference: ad.AnnData
) -> None:
    """The part of a cell is its name's, whatever else a file holds, and in which order."""
    other = reference[::-1].copy()
    done = bench(
        reference,
        other,
        reference_settings={"part": {"number": 1, "of": 2}},
        query_settings={"part": {"number": 2, "of": 2}},
    )
    sides = [set(side.obs_names) for side in (done.reference, done.query)]
    assert sides[0] | sides[1] == set(reference.obs_names)
    assert not sides[0] & sides[1]
    assert 0.3 < len(sides[0]) / reference.n_obs < 0.7
    dropped = done.report["reference"]["dropped"][0]
    assert dropped == {"reason": "not in `keep` or `part`, or in `drop`", "cells": len(sides[1])}
    known = {"AAACAGCCAAGGAATC-1": 2, "AAACAGCCAATCCCTT-1": 1, "AAACAGCCACCAACCG-1": 2}
    assert {name: part_of_cell(name, 2) for name in known} == known


def test_a_part_is_taken_of_the_cells_that_are_kept(
    bench: Workbench, reference: ad.AnnData
) -> None:
    settings = {"keep": {"batch": ["d1"]}}
    whole = set(bench(reference, reference, query_settings=settings).query.obs_names)
    parts = [
        set(bench(reference, reference, query_settings={**settings, "part": part}).query.obs_names)
        for part in ({"number": number, "of": 3} for number in (1, 2, 3))
    ]
    assert set.union(*parts) == whole
    assert sum(map(len, parts)) == len(whole)


def test_drop_is_the_rest_of_keep(bench: Workbench, reference: ad.AnnData) -> None:
    path = bench._write(reference, "both")
    done = bench(
        path,
        path,
        reference_settings={"keep": {"batch": ["d1"]}},
        query_settings={"drop": {"batch": ["d1"]}},
    )
    assert set(done.reference.obs["batch"]) == {"d1"}
    assert set(done.query.obs["batch"]) == {"d2"}
    assert done.reference.n_obs + done.query.n_obs == reference.n_obs


def test_two_labels_are_drawn_in_the_ratio_that_is_asked_for(
    bench: Workbench, reference: ad.AnnData, query: ad.AnnData
) -> None:
    frequent, rare = reference.obs["cell_type"].value_counts().index[[0, -1]]
    n_frequent = (reference.obs["cell_type"] == frequent).sum()
    asked = {"major": frequent, "minor": rare, "ratio": 4}
    drawn = [
        bench(reference, query, reference_settings={"imbalance": {**asked, "seed": seed}}).reference
        for seed in (0, 0, 1)
    ]
    for one in drawn:
        counts = one.obs["label"].value_counts()
        assert set(counts.index) == {frequent, rare}
        assert counts[rare] == n_frequent // 4
        assert counts[frequent] == 4 * counts[rare]
    assert list(drawn[0].obs_names) == list(drawn[1].obs_names) != list(drawn[2].obs_names)
    with pytest.raises(InputError, match="too few for two cells"):
        bench(reference, query, reference_settings={"imbalance": {**asked, "ratio": n_frequent}})


def test_labels_that_are_all_missing(
    bench: Workbench, reference: ad.AnnData, query: ad.AnnData
) -> None:
    reference.obs["cell_type"] = np.nan
    with pytest.raises(InputError, match=r"cell_type.*two labels"):
        bench(reference, query)


def test_a_query_of_empty_cells(bench: Workbench, reference: ad.AnnData, query: ad.AnnData) -> None:
    query.X = sparse.csr_matrix(query.shape, dtype=np.float32)
    with pytest.raises(InputError, match=r"q\.h5ad.*90 no counts"):
        bench(reference, query)


@pytest.mark.parametrize("wrong", [{"gene_universe": "both"}, {"n_genes": 0}])
def test_settings_out_of_range(
    bench: Workbench, reference: ad.AnnData, query: ad.AnnData, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        bench(reference, query, prepare=wrong)


def test_cell_ids_become_unique(bench: Workbench, reference: ad.AnnData, query: ad.AnnData) -> None:
    reference.obs_names = [f"c{i % 120}" for i in range(240)]
    done = bench(reference, query)
    assert done.reference.obs_names.is_unique
    assert list(done.reference.obs_names[118:122]) == ["c118", "c119", "c0-1", "c1-1"]
    assert list(done.reference.obs["source_id"]) == list(reference.obs_names)
    assert done.report["reference"]["cell_ids_made_unique"] == 120


@pytest.mark.parametrize("stored", ["counts", "log1p"])
def test_the_size_of_a_chunk_does_not_matter(
    bench: Workbench, reference: ad.AnnData, monkeypatch: pytest.MonkeyPatch, stored: str
) -> None:
    split = {"query_fraction": 0.25, "seed": 3}
    cells = log_cp10k(reference) if stored == "log1p" else reference
    expected = bench(cells, split=split)
    real = plkd.io.cells.row_pieces
    monkeypatch.setattr(
        plkd.io.cells,
        "row_pieces",
        lambda matrix, path, _, *others: real(matrix, path, 13, *others),
    )
    done = bench(cells, split=split)
    for side in ("reference", "query"):
        one, other = getattr(done, side), getattr(expected, side)
        np.testing.assert_array_equal(one.X.toarray(), other.X.toarray())
        np.testing.assert_array_equal(
            one.layers["counts"].toarray(), other.layers["counts"].toarray()
        )
        pd.testing.assert_frame_equal(one.obs, other.obs)
    pd.testing.assert_frame_equal(done.genes, expected.genes)
    assert done.report == expected.report


def test_counts_are_those_of_every_cell_or_of_none(bench: Workbench) -> None:
    cells = log_cp10k(make_cells(1500, 120, seed=0))
    # One cell between the sampled ones, whose values are no multiples of anything.
    values = slice(cells.X.indptr[145], cells.X.indptr[146])
    cells.X.data[values] += np.linspace(0.01, 0.3, values.stop - values.start)
    done = bench(cells, split={"query_fraction": 0.25, "seed": 3})
    assert done.report["reference"]["scale"]["counts_recoverable"]
    found = {side: done.report[side]["counts"] for side in ("reference", "query")}
    assert sorted(found.values()) == ["recovered", "unknown"]
    for side, counts in found.items():
        assert ("counts" in getattr(done, side).layers) == (counts == "recovered")


def test_mouse_query_by_a_table_of_orthologues(
    bench: Workbench, reference: ad.AnnData, query: ad.AnnData
) -> None:
    names = list(query.var_names)
    mouse = query.copy()
    mouse.var_names = [f"m{name.capitalize()}.x" for name in names]
    table = bench.folder / "orthologues.tsv"
    rows = [f"{mouse.var_names[i]}\t{names[i]}" for i in range(100)]
    rows += [f"{mouse.var_names[100]}\t{names[0]}", f"{mouse.var_names[101]}\tA"]
    rows += [f"{mouse.var_names[101]}\tB"]
    table.write_text("mouse\thuman\n" + "\n".join(rows) + "\n")
    done = bench(
        reference,
        mouse,
        query_settings={"gene_table": {"path": str(table), "only_listed": True}},
        prepare={"n_genes": "all", "min_cells_per_gene": 0},
    )
    counts = query.X.toarray()
    counts[:, 0] += counts[:, 100]
    places = [names.index(gene) for gene in done.query.var_names]
    assert sorted(places) == list(range(100))
    np.testing.assert_array_equal(done.query.layers["counts"].toarray(), counts[:, places])
    report = done.report["query"]["gene_names"]
    assert (report["renamed"], report["merged"]) == (101, 1)
    assert (report["ambiguous"], report["not_listed"]) == (1, 19)
    assert done.report["reference"]["gene_names"]["as_they_were"] == 120


@pytest.mark.parametrize("small", [True, False])
def test_one_file_is_read_once(
    bench: Workbench, reference: ad.AnnData, monkeypatch: pytest.MonkeyPatch, small: bool
) -> None:
    decoded = []
    real = plkd.io.stores._sliced

    def counted(matrix: Any, rows: slice) -> Any:
        if not sparse.issparse(matrix):
            decoded.append(rows)
        return real(matrix, rows)

    monkeypatch.setattr(plkd.io.stores, "_sliced", counted)
    if not small:
        monkeypatch.setattr(plkd.io.stores, "DECODED_VALUES", 0)
    path = bench._write(reference, "both")
    done = bench(
        path,
        path,
        reference_settings={"keep": {"batch": ["d1"]}},
        query_settings={"keep": {"batch": ["d2"]}},
    )
    # What is large: a sample for either side, then three passes for both.
    assert decoded.count(slice(0, 240)) == (1 if small else 3)
    assert len(decoded) == (1 if small else 5)
    assert (done.reference.n_obs, done.query.n_obs) == (120, 120)
    assert done.report["warnings"] == []
    done = bench(path, path, query_settings={"keep": {"batch": ["d2"]}})
    assert any("same cells" in note for note in done.report["warnings"])


def test_split_of_one_file(bench: Workbench, reference: ad.AnnData) -> None:
    done = bench(reference, split={"query_fraction": 0.25, "seed": 3})
    assert (done.reference.n_obs, done.query.n_obs) == (180, 60)
    assert not set(done.reference.obs_names) & set(done.query.obs_names)
    labels = reference.obs["cell_type"]
    assert list(done.truth["label"]) == list(labels[done.query.obs_names])
    assert list(done.reference.obs["label"]) == list(labels[done.reference.obs_names])
    assert list(done.query.obs.columns) == ["batch", "source_row"]
    again = bench(reference, split={"query_fraction": 0.25, "seed": 3})
    assert list(again.query.obs_names) == list(done.query.obs_names)
    with pytest.raises(InputError, match="split"):
        bench(reference)


def test_reference_as_csv_with_a_label_column(
    bench: Workbench, reference: ad.AnnData, query: ad.AnnData
) -> None:
    expected = bench(reference, query)
    frame = reference.to_df().astype(int)
    frame[["cell_type", "batch"]] = reference.obs.astype(str)
    frame.to_csv(bench.folder / "r.csv.gz")
    done = bench(bench.folder / "r.csv.gz", query)
    np.testing.assert_array_equal(done.reference.X.toarray(), expected.reference.X.toarray())
    assert list(done.reference.obs["label"]) == list(expected.reference.obs["label"])


def test_a_query_that_no_copy_could_hold_is_refused_before_the_work(
    bench: Workbench, reference: ad.AnnData, query: ad.AnnData
) -> None:
    table = query.to_df().astype(int).assign(_index=query.obs["cell_type"].astype(str))
    table.to_csv(bench.folder / "q.csv")
    with pytest.raises(InputError, match=r"q\.csv': its table `obs` cannot be written.*_index"):
        bench(
            reference,
            bench.folder / "q.csv",
            query_settings={"labels_key": "_index", "batch_key": None},
        )
    assert not (bench.folder / "prepared").exists()


def test_a_failure_while_writing_leaves_no_half_file(
    bench: Workbench,
    reference: ad.AnnData,
    query: ad.AnnData,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*given: Any, **options: Any) -> None:
        raise OSError("the disk is gone")

    paths = bench._write(reference, "r"), bench._write(query, "q")
    monkeypatch.setattr(plkd.io.h5ad_writer, "write_elem", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        bench(*paths)
    assert list((bench.folder / "prepared").iterdir()) == []


def test_the_scripts(tmp_path: Path, reference: ad.AnnData, query: ad.AnnData) -> None:
    (tmp_path / "in").mkdir()
    for name, adata in (("reference", reference), ("query", query)):
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
        download.main(
            SimpleNamespace(
                params=SimpleNamespace(
                    source={"url": str(tmp_path / f"{name}.h5ad")}, offline_folder=None
                ),
                output=[str(tmp_path / "in" / name)],
            )
        )
    outputs = PreparedPaths.in_folder(tmp_path / "out")
    config = {"name": "x", "reference": {"labels_key": "cell_type"}}
    split = config | {"split": {"query_fraction": 0.5, "seed": 0}}
    with_query = config | {"query": {"labels_key": "cell_type"}}
    for dataset, inputs in (
        (split, {"reference": "reference"}),
        (with_query, {"reference": "reference", "query": "query"}),
    ):
        found = {key: str(tmp_path / "in" / name) for key, name in inputs.items()}
        prepare.main(
            SimpleNamespace(
                input=SimpleNamespace(**found, get=found.get),
                params=SimpleNamespace(dataset=dataset),
                output=SimpleNamespace(**{k: str(v) for k, v in vars(outputs).items()}),
            )
        )
    assert ad.read_h5ad(outputs.query).n_obs == 90


def test_the_embedded_example(bench: Workbench) -> None:
    path = Path(sc.__file__).parent / "datasets" / "10x_pbmc68k_reduced.h5ad"
    raw = {"labels_key": "bulk_labels", "use_raw": True, "batch_key": None}
    split = {"query_fraction": 0.5, "seed": 0}
    done = bench(path, reference_settings=raw, split=split)
    assert (done.reference.n_obs, done.query.n_obs) == (350, 350)
    assert done.reference.obs["label"].nunique() == 10
    assert "counts" in done.query.layers
    with pytest.raises(InputError, match=r"z-scores.*use_raw: true"):
        bench(path, reference_settings=raw | {"use_raw": False}, split=split)


@pytest.mark.real_data
def test_real_two_studies(bench: Workbench, real_data: Path) -> None:
    path = real_data / "pbmc_two_studies.h5ad"
    done = bench(
        path,
        path,
        reference_settings={"keep": {"study": ["Zheng2017"]}},
        query_settings={"keep": {"study": ["10x_pbmc3k"]}},
        prepare={"n_genes": 2000},
    )
    assert (done.reference.n_obs, done.query.n_obs) == (3874, 2638)
    assert done.reference.n_vars == 2000
    only = done.report["labels"]["only_in_query"]
    assert set(only) == {"FCGR3A Mono", "DC", "Megakaryocyte"}
    assert sum(only.values()) == 208
    stored = ad.read_h5ad(path)
    labels = set(stored.obs["cell_type"]) | set(stored.obs["cell_type_orig"])
    with h5py.File(bench.out.query) as store:
        assert set(store["obs"]) == {"_index", "batch", "source_row"}
        values = {value.decode() for value in store["obs/batch/categories"][:]}
    assert not values & labels


@pytest.mark.real_data
def test_real_technologies(bench: Workbench, real_data: Path) -> None:
    path = real_data / "symphony_pbmc.h5ad"
    done = bench(
        path,
        path,
        reference_settings={"keep": {"batch": ["3pv1", "3pv2"]}},
        query_settings={"keep": {"batch": ["5p"]}},
        prepare={"n_genes": "all", "min_cells_per_gene": 0},
    )
    stored = ad.read_h5ad(path)[done.query.obs_names, done.query.var_names]
    np.testing.assert_allclose(done.query.X.toarray(), stored.X.toarray(), rtol=1e-6)
    assert done.report["query"]["counts"] == "recovered"
    assert any("cannot be seen" in note for note in done.report["warnings"])


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "n_genes"), [("pbmc_two_studies", 2000), ("pbmc_kang_ctrl_8donors", 500)]
)
def test_real_genes_are_those_of_scanpy(real_data: Path, name: str, n_genes: int) -> None:
    adata = log_cp10k(ad.read_h5ad(real_data / f"{name}.h5ad"))
    assert adata.obs["batch"].value_counts().min() >= 50
    table = select_genes(
        sum_genes(adata.X, list(adata.obs["batch"])), n_genes, np.ones(adata.n_vars, dtype=bool)
    )
    assert set(adata.var_names[table["selected"]]) == scanpy_choice(adata, n_genes, "batch")
