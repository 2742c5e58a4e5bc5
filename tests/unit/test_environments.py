"""One resolution behind pip locks, conda environments and pyproject.toml."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from project import REPOSITORY

CUDA = re.compile(r"nvidia-(?!ml-py)|triton|cuda-")  # libraries of a build; ml-py asks the driver
ENVS = REPOSITORY / "envs"
LOCKS = ("plkd", "workflow", "dev", "docs")
CONDA = {"plkd": ("plkd",), "workflow": ("plkd", "workflow")}


def lock(name: str) -> list[str]:
    lines = (ENVS / f"{name}.lock").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def versions(pins: list[str]) -> dict[str, Version]:
    found = {}
    for pin in pins:
        requirement = Requirement(pin)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", pin
        found[requirement.name] = Version(specifier.version)
    return found


@pytest.mark.parametrize("name", CONDA)
def test_conda_environment_holds_the_pins_of_its_locks(name: str) -> None:
    content = yaml.safe_load((ENVS / f"{name}.yaml").read_text())
    pip = next(item["pip"] for item in content["dependencies"] if isinstance(item, dict))
    assert sorted(pip) == sorted(pin for part in CONDA[name] for pin in lock(part))


def test_conda_python_is_one_we_support() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    supported = Requirement(f"python{project['requires-python']}").specifier
    for name in CONDA:
        content = yaml.safe_load((ENVS / f"{name}.yaml").read_text())
        (python,) = (d for d in content["dependencies"] if str(d).startswith("python="))
        assert python.removeprefix("python=") + ".0" in supported


def test_scanpy_can_read_the_neighbours_that_pynndescent_finds() -> None:
    """Above 8,192 cells: popV, CellTypist's voting and others failed only there."""
    locked = {
        str(path): versions(lock(str(path.relative_to(ENVS).with_suffix(""))))
        for path in ENVS.rglob("*.lock")
    }
    both = [name for name, found in locked.items() if {"scanpy", "pynndescent"} <= set(found)]
    assert len(both) > 5
    assert [name for name in both if locked[name]["pynndescent"] >= Version("0.6")] == []


def test_containers_are_the_conda_environment_to_start_from() -> None:
    conda = yaml.safe_load((ENVS / "workflow.yaml").read_text())["dependencies"]
    (python,) = (text.removeprefix("python=") for text in conda if str(text).startswith("python="))
    locks = {f"/locks/{name}.lock" for name in CONDA["workflow"]}
    for name in ("Dockerfile", "plkd.def"):
        lines = (ENVS / name).read_text().splitlines()
        (image,) = (line.split()[1] for line in lines if line.lower().startswith("from"))
        (install,) = (line.split() for line in lines if "pip install" in line)
        assert image.startswith(f"python:{python}-"), name
        assert locks == set(install[install.index("-r") :]) - {"-r"}, name


@pytest.mark.parametrize(("docker", "apptainer"), [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("broken", [False, True])
def test_images_are_built_and_tried_where_that_can_be_done(
    tmp_path: Path, docker: int, apptainer: int, broken: bool
) -> None:
    """With programs in their place that write down how they were called."""
    (tmp_path / "bin").mkdir()
    for name, works in (("docker", docker), ("apptainer", apptainer)):
        program = tmp_path / "bin" / name
        program.write_text(
            f"#!/bin/sh\necho {name} $* >> {tmp_path}/called\n"
            f'case "$1" in info|--version) exit {1 - works};; run|exec) exit {int(broken)};; esac\n'
        )
        program.chmod(0o755)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    ended = subprocess.run(
        ["make", "test-containers"],
        cwd=REPOSITORY,
        env={**os.environ, "PATH": path, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode != 0) == (broken and bool(docker or apptainer))
    called = (tmp_path / "called").read_text()
    assert ("docker run --rm plkd-test snakemake --version" in called) == bool(docker)
    assert ("docker image rm" in called) == bool(docker)
    goes_on = not (broken and docker)
    assert ended.stdout.count("skipped: ") == (not docker) + (goes_on and not apptainer)
    tried = re.search(r"apptainer exec \S+ snakemake --version", called)
    assert bool(tried) == (goes_on and bool(apptainer))
    assert {one.name for one in tmp_path.iterdir()} == {"bin", "called"}


def test_an_image_is_built_from_what_it_copies_and_nothing_else() -> None:
    """A folder of work may hold gigabytes of results and downloads beside it."""
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    sent = [line for line in lines if line and not line.startswith("#")]
    (copy,) = (
        line.split() for line in (ENVS / "Dockerfile").read_text().splitlines() if "COPY" in line
    )
    assert sent == ["*", *(f"!{path}" for path in copy[1:-1])]


def test_locks_fulfil_the_project() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    pinned: dict[str, Version] = {}
    for name in LOCKS:
        part = versions(lock(name))
        assert not pinned.keys() & part.keys(), f"{name}.lock pins what another lock pins"
        pinned |= part
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    for requirement in map(Requirement, (text for group in groups for text in group)):
        assert pinned[requirement.name.lower()] in requirement.specifier, requirement


def test_oldest_lock_holds_the_lowest_versions_that_the_project_allows() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    oldest, pinned = versions(lock("oldest")), versions(lock("plkd"))
    for requirement in map(Requirement, project["dependencies"]):
        (lowest,) = (one.version for one in requirement.specifier if one.operator == ">=")
        if requirement.name == "torch":  # its oldest builds bring CUDA
            assert oldest["torch"] == pinned["torch"]
        else:
            assert oldest[requirement.name] == Version(lowest), requirement


def test_torch_is_pinned_and_brings_its_own_cuda() -> None:
    pinned = versions(lock("plkd"))
    assert pinned["torch"] == Version("2.13.0")
    everything = [pin for name in (*LOCKS, "oldest") for pin in lock(name)]
    assert not [pin for pin in everything if CUDA.match(pin)]


METHODS = tomllib.loads((ENVS / "methods" / "environments.toml").read_text())


@pytest.mark.parametrize("name", METHODS)
def test_environments_of_methods_are_what_is_asked_for(name: str) -> None:
    content = yaml.safe_load((ENVS / "methods" / f"{name}.yaml").read_text())
    if "pip" not in METHODS[name]:
        assert content["dependencies"] == METHODS[name]["conda"]
        assert METHODS[name]["debian"]
        assert METHODS[name]["r"]
        return
    pins = lock(f"methods/{name}")
    pip = next(item["pip"] for item in content["dependencies"] if isinstance(item, dict))
    assert pip == pins
    assert not [pin for pin in pins if CUDA.match(pin)]
    pinned = versions(pins)
    for requirement in map(Requirement, METHODS[name]["pip"]):
        assert pinned[requirement.name] in requirement.specifier, requirement
    assert {"numpy", "scipy", "h5py"} <= pinned.keys()  # what exchange.py needs
