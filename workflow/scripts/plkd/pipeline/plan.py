"""What a run will download, and about how long it takes, before it starts.

Snakemake imports this module itself: standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from plkd.pipeline.console import duration

# Of a run of one variant and seed, estimated for two cores from runs with 350 to 6,300 reference
# cells of 2,000 genes: what a run costs, and every thousand cells of reference and query.
SECONDS_PER_RUN = 60.0
SECONDS_PER_1000_REFERENCE = 14.0
SECONDS_PER_1000_QUERY = 6.0
# Memory that preparation takes: the libraries, and the sparse matrix a few times.
BASE_MB = 700.0
MB_PER_1000_CELLS = 35.0


@dataclass(frozen=True)
class Download:
    """A file that a data set needs.

    `size` in bytes, None where the publisher does not say it; `present` if it is there already.
    """

    dataset: str
    name: str
    size: int | None
    present: bool


@dataclass(frozen=True)
class DatasetPlan:
    """A data set, its cells (None: not known before it is read) and its runs."""

    name: str
    n_cells: int | None
    n_runs: int


def plan_text(downloads: Sequence[Download], datasets: Sequence[DatasetPlan]) -> str:
    """A table of what is to be downloaded, and one of what each data set takes.

    >>> print(plan_text([Download("bmmc", "a.h5ad.gz", 2_900_000_000, False)],
    ...                 [DatasetPlan("bmmc", 69249, 2)]))
    To download:
      bmmc                   a.h5ad.gz: 2.9 GB
    Expected, estimated from runs with few cells:
      bmmc                   69,249 cells, 2 runs: about 25 min on two cores, 3.1 GB of memory
    """
    missing = [one for one in downloads if not one.present]
    lines = ["To download:" if missing else "Nothing is to be downloaded."]
    for name in dict.fromkeys(one.dataset for one in missing):
        files = [one for one in missing if one.dataset == name]
        known = sum(one.size or 0 for one in files)
        unknown = sum(one.size is None for one in files)
        sizes = [f"{size(known)}"] * (known > 0)
        sizes += [f"{unknown} of a size that is not published"] * (unknown > 0)
        example = files[0].name if len(files) == 1 else f"{len(files)} files"
        lines.append(f"  {name:<22} {example}: {', '.join(sizes)}")
    lines.append("Expected, estimated from runs with few cells:")
    for one in datasets:
        if one.n_cells is None:
            what = f"{one.n_runs} runs; how many cells it has is not known before it is read"
        else:
            what = (
                f"{one.n_cells:,} cells, {one.n_runs} runs: about "
                f"{duration(seconds_of(one))} on two cores, {size(memory_of(one))} of memory"
            )
        lines.append(f"  {one.name:<22} {what}")
    return "\n".join(lines)


def seconds_of(plan: DatasetPlan) -> float:
    """Expected wall time of a data set's runs, half of its cells being the reference."""
    half = (plan.n_cells or 0) / 2000
    cells = half * (SECONDS_PER_1000_REFERENCE + SECONDS_PER_1000_QUERY)
    return plan.n_runs * (SECONDS_PER_RUN + cells)


def memory_of(plan: DatasetPlan) -> int:
    """Expected peak memory in bytes."""
    return int((BASE_MB + MB_PER_1000_CELLS * (plan.n_cells or 0) / 1000) * 1e6)


def size(n_bytes: int | None) -> str:
    """A number of bytes for people.

    >>> size(None), size(330_737), size(2_917_117_242)
    ('unknown', '0.3 MB', '2.9 GB')
    """
    if n_bytes is None:
        return "unknown"
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 5e8 else f"{n_bytes / 1e6:.1f} MB"
