"""What a run will download, and about how long it takes, before it starts.

Snakemake imports this module itself: standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from plkd.pipeline.console import duration
from plkd.pipeline.resources import MOST_SCORED

# Of a run of one variant and seed, estimated for two cores from runs with 350 to 6,300 reference
# cells of 2,000 genes: what a run costs, and every thousand cells of reference and query.
SECONDS_PER_RUN = 60.0
SECONDS_PER_1000_REFERENCE = 14.0
SECONDS_PER_1000_QUERY = 6.0
# What of this the training of the Teacher takes, and how many times as long a step of it is where
# every token sees every gene (2,000 genes, 300 tokens, batches of 64 cells: 234 to 16 ms).
TEACHER_PER_RUN = 20.0
TEACHER_PER_1000_REFERENCE = 1.6
DENSE = 15.0
# Of a space that is scored: the map of a sample, and every pair of cells, on two cores; where it
# holds two modalities every hundredth cell is a neighbour besides.
SECONDS_PER_SPACE = 10.0
SECONDS_PER_PAIR = 8e-9
SECONDS_PER_PAIR_OF_MODALITIES = 4e-8
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
    """A data set and the runs of our models on it.

    `n_cells` is None where it is not known before the cells are read; `n_dense` of the runs have a
    Teacher whose tokens see every gene; `at_most` where the cells of a run are a part of these;
    `n_spaces` of reference and query, ours and other methods', are scored, as spaces of two
    modalities too where these are `modalities`.
    """

    name: str
    n_cells: int | None
    n_runs: int
    n_dense: int = 0
    at_most: bool = False
    n_spaces: int = 0
    modalities: bool = False


@dataclass(frozen=True)
class MethodPlan:
    """Runs of other methods, and what they are ended after: seconds of all, bytes of one."""

    kind: str
    n_runs: int
    seconds: float
    memory: int


def plan_text(
    downloads: Iterable[Download],
    datasets: Sequence[DatasetPlan],
    methods: Sequence[MethodPlan] = (),
    training: int = 0,
) -> str:
    """What is to be downloaded, and what each data set and the other methods take.

    Parameters
    ----------
    downloads, datasets, methods
        The files, the runs of our models, the runs of other methods.
    training
        The memory that a training may take, in bytes; with less than its cells would take, it
        leaves them on disk.

    Examples
    --------
    >>> print(plan_text([Download("bmmc", "a.h5ad.gz", 2_900_000_000, False)],
    ...                 [DatasetPlan("bmmc", 69249, 2)],
    ...                 [MethodPlan("label cells", 3, 10800, 16_000_000_000)], 16_000_000_000))
    To download:
      bmmc                   a.h5ad.gz: 2.9 GB
      in all                 2.9 GB
    Expected on two cores, estimated from runs with few cells:
      bmmc                   69,249 cells, 2 runs: about 25 min, 3.1 GB to prepare
      in all                 2 runs: about 25 min
      a training             at most 16.0 GB
    Other methods, which are ended at their limits (`limits`):
      label cells            3 runs: at most 3.0 h, 16.0 GB at a time
    """
    missing = [one for one in downloads if not one.present]
    lines = ["To download:" if missing else "Nothing is to be downloaded."]
    for name in dict.fromkeys(one.dataset for one in missing):
        files = [one for one in missing if one.dataset == name]
        example = files[0].name if len(files) == 1 else f"{len(files)} files"
        lines.append(_line(name, f"{example}: {_sizes(files)}"))
    if missing:
        lines.append(_line("in all", _sizes(missing, "at least ")))
    lines.append("Expected on two cores, estimated from runs with few cells:")
    for one in datasets:
        runs = _counted(one.n_runs, "run") + f", {one.n_dense} without a mask" * (one.n_dense > 0)
        runs += f", {_counted(one.n_spaces, 'space')} to score" * (one.n_spaces > 0)
        if one.n_cells is None:
            what = f"{runs}; how many cells it has is not known before it is read"
        else:
            about = "at most" if one.at_most else "about"
            what = (
                f"{one.n_cells:,} cells, {runs}: {about} {duration(seconds_of(one))}, "
                f"{size(memory_of(one))} to prepare"
            )
        lines.append(_line(one.name, what))
    if datasets:
        known = all(one.n_cells is not None for one in datasets)
        seconds = sum(seconds_of(one) for one in datasets)
        runs = _counted(sum(one.n_runs for one in datasets), "run")
        lines.append(
            _line("in all", f"{runs}: {'about' if known else 'at least'} {duration(seconds)}")
        )
        lines += [_line("a training", f"at most {size(training)}")] * (training > 0)
    if any(one.n_runs for one in methods):
        lines.append("Other methods, which are ended at their limits (`limits`):")
    for kind in methods:
        if kind.n_runs:
            lines.append(
                _line(
                    kind.kind,
                    f"{_counted(kind.n_runs, 'run')}: at most {duration(kind.seconds)}, "
                    f"{size(kind.memory)} at a time",
                )
            )
    return "\n".join(lines)


def seconds_of(plan: DatasetPlan) -> float:
    """Expected wall time of a data set's runs and scores, half of its cells being the reference.

    Of a data set whose cells are not known, what its runs cost whatever their number.
    """
    half = (plan.n_cells or 0) / 2000
    cells = half * (SECONDS_PER_1000_REFERENCE + SECONDS_PER_1000_QUERY)
    teacher = TEACHER_PER_RUN + half * TEACHER_PER_1000_REFERENCE
    runs = plan.n_runs * (SECONDS_PER_RUN + cells) + plan.n_dense * (DENSE - 1) * teacher
    per_pair = SECONDS_PER_PAIR + plan.modalities * SECONDS_PER_PAIR_OF_MODALITIES
    pairs = min(plan.n_cells or 0, MOST_SCORED) ** 2
    return runs + plan.n_spaces * (SECONDS_PER_SPACE + pairs * per_pair)


def memory_of(plan: DatasetPlan) -> int:
    """Expected peak memory of preparation in bytes."""
    return int((BASE_MB + MB_PER_1000_CELLS * (plan.n_cells or 0) / 1000) * 1e6)


def size(n_bytes: int) -> str:
    """A number of bytes for people.

    >>> size(330_737), size(2_917_117_242)
    ('0.3 MB', '2.9 GB')
    """
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 5e8 else f"{n_bytes / 1e6:.1f} MB"


def _sizes(files: Sequence[Download], bound: str = "") -> str:
    """What files take, as far as it is known; `bound` stands before it where that is not all."""
    known = sum(one.size or 0 for one in files)
    unknown = sum(one.size is None for one in files)
    said = [(bound if unknown else "") + size(known)] * (known > 0)
    said += [f"{_counted(unknown, 'file')} of a size that is not published"] * (unknown > 0)
    return ", ".join(said)


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _line(name: str, what: str) -> str:
    return f"  {name:<22} {what}"
