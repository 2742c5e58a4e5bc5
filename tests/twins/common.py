"""What the miniature twins share: genes, gene sets, designs, barcodes and places of files."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from plkd.simulation.cells import Simulation, write_cells, write_gmt
from plkd.simulation.design import Design, make_design, stream
from plkd.simulation.genome import plant_annotation, write_gtf
from plkd.utils.files import whole_file, write_json
from twins import counts

N_GENES = 1200
# Genes that no annotation lists, and symbols that two genes share, as in the published files.
N_UNANNOTATED = 12
N_DUPLICATED = 3
GENOMES = {"human": "hg38", "mouse": "mm10"}
ANNOTATION_URLS = {
    "human": "https://ftp.ebi.ac.uk/pub/databases/gencode/Gencode_human/release_35/"
    "gencode.v35.annotation.gtf.gz",
    "mouse": "https://ftp.ebi.ac.uk/pub/databases/gencode/Gencode_mouse/release_M25/"
    "gencode.vM25.annotation.gtf.gz",
}
_RESOURCES = (
    "https://raw.githubusercontent.com/JackieHanLab/TOSICA/"
    "0aa2b32f7a413105165298baeb414db332390776/TOSICA/resources"
)
GENE_SET_URLS = {
    "human": f"{_RESOURCES}/reactome.gmt",
    "mouse": f"{_RESOURCES}/m_reactome.gmt",
}


@dataclass(frozen=True)
class Blueprint:
    """What a twin's design is made of.

    Attributes
    ----------
    organism
        ``human`` or ``mouse``.
    labels
        Label -> number of its cells in the published data set, or a weight.
    batches
        Batch -> number of its cells, or a weight.
    """

    organism: str
    labels: Mapping[str, float]
    batches: Mapping[str, float]


BLUEPRINTS: dict[str, Blueprint] = {
    "bmmc": Blueprint("human", counts.BMMC_LABELS, counts.BMMC_BATCHES),
    "pan_cancer": Blueprint("human", counts.PAN_CANCER_LABELS, counts.PAN_CANCER_BATCHES),
    "dlpfc": Blueprint(
        "human",
        {
            layer: sum(spots[i] for spots in counts.DLPFC_SPOTS.values())
            for i, layer in enumerate(counts.DLPFC_LAYERS)
        },
        {name: sum(spots[:-1]) for name, spots in counts.DLPFC_SPOTS.items()},
    ),
    "multiome_10x": Blueprint(
        "human", counts.common_to_rare(counts.MULTIOME_LABELS), {"one well": 1}
    ),
    "muto_2021": Blueprint(
        "human",
        counts.common_to_rare(counts.MUTO_LABELS),
        dict.fromkeys(counts.MUTO_BATCHES, 1),
    ),
    "chen_2019": Blueprint("mouse", counts.common_to_rare(counts.CHEN_LABELS), {"one well": 1}),
    "ma_2020": Blueprint(
        "mouse",
        counts.common_to_rare(counts.MA_LABELS),
        {"53": 4, "54": 3, "55": 3, "56": 2},
    ),
}


@dataclass(frozen=True)
class Truth:
    """What was written as a twin and what is in it.

    Attributes
    ----------
    name
        Of the data set.
    cells
        Modality (``rna``, ``atac``) -> table of the cells that should arrive: index the cell's id
        in its file, columns `label` and `batch`, `file` where several files are joined (key of the
        file that has the cell first), `x` and `y` (pixels) where there are places. Cells that a
        pipeline should leave out (spots without label, repeats) are not in it.
    simulations
        Modality -> the simulation with markers, programmes, links; all cells that were drawn.
    files
        URL -> the file that stands for it.
    notes
        Numbers of what is to be left out, such as ``unlabelled`` or ``repeated`` cells.
    """

    name: str
    cells: dict[str, pd.DataFrame]
    simulations: dict[str, Simulation] = field(repr=False)
    files: dict[str, Path]
    notes: dict[str, int] = field(default_factory=dict)

    def counts(self, modality: str = "rna") -> dict[str, Any]:
        """Numbers of cells, and of cells by label and batch."""
        table = self.cells[modality]
        return {
            "cells": len(table),
            "labels": table["label"].value_counts().to_dict(),
            "batches": table["batch"].value_counts().to_dict(),
        }

    def save(self, folder: str | Path) -> None:
        """Write ``truth_<name>.json``: what was planted, and how many cells there are."""
        first = next(iter(self.simulations.values()))
        content = first.truth() | {
            "name": self.name,
            "expected": {modality: self.counts(modality) for modality in self.cells},
            "notes": self.notes,
            "urls": sorted(self.files),
        }
        links = {
            modality: one.links.to_dict("records")
            for modality, one in self.simulations.items()
            if one.links is not None
        }
        write_json(Path(folder) / f"truth_{self.name}.json", content | {"links": links})


def gene_names(organism: str) -> list[str]:
    """Symbols of the simulated genes: upper case for human, capitalised for mouse."""
    stem = "GENE" if organism == "human" else "Gene"
    return [f"{stem}{number:04d}" for number in range(1, N_GENES + 1)]


@cache
def annotation_of(organism: str, seed: int) -> pd.DataFrame:
    """All genes of the organism with their places, ids and symbols.

    The last `N_DUPLICATED` genes bear symbols of the first ones (column `symbol`).
    """
    names = gene_names(organism)
    extra = [f"{names[i]} (second)" for i in range(N_DUPLICATED)]
    table = plant_annotation([*names, *extra], genome=GENOMES[organism], seed=seed)
    table["symbol"] = table["gene"].str.replace(" (second)", "", regex=False)
    return table


@cache
def design_of(name: str, seed: int) -> Design:
    """The design of a twin; designs of one organism share genes and differ in all else."""
    blueprint = BLUEPRINTS[name]
    n_labels = len(blueprint.labels)
    n_lineages = -(-n_labels // 3)
    return make_design(
        genes=gene_names(blueprint.organism),
        labels=list(blueprint.labels),
        batches=list(blueprint.batches),
        abundance=list(blueprint.labels.values()),
        n_programmes=2 * n_labels + n_lineages + 8,
        programme_size=15,
        n_markers=8,
        programme_prefix=name.upper(),
        marker_effect=2.8,
        programme_effect=0.9,
        batch_effect=0.2,
        seed=int(stream(seed, "twin", name).integers(2**31)),
    )


def draw_design(
    name: str, n_cells: int, seed: int, least: int = 8
) -> tuple[list[str], list[str], np.random.Generator]:
    """Label and batch of every cell of a twin in mixed order, and the generator to go on with."""
    rng = stream(seed, "design", name)
    blueprint = BLUEPRINTS[name]
    numbers = counts.scaled_down(blueprint.labels, n_cells, least)
    labels, batches = counts.spread_over(numbers, blueprint.batches, rng)
    order = rng.permutation(len(labels))
    return [labels[i] for i in order], [batches[i] for i in order], rng


def barcodes(count: int, *names: object) -> list[str]:
    """Different barcodes of 16 bases that depend on the names alone."""
    rng = stream("barcodes", *names)
    found: dict[str, None] = {}
    while len(found) < count:
        for row in rng.integers(0, 4, size=(count, 16)):
            found["".join("ACGT"[base] for base in row)] = None
    return list(found)[:count]


def place_of(root: str | Path, url: str) -> Path:
    """The file below `root` that stands for a URL: ``<root>/<host>/<path>``."""
    parts = urlsplit(url)
    return Path(root) / parts.netloc / parts.path.lstrip("/")


def write_shared(root: str | Path, organism: str, seed: int) -> dict[str, Path]:
    """Write the annotation and the gene sets of an organism: the same for all its twins."""
    gtf = place_of(root, ANNOTATION_URLS[organism])
    table = annotation_of(organism, seed).assign(gene=lambda frame: frame["symbol"])
    version = "version 35 (Ensembl 101)" if organism == "human" else "version M25 (Ensembl 100)"
    genome = "human genome (GRCh38)" if organism == "human" else "mouse genome (GRCm38)"
    write_gtf(
        table, gtf, description=f"evidence-based annotation of the {genome}, {version}, simulated"
    )
    gmt = place_of(root, GENE_SET_URLS[organism])
    sets: dict[str, list[str]] = {}
    for name, blueprint in BLUEPRINTS.items():
        if blueprint.organism == organism:
            sets |= design_of(name, seed).programmes
    write_gmt(sets, gmt)
    return {ANNOTATION_URLS[organism]: gtf, GENE_SET_URLS[organism]: gmt}


def published_genes(organism: str, seed: int, annotated_only: bool) -> pd.DataFrame:
    """The genes of a published matrix: those simulated, then the second genes of shared symbols.

    Columns: `symbol`, `gene_id` (without version), and the columns of the annotation. Unless
    `annotated_only`, the first `N_UNANNOTATED` genes have an id that the annotation lacks.
    """
    table = annotation_of(organism, seed).set_index("gene")
    names = [*gene_names(organism), *table.index[table.index.str.endswith(" (second)")]]
    table = table.loc[names].reset_index()
    table["versioned_id"] = table["gene_id"]
    table["gene_id"] = table["gene_id"].str.replace(r"\..*", "", regex=True)
    if not annotated_only:
        retired = table.index < N_UNANNOTATED
        table.loc[retired, "gene_id"] = table.loc[retired, "gene_id"].str.replace("0", "9", n=1)
    return table


def with_second_genes(X: sparse.csr_matrix, seed: int, name: str) -> sparse.csr_matrix:
    """Add columns of rare counts for the second genes of shared symbols."""
    rare = stream(seed, "second genes", name).poisson(0.05, size=(X.shape[0], N_DUPLICATED))
    return sparse.hstack([X, sparse.csr_matrix(rare.astype(X.dtype))], format="csr")


def write_packed_h5ad(cells: ad.AnnData, path: Path) -> None:
    """Write an h5ad inside a gzip, as GEO does."""
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "cells.h5ad"
        write_cells(cells, plain)
        write_gzip(path, plain.read_bytes())


def write_gzip(path: Path, content: bytes) -> None:
    """Pack bytes; the same content gives the same file."""
    with whole_file(path) as temporary:
        temporary.write_bytes(gzip.compress(content, compresslevel=6, mtime=0))


def write_text(path: Path, lines: Iterable[str]) -> None:
    """Write lines, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def cell_table(
    ids: Iterable[str], labels: Iterable[object], batches: Iterable[object], **more: Iterable[Any]
) -> pd.DataFrame:
    """Table of cells for :class:`Truth`."""
    columns = {"label": list(map(str, labels)), "batch": list(map(str, batches))}
    return pd.DataFrame(
        {**columns, **{name: list(values) for name, values in more.items()}}, index=list(ids)
    )
