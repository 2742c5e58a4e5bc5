"""Simulated accessibility and slices of tissue against the truth that was planted in them."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import bioframe
import numpy as np
import pandas as pd
import pytest

from plkd.errors import InputError
from plkd.simulation import (
    Simulation,
    make_design,
    plant_annotation,
    simulate_atac,
    simulate_cells,
    simulate_spatial,
    write_fragments,
    write_gtf,
)
from plkd.simulation.genome import CHROMOSOMES, write_bgzf


@pytest.fixture(scope="module")
def rna() -> Simulation:
    return simulate_cells(600, n_genes=600, imbalance=2, seed=1)


@pytest.fixture(scope="module")
def annotation(rna: Simulation) -> pd.DataFrame:
    return plant_annotation(rna.design.genes)


@pytest.fixture(scope="module")
def atac(rna: Simulation, annotation: pd.DataFrame) -> Simulation:
    return simulate_atac(rna, annotation, seed=1, contigs=["KI270728.1"])


def test_peaks_are_named_by_sorted_disjoint_places(atac: Simulation) -> None:
    var = atac.cells.var
    assert list(var.index) == [f"{p.chrom}:{p.start}-{p.end}" for p in var.itertuples()]
    assert (
        not bioframe.overlap(
            var.reset_index(drop=True), var.reset_index(drop=True), how="inner", suffixes=("", "_")
        )
        .query("start != start_")
        .size
    )
    order = list(dict.fromkeys(var["chrom"]))
    assert order == [*CHROMOSOMES["hg38"], "KI270728.1"]
    assert all(group["start"].is_monotonic_increasing for _, group in var.groupby("chrom"))


def test_peaks_follow_their_genes_and_background_peaks_do_not(
    rna: Simulation, atac: Simulation
) -> None:
    """Correlation over labels between peaks and the observed expression of the linked gene."""
    labels = rna.true_labels

    def by_label(simulation: Simulation) -> np.ndarray:
        X = simulation.cells.X
        sums = np.stack(
            [np.asarray(X[labels == one].sum(axis=0)).ravel() for one in rna.design.labels]
        )
        return np.log(sums / sums.sum(axis=1, keepdims=True) * 1e6 + 10)

    genes, peaks = by_label(rna), by_label(atac)
    varying = pd.Index(rna.cells.var_names[genes.std(axis=0) > 0.7])
    links = atac.links[atac.links["gene"].isin(varying)]

    def correlations(peak_columns: np.ndarray, gene_columns: np.ndarray) -> np.ndarray:
        a, b = peaks[:, peak_columns], genes[:, gene_columns]
        a, b = a - a.mean(axis=0), b - b.mean(axis=0)
        norms = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
        return (a * b).sum(axis=0) / np.maximum(norms, 1e-12)

    def columns(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        return (
            atac.cells.var_names.get_indexer(table["peak"]),
            rna.cells.var_names.get_indexer(table["gene"]),
        )

    mean = {kind: correlations(*columns(table)).mean() for kind, table in links.groupby("kind")}
    assert mean["promoter"] > 0.75
    assert mean["body"] > 0.7
    assert 0.3 < mean["distal"] < mean["body"]
    near = links.query("kind == 'distal' and distance < 10_000")
    far = links.query("kind == 'distal' and distance > 40_000")
    assert correlations(*columns(near)).mean() > correlations(*columns(far)).mean() + 0.2
    alone = np.flatnonzero(~atac.cells.var_names.isin(atac.links["peak"]))
    some_genes = np.resize(rna.cells.var_names.get_indexer(varying), len(alone))
    assert abs(correlations(alone, some_genes).mean()) < 0.1


def test_the_kinds_of_peaks_lie_where_they_should(
    atac: Simulation, annotation: pd.DataFrame
) -> None:
    links = atac.links.merge(annotation, on="gene")
    places = atac.cells.var.loc[links["peak"]]
    centre = (places["start"].to_numpy() + places["end"].to_numpy()) / 2
    tss = np.where(links["strand"] == "+", links["start"], links["end"])
    promoter = (links["kind"] == "promoter").to_numpy()
    assert np.abs(centre - tss)[promoter].max() <= 150
    body = (links["kind"] == "body").to_numpy()
    assert ((centre >= links["start"] - 1) & (centre <= links["end"]))[body].all()
    outside = np.maximum(links["start"] - centre, centre - links["end"])
    distal = (links["kind"] == "distal").to_numpy()
    np.testing.assert_allclose(outside[distal], links["distance"][distal], atol=1)
    alone = atac.cells.var[~atac.cells.var_names.isin(atac.links["peak"])].reset_index(drop=True)
    widened = annotation.assign(start=annotation["start"] - 2000, end=annotation["end"] + 2000)
    assert bioframe.count_overlaps(alone, widened)["count"].sum() == 0
    assert len(alone) / atac.cells.n_vars == pytest.approx(0.3, abs=0.05)


def test_paired_and_unpaired_cells(
    rna: Simulation, atac: Simulation, annotation: pd.DataFrame
) -> None:
    assert atac.cells.obs.equals(rna.cells.obs)
    assert atac.cells.X.dtype == np.float32
    assert np.asarray(atac.cells.X.sum(axis=1)).mean() == pytest.approx(3000, rel=0.1)
    other = simulate_atac(
        simulate_cells(200, n_genes=600, imbalance=2, seed=9), annotation, contigs=["KI270728.1"]
    )
    assert list(other.cells.var_names) == list(atac.cells.var_names)
    assert not set(other.cells.obs_names) & set(rna.cells.obs_names)
    again = simulate_atac(rna, annotation, seed=1, contigs=["KI270728.1"])
    assert (again.cells.X != atac.cells.X).nnz == 0
    with pytest.raises(InputError, match="holds peaks already"):
        simulate_atac(atac, annotation)
    with pytest.raises(InputError, match="no column 'strand'"):
        simulate_atac(rna, annotation.drop(columns="strand"))
    with pytest.raises(InputError, match="none of the simulated genes"):
        simulate_atac(rna, annotation.assign(gene="other"))


def test_fragments_give_the_peak_counts_back(atac: Simulation, tmp_path: Path) -> None:
    few = Simulation(
        cells=atac.cells[:20].copy(),
        markers=atac.markers,
        programmes=atac.programmes,
        active=atac.active,
        activity=atac.activity[:20],
        design=atac.design,
        links=atac.links,
    )
    path = tmp_path / "fragments.tsv.gz"
    write_fragments(few, path)
    columns = ["chrom", "start", "end", "barcode", "reads"]
    fragments = pd.read_csv(path, sep="\t", header=None, names=columns)
    changes = (fragments["chrom"] != fragments["chrom"].shift()).sum()
    assert changes == fragments["chrom"].nunique()  # each chromosome in one piece
    assert all(one["start"].is_monotonic_increasing for _, one in fragments.groupby("chrom"))
    peaks = few.cells.var.reset_index(names="peak")
    pairs = bioframe.overlap(fragments, peaks, how="inner", suffixes=("", "_peak"))
    counts = pd.crosstab(pairs["barcode"], pairs["peak_peak"])
    counts = counts.reindex(index=few.cells.obs_names, columns=few.cells.var_names, fill_value=0)
    np.testing.assert_array_equal(counts.to_numpy(), few.cells.X.toarray())


def test_blocks_of_bgzf_are_independent(tmp_path: Path) -> None:
    """Every block unpacks on its own at the length that its header gives (SAM format, 4.1)."""
    lines = [f"line {i} {i * i}\n" for i in range(30_000)]
    write_bgzf(lines, tmp_path / "lines.gz")
    content = (tmp_path / "lines.gz").read_bytes()
    assert gzip.decompress(content).decode() == "".join(lines)
    place, unpacked = 0, []
    while place < len(content):
        assert content[place : place + 4] == b"\x1f\x8b\x08\x04"
        assert content[place + 12 : place + 16] == b"BC\x02\x00"
        size = int.from_bytes(content[place + 16 : place + 18], "little") + 1
        unpacked.append(zlib.decompress(content[place + 18 : place + size - 8], -15))
        assert len(unpacked[-1]) < 1 << 16
        place += size
    assert len(unpacked) > 2
    assert unpacked[-1] == b""  # the mark of the end
    assert b"".join(unpacked).decode() == "".join(lines)


@pytest.mark.parametrize("genome", ["hg38", "mm10"])
def test_annotation_fits_the_genome_and_is_written_as_gtf(genome: str, tmp_path: Path) -> None:
    names = [f"gene{i}" for i in range(20_000)]
    annotation = plant_annotation(names, genome=genome, seed=3)
    assert sorted(annotation["gene"]) == sorted(names)
    assert annotation["gene_id"].is_unique
    limits = annotation["chrom"].map(CHROMOSOMES[genome])
    assert (annotation["start"] > 0).all()
    assert (annotation["end"] <= limits).all()
    assert bioframe.count_overlaps(annotation, annotation)["count"].max() == 1  # itself alone
    write_gtf(annotation.iloc[:50], tmp_path / "genes.gtf.gz")
    table = bioframe.read_table(str(tmp_path / "genes.gtf.gz"), schema="gtf", comment="#")
    genes = table[table["feature"] == "gene"].reset_index(drop=True)
    # GTF counts from 1 and includes the end
    np.testing.assert_array_equal(genes["start"] - 1, annotation["start"].iloc[:50])
    np.testing.assert_array_equal(genes["end"], annotation["end"].iloc[:50])
    found = genes["attributes"].str.extract(r'gene_name "([^"]+)"')[0]
    np.testing.assert_array_equal(found, annotation["gene"].iloc[:50])
    assert set(table["feature"]) == {"gene", "transcript", "exon"}


def test_genomes_have_limits() -> None:
    with pytest.raises(InputError, match="not known"):
        plant_annotation(["a"], genome="hg17")
    with pytest.raises(InputError, match="no room"):
        plant_annotation([str(i) for i in range(90_000)])


@pytest.mark.parametrize("arrangement", ["layers", "niches"])
def test_spots_of_a_label_lie_together(arrangement: str) -> None:
    design = make_design(n_genes=500, n_labels=5, imbalance=3)
    tissue = simulate_spatial(
        1200, design=design, slices=["s1", "s2"], arrangement=arrangement, leave_out={"s2": ["A1"]}
    )
    obs = tissue.cells.obs
    assert obs["batch"].value_counts().to_list() == [600, 600]
    assert set(obs["label"][obs["batch"] == "s2"]) == set(design.labels) - {"A1"}
    for name in ("s1", "s2"):
        here = (obs["batch"] == name).to_numpy()
        xy = tissue.cells.obsm["spatial"][here].astype(float)
        distance = np.hypot(*(xy[:, None] - xy[None]).transpose(2, 0, 1))
        np.fill_diagonal(distance, np.inf)
        assert distance.min() == pytest.approx(137, abs=1)  # no two spots in one place
        labels = obs["label"].to_numpy()[here]
        nearest = labels[np.argsort(distance, axis=1)[:, :6]]
        same = (nearest == labels[:, None]).mean()
        by_chance = (pd.Series(labels).value_counts(normalize=True) ** 2).sum()
        assert same > by_chance + 0.35
    places = obs[["batch", "array_row", "array_col"]]
    assert not places.duplicated().any()
    assert ((obs["array_row"] + obs["array_col"]) % 2 == 0).all()


def test_layers_lie_in_the_order_of_the_labels() -> None:
    design = make_design(n_genes=500, n_labels=5, imbalance=1)
    tissue = simulate_spatial(1000, design=design, n_slices=1)
    y = pd.Series(tissue.cells.obsm["spatial"][:, 1], index=tissue.cells.obs["label"])
    depth = y.groupby(level=0, observed=True).mean()[list(design.labels)]
    assert depth.is_monotonic_increasing


def test_spots_mix_with_their_neighbours() -> None:
    design = make_design(n_genes=500, n_labels=3, imbalance=1, n_programmes=20)

    def excess_at_the_border(mixing: float) -> float:
        """Expression of the markers of A1 in other spots: beside spots of A1, over further away."""
        tissue = simulate_spatial(
            900, design=design, n_slices=1, mixing=mixing, arrangement="niches"
        )
        X = tissue.cells[:, design.markers["A1"]].X.toarray().mean(axis=1)
        xy = tissue.cells.obsm["spatial"].astype(float)
        distance = np.hypot(*(xy[:, None] - xy[None]).transpose(2, 0, 1))
        inside = (tissue.cells.obs["label"] == "A1").to_numpy()
        beside = ~inside & (distance[:, inside].min(axis=1) < 140)
        return X[beside].mean() / X[~inside & ~beside].mean()

    assert excess_at_the_border(0.8) > 2
    assert excess_at_the_border(0.0) == pytest.approx(1, abs=0.3)
    with pytest.raises(InputError, match="too few"):
        simulate_spatial(2, design=design)
    with pytest.raises(InputError, match="every label"):
        simulate_spatial(90, design=design, slices=["s1"], leave_out={"s1": design.labels})
