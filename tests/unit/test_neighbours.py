"""UMAP is compiled once for all processes, and is UMAP all the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

LIBRARY = Path(__file__).resolve().parents[2] / "workflow" / "scripts"

# Functions of UMAP by what was compiled and what was found on disk, and a map of sixty cells.
LOOK = f"""
import json, sys
sys.path.insert(0, {str(LIBRARY)!r})
import numpy as np
from plkd.evaluation.embeddings import umap_coordinates
cells = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
plane = umap_coordinates(cells, 3)
import numba, umap.umap_
stats = umap.umap_.smooth_knn_dist.stats
print(json.dumps({{
    "plane": plane.tolist(), "found": sum(stats.cache_hits.values()),
    "kept": stats.cache_path, "plain": numba.njit.__name__,
}}))
"""


def look(cache: Path) -> dict[str, Any]:
    ended = subprocess.run(
        [sys.executable, "-c", LOOK],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def test_the_second_process_finds_what_the_first_compiled(tmp_path: Path) -> None:
    first, second = look(tmp_path), look(tmp_path)
    assert (first["found"], second["found"]) == (0, 1)
    assert Path(second["kept"]).is_relative_to(tmp_path)
    assert first["plain"] == second["plain"] == "njit"  # what others compile is not kept
    np.testing.assert_array_equal(first["plane"], second["plane"])
