"""Train, annotate, explain: what a notebook calls, and what the command line calls.

Cells are an :class:`~anndata.AnnData`, in memory or backed, or the path of a file that is read in
chunks. For the same data, settings and seed the results are those of the pipeline.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

import anndata as ad
import numpy as np
import pandas as pd

from plkd.errors import InputError
from plkd.io.cells import CellSource
from plkd.model.folder import load_model
from plkd.model.reference import Reference
from plkd.model.trained_model import Model
from plkd.model.training import train_model
from plkd.pathways.mask import build_mask
from plkd.settings.datasets import ReadingOptions
from plkd.settings.presets import resolve
from plkd.utils.devices import choose_device
