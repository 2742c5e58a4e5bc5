"""Bring a file from where it is published to where the pipeline expects it."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias
from urllib.parse import unquote, urlsplit

from plkd.errors import InputError
from plkd.pipeline.checksums import ChecksumLock
from plkd.pipeline.transfer import BLOCK_BYTES, ResumingDownloader, TransferError
from plkd.utils.files import no_room, scratch_folder, sha256_of, whole_file
from plkd.utils.logs import logger
from plkd.utils.progress import ProgressBar

REMOTE = ("http", "https", "ftp")
UNPACKED_SIZE = 4  # times the packed one: what to expect of expression data
MOST_UNPACKED = 100  # times: a text of zeros; archives made to fill disks have 1,000
LEAST_LIMIT = 10**9
DAMAGED = (OSError, EOFError, zlib.error)
Readable: TypeAlias = IO[bytes] | gzip.GzipFile
_HDF5_NAMES = (".h5", ".h5ad", ".h5mu", ".hdf5", ".loom")


@dataclass(frozen=True)
class Published:
    """A file as its publisher gives it.

    Attributes
    ----------
    url
        Where it is published: ``http://``, ``https://``, ``ftp://`` (downloaded);
        ``package:<package>/<path>`` (a file of an installed Python package, copied);
        ``repository:<path>`` (a file of this repository, copied); a local path or ``file://``
        (file or folder, symlinked and never copied).
    addresses
        Where to try, in this order; default: `url` alone.
    sha256
        Its checksum, 64 hexadecimal digits. Not for folders.
    size
        Its number of bytes, where known; another one is reported.
    member
        Path of the wanted file inside, if it is an archive (zip, tar, tar.gz).
    max_unpacked_size
        Bytes that it may have unpacked; default: :data:`MOST_UNPACKED` times those it has packed,
        or 1 GB where that is more.
    """

    url: str
    addresses: Sequence[str] = ()
    sha256: str | None = None
    size: int | None = None
    member: str | None = None
    max_unpacked_size: int | None = None

    @property
    def is_remote(self) -> bool:
        """Whether it has to be downloaded."""
        return self.url.partition(":")[0] in REMOTE


def fetch(
    published: Published | str,
    target: str | Path,
    *,
    repository: str | Path | None = None,
    checksums: str | Path | None = None,
    offline_folder: str | Path | None = None,
    pause: float = 2.0,
) -> None:
    """Put a published file at `target`, verified, whole or not at all.

    A ``.gz`` whose target does not end in ``.gz`` is unpacked; so is the member of an archive. What
    a broken transfer brought is kept in a hidden folder beside the target (``.downloads-`` and its
    name), and the next one goes on from there.

    Parameters
    ----------
    published
        The file, or its URL alone.
    target
        Where the file shall be; replaced if it exists.
    repository
        Root folder of the repository, needed for ``repository:``.
    checksums
        Lock file of downloads, see :class:`plkd.pipeline.checksums.ChecksumLock`.
    offline_folder
        Folder of files that were fetched by hand; nothing is downloaded then.
    pause
        Seconds before the second attempt at the same address; doubled before each further one.

    Raises
    ------
    InputError
        If no address gives the file. The message names every address and why it failed.
    """
    if isinstance(published, str):
        published = Published(published)
    target = Path(target)
    lock = ChecksumLock(checksums) if checksums is not None and published.is_remote else None
    if offline_folder is not None and published.is_remote:
        file = _file_fetched_by_hand(published, target, Path(offline_folder))
        _accept(file, published, target, lock)
        _deliver(file, published, target, is_ours=False)
        return
    failures = []
    addresses = published.addresses or (published.url,)
    for address in addresses:
        try:
            with _obtained(address, published, target, repository, pause) as (file, is_ours):
                _accept(file, published, target, lock)
                _deliver(file, published, target, is_ours)
            return
        except InputError as error:
            failures.append(str(error))
            if len(failures) < len(addresses):
                logger.warning("%s", error)
    raise InputError(
        failures[0]
        if len(failures) == 1
        else "no source of the file could be used:\n" + "\n".join(f"  - {f}" for f in failures)
    )


# ---- where it comes from


@contextmanager
def _obtained(
    address: str, published: Published, target: Path, repository: str | Path | None, pause: float
) -> Iterator[tuple[Path, bool]]:
    """The file as published, and whether it is ours to move."""
    scheme, _, rest = address.partition(":")
    if scheme in REMOTE:
        with scratch_folder(target.parent) as scratch:
            yield _download(address, published, target, scratch, pause), True
    elif scheme == "package":
        yield _existing(_package_file(address, rest), address), False
    elif scheme == "repository":
        if repository is None:
            raise InputError(f"'{address}' can only be used from within the repository's pipeline")
        yield _existing(Path(repository) / rest, address), False
    elif scheme != "file" and "://" in address:
        raise InputError(
            f"'{address}': the scheme '{scheme}' is not known; use http(s)://, ftp://, package:, "
            "repository: or the path of a local file"
        )
    else:
        path = unquote(urlsplit(address).path) if scheme == "file" else address
        yield _local(Path(path).expanduser(), target, published), False


def _download(
    address: str, published: Published, target: Path, scratch: Path, pause: float
) -> Path:
    import pooch

    unpacks = published.member is not None or _is_packed(address, target)
    # A folder for each file: downloads into one folder run side by side.
    parts = target.parent / f".downloads-{target.name}"
    key = hashlib.sha256(address.encode()).hexdigest()[:12]
    downloader = ResumingDownloader(
        parts / f"{target.name}.{key}",
        pause=pause,
        times_size=1 + UNPACKED_SIZE if unpacks else 1,
        size=published.size if address == published.url else None,
    )
    pooch.get_logger().setLevel("ERROR")  # what it would say is said here

    def retrieved(name: str) -> Path:
        return Path(
            pooch.retrieve(address, None, fname=name, path=str(scratch), downloader=downloader)
        )

    try:
        file = retrieved(_name_of(address) or "download")
        proven = downloader.proven or published.sha256 or _tells_its_end(file)
        if not proven and sha256_of(file) != sha256_of(retrieved("again")):
            raise TransferError("two transfers brought different files, without saying their size")
    except TransferError as error:
        raise InputError(
            f"'{address}' could not be downloaded ({error}). Check the address and the connection, "
            "add a mirror, or fetch the file by hand (`offline: true`)."
        ) from error
    if parts.is_dir() and not any(parts.iterdir()):
        parts.rmdir()
    return file


def _file_fetched_by_hand(published: Published, target: Path, folder: Path) -> Path:
    archive = _name_of(published.url) if published.member else target.name
    name = f"{archive}.gz" if _is_packed(published.url, target) else archive
    places = [folder / target.parent.name / name, folder / name]
    for place in places:
        if place.is_file():
            return place
    raise InputError(
        f"offline, and there is no file '{name}' in '{folder}'. Fetch '{published.url}' by hand "
        f"and save it as '{places[0]}' (or directly in the folder)."
    )


def _local(source: Path, target: Path, published: Published) -> Path:
    source = Path(os.path.abspath(source))  # noqa: PTH100  (resolve() would follow symlinks)
    if not source.exists():
        raise InputError(f"the file '{source}' does not exist; correct its path")
    if not os.access(source, os.R_OK):
        raise InputError(f"the file '{source}' cannot be read; change its permissions")
    if source == Path(os.path.abspath(target)):  # noqa: PTH100
        raise InputError(f"'{source}' is where the pipeline puts its copy; keep yours elsewhere")
    if source.is_dir() and published.sha256 is not None:
        raise InputError(f"'{source}' is a folder: `sha256` can be given for single files only")
    return source


def _existing(source: Path, url: str) -> Path:
    if not source.is_file():
        raise InputError(f"'{url}': there is no file '{source}'; correct the path in the url")
    return source


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


# ---- whether it is the one


def _accept(file: Path, published: Published, target: Path, lock: ChecksumLock | None) -> None:
    """Refuse a file that is not the published one, or not whole."""
    if published.sha256 is None and lock is None:
        return
    found, n_bytes = sha256_of(file), file.stat().st_size
    if published.sha256 is not None and found != published.sha256.lower():
        raise InputError(
            f"the SHA-256 of '{published.url}' is {found}, expected {published.sha256}. It is not "
            "the file that was meant: get it anew, or correct `sha256` in the configuration."
        )
    if published.is_remote:
        _require_intact(file, published, target)
    if published.size is not None and n_bytes != published.size:
        logger.warning("'%s' has %d bytes, expected %d", published.url, n_bytes, published.size)
    if lock is not None:
        lock.enforce(published.url, found, n_bytes)
    logger.info("'%s': %d bytes, SHA-256 %s", published.url, n_bytes, found)


def _require_intact(file: Path, published: Published, target: Path) -> None:
    """Look whether packed and HDF5 files are complete: their formats tell."""
    import h5py

    name = published.url if published.member else target.name
    try:
        if name.endswith(".gz"):  # one that is unpacked is checked by unpacking it
            with _packed(file, "checking") as content:
                for _ in _bounded(content, _limit(file, published), published):
                    pass
        elif name.endswith(_HDF5_NAMES) and not published.url.endswith(".gz"):
            h5py.File(file, "r").close()
    except DAMAGED as error:
        raise InputError(_damaged(published, error)) from error


def _tells_its_end(file: Path) -> bool:
    """Whether the format is one whose end :func:`_require_intact` finds."""
    return file.name.endswith((".gz", *_HDF5_NAMES))


def _damaged(published: Published, error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"the file behind '{published.url}' is damaged or not what its name says ({reason})"


# ---- where it goes


def _deliver(file: Path, published: Published, target: Path, is_ours: bool) -> None:
    """Put the file, or what is packed in it, at `target`."""
    with whole_file(target) as temporary:
        if published.member is not None:
            _take_member(file, published, temporary)
        elif _is_packed(published.url, target) and file.is_file():
            try:
                with _packed(file, "unpacking") as content:
                    _write(content, temporary, _limit(file, published), published)
            except DAMAGED as error:
                if no_room(error):
                    raise
                raise InputError(_damaged(published, error)) from error
        elif is_ours:
            file.replace(temporary)
        elif published.url.startswith(("package:", "repository:")):
            shutil.copyfile(file, temporary)
        else:
            temporary.symlink_to(Path(os.path.abspath(file)))  # noqa: PTH100


def _take_member(archive: Path, published: Published, target: Path) -> None:
    """Write the bytes of one file of an archive; nothing else of it touches the disk."""
    try:
        with _member(archive, published) as content:
            _write(content, target, _limit(archive, published), published)
    except InputError:
        raise
    except Exception as error:  # what a damaged archive makes of three libraries
        if no_room(error):
            raise
        raise InputError(
            f"'{published.url}': the file '{published.member}' (`member`) cannot be taken out of "
            f"the archive ({' '.join(str(error).split())})"
        ) from error


@contextmanager
def _member(archive: Path, published: Published) -> Iterator[IO[bytes]]:
    """Open one file of an archive, if it is a file and no link, pipe, device or folder."""
    name = str(published.member)
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            entry = opened.getinfo(name)
            kind = stat.S_IFMT(entry.external_attr >> 16)
            _require_file(name, not entry.is_dir() and kind in (0, stat.S_IFREG), published)
            with opened.open(entry) as content:
                yield content
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as packed:
            member = packed.getmember(name)
            _require_file(name, member.isreg(), published)
            taken = packed.extractfile(member)
            assert taken is not None  # it is of a regular file
            with taken:
                yield taken
    else:
        raise InputError(
            f"'{published.url}' is not an archive, but `member` asks for a file inside"
        )


def _require_file(name: str, is_file: bool, published: Published) -> None:
    if not is_file:
        raise InputError(
            f"'{published.url}': '{name}' (`member`) is a link, a folder or a device in the "
            "archive; expected a file"
        )


def _is_packed(url: str, target: Path) -> bool:
    return urlsplit(url).path.endswith(".gz") and target.suffix != ".gz"


def _limit(packed: Path, published: Published) -> int:
    """Bytes that a packed file may become."""
    return published.max_unpacked_size or max(LEAST_LIMIT, MOST_UNPACKED * packed.stat().st_size)


def _write(content: Readable, target: Path, limit: int, published: Published) -> None:
    """Write what is unpacked, and stop where it becomes more than allowed."""
    with target.open("wb") as unpacked:
        for block in _bounded(content, limit, published):
            unpacked.write(block)


def _bounded(content: Readable, limit: int, published: Published) -> Iterator[bytes]:
    left = limit
    while block := content.read(BLOCK_BYTES):
        left -= len(block)
        if left < 0:
            raise InputError(
                f"'{published.url}' unpacks to more than {limit / 1e9:,.1f} GB, which is allowed: "
                "it may be made to fill disks. If it is right, give `max_unpacked_size` (bytes) "
                "beside its `url`."
            )
        yield block


@contextmanager
def _packed(archive: Path, what: str) -> Iterator[gzip.GzipFile]:
    with (
        archive.open("rb") as handle,
        ProgressBar.wrapattr(
            handle, "read", total=archive.stat().st_size, desc=what, leave=False
        ) as packed,
        gzip.open(packed, "rb") as content,  # type: ignore[call-overload]
    ):
        yield content


def _name_of(url: str) -> str:
    return Path(unquote(urlsplit(url).path)).name
