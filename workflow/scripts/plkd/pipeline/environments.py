"""Environments of other methods: made once from a lock, shared between runs.

An environment is a virtual environment in a folder that is named by what it holds, so that a
changed lock makes a new one and never alters the one that another run uses.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from plkd.utils.files import writable_folder
from plkd.utils.logs import logger

_COMPLETE = "complete"  # a file in the folder of an environment, written last


class NotProvidedError(Exception):
    """Why a method cannot be run on this machine, in words for the table of results."""


def python_of(name: str, lock: str | Path, folder: str | Path) -> Path:
    """Python of the environment that a lock describes, which is made if it is not there.

    Parameters
    ----------
    name
        Name of the environment, for people.
    lock
        Requirements for pip, every version given.
    folder
        Folder of all environments. Several processes may ask for the same one at a time: one makes
        it, the others wait. What a killed process left is made anew.

    Raises
    ------
    NotProvidedError
        If pip cannot install what is asked for.

    Examples
    --------
    >>> python_of("celltypist", "envs/methods/celltypist.lock", "environments")  # doctest: +SKIP
    PosixPath('/project/environments/celltypist-3f0c1a2b4d5e/bin/python')
    """
    from filelock import FileLock  # not needed by Snakemake, which may import this module

    folder = writable_folder(folder).absolute()
    place = folder / f"{name}-{environment_key(Path(lock).read_text(encoding='utf-8'))}"
    with FileLock(f"{place}.lock"):
        if not (place / _COMPLETE).exists():
            shutil.rmtree(place, ignore_errors=True)
            logger.warning("installing the environment '%s' into '%s'", name, place)
            try:
                _make(place, Path(lock))
            except (OSError, subprocess.CalledProcessError) as error:
                shutil.rmtree(place, ignore_errors=True)
                raise NotProvidedError(
                    f"its environment '{name}' could not be installed: {_last_words(error)}"
                ) from error
            (place / _COMPLETE).touch()
    return _interpreter(place)


def environment_key(lock: str) -> str:
    """What tells environments apart: pins of the lock, and the Python that they are for."""
    pins = sorted(line for line in lock.splitlines() if line and not line.startswith("#"))
    version = ".".join(map(str, sys.version_info[:2]))
    return hashlib.sha256("\n".join([version, *pins]).encode()).hexdigest()[:12]


def r_with(*packages: str, install: str) -> Path:
    """Rscript of this machine, if it has these packages.

    Parameters
    ----------
    packages
        Names of the packages of R.
    install
        How they are installed, for the message.

    Raises
    ------
    NotProvidedError
        If there is no R, or a package is missing.
    """
    found = shutil.which("Rscript")
    if found is None:
        raise NotProvidedError(f"there is no R on this machine: {install}")
    asked = " ".join(f"'{name}'" for name in packages)
    code = "for (one in commandArgs(TRUE)) if (!requireNamespace(one, quietly = TRUE)) cat(one, '')"
    ended = subprocess.run([found, "-e", code, *packages], capture_output=True, text=True)
    missing = ended.stdout.split()
    if ended.returncode or missing:
        what = " and ".join(missing) or asked
        raise NotProvidedError(f"R lacks the package {what}: {install}")
    return Path(found)


def _make(place: Path, lock: Path) -> None:
    """Make a virtual environment and install the lock into it."""
    _run([sys.executable, "-m", "venv", str(place)])
    if any("==" in line for line in lock.read_text(encoding="utf-8").splitlines()):
        pip = [str(_interpreter(place)), "-m", "pip", "install", "--quiet", "--no-input"]
        _run([*pip, "--disable-pip-version-check", "-r", str(lock)])


def _run(command: list[str]) -> None:
    # PYTHONPATH would let the packages of another environment pass for installed
    around = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, check=True, capture_output=True, text=True, env=around)


def _interpreter(place: Path) -> Path:
    return place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _last_words(error: OSError | subprocess.CalledProcessError) -> str:
    lines = str(getattr(error, "stderr", "") or "").strip().splitlines()
    errors = [line for line in lines if "ERROR" in line] or lines
    return errors[-1].strip() if errors else str(error)
