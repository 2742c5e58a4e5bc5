"""Chromatin accessibility of simulated cells, linked to the expression of their genes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from plkd.errors import InputError
from plkd.simulation.cells import CHUNK_VALUES, DEPTH_SPREAD, Simulation, gamma_poisson
from plkd.simulation.design import stream
from plkd.simulation.genome import write_bgzf
from plkd.utils.progress import ProgressBar

PROMOTER = 2_000
PEAK_WIDTHS = (300, 900)
DISPERSION = 0.2
# Peaks of the first kind are kept where two overlap.
KINDS = ("promoter", "body", "distal", "background")


def simulate_atac(
    simulation: Simulation,
    annotation: pd.DataFrame,
    *,
    seed: int = 0,
    depth: float = 3000.0,
    body_peaks: float = 1.0,
    distal_peaks: float = 1.0,
    decay: float = 20_000.0,
    background: float = 0.3,
    effect: float = 1.0,
    batch_effect: float | None = None,
    contigs: Sequence[str] = (),
    progress: bool = False,
) -> Simulation:
    """Draw peak counts of the same cells: open where their genes are highly expressed.

    Every annotated gene has a promoter peak, and by chance peaks in its body and around it. How
    open a peak is follows the gene's expected expression in the cell (its label's markers and the
    cell's own programme activities), by a weight of 1 in promoter and body that decays with the
    distance outside. Background peaks are linked to no gene.

    Paired data are the simulation itself and the result; for unpaired data give another draw of the
    same design.

    Parameters
    ----------
    simulation
        Cells from :func:`simulate_cells`.
    annotation
        Genes with `gene`, `chrom`, `start`, `end`, `strand`, as of :func:`plant_annotation`.
    seed
        Seed of the draw; the peaks depend on the design and the annotation alone.
    depth
        Mean total count of a cell.
    body_peaks, distal_peaks
        Mean number of peaks in the body of a gene and around it.
    decay
        Distance (bp) over which the weight of a distal peak falls to 1/e; its mean distance too.
    background
        Share of the peaks that are linked to no gene.
    effect
        Log fold change of a linked peak for each log fold change of its gene.
    batch_effect
        Standard deviation of the batches' peak-wise log fold changes (default: the design's).
    contigs
        Names of unplaced contigs that get three background peaks each.
    progress
        Show a progress bar.

    Returns
    -------
    Simulation
        Its cells are peak counts, CSR float32 (n_cells, n_peaks), peaks named ``chrom:start-end``
        and sorted by place; obs as in `simulation`; var: `chrom`, `start`, `end`; `links` says
        which peak is linked to which gene.

    Raises
    ------
    InputError
        If the annotation lacks a column or all genes of the design, or a number is out of range.
    """
    _check(annotation, simulation, depth, background, decay)
    design = simulation.design
    peaks = _plant_peaks(
        annotation, body_peaks, distal_peaks, decay, background, contigs, design.seed
    )
    names = peaks["chrom"] + ":" + peaks["start"].astype(str) + "-" + peaks["end"].astype(str)
    gene_of = pd.Index(design.genes).get_indexer(pd.Index(peaks["gene"]))
    linked = gene_of >= 0
    weights = np.where(linked, peaks["weight"].to_numpy(dtype=float), 0.0)

    rng = design.stream("peaks")
    openness = rng.normal(0, 0.7, len(peaks)) + 0.7 * (peaks["kind"] == "promoter").to_numpy()
    openness += np.where(linked, 0.15 * design.base[gene_of], 0.0)
    links = sparse.csr_matrix(
        (effect * weights[linked], (gene_of[linked], np.flatnonzero(linked))),
        shape=(len(design.genes), len(peaks)),
    )
    to_peaks = design.loadings @ links
    label_peaks = sparse.csr_matrix(design.label_effects) @ links
    centre = np.asarray(design.label_levels().mean(axis=0) @ links)

    obs = simulation.cells.obs
    label_codes = pd.Index(design.labels).get_indexer(pd.Index(simulation.true_labels))
    batches = list(obs["batch"].cat.categories)
    batch_codes = obs["batch"].cat.codes.to_numpy()
    size = design.batch_effect if batch_effect is None else batch_effect
    shifts = np.stack(
        [design.stream("peaks of batch", one).normal(0, size, len(peaks)) for one in batches]
    )
    rng = stream(design.seed, "peak counts", seed)
    totals = depth * rng.lognormal(-(DEPTH_SPREAD**2) / 2, DEPTH_SPREAD, simulation.cells.n_obs)
    label_rows = label_peaks.toarray()
    blocks = []
    step = max(1, CHUNK_VALUES // len(peaks))
    for first in ProgressBar(range(0, len(obs), step), desc="drawing peaks", disable=not progress):
        rows = slice(first, first + step)
        logs = openness - centre + label_rows[label_codes[rows]]
        logs += simulation.activity[rows].astype(float) @ to_peaks + shifts[batch_codes[rows]]
        rates = np.exp(logs)
        rates *= totals[rows, None] / rates.sum(axis=1, keepdims=True)
        blocks.append(sparse.csr_matrix(gamma_poisson(rates, DISPERSION, rng)))
    var = pd.DataFrame(
        {column: peaks[column].to_numpy() for column in ("chrom", "start", "end")},
        index=pd.Index(names.to_list()),
    )
    cells = ad.AnnData(
        sparse.vstack(blocks, format="csr"),
        obs=obs.copy(),
        var=var,
        obsm={"spatial": simulation.cells.obsm["spatial"]}
        if "spatial" in simulation.cells.obsm
        else {},
    )
    table = peaks[linked].assign(peak=names[linked])
    return Simulation(
        cells=cells,
        markers=simulation.markers,
        programmes=simulation.programmes,
        active=simulation.active,
        activity=simulation.activity,
        design=design,
        links=table[["peak", "gene", "kind", "distance", "weight"]].reset_index(drop=True),
    )


def write_fragments(atac: Simulation, path: str | Path, *, seed: int = 0) -> None:
    """Write the cut fragments behind the peak counts, one line for each count.

    The file is what Cell Ranger writes (chromosome, start, end, barcode, reads; sorted by place;
    blocked gzip): counting fragments that overlap the peaks gives the matrix back.

    Parameters
    ----------
    atac
        From :func:`simulate_atac`.
    path
        The ``.tsv.gz`` to write.
    seed
        Seed of the places within the peaks.
    """
    counts = atac.cells.X.tocoo()
    repeats = counts.data.astype(int)
    rng = stream(atac.design.seed, "fragments", seed)
    cell, peak = np.repeat(counts.row, repeats), np.repeat(counts.col, repeats)
    starts = atac.cells.var["start"].to_numpy()[peak]
    widths = atac.cells.var["end"].to_numpy()[peak] - starts
    lengths = np.minimum(widths, rng.integers(40, 250, len(peak)))
    starts = starts + (rng.random(len(peak)) * (widths - lengths + 1)).astype(np.int64)
    table = pd.DataFrame(
        {
            "chrom": atac.cells.var["chrom"].to_numpy()[peak],
            "place": peak,
            "start": starts,
            "end": starts + lengths,
            "barcode": atac.cells.obs_names.to_numpy()[cell],
            "reads": rng.geometric(0.6, len(peak)),
        }
    )
    # The peaks are sorted and do not overlap, so chromosomes stay together.
    table = table.sort_values(["place", "start", "end", "barcode"], kind="stable")
    write_bgzf(_fragment_lines(table), path)


def _fragment_lines(table: pd.DataFrame) -> Iterator[str]:
    for row in table.itertuples(index=False):
        yield f"{row.chrom}\t{row.start}\t{row.end}\t{row.barcode}\t{row.reads}\n"


def _plant_peaks(
    annotation: pd.DataFrame,
    body_peaks: float,
    distal_peaks: float,
    decay: float,
    background: float,
    contigs: Sequence[str],
    seed: int,
) -> pd.DataFrame:
    """Peaks with their genes: chrom, start, end, gene, kind, distance, weight; sorted, disjoint."""
    rng = stream(seed, "places of peaks")
    genes = annotation.reset_index(drop=True)
    body = np.repeat(np.arange(len(genes)), rng.poisson(body_peaks, len(genes)))
    distal = np.repeat(np.arange(len(genes)), rng.poisson(distal_peaks, len(genes)))
    owner = np.concatenate([np.arange(len(genes)), body, distal])
    kind = np.repeat([0, 1, 2], [len(genes), len(body), len(distal)])
    one = genes.loc[owner]
    start, end = one["start"].to_numpy(), one["end"].to_numpy()
    forward = (one["strand"] == "+").to_numpy()
    tss = np.where(forward, start, end)

    centre = np.where(kind == 0, tss + rng.integers(-150, 150, len(owner)), 0)
    inside = start + (rng.random(len(owner)) * (end - start)).astype(np.int64)
    centre = np.where(kind == 1, inside, centre)
    away = rng.exponential(decay, len(owner)).astype(np.int64)
    upstream = rng.random(len(owner)) < 0.5
    left = upstream == forward
    beyond = np.where(left, start - PROMOTER - away, end + PROMOTER + away)
    centre = np.where(kind == 2, beyond, centre)
    distance = np.where(kind == 2, PROMOTER + away, 0)
    peaks = pd.DataFrame(
        {
            "chrom": one["chrom"].to_numpy(),
            "centre": centre,
            "gene": one["gene"].to_numpy(),
            "kind": kind,
            "distance": distance,
            "weight": np.exp(-away * (kind == 2) / decay),
        }
    )
    n_background = round(background / (1 - background) * len(peaks))
    chroms, centres = _between_genes(genes, n_background, rng)
    chroms = [*chroms, *np.repeat(list(contigs), 3)]
    centres = np.concatenate([centres, np.tile([1_000, 4_000, 9_000], len(contigs))]).astype(int)
    empty = pd.DataFrame(
        {"chrom": chroms, "centre": centres, "gene": "", "kind": 3, "distance": 0, "weight": 0.0}
    )
    peaks = pd.concat([peaks, empty], ignore_index=True)
    half = rng.integers(*PEAK_WIDTHS, len(peaks)) // 2
    peaks["start"] = np.maximum(0, peaks["centre"] - half)
    peaks["end"] = peaks["centre"] + half
    order = [*genes["chrom"].unique(), *contigs]
    peaks["place"] = pd.Index(order).get_indexer(pd.Index(peaks["chrom"]))
    peaks = peaks.sort_values(["place", "start", "kind"], kind="stable", ignore_index=True)
    peaks = peaks[_disjoint(peaks)].reset_index(drop=True)
    peaks["kind"] = [KINDS[kind] for kind in peaks["kind"]]
    return peaks


def _between_genes(
    genes: pd.DataFrame, count: int, rng: np.random.Generator
) -> tuple[list[str], NDArray[np.int64]]:
    """Places by chance that are in no gene or promoter."""
    room = PROMOTER + PEAK_WIDTHS[1]
    gaps = []
    for chrom, group in genes.groupby("chrom", sort=False):
        group = group.sort_values("start")
        reach = np.maximum.accumulate(group["end"].to_numpy())[:-1] + room
        following = group["start"].to_numpy()[1:] - room
        gaps += [(chrom, a, b) for a, b in zip(reach, following, strict=True) if b > a]
    if count == 0 or not gaps:
        return [], np.empty(0, dtype=np.int64)
    sizes = np.array([b - a for _, a, b in gaps], dtype=float)
    chosen = rng.choice(len(gaps), size=count, p=sizes / sizes.sum())
    centres = [gaps[i][1] + int(rng.random() * (gaps[i][2] - gaps[i][1])) for i in chosen]
    return [gaps[i][0] for i in chosen], np.array(centres, dtype=np.int64)


def _disjoint(peaks: pd.DataFrame) -> NDArray[np.bool_]:
    """Which of the sorted peaks to keep, so that none overlap: promoters before all others."""
    keep = np.zeros(len(peaks), dtype=bool)
    last = -1
    columns = (peaks[name].to_numpy() for name in ("place", "start", "end", "kind"))
    place, start, end, kind = columns
    for row in range(len(peaks)):
        if last >= 0 and place[row] == place[last] and start[row] < end[last]:
            if kind[row] >= kind[last]:
                continue
            keep[last] = False
        keep[row] = True
        last = row
    return keep


def _check(
    annotation: pd.DataFrame, simulation: Simulation, depth: float, background: float, decay: float
) -> None:
    needed = {"gene", "chrom", "start", "end", "strand"}
    if needed - set(annotation):
        raise InputError(
            f"the annotation has no column '{sorted(needed - set(annotation))[0]}'; its columns "
            f"are: {', '.join(map(str, annotation.columns))}"
        )
    if not annotation["gene"].isin(simulation.design.genes).any():
        raise InputError(
            "the annotation has none of the simulated genes; make it with "
            "plant_annotation(simulation.design.genes)"
        )
    if simulation.links is not None:
        raise InputError("the simulation holds peaks already; give one of simulate_cells")
    if not (depth > 0 and decay > 0 and 0 <= background < 1):
        raise InputError(
            f"depth {depth}, decay {decay}, background {background}: expected positive numbers, "
            "and a share below 1 for the background"
        )
