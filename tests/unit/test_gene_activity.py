"""Gene activity: the rules against loops over all pairs, annotations, names of peaks, genomes."""

from __future__ import annotations

import math

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genome import gene_table, gtf_line, peak_table, write_gz
from plkd.errors import InputError
from plkd.gene_activity import parse_peaks, peak_gene_weights, read_annotation
from plkd.gene_activity.genome import (
    CHROMOSOMES,
    assembly_name,
    check_genome,
    chromosome_keys,
    chromosome_sizes,
    wanted_chromosomes,
)
from plkd.gene_activity.weights import peaks_at_genes

# ------------------------------------------------------------------------- the rules, one by one


def region_of(gene: pd.Series, upstream: int) -> tuple[int, int]:
    if gene["strand"] == "-":
        return gene["start"], gene["end"] + upstream
    return max(gene["start"] - upstream, 0), gene["end"]


def one_by_one(peaks: pd.DataFrame, genes: pd.DataFrame, rule: str, upstream: int) -> np.ndarray:
    """The definition, written as loops over all peaks and all genes."""
    names = list(dict.fromkeys(genes["gene"]))
    weights = np.zeros((len(peaks), len(names)))
    places = [(gene, *region_of(gene, upstream)) for _, gene in genes.iterrows()]
    for i, (_, peak) in enumerate(peaks.iterrows()):
        best = None
        for number, (gene, start, end) in enumerate(places):
            if gene["chrom"] != peak["chrom"]:
                continue
            if rule == "seurat":
                if peak["start"] < end and peak["end"] > start:
                    tss = gene["end"] - 0.5 if gene["strand"] == "-" else gene["start"] + 0.5
                    distance = abs((peak["start"] + peak["end"]) / 2 - tss)
                    if best is None or (distance, number) < best[:2]:
                        best = (distance, number, names.index(gene["gene"]))
                continue
            left, right = start - 100_000, end + 100_000
            for other, other_start, other_end in places:
                if other["chrom"] == gene["chrom"]:
                    if other_start < start:
                        left = max(left, other_end)
                    if other_end > end:
                        right = min(right, other_start)
            left, right = min(left, start - 1000), max(right, end + 1000)
            if peak["start"] < right and peak["end"] > left:
                gap = max(0, start - peak["end"], peak["start"] - end)
                weight = (math.exp(-gap / 5000) + math.exp(-1)) / (1 + math.exp(-1))
                column = names.index(gene["gene"])
                weights[i, column] = max(weights[i, column], weight)
        if best is not None:
            weights[i, best[2]] = 1
    return weights


positions = st.integers(0, 30) | st.integers(0, 300_000)
lengths = st.integers(1, 30) | st.integers(1, 40_000)
genes_drawn = st.lists(
    st.tuples(
        st.sampled_from("ABCDEF"), st.sampled_from(["chr1", "chr2"]), positions, lengths,
        st.sampled_from("+-."),
    ),
    min_size=1, max_size=9,
)  # fmt: skip
peaks_drawn = st.lists(
    st.tuples(st.sampled_from(["chr1", "chr2", "chr3"]), positions, lengths),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize("rule", ["seurat", "distance"])
@given(drawn_genes=genes_drawn, drawn_peaks=peaks_drawn, upstream=st.sampled_from([0, 5, 2000]))
@settings(max_examples=40, deadline=None)
def test_rules_agree_with_loops_over_all_pairs(rule, drawn_genes, drawn_peaks, upstream):
    genes = gene_table(*((g, c, s, s + n, strand) for g, c, s, n, strand in drawn_genes))
    peaks = peak_table(*((c, s, s + n) for c, s, n in drawn_peaks))
    weights = peak_gene_weights(peaks, genes, rule=rule, upstream=upstream)
    expected = one_by_one(peaks, genes, rule, upstream)
    np.testing.assert_allclose(weights.toarray(), expected, rtol=1e-6)


def test_two_kilobases_before_the_gene_on_both_strands():
    genes = gene_table(
        ("plus", "chr1", 10_000, 12_000, "+"), ("minus", "chr2", 10_000, 12_000, "-")
    )
    ends = [
        (7_500, 8_000),  # ends where the region begins
        (7_500, 8_001),  # has its first base
        (11_999, 12_500),
        (12_000, 12_500),
        (13_999, 14_500),
        (14_000, 14_500),
        (9_500, 10_000),
        (9_500, 10_001),
    ]
    peaks = peak_table(*((chrom, *end) for chrom in ("chr1", "chr2") for end in ends))
    weights = peak_gene_weights(peaks, genes).toarray()
    assert weights[:8, 0].tolist() == [0, 1, 1, 0, 0, 0, 1, 1]
    assert weights[8:, 1].tolist() == [0, 0, 1, 1, 1, 0, 0, 1]
    assert weights[:8, 1].sum() == weights[8:, 0].sum() == 0


def test_a_peak_counts_for_the_gene_that_starts_nearest_then_for_the_first():
    genes = gene_table(
        ("long", "chr1", 0, 100_000, "+"),
        ("inside", "chr1", 50_000, 60_000, "-"),  # starts at 59,999
        ("twin", "chr1", 50_000, 60_000, "-"),
    )
    peaks = peak_table(("chr1", 55_000, 55_500), ("chr1", 1_000, 1_500), ("chr1", 99_000, 99_500))
    weights = peak_gene_weights(peaks, genes).toarray()
    assert weights.tolist() == [[0, 1, 0], [1, 0, 0], [1, 0, 0]]
    swapped = peak_gene_weights(peaks, genes.iloc[[0, 2, 1]]).toarray()
    assert swapped.tolist() == weights.tolist()  # columns: long, twin, inside


def test_a_peak_lies_at_every_gene_that_it_overlaps():
    genes = gene_table(
        ("long", "chr1", 0, 100_000, "+"),
        ("inside", "1", 50_000, 60_000, "-"),
        ("inside", "chr2", 0, 1_000, "+"),
        ("other", "chr1", 50_000, 60_000, "+"),
    )
    peaks = peak_table(
        ("chr1", 61_999, 62_500), ("chr1", 62_000, 62_500), ("chr2", 500, 900), ("chr3", 1, 9)
    )
    found = peaks_at_genes(peaks, genes, ["absent", "inside", "long"]).toarray()
    assert found.tolist() == [[0, 1, 1], [0, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_weights_by_distance_computed_by_hand():
    genes = gene_table(
        ("A", "chr1", 200_000, 210_000, "+"),  # region from 198,000
        ("B", "chr1", 300_000, 310_000, "-"),  # region to 312,000
    )
    body = 1 + math.exp(-1)
    peaks = peak_table(
        ("chr1", 205_000, 205_500),  # in A; B's window ends at A
        ("chr1", 215_000, 215_500),  # 5 kb from A, 84,500 from B
        ("chr1", 192_500, 193_000),  # 5 kb before A's region
        ("chr1", 97_500, 98_000),  # ends where A's window begins
        ("chr1", 97_501, 98_001),  # 99,999 from A's region
        ("chr1", 412_000, 412_500),  # begins where B's window ends
    )
    weights = peak_gene_weights(peaks, genes, rule="distance").toarray()
    far_b = (math.exp(-16.9) + math.exp(-1)) / body
    far_a = (math.exp(-99_999 / 5000) + math.exp(-1)) / body
    half = 2 * math.exp(-1) / body
    expected = [[1, 0], [half, far_b], [half, 0], [0, 0], [far_a, 0], [0, 0]]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_places_of_one_gene_are_one_column_and_a_peak_counts_once():
    genes = gene_table(
        ("A", "chrX", 10_000, 20_000, "+"), ("A", "chrX", 21_000, 30_000, "+"),
        ("A", "chrY", 10_000, 20_000, "+"),
    )  # fmt: skip
    peaks = peak_table(("chrX", 19_500, 21_500), ("chrY", 15_000, 15_500))
    for rule in ("seurat", "distance"):
        assert peak_gene_weights(peaks, genes, rule=rule).toarray().tolist() == [[1], [1]]


def test_chr1_and_1_are_one_chromosome_and_unknown_rules_are_refused():
    genes = gene_table(("A", "1", 10_000, 20_000, "+"), ("MT-ND1", "MT", 3_000, 4_000, "+"))
    peaks = peak_table(("chr1", 15_000, 15_500), ("chrM", 3_000, 3_500))
    assert peak_gene_weights(peaks, genes).toarray().tolist() == [[1, 0], [0, 1]]
    with pytest.raises(InputError, match="'nearest'; expected seurat or distance"):
        peak_gene_weights(peaks, genes, rule="nearest")
    with pytest.raises(InputError, match="`upstream` is -1"):
        peak_gene_weights(peaks, genes, upstream=-1)


@pytest.mark.real_data
@pytest.mark.parametrize("rule", ["seurat", "distance"])
def test_rules_agree_with_all_pairs_of_real_peaks_and_genes(real_data, rule):
    genes = read_annotation(real_data / "hg19_genes.bed")
    var = ad.read_h5ad(real_data / "atac_hematopoiesis_granja_10kpeaks.h5ad", backed="r").var
    peaks = parse_peaks(var)
    weights = peak_gene_weights(peaks, genes, rule=rule)
    assert weights.shape == (10_000, genes["gene"].nunique())
    assert genes["gene"].is_unique  # so a column is a row of the table
    minus = (genes["strand"] == "-").to_numpy()
    start = genes["start"].to_numpy() - np.where(minus, 0, 2000)
    end = genes["end"].to_numpy() + np.where(minus, 2000, 0)
    start = np.maximum(start, 0)
    tss = np.where(minus, genes["end"] - 0.5, genes["start"] + 0.5)
    n_checked = 0
    for chrom in var["chrom"].unique():
        rows = np.flatnonzero(peaks["chrom"] == chrom)
        own = np.flatnonzero(genes["chrom"] == chrom)
        p, q = peaks["start"].to_numpy()[rows, None], peaks["end"].to_numpy()[rows, None]
        s, e = start[own], end[own]
        expected = np.zeros((len(rows), len(own)))
        if rule == "seurat":
            distance = np.where((p < e) & (q > s), np.abs((p + q) / 2 - tss[own]), np.inf)
            hit = np.isfinite(distance.min(axis=1))
            expected[hit, distance.argmin(axis=1)[hit]] = 1
        else:
            before = np.where(s[:, None] < s, e[:, None], -(10**9)).max(axis=0)
            after = np.where(e[:, None] > e, s[:, None], 10**9).min(axis=0)
            left = np.minimum(s - 1000, np.maximum(s - 100_000, before))
            right = np.maximum(e + 1000, np.minimum(e + 100_000, after))
            gap = np.maximum(np.maximum(s - q, p - e), 0)
            expected = (np.exp(-gap / 5000) + np.exp(-1)) / (1 + np.exp(-1))
            expected[~((p < right) & (q > left))] = 0
        assert weights[rows].nnz == np.count_nonzero(expected)
        found = weights[rows][:, own].toarray()
        assert np.array_equal(found != 0, expected != 0)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        n_checked += len(rows)
    assert n_checked == 10_000


# ------------------------------------------------------------------------------------ annotations

ENSEMBL_GFF3 = """##gff-version 3
#!genome-build GRCh38.p13
1\tensembl\tchromosome\t1\t248956422\t.\t.\t.\tID=chromosome:1
1\thavana\tpseudogene\t101\t200\t.\t+\t.\tID=gene:ENSG00000223972;Name=DDX11L1;biotype=pseudogene
1\thavana\tncRNA_gene\t301\t400\t.\t-\t.\tID=gene:ENSG00000243485.5;biotype=lncRNA
1\thavana\tgene\t501\t600\t.\t-\t.\tID=gene:ENSG00000186092;Name=OR4F5%2CX;biotype=protein_coding
1\thavana\tmRNA\t501\t600\t.\t-\t.\tID=transcript:ENST1;Parent=gene:ENSG00000186092
##FASTA
>1
ACGT
"""


def test_gtf_begins_at_one_and_names_go_before_ids(tmp_path):
    text = (
        "#!genome-build GRCh38.p13\n"
        + gtf_line("TP53", "chr17", 100, 200, "-")
        + gtf_line("TP53", "chr17", 100, 150, "-", feature="transcript")
        + 'chr1\tx\tgene\t1\t10\t.\t+\t.\tgene_id "ENSG00000141510.18"; gene_version "18";\n'
        + 'chr1\tx\tgene\t21\t30\t.\t+\t.\tgene_id "G2"; gene_biotype "lncRNA"; gene "SYM";\n'
    )
    genes = read_annotation(write_gz(tmp_path / "genes.gtf.gz", text))
    assert genes.to_numpy().tolist() == [
        ["ENSG00000141510", "chr1", 0, 10, "+", ""],
        ["SYM", "chr1", 20, 30, "+", "lncRNA"],
        ["TP53", "chr17", 100, 200, "-", "protein_coding"],
    ]
    assert genes.attrs["genome"] == "hg38"


def test_gff3_of_ensembl(tmp_path):
    (tmp_path / "genes.gff3").write_text(ENSEMBL_GFF3)
    genes = read_annotation(tmp_path / "genes.gff3")
    assert genes["gene"].tolist() == ["DDX11L1", "ENSG00000243485", "OR4F5,X"]
    assert genes["start"].tolist() == [100, 300, 500]
    assert genes["end"].tolist() == [200, 400, 600]
    assert genes["strand"].tolist() == ["+", "-", "-"]
    assert genes["biotype"].tolist() == ["pseudogene", "lncRNA", "protein_coding"]
    assert genes.attrs["genome"] == "hg38"


def test_bed_with_and_without_strand_and_header(tmp_path):
    (tmp_path / "a.bed").write_text(
        "track name=genes\nchr2\t5\t9\tB\t0\t-\textra\r\nchr1\t3\t4\tA\t.\t+\n\n"
    )
    genes = read_annotation(tmp_path / "a.bed")
    assert genes.drop(columns="biotype").to_numpy().tolist() == [
        ["A", "chr1", 3, 4, "+"],
        ["B", "chr2", 5, 9, "-"],
    ]
    (tmp_path / "b.bed").write_text("chr1\t3\t4\tA\n")
    assert read_annotation(tmp_path / "b.bed")["strand"].tolist() == ["."]


def test_entries_of_one_name_merge_where_they_overlap_and_are_counted(tmp_path):
    rows = [
        ("A", 0, 10, "+"), ("A", 5, 20, "+"), ("A", 18, 30, "+"),  # a chain: one place
        ("A", 5, 25, "-"), ("A", 100, 110, "+"), ("B", 5, 20, "+"),
        ("NA", 1, 2, "+"), ("", 1, 2, "+"),
    ]  # fmt: skip
    lines = [f"chr1\t{s}\t{e}\t{g}\t.\t{strand}\n" for g, s, e, strand in rows]
    (tmp_path / "a.bed").write_text("".join(lines))
    genes = read_annotation(tmp_path / "a.bed")
    found = sorted(map(tuple, genes[["gene", "start", "end", "strand"]].to_numpy()))
    assert found == [
        ("A", 0, 30, "+"), ("A", 5, 25, "-"), ("A", 100, 110, "+"), ("B", 5, 20, "+"),
    ]  # fmt: skip
    assert genes.attrs == {"entries": 8, "merged": 2, "nameless": 2, "genome": None}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("# nothing but a comment\n", "is empty"),
        (gtf_line("A", "chr1", 0, 9, "+", feature="exon"), r"no line of a gene.*exon \(1\)"),
        (gtf_line("A", "chr1", 9, 5, "+"), "'A' from 9 to 5"),
        (gtf_line("A", "chr1", -1, 5, "+"), "positions that cannot be"),
        (gtf_line("A", "chr1", 0, 5, "x"), "strand of 'A' is 'x'"),
        ("chr1\tx\tgene\t1\t5\t.\t+\t.\n", "fewer than 9 columns"),
        ("chr1\tx\tgene\t1\t5\t.\t+\t.\tnote=none\n", "none of its 1 genes has a name"),
        ("chr1\t1\t5\n", "without the names"),
        ("chr1\t1\t5\tA\nchr1\t1\n", "fewer than 4 columns"),
        ("chr1\t1\t5\tA\nchr1\tx\t5\tB\n", "start of 'B' is 'x'"),
        ("chr1\t7\t5\tA\n", "'A' from 7 to 5"),
        ("gene,chrom,start,end\n", "is not an annotation"),
    ],
)
def test_bad_annotations_are_named(tmp_path, text, message):
    path = tmp_path / "genes.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_annotation(path)
    assert "genes.txt" in str(error.value)


def test_cut_off_and_missing_annotations_are_named(tmp_path):
    path = write_gz(tmp_path / "a.gtf.gz", gtf_line("A", "chr1", 0, 9, "+") * 5000)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="cannot be read"):
        read_annotation(path)
    with pytest.raises(InputError, match="does not exist"):
        read_annotation(tmp_path / "none.gtf")


# -------------------------------------------------------------------------------- names of peaks


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chr1:100-600", ("chr1", 100, 600)),
        ("chr1-100-600", ("chr1", 100, 600)),
        ("chr1_100_600", ("chr1", 100, 600)),
        ("X:1e+05-100500", ("X", 100_000, 100_500)),
        ("chr1_KI270706v1_random_5_10", ("chr1_KI270706v1_random", 5, 10)),
        ("GL000194.1:5-10", ("GL000194.1", 5, 10)),
        ("HLA-A*01:01:5-10", ("HLA-A*01:01", 5, 10)),
    ],
)
def test_spellings_of_peaks(name, expected):
    peaks = parse_peaks([name])
    assert tuple(peaks.loc[0, ["chrom", "start", "end"]]) == expected
    assert peaks.loc[0, "peak"] == name


@given(
    st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 10**6)), min_size=1, max_size=20),
    st.sampled_from(["{0}:{1}-{2}", "{0}-{1}-{2}", "{0}_{1}_{2}", "{0}:{1}_{2}"]),
    st.sampled_from(["chr1", "1", "chrUn_GL000220v1", "KI270728.1", "chrX"]),
)
@settings(deadline=None, max_examples=25)
def test_names_come_back_as_the_positions_they_were_made_of(drawn, spelling, chrom):
    names = [spelling.format(chrom, start, start + length) for start, length in drawn]
    peaks = parse_peaks(names)
    assert peaks["chrom"].tolist() == [chrom] * len(drawn)
    assert peaks["start"].tolist() == [start for start, _ in drawn]
    assert peaks["end"].tolist() == [start + length for start, length in drawn]


@pytest.mark.parametrize(
    "columns", [("chrom", "chromStart", "chromEnd"), ("seqnames", "start", "end")]
)
def test_columns_go_before_names(columns):
    values = zip(columns, [pd.Categorical(["chr1"]), [5.0], [9]], strict=True)
    peaks = parse_peaks(pd.DataFrame(dict(values), index=["chr7:1-2"]))
    assert tuple(peaks.loc[0, ["chrom", "start", "end"]]) == ("chr1", 5, 9)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (["chr1:1-5", "CD3D", "CD4"], r"2 of 3 names are not positions, such as 'CD3D', 'CD4'"),
        (["chr1:5-1"], "'chr1:5-1' from 5 to 1"),
        (["chr1:5-5"], "do not end after they begin"),
        (["chr1:1.5e+00-5"], "start of 1 peaks is not a whole number"),
        (pd.DataFrame({"chrom": ["1"], "start": [-2], "end": [5]}), "not a whole number from 0"),
        (pd.DataFrame({"chrom": ["1"], "start": [np.nan], "end": [5]}), "not a whole number"),
        (pd.DataFrame({"chrom": ["1"], "start": [1], "end": ["x"]}), "end of 1 peaks"),
        (pd.DataFrame({"chrom": [None], "start": [1], "end": [2]}), "have no chromosome"),
    ],
)
def test_bad_peaks_are_named(source, message):
    with pytest.raises(InputError, match=message) as error:
        parse_peaks(source, "'x.h5ad', var")
    assert str(error.value).startswith("'x.h5ad', var")


# ---------------------------------------------------------------------------------------- genomes


def test_keys_of_chromosomes():
    names = pd.Series(["chr1", "1", "Chr1", "chrM", "MT", "M", "X", "chrUn_1", "chr"])
    assert list(chromosome_keys(names)) == ["1", "1", "1", "MT", "MT", "MT", "X", "Un_1", "chr"]


def test_chromosomes_in_use():
    assert wanted_chromosomes(None, np.array(["1", "21"], dtype=object)) == CHROMOSOMES["human"]
    assert wanted_chromosomes(None, np.array(["1", "19"], dtype=object)) == CHROMOSOMES["mouse"]
    assert wanted_chromosomes("mouse", np.array(["21"], dtype=object))[-3:] == ("19", "X", "Y")
    assert wanted_chromosomes(["chr4", 5], np.array([], dtype=object)) == ("4", "5")
    with pytest.raises(InputError, match="'zebrafish'; expected human or mouse"):
        wanted_chromosomes("zebrafish", np.array([], dtype=object))


def test_names_and_sizes_of_assemblies():
    # lengths of GRCh37, GRCh38 and GRCm38 as the Genome Reference Consortium gives them
    assert chromosome_sizes("hg19")["1"] == 249_250_621
    assert chromosome_sizes("hg38")["1"] == 248_956_422
    assert chromosome_sizes("mm10")["19"] == 61_431_566
    assert [assembly_name(x) for x in ("GRCh38.p13", "hg19", "GRCm38-2020-A", "T2T")] == [
        "hg38", "hg19", "mm10", None,
    ]  # fmt: skip


def keyed(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(key=chromosome_keys(table["chrom"]))


HG38_GENES = keyed(
    gene_table(("A", "chr17", 83_000_000, 83_100_000, "+"), ("B", "chr21", 10**7, 10**7 + 9, "+"))
)
HG19_PEAKS = keyed(peak_table(("chr1", 249_000_000, 249_000_500), ("chr21", 10**7, 10**7 + 500)))


def test_positions_of_two_genomes_are_refused():
    with pytest.raises(InputError, match=r"1 peaks of peaks end beyond .* hg38.*they fit hg19"):
        check_genome(HG19_PEAKS, HG38_GENES)
    good = keyed(peak_table(("chr17", 83_000_000, 83_000_500)))
    assert check_genome(good, HG38_GENES)[0] == {
        "peaks": ["hg38", "mm9", "mm10", "mm39"],
        "genes": ["hg38"],
    }


def test_positions_of_no_known_genome_are_a_warning():
    beyond = keyed(peak_table(("chr17", 999_000_000, 999_000_500)))
    warnings = check_genome(beyond, HG38_GENES)[1]
    assert len(warnings) == 1
    assert "chr17:999,000,000-999,000,500; the chromosome has 83,257,441 bases" in warnings[0]


def test_genomes_that_the_files_name_are_compared():
    peaks = keyed(peak_table(("chr21", 10**7, 10**7 + 500)))
    with pytest.raises(InputError, match="says that its genome is hg19"):
        check_genome(peaks, HG38_GENES, declared=("hg19", None))
    with pytest.raises(InputError, match="of the genome hg38, annotation of hg19"):
        check_genome(peaks, peaks.assign(strand="+"), declared=("hg38", "hg19"))
    check_genome(peaks, HG38_GENES, declared=("hg38", "hg38"))


@pytest.mark.real_data
def test_real_peaks_fit_their_genome_and_shifted_ones_are_noticed(real_data):
    genes = keyed(read_annotation(real_data / "hg19_genes.bed"))
    genes = genes[genes["key"].isin(CHROMOSOMES["human"])]
    var = ad.read_h5ad(real_data / "atac_hematopoiesis_granja_10kpeaks.h5ad", backed="r").var
    peaks = keyed(parse_peaks(var))
    fitting, warnings = check_genome(peaks, genes)
    assert fitting == {"peaks": ["hg19"], "genes": ["hg19"]}
    assert warnings == []
    # as far as hg19 and hg38 are apart on much of a chromosome, and no peak beyond an end
    shifted = peaks.assign(start=peaks["start"] + 30_000, end=peaks["end"] + 30_000)
    warnings = check_genome(shifted, genes)[1]
    assert len(warnings) == 1
    assert "transcription start" in warnings[0]
