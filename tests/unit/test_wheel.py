"""The wheel is a product of its own: it holds what the library needs, and finds it."""

import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import anndata as ad
import pytest

from plkd.errors import InputError
from plkd.utils.resources import resource

ROOT = Path(__file__).resolve().parents[2]
BUILT_FROM = (
    "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "config/methods.tsv",
    "resources/gene_sets", "resources/gene_names", "resources/markers", "resources/page",
    "resources/paper",
    "workflow/schemas", "workflow/scripts/plkd",
)  # fmt: skip
USED = """
import sys
from pathlib import Path
import plkd
from plkd.evaluation.marker_recovery import read_markers
from plkd.pipeline.methods import read_registry
from plkd.io.ensembl import symbols_of_ids
from plkd.pathways.gene_sets import SHIPPED, read_gmt
from plkd.settings.presets import PRESETS
from plkd.utils.resources import resource
library = Path(plkd.__file__).parent
paths = [resource(name) for name in sys.argv[1:]]
assert all(library in path.parents for path in paths), paths
assert len(read_gmt(resource(SHIPPED))) > 90
assert "student" in read_registry(resource("config/methods.tsv")).index
assert read_markers(resource("resources/markers/blood.tsv"))
assert symbols_of_ids("mouse")["ENSMUSG00000032094"] == "Cd3d"
assert PRESETS
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy, so that nothing is left in the repository."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in BUILT_FROM:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copyfile(ROOT / name, source / name)
    command = "pip wheel --quiet --no-deps --no-build-isolation --disable-pip-version-check"
    subprocess.run(
        [sys.executable, "-m", *command.split(), "--wheel-dir", str(built), str(source)], check=True
    )
    (found,) = built.glob("plkd-*.whl")
    return found


def test_the_wheel_works_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    site, empty = tmp_path / "site", tmp_path / "empty"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    empty.mkdir()
    names = [
        "resources/gene_sets/blood_programmes.gmt",
        "resources/paper/table1.tsv",
        "workflow/schemas/dataset.schema.yaml",
        "workflow/schemas/config.schema.yaml",
    ]
    run = subprocess.run(
        [sys.executable, "-c", USED, *names],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_the_commands_work_from_the_wheel_and_so_do_the_next_steps(
    wheel: Path, tmp_path: Path
) -> None:
    site, empty = tmp_path / "site", tmp_path / "empty"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    empty.mkdir()

    def plkd(*arguments: str) -> str:
        run = subprocess.run(
            [sys.executable, "-m", "plkd", *arguments],
            cwd=empty,
            env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        return run.stdout

    small = [
        "--cells",
        "200",
        "--query-cells",
        "60",
        "--labels",
        "3",
        "--genes",
        "300",
        "--no-progress",
    ]
    next_steps = plkd("simulate", "sim", *small).splitlines()
    assert [step.split()[:2] for step in next_steps] == [["plkd", "train"], ["plkd", "annotate"]]
    train, annotate = (shlex.split(step)[1:] for step in next_steps)
    plkd(*train, "--preset", "fast")  # for time alone
    plkd(*annotate)
    labelled = ad.read_h5ad(empty / "sim" / "labelled.h5ad")
    assert (labelled.obs["plkd_label"] == labelled.obs["label"]).mean() > 0.8
    assert "3 labels" in plkd("info", "sim/model")
    cell = labelled.obs_names[0]
    assert cell in plkd("explain", "sim/query.h5ad", "--model", "sim/model", "--cell", cell)
    plkd("explain", "sim/query.h5ad", "--model", "sim/model", "--cell", cell, "-o", "why.png")
    assert (empty / "why.png").read_bytes().startswith(b"\x89PNG")
    plkd(
        "report", "sim/labelled.h5ad", "--model", "sim/model", "-o", "page.html", "--truth", "label"
    )
    assert (empty / "page.html").stat().st_size > 1e6


def test_every_module_and_nothing_else_is_in_the_wheel(wheel: Path) -> None:
    library = ROOT / "workflow" / "scripts" / "plkd"
    modules = {f"plkd/{p.relative_to(library).as_posix()}" for p in library.rglob("*.py")}
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name for name in names if name.endswith(".py")} == modules
    assert all(name.split("/")[0] == "plkd" or ".dist-info/" in name for name in names)
    assert not any("datasets/" in name for name in names)
    assert wheel.stat().st_size < 5e6


def test_in_the_repository_its_own_files_are_found() -> None:
    assert resource("config/methods.tsv") == ROOT / "config" / "methods.tsv"
    with pytest.raises(InputError, match=r"gene_sets/none.gmt.*install it again"):
        resource("resources/gene_sets/none.gmt")
