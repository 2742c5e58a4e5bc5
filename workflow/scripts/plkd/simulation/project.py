"""A folder with simulated data and the configuration that runs the pipeline on them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import yaml

from plkd.errors import InputError
from plkd.simulation.cells import Simulation, simulate_cells, write_cells, write_gmt
from plkd.simulation.design import Design, make_design
from plkd.simulation.settings import DrawSettings, ProjectSettings, split_settings
from plkd.utils.files import whole_file, writable_folder, write_json

CONFIGURATION = "my_data.yaml"


def simulate_project(
    *, seed: int = 0, progress: bool = False, **settings: Any
) -> tuple[Simulation, Simulation]:
    """Simulate a labelled reference, and a query of other batches of the same design.

    Parameters
    ----------
    seed
        Seed of the design and of both draws.
    progress
        Show progress bars.
    **settings
        Fields of :class:`~plkd.simulation.settings.ProjectSettings`,
        :class:`~plkd.simulation.settings.DrawSettings` (label noise is in the reference alone) and
        :class:`~plkd.simulation.settings.DesignSettings`.

    Returns
    -------
    tuple of Simulation
        Reference and query; their `cells` are AnnData with `label` and `batch` in obs, their
        `programmes` gene sets.

    Raises
    ------
    InputError
        If a setting is unknown or cannot be used.

    Examples
    --------
    >>> reference, query = simulate_project(n_cells=500, n_query_cells=300, n_labels=5)
    """
    sizes, further = split_settings(ProjectSettings, settings)
    draw, of_design = split_settings(DrawSettings, further)
    design = make_design(seed=seed, **of_design)
    reference = simulate_cells(
        sizes.n_cells,
        design=design,
        seed=2 * seed + 1,
        leave_out=_unseen_labels(design, sizes.n_unseen),
        depth=draw.depth,
        composition_shift=draw.composition_shift,
        label_noise=draw.label_noise,
        progress=progress,
    )
    query = simulate_cells(
        sizes.n_query_cells,
        design=design,
        seed=2 * seed + 2,
        batches=[f"query batch{i + 1}" for i in range(sizes.n_query_batches)],
        depth=draw.depth,
        composition_shift=draw.composition_shift,
        progress=progress,
    )
    return reference, query


def write_project(folder: str | Path, reference: Simulation, query: Simulation) -> None:
    """Write a reference and a query, gene sets, truth, and a configuration of the pipeline.

    Parameters
    ----------
    folder
        Where ``reference.h5ad``, ``query.h5ad``, ``gene_sets.gmt``, ``truth.json`` and
        ``my_data.yaml`` go.
    reference, query
        From :func:`simulate_project`.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    folder = writable_folder(folder)
    write_cells(reference.cells, folder / "reference.h5ad")
    write_cells(query.cells, folder / "query.h5ad")
    write_gmt(reference.programmes, folder / "gene_sets.gmt")
    write_json(folder / "truth.json", _truth_of_both(reference, query))
    text = yaml.safe_dump(_configuration(folder.resolve()), sort_keys=False, allow_unicode=True)
    with whole_file(folder / CONFIGURATION) as temporary:
        temporary.write_text(text, encoding="utf-8")


def next_steps(folder: str | Path) -> list[str]:
    """Commands that do something with a written project, as one types them here.

    The pipeline's is among them where the current folder has a Snakefile.
    """
    folder = Path(folder)

    def at(name: str) -> str:
        return shlex.quote(str(folder / name))

    commands = [
        f"plkd train {at('reference.h5ad')} --labels label --batch batch "
        f"--gene-sets {at('gene_sets.gmt')} -o {at('model')}",
        f"plkd annotate {at('query.h5ad')} --model {at('model')} -o {at('labelled.h5ad')}",
    ]
    if any(Path(place).is_file() for place in ("Snakefile", "workflow/Snakefile")):
        commands.append(f"snakemake --cores all --configfile {at(CONFIGURATION)}")
    return commands


def _unseen_labels(design: Design, count: int) -> list[str]:
    """Labels that the reference is to lack: neither the rarest nor the commonest."""
    if count >= len(design.labels):
        raise InputError(
            f"{count} unseen labels of {len(design.labels)}: the reference needs at least one"
        )
    rarest_first = sorted(design.labels, key=lambda one: design.abundance[design.labels.index(one)])
    middle = (len(rarest_first) - count) // 2
    return rarest_first[middle : middle + count]


def _truth_of_both(reference: Simulation, query: Simulation) -> dict[str, Any]:
    truth, of_query = reference.truth(), query.truth()
    truth["query"] = {
        "labels": {label: about["cells"] for label, about in of_query["labels"].items()},
        "batches": of_query["batches"],
    }
    return truth


def _configuration(folder: Path) -> dict[str, Any]:
    """The configuration, with absolute paths so that it serves from anywhere."""
    sides = {
        side: {
            "url": str(folder / f"{side}.h5ad"),
            "labels_key": "label",
            "batch_key": "batch",
        }
        for side in ("reference", "query")
    }
    gene_sets = [{"url": str(folder / "gene_sets.gmt")}]
    return {"datasets": [{"name": "simulated", **sides, "gene_sets": gene_sets}]}
