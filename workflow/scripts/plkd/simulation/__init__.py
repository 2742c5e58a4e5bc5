"""Simulated cells with planted truth, for tests, for power analyses and for trying things out.

A :class:`Design` holds what cells have in common: genes, labels with markers and pathway
programmes, batches. :func:`simulate_cells` draws cells from it; :func:`simulate_atac` gives the
accessibility of the same cells; :func:`simulate_spatial` draws spots on slices.
"""

from plkd.simulation.atac import simulate_atac, write_fragments
from plkd.simulation.cells import Simulation, draw_cells, simulate_cells
from plkd.simulation.design import Design, make_design
from plkd.simulation.genome import plant_annotation, write_gtf
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
    "simulate_spatial",
    "write_fragments",
    "write_gtf",
]
