"""Train, annotate, explain: what a notebook calls, and what the command line calls.

Cells are an :class:`~anndata.AnnData`, in memory or backed, or the path of a file that is read in
chunks. For the same data, settings and seed the results are those of the pipeline.
"""

from __future__ import annotations
