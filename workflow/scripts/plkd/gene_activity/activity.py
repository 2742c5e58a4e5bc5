"""Gene activity of a file of peaks or fragments, as a file of cells x genes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from plkd.errors import InputError
from plkd.gene_activity.annotation import read_annotation
from plkd.gene_activity.fragments import (
    count_fragments_of_barcodes,
    counted_fragments,
    is_fragment_file,
    read_barcodes,
)
from plkd.gene_activity.genome import (
    assembly_name,
    check_genome,
    chromosome_keys,
    wanted_chromosomes,
)
from plkd.gene_activity.output import (
    gene_table,
    rows_kept,
    rows_of,
    scale_rows,
    write_by_chunks,
)
from plkd.gene_activity.peaks import parse_peaks
from plkd.gene_activity.weights import PEAK_RULES, UPSTREAM, peak_gene_weights
from plkd.io.cells import open_cells
from plkd.io.stores import slot_name
from plkd.settings.datasets import AS_IT_IS, ReadingOptions
from plkd.utils.files import write_json
from plkd.utils.logs import logger
from plkd.utils.progress import ProgressBar
from plkd.utils.text import listed

RULES = (*PEAK_RULES, "signac")
MAX_GENE_LENGTH = 500_000
CHUNK_CELLS = 2048
LISTED_CHROMOSOMES = 10
FEW_PEAKS = 0.1  # share of the peaks with a gene below which a warning is due


def write_gene_activity(
    cells_path: str | Path,
    annotation_path: str | Path,
    output: str | Path,
    *,
    rule: str = "seurat",
    upstream: int = UPSTREAM,
    chromosomes: str | Sequence[str] | None = None,
    biotypes: Sequence[str] | None = None,
    barcodes: str | Path | None = None,
    min_fragments: int | None = None,
    report: str | Path | None = None,
    chunk_cells: int = CHUNK_CELLS,
    progress: bool = True,
    reading: ReadingOptions = AS_IT_IS,
) -> dict[str, Any]:
    """Turn open chromatin into the activity of genes, in chunks of cells.

    Parameters
    ----------
    cells_path
        Counts of cells x peaks in any format that :func:`plkd.io.cells.open_cells` reads, for the
        rules ``seurat`` and ``distance``, see
        :func:`~plkd.gene_activity.weights.peak_gene_weights`; or a file of fragments for
        ``signac``, see :func:`~plkd.gene_activity.fragments.counted_fragments`.
    annotation_path
        GTF, GFF3 or BED, see :func:`~plkd.gene_activity.annotation.read_annotation`. Chromosomes
        may be named ``chr1`` in one file and ``1`` in the other.
    output
        The h5ad to write, whole or not at all. `X`: CSR float32, cells x genes. ``seurat`` and
        ``signac`` give counts. ``distance`` gives sums of weighted counts, which are not whole;
        each cell's are brought to a total of 10,000, as ArchR's are, so that they are known for
        normalised linear values and not mistaken for logged ones. `obs` and ``obsm['spatial']`` are
        those of the source; `var` has `chrom`, `start`, `end`, `strand` (of the gene's first place)
        and `places`. The genes are those that a peak counts for (the others were not measured), and
        for ``signac`` all.
    rule
        ``seurat``, ``distance`` or ``signac``.
    upstream
        Bases before the start of a gene that belong to it.
    chromosomes
        ``human``, ``mouse`` or names, see
        :func:`~plkd.gene_activity.genome.wanted_chromosomes`. Peaks and genes elsewhere, as on
        contigs, are left out and counted.
    biotypes
        Kinds of genes to use, where the annotation tells them; default: ``protein_coding`` for
        ``signac``, all for the others. ``["all"]`` for all. ``signac`` leaves out genes of 500 kb
        and more as well.
    barcodes, min_fragments
        The cells of a fragment file: those that a file lists, see
        :func:`~plkd.gene_activity.fragments.read_barcodes`, and of those or of all the ones with at
        least so many fragments. One of the two is needed.
    report
        Where to write the report as JSON.
    chunk_cells
        Cells in memory at a time.
    progress
        Show progress bars.
    reading
        How to read the peaks; a file that holds genes as well needs its `modality`, such as
        ``atac``. The `reader` ``fragments`` is known here as well.

    Returns
    -------
    dict
        The report: what was read, used and left out and why, how much of the counts is in genes,
        warnings.

    Raises
    ------
    InputError
        If a file or an option cannot be used, the values are not counts, or peaks and genes are of
        different genomes or have no chromosome in common.
    """
    if rule not in RULES:
        raise InputError(f"`rule` is '{rule}'; expected one of {', '.join(RULES)}")
    if upstream < 0:
        raise InputError(f"`upstream` is {upstream}; expected at least 0")
    reader = reading.reader
    is_fragments = reader == "fragments" or (reader == "auto" and is_fragment_file(cells_path))
    if is_fragments != (rule == "signac"):
        kind, fitting = ("fragments", "signac") if is_fragments else ("peaks", "seurat or distance")
        raise InputError(
            f"'{cells_path}' holds {kind}, which the rule '{rule}' cannot use; set `rule` to "
            f"{fitting}"
        )
    if not is_fragments and (barcodes is not None or min_fragments is not None):
        raise InputError(
            f"'{cells_path}' holds peaks; `barcodes` and `min_fragments` are for fragments"
        )
    annotation = read_annotation(annotation_path)
    genes, about_genes = _chosen_genes(annotation, annotation_path, rule, chromosomes, biotypes)
    made_by = {"rule": rule, "upstream": upstream, "annotation": Path(annotation_path).name}
    sources = _Sources(Path(cells_path), Path(annotation_path), genes, annotation.attrs["genome"])
    if is_fragments:
        found = _write_from_fragments(
            sources,
            output,
            made_by,
            barcodes=barcodes,
            min_fragments=min_fragments,
            progress=progress,
        )
    else:
        found = _write_from_peaks(
            sources, output, made_by, reading=reading, chunk_cells=chunk_cells, progress=progress
        )
    about = {"cells": Path(cells_path).name, **made_by, **found.report}
    about["genes"] = about_genes | found.of_genes
    about["warnings"] = found.warnings
    for warning in found.warnings:
        logger.warning("%s", warning)
    if report is not None:
        write_json(report, about)
    return about


@dataclass(frozen=True)
class _Sources:
    """Both files, and what the annotation says: the genes in use and the genome it declares."""

    cells: Path
    annotation: Path
    genes: pd.DataFrame
    declared: str | None


@dataclass(frozen=True)
class _Found:
    """What is said of a part of the work: fields of the report, of its `genes`, and warnings."""

    report: dict[str, Any] = field(default_factory=dict)
    of_genes: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def __or__(self, other: _Found) -> _Found:
        return _Found(
            self.report | other.report,
            self.of_genes | other.of_genes,
            self.warnings + other.warnings,
        )


def _chosen_genes(
    annotation: pd.DataFrame,
    path: str | Path,
    rule: str,
    chromosomes: str | Sequence[str] | None,
    biotypes: Sequence[str] | None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Genes of the kinds and chromosomes in use, with the `key` of their chromosome."""
    genes = annotation.assign(key=chromosome_keys(annotation["chrom"]))
    wanted = wanted_chromosomes(chromosomes, genes["key"].to_numpy())
    left_out = []

    def keep(kept: pd.Series, reason: str) -> None:
        nonlocal genes
        if not kept.all():
            left_out.append({"reason": reason, "genes": int((~kept).sum())})
            genes = genes[kept]

    keep(genes["key"].isin(wanted), "not on the chromosomes in use")
    if biotypes is None and rule == "signac":
        biotypes = ("protein_coding",)
    if biotypes is not None and "all" not in biotypes and (genes["biotype"] != "").any():
        found = genes["biotype"].value_counts()
        keep(genes["biotype"].isin(list(biotypes)), f"biotype not {', '.join(biotypes)}")
        if genes.empty:
            raise InputError(
                f"'{path}': no gene is of the biotypes {', '.join(biotypes)}; the most frequent "
                f"ones are {listed(found.index)}"
            )
    if rule == "signac":
        short = genes["end"] - genes["start"] < MAX_GENE_LENGTH
        keep(short, f"{MAX_GENE_LENGTH:,} bases or longer")
    if genes.empty:
        raise InputError(
            f"'{path}': no gene is left on the chromosomes {listed(wanted)}; the file "
            f"names {listed(annotation['chrom'], LISTED_CHROMOSOMES)}. Set `chromosomes`."
        )
    n_names = genes["gene"].nunique()
    about = {
        "entries": annotation.attrs["entries"],
        "without_name": annotation.attrs["nameless"],
        "merged_into_a_place": annotation.attrs["merged"],
        "places_added_to_a_gene": len(genes) - n_names,
        "left_out": left_out,
        "used": n_names,
    }
    return genes.reset_index(drop=True), about


def _write_from_peaks(
    sources: _Sources,
    output: str | Path,
    made_by: dict[str, Any],
    *,
    reading: ReadingOptions,
    chunk_cells: int,
    progress: bool,
) -> _Found:
    slot = slot_name(reading.layer, reading.use_raw)
    with open_cells(sources.cells, reading) as cells:
        if cells.n_cells == 0:
            raise InputError(f"'{sources.cells}' has no cells")
        if cells.scale.kind != "counts":
            raise InputError(
                f"'{sources.cells}', {slot}, holds {cells.scale.describe()}; gene activity is made "
                "of counts (or zeros and ones). Give the `layer` with the counts, or `use_raw: "
                "true`."
            )
        weights, about = _weigh_peaks(
            cells.var, sources, rule=made_by["rule"], upstream=made_by["upstream"]
        )
        has_gene = weights.getnnz(axis=1) > 0
        is_measured = weights.getnnz(axis=0) > 0
        activities = _Activities(
            cells.chunks(chunk_cells),
            sparse.csr_matrix(weights[:, is_measured]),
            is_scaled=made_by["rule"] == "distance",
            where=f"'{sources.cells}', {slot}",
            bar=ProgressBar(
                total=cells.n_cells, desc="gene activity", unit="cell", disable=not progress,
            ),
        )  # fmt: skip
        var = gene_table(sources.genes)[is_measured]
        write_by_chunks(output, cells.obs, var, activities, made_by, cells.spatial)
    logger.info(
        "'%s': %d of %d peaks count for %d genes, with %.0f %% of the counts",
        sources.cells, has_gene.sum(), has_gene.size, is_measured.sum(), 100 * activities.share,
    )  # fmt: skip
    counts = {
        "read": activities.read,
        "in_peaks_with_a_gene": activities.in_peaks_with_a_gene,
        "share": activities.share,
    }
    return about | _Found(
        {"cells_read": cells.n_cells, "counts": counts}, {"with_a_peak": int(is_measured.sum())}
    )


def _weigh_peaks(
    var: pd.DataFrame, sources: _Sources, *, rule: str, upstream: int
) -> tuple[sparse.csr_matrix, _Found]:
    """Weights of all peaks for all genes, (n_peaks, n_genes); zero for peaks out of use."""
    where, genes = f"'{sources.cells}', var", sources.genes
    peaks = parse_peaks(var, where)
    peaks["key"] = chromosome_keys(peaks["chrom"])
    used = peaks["key"].isin(set(genes["key"])).to_numpy()
    if not used.any():
        raise _no_chromosome_in_common(
            f"{where}: the peaks are on {listed(peaks['chrom'], LISTED_CHROMOSOMES)}", sources
        )
    fitting, warnings = check_genome(
        peaks[used],
        genes,
        declared=(_declared_genome(var), sources.declared),
        where=(where, f"'{sources.annotation}'"),
    )
    weights = rows_kept(peak_gene_weights(peaks, genes, rule=rule, upstream=upstream), used)
    has_gene = weights.getnnz(axis=1) > 0
    genome = {"genome": {"peaks_fit": fitting["peaks"], "genes_fit": fitting["genes"]}}
    about = _compared_names(peaks["chrom"], genes["chrom"]) | _Found(genome, warnings=warnings)
    return weights, about | _peaks_in_use(peaks, used, has_gene, where, sources.annotation)


class _Activities:
    """Activity of the genes, one chunk of cells after the other, to be gone through once.

    Attributes
    ----------
    read, in_peaks_with_a_gene
        Counts that went by: all, and those in peaks that count for a gene.
    """

    def __init__(
        self,
        chunks: Iterable[tuple[slice, sparse.csr_matrix]],
        weights: sparse.csr_matrix,
        *,
        is_scaled: bool,
        where: str,
        bar: ProgressBar,
    ) -> None:
        self._chunks, self._weights, self._bar = chunks, weights, bar
        self._has_gene = weights.getnnz(axis=1) > 0
        self._is_scaled, self._where = is_scaled, where
        self.read = self.in_peaks_with_a_gene = 0.0

    def __iter__(self) -> Iterator[sparse.csr_matrix]:
        with self._bar as bar:
            for rows, chunk in self._chunks:
                _check_counts(chunk, f"{self._where}, rows from {rows.start:,}")
                of_peak = np.asarray(chunk.sum(axis=0, dtype=np.float64)).ravel()
                self.read += float(of_peak.sum())
                self.in_peaks_with_a_gene += float(of_peak[self._has_gene].sum())
                activity = sparse.csr_matrix(chunk.astype(np.float32) @ self._weights)
                if self._is_scaled:
                    scale_rows(activity)
                activity.sort_indices()
                yield activity
                bar.update(chunk.shape[0])

    @property
    def share(self) -> float:
        """Share of the counts that are in peaks with a gene."""
        return self.in_peaks_with_a_gene / self.read if self.read else 0.0


def _write_from_fragments(
    sources: _Sources,
    output: str | Path,
    made_by: dict[str, Any],
    *,
    barcodes: str | Path | None,
    min_fragments: int | None,
    progress: bool,
) -> _Found:
    path, genes = sources.cells, sources.genes
    obs = _cells_of_fragments(path, barcodes, min_fragments, progress)
    with (
        tempfile.TemporaryDirectory(prefix="plkd-fragments-") as scratch,
        counted_fragments(
            path,
            genes,
            list(obs.index),
            upstream=made_by["upstream"],
            scratch=scratch,
            progress=progress,
        ) as (found, blocks),
    ):
        if found.totals["on_chromosomes"] == 0:
            raise _no_chromosome_in_common(
                f"'{path}': the fragments are on "
                f"{listed(sorted(found.left_out), LISTED_CHROMOSOMES)}",
                sources,
            )
        fitting, warnings = check_genome(
            found.sample,
            genes,
            where=(f"'{path}'", f"'{sources.annotation}'"),
            reads="fragments",
        )
        obs["n_fragments"] = found.n_fragments
        kept = found.n_fragments >= (min_fragments or 0)
        if not kept.any():
            raise InputError(
                f"'{path}': none of the {len(obs):,} cells has {min_fragments:,} fragments "
                f"(`min_fragments`); the most is {found.n_fragments.max():,}"
            )
        write_by_chunks(output, obs[kept], gene_table(genes), rows_of(blocks, kept), made_by, None)
    logger.info(
        "'%s': %d cells, %d of %d fragments of them in %d genes",
        path, kept.sum(), found.totals["in_genes"], found.totals["of_cells"],
        genes["gene"].nunique(),
    )  # fmt: skip
    fragments = found.totals | {
        "share_in_genes": found.totals["in_genes"] / max(found.totals["of_cells"], 1),
        "left_out": dict(sorted(found.left_out.items(), key=lambda item: -item[1])),
    }
    report = {
        "genome": {"fragments_fit": fitting["peaks"], "genes_fit": fitting["genes"]},
        "cells_read": int(kept.sum()),
        "cells_left_out": int((~kept).sum()),
        "fragments": fragments,
    }
    names = _compared_names(found.sample["chrom"], genes["chrom"])
    return names | _Found(report, warnings=warnings)


def _cells_of_fragments(
    path: Path, barcodes: str | Path | None, min_fragments: int | None, progress: bool
) -> pd.DataFrame:
    """The cells that are listed, or all barcodes with enough fragments; the index is their ids."""
    if barcodes is not None:
        return read_barcodes(barcodes)
    if min_fragments is None:
        raise InputError(
            f"'{path}' has the barcodes of empty droplets too: give `barcodes`, a file that lists "
            "the cells, or `min_fragments`, such as 1000"
        )
    counts = count_fragments_of_barcodes(path, progress=progress)
    obs = pd.DataFrame(index=counts.index[counts >= min_fragments].astype(str))
    if len(obs) == 0:
        raise InputError(
            f"'{path}': none of its {len(counts):,} barcodes has {min_fragments:,} fragments "
            f"(`min_fragments`); the most is {counts.max() if len(counts) else 0:,}"
        )
    return obs


def _no_chromosome_in_common(where_cells: str, sources: _Sources) -> InputError:
    chromosomes = listed(sources.genes["chrom"], LISTED_CHROMOSOMES)
    return InputError(
        f"{where_cells}, the genes of '{sources.annotation}' that are in use on {chromosomes}: "
        "they have no chromosome in common. Give the annotation of the same genome, or set "
        "`chromosomes`."
    )


def _declared_genome(var: pd.DataFrame) -> str | None:
    names = {assembly_name(name) for name in var["genome"].unique()} if "genome" in var else set()
    return names.pop() if len(names) == 1 else None


def _compared_names(ours: pd.Series, theirs: pd.Series) -> _Found:
    """Say so where chromosomes are ``chr1`` in one file and ``1`` in the other."""
    prefixed = [
        bool(names.astype(str).str.match("(?i)chr").mean() > 0.5) for names in (ours, theirs)
    ]
    if prefixed[0] == prefixed[1]:
        return _Found()
    spelled = [f"'{'chr1' if has else '1'}'" for has in prefixed]
    note = (
        f"the cells' file names chromosomes like {spelled[0]}, the annotation like {spelled[1]}: "
        "taken to be the same"
    )
    logger.info("%s", note)
    return _Found({"chromosome_names": note})


def _peaks_in_use(
    peaks: pd.DataFrame,
    used: NDArray[np.bool_],
    has_gene: NDArray[np.bool_],
    where: str,
    annotation: Path,
) -> _Found:
    """Count the peaks that are left out, and why; few at genes are a warning, none an error."""
    elsewhere = peaks["chrom"][~used].value_counts()
    n_none = int((used & ~has_gene).sum())
    left_out: list[dict[str, Any]] = []
    if len(elsewhere):
        left_out.append(
            {
                "reason": "on chromosomes that are not in use or have no gene",
                "peaks": int(elsewhere.sum()),
                "chromosomes": {str(k): int(n) for k, n in elsewhere.items()},
            }
        )
        logger.info(
            "%s: %d peaks on %s left out",
            where,
            elsewhere.sum(),
            listed(elsewhere.index, LISTED_CHROMOSOMES),
        )
    if n_none:
        left_out.append({"reason": "no gene there", "peaks": n_none})
    share = has_gene.sum() / max(used.sum(), 1)
    if share == 0:
        raise InputError(
            f"{where}: no peak is at a gene of '{annotation}'; the two may be of different "
            "genomes. Give the annotation of the genome that the reads were aligned to."
        )
    warnings = [
        f"{where}: only {share:.1%} of the peaks are at a gene of '{annotation}'; the two may "
        "be of different genomes, or the annotation holds few genes"
    ]
    return _Found(
        {"peaks": {"read": len(peaks), "used": int(has_gene.sum()), "left_out": left_out}},
        warnings=warnings if share < FEW_PEAKS else [],
    )


def _check_counts(chunk: sparse.csr_matrix, where: str) -> None:
    """The kind of the values was told from a sample of rows; this looks at all of them."""
    if chunk.nnz and not (np.isfinite(chunk.data).all() and chunk.data.min() >= 0):
        raise InputError(f"{where}: the counts have missing, infinite or negative values")
