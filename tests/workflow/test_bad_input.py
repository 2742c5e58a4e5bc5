"""Bad input stops the run with a message that says what to do, and leaves nothing half-written.

What the library says of bad cells and gene sets is in `tests/unit/test_bad_input.py`; here are the
ways of such an error to the terminal, and what the workflow finds itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from project import Project

pytestmark = pytest.mark.workflow

Break = Callable[[Project], None]


def truncate(project: Project) -> None:
    path = project.folder / "reference.h5ad"
    path.write_bytes(path.read_bytes()[:5000])


def foreign_gmt(project: Project) -> None:
    (project.folder / "markers.gmt").write_text("SET\tnothing we have\tFOO1\tFOO2\tFOO3\tFOO4\n")


def unwritable_results(project: Project) -> None:
    (project.folder / "results").write_text("a file where the folder should be")


def configure(dataset: dict | None = None, **config: object) -> Break:
    return lambda project: project.configure(dataset, **config)


# Found by a step of the run.
STEPS: dict[str, tuple[Break, tuple[str, ...]]] = {
    "truncated h5ad": (truncate, ("reference.h5ad", "truncated")),
    "gene sets without overlap": (foreign_gmt, ("markers.gmt", "FOO1")),
}
# Found before anything is run.
PLANS: dict[str, tuple[Break, tuple[str, ...]]] = {
    "missing file": (
        lambda project: (project.folder / "reference.h5ad").unlink(), ("reference.h5ad",)
    ),
    "no label column given": (configure({"reference": {"url": "reference.h5ad"}}), ("labels_key",)),
    "unknown key": (configure(seed=[1]), ("seed",)),
    "unknown key of a data set": (configure({"labels_key": "cell_type"}), ("labels_key",)),
    "unknown key of a variant": (
        configure(variants={"v": {"teacher": {"layers": 2}}}), ("layers", "'v'")
    ),
    "unknown preset": (configure(variants={"v": {"preset": "papers"}}), ("papers", "paper")),
    "unknown method": (configure(methods=["oracle_of_delphi"]), ("oracle_of_delphi",)),
    "neither query nor split": (configure({"query": None}), ("split",)),
    "results cannot be written": (unwritable_results, ("results",)),
}  # fmt: skip


@pytest.mark.parametrize("case", [*STEPS, *PLANS])
def test_bad_input(project: Project, case: str) -> None:
    break_it, named = (STEPS | PLANS)[case]
    break_it(project)
    target = "results/simulated/default/mask/mask.npz"
    ended = project.snakemake(target)
    assert ended.returncode == 1, ended.stdout
    missing = [word for word in named if word not in ended.stdout]
    assert not missing, f"{missing} not named in:\n{ended.stdout}"
    assert "Traceback" not in ended.stdout, ended.stdout
    assert leftovers(project.folder) == []


def leftovers(folder: Path) -> list[str]:
    """Results of the failed step, or parts of them."""
    results = folder / "results"
    if not results.is_dir():
        return []
    found = [path for path in results.rglob("*") if path.is_file()]
    if (results / "simulated" / "prepared" / "report.json").exists():  # the mask failed, not this
        found = [path for path in found if path.parent.name != "prepared"]
    return [str(path.relative_to(folder)) for path in found]
