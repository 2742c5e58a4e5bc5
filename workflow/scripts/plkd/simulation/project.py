"""A folder with simulated data and the configuration that runs the pipeline on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from plkd.errors import InputError
from plkd.simulation.cells import Simulation, simulate_cells, write_cells, write_gmt
from plkd.simulation.design import make_design
from plkd.utils.files import whole_file, writable_folder, write_json

CONFIGURATION = "my_data.yaml"


def write_project(
    folder: str | Path,
    *,
    n_cells: int = 2000,
    n_query: int = 1000,
    n_unseen: int = 0,
    n_query_batches: int = 2,
    depth: float = 2000.0,
    composition_shift: float = 0.0,
    label_noise: float = 0.0,
    seed: int = 0,
    progress: bool = False,
    **settings: Any,
) -> tuple[Simulation, Simulation]:
    """Write a labelled reference, a query of other batches, gene sets, truth, and a configuration.

    Parameters
    ----------
    folder
        Where ``reference.h5ad``, ``query.h5ad``, ``gene_sets.gmt``, ``truth.json`` and
        ``my_data.yaml`` go.
    n_cells, n_query
        Cells of the reference and of the query.
    n_unseen
        Labels that the query alone has.
    n_query_batches
        Batches of the query, none of which the reference has.
    depth, composition_shift
        See :func:`simulate_cells`.
    label_noise
        Share of wrong labels in the reference.
    seed
        Seed of the design and of both draws.
    progress
        Show progress bars.
    **settings
        Settings of :func:`plkd.simulation.make_design`.

    Returns
    -------
    tuple of Simulation
        Reference and query.

    Raises
    ------
    InputError
        If a number cannot be used, or the folder cannot be written.
    """
    folder = writable_folder(folder)
    design = make_design(seed=seed, **settings)
    if not 0 <= n_unseen < len(design.labels):
        raise InputError(
            f"{n_unseen} unseen labels of {len(design.labels)}: the reference needs at least one"
        )
    if n_query_batches < 1:
        raise InputError(f"{n_query_batches} batches of the query; expected at least 1")
    rarest_first = sorted(design.labels, key=lambda one: design.abundance[design.labels.index(one)])
    middle = (len(rarest_first) - n_unseen) // 2
    reference = simulate_cells(
        n_cells,
        design=design,
        seed=2 * seed + 1,
        depth=depth,
        leave_out=rarest_first[middle : middle + n_unseen],
        composition_shift=composition_shift,
        label_noise=label_noise,
        progress=progress,
    )
    query = simulate_cells(
        n_query,
        design=design,
        seed=2 * seed + 2,
        depth=depth,
        batches=[f"query batch{i + 1}" for i in range(n_query_batches)],
        composition_shift=composition_shift,
        progress=progress,
    )
    write_cells(reference.cells, folder / "reference.h5ad")
    write_cells(query.cells, folder / "query.h5ad")
    write_gmt(reference.programmes, folder / "gene_sets.gmt")
    truth = reference.truth()
    truth["query"] = {key: query.truth()[key] for key in ("labels", "batches")}
    truth["query"]["labels"] = {
        label: about["cells"] for label, about in truth["query"]["labels"].items()
    }
    write_json(folder / "truth.json", truth)
    dataset = {
        "name": "simulated",
        "reference": {
            "url": str(folder / "reference.h5ad"),
            "labels_key": "label",
            "batch_key": "batch",
        },
        "query": {
            "url": str(folder / "query.h5ad"),
            "labels_key": "label",
            "batch_key": "batch",
        },
        "gene_sets": [{"url": str(folder / "gene_sets.gmt")}],
    }
    text = yaml.safe_dump({"datasets": [dataset]}, sort_keys=False, allow_unicode=True)
    with whole_file(folder / CONFIGURATION) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return reference, query
