"""Cells drawn from a design: counts with planted markers, programmes and batch effects."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from plkd.errors import InputError
from plkd.simulation.design import ACTIVITY_SPREAD, BACKGROUND_ACTIVITY, Design, make_design, stream
from plkd.simulation.settings import DrawSettings, split_settings
from plkd.utils.files import whole_file, write_json
from plkd.utils.hdf5 import write_h5ad
from plkd.utils.progress import ProgressBar

DEPTH_SPREAD = 0.35
CHUNK_VALUES = 4_000_000


@dataclass(frozen=True)
class Simulation:
    """Simulated cells and the truth that was planted in them.

    Attributes
    ----------
    cells
        X: CSR float32 counts (n_cells, n_features); obs: `label`, `batch` (categories), and
        `true_label` where labels are noisy; ``obsm['spatial']`` (n_cells, 2) on slices. For peaks,
        var has `chrom`, `start`, `end`.
    markers
        Label -> genes that it alone over-expresses, strongest first.
    programmes
        Gene set -> its genes; active ones and decoys.
    active
        Label -> gene sets that are active in it.
    activity
        Activity of each programme in each cell, (n_cells, n_programmes) float32, in the order of
        `programmes`: about 1 where the label has it active, about 0.1 elsewhere.
    design
        What the cells were drawn from.
    links
        For peaks: table of `peak`, `gene`, `kind` (promoter, body, distal), `distance` (bp to the
        gene's start) and `weight`; peaks that it lacks are linked to no gene.
    """

    cells: ad.AnnData
    markers: dict[str, list[str]]
    programmes: dict[str, list[str]]
    active: dict[str, list[str]]
    activity: NDArray[np.float32] = field(repr=False)
    design: Design = field(repr=False)
    links: pd.DataFrame | None = field(default=None, repr=False)

    @property
    def true_labels(self) -> NDArray[np.object_]:
        """The labels by which the cells were drawn, (n_cells,), before label noise."""
        column = "true_label" if "true_label" in self.cells.obs else "label"
        return self.cells.obs[column].astype(object).to_numpy()

    def truth(self) -> dict[str, Any]:
        """What was planted, as plain lists and mappings (the content of ``truth.json``)."""
        used = {name for names in self.active.values() for name in names}
        content: dict[str, Any] = {
            "labels": {
                label: {
                    "cells": int((self.true_labels == label).sum()),
                    "lineage": self.design.lineages[label],
                    "markers": self.markers[label],
                    "lineage_markers": self.design.lineage_markers[self.design.lineages[label]],
                    "active_programmes": self.active[label],
                }
                for label in self.design.labels
            },
            "batches": {
                str(batch): int(n)
                for batch, n in self.cells.obs["batch"].value_counts(sort=False).items()
            },
            "programmes": self.programmes,
            "decoys": [name for name in self.programmes if name not in used],
            "design_seed": self.design.seed,
            "batch_effect": self.design.batch_effect,
            "confounding": self.design.confounding,
        }
        if self.links is not None:
            content["links"] = self.links.to_dict("records")
        return content

    def save(self, folder: str | Path) -> None:
        """Write ``cells.h5ad``, ``gene_sets.gmt`` and ``truth.json`` into a folder."""
        folder = Path(folder)
        write_cells(self.cells, folder / "cells.h5ad")
        write_gmt(self.programmes, folder / "gene_sets.gmt")
        write_json(folder / "truth.json", self.truth())


def simulate_cells(
    n_cells: int,
    *,
    seed: int = 0,
    design: int | Design = 0,
    batches: Sequence[str] | None = None,
    leave_out: Collection[str] = (),
    progress: bool = False,
    **settings: Any,
) -> Simulation:
    """Draw cells whose labels, marker genes, pathway programmes and batch effects are known.

    Counts are gamma-Poisson (negative binomial) with log-normal library sizes. Two draws of the
    same design (the same settings and `design`) with different seeds are a fair reference and
    query.

    Parameters
    ----------
    n_cells
        Number of cells; every label that is drawn gets at least one.
    seed
        Seed of the draw.
    design
        Seed of the design, or a design from :func:`plkd.simulation.make_design`.
    batches
        Names of the batches of this draw (default: those of the design); a batch of another name
        has an effect of its own. Cells are spread evenly over them.
    leave_out
        Labels of the design that this draw lacks: drawn for the query alone they are unseen labels.
    progress
        Show a progress bar.
    **settings
        Fields of :class:`~plkd.simulation.settings.DrawSettings`, and, where `design` is a seed, of
        :class:`~plkd.simulation.settings.DesignSettings` (`n_genes`, `n_labels`, ..).

    Returns
    -------
    Simulation
        Cells are named by seed and number, so two draws do not collide.

    Raises
    ------
    InputError
        If a setting is unknown or out of its limits, or a label to be left out does not exist.

    Examples
    --------
    >>> reference = simulate_cells(500, seed=1, n_labels=5)
    >>> query = simulate_cells(300, seed=2, n_labels=5, batches=["new donor"])
    """
    draw, of_design = split_settings(DrawSettings, settings)
    if not isinstance(design, Design):
        design = make_design(seed=design, **of_design)
    elif of_design:
        raise InputError(
            f"`{next(iter(of_design))}` is a setting of the design: give it to make_design, or "
            "give the seed of a design instead of the design"
        )
    unknown = set(leave_out) - set(design.labels)
    if unknown:
        raise InputError(
            f"`leave_out` names '{sorted(unknown)[0]}', which is no label of the design; its "
            f"labels are: {', '.join(design.labels)}"
        )
    if n_cells < 1:
        raise InputError(f"`n_cells` is {n_cells}; expected at least 1")
    names = tuple(design.batches if batches is None else batches)
    rng = stream(design.seed, "cells", seed)
    batch_codes = rng.permutation(np.arange(n_cells) % len(names))
    kept = np.array([label not in leave_out for label in design.labels])
    if not kept.any():
        raise InputError("`leave_out` names every label of the design; no cells are left")
    label_codes = _draw_labels(design, names, batch_codes, kept, draw.composition_shift, rng)
    simulation = draw_cells(
        design,
        np.asarray(design.labels, dtype=object)[label_codes],
        np.asarray(names, dtype=object)[batch_codes],
        seed=seed,
        depth=draw.depth,
        progress=progress,
    )
    if draw.label_noise:
        _disturb_labels(simulation.cells.obs, draw.label_noise, stream(design.seed, "noise", seed))
    return simulation


def draw_cells(
    design: Design,
    labels: Sequence[str] | NDArray[np.object_],
    batches: Sequence[str] | NDArray[np.object_],
    *,
    seed: int = 0,
    depth: float = 2000.0,
    mixture: sparse.csr_matrix | None = None,
    progress: bool = False,
) -> Simulation:
    """Draw one cell for each given pair of label and batch.

    Parameters
    ----------
    design
        From :func:`plkd.simulation.make_design`.
    labels, batches
        Of each cell; batches may be any names.
    seed
        Seed of the draw.
    depth
        Mean total count of a cell.
    mixture
        Share of each label in each cell, CSR (n_cells, n_labels), where cells are mixtures such as
        spots of tissue; without it a cell is of its label alone.
    progress
        Show a progress bar.

    Raises
    ------
    InputError
        If `depth` is not positive, or a label is not of the design.
    """
    if not depth > 0:
        raise InputError(f"`depth` is {depth}; expected a positive number of counts")
    labels, batches = list(map(str, labels)), list(map(str, batches))
    label_names, batch_names = list(design.labels), list(dict.fromkeys(batches))
    label_codes = pd.Index(label_names).get_indexer(pd.Index(labels))
    if (label_codes < 0).any():
        wrong = labels[int(np.argmax(label_codes < 0))]
        raise InputError(
            f"'{wrong}' is no label of the design; its labels are: {', '.join(label_names)}"
        )
    batch_codes = pd.Index(batch_names).get_indexer(pd.Index(batches))
    n_cells, n_genes = len(label_codes), len(design.genes)
    rng = stream(design.seed, "counts", seed)
    batch_effects = np.stack([design.effect_of_batch(name) for name in batch_names])
    factors = np.array([design.depth_of_batch(name) for name in batch_names])
    totals = depth * factors[batch_codes] / factors[batch_codes].mean()
    totals = totals * rng.lognormal(-(DEPTH_SPREAD**2) / 2, DEPTH_SPREAD, size=n_cells)
    shares = (
        sparse.identity(len(label_names), format="csr")[label_codes] if mixture is None else mixture
    )

    blocks, activities = [], []
    step = max(1, CHUNK_VALUES // n_genes)
    for start in ProgressBar(range(0, n_cells, step), desc="drawing cells", disable=not progress):
        rows = slice(start, start + step)
        activity = _draw_activity(shares[rows] @ design.label_activity, rng)
        logs = activity @ design.loadings + design.base + batch_effects[batch_codes[rows]]
        if mixture is None:
            logs += design.label_effects[label_codes[rows]]
        else:  # levels, not their logarithms, are mixed
            logs += np.log(shares[rows] @ np.exp(design.label_effects))
        rates = np.exp(logs)
        rates *= totals[rows, None] / rates.sum(axis=1, keepdims=True)
        blocks.append(sparse.csr_matrix(gamma_poisson(rates, design.dispersion, rng)))
        activities.append(activity.astype(np.float32))
    obs = pd.DataFrame(
        {
            "label": pd.Categorical(labels, label_names).remove_unused_categories(),
            "batch": pd.Categorical(batches, batch_names),
        },
        index=[f"s{seed}-cell{i:05d}" for i in range(n_cells)],
    )
    return Simulation(
        cells=ad.AnnData(
            sparse.vstack(blocks, format="csr"), obs=obs, var=pd.DataFrame(index=list(design.genes))
        ),
        markers=design.markers,
        programmes=design.programmes,
        active=design.active,
        activity=np.concatenate(activities),
        design=design,
    )


def write_cells(cells: ad.AnnData, path: str | Path) -> None:
    """Write an h5ad file, packed, whole or not at all."""
    with whole_file(path) as temporary:
        write_h5ad(cells, temporary, compression="gzip")


def write_gmt(gene_sets: Mapping[str, Sequence[str]], path: str | Path) -> None:
    """Write gene sets as lines of name, description and genes."""
    lines = ["\t".join([name, "simulated", *genes]) + "\n" for name, genes in gene_sets.items()]
    with whole_file(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def _draw_labels(
    design: Design,
    batches: Sequence[str],
    batch_codes: NDArray[np.intp],
    kept: NDArray[np.bool_],
    composition_shift: float,
    rng: np.random.Generator,
) -> NDArray[np.intp]:
    """Labels by their abundance in each batch; each at least once if the cells suffice."""
    codes = np.empty(len(batch_codes), dtype=np.intp)
    for code, batch in enumerate(batches):
        shift = design.stream("composition", batch).normal(0, composition_shift, size=len(kept))
        weights = np.where(kept, design.abundance * np.exp(shift), 0.0)
        here = np.flatnonzero(batch_codes == code)
        codes[here] = rng.choice(len(kept), size=len(here), p=weights / weights.sum())
    counts = np.bincount(codes, minlength=len(kept))
    for missing in np.flatnonzero(kept & (counts == 0)):
        if counts.max() > 1:
            place = rng.choice(np.flatnonzero(codes == counts.argmax()))
            counts[codes[place]] -= 1
            codes[place] = missing
            counts[missing] += 1
    return codes


def _draw_activity(means: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Activities around their means: narrow where a programme is active, exponential elsewhere."""
    wide = means <= BACKGROUND_ACTIVITY
    shape = np.where(wide, 1.0, ACTIVITY_SPREAD**-2)
    return rng.gamma(shape) * means / shape


def gamma_poisson(
    rates: NDArray[np.float64], dispersion: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Counts of the given means and over-dispersion (0: Poisson)."""
    if dispersion:
        rates = rates * rng.gamma(1 / dispersion, dispersion, size=rates.shape)
    return rng.poisson(rates).astype(np.float32)


def _disturb_labels(obs: pd.DataFrame, share: float, rng: np.random.Generator) -> None:
    """Replace labels of a share of the cells by others that occur; keep the true ones beside."""
    obs["true_label"] = obs["label"]
    codes = obs["label"].cat.codes.to_numpy().astype(np.intp)
    n_labels = len(obs["label"].cat.categories)
    if n_labels < 2:
        raise InputError("`label_noise` needs at least two labels among the cells")
    wrong = rng.permutation(len(codes))[: round(share * len(codes))]
    codes[wrong] = (codes[wrong] + rng.integers(1, n_labels, size=len(wrong))) % n_labels
    obs["label"] = pd.Categorical.from_codes(codes, obs["label"].cat.categories)
