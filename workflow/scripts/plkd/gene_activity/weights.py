"""Which peaks count for which gene, and how much: peaks x genes, sparse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import bioframe
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from plkd.errors import InputError
from plkd.gene_activity.genome import chromosome_keys

Rule = Literal["seurat", "distance"]
PEAK_RULES = ("seurat", "distance")
UPSTREAM = 2000
# ArchR's gene model and windows: exp(-|x| / 5000) + exp(-1), 1 kb to 100 kb around the gene.
DECAY = 5000
NEAREST_REACH, FARTHEST_REACH = 1000, 100_000


def peak_gene_weights(
    peaks: pd.DataFrame,
    genes: pd.DataFrame,
    *,
    rule: Rule | str = "seurat",
    upstream: int = UPSTREAM,
) -> sparse.csr_matrix:
    """Weights that turn counts in peaks into gene activity: cells x peaks @ peaks x genes.

    Both rules begin with the region of a gene: its body and `upstream` bases before its start,
    which is its end on the strand ``-``; a gene without a strand is taken to be on ``+``. Positions
    are 0-based and half-open: intervals that only touch do not overlap.

    ``seurat`` (``CreateGeneActivityMatrix`` of Seurat 3): a peak counts for one gene, the nearest
    one whose region it overlaps. Several regions may overlap a peak, all at the distance zero, and
    Seurat takes any of them; here it is the gene whose transcription start is nearest to the middle
    of the peak, then the one that comes first in `genes`. (Seurat also takes a peak that begins at
    the base after a region's last.)

    ``distance`` (after ``addGeneScoreMatrix`` of ArchR, Granja et al. 2021): a peak at the distance
    d from the region counts (exp(-d / 5000) + exp(-1)) / (1 + exp(-1)): 1 in the region itself, and
    27 % far from it. ArchR's own model lacks the divisor, which is the same for all genes.
    Peaks count that overlap the window of a gene: at least 1 kb and at most 100 kb to each side of
    its region, and in between up to the region of the next gene. To the left these are the genes
    whose regions begin before its own, to the right those whose regions end after it; a gene
    inside another is no boundary to that one. A peak may count for several genes. (ArchR has tiles
    of 500 bases in place of peaks, extends genes by 5 kb, stops counting a tile at 4 and weighs
    short genes more.)

    Parameters
    ----------
    peaks
        Columns `chrom`, `start`, `end`; see :func:`~plkd.gene_activity.peaks.parse_peaks`.
    genes
        Columns `gene`, `chrom`, `start`, `end`, `strand`; see
        :func:`~plkd.gene_activity.annotation.read_annotation`. Rows of one name are one gene: it
        takes what any of them takes, once.
    rule
        ``seurat`` or ``distance``.
    upstream
        Bases before the start of a gene that belong to its region.

    Returns
    -------
    csr_matrix
        float32, (n_peaks, n_genes); the columns are the names in `genes` in the order in which
        they occur first.

    Raises
    ------
    InputError
        If the rule is not known or `upstream` is negative.
    """
    if rule not in PEAK_RULES:
        raise InputError(f"`rule` is '{rule}'; expected {' or '.join(PEAK_RULES)} for peaks")
    regions = gene_regions(genes, upstream)
    codes, names = pd.factorize(genes["gene"])
    found = _keyed(peaks)
    if rule == "seurat":
        peak, place = _nearest(found, regions)
        weight = np.ones(peak.size)
    else:
        peak, place, weight = _decaying(found, regions)
    # Of the places of one gene the one that gives the peak the most weight.
    order = np.lexsort((-weight, codes[place], peak))
    peak, gene, weight = peak[order], codes[place][order], weight[order]
    first = np.ones(peak.size, dtype=bool)
    first[1:] = (peak[1:] != peak[:-1]) | (gene[1:] != gene[:-1])
    return sparse.csr_matrix(
        (weight[first].astype(np.float32), (peak[first], gene[first])),
        shape=(len(peaks), len(names)),
    )


def peaks_at_genes(
    peaks: pd.DataFrame, genes: pd.DataFrame, names: Sequence[str], upstream: int = UPSTREAM
) -> sparse.csr_matrix:
    """Which peaks lie at which genes: in the body, or up to `upstream` bases before the start.

    Unlike the rule ``seurat`` of :func:`peak_gene_weights`, a peak lies at every gene whose region
    it overlaps.

    Parameters
    ----------
    peaks, genes, upstream
        As for :func:`peak_gene_weights`.
    names
        The genes to look at; one that is not among `genes` has no peak.

    Returns
    -------
    csr_matrix
        float32, (n_peaks, len(names)), of ones.
    """
    column = {name: place for place, name in enumerate(names)}
    known = genes[genes["gene"].isin(column)]
    peak, place = overlapping(_keyed(peaks), gene_regions(known, upstream))
    gene = known["gene"].map(column).to_numpy(dtype=np.intp)[place]
    shape = (len(peaks), len(names))
    found = sparse.csr_matrix((np.ones(peak.size, np.float32), (peak, gene)), shape=shape)
    found.data[:] = 1  # a gene may have several places
    return found


def _keyed(peaks: pd.DataFrame) -> pd.DataFrame:
    """Peaks with the key of their chromosome in place of its name."""
    return pd.DataFrame(
        {
            "chrom": chromosome_keys(peaks["chrom"]),
            "start": peaks["start"].to_numpy(dtype=np.int64),
            "end": peaks["end"].to_numpy(dtype=np.int64),
        }
    )


def gene_regions(genes: pd.DataFrame, upstream: int) -> pd.DataFrame:
    """Body and `upstream` bases before it, for every row of `genes`.

    Returns
    -------
    DataFrame
        ``chrom`` (key of the chromosome), ``start``, ``end`` (0-based, half-open, not below 0) and
        ``tss`` (the first base of the gene).
    """
    if upstream < 0:
        raise InputError(f"`upstream` is {upstream}; expected at least 0")
    start, end = genes["start"].to_numpy(np.int64), genes["end"].to_numpy(np.int64)
    is_minus = (genes["strand"] == "-").to_numpy()
    return pd.DataFrame(
        {
            "chrom": chromosome_keys(genes["chrom"]),
            "start": np.maximum(np.where(is_minus, start, start - upstream), 0),
            "end": np.where(is_minus, end + upstream, end),
            "tss": np.where(is_minus, end - 1, start),
        }
    )


def overlapping(
    first: pd.DataFrame, second: pd.DataFrame
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions of the rows of two tables (`chrom`, `start`, `end`) that overlap, in pairs."""
    members = second.groupby("chrom", sort=False, observed=True).indices
    pairs = [(np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp))]
    for chrom, rows in first.groupby("chrom", sort=False, observed=True).indices.items():
        others = members.get(chrom)
        if others is not None:
            one, other = bioframe.arrops.overlap_intervals(
                first["start"].to_numpy()[rows], first["end"].to_numpy()[rows],
                second["start"].to_numpy()[others], second["end"].to_numpy()[others],
            )  # fmt: skip
            pairs.append((rows[one], others[other]))
    return np.concatenate([one for one, _ in pairs]), np.concatenate([other for _, other in pairs])


def _nearest(
    peaks: pd.DataFrame, regions: pd.DataFrame
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For each peak in any region that of the nearest transcription start."""
    peak, place = overlapping(peaks, regions)
    middle = (peaks["start"] + peaks["end"]).to_numpy()[peak]  # twice, to stay whole
    distance = np.abs(middle - 2 * regions["tss"].to_numpy()[place] - 1)
    order = np.lexsort((place, distance, peak))
    peak, place = peak[order], place[order]
    first = np.ones(peak.size, dtype=bool)
    first[1:] = peak[1:] != peak[:-1]
    return peak[first], place[first]


def _decaying(
    peaks: pd.DataFrame, regions: pd.DataFrame
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """For each peak the windows that it is in, and its weights there."""
    peak, place = overlapping(peaks, _windows(regions))
    gap = np.maximum(
        regions["start"].to_numpy()[place] - peaks["end"].to_numpy()[peak],
        peaks["start"].to_numpy()[peak] - regions["end"].to_numpy()[place],
    )
    distance = np.maximum(gap, 0)
    weight = (np.exp(-distance / DECAY) + math.exp(-1)) / (1 + math.exp(-1))
    return peak, place, weight


def _windows(regions: pd.DataFrame) -> pd.DataFrame:
    """Regions with what lies around them, up to the neighbours."""
    left_edges, right_edges = np.empty((2, len(regions)), dtype=np.int64)
    for _, members in regions.groupby("chrom", sort=False).indices.items():
        start = regions["start"].to_numpy()[members]
        end = regions["end"].to_numpy()[members]
        # The farthest end of regions that begin before, the nearest start of those that end after.
        reached = np.maximum.accumulate(end[np.argsort(start)])
        n_before = np.searchsorted(np.sort(start), start, side="left")
        before = np.where(n_before > 0, reached[n_before - 1], np.iinfo(np.int64).min)
        opening = np.minimum.accumulate(start[np.argsort(end)][::-1])[::-1]
        n_until = np.searchsorted(np.sort(end), end, side="right")
        last = n_until == end.size
        after = np.where(last, np.iinfo(np.int64).max, opening[np.where(last, 0, n_until)])
        left = np.minimum(start - NEAREST_REACH, np.maximum(start - FARTHEST_REACH, before))
        right = np.maximum(end + NEAREST_REACH, np.minimum(end + FARTHEST_REACH, after))
        left_edges[members], right_edges[members] = np.maximum(left, 0), right
    return regions[["chrom"]].assign(start=left_edges, end=right_edges)
