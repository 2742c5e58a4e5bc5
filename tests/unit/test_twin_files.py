"""The twins' files, read as the published ones are: formats, names of keys, spellings, quirks."""

from __future__ import annotations

import gzip
import io
import json
import re
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import yaml

from plkd.errors import InputError
from plkd.pathways.gene_sets import read_gmt
from twins.common import ANNOTATION_URLS, GENE_SET_URLS, Truth, place_of
from twins.counts import MUTO_BATCHES, scaled_down
from twins.registry import WRITERS, write_twin

CONFIGURATIONS = Path(__file__).resolve().parents[2] / "config" / "datasets"
GEO = "https://ftp.ncbi.nlm.nih.gov/geo/series"
GLUE = "http://download.gao-lab.org/GLUE/dataset"


class Twins:
    """Twins in one folder, each written when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.written: dict[str, Truth] = {}

    def __getitem__(self, name: str) -> Truth:
        if name not in self.written:
            self.written[name] = write_twin(name, self.root, n_cells=400, seed=2)
        return self.written[name]

    def path(self, url: str) -> Path:
        return place_of(self.root, url)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    return Twins(tmp_path_factory.mktemp("www"))


def urls_in(content: object) -> set[str]:
    if isinstance(content, dict):
        own = {content["url"]} if "url" in content else set()
        return own.union(*(urls_in(value) for value in content.values()))
    if isinstance(content, list):
        return set().union(*(urls_in(one) for one in content))
    return set()


@pytest.mark.parametrize("name", WRITERS)
def test_every_url_of_the_shipped_configuration_has_its_file(twins: Twins, name: str) -> None:
    wanted = urls_in(yaml.safe_load((CONFIGURATIONS / f"{name}.yaml").read_text()))
    truth = twins[name]
    assert wanted
    assert wanted <= set(truth.files)
    for url, path in truth.files.items():
        assert path == twins.root / url.split("://")[1]
        assert path.stat().st_size > 0


@pytest.mark.parametrize("name", WRITERS)
def test_every_type_and_batch_of_the_published_set_is_there(twins: Twins, name: str) -> None:
    contents = yaml.safe_load((CONFIGURATIONS / f"{name}.yaml").read_text())
    contents = contents if isinstance(contents, list) else [contents]
    for content in contents:
        labels = set(content["expected"]["error"]["labels"])
        for table in twins[name].cells.values():
            counts = table["label"].value_counts()
            assert set(counts.index) == labels
            assert counts.min() >= 8
        batches = content["expected"]["error"].get("batches")
        if isinstance(batches, (list, dict)):
            assert set(twins[name].cells["rna"]["batch"]) == set(map(str, batches))


def test_bmmc(twins: Twins) -> None:
    truth = twins["bmmc"]
    url = (
        f"{GEO}/GSE194nnn/GSE194122/suppl/"
        "GSE194122_openproblems_neurips2021_multiome_BMMC_processed.h5ad.gz"
    )
    cells = ad.read_h5ad(io.BytesIO(gzip.decompress(twins.path(url).read_bytes())))
    kinds = cells.var["feature_types"]
    assert set(kinds) == {"GEX", "ATAC"}
    assert all(re.fullmatch(r"chr[\dX]+-\d+-\d+", one) for one in cells.var_names[kinds == "ATAC"])
    assert cells.var["gene_id"][kinds == "GEX"].str.fullmatch(r"ENSG\d{11}").all()
    counts, X = cells.layers["counts"], cells[:, kinds == "GEX"].X
    assert (counts.data == np.round(counts.data)).all()
    assert (X.data != np.round(X.data)).any()
    factors = cells.obs["GEX_size_factors"].to_numpy()
    np.testing.assert_allclose(
        X.toarray() * factors[:, None], counts[:, (kinds == "GEX").to_numpy()].toarray(), rtol=1e-4
    )
    assert cells.obsm["ATAC_gene_activity"].shape == (
        cells.n_obs,
        len(cells.uns["ATAC_gene_activity_var_names"]),
    )
    shapes = {key: cells.obsm[key].shape[1] for key in cells.obsm if key != "ATAC_gene_activity"}
    assert shapes == {
        "ATAC_lsi_full": 50, "ATAC_lsi_red": 39, "ATAC_umap": 2, "GEX_X_pca": 50, "GEX_X_umap": 2,
    }  # fmt: skip
    assert set(cells.obs["cell_type"]) == set(truth.counts()["labels"])
    assert "G/M prog" in set(cells.obs["cell_type"])
    sample = cells.obs["Samplename"].astype(str)
    assert sample.str.fullmatch(r"site\d_donor\d+_multiome").all()
    donor = sample.str.extract(r"site(\d)_donor(\d+)_multiome")
    np.testing.assert_array_equal("s" + donor[0] + "d" + donor[1], cells.obs["batch"])
    assert "is_train" not in cells.obs
    # every type is on both sides of the split
    sides = cells.obs["Site"].isin(["site1", "site2"])
    assert (pd.crosstab(cells.obs["cell_type"], sides) >= 2).all(axis=None)


def read_pan_cancer(twins: Twins, key: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    stem = f"{GEO}/GSE154nnn/GSE154763/suppl/GSE154763_{key}"
    expression = pd.read_csv(twins.path(f"{stem}_normalized_expression.csv.gz"), index_col="index")
    return expression, pd.read_csv(twins.path(f"{stem}_metadata.csv.gz"))


def test_pan_cancer(twins: Twins) -> None:
    truth = twins["pan_cancer"]
    keys = ["ESCA", "KIDNEY", "LYM", "MYE", "OV-FTC", "PAAD", "THCA", "UCEC", "cDC2"]
    columns = [
        "index",
        "batch",
        "patient",
        "tissue",
        "percent_hsp",
        "percent_mito",
        "n_genes",
        "n_counts",
        "MajorCluster",
        "source",
        "tech",
        "cancer",
        "UMAP1",
        "UMAP2",
    ]
    tables, genes, numbers = {}, {}, {}
    for key in keys:
        expression, metadata = read_pan_cancer(twins, key)
        assert list(metadata) == columns
        assert list(expression.index) == list(metadata["index"])
        # log1p of counts per 10,000, from which the counts can be recovered
        linear = np.expm1(expression.to_numpy())
        np.testing.assert_allclose(linear.sum(axis=1), 1e4, rtol=1e-4)
        counts = linear * metadata["n_counts"].to_numpy()[:, None] / 1e4
        np.testing.assert_allclose(counts, np.round(counts), atol=0.02)
        assert metadata["index"].is_unique
        assert metadata["MajorCluster"].str.fullmatch(r"M\d\d_\w+").all()
        metadata["type"] = metadata["MajorCluster"].str.replace(r"^M\d+_", "", regex=True)
        for cluster, one in zip(metadata["MajorCluster"], metadata["type"], strict=True):
            numbers.setdefault(one, set()).add(cluster)
        tables[key], genes[key] = metadata, frozenset(expression.columns)
    assert len(set(genes.values())) == len(keys)  # every file has genes of its own
    assert len(frozenset.intersection(*genes.values())) > 0.7 * max(map(len, genes.values()))
    assert any(len(clusters) > 1 for clusters in numbers.values())  # M11_ here, M12_ there
    for key in keys[:-1]:
        assert set(tables[key]["cancer"]) == {key}
    assert "CRC" in set(tables["cDC2"]["cancer"])
    assert tables["cDC2"]["type"].str.startswith("cDC2_").all()

    every = pd.concat(tables.values())
    assert every["index"].duplicated().any()
    own = every.drop_duplicates(["index", "patient"])
    assert len(every) - len(own) == truth.notes["repeated"] > 0
    assert own["index"].duplicated().any()  # barcodes collide between different cells
    assert own["type"].value_counts().to_dict() == truth.counts()["labels"]
    assert own["cancer"].value_counts().to_dict() == truth.counts()["batches"]
    repeats = every[every.duplicated(["index", "patient"], keep=False)]
    assert repeats.groupby(["index", "patient"])["type"].nunique().max() == 1


def test_dlpfc(twins: Twins) -> None:
    truth = twins["dlpfc"]
    table_name = "barcode_level_layer_map.tsv"
    pilot = next(url for url in truth.files if url.endswith(table_name))
    labels = pd.read_csv(
        twins.path(pilot), sep="\t", header=None, names=["barcode", "slice", "layer"], dtype=str
    )
    assert len(labels) == truth.counts()["cells"] == 400
    assert labels["slice"].nunique() == 12
    assert labels["barcode"].duplicated().any()  # between slices
    unlabelled = 0
    for name, of_slice in labels.groupby("slice"):
        url = f"https://spatial-dlpfc.s3.us-east-2.amazonaws.com/h5/{name}_filtered_feature_bc_matrix.h5"
        with pytest.warns(UserWarning, match="Variable names are not unique"):
            cells = sc.read_10x_h5(twins.path(url))
        assert cells.obs_names.is_unique
        assert set(of_slice["barcode"]) < set(cells.obs_names)
        unlabelled += cells.n_obs - len(of_slice)
        assert set(cells.var) == {"gene_ids", "feature_types", "genome"}
        assert cells.var["gene_ids"].is_unique
        with h5py.File(twins.path(url)) as store:
            assert list(store["matrix/shape"]) == [cells.n_vars, cells.n_obs]
            assert store["matrix/data"].dtype == np.int32
        assert {"L1", "L2"}.isdisjoint(of_slice["layer"]) == (name in "151669 151670 151671 151672")
        places = pd.read_csv(
            twins.path(pilot.replace(table_name, f"{name}/tissue_positions_list.txt")),
            header=None,
            index_col=0,
        )
        assert len(places) == 4992
        assert set(places.index[places[1] == 1]) == set(cells.obs_names)
        drawn = truth.cells["rna"].query("batch == @name")
        np.testing.assert_allclose(places.loc[drawn.index, [5, 4]], drawn[["x", "y"]], atol=0.51)
    assert unlabelled == truth.notes["unlabelled"] >= 12


PAIRED = {
    "multiome_10x": ("10x-Multiome-Pbmc10k", "GRCh38"),
    "chen_2019": ("Chen-2019", "mm10"),
    "ma_2020": ("Ma-2020", "mm10"),
}


@pytest.mark.parametrize("name", [*PAIRED, "muto_2021"])
def test_glue(twins: Twins, name: str) -> None:
    truth = twins[name]
    published, genome = PAIRED.get(name, ("Muto-2021", "hg38"))
    rna, atac = (
        ad.read_h5ad(twins.path(f"{GLUE}/{published}-{part}.h5ad")) for part in ("RNA", "ATAC")
    )
    for part, cells in (("rna", rna), ("atac", atac)):
        assert cells.X.dtype == np.float32
        assert (cells.X.data == np.round(cells.X.data)).all()
        assert (cells.var["n_counts"] >= 1).all()
        assert cells.obs_names.is_unique
        assert cells.var_names.is_unique
        assert {"domain", "protocol", "dataset", "cell_type"} <= set(cells.obs)
        assert {"chrom", "chromStart", "chromEnd", "genome", "n_counts"} <= set(cells.var)
        assert set(cells.var["genome"]) == {genome}
        assert set(cells.obs["dataset"]) == {f"{published}-{part.upper()}"}
        assert set(cells.obs["domain"]) == {"scRNA-seq" if part == "rna" else "scATAC-seq"}
        table = truth.cells[part]
        assert list(cells.obs_names) == list(table.index)
        np.testing.assert_array_equal(cells.obs["cell_type"].astype(str), table["label"])
        assert ("batch" in cells.obs) == (name in ("ma_2020", "muto_2021"))
        if "batch" in cells.obs:
            np.testing.assert_array_equal(cells.obs["batch"].astype(str), table["batch"])
    peaks = atac.var
    spelled = peaks["chrom"].astype(str) + ":" + peaks["chromStart"].astype(str)
    np.testing.assert_array_equal(spelled + "-" + peaks["chromEnd"].astype(str), atac.var_names)
    assert rna.var["highly_variable"].sum() == 400
    assert peaks["chrom"].astype(str).str.match("KI|GL").any() == (name != "chen_2019")
    if name in PAIRED:
        assert set(rna.obs_names) == set(atac.obs_names)
        assert list(rna.obs_names) != list(atac.obs_names)
    if name == "ma_2020":
        np.testing.assert_array_equal(
            rna.obs_names.str.rsplit(".", n=1).str[-1], rna.obs["batch"].astype(str)
        )
        assert {"Hair Shaft-Cuticle/Cortex", "K6+ Bulge/Companion Layer"} <= set(
            rna.obs["cell_type"]
        )
    if name == "muto_2021":
        assert set(rna.obs["batch"]) == set(atac.obs["batch"]) == set(MUTO_BATCHES)
        assert {"DCT1", "DCT2"} <= set(rna.obs["author_cell_type"])
        assert {"PCT", "PST"} <= set(atac.obs["author_cell_type"])
        for donor in MUTO_BATCHES:  # peaks of all donors only
            assert (atac[atac.obs["batch"] == donor].X.getnnz(axis=0) > 0).all()
    if genome != "mm10":
        assert rna.var["gene_ids"].str.fullmatch(r"ENSG\d{11}").all()
        assert rna.var_names.str.endswith("-1").any()  # symbols made unique


@pytest.mark.parametrize(("organism", "name"), [("human", "multiome_10x"), ("mouse", "ma_2020")])
def test_annotation_and_gene_sets_fit_the_genes(twins: Twins, organism: str, name: str) -> None:
    truth = twins[name]
    table = pd.read_csv(twins.path(ANNOTATION_URLS[organism]), sep="\t", comment="#", header=None)
    genes = table[table[2] == "gene"]
    attributes = genes[8].str.extract(
        r'gene_id "(?P<id>ENS(?:MUS)?G\d{11}\.\d+)"; gene_type "(?P<type>\w+)"; '
        r'gene_name "(?P<name>[^"]+)"'
    )
    assert attributes.notna().all(axis=None)
    assert attributes["id"].is_unique
    assert attributes["name"].duplicated().sum() == 3
    published = PAIRED[name][0]
    rna = ad.read_h5ad(twins.path(f"{GLUE}/{published}-RNA.h5ad"))
    placed = genes.assign(**attributes).set_index("id")
    mine = rna.var.set_index("gene_id")
    np.testing.assert_array_equal(placed.loc[mine.index, 3] - 1, mine["chromStart"])
    np.testing.assert_array_equal(placed.loc[mine.index, 6], mine["strand"].astype(str))
    sets = read_gmt(twins.path(GENE_SET_URLS[organism]))
    planted = truth.simulations["rna"].programmes
    assert {one: list(sets[one].genes) for one in planted} == planted
    assert set().union(*planted.values()) <= set(attributes["name"])


def test_twins_of_an_organism_share_their_files(tmp_path: Path) -> None:
    """Writing one twin after the other leaves annotation and gene sets as they were."""
    first = write_twin("chen_2019", tmp_path, n_cells=180, seed=2)
    before = {url: path.read_bytes() for url, path in first.files.items()}
    second = write_twin("ma_2020", tmp_path, n_cells=180, seed=2)
    assert len(set(first.files) & set(second.files)) == 2
    assert {url: path.read_bytes() for url, path in first.files.items()} == before


@pytest.mark.parametrize("name", ["pan_cancer", "dlpfc", "ma_2020"])
def test_the_same_seed_gives_the_same_values(twins: Twins, name: str, tmp_path: Path) -> None:
    again = write_twin(name, tmp_path, n_cells=400, seed=2)
    for url, path in again.files.items():
        if path.suffix == ".h5ad":
            one, other = ad.read_h5ad(path), ad.read_h5ad(twins[name].files[url])
            assert (one.X != other.X).nnz == 0
            assert one.obs.equals(other.obs)
            assert one.var.equals(other.var)
        elif path.suffix == ".h5":
            with h5py.File(path) as one, h5py.File(twins[name].files[url]) as other:
                for key in ("data", "indices", "indptr", "barcodes"):
                    np.testing.assert_array_equal(one["matrix"][key], other["matrix"][key])
        else:
            assert path.read_bytes() == twins[name].files[url].read_bytes()


def test_truth_is_written_beside_the_twin(twins: Twins) -> None:
    truth = twins["ma_2020"]
    content = json.loads((twins.root / "truth_ma_2020.json").read_text())
    assert content["expected"]["rna"] == truth.counts()
    assert set(content["urls"]) == set(truth.files)
    assert {"peak", "gene", "kind", "distance", "weight"} == set(content["links"]["atac"][0])


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no twin 'liver'; expected one of bmmc"):
        write_twin("liver", tmp_path)
    with pytest.raises(InputError, match="too few for 22 labels"):
        write_twin("bmmc", tmp_path, n_cells=100)
    with pytest.raises(InputError, match="too few"):
        write_twin("dlpfc", tmp_path, n_cells=100)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert scaled_down({"a": 90, "b": 10, "c": 1}, 50, 5) == {"a": 36, "b": 9, "c": 5}


@pytest.mark.parametrize("name", ["multiome_10x", "chen_2019"])
def test_halves_are_the_whole_data_set_cut_in_two(name: str) -> None:
    """The same files, read in the same way; of every cell one modality."""
    whole, halves = (
        yaml.safe_load((CONFIGURATIONS / f"{one}.yaml").read_text(encoding="utf-8"))
        for one in (name, f"{name}_halves")
    )
    parts = [halves[side].pop("part") for side in ("reference", "query")]
    assert parts == [{"number": 1, "of": 2}, {"number": 2, "of": 2}]
    assert halves["collection"] == whole.get("collection", name)
    for key in ("organism", "reference", "query", "gene_sets", "paper_name"):
        assert halves[key] == whole[key]
    counts = [one["expected"]["error"] for one in (whole, halves)]
    assert counts[0]["cells"] == 2 * counts[1]["cells"]
    assert counts[0]["labels"] == counts[1]["labels"]
    paper = yaml.safe_load((CONFIGURATIONS.parent / "paper.yaml").read_text(encoding="utf-8"))
    assert f"config/datasets/{name}_halves.yaml" in paper["datasets"]


def test_all_cells_of_ma_2020_are_integrated_and_other_cells_are_named() -> None:
    path = CONFIGURATIONS / "ma_2020.yaml"
    datasets = {one["name"]: one for one in yaml.safe_load(path.read_text(encoding="utf-8"))}
    kept = {
        name: [datasets[name][side]["keep"] for side in ("reference", "query")]
        for name in ("ma_2020", "ma_2020_rna_to_atac")
    }
    assert kept == {
        "ma_2020": [{}, {}],
        "ma_2020_rna_to_atac": [{"batch": ["53", "54"]}, {"batch": ["55", "56"]}],
    }
