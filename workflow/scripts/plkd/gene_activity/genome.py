"""Chromosomes and genomes: one name for each, and whether two tables speak of the same one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import bioframe
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plkd.errors import InputError

CHROMOSOMES = {
    "human": (*map(str, range(1, 23)), "X", "Y"),
    "mouse": (*map(str, range(1, 20)), "X", "Y"),
}
ASSEMBLIES = ("hg19", "hg38", "mm9", "mm10", "mm39")
_OTHER_NAMES = {
    "grch37": "hg19", "b37": "hg19", "hs37d5": "hg19", "grch38": "hg38", "ncbim37": "mm9",
    "mgscv37": "mm9", "grcm38": "mm10", "grcm39": "mm39",
}  # fmt: skip
_PREFIX = re.compile("^chr(?=.)", re.IGNORECASE)
_MITOCHONDRION = {"M": "MT", "Mt": "MT"}
_TSS_REACH = 1000  # a peak this near to a transcription start counts as a promoter's
_ENOUGH_PEAKS = 500  # fewer say nothing about a genome


def chromosome_keys(names: pd.Series) -> NDArray[np.object_]:
    """Names of chromosomes without ``chr``, and MT for M: equal for every spelling.

    Returns
    -------
    object array (n,) of str
    """
    codes, unique = pd.factorize(names.astype(str))
    keys = [_PREFIX.sub("", str(name).strip()) for name in unique]
    return np.array([_MITOCHONDRION.get(key, key) for key in keys], dtype=object)[codes]


def wanted_chromosomes(
    asked: str | Sequence[str] | None, annotated: NDArray[np.object_]
) -> tuple[str, ...]:
    """Keys of the chromosomes to use.

    Parameters
    ----------
    asked
        A species of `CHROMOSOMES`, or names of chromosomes; None: 1-22, X and Y where the
        annotation has any of 20 to 22, otherwise 1-19, X and Y.
    annotated
        Keys of the chromosomes of the annotation.

    Raises
    ------
    InputError
        If a single name is asked for that is no species.
    """
    if asked is None:
        return CHROMOSOMES["human" if {"20", "21", "22"} & set(annotated) else "mouse"]
    if isinstance(asked, str):
        if asked not in CHROMOSOMES:
            raise InputError(
                f"`chromosomes` is '{asked}'; expected {' or '.join(CHROMOSOMES)}, or a list of "
                "names such as [chr1, chr2, chrX]"
            )
        return CHROMOSOMES[asked]
    return tuple(chromosome_keys(pd.Series(list(asked), dtype=str)))


def assembly_name(text: object) -> str | None:
    """Name of UCSC for an assembly that goes by several (GRCh38.p13: hg38); None if not known."""
    name = str(text).strip().lower()
    if name in ASSEMBLIES:
        return name
    return _OTHER_NAMES.get(name.split(".")[0].split("-")[0])


def check_genome(
    peaks: pd.DataFrame,
    genes: pd.DataFrame,
    *,
    declared: tuple[str | None, str | None] = (None, None),
    where: tuple[str, str] = ("peaks", "annotation"),
    reads: str = "peaks",
) -> tuple[dict[str, list[str]], list[str]]:
    """Make sure that peaks and genes are positions in the same genome.

    Positions beyond the end of a chromosome rule an assembly out; hg19, hg38, mm9, mm10 and mm39
    are known. Peaks that are not more frequent at transcription starts than by chance are a sign
    of two genomes as well.

    Parameters
    ----------
    peaks, genes
        Tables with `key`, `start` and `end`; genes with `strand`.
    declared
        Assemblies that the two files name, see :func:`assembly_name`.
    where
        The two files and slots, for messages.
    reads
        What the first table holds, for messages.

    Returns
    -------
    fitting : dict of list of str
        Assemblies that the positions of ``peaks`` and ``genes`` fit.
    warnings : list of str

    Raises
    ------
    InputError
        If the positions or the names of the two cannot be of the same assembly.
    """
    fitting = {"peaks": _fitting(peaks), "genes": _fitting(genes)}
    for said, other, place in (
        (declared[0], fitting["genes"], 1),
        (declared[1], fitting["peaks"], 0),
    ):
        if said is not None and other and said not in other:
            raise InputError(
                f"{where[1 - place]} says that its genome is {said}, but the positions of "
                f"{where[place]} fit {' or '.join(other)} only. {_REMEDY}"
            )
    if None not in declared and declared[0] != declared[1]:
        raise InputError(
            f"{where[0]} is of the genome {declared[0]}, {where[1]} of {declared[1]}. {_REMEDY}"
        )
    warnings = []
    if fitting["genes"] and not set(fitting["peaks"]) & set(fitting["genes"]):
        n_beyond, example = _beyond(peaks, fitting["genes"][0])
        found = (
            f"{n_beyond:,} {reads} of {where[0]} end beyond the chromosomes of "
            f"{fitting['genes'][0]}, whose positions {where[1]} has (such as {example})"
        )
        if fitting["peaks"]:
            raise InputError(f"{found}; they fit {' or '.join(fitting['peaks'])}. {_REMEDY}")
        warnings.append(found)
    share, chance = promoter_share(peaks, genes)
    if len(peaks) >= _ENOUGH_PEAKS and share < 2 * chance:
        warnings.append(
            f"only {share:.1%} of the {reads} lie within {_TSS_REACH:,} bases of a transcription "
            f"start, where {chance:.1%} would by chance: {where[0]} and {where[1]} may be of "
            f"different genomes. {_REMEDY}"
        )
    return fitting, warnings


_REMEDY = "Give an annotation of the genome that the reads were aligned to, or lift the peaks over."


def promoter_share(peaks: pd.DataFrame, genes: pd.DataFrame) -> tuple[float, float]:
    """Share of the peaks near a transcription start, and the share of positions that are.

    The second is what peaks thrown at random onto the stretch that the genes span would give.
    """
    tss = np.where(genes["strand"] == "-", genes["end"] - 1, genes["start"])
    windows = pd.DataFrame(
        {
            "chrom": genes["key"].to_numpy(),
            "start": np.maximum(tss - _TSS_REACH, 0),
            "end": tss + _TSS_REACH + 1,
        }
    )
    merged = bioframe.merge(windows, min_dist=0)
    found = pd.DataFrame({"chrom": peaks["key"], "start": peaks["start"], "end": peaks["end"]})
    near = bioframe.count_overlaps(found.reset_index(drop=True), merged)["count"] > 0
    spans = genes.groupby("key")["end"].max().sum()
    length = float((peaks["end"] - peaks["start"]).mean()) if len(peaks) else 0.0
    covered = float((merged["end"] - merged["start"] + length).sum())
    return float(near.mean()) if len(near) else 0.0, min(1.0, covered / max(float(spans), 1.0))


@cache
def chromosome_sizes(assembly: str) -> dict[str, int]:
    """Lengths of the chromosomes of an assembly by their keys, without the mitochondrion's."""
    sizes = bioframe.assembly_info(assembly).chromsizes
    keys = chromosome_keys(pd.Series(sizes.index))
    return {str(k): int(n) for k, n in zip(keys, sizes, strict=True) if k != "MT"}


def _fitting(table: pd.DataFrame) -> list[str]:
    """Assemblies that have all the chromosomes and reach to all the ends."""
    ends = table.groupby("key")["end"].max()
    standard = {key for names in CHROMOSOMES.values() for key in names}
    ends = ends[ends.index.isin(standard)]
    if ends.empty:
        return []
    return [
        name
        for name in ASSEMBLIES
        if all(end <= chromosome_sizes(name).get(str(key), 0) for key, end in ends.items())
    ]


def _beyond(table: pd.DataFrame, assembly: str) -> tuple[int, str]:
    sizes = table["key"].map(chromosome_sizes(assembly)).fillna(0).to_numpy()
    outside = table[table["end"].to_numpy() > sizes]
    if outside.empty:
        return 0, "none"
    first = outside.iloc[0]
    size = chromosome_sizes(assembly).get(str(first["key"]), 0)
    return len(outside), (
        f"{first['chrom']}:{first['start']:,}-{first['end']:,}; the chromosome has {size:,} bases"
    )
