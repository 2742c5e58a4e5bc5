"""Twins of the data sets on GEO: bone marrow (BMMC) and myeloid cells of many cancers."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.decomposition import TruncatedSVD

from plkd.simulation.atac import simulate_atac
from plkd.simulation.cells import Simulation, draw_cells
from plkd.simulation.design import stream
from twins.common import (
    Truth,
    annotation_of,
    barcodes,
    cell_table,
    design_of,
    draw_design,
    place_of,
    published_genes,
    write_gzip,
    write_packed_h5ad,
    write_shared,
)

GEO = "https://ftp.ncbi.nlm.nih.gov/geo/series"
BMMC_URL = (
    f"{GEO}/GSE194nnn/GSE194122/suppl/"
    "GSE194122_openproblems_neurips2021_multiome_BMMC_processed.h5ad.gz"
)
PAN_CANCER_URL = f"{GEO}/GSE154nnn/GSE154763/suppl/GSE154763_{{key}}_{{what}}.csv.gz"
PAN_CANCER_FILES = ("ESCA", "KIDNEY", "LYM", "MYE", "OV-FTC", "PAAD", "THCA", "UCEC", "cDC2")
ABSENT_GENES = 0.02
PATIENTS_PER_CANCER = 3


def write_bmmc(root: Path, n_cells: int, seed: int) -> Truth:
    """Write one packed h5ad: expression and accessibility side by side.

    X is divided by size factors and not logged; the counts are a layer.
    """
    labels, batches, _ = draw_design("bmmc", n_cells, seed)
    design = design_of("bmmc", seed)
    rna = draw_cells(design, labels, batches, seed=seed, depth=4000.0)
    atac = simulate_atac(rna, annotation_of("human", seed), seed=seed, body_peaks=0.5)
    genes = published_genes("human", seed, annotated_only=False).iloc[: rna.cells.n_vars]
    ids = [
        f"{barcode}-1-{batch}"
        for barcode, batch in zip(barcodes(len(labels), "bmmc", seed), batches, strict=True)
    ]
    cells = _bmmc_cells(rna, atac, genes, ids, seed)
    path = place_of(root, BMMC_URL)
    write_packed_h5ad(cells, path)
    return Truth(
        name="bmmc",
        cells={"rna": cell_table(ids, labels, batches)},
        simulations={"rna": rna, "atac": atac},
        files={BMMC_URL: path, **write_shared(root, "human", seed)},
    )


def _bmmc_cells(
    rna: Simulation, atac: Simulation, genes: pd.DataFrame, ids: list[str], seed: int
) -> ad.AnnData:
    counts, peaks = rna.cells.X, atac.cells.X
    totals = np.asarray(counts.sum(axis=1)).ravel()
    factors = totals / totals.mean()
    normalised = sparse.diags(1 / factors) @ counts
    opened = peaks.copy()
    opened.data[:] = 1
    assert atac.links is not None
    near = atac.links[atac.links["kind"] != "distal"]
    activity_genes = pd.Index(near["gene"].unique())
    to_genes = sparse.csr_matrix(
        (
            np.ones(len(near), dtype=np.float32),
            (
                atac.cells.var_names.get_indexer(pd.Index(near["peak"])),
                activity_genes.get_indexer(pd.Index(near["gene"])),
            ),
        ),
        shape=(atac.cells.n_vars, len(activity_genes)),
    )
    peak_names = [name.replace(":", "-") for name in atac.cells.var_names]
    n_dimensions = min(50, counts.shape[0] - 1)
    pca = TruncatedSVD(n_dimensions, random_state=0).fit_transform(normalised.log1p())
    lsi = TruncatedSVD(n_dimensions, random_state=0).fit_transform(opened)
    return ad.AnnData(
        sparse.hstack([normalised, opened], format="csr").astype(np.float32),
        obs=_bmmc_obs(rna, atac, factors, ids, seed),
        var=pd.DataFrame(
            {
                "feature_types": pd.Categorical(["GEX"] * len(genes) + ["ATAC"] * len(peak_names)),
                "gene_id": [*genes["gene_id"], *peak_names],
            },
            index=[*genes["symbol"], *peak_names],
        ),
        layers={"counts": sparse.hstack([counts, peaks], format="csr").astype(np.float32)},
        obsm={
            "ATAC_gene_activity": (peaks @ to_genes).astype(np.float32).tocsr(),
            "ATAC_lsi_full": lsi,
            "ATAC_lsi_red": lsi[:, 1:40],
            "ATAC_umap": lsi[:, 1:3],
            "GEX_X_pca": pca,
            "GEX_X_umap": pca[:, :2],
        },
        uns={
            "ATAC_gene_activity_var_names": activity_genes.to_numpy(dtype=object),
            "dataset_id": "bmmc_multiome_simulated",
            "genome": "GRCh38",
            "organism": "human",
        },
    )


def _bmmc_obs(
    rna: Simulation, atac: Simulation, factors: np.ndarray, ids: list[str], seed: int
) -> pd.DataFrame:
    counts, peaks = rna.cells.X, atac.cells.X
    batch = rna.cells.obs["batch"].astype(str).to_numpy()
    rng = stream(seed, "bmmc obs")
    n = len(ids)
    site = np.array([name[1] for name in batch])
    donor = np.array([name.split("d")[1] for name in batch])
    number = donor.astype(int)
    obs = pd.DataFrame(
        {
            "GEX_pct_counts_mt": rng.gamma(4, 0.5, n),
            "GEX_n_counts": np.asarray(counts.sum(axis=1)).ravel(),
            "GEX_n_genes": counts.getnnz(axis=1),
            "GEX_size_factors": factors,
            "GEX_phase": rng.choice(["G1", "S", "G2M"], n),
            "ATAC_nCount_peaks": np.asarray(peaks.sum(axis=1)).ravel(),
            "ATAC_atac_fragments": np.asarray(peaks.sum(axis=1)).ravel() * 2,
            "ATAC_reads_in_peaks_frac": rng.uniform(0.4, 0.8, n),
            "ATAC_blacklist_fraction": rng.uniform(0, 0.01, n),
            "ATAC_nucleosome_signal": rng.uniform(0.4, 1.2, n),
            "cell_type": rna.true_labels,
            "batch": batch,
            "ATAC_pseudotime_order": np.nan,
            "GEX_pseudotime_order": np.nan,
            "Samplename": [f"site{s}_donor{d}_multiome" for s, d in zip(site, donor, strict=True)],
            "Site": [f"site{s}" for s in site],
            "DonorNumber": [f"donor{d}" for d in donor],
            "Modality": "multiome",
            "VendorLot": 3_000_000 + number,
            "DonorID": 10_000 + number,
            "DonorAge": 20 + number,
            "DonorBMI": 20.0 + number / 2,
            "DonorBloodType": np.array(["A+", "B+", "B-", "O+"])[number % 4],
            "DonorRace": "Unknown",
            "Ethnicity": "Unknown",
            "DonorGender": np.array(["Female", "Male"])[number % 2],
            "QCMeds": "False",
            "DonorSmoker": np.array(["Nonsmoker", "Smoker"])[number % 2],
        },
        index=ids,
    )
    for column in obs.select_dtypes(include="object").columns:
        obs[column] = pd.Categorical(obs[column])
    return obs


def write_pan_cancer(root: Path, n_cells: int, seed: int) -> Truth:
    """Write nine pairs of packed csv: logged normalised values (cells in rows) and metadata.

    The genes differ between the files, barcodes collide between files, and the file ``cDC2`` holds
    cells of several cancers: some are in no other file, some are repeats.
    """
    labels, cancers, rng = _pan_cancer_design(n_cells, seed)
    simulation = draw_cells(design_of("pan_cancer", seed), labels, cancers, seed=seed, depth=4000.0)
    table = _pan_cancer_obs(simulation, seed)
    is_cdc2 = table["Celltype"].str.startswith("cDC2_").to_numpy()
    cancer = table["cancer"].to_numpy()
    # A few cells of OV-FTC, and all of colorectal cancer, are in the file of the cDC2 cells alone.
    lone = (cancer == "CRC") | ((cancer == "OV-FTC") & is_cdc2 & (rng.random(len(table)) < 0.5))
    repeated = is_cdc2 & ~lone & (rng.random(len(table)) < 0.5)
    files: dict[str, Path] = {}
    for key in PAN_CANCER_FILES:
        rows = np.flatnonzero(lone | repeated if key == "cDC2" else (cancer == key) & ~lone)
        files |= _write_pan_cancer_pair(root, key, rows, simulation, table, seed)
    return Truth(
        name="pan_cancer",
        cells={
            "rna": cell_table(
                table["index"], table["Celltype"], cancer, file=np.where(lone, "cDC2", cancer)
            )
        },
        simulations={"rna": simulation},
        files={**files, **write_shared(root, "human", seed)},
        notes={"repeated": int(repeated.sum()), "lone": int(lone.sum())},
    )


def _pan_cancer_design(n_cells: int, seed: int) -> tuple[list[str], list[str], np.random.Generator]:
    """Colorectal cancer has cDC2 cells alone; its other cells go to those of the reference."""
    labels, cancers, rng = draw_design("pan_cancer", n_cells, seed)
    moved = iter(rng.permutation(np.tile(["ESCA", "THCA", "UCEC"], n_cells)))
    cancers = [
        str(next(moved)) if cancer == "CRC" and not label.startswith("cDC2_") else cancer
        for label, cancer in zip(labels, cancers, strict=True)
    ]
    return labels, cancers, rng


def _pan_cancer_obs(simulation: Simulation, seed: int) -> pd.DataFrame:
    """Metadata of all cells; barcodes are unique within a file and collide between files."""
    rng = stream(seed, "pan_cancer obs")
    cancer = simulation.cells.obs["batch"].astype(str).to_numpy()
    n = len(cancer)
    patient = rng.integers(1, PATIENTS_PER_CANCER + 1, n)
    pool = barcodes(2 * n, "pan_cancer", seed)
    ids = np.empty(n, dtype=object)
    # The cDC2 cells meet in one file, so their barcodes differ; all others start anew in each file.
    together = np.array([label.startswith("cDC2_") for label in simulation.true_labels])
    for key in [None, *np.unique(cancer)]:
        rows = np.flatnonzero(together if key is None else (cancer == key) & ~together)
        for i, row in enumerate(rows):
            ids[row] = f"{pool[i + (n if key is None else 0)]}-{patient[row]}"
    # Patients of different cancers have different names.
    numbers = {key: 20180100 + 10 * i for i, key in enumerate(np.unique(cancer))}
    umap = TruncatedSVD(2, random_state=0).fit_transform(simulation.cells.X)
    return pd.DataFrame(
        {
            "index": ids,
            "batch": patient - 1,
            "patient": [f"P{numbers[c] + p}" for c, p in zip(cancer, patient, strict=True)],
            "tissue": rng.choice(["N", "T"], n, p=[0.3, 0.7]),
            "percent_hsp": rng.uniform(0, 0.05, n),
            "percent_mito": rng.uniform(0, 0.1, n),
            "Celltype": simulation.true_labels,
            "cancer": cancer,
            "UMAP1": umap[:, 0],
            "UMAP2": umap[:, 1],
        }
    )


def _write_pan_cancer_pair(
    root: Path, key: str, rows: np.ndarray, simulation: Simulation, table: pd.DataFrame, seed: int
) -> dict[str, Path]:
    rng = stream(seed, "pan_cancer", key)
    measured = np.sort(
        rng.permutation(simulation.cells.n_vars)[int(ABSENT_GENES * simulation.cells.n_vars) :]
    )
    counts = simulation.cells.X[rows][:, measured]
    totals = np.asarray(counts.sum(axis=1)).ravel()
    values = (sparse.diags(1e4 / totals) @ counts).log1p().astype(np.float32)
    here = table.iloc[rows]
    expression = pd.DataFrame(
        values.toarray(),
        index=pd.Index(here["index"], name="index"),
        columns=simulation.cells.var_names[measured],
    )
    # The clusters of each file are numbered anew: M01_, M02_ ..
    types = sorted(here["Celltype"].unique())
    number = dict(zip(types, rng.permutation(len(types)) + 1, strict=True))
    metadata = pd.DataFrame(
        {
            **{name: here[name] for name in ("index", "batch", "patient", "tissue")},
            **{name: here[name] for name in ("percent_hsp", "percent_mito")},
            "n_genes": counts.getnnz(axis=1),
            "n_counts": totals,
            "MajorCluster": [f"M{number[one]:02d}_{one}" for one in here["Celltype"]],
            "source": "simulated",
            "tech": "10X5",
            **{name: here[name] for name in ("cancer", "UMAP1", "UMAP2")},
        }
    )
    files = {}
    for what, text in (
        ("normalized_expression", expression.to_csv()),
        ("metadata", metadata.to_csv(index=False)),
    ):
        url = PAN_CANCER_URL.format(key=key, what=what)
        files[url] = place_of(root, url)
        write_gzip(files[url], text.encode())
    return files
