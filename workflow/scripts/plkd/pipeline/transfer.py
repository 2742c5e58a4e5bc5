"""Bring the bytes behind a URL to this machine, going on where a broken transfer stopped."""

from __future__ import annotations

import ftplib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from urllib3.exceptions import HTTPError

from plkd import __version__
from plkd.errors import InputError
from plkd.utils.files import no_room
from plkd.utils.logs import logger
from plkd.utils.progress import ProgressBar

ATTEMPTS = 4  # that bring less than ENOUGH_BYTES, one after the other
ENOUGH_BYTES = 1 << 20
TIMEOUT_SECONDS = 60.0  # without a byte
LONGEST_PAUSE = 60.0
BLOCK_BYTES = 1 << 18
SPARE_BYTES = 100_000_000  # of the disk, never filled


class TransferError(Exception):
    """A transfer failed; `final` says that another attempt at the same address is pointless."""

    def __init__(self, message: str, *, final: bool = False, wait: float = 0.0) -> None:
        super().__init__(message)
        self.final = final
        self.wait = wait


@dataclass
class ResumingDownloader:
    """A downloader for :func:`pooch.retrieve` that keeps what it has when a transfer breaks.

    Parameters
    ----------
    partial
        Where the bytes are gathered, with a note beside it (``.json``) of what they belong to.
        Moved to pooch's file when complete; left in place when the transfer fails.
    pause
        Seconds before the second attempt; doubled before each further one.
    times_size
        Disk space needed altogether, as a multiple of the file's size (above 1 if it will be
        unpacked).
    size
        Number of bytes, where the server does not say.

    Attributes
    ----------
    proven
        Whether the server said how long the file is, so that a cut one would have been noticed.
    """

    partial: Path
    pause: float = 2.0
    times_size: float = 1.0
    size: int | None = None
    proven: bool = False

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Download `url` to `output_file`.

        Raises
        ------
        TransferError
            If the server refuses, or transfers break too often without bringing anything.
        InputError
            If there is no room for the file.
        """
        self.partial.parent.mkdir(parents=True, exist_ok=True)
        once = self._ftp if url.startswith("ftp:") else self._http
        failures = 0
        while True:
            before = self._have()
            try:
                self.proven = once(url)
                break
            except (requests.RequestException, HTTPError, OSError, EOFError) as error:
                if reason := no_room(error):
                    raise InputError(
                        f"'{url}' has no room in '{self.partial.parent}' ({reason.lower()}) after "
                        f"{self._have() / 1e9:.1f} GB of it, which are kept: make room, or choose "
                        "another place for `resources` (`pathvars`), and the next run goes on."
                    ) from error
                failure = TransferError(reason_of(error))
            except ftplib.Error as error:
                failure = TransferError(reason_of(error), final=str(error).startswith("5"))
            except TransferError as error:
                failure = error
            failures = 1 if self._have() - before >= ENOUGH_BYTES else failures + 1
            if failure.final or failures >= ATTEMPTS:
                raise failure
            wait = max(failure.wait, min(self.pause * 2 ** (failures - 1), LONGEST_PAUSE))
            logger.warning("'%s': %s; going on in %.0f s", url, failure, wait)
            time.sleep(wait)
        self._note.unlink(missing_ok=True)
        shutil.move(self.partial, output_file)

    # ------------------------------------------------------------------------------ one attempt

    def _http(self, url: str) -> bool:
        headers = {"Accept-Encoding": "identity", "User-Agent": f"plkd/{__version__}"}
        start, mark = self._resume_from(url)
        if start:
            # With If-Range the server sends the whole file if it is no longer the same one.
            headers |= {"Range": f"bytes={start}-", "If-Range": mark}
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as answer:
            if answer.status_code == 416:
                self._forget()
                raise TransferError("the server has no bytes after those of the broken transfer")
            if not answer.ok:
                raise _refusal(answer)
            if answer.status_code != 206:
                start = 0
            elif not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                self._forget()
                raise TransferError("the server sent another part of the file than was asked for")
            if _is_web_page(answer, url):
                raise TransferError("the server sent a web page, not the file", final=True)
            length = answer.headers.get("Content-Length")
            total = start + int(length) if length is not None else None
            encoded = "Content-Encoding" in answer.headers and not url.endswith(".gz")
            if encoded:  # sent packed although it was not asked for: the length is of the packing
                total = None
            mark = _validator(answer)
            self._receive(
                url, start, total, mark, answer.raw.stream(BLOCK_BYTES, decode_content=encoded)
            )
        chunked = answer.headers.get("Transfer-Encoding", "").lower() == "chunked"
        return total is not None or chunked

    def _ftp(self, url: str) -> bool:
        parts = urlsplit(url)
        with ftplib.FTP(timeout=TIMEOUT_SECONDS) as server:
            server.connect(parts.hostname or "", parts.port or ftplib.FTP_PORT)
            server.login(parts.username or "", parts.password or "")
            server.voidcmd("TYPE I")
            path = unquote(parts.path)
            total = server.size(path)
            try:
                changed = server.sendcmd(f"MDTM {path}")
            except ftplib.Error:
                changed = ""
            mark = f"{total} {changed}"
            start, known_mark = self._resume_from(url)
            start = start if mark == known_mark else 0
            with server.transfercmd(f"RETR {path}", rest=start or None) as connection:
                blocks = iter(lambda: connection.recv(BLOCK_BYTES), b"")
                self._receive(url, start, total, mark, blocks)
            server.voidresp()
        return total is not None

    def _receive(
        self, url: str, start: int, total: int | None, mark: str, blocks: Iterator[bytes]
    ) -> None:
        """Write what comes, and complain if it is not all."""
        total = self.size if total is None else total
        _require_space(self.partial.parent, (total or 0) * self.times_size - start, url)
        self._note.write_text(json.dumps({"url": url, "mark": mark}))
        name = Path(urlsplit(url).path).name or url
        with (
            self.partial.open("ab" if start else "wb") as file,
            ProgressBar(total=total, initial=start, desc=name, unit="B", unit_scale=True) as bar,
        ):
            file.truncate(start)
            for block in blocks:
                file.write(block)
                bar.update(len(block))
        have = self._have()
        if total is not None and have < total:
            raise TransferError(f"the connection ended after {have:,} of {total:,} bytes")
        if total is not None and have > total:
            self._forget()
            raise TransferError(f"{have:,} bytes came, {total:,} were announced")

    # ------------------------------------------------------------------------- what is there yet

    @property
    def _note(self) -> Path:
        return self.partial.with_name(f"{self.partial.name}.json")

    def _have(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0

    def _resume_from(self, url: str) -> tuple[int, str]:
        """Bytes to keep, and what the server called the file they are of."""
        try:
            note = json.loads(self._note.read_text())
            if note["url"] == url and note["mark"]:
                return self._have(), note["mark"]
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return 0, ""

    def _forget(self) -> None:
        self.partial.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


def reason_of(error: Exception) -> str:
    """What an exception says, in one line, without the exception that it may wrap."""
    said = error.args[0] if error.args and isinstance(error.args[0], str) else error
    return " ".join(str(said).split()) or type(error).__name__


def _refusal(answer: requests.Response) -> TransferError:
    status = answer.status_code
    text = answer.headers.get("Retry-After", "")
    return TransferError(
        f"the server answers {status} {answer.reason}".rstrip(),
        final=400 <= status < 500 and status not in (408, 425, 429),
        wait=min(float(text), LONGEST_PAUSE) if text.isdigit() else 0.0,
    )


def _is_web_page(answer: requests.Response, url: str) -> bool:
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return kind == "text/html" and not urlsplit(url).path.lower().endswith((".html", ".htm"))


def _validator(answer: requests.Response) -> str:
    """What tells this version of the file from others; empty if the server does not say."""
    tag = answer.headers.get("ETag", "")
    if tag and not tag.startswith("W/"):
        return tag
    return answer.headers.get("Last-Modified", "")


def _require_space(folder: Path, n_bytes: float, url: str) -> None:
    free = shutil.disk_usage(folder).free
    if n_bytes + SPARE_BYTES > free:
        raise InputError(
            f"'{url}' needs {n_bytes / 1e9:.1f} GB, and '{folder}' has {free / 1e9:.1f} GB free: "
            "make room, or choose another place for `resources` (`pathvars`)."
        )
