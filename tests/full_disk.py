"""A disk that is full, for any user, on any file system."""

from __future__ import annotations

import gc
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def full_disk(n_bytes: int = 200_000) -> Iterator[None]:
    """No file can become larger: the system refuses to write as on a full disk.

    Files of other tests that nobody has closed are let go of first: HDF5 writes when it closes one,
    and what it cannot write then ends the process.
    """
    gc.collect()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python ignores the signal, so that a write fails; a library may have thought otherwise
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
