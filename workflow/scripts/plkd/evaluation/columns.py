"""Columns of tables that are read without the models: importing torch takes longer than reading."""

from __future__ import annotations

from plkd.utils.tables import Columns

RUN_COLUMNS: Columns = {"dataset": str, "variant": str, "seed": int}
"""Names of a run, which stand first in the tables of its scores."""

SETTING = ["model", "items", "replaced_by", "curve"]

AREA_COLUMNS: Columns = {
    **dict.fromkeys((*SETTING, "ranking"), str),
    "cells": int,
    "area": float,
    "sd": float,
    "gain": float,
    "standard_error": float,
    "share_better": float,
}
"""Columns of :func:`plkd.evaluation.faithfulness.summarise_areas`."""
CURVE_COLUMNS: Columns = {
    **dict.fromkeys((*SETTING, "ranking"), str),
    "k": int,
    "mean": float,
    "sd": float,
    "cells": int,
}
"""Columns of :func:`plkd.evaluation.faithfulness.summarise_curves`."""
