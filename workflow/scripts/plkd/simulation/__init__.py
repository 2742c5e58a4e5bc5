"""Simulated cells with planted truth, for tests, for power analyses and for trying things out.

A :class:`Design` holds what cells have in common: genes, labels with markers and pathway
programmes, batches. :func:`simulate_cells` draws cells from it; :func:`simulate_project` a
reference and a query; :func:`simulate_atac` gives the accessibility of the same cells;
:func:`simulate_spatial` draws spots on slices.
"""

from typing import TYPE_CHECKING

from plkd.utils.lazy import lazy_names

# Lazy, so that the command line can read the settings without what draws the cells.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Design": "plkd.simulation.design:Design",
        "Simulation": "plkd.simulation.cells:Simulation",
        "draw_cells": "plkd.simulation.cells:draw_cells",
        "draw_slices": "plkd.simulation.spatial:draw_slices",
        "make_design": "plkd.simulation.design:make_design",
        "plant_annotation": "plkd.simulation.genome:plant_annotation",
        "simulate_atac": "plkd.simulation.atac:simulate_atac",
        "simulate_cells": "plkd.simulation.cells:simulate_cells",
        "simulate_project": "plkd.simulation.project:simulate_project",
        "simulate_spatial": "plkd.simulation.spatial:simulate_spatial",
        "write_fragments": "plkd.simulation.atac:write_fragments",
        "write_gtf": "plkd.simulation.genome:write_gtf",
    },
)

if TYPE_CHECKING:
    from plkd.simulation.atac import simulate_atac, write_fragments
    from plkd.simulation.cells import Simulation, draw_cells, simulate_cells
    from plkd.simulation.design import Design, make_design
    from plkd.simulation.genome import plant_annotation, write_gtf
    from plkd.simulation.project import simulate_project
    from plkd.simulation.spatial import draw_slices, simulate_spatial

__all__ = [
    "Design",
    "Simulation",
    "draw_cells",
    "draw_slices",
    "make_design",
    "plant_annotation",
    "simulate_atac",
    "simulate_cells",
    "simulate_project",
    "simulate_spatial",
    "write_fragments",
    "write_gtf",
]
