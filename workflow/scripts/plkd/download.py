"""Bring a file from where it is published to where the pipeline expects it."""

from __future__ import annotations

import gzip
import importlib.util
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tqdm.auto import tqdm

from plkd.errors import InputError
from plkd.files import sha256_of, whole_file
from plkd.logs import logger

ATTEMPTS = 3
TIMEOUT_SECONDS = 60
BLOCK_BYTES = 1 << 20


def fetch(
    url: str,
    target: str | Path,
    *,
    sha256: str | None = None,
    mirrors: Sequence[str] = (),
    repository: str | Path | None = None,
    pause: float = 2.0,
) -> None:
    """Put the file behind `url` at `target`, verified, whole or not at all.

    Parameters
    ----------
    url
        One of ``http://``, ``https://``, ``ftp://`` (downloaded; a ``.gz`` whose target does not
        end in ``.gz`` is unpacked after it was verified); ``package:<package>/<path>`` (a file of
        an installed Python package, copied); ``repository:<path>`` (a file of this repository,
        copied); a local path or ``file://`` (file or folder, symlinked and never copied).
    target
        Where the file shall be; replaced if it exists.
    sha256
        Expected checksum of the published file, 64 hexadecimal digits. Not for folders.
    mirrors
        Other sources of the same file, tried in this order when the one before failed.
    repository
        Root folder of the repository, needed for ``repository:``.
    pause
        Seconds before the second attempt at the same address; doubled before the third.

    Raises
    ------
    InputError
        If no source gives the file. The message names every source and why it failed.
    """
    target = Path(target)
    failures = []
    for source in (url, *mirrors):
        try:
            _fetch_one(source, target, sha256, repository, pause)
        except InputError as error:
            failures.append(str(error))
            logger.warning("%s", error)
        else:
            return
    raise InputError(
        failures[0]
        if len(failures) == 1
        else "no source of the file could be used:\n" + "\n".join(f"  - {f}" for f in failures)
    )


def _fetch_one(
    url: str, target: Path, sha256: str | None, repository: str | Path | None, pause: float
) -> None:
    scheme, _, rest = url.partition(":")
    if scheme in ("http", "https", "ftp"):
        _download(url, target, sha256, pause)
    elif scheme == "package":
        _copy(_package_file(url, rest), url, target, sha256)
    elif scheme == "repository":
        if repository is None:
            raise InputError(f"'{url}' can only be used from within the repository's pipeline")
        _copy(Path(repository) / rest, url, target, sha256)
    elif scheme == "file":
        _link(Path(unquote(urlsplit(url).path)), target, sha256)
    elif "://" in url:
        raise InputError(
            f"'{url}': the scheme '{scheme}' is not known; use http(s)://, ftp://, package:, "
            "repository: or the path of a local file"
        )
    else:
        _link(Path(url).expanduser(), target, sha256)


def _link(source: Path, target: Path, sha256: str | None) -> None:
    source = Path(os.path.abspath(source))  # noqa: PTH100  (resolve() would follow symlinks)
    if not source.exists():
        raise InputError(f"the file '{source}' does not exist; correct its path")
    if not os.access(source, os.R_OK):
        raise InputError(f"the file '{source}' cannot be read; change its permissions")
    if source == Path(os.path.abspath(target)):  # noqa: PTH100
        raise InputError(f"'{source}' is where the pipeline puts its copy; keep yours elsewhere")
    if source.is_dir() and sha256 is not None:
        raise InputError(f"'{source}' is a folder: `sha256` can be given for single files only")
    _verify(source, str(source), sha256)
    with whole_file(target) as temporary:
        temporary.symlink_to(source)


def _copy(source: Path, url: str, target: Path, sha256: str | None) -> None:
    if not source.is_file():
        raise InputError(f"'{url}': there is no file '{source}'; correct the path in the url")
    _verify(source, url, sha256)
    with whole_file(target) as temporary:
        shutil.copyfile(source, temporary)


def _package_file(url: str, rest: str) -> Path:
    package, _, path = rest.partition("/")
    # find_spec of a top-level name looks for the package without importing it.
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"'{url}': the Python package '{package}' is not installed; install it or correct the "
            "url (package:<package>/<path inside the package>)"
        )
    return Path(next(iter(spec.submodule_search_locations))) / path


def _download(url: str, target: Path, sha256: str | None, pause: float) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with whole_file(target) as temporary:
                archive = _retrieve(url, temporary.parent, sha256)
                if _packed(url, target):
                    _unpack(archive, temporary)
                else:
                    archive.replace(temporary)
            return
        except InputError:
            raise
        except Exception as error:  # every downloader has exceptions of its own
            if attempt == ATTEMPTS or _is_final(error):
                raise InputError(
                    f"'{url}' could not be downloaded ({_reason(error)}). Check the address and "
                    "the connection, add a mirror, or download the file by hand and give its path."
                ) from error
            logger.warning("'%s': %s; trying again", url, _reason(error))
            time.sleep(pause * 2 ** (attempt - 1))


def _retrieve(url: str, folder: Path, sha256: str | None) -> Path:
    """Download into `folder`, verify, and give the path of the file."""
    import pooch

    downloader: pooch.HTTPDownloader | pooch.FTPDownloader
    if url.startswith("ftp:"):
        downloader = pooch.FTPDownloader(
            progressbar=True, timeout=TIMEOUT_SECONDS, chunk_size=BLOCK_BYTES
        )
    else:
        downloader = pooch.HTTPDownloader(
            progressbar=True, timeout=TIMEOUT_SECONDS, chunk_size=BLOCK_BYTES
        )
    pooch.get_logger().setLevel("WARNING")
    archive = Path(
        pooch.retrieve(
            url, known_hash=None, fname="download", path=str(folder), downloader=downloader
        )
    )
    found = sha256_of(archive)
    if sha256 is not None and found != sha256.lower():
        # Not an InputError: a transfer may have been cut, so the next attempt may succeed.
        raise OSError(_mismatch(url, sha256, found))
    logger.info("downloaded '%s' (SHA-256 %s)", url, found)
    return archive


def _packed(url: str, target: Path) -> bool:
    return urlsplit(url).path.endswith(".gz") and target.suffix != ".gz"


def _unpack(archive: Path, target: Path) -> None:
    size = archive.stat().st_size
    with (
        archive.open("rb") as handle,
        tqdm.wrapattr(handle, "read", total=size, desc="unpacking", leave=False) as packed,
        gzip.open(packed, "rb") as content,  # type: ignore[call-overload]
        target.open("wb") as unpacked,
    ):
        shutil.copyfileobj(content, unpacked, BLOCK_BYTES)


def _verify(path: Path, url: str, sha256: str | None) -> None:
    if sha256 is not None:
        found = sha256_of(path)
        if found != sha256.lower():
            raise InputError(
                f"{_mismatch(url, sha256, found)}. It is not the file that was meant: get it anew, "
                "or correct `sha256` in the configuration."
            )


def _mismatch(url: str, expected: str, found: str) -> str:
    return f"the SHA-256 of '{url}' is {found}, expected {expected}"


def _is_final(error: Exception) -> bool:
    """Whether another attempt at the same address is pointless (401, 403, 404, 410, ..)."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status is not None and 400 <= status < 500 and status not in (408, 425, 429)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
