"""Twins of the four multi-omics data sets as they are distributed with GLUE."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from anndata.utils import make_index_unique
from sklearn.decomposition import TruncatedSVD

from plkd.simulation.atac import simulate_atac
from plkd.simulation.cells import Simulation, draw_cells, write_cells
from plkd.simulation.design import stream
from twins.common import (
    BLUEPRINTS,
    GENOMES,
    Truth,
    annotation_of,
    barcodes,
    cell_table,
    design_of,
    draw_design,
    place_of,
    published_genes,
    with_second_genes,
    write_shared,
)

URL = "http://download.gao-lab.org/GLUE/dataset/{name}-{part}.h5ad"
N_VARIABLE = 400
ATAC_DEPTH = 6000.0
CONTIGS = {"human": ("KI270728.1", "GL000194.1"), "mouse": ("GL456233.1",)}
# Types that the authors told apart and GLUE joined: label -> (of expression, of accessibility).
MUTO_AUTHOR_TYPES = {
    "DCT": (("DCT1", "DCT2"), ("DCT",)),
    "MES_FIB": (("MES", "FIB"), ("MES_FIB",)),
    "PT": (("PT",), ("PCT", "PST")),
}


def write_multiome_10x(root: Path, n_cells: int, seed: int) -> Truth:
    """Write expression and accessibility of the same blood cells (10x-Multiome-Pbmc10k)."""
    labels, _, _ = draw_design("multiome_10x", n_cells, seed)
    ids = [f"{one}-1" for one in barcodes(n_cells, "multiome_10x", seed)]
    rna, atac = _paired("multiome_10x", labels, ["one well"] * n_cells, seed)
    extra = _seurat_columns(rna, atac, seed)
    return _written(
        root, "multiome_10x", "10x-Multiome-Pbmc10k", "10x Multiome", ids, rna, atac, seed, extra
    )


def write_chen_2019(root: Path, n_cells: int, seed: int) -> Truth:
    """Write expression and accessibility of the same cells of mouse cortex (SNARE-seq)."""
    labels, _, _ = draw_design("chen_2019", n_cells, seed)
    ids = [f"{one[:12]}_{i}" for i, one in enumerate(barcodes(n_cells, "chen_2019", seed))]
    rna, atac = _paired("chen_2019", labels, ["one well"] * n_cells, seed)
    return _written(root, "chen_2019", "Chen-2019", "SNARE-seq", ids, rna, atac, seed)


def write_ma_2020(root: Path, n_cells: int, seed: int) -> Truth:
    """Write expression and accessibility of the same cells of mouse skin (SHARE-seq).

    The last field of a cell's barcode is its batch.
    """
    labels, batches, rng = draw_design("ma_2020", n_cells, seed)
    rounds = rng.permutation(96**3)[:n_cells]
    ids = [
        f"R1.{n // 96**2 + 1:02d}.R2.{n // 96 % 96 + 1:02d}.R3.{n % 96 + 1:02d}.P1.{batch}"
        for n, batch in zip(rounds, batches, strict=True)
    ]
    rna, atac = _paired("ma_2020", labels, batches, seed)
    extra = pd.DataFrame({"batch": pd.Categorical(batches)}, index=ids)
    return _written(root, "ma_2020", "Ma-2020", "SHARE-seq", ids, rna, atac, seed, extra)


def write_muto_2021(root: Path, n_cells: int, seed: int) -> Truth:
    """Write expression and accessibility of different nuclei of the same five kidneys.

    The accessibility has a fifth more cells than `n_cells`.
    """
    design = design_of("muto_2021", seed)
    donors = list(design.batches)
    cells, simulations, files = {}, {}, {}
    for part, size in (("RNA", n_cells), ("ATAC", n_cells + n_cells // 5)):
        draw = int(stream(seed, "muto_2021", part).integers(2**31))
        labels, batches, rng = draw_design("muto_2021", size, draw)
        ids = [
            f"{one}-{donors.index(batch) + 1}"
            for one, batch in zip(barcodes(size, "muto_2021", draw), batches, strict=True)
        ]
        simulation = draw_cells(design, labels, batches, seed=draw, depth=4000.0)
        if part == "ATAC":
            simulation = _with_peaks("muto_2021", simulation, seed)
        obs = _obs("Muto-2021", part, "10x RNA" if part == "RNA" else "10x ATAC", ids, labels)
        obs.insert(0, "author_cell_type", _author_types(labels, part == "ATAC", rng))
        obs.insert(1, "donor_uuid", batches)
        obs["batch"] = batches
        if part == "RNA":
            table = _rna(simulation, "muto_2021", obs, seed)
        else:
            table = _atac(simulation, "muto_2021", obs)
            in_donors = [table.X[np.array(batches) == donor].getnnz(axis=0) > 0 for donor in donors]
            table = table[:, np.all(in_donors, axis=0)].copy()
        table.obsm["X_umap"] = TruncatedSVD(2, random_state=0).fit_transform(table.X)
        url = URL.format(name="Muto-2021", part=part)
        files[url] = place_of(root, url)
        write_cells(table, files[url])
        cells[part.lower()] = cell_table(ids, labels, batches)
        simulations[part.lower()] = simulation
    return Truth(
        name="muto_2021",
        cells=cells,
        simulations=simulations,
        files={**files, **write_shared(root, "human", seed)},
    )


def _paired(
    name: str, labels: Sequence[str], batches: Sequence[str], seed: int
) -> tuple[Simulation, Simulation]:
    rna = draw_cells(design_of(name, seed), list(labels), list(batches), seed=seed, depth=4000.0)
    return rna, _with_peaks(name, rna, seed)


def _with_peaks(name: str, simulation: Simulation, seed: int) -> Simulation:
    organism = BLUEPRINTS[name].organism
    return simulate_atac(
        simulation,
        annotation_of(organism, seed),
        seed=seed,
        depth=ATAC_DEPTH,
        effect=1.5,
        contigs=CONTIGS[organism] if name != "chen_2019" else (),
    )


def _written(
    root: Path,
    name: str,
    published: str,
    protocol: str,
    ids: list[str],
    rna: Simulation,
    atac: Simulation,
    seed: int,
    extra: pd.DataFrame | None = None,
) -> Truth:
    """Both files of paired cells; those of the accessibility are in another order."""
    labels = list(map(str, rna.true_labels))
    files = {}
    order = stream(seed, "order", name).permutation(len(ids))
    for part in ("RNA", "ATAC"):
        obs = _obs(published, part, protocol, ids, labels)
        if extra is not None:
            before = [column for column in extra if column != "batch"]
            obs = pd.concat(
                [
                    obs[["domain", "protocol", "dataset"]],
                    extra[before].set_axis(ids),
                    obs[["cell_type"]],
                    extra[extra.columns.difference(before)].set_axis(ids),
                ],
                axis=1,
            )
            obs.index.name = "cells"
        table = (
            _rna(rna, name, obs, seed) if part == "RNA" else _atac(atac, name, obs)[order].copy()
        )
        url = URL.format(name=published, part=part)
        files[url] = place_of(root, url)
        write_cells(table, files[url])
    batches = rna.cells.obs["batch"].astype(str)
    cells = cell_table(ids, labels, batches)
    return Truth(
        name=name,
        cells={"rna": cells, "atac": cells.iloc[order]},
        simulations={"rna": rna, "atac": atac},
        files={**files, **write_shared(root, BLUEPRINTS[name].organism, seed)},
    )


def _obs(
    published: str, part: str, protocol: str, ids: Sequence[str], labels: Sequence[str]
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "domain": pd.Categorical(["scRNA-seq" if part == "RNA" else "scATAC-seq"] * len(ids)),
            "protocol": pd.Categorical([protocol] * len(ids)),
            "dataset": pd.Categorical([f"{published}-{part}"] * len(ids)),
            "cell_type": pd.Categorical(list(labels)),
        },
        index=pd.Index(list(ids), name="cells"),
    )


def _rna(simulation: Simulation, name: str, obs: pd.DataFrame, seed: int) -> ad.AnnData:
    """Counts of annotated genes with a count, and the columns that the annotation adds."""
    organism = BLUEPRINTS[name].organism
    genes = published_genes(organism, seed, annotated_only=True)
    X = with_second_genes(simulation.cells.X, seed, name)
    has_ids = organism == "human"  # files by Cell Ranger; the mouse data come as symbols
    if not has_ids:  # each symbol once
        genes, X = genes.iloc[: simulation.cells.n_vars], simulation.cells.X
    found = X.getnnz(axis=0) > 0
    genes, X = genes[found], X[:, found]
    mean = np.asarray(X.mean(axis=0)).ravel()
    variance = np.asarray(X.multiply(X).mean(axis=0)).ravel() - mean**2
    normalised = variance / mean
    rank = np.full(len(genes), np.nan)
    top = np.argsort(-normalised, kind="stable")[:N_VARIABLE]
    rank[top] = np.arange(len(top))
    columns: dict[str, object] = {}
    if has_ids:
        columns |= {"gene_ids": genes["gene_id"], "feature_types": "Gene Expression"}
    columns |= {
        "genome": "GRCh38" if name == "multiome_10x" else GENOMES[organism],
        "chrom": genes["chrom"],
        "chromStart": genes["start"],
        "chromEnd": genes["end"],
        "name": genes["symbol"],
        "score": ".",
        "strand": genes["strand"],
        **dict.fromkeys(("thickStart", "thickEnd", "itemRgb"), "."),
        **dict.fromkeys(("blockCount", "blockSizes", "blockStarts"), "."),
        "gene_id": genes["versioned_id"],
        "gene_type": genes["gene_type"],
        "gene_name": genes["symbol"],
        ("hgnc_id" if organism == "human" else "mgi_id"): [
            f"{'HGNC' if organism == 'human' else 'MGI'}:{i}" for i in range(len(genes))
        ],
        "n_counts": np.asarray(X.sum(axis=0)).ravel(),
        "highly_variable": ~np.isnan(rank),
        "highly_variable_rank": rank,
        "means": mean,
        "variances": variance,
        "variances_norm": normalised,
    }
    var = pd.DataFrame(columns, index=genes.index).set_axis(
        make_index_unique(pd.Index(genes["symbol"].to_list(), name="genes"))
    )
    return ad.AnnData(X.astype(np.float32), obs=obs.copy(), var=var)


def _atac(simulation: Simulation, name: str, obs: pd.DataFrame) -> ad.AnnData:
    """Counts of peaks that are open in some cell."""
    cells = simulation.cells
    found = cells.X.getnnz(axis=0) > 0
    X, places = cells.X[:, found], cells.var[found]
    var = pd.DataFrame(
        {
            "chrom": places["chrom"].to_numpy(),
            "chromStart": places["start"].to_numpy(),
            "chromEnd": places["end"].to_numpy(),
            "genome": "GRCh38" if name == "multiome_10x" else GENOMES[BLUEPRINTS[name].organism],
            "n_counts": np.asarray(X.sum(axis=0)).ravel(),
        },
        index=pd.Index(places.index.to_list(), name="peaks"),
    )
    if name == "multiome_10x":
        var.insert(0, "feature_types", "Peaks")
    return ad.AnnData(X.astype(np.float32), obs=obs.copy(), var=var)


def _seurat_columns(rna: Simulation, atac: Simulation, seed: int) -> pd.DataFrame:
    """Columns of obs that the analysis of the 10x data with Seurat left."""
    rng = stream(seed, "seurat")
    n = rna.cells.n_obs
    weight = rng.uniform(0.2, 0.8, n)
    cluster = pd.Categorical(rng.integers(0, 20, n).astype(str))
    return pd.DataFrame(
        {
            "orig.ident": pd.Categorical(["SeuratProject"] * n),
            "nCount_RNA": np.asarray(rna.cells.X.sum(axis=1)).ravel(),
            "nFeature_RNA": rna.cells.X.getnnz(axis=1),
            "percent.mt": rng.gamma(4, 2, n),
            "nCount_ATAC": np.asarray(atac.cells.X.sum(axis=1)).ravel(),
            "nFeature_ATAC": atac.cells.X.getnnz(axis=1),
            "nCount_SCT": np.asarray(rna.cells.X.sum(axis=1)).ravel(),
            "nFeature_SCT": rna.cells.X.getnnz(axis=1),
            "SCT.weight": weight,
            "ATAC.weight": 1 - weight,
            "wsnn_res.0.8": cluster,
            "seurat_clusters": cluster,
            "sub.cluster": cluster,
        }
    )


def _author_types(labels: Sequence[str], is_atac: bool, rng: np.random.Generator) -> list[str]:
    names = []
    for label in labels:
        choices = MUTO_AUTHOR_TYPES.get(label, ((label,), (label,)))[is_atac]
        names.append(str(rng.choice(choices)))
    return names
