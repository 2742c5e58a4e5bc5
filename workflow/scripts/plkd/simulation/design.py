"""Designs: the genes, labels, programmes and batches that cells are drawn from."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from plkd.errors import InputError
from plkd.simulation.settings import DesignSettings, settings_from

# Quantiles of the genes' base level between which informative genes lie: neither silent genes nor
# those few that take much of the counts.
MARKER_QUANTILES = (0.40, 0.90)
PROGRAMME_QUANTILES = (0.30, 0.97)
LEVEL_SPREAD = 3.0
LEVEL_LIMITS = (-2.5, 3.0)
ACTIVITY_SPREAD = 0.4
BACKGROUND_ACTIVITY = 0.1


@dataclass(frozen=True)
class Design:
    """What cells have in common before any of them is drawn. Made by :func:`make_design`.

    Attributes
    ----------
    genes, labels, batches
        Their names. Other batches may be drawn too: the effect of a batch depends on its name.
    lineages
        Label -> lineage; labels of one lineage differ in few genes.
    markers
        Label -> genes that it alone over-expresses, strongest first.
    lineage_markers
        Lineage -> genes that all its labels over-express, strongest first.
    programmes
        Gene set -> its genes; active ones and decoys of the same sizes.
    active
        Label -> gene sets active in it; the first is shared by its lineage.
    abundance
        Share of each label among the cells, (n_labels,) float64, sums to 1.
    base
        Log level of each gene, (n_genes,) float64.
    label_effects
        Log fold changes of markers and lineage markers, (n_labels, n_genes) float64.
    loadings
        Log fold change of each gene per unit of a programme's activity, CSR float64
        (n_programmes, n_genes).
    label_activity
        Mean activity of each programme in each label, (n_labels, n_programmes) float64: 1 where it
        is active, 0.1 elsewhere.
    batch_effect
        Standard deviation of the batches' gene-wise log fold changes.
    confounding
        Share of the variance of a batch's effect that lies along the difference of two labels.
    dispersion
        Over-dispersion of the counts: their variance is mean + dispersion * mean^2.
    seed
        Seed of the design.
    """

    genes: tuple[str, ...]
    labels: tuple[str, ...]
    batches: tuple[str, ...]
    lineages: dict[str, str]
    markers: dict[str, list[str]]
    lineage_markers: dict[str, list[str]]
    programmes: dict[str, list[str]]
    active: dict[str, list[str]]
    abundance: NDArray[np.float64] = field(repr=False)
    base: NDArray[np.float64] = field(repr=False)
    label_effects: NDArray[np.float64] = field(repr=False)
    loadings: sparse.csr_matrix = field(repr=False)
    label_activity: NDArray[np.float64] = field(repr=False)
    batch_effect: float = 0.3
    confounding: float = 0.0
    dispersion: float = 0.3
    seed: int = 0

    def stream(self, *names: object) -> np.random.Generator:
        """A generator that depends on the design's seed and the names alone."""
        return stream(self.seed, *names)

    def effect_of_batch(self, batch: str) -> NDArray[np.float64]:
        """Log fold changes of a batch, (n_genes,); their root mean square is `batch_effect`."""
        rng = self.stream("batch", batch)
        noise = rng.normal(size=len(self.genes))
        if self.confounding and len(self.labels) > 1:
            one, other = rng.choice(len(self.labels), size=2, replace=False)
            levels = self.label_levels()
            difference = levels[one] - levels[other]
            difference /= np.sqrt(np.mean(difference**2))
            noise = np.sqrt(1 - self.confounding) * noise + np.sqrt(self.confounding) * difference
        return self.batch_effect * noise

    def depth_of_batch(self, batch: str) -> float:
        """Factor on the total counts of a batch's cells; varies as much as its genes do."""
        return float(np.exp(self.stream("depth", batch).normal(0, self.batch_effect)))

    def label_levels(self) -> NDArray[np.float64]:
        """Mean log fold changes of each label over the base level, (n_labels, n_genes)."""
        return self.label_effects + self.label_activity @ self.loadings


def stream(*names: object) -> np.random.Generator:
    """A generator that depends on the given names and numbers alone."""
    text = "\t".join(map(str, names))
    return np.random.default_rng([zlib.crc32(text.encode()), len(text)])


def make_design(
    *,
    genes: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    batches: Sequence[str] | None = None,
    abundance: Sequence[float] | None = None,
    programme_prefix: str = "PROGRAMME",
    seed: int = 0,
    **settings: Any,
) -> Design:
    """Plant labels, markers, gene programmes and batch effects.

    Parameters
    ----------
    genes, labels, batches
        Names, instead of the numbers of the settings; by default they are GENE0001 ..,
        A1 A2 A3 B1 .. (letters are lineages), batch1 ..
    abundance
        Weight of each label, instead of the setting `imbalance`.
    programme_prefix
        Start of the gene sets' names.
    seed
        Seed of the design. Each part has a stream of its own.
    **settings
        Fields of :class:`~plkd.simulation.settings.DesignSettings`.

    Raises
    ------
    InputError
        If there are too few genes or programmes for the labels, or a setting is unknown or out of
        its limits.
    """
    chosen = settings_from(DesignSettings, settings)
    per_lineage = chosen.labels_per_lineage
    labels = _default_labels(chosen.n_labels, per_lineage) if labels is None else tuple(labels)
    genes = _numbered("GENE", chosen.n_genes) if genes is None else tuple(genes)
    if batches is None:
        batches = [f"batch{i + 1}" for i in range(chosen.n_batches)]
    _check_names(genes=genes, labels=labels, batches=tuple(batches))
    lineages = {label: f"lineage {_letters(i // per_lineage)}" for i, label in enumerate(labels)}
    levels = np.clip(stream(seed, "levels").normal(size=len(genes)), *LEVEL_LIMITS) * LEVEL_SPREAD

    n_markers = chosen.n_markers
    markers, lineage_markers = _place_markers(levels, lineages, n_markers, stream(seed, "markers"))
    folds = chosen.marker_effect * np.linspace(1, 0.5, n_markers)
    effects = np.zeros((len(labels), len(genes)))
    for row, label in enumerate(labels):
        effects[row, markers[label]] = folds
        effects[row, lineage_markers[lineages[label]]] = 0.7 * folds

    n_programmes, per_label = chosen.n_programmes, chosen.programmes_per_label
    active = _place_programmes(lineages, n_programmes, per_label, stream(seed, "active programmes"))
    members = _programme_genes(
        levels, active, markers, n_programmes, chosen.programme_size, stream(seed, "programmes")
    )
    names = _numbered(f"{programme_prefix}_", n_programmes)
    activity = np.full((len(labels), n_programmes), BACKGROUND_ACTIVITY)
    for row, label in enumerate(labels):
        activity[row, active[label]] = 1.0
    if abundance is None:
        steps = np.linspace(0, -np.log(chosen.imbalance), len(labels))
        weights = np.exp(stream(seed, "abundance").permutation(steps))
    else:
        weights = np.asarray(abundance, dtype=float)
        if weights.shape != (len(labels),) or not (weights > 0).all():
            raise InputError(
                f"`abundance` has {weights.size} values; expected {len(labels)} positive numbers, "
                "one for each label"
            )
    return Design(
        genes=genes,
        labels=labels,
        batches=tuple(batches),
        lineages=lineages,
        markers={label: [genes[i] for i in markers[label]] for label in labels},
        lineage_markers={name: [genes[i] for i in at] for name, at in lineage_markers.items()},
        programmes={name: [genes[i] for i in at] for name, at in zip(names, members, strict=True)},
        active={label: [names[i] for i in active[label]] for label in labels},
        abundance=weights / weights.sum(),
        base=levels,
        label_effects=effects,
        loadings=_loadings(members, len(genes), chosen.programme_effect, stream(seed, "loadings")),
        label_activity=activity,
        batch_effect=chosen.batch_effect,
        confounding=chosen.confounding,
        dispersion=chosen.dispersion,
        seed=seed,
    )


def _place_markers(
    levels: NDArray[np.float64], lineages: dict[str, str], n_markers: int, rng: np.random.Generator
) -> tuple[dict[str, NDArray[np.intp]], dict[str, NDArray[np.intp]]]:
    """Disjoint marker genes of labels and of lineages, as positions."""
    pool = rng.permutation(_between(levels, MARKER_QUANTILES))
    names = [*lineages, *dict.fromkeys(lineages.values())]
    if len(pool) < len(names) * n_markers:
        raise InputError(
            f"{len(levels)} genes are too few: {n_markers} markers of each of "
            f"{len(lineages)} labels and {len(names) - len(lineages)} lineages need at least "
            f"{int(np.ceil(len(names) * n_markers / np.diff(MARKER_QUANTILES)[0])) + 2} genes. "
            "Use more genes (`n_genes`) or fewer markers (`n_markers`)."
        )
    groups = pool[: len(names) * n_markers].reshape(len(names), n_markers)
    return (
        dict(zip(lineages, groups[: len(lineages)], strict=True)),
        dict(zip(names[len(lineages) :], groups[len(lineages) :], strict=True)),
    )


def _place_programmes(
    lineages: dict[str, str], n_programmes: int, per_label: int, rng: np.random.Generator
) -> dict[str, list[int]]:
    """Programmes active in each label, as positions: the lineage's one first, then its own."""
    groups = dict.fromkeys(lineages.values())
    n_shared = 1 if per_label > 1 else 0
    n_own = per_label - n_shared
    needed = n_shared * len(groups) + n_own * len(lineages)
    if needed > n_programmes:
        raise InputError(
            f"{n_programmes} programmes are too few: {per_label} of each of {len(lineages)} labels "
            f"need {needed}. Use more (`n_programmes`) or fewer for a label "
            "(`programmes_per_label`)."
        )
    order = [int(i) for i in rng.permutation(n_programmes)]
    shared = {group: [order.pop() for _ in range(n_shared)] for group in groups}
    return {
        label: [*shared[group], *(order.pop() for _ in range(n_own))]
        for label, group in lineages.items()
    }


def _programme_genes(
    levels: NDArray[np.float64],
    active: dict[str, list[int]],
    markers: dict[str, NDArray[np.intp]],
    n_programmes: int,
    size: int,
    rng: np.random.Generator,
) -> list[NDArray[np.intp]]:
    """Genes of each programme as sorted positions.

    Active programmes share no genes while there are enough of them; decoys are drawn from all.
    """
    pool = _between(levels, PROGRAMME_QUANTILES)
    if len(pool) < size:
        raise InputError(
            f"{len(levels)} genes are too few for programmes of {size} genes (`programme_size`); "
            f"expected at least {int(np.ceil(size / np.diff(PROGRAMME_QUANTILES)[0])) + 2}"
        )
    all_markers = np.unique(np.concatenate(list(markers.values())))
    free = list(rng.permutation(np.setdiff1d(pool, all_markers)))
    planted: dict[int, list[int]] = {}
    users: dict[int, list[str]] = {}
    for label, programmes in active.items():
        for programme in programmes:
            users.setdefault(programme, []).append(label)
    for label, programmes in active.items():
        own = [p for p in programmes if len(users[p]) == 1]
        for programme, part in zip(
            own, np.array_split(markers[label], len(own) or 1), strict=False
        ):
            planted[programme] = [int(i) for i in part[: size // 2]]
    members = []
    for programme in range(n_programmes):
        chosen = planted.get(programme, [])
        if programme in users:
            while len(chosen) < size and free:
                chosen.append(int(free.pop()))
        rest = np.setdiff1d(pool, chosen)
        chosen = [*chosen, *rng.choice(rest, size - len(chosen), replace=False)]
        members.append(np.sort(np.asarray(chosen, dtype=np.intp)))
    return members


def _loadings(
    members: list[NDArray[np.intp]], n_genes: int, effect: float, rng: np.random.Generator
) -> sparse.csr_matrix:
    rows = np.repeat(np.arange(len(members)), [len(genes) for genes in members])
    values = effect * rng.uniform(0.6, 1.4, size=len(rows))
    columns = np.concatenate(members) if members else rows
    return sparse.csr_matrix((values, (rows, columns)), shape=(len(members), n_genes))


def _between(levels: NDArray[np.float64], quantiles: tuple[float, float]) -> NDArray[np.intp]:
    low, high = np.quantile(levels, quantiles)
    return np.flatnonzero((levels >= low) & (levels <= high))


def _default_labels(n_labels: int, per_lineage: int) -> tuple[str, ...]:
    return tuple(f"{_letters(i // per_lineage)}{i % per_lineage + 1}" for i in range(n_labels))


def _letters(number: int) -> str:
    """A, B .. Z, AA, AB .. for 0, 1 .."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(ord("A") + rest) + text
    return text


def _numbered(prefix: str, count: int) -> tuple[str, ...]:
    width = max(4 if prefix == "GENE" else 2, len(str(count)))
    return tuple(f"{prefix}{i:0{width}d}" for i in range(1, count + 1))


def _check_names(**names: tuple[str, ...]) -> None:
    for kind, values in names.items():
        if not values:
            raise InputError(f"`{kind}` is empty; expected at least one name")
        if len(set(values)) < len(values):
            repeated = sorted({value for value in values if values.count(value) > 1})
            raise InputError(f"`{kind}`: '{repeated[0]}' is named twice; names must be unique")
