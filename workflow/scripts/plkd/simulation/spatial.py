"""Spots of tissue: labels in layers or niches on slices, with coordinates."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree

from plkd.errors import InputError
from plkd.simulation.cells import Simulation, draw_cells
from plkd.simulation.design import Design, make_design

Arrangement = Literal["layers", "niches"]

# A Visium slide: every second place of each row, the rows shifted against each other.
VISIUM_ROWS, VISIUM_COLUMNS = 78, 128
PIXELS = (68.5, 118.6)  # between columns, between rows
MARGIN = 600.0


def simulate_spatial(
    n_spots: int,
    *,
    n_slices: int = 3,
    seed: int = 0,
    design: int | Design = 0,
    arrangement: Arrangement = "layers",
    mixing: float = 0.2,
    depth: float = 3000.0,
    slices: Sequence[str] | None = None,
    leave_out: Mapping[str, Collection[str]] | None = None,
    **settings: Any,
) -> Simulation:
    """Draw spots of slices of tissue, whose labels lie in layers or in niches.

    Parameters
    ----------
    n_spots
        Spots of all slices together.
    n_slices, slices
        Number of slices or their names (slice1 ..); a slice is a batch.
    seed
        Seed of the draw.
    design
        Seed of the design, or a design from :func:`plkd.simulation.make_design`.
    arrangement
        ``layers``: bands across the slice in the order of the design's labels; ``niches``: a
        mosaic of patches.
    mixing
        Share of a spot's expression that comes from its six neighbours.
    depth
        Mean total count of a spot.
    leave_out
        Slice -> labels that it lacks.
    **settings
        Settings of :func:`plkd.simulation.make_design`.

    Returns
    -------
    Simulation
        obs: `label`, `batch` (the slice), `array_row`, `array_col`; ``obsm['spatial']``:
        (x, y) in pixels, float32 (n_spots, 2), y downwards.

    Raises
    ------
    InputError
        If a slice would have no spot or no label, or a number is out of range.
    """
    if not isinstance(design, Design):
        design = make_design(seed=design, **settings)
    elif settings:
        raise InputError(f"`{next(iter(settings))}` is a setting of the design: give it there")
    names = [f"slice{i + 1}" for i in range(n_slices)] if slices is None else list(slices)
    if n_spots < len(names) * len(design.labels) or not names:
        raise InputError(
            f"{n_spots} spots are too few for {len(names)} slices of {len(design.labels)} labels; "
            "expected at least one spot of each label on each slice"
        )
    if not 0 <= mixing <= 1:
        raise InputError(f"`mixing` is {mixing}; expected a share between 0 and 1")
    counts: dict[str, dict[str, int]] = {}
    for i, name in enumerate(names):
        kept = np.array([label not in (leave_out or {}).get(name, ()) for label in design.labels])
        if not kept.any():
            raise InputError(f"`leave_out` names every label of the slice '{name}'")
        here = n_spots // len(names) + (i < n_spots % len(names))
        shares = np.where(kept, design.abundance, 0.0)
        numbers = np.maximum(np.floor(here * shares / shares.sum()).astype(int), kept)
        numbers[numbers.argmax()] += here - numbers.sum()
        counts[name] = dict(zip(design.labels, map(int, numbers), strict=True))
    return draw_slices(
        design, counts, seed=seed, arrangement=arrangement, mixing=mixing, depth=depth
    )


def draw_slices(
    design: Design,
    counts: Mapping[str, Mapping[str, int]],
    *,
    seed: int = 0,
    arrangement: Arrangement = "layers",
    mixing: float = 0.2,
    depth: float = 3000.0,
) -> Simulation:
    """Draw slices with a given number of spots of each label; see :func:`simulate_spatial`.

    Parameters
    ----------
    counts
        Slice -> label -> number of spots. Layers lie in the order of the labels.
    """
    labels: list[str] = []
    slices: list[str] = []
    grids, mixtures = [], []
    for name, numbers in counts.items():
        rng = design.stream("slice", name, seed)
        own = np.repeat(np.array(list(numbers), dtype=object), list(numbers.values()))
        grid, order = _arranged(len(own), arrangement, list(numbers.values()), rng)
        own = own[order]
        grids.append(grid)
        mixtures.append(_mixture(design, own, grid, mixing))
        labels.extend(own)
        slices.extend([name] * len(own))
    simulation = draw_cells(
        design,
        labels,
        slices,
        seed=seed,
        depth=depth,
        mixture=sparse.vstack(mixtures, format="csr"),
    )
    places = np.concatenate(grids)
    simulation.cells.obs["array_row"] = places[:, 0]
    simulation.cells.obs["array_col"] = places[:, 1]
    simulation.cells.obsm["spatial"] = pixels_of(places)
    return simulation


def slide_places(n_spots: int) -> NDArray[np.int64]:
    """Rows and columns of a slide with room for the spots, (n_places, 2); Visium's if it does."""
    rows, columns = VISIUM_ROWS, VISIUM_COLUMNS
    while rows * columns // 2 < n_spots:
        rows, columns = rows + 8, columns + 12
    row, column = np.mgrid[0:rows, 0:columns]
    taken = (row + column) % 2 == 0
    return np.column_stack([row[taken], column[taken]]).astype(np.int64)


def pixels_of(places: NDArray[np.int64]) -> NDArray[np.float32]:
    """Coordinates (x, y) in pixels of rows and columns on the slide, (n, 2)."""
    return (MARGIN + places[:, ::-1] * np.array(PIXELS)).astype(np.float32)


def _arranged(
    n_spots: int, arrangement: Arrangement, numbers: Sequence[int], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Places in the middle of the slide, and for each which one of the sorted labels it gets."""
    places = slide_places(n_spots)
    xy = pixels_of(places)
    middle = (xy.min(axis=0) + xy.max(axis=0)) / 2
    nearest = np.argsort(((xy - middle) ** 2).sum(axis=1), kind="stable")[:n_spots]
    chosen = np.sort(nearest)
    xy = (xy[chosen] - middle) / max(1.0, float(np.ptp(xy[chosen], axis=0).max()))
    if arrangement == "layers":
        tilt = rng.uniform(-0.5, 0.5)
        bend = rng.uniform(0.05, 0.2) * np.sin(np.pi * (xy[:, 0] + rng.uniform(0, 2)))
        height = xy[:, 1] * np.cos(tilt) + xy[:, 0] * np.sin(tilt) + bend
    elif arrangement == "niches":
        height = _niches(xy, numbers, rng)
    else:
        raise InputError(f"the arrangement '{arrangement}' is not known; use layers or niches")
    order = np.empty(n_spots, dtype=np.intp)
    order[np.argsort(height, kind="stable")] = np.arange(n_spots)
    return places[chosen], order


def _niches(
    xy: NDArray[np.float32], numbers: Sequence[int], rng: np.random.Generator
) -> NDArray[np.float64]:
    """A number for each place such that sorting by it fills patches one label after the other."""
    n_patches = 3 * max(1, sum(n > 0 for n in numbers))
    centres = xy[rng.choice(len(xy), size=min(n_patches, len(xy)), replace=False)]
    distance, patch = cKDTree(centres).query(xy)
    return rng.permutation(len(centres))[patch] + 0.5 * distance / (1 + distance.max())


def _mixture(
    design: Design, labels: NDArray[np.object_], places: NDArray[np.int64], mixing: float
) -> sparse.csr_matrix:
    """Share of each label in each spot, CSR (n_spots, n_labels)."""
    codes = pd.Index(design.labels).get_indexer(pd.Index(labels))
    if (codes < 0).any():
        raise InputError(
            f"'{labels[codes < 0][0]}' is no label of the design; its labels are: "
            f"{', '.join(design.labels)}"
        )
    own = sparse.identity(len(design.labels), format="csr")[codes]
    n_neighbours = min(6, len(places) - 1)
    if not mixing or n_neighbours < 1:
        return own
    xy = pixels_of(places)
    _, neighbours = cKDTree(xy).query(xy, k=n_neighbours + 1)
    rows = np.repeat(np.arange(len(places)), n_neighbours)
    around = sparse.csr_matrix(
        (np.full(len(rows), 1 / n_neighbours), (rows, neighbours[:, 1:].ravel())),
        shape=(len(places), len(places)),
    )
    return ((1 - mixing) * own + mixing * (around @ own)).tocsr()
