"""Outputs that are whole or absent, and checksums."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from plkd.errors import InputError

_PARTIAL = ".partial-"
_NO_ROOM = {
    code
    for name in ("ENOSPC", "EDQUOT", "EFBIG")  # no space, quota, largest file that is allowed
    if (code := getattr(errno, name, None)) is not None
}


@contextmanager
def whole_file(path: str | Path, *, needs: int = 0) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it into place only if the block succeeds.

    The temporary name keeps the suffixes of `path`, because writers choose formats by them. What
    processes left behind that died within such a block is removed.

    Parameters
    ----------
    path
        The file to write.
    needs
        Its size in bytes, or what is known of it: no work begins where there is less room.

    Raises
    ------
    InputError
        If the folder cannot be created or written, or the disk is full.
    """
    path = Path(path)
    with scratch_folder(path.parent) as scratch:
        temporary = scratch / path.name
        with _room_for(path, temporary, needs):
            yield temporary
            os.replace(temporary, path)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Like :func:`whole_file` for a folder: the old one is replaced only by a complete new one."""
    path = Path(path)
    with scratch_folder(path.parent) as scratch:
        temporary = scratch / path.name
        with _room_for(path, temporary):
            temporary.mkdir()
            yield temporary
            if path.exists():
                os.replace(path, scratch / "replaced")
            os.replace(temporary, path)


@contextmanager
def scratch_folder(folder: str | Path) -> Iterator[Path]:
    """Give a hidden folder inside `folder` for what is not finished; it is removed in the end.

    Those of processes that were killed are removed as well: each has a lock beside it, which the
    system takes from a process that ends in whatever way.

    Raises
    ------
    InputError
        If the folder cannot be created or written.
    """
    from filelock import FileLock, Timeout  # not needed by Snakemake, which imports this module

    folder = writable_folder(folder)
    _sweep(folder)
    handle, name = tempfile.mkstemp(prefix=_PARTIAL, suffix=".lock", dir=folder)
    os.close(handle)
    lock, scratch = FileLock(name), Path(name).with_suffix("")
    with suppress(OSError, NotImplementedError, Timeout):  # a disk without locks is not swept
        lock.acquire(timeout=0)
    try:
        scratch.mkdir()  # after it is locked, so that no other process takes it for abandoned
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        Path(name).unlink(missing_ok=True)
        lock.release()


def scratch_file(needs: int = 0) -> IO[bytes]:
    """A file in the folder of temporary files, which is gone when it is closed or the process ends.

    Parameters
    ----------
    needs
        Its size in bytes, or what is known of it.

    Raises
    ------
    InputError
        If there is less room.
    """
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if needs > free:
        raise InputError(
            f"{_size(needs)} are needed for the while in the folder of temporary files, "
            f"'{folder}', which has {_size(free)} free: let TMPDIR name one with more room."
        )
    return tempfile.TemporaryFile(dir=folder)


def _sweep(folder: Path) -> None:
    """Remove what dead processes left in a folder."""
    from filelock import FileLock, Timeout

    for name in folder.glob(f"{_PARTIAL}*.lock"):  # without a lock it is not ours
        left = name.with_suffix("")
        if not left.is_dir():
            continue
        with suppress(OSError, NotImplementedError, Timeout), FileLock(name).acquire(timeout=0):
            shutil.rmtree(left, ignore_errors=True)
            name.unlink(missing_ok=True)


def require_room(path: str | Path, n_bytes: int) -> int:
    """Refuse a file that is larger than the room on its disk; gives the room there is, in bytes.

    Raises
    ------
    InputError
        With both sizes.
    """
    folder = Path(path).parent
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise InputError(
            f"'{path}' needs {_size(n_bytes)}, and '{folder}' has {_size(free)} free: make room "
            "there, or choose another folder."
        )
    return free


@contextmanager
def _room_for(path: Path, temporary: Path, needs: int = 0) -> Iterator[None]:
    """Say in one sentence that there is no room for a file or folder."""
    free = require_room(path, needs)
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # libraries wrap the system's error into ones of their own
        reason = no_room(error)
        if reason is None:
            raise
        files = [temporary, *temporary.rglob("*")]
        written = sum(file.stat().st_size for file in files if file.is_file())
        raise InputError(
            f"'{path}' cannot be written ({reason.lower()}): it needs more than the "
            f"{_size(written)} that were written, and '{path.parent}' has {_size(free)} in all. "
            "Make room there, or choose another folder."
        ) from error


def no_room(error: BaseException | None) -> str | None:
    """Why there was no room on a disk, if that is what an error, or one behind it, says."""
    while error is not None:
        told = re.search(r"os error (\d+)", str(error))  # of libraries written in Rust
        code = error.errno if isinstance(error, OSError) else int(told[1]) if told else None
        if code is not None and code in _NO_ROOM:
            return os.strerror(code)
        error = error.__cause__ or error.__context__
    return None


def full_disk(error: BaseException) -> str | None:
    """A sentence for an error that says there was no room on a disk; None for any other."""
    reason = no_room(error)
    place = getattr(error, "filename", None)
    where = f"'{place}' cannot be written" if place else "a file cannot be written"
    return reason and (
        f"{where} ({reason.lower()}): make room on its disk (the folder of temporary files is "
        f"'{tempfile.gettempdir()}', or what TMPDIR says)."
    )


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB"


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


def copy_file(source: str | Path, target: str | Path) -> None:
    """Copy a file; on a disk that can (btrfs, xfs) both share what they hold until one changes."""
    with open(source, "rb") as old, open(target, "wb") as new, suppress(OSError, AttributeError):
        while os.copy_file_range(old.fileno(), new.fileno(), _AT_ONCE):
            pass
        if os.fstat(new.fileno()).st_size == os.fstat(old.fileno()).st_size:
            return
    shutil.copyfile(source, target)  # other systems, or from one disk to another


_AT_ONCE = 2**30


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


@contextmanager
def intact(path: str | Path, made_by: str) -> Iterator[None]:
    """Say of whatever fails while a file of the pipeline is read how it is made anew.

    Parameters
    ----------
    path
        The file.
    made_by
        The rule that writes it.

    Raises
    ------
    InputError
        If the file is absent, or the block fails for any reason.
    """
    if not Path(path).exists():
        raise InputError(
            f"'{path}' does not exist: run the pipeline again, rule {made_by} makes it."
        )
    try:
        yield
    except Exception as error:  # a damaged file makes readers raise anything
        reason = " ".join(str(error).split()).removeprefix(f"'{path}'").strip(" .,:")
        raise InputError(
            f"'{path}' is damaged or was altered ({reason or type(error).__name__}): delete it and "
            f"run the pipeline again, rule {made_by} makes it anew."
        ) from error


def read_json(path: str | Path, made_by: str) -> Any:
    """Read a JSON file of the pipeline; parameters and errors are those of :func:`intact`."""
    with intact(path, made_by):
        return json.loads(Path(path).read_text(encoding="utf-8"))
