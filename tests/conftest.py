"""Fixtures that every test file may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the public data sets; tests that ask for it are skipped where it is absent."""
    default = REPOSITORY.parent / "shared" / "data"
    folder = Path(os.environ.get("PLKD_REAL_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data at '{folder}' (set PLKD_REAL_DATA)")
    return folder
