"""Outputs that are whole or absent, and checksums."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plkd.errors import InputError


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it into place only if the block succeeds.

    The temporary name keeps the suffixes of `path`, because writers choose formats by them.

    Raises
    ------
    InputError
        If the folder cannot be created or written.
    """
    path = Path(path)
    folder = writable_folder(path.parent)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as scratch:
        temporary = Path(scratch) / path.name
        yield temporary
        os.replace(temporary, path)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Like :func:`whole_file` for a folder: the old one is replaced only by a complete new one."""
    path = Path(path)
    folder = writable_folder(path.parent)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as scratch:
        temporary = Path(scratch) / path.name
        temporary.mkdir()
        yield temporary
        if path.exists():
            os.replace(path, Path(scratch) / "replaced")
        os.replace(temporary, path)


def writable_folder(path: str | Path) -> Path:
    """Create a folder if need be and make sure that a file can be written into it.

    Raises
    ------
    InputError
        If the folder cannot be created or written.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(
            f"cannot write into the folder '{path}': {error.strerror or error}. "
            "Choose another output folder, or change its permissions."
        ) from error
    return path


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(
            json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
