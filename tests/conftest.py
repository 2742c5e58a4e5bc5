"""Fixtures that every test file may use."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Tests run side by side: threads of their own would only get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The jobs of a workflow may have two: those that wait must not keep a core busy.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.hookimpl(tryfirst=True)  # before xdist looks for the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Make a file one unit of work, so that its fixtures are made once, and start with the longest.

    Before them come tests that want a process in which no other has run.

    Marks of a narrower or wider unit (`xdist_group`) are kept.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(f"{item.path.parent.name}.{item.path.stem}"))
    items.sort(
        key=lambda item: (
            item.get_closest_marker("fresh") is None,
            item.get_closest_marker("workflow") is None,
        )
    )


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


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Leave the library's logger as it was; a script or a command that runs here takes it over."""
    logger = logging.getLogger("plkd")
    handlers, propagate, level = logger.handlers[:], logger.propagate, logger.level
    yield
    for handler in logger.handlers:
        if handler not in handlers:
            handler.close()
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)


@pytest.fixture(autouse=True)
def single_thread() -> None:
    """Keep torch at one thread; libraries that limit threads for a while leave it at more."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
