"""Bars for what a person waits for."""

from __future__ import annotations

import sys
from typing import Any

from tqdm.auto import tqdm


class ProgressBar(tqdm):
    """A bar of tqdm's that is drawn only where someone watches, and gone when it is full.

    That is a terminal or a notebook: in a file, or behind a pipe, bars are noise between the lines.
    Takes what tqdm takes; ``disable=True`` hides the bar anywhere.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        watched = sys.stderr.isatty() or "ipykernel" in sys.modules
        options["disable"] = bool(options.get("disable")) or not watched
        super().__init__(*args, **{"leave": False, "mininterval": 1.0, **options})
