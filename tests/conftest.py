"""Fixtures that every test file may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the public data sets.

    Tests that ask for it are skipped where it is absent, unless PLKD_REQUIRE_REAL_DATA is set.
    """
    default = REPOSITORY.parent / "shared" / "data"
    folder = Path(os.environ.get("PLKD_REAL_DATA", default))
    if not folder.is_dir():
        reason = f"no real data at '{folder}' (set PLKD_REAL_DATA)"
        if os.environ.get("PLKD_REQUIRE_REAL_DATA"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
