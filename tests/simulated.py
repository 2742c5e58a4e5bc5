"""Small simulated cells with real gene names, shared by all tests: a design of the library's."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import anndata as ad
import numpy as np
from scipy import sparse

from plkd.simulation.cells import draw_cells
from plkd.simulation.design import Design

MARKERS: dict[str, tuple[str, ...]] = {
    "B cell": ("MS4A1", "CD79A", "CD79B", "CD19", "BANK1", "CD22", "TCL1A", "FCRLA"),
    "CD4 T cell": ("IL7R", "CD4", "TCF7", "LEF1", "CCR7", "MAL", "LTB", "TSHZ2"),
    "CD8 T cell": ("CD8A", "CD8B", "GZMK", "CCL5", "KLRG1", "EOMES", "CRTAM", "DUSP2"),
    "NK cell": ("GNLY", "NKG7", "KLRD1", "NCAM1", "PRF1", "SPON2", "FGFBP2", "KLRF1"),
    "Monocyte": ("CD14", "LYZ", "S100A8", "S100A9", "FCN1", "VCAN", "CST3", "MS4A7"),
    "Dendritic cell": ("FCER1A", "CLEC10A", "CD1C", "CLEC9A", "XCR1", "IRF8", "LILRA4", "GZMB"),
    "Plasma cell": ("MZB1", "JCHAIN", "IGKC", "SDC1", "XBP1", "IGHG1", "DERL3", "TNFRSF17"),
    "Megakaryocyte": ("PPBP", "PF4", "GP9", "ITGA2B", "TUBB1", "GNG11", "SPARC", "CLU"),
}
HOUSEKEEPING: tuple[str, ...] = (
    "ACTB", "GAPDH", "B2M", "TMSB4X", "RPLP0", "RPS27", "RPL13", "EEF1A1", "MALAT1", "UBC",
    "PTPRC", "FTH1", "FTL", "VIM", "PFN1", "CFL1", "TPT1", "HSP90AB1", "NACA", "ARPC2",
)  # fmt: skip


def make_cells(
    n_cells: int = 300,
    n_genes: int = 120,
    types: int | Sequence[str] = 4,
    batches: int | Sequence[str] = 2,
    seed: int = 0,
    *,
    proportions: Sequence[float] | None = None,
    depth: float = 1000.0,
    effect: float = 12.0,
    batch_effect: float = 0.3,
) -> ad.AnnData:
    """Draw Poisson counts of cells whose types over-express their own marker genes.

    The genes' base levels, the markers and the effect of a batch depend on their names and not on
    `seed`: cells drawn with another seed, other proportions or other batches are a fair query.

    Parameters
    ----------
    n_cells, n_genes
        Size of the matrix. Genes are housekeeping genes, then the markers of all eight types, then
        invented names (GENE0001 ..); `n_genes` cuts the list or fills it up.
    types
        Names out of `MARKERS`, or how many of them.
    batches
        Names of the batches, or how many (donor1, donor2 ..); cells are spread evenly over them.
    proportions
        Share of each type (default: equal). Every type gets at least one cell.
    depth
        Mean total count of a cell.
    effect
        Fold change of a marker in its type.
    batch_effect
        Standard deviation of the batch's gene-wise log fold changes.

    Returns
    -------
    AnnData
        X: CSR float32 counts (n_cells, n_genes); obs: `cell_type`, `batch` (categories); var:
        `marker_of` (type or ""). Cells are named by seed and number, so two draws do not collide.
    """
    type_names = list(MARKERS)[:types] if isinstance(types, int) else list(types)
    batch_names = (
        [f"donor{i + 1}" for i in range(batches)] if isinstance(batches, int) else list(batches)
    )
    known = [*HOUSEKEEPING, *(gene for markers in MARKERS.values() for gene in markers)]
    genes = [*known, *(f"GENE{i:04d}" for i in range(1, n_genes + 1))][:n_genes]
    marker_of = {gene: name for name, markers in MARKERS.items() for gene in markers}

    base = np.array([_named_rng(gene).gamma(0.7, 1.0) + 0.05 for gene in genes])
    base[: len(HOUSEKEEPING)] *= 5
    over_expressed = [[marker_of.get(gene) == name for gene in genes] for name in type_names]
    design = Design(
        genes=tuple(genes),
        labels=tuple(type_names),
        batches=tuple(batch_names),
        lineages={name: name for name in type_names},
        markers={name: list(MARKERS[name]) for name in type_names},
        lineage_markers={name: [] for name in type_names},
        programmes={},
        active={name: [] for name in type_names},
        abundance=np.full(len(type_names), 1 / len(type_names)),
        base=np.log(base),
        label_effects=np.log(effect) * np.array(over_expressed, dtype=float),
        loadings=sparse.csr_matrix((0, len(genes))),
        label_activity=np.zeros((len(type_names), 0)),
        batch_effect=batch_effect,
        dispersion=0.0,
    )
    rng = np.random.default_rng(seed)
    share = np.ones(len(type_names)) if proportions is None else np.asarray(proportions, float)
    type_codes = np.concatenate(
        [
            np.arange(len(type_names)),
            rng.choice(len(type_names), n_cells - len(type_names), p=share / share.sum()),
        ]
    )
    batch_codes = np.arange(n_cells) % len(batch_names)
    rng.shuffle(batch_codes)
    cells = draw_cells(
        design,
        np.asarray(type_names, dtype=object)[type_codes],
        np.asarray(batch_names, dtype=object)[batch_codes],
        seed=seed,
        depth=depth,
    ).cells
    cells.obs = cells.obs.rename(columns={"label": "cell_type"})
    cells.obs["cell_type"] = cells.obs["cell_type"].cat.set_categories(type_names)
    cells.obs["batch"] = cells.obs["batch"].cat.set_categories(batch_names)
    cells.var["marker_of"] = [marker_of.get(gene, "") for gene in genes]
    return cells


def _named_rng(name: str) -> np.random.Generator:
    """A generator that depends on a name alone."""
    return np.random.default_rng(zlib.crc32(name.encode()))
