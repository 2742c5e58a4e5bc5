"""The lock file of downloads: what was behind a URL the first time must be there ever after.

Most publishers of single-cell data give no checksums. The first download of a URL is therefore
recorded, and a later one that differs is refused, on this machine or, if the file is kept with the
project, on any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from filelock import FileLock

from plkd.errors import InputError
from plkd.utils.files import writable_folder
from plkd.utils.tables import Columns, read_tsv, write_tsv

COLUMNS: Columns = {"url": str, "sha256": str, "bytes": int}
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ChecksumLock:
    """A table of URLs with the SHA-256 and the size of the file behind each.

    Several processes may use it at once.

    Parameters
    ----------
    path
        A tab-separated file with the columns `url`, `sha256` and `bytes`; made when needed.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def known(self, url: str) -> str | None:
        """SHA-256 recorded for `url`, if there is one."""
        return self._read().get(url, {}).get("sha256")

    def enforce(self, url: str, sha256: str, n_bytes: int) -> None:
        """Record the file behind `url`, or compare it with what was recorded.

        Raises
        ------
        InputError
            If another file was recorded.
        """
        with self._alone():
            table = self._read()
            recorded = table.get(url)
            if recorded is None:
                table[url] = {"sha256": sha256, "bytes": n_bytes}
                self._write(table)
            elif recorded["sha256"] != sha256:
                raise InputError(
                    f"the file behind '{url}' has changed: its SHA-256 is {sha256} ({n_bytes:,} "
                    f"bytes), at the first download it was {recorded['sha256']} "
                    f"({recorded['bytes']:,} bytes). If the new one is what you want, delete its "
                    f"line in '{self.path}'."
                )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        writable_folder(self.path.parent)
        with FileLock(self.path.with_name(f".{self.path.name}.lock")):
            yield

    def _read(self) -> dict[str, dict]:
        if not self.path.exists():
            return {}
        table = read_tsv(self.path, COLUMNS)
        if not table["sha256"].str.fullmatch(_SHA256).all() or not table["url"].is_unique:
            raise InputError(
                f"the lock file '{self.path}' cannot be used: a checksum is not one, or a URL "
                "stands twice. Mend it or delete it."
            )
        return {
            url: {"sha256": sha256, "bytes": int(n_bytes)}
            for url, sha256, n_bytes in table[list(COLUMNS)].itertuples(index=False)
        }

    def _write(self, table: dict[str, dict]) -> None:
        rows = [{"url": url, **entry} for url, entry in sorted(table.items())]
        write_tsv(pd.DataFrame(rows, columns=list(COLUMNS)), self.path)
