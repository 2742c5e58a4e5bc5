"""PLKD: cell-type labels from an annotated single-cell reference to new cells.

A Teacher turns genes into pathway tokens and attends over them; a small Student learns from the
Teacher's soft labels and annotates the query. Method: Zhang, Ren, Li, Biology 2026, 15(1), 2.

The modules are imported by name (``from plkd.io.cells import read_cells``); this file stays empty
of imports so that asking for one module never loads all the others.
"""

__version__ = "0.1.0"
