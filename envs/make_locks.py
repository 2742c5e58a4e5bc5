"""Write the pip locks and the conda environments (`make lock`; needs uv).

They come from pyproject.toml and, for other methods, from methods/environments.toml. Versions that
are locked stay as long as these allow them; `--upgrade` takes the newest.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ENVS = Path(__file__).parent
PROJECT = ENVS.parent / "pyproject.toml"
METHODS = ENVS / "methods"
PYTHON = "3.12"  # of the conda environments; the locks serve all of requires-python
# torch's own requirements on its CUDA build; listing them would install CUDA beside a CPU build
CUDA = re.compile(r"^(nvidia-(?!ml-py)|cuda-|triton\b)")
CONDA = {"plkd": ("plkd",), "workflow": ("plkd", "workflow")}


def compile_lock(locked: str, *options: str, source: Path = PROJECT) -> list[str]:
    """Pinned requirements of the project, or a file of them, for all supported Pythons and systems.

    uv keeps what stands in its output file where it can, so it is given one with `locked`.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "all.lock"
        output.write_text(locked)
        command = ["uv", "pip", "compile", str(source), "--universal", "--python-version", "3.11"]
        command += ["--fork-strategy", "fewest", "--no-annotate", "--no-header", "--quiet"]
        command += ["--output-file", str(output), *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        listed = output.read_text()
    pins = [line for line in listed.splitlines() if "==" in line and not CUDA.match(line)]
    # markers that every Python we support fulfils say nothing
    return [re.sub(r" ; python_full_version < '3\.1[4-9]'$", "", pin) for pin in pins
            if not re.search(r"python_full_version >= '3\.1[4-9]'", pin)]  # fmt: skip


def oldest_lock(torch: str) -> list[str]:
    """Pin the oldest versions that the library allows, for `make test-oldest`.

    Without torch, of which the oldest builds are gigabytes of CUDA: there it is the locked one.
    """
    command = ["uv", "pip", "compile", str(PROJECT), "--resolution", "lowest-direct"]
    command += ["--python-version", "3.11", "--no-annotate", "--no-header", "--quiet"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    pins = [line for line in listed.splitlines() if "==" in line and not CUDA.match(line)]
    return [torch if pin.startswith("torch==") else pin for pin in pins]


def conda_environment(pins: list[str]) -> str:
    """YAML of a conda environment with these pip packages."""
    lines = [
        "# Made by `make lock` from the pip locks beside it; see README.md.",
        "channels:",
        "  - conda-forge",
        "  - nodefaults",
        "dependencies:",
        f"  - python={PYTHON}",
        "  - pip",
        "  - pip:",
        *(f'      - "{pin}"' for pin in pins),
    ]
    return "\n".join(lines) + "\n"


def r_environment(packages: list[str]) -> str:
    """YAML of a conda environment with these packages of conda."""
    lines = [
        "# Made by `make lock` from environments.toml.",
        "channels:",
        "  - conda-forge",
        "  - bioconda",
        "  - nodefaults",
        "dependencies:",
        *(f"  - {package}" for package in packages),
    ]
    return "\n".join(lines) + "\n"


def write_lock(path: Path, pins: list[str], source: str = "pyproject.toml") -> None:
    """Write the pins under a line that says where they come from."""
    head = f"# Made by `make lock` from {source}; see README.md.\n"
    path.write_text(head + "\n".join(pins) + "\n")


def lock_methods(*, upgrade: bool) -> None:
    """Write lock and conda environment of every other method, each resolved on its own."""
    for name, content in tomllib.loads((METHODS / "environments.toml").read_text()).items():
        yaml = METHODS / f"{name}.yaml"
        if "pip" not in content:
            yaml.write_text(r_environment(content["conda"]))
            continue
        lock = METHODS / f"{name}.lock"
        kept = lock.read_text() if lock.exists() and not upgrade else ""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "requirements.in"
            source.write_text("\n".join(content["pip"]) + "\n")
            pins = compile_lock(kept, source=source)
        write_lock(lock, pins, "environments.toml")
        yaml.write_text(conda_environment(pins))


def main() -> None:
    """Resolve everything at once, then say which group needs what."""
    upgrade = "--upgrade" in sys.argv[1:]
    extras = list(tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"])
    present = [ENVS / f"{group}.lock" for group in ("plkd", *extras)]
    kept = [] if upgrade else [path.read_text() for path in present if path.exists()]
    locked = "".join(kept)
    resolved = compile_lock(locked, *(f"--extra={extra}" for extra in extras))
    groups, seen = {}, set()
    for group, options in {"plkd": [], **{extra: [f"--extra={extra}"] for extra in extras}}.items():
        names = {pin.split("==")[0] for pin in compile_lock(locked, *options)}
        groups[group] = [pin for pin in resolved if pin.split("==")[0] in names - seen]
        seen |= names
        write_lock(ENVS / f"{group}.lock", groups[group])
    (torch,) = (pin for pin in groups["plkd"] if pin.startswith("torch=="))
    write_lock(ENVS / "oldest.lock", oldest_lock(torch))
    for name, parts in CONDA.items():
        pins = sorted(pin for part in parts for pin in groups[part])
        (ENVS / f"{name}.yaml").write_text(conda_environment(pins))
    lock_methods(upgrade=upgrade)


if __name__ == "__main__":
    main()
