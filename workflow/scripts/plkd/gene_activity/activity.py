"""Gene activity of a file of peaks or fragments, as a file of cells x genes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from tqdm import tqdm

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
from plkd.utils.text import listed

RULES = (*PEAK_RULES, "signac")
MAX_GENE_LENGTH = 500_000
CHUNK_CELLS = 2048
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
        How to read the peaks; a file that holds genes as
        well needs its `modality`, such as ``atac``. The `reader` ``fragments`` is known here as
        well.

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
    about: dict[str, Any] = {
        "cells": str(Path(cells_path).name),
        "annotation": str(Path(annotation_path).name),
        "rule": rule,
        "upstream": upstream,
        "genes": about_genes,
        "warnings": [],
    }
    options: dict[str, Any] = {"upstream": upstream, "progress": progress}
    if is_fragments:
        options |= {"barcodes": barcodes, "min_fragments": min_fragments}
        _write_from_fragments(cells_path, annotation_path, output, genes, about, **options)
    else:
        options |= {"chunk_cells": chunk_cells, "reading": reading}
        declared = annotation.attrs["genome"]
        _write_from_peaks(cells_path, annotation_path, output, genes, about, declared, **options)
    for warning in about["warnings"]:
        logger.warning("%s", warning)
    if report is not None:
        write_json(report, about)
    return about


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
            f"names {listed(annotation['chrom'])}. Set `chromosomes`."
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
    cells_path: str | Path,
    annotation_path: str | Path,
    output: str | Path,
    genes: pd.DataFrame,
    about: dict[str, Any],
    declared: str | None,
    *,
    upstream: int,
    chunk_cells: int,
    progress: bool,
    reading: ReadingOptions,
) -> None:
    slot = slot_name(reading.layer, reading.use_raw)
    with open_cells(cells_path, reading) as cells:
        if cells.n_cells == 0:
            raise InputError(f"'{cells_path}' has no cells")
        if cells.scale.kind != "counts":
            raise InputError(
                f"'{cells_path}', {slot}, holds {cells.scale.describe()}; gene activity is made of "
                "counts (or zeros and ones). Give the `layer` with the counts, or `use_raw: true`."
            )
        where = f"'{cells_path}', var"
        peaks = parse_peaks(cells.var, where)
        peaks["key"] = chromosome_keys(peaks["chrom"])
        _compare_names(peaks["chrom"], genes["chrom"], about)
        used = peaks["key"].isin(set(genes["key"])).to_numpy()
        if not used.any():
            raise InputError(
                f"{where}: the peaks are on {listed(peaks['chrom'])}, the genes of "
                f"'{annotation_path}' that are in use on {listed(genes['chrom'])}: they have no "
                "chromosome in common. Give the annotation of the same genome, or set "
                "`chromosomes`."
            )
        fitting, warnings = check_genome(
            peaks[used],
            genes,
            declared=(_declared_genome(cells.var), declared),
            where=(where, f"'{annotation_path}'"),
        )
        about["genome"] = {"peaks_fit": fitting["peaks"], "genes_fit": fitting["genes"]}
        about["warnings"] += warnings
        weights = peak_gene_weights(peaks, genes, rule=about["rule"], upstream=upstream)
        weights = rows_kept(weights, used)
        has_gene = weights.getnnz(axis=1) > 0
        _report_peaks(about, peaks, used, has_gene, where, str(annotation_path))
        is_measured = weights.getnnz(axis=0) > 0
        about["genes"]["with_a_peak"] = int(is_measured.sum())
        weights = sparse.csr_matrix(weights[:, is_measured])
        totals = {"read": 0.0, "in_peaks_with_a_gene": 0.0}

        def chunks() -> Iterator[sparse.csr_matrix]:
            bar = tqdm(
                total=cells.n_cells, desc="gene activity", unit="cell", disable=not progress,
                mininterval=1.0,
            )  # fmt: skip
            with bar:
                for rows, chunk in cells.chunks(chunk_cells):
                    _check_counts(chunk, f"'{cells_path}', {slot}, rows from {rows.start:,}")
                    of_peak = np.asarray(chunk.sum(axis=0, dtype=np.float64)).ravel()
                    totals["read"] += of_peak.sum()
                    totals["in_peaks_with_a_gene"] += of_peak[has_gene].sum()
                    activity = sparse.csr_matrix(chunk.astype(np.float32) @ weights)
                    if about["rule"] == "distance":
                        scale_rows(activity)
                    activity.sort_indices()
                    yield activity
                    bar.update(chunk.shape[0])

        var = gene_table(genes)[is_measured]
        write_by_chunks(output, cells.obs, var, chunks(), about, cells.spatial)
    about["cells_read"] = cells.n_cells
    about["counts"] = totals | {
        "share": totals["in_peaks_with_a_gene"] / totals["read"] if totals["read"] else 0.0
    }
    logger.info(
        "'%s': %d of %d peaks count for %d genes, with %.0f %% of the counts",
        cells_path, has_gene.sum(), len(peaks), is_measured.sum(), 100 * about["counts"]["share"],
    )  # fmt: skip


def _write_from_fragments(
    path: str | Path,
    annotation_path: str | Path,
    output: str | Path,
    genes: pd.DataFrame,
    about: dict[str, Any],
    *,
    upstream: int,
    barcodes: str | Path | None,
    min_fragments: int | None,
    progress: bool,
) -> None:
    if barcodes is None and min_fragments is None:
        raise InputError(
            f"'{path}' has the barcodes of empty droplets too: give `barcodes`, a file that lists "
            "the cells, or `min_fragments`, such as 1000"
        )
    if barcodes is not None:
        obs = read_barcodes(barcodes)
    else:
        counts = count_fragments_of_barcodes(path, progress=progress)
        obs = pd.DataFrame(index=counts.index[counts >= (min_fragments or 0)].astype(str))
        if len(obs) == 0:
            raise InputError(
                f"'{path}': none of its {len(counts):,} barcodes has {min_fragments:,} fragments "
                f"(`min_fragments`); the most is {counts.max() if len(counts) else 0:,}"
            )
    with (
        tempfile.TemporaryDirectory(prefix="plkd-fragments-") as scratch,
        counted_fragments(
            path, genes, list(obs.index), upstream=upstream, scratch=scratch, progress=progress
        ) as (found, blocks),
    ):
        _compare_names(found.sample["chrom"], genes["chrom"], about)
        if found.totals["on_chromosomes"] == 0:
            raise InputError(
                f"'{path}': the fragments are on {listed(sorted(found.left_out))}, the genes of "
                f"'{annotation_path}' that are in use on {listed(genes['chrom'])}: they have no "
                "chromosome in common. Give the annotation of the same genome, or set "
                "`chromosomes`."
            )
        fitting, warnings = check_genome(
            found.sample,
            genes,
            where=(f"'{path}'", f"'{annotation_path}'"),
            reads="fragments",
        )
        about["genome"] = {"fragments_fit": fitting["peaks"], "genes_fit": fitting["genes"]}
        about["warnings"] += warnings
        obs["n_fragments"] = found.n_fragments
        kept = np.ones(len(obs), dtype=bool)
        if min_fragments is not None:
            kept = found.n_fragments >= min_fragments
        if not kept.any():
            raise InputError(
                f"'{path}': none of the {len(obs):,} cells has {min_fragments:,} fragments "
                f"(`min_fragments`); the most is {found.n_fragments.max():,}"
            )
        about["cells_read"] = int(kept.sum())
        about["cells_left_out"] = int((~kept).sum())
        about["fragments"] = found.totals | {
            "share_in_genes": found.totals["in_genes"] / max(found.totals["of_cells"], 1),
            "left_out": dict(sorted(found.left_out.items(), key=lambda item: -item[1])),
        }
        write_by_chunks(output, obs[kept], gene_table(genes), rows_of(blocks, kept), about, None)
    logger.info(
        "'%s': %d cells, %d of %d fragments of them in %d genes",
        path, kept.sum(), found.totals["in_genes"], found.totals["of_cells"],
        genes["gene"].nunique(),
    )  # fmt: skip


def _declared_genome(var: pd.DataFrame) -> str | None:
    names = {assembly_name(name) for name in var["genome"].unique()} if "genome" in var else set()
    return names.pop() if len(names) == 1 else None


def _compare_names(ours: pd.Series, theirs: pd.Series, about: dict[str, Any]) -> None:
    """Say so where chromosomes are ``chr1`` in one file and ``1`` in the other."""
    prefixed = [
        bool(names.astype(str).str.match("(?i)chr").mean() > 0.5) for names in (ours, theirs)
    ]
    if prefixed[0] != prefixed[1]:
        spelled = [f"'{'chr1' if has else '1'}'" for has in prefixed]
        about["chromosome_names"] = (
            f"the cells' file names chromosomes like {spelled[0]}, the annotation like "
            f"{spelled[1]}: taken to be the same"
        )
        logger.info("%s", about["chromosome_names"])


def _report_peaks(
    about: dict[str, Any],
    peaks: pd.DataFrame,
    used: NDArray[np.bool_],
    has_gene: NDArray[np.bool_],
    where: str,
    annotation: str,
) -> None:
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
    if n_none:
        left_out.append({"reason": "no gene there", "peaks": n_none})
    about["peaks"] = {"read": len(peaks), "used": int(has_gene.sum()), "left_out": left_out}
    if len(elsewhere):
        logger.info("%s: %d peaks on %s left out", where, elsewhere.sum(), listed(elsewhere.index))
    share = has_gene.sum() / max(used.sum(), 1)
    if share == 0:
        raise InputError(
            f"{where}: no peak is at a gene of '{annotation}'; the two may be of different "
            "genomes. Give the annotation of the genome that the reads were aligned to."
        )
    if share < FEW_PEAKS:
        about["warnings"].append(
            f"{where}: only {share:.1%} of the peaks are at a gene of '{annotation}'; the two may "
            "be of different genomes, or the annotation holds few genes"
        )


def _check_counts(chunk: sparse.csr_matrix, where: str) -> None:
    """The kind of the values was told from a sample of rows; this looks at all of them."""
    if chunk.nnz and not (np.isfinite(chunk.data).all() and chunk.data.min() >= 0):
        raise InputError(f"{where}: the counts have missing, infinite or negative values")
