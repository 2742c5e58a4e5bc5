"""Gene activity from file to file: peaks, fragments, bad input, and what prepare makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import plkd.gene_activity.fragments as fragments
from genome import gtf_line, write_bgzf, write_gz
from plkd.cli import main
from plkd.errors import InputError
from plkd.gene_activity import write_gene_activity
from plkd.io.scale import detect_scale
from plkd.preparation.prepare import PreparedPaths, prepare_dataset

GENES = [
    ("A", "chr1", 10_000, 20_000, "+"),
    ("B", "chr1", 40_000, 50_000, "-"),
    ("C", "chr2", 10_000, 20_000, "-"),
    ("D", "chr21", 10_000, 20_000, "+"),  # no peak
]
PEAKS = [
    ("chr1", 8_500, 9_000),  # A, upstream
    ("chr1", 15_000, 15_500),  # A
    ("chr1", 51_000, 51_500),  # B, upstream
    ("chr1", 30_000, 30_500),  # between A and B
    ("chr2", 12_000, 12_500),  # C
    ("chrUn_GL000220", 12_000, 12_500),
    ("chrM", 100, 600),
]
COUNTS = np.array(
    [
        [1, 2, 0, 5, 3, 1, 9],
        [0, 0, 1, 0, 0, 0, 9],
        [4, 0, 2, 0, 1, 1, 9],
        [0, 0, 0, 1, 0, 0, 9],
        [2, 1, 1, 0, 0, 0, 9],
        [0, 3, 0, 2, 2, 0, 9],
    ]
)


@pytest.fixture
def annotation(tmp_path) -> Path:
    return write_gz(tmp_path / "genes.gtf.gz", "".join(gtf_line(*gene) for gene in GENES))


def peak_file(
    path: Path, X: object = COUNTS, spelling: str = "{}:{}-{}", peaks: list = PEAKS, **var: object
) -> Path:
    X = sparse.csr_matrix(X, dtype=np.asarray(X).dtype)
    names = [spelling.format(*peak) for peak in peaks]
    obs = pd.DataFrame(
        {"label": pd.Categorical(["T", "B"] * 3)[: X.shape[0]]},
        index=[f"cell{i}" for i in range(X.shape[0])],
    )
    table = pd.DataFrame(var, index=names)
    spatial = np.arange(2 * X.shape[0], dtype=np.float32).reshape(-1, 2)
    ad.AnnData(X, obs=obs, var=table, obsm={"spatial": spatial}).write_h5ad(path)
    return path


# ------------------------------------------------------------------------------------------ peaks


@pytest.mark.parametrize("chunk_cells", [1, 4, 100])
@pytest.mark.parametrize("spelling", ["{}:{}-{}", "{}_{}_{}"])
def test_peaks_become_counts_of_genes(tmp_path, annotation, chunk_cells, spelling):
    path = peak_file(tmp_path / "peaks.h5ad", spelling=spelling)
    report = write_gene_activity(
        path, annotation, tmp_path / "out.h5ad", chunk_cells=chunk_cells, progress=False,
        report=tmp_path / "report.json",
    )  # fmt: skip
    out = ad.read_h5ad(tmp_path / "out.h5ad")
    assert list(out.var_names) == ["A", "B", "C"]  # D was not measured
    expected = np.column_stack([COUNTS[:, 0] + COUNTS[:, 1], COUNTS[:, 2], COUNTS[:, 4]])
    assert np.array_equal(out.X.toarray(), expected)
    assert out.X.dtype == np.float32
    assert out.X.has_sorted_indices
    source = ad.read_h5ad(path)
    pd.testing.assert_frame_equal(out.obs, source.obs)
    assert np.array_equal(out.obsm["spatial"], source.obsm["spatial"])
    assert out.var.loc["B", ["chrom", "start", "end", "strand"]].tolist() == [
        "chr1", 40_000, 50_000, "-",
    ]  # fmt: skip
    assert report == json.loads((tmp_path / "report.json").read_text())
    assert report["peaks"] == {
        "read": 7,
        "used": 4,
        "left_out": [
            {
                "reason": "on chromosomes that are not in use or have no gene",
                "peaks": 2,
                "chromosomes": {"chrUn_GL000220": 1, "chrM": 1},
            },
            {"reason": "no gene there", "peaks": 1},
        ],
    }
    assert report["genes"]["used"] == 4
    assert report["genes"]["with_a_peak"] == 3
    kept = int(expected.sum())
    assert report["counts"] == {
        "read": COUNTS.sum(), "in_peaks_with_a_gene": kept, "share": kept / COUNTS.sum(),
    }  # fmt: skip


def test_weighted_activity_is_known_for_normalised_values(tmp_path, annotation):
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.6, size=(300, len(PEAKS)))
    path = peak_file(tmp_path / "peaks.h5ad")
    cells = ad.AnnData(sparse.csr_matrix(counts), var=ad.read_h5ad(path).var)
    cells.write_h5ad(path)
    write_gene_activity(path, annotation, tmp_path / "out.h5ad", rule="distance", progress=False)
    X = ad.read_h5ad(tmp_path / "out.h5ad").X
    totals = np.asarray(X.sum(axis=1)).ravel()
    assert np.all((totals == 0) | np.isclose(totals, 10_000, rtol=1e-5))
    assert detect_scale(X).kind == "linear"
    # The peak between A and B lies 10,000 bases behind A and ends 9,500 before B; the others lie in
    # one gene's region, which ends the window of the other gene.
    weight_a = (np.exp(-2) + np.exp(-1)) / (1 + np.exp(-1))
    weight_b = (np.exp(-9_500 / 5000) + np.exp(-1)) / (1 + np.exp(-1))
    raw = np.column_stack(
        [
            counts[:, 0] + counts[:, 1] + weight_a * counts[:, 3],
            counts[:, 2] + weight_b * counts[:, 3],
            counts[:, 4],
        ]
    )
    some = raw.sum(axis=1) > 0
    expected = 10_000 * raw[some] / raw[some].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(X.toarray()[some], expected, rtol=1e-5)


def test_chr1_and_1_are_translated_with_a_message(tmp_path, annotation):
    bare = write_gz(
        tmp_path / "bare.gtf.gz", "".join(gtf_line(g, c[3:], *rest) for g, c, *rest in GENES)
    )
    path = peak_file(tmp_path / "peaks.h5ad")
    for name, genes in (("with", annotation), ("without", bare)):
        report = write_gene_activity(path, genes, tmp_path / f"{name}.h5ad", progress=False)
        assert ("chromosome_names" in report) == (name == "without")
    X = [ad.read_h5ad(tmp_path / f"{name}.h5ad").X for name in ("with", "without")]
    assert (X[0] != X[1]).nnz == 0


def test_chosen_chromosomes_and_biotypes(tmp_path):
    lines = [gtf_line(*gene) for gene in GENES]
    lines[1] = lines[1].replace("protein_coding", "lncRNA")
    annotation = write_gz(tmp_path / "genes.gtf.gz", "".join(lines))
    path = peak_file(tmp_path / "peaks.h5ad")
    for options, genes in (
        ({"chromosomes": ["chr1"]}, ["A", "B"]),
        ({"biotypes": ["protein_coding"]}, ["A", "C"]),
        ({"biotypes": ["all"], "chromosomes": "mouse"}, ["A", "B", "C"]),
    ):
        write_gene_activity(path, annotation, tmp_path / "o.h5ad", progress=False, **options)
        assert list(ad.read_h5ad(tmp_path / "o.h5ad").var_names) == genes
    with pytest.raises(
        InputError, match=r"biotypes miRNA; the most frequent ones are 'protein_cod"
    ):
        write_gene_activity(path, annotation, tmp_path / "p.h5ad", biotypes=["miRNA"])


def assert_refused(tmp_path: Path, cells: Path, genes: Path, message: str, **options) -> None:
    with pytest.raises(InputError, match=message) as error:
        write_gene_activity(cells, genes, tmp_path / "no.h5ad", progress=False, **options)
    assert not list(tmp_path.glob("*no.h5ad*"))
    assert cells.name in str(error.value) or genes.name in str(error.value)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (COUNTS * 0.3, "gene activity is made of counts"),
        (COUNTS - 1, "counts that something was subtracted from"),
        (np.where(COUNTS == 9, np.nan, COUNTS), "missing"),
        (COUNTS[:0], "has no cells"),
    ],
)
def test_values_that_are_not_counts_are_refused(tmp_path, annotation, X, message):
    assert_refused(tmp_path, peak_file(tmp_path / "peaks.h5ad", X=X), annotation, message)


def test_bad_values_outside_the_sampled_rows_leave_no_output(tmp_path, annotation):
    X = sparse.random(5000, len(PEAKS), 0.5, format="csr", dtype=np.float32, rng=0)
    X.data[:] = 1
    X = X.tolil()
    X[123, 2] = -1  # not among the rows that tell the scale
    path = peak_file(tmp_path / "peaks.h5ad")
    ad.AnnData(X.tocsr(), var=ad.read_h5ad(path).var).write_h5ad(path)
    assert_refused(tmp_path, path, annotation, r"X, rows from 0: .* negative values")


def test_bad_peaks_and_genomes_are_refused(tmp_path, annotation):
    names = peak_file(tmp_path / "names.h5ad", spelling="gene{}{}{}")
    assert_refused(tmp_path, names, annotation, "'.*names.h5ad', var: 7 of 7 names are not pos")
    backwards = peak_file(tmp_path / "back.h5ad", spelling="{0}:{2}-{1}")
    assert_refused(tmp_path, backwards, annotation, "7 peaks do not end after they begin")
    other = peak_file(tmp_path / "other.h5ad", spelling="scaffold{}:{}-{}")
    assert_refused(tmp_path, other, annotation, "no chromosome in common")
    far = [(c, s + 10**6, e + 10**6) for c, s, e in PEAKS]
    assert_refused(tmp_path, peak_file(tmp_path / "f.h5ad", peaks=far), annotation, "no peak is at")
    hg38 = peak_file(tmp_path / "hg38.h5ad", genome="GRCh38")
    hg19 = write_gz(
        tmp_path / "hg19.gtf.gz",
        "#!genome-build GRCh37\n" + "".join(gtf_line(*gene) for gene in GENES),
    )
    assert_refused(tmp_path, hg38, hg19, "is of the genome hg38, .*hg19.gtf.gz' of hg19")
    none = write_gz(tmp_path / "none.gtf.gz", gtf_line(*GENES[0], feature="exon"))
    assert_refused(tmp_path, hg38, none, "no line of a gene")
    assert_refused(tmp_path, hg38, annotation, "holds peaks, which the rule", rule="signac")
    assert_refused(tmp_path, hg38, annotation, "are for fragments", min_fragments=3)


def test_few_peaks_with_a_gene_are_a_warning(tmp_path, annotation):
    peaks = [PEAKS[1], *(("chr1", s, s + 10) for s in range(100_000, 101_000, 50))]
    path = peak_file(tmp_path / "peaks.h5ad", X=np.ones((3, 21), dtype=int), peaks=peaks)
    report = write_gene_activity(path, annotation, tmp_path / "out.h5ad", progress=False)
    assert len(report["warnings"]) == 1
    assert "only 4.8% of the peaks" in report["warnings"][0]


@pytest.mark.parametrize("rule", ["seurat", "distance"])
def test_prepare_takes_gene_activity_as_a_query_of_rna(tmp_path, annotation, rule):
    rng = np.random.default_rng(1)
    rates = np.array([[3, 3, 0.3, 1, 1, 1, 1], [0.3, 0.3, 3, 1, 2, 1, 1]])
    labels = np.repeat(["T", "B"], 60)
    counts = rng.poisson(rates[(labels == "B").astype(int)])
    var = ad.read_h5ad(peak_file(tmp_path / "peaks.h5ad")).var
    ad.AnnData(sparse.csr_matrix(counts), var=var).write_h5ad(tmp_path / "peaks.h5ad")
    write_gene_activity(
        tmp_path / "peaks.h5ad", annotation, tmp_path / "query.h5ad", rule=rule, progress=False
    )
    rna = ad.AnnData(
        sparse.csr_matrix(rng.poisson(2, size=(120, 4))),
        obs=pd.DataFrame({"label": labels}, index=[f"r{i}" for i in range(120)]),
        var=pd.DataFrame(index=["A", "B", "C", "RNA only"]),
    )
    rna.write_h5ad(tmp_path / "rna.h5ad")
    report = prepare_dataset(
        {"reference": {"labels_key": "label"}, "query": {}},
        tmp_path / "rna.h5ad",
        tmp_path / "query.h5ad",
        PreparedPaths.in_folder(tmp_path / "prepared"),
    )
    assert report["query"]["scale"]["kind"] == {"seurat": "counts", "distance": "linear"}[rule]
    query = ad.read_h5ad(tmp_path / "prepared" / "query.h5ad")
    assert list(query.var_names) == ["A", "B", "C"]
    assert ("counts" in query.layers) == (rule == "seurat")
    activity = ad.read_h5ad(tmp_path / "query.h5ad").X.toarray()[query.obs["source_row"]]
    expected = np.log1p(10_000 * activity / activity.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(query.X.toarray(), expected, rtol=1e-5)


# -------------------------------------------------------------------------------------- fragments


def random_fragments(n: int, *, n_cells: int = 8, seed: int = 0) -> pd.DataFrame:
    """Fragments around the genes, with copies, on a contig and of a background barcode as well."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "chrom": rng.choice(
                ["chr1", "chr2", "chr21", "chrUn_1"], size=n, p=[0.5, 0.3, 0.1, 0.1]
            ),
            "start": rng.integers(5_000, 55_000, size=n),
            "barcode": [f"BC{i}-1" for i in rng.integers(0, n_cells, size=n)],
            "reads": rng.integers(1, 9, size=n),
        }
    )
    table.insert(2, "end", table["start"] + rng.integers(1, 3_000, size=n))
    return table


def as_text(table: pd.DataFrame, head: str = "# id=test\n# description=made up\n") -> str:
    return head + table.to_csv(sep="\t", header=False, index=False)


def counted_one_by_one(table: pd.DataFrame, cells: list[str], genes: list[tuple]) -> np.ndarray:
    names = list(dict.fromkeys(gene[0] for gene in genes))
    counts = np.zeros((len(cells), len(names)))
    for chrom, start, end, barcode, _ in table.itertuples(index=False):
        if barcode not in cells:
            continue
        hit = set()
        for name, gene_chrom, gene_start, gene_end, strand in genes:
            low = gene_start - (2000 if strand == "+" else 0)
            high = gene_end + (2000 if strand == "-" else 0)
            if chrom == gene_chrom and start < high and end > low:
                hit.add(names.index(name))
        for column in hit:
            counts[cells.index(barcode), column] += 1
    return counts


@pytest.mark.parametrize("packing", ["bgzf", "gzip", "plain"])
@pytest.mark.parametrize("order", ["sorted", "shuffled"])
def test_fragments_are_counted_once_per_gene(tmp_path, monkeypatch, packing, order):
    monkeypatch.setattr(fragments, "CHUNK_LINES", 37)
    monkeypatch.setattr(fragments, "BLOCK_CELLS", 3)
    table = random_fragments(700)
    if order == "sorted":
        table = table.sort_values(["chrom", "start"])
    genes = [*GENES, ("A", "chr1", 21_000, 22_000, "+"), ("A", "chr1", 22_500, 23_000, "+")]
    annotation = write_gz(tmp_path / "genes.gtf.gz", "".join(gtf_line(*gene) for gene in genes))
    path = tmp_path / ("fragments.tsv" + ("" if packing == "plain" else ".gz"))
    if packing == "bgzf":
        write_bgzf(path, as_text(table))
    elif packing == "gzip":
        write_gz(path, as_text(table))
    else:
        path.write_text(as_text(table))
    wanted = [f"BC{i}-1" for i in (6, 2, 0, 5, 4, 1)] + ["absent-1"]
    (tmp_path / "barcodes.tsv").write_text("\n".join(wanted) + "\n")
    report = write_gene_activity(
        path, annotation, tmp_path / "out.h5ad", rule="signac", progress=False,
        barcodes=tmp_path / "barcodes.tsv",
    )  # fmt: skip
    out = ad.read_h5ad(tmp_path / "out.h5ad")
    assert list(out.obs_names) == wanted
    assert list(out.var_names) == ["A", "B", "C", "D"]
    assert np.array_equal(out.X.toarray(), counted_one_by_one(table, wanted, genes))
    own = table[table["barcode"].isin(wanted)]
    expected = own["barcode"].value_counts().reindex(wanted, fill_value=0)
    assert out.obs["n_fragments"].tolist() == expected.tolist()
    assert report["fragments"]["read"] == 700
    assert report["fragments"]["of_cells"] == len(own)
    assert report["fragments"]["left_out"] == {"chrUn_1": int((own["chrom"] == "chrUn_1").sum())}
    hit = sum(counted_one_by_one(own.iloc[[i]], wanted, genes).any() for i in range(len(own)))
    assert report["fragments"]["in_genes"] == hit


def test_cells_by_their_number_of_fragments(tmp_path, annotation):
    table = random_fragments(300, n_cells=10)
    table.loc[:40, "barcode"] = "BC3-1"
    write_bgzf(tmp_path / "f.tsv.gz", as_text(table))
    numbers = table["barcode"].value_counts()
    least = int(numbers.iloc[4])
    write_gene_activity(
        tmp_path / "f.tsv.gz", annotation, tmp_path / "out.h5ad", rule="signac", progress=False,
        min_fragments=least,
    )  # fmt: skip
    out = ad.read_h5ad(tmp_path / "out.h5ad")
    assert list(out.obs_names) == sorted(numbers.index[numbers >= least])
    expected = counted_one_by_one(table, list(out.obs_names), GENES)
    assert np.array_equal(out.X.toarray(), expected)


def test_a_table_of_cells_becomes_obs_and_long_genes_are_left_out(tmp_path):
    genes = [*GENES, ("LONG", "chr2", 30_000, 530_000, "+"), ("OK", "chr2", 30_000, 529_999, "+")]
    lines = [gtf_line(*gene) for gene in genes]
    lines[0] = lines[0].replace("protein_coding", "lncRNA")
    annotation = write_gz(tmp_path / "genes.gtf.gz", "".join(lines))
    table = random_fragments(200)
    write_bgzf(tmp_path / "f.tsv.gz", as_text(table, head=""))
    (tmp_path / "cells.csv").write_text("barcode,cell_type\nBC1-1,T\nBC0-1,B\n")
    write_gene_activity(
        tmp_path / "f.tsv.gz", annotation, tmp_path / "out.h5ad", rule="signac", progress=False,
        barcodes=tmp_path / "cells.csv",
    )  # fmt: skip
    out = ad.read_h5ad(tmp_path / "out.h5ad")
    assert out.obs["cell_type"].tolist() == ["T", "B"]
    assert list(out.var_names) == ["B", "C", "OK", "D"]


def fragments_refused(tmp_path: Path, annotation: Path, message: str, **options) -> None:
    with pytest.raises(InputError, match=message):
        write_gene_activity(
            tmp_path / "f.tsv.gz", annotation, tmp_path / "no.h5ad", progress=False,
            **({"rule": "signac", "min_fragments": 1} | options),
        )  # fmt: skip
    assert not (tmp_path / "no.h5ad").exists()


def test_bad_fragments_are_refused(tmp_path, annotation):
    path, text = tmp_path / "f.tsv.gz", as_text(random_fragments(300))
    write_bgzf(path, text, end=False)  # cut between two blocks: valid gzip
    fragments_refused(tmp_path, annotation, "is cut off")
    write_gz(path, text)
    path.write_bytes(path.read_bytes()[:-200])
    fragments_refused(tmp_path, annotation, "cannot be read")
    for line, message in (
        ("chr1\t500\t400\tBC0-1\t1\n", "line 301 .* from 500 to 400 on chr1"),
        ("chr1\t-5\t400\tBC0-1\t1\n", "from -5 to 400"),
        ("chr1\tx\t400\tBC0-1\t1\n", "cannot be read"),
        ("chr1\t5\n", "cannot be read"),
    ):
        write_gz(path, text + line)
        fragments_refused(tmp_path, annotation, message)
    write_gz(path, text)
    fragments_refused(tmp_path, annotation, "holds fragments, which the rule", rule="seurat")
    fragments_refused(tmp_path, annotation, "give `barcodes`", min_fragments=None)
    fragments_refused(tmp_path, annotation, "none of its 8 barcodes has", min_fragments=10**6)
    (tmp_path / "b.txt").write_text("AAA\nCCC\n")
    fragments_refused(
        tmp_path, annotation, "look like 'BC.*like 'AAA'", barcodes=tmp_path / "b.txt"
    )
    (tmp_path / "b.txt").write_text("AAA\nAAA\n")
    fragments_refused(tmp_path, annotation, "more than once", barcodes=tmp_path / "b.txt")
    write_gz(path, as_text(random_fragments(300).assign(chrom="scaffold1")))
    fragments_refused(tmp_path, annotation, "no chromosome in common")


# --------------------------------------------------------------------------------------- commands


def test_command_line(tmp_path, annotation, capsys):
    path = peak_file(tmp_path / "peaks.h5ad")
    arguments = ["gene-activity", str(path), "--annotation", str(annotation), "--no-progress"]
    output = tmp_path / "new" / "out.h5ad"
    assert main([*arguments, "-o", str(output), "--chromosomes", "chr1", "chr2"]) == 0
    assert list(ad.read_h5ad(output).var_names) == ["A", "B", "C"]
    assert main([*arguments, "-o", str(path)]) == 1
    assert main([*arguments, "-o", str(tmp_path / "x.h5ad"), "--rule", "signac"]) == 1
    assert not (tmp_path / "x.h5ad").exists()
    assert "holds peaks" in capsys.readouterr().err
