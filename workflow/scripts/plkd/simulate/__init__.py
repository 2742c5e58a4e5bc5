"""Simulated cells with planted truth, for tests, for power analyses and for trying things out."""

from plkd.simulate.cells import Simulation, draw_cells, simulate_cells
from plkd.simulate.world import World, make_world

__all__ = ["Simulation", "World", "draw_cells", "make_world", "simulate_cells"]
