"""Work on pieces of data side by side, in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def in_order(
    work: Callable[[Piece], Result], pieces: Iterable[Piece], workers: int
) -> Generator[Result]:
    """Yield the results of pieces in their order, while the next ones are worked on.

    The pieces are fetched where this is called, so that they need not be safe to fetch from
    threads, and only a few more than are worked on are held. The threads end with the last piece,
    or when this is closed. It pays where `work` spends its time
    in numpy, scipy or torch, which let other threads run.

    Parameters
    ----------
    work
        Called with each piece.
    pieces
        Any iterable.
    workers
        Threads; with one the pieces are fetched and worked on in turn, without any thread.

    Examples
    --------
    >>> list(in_order(len, ["a", "bcd", ""], workers=2))
    [1, 3, 0]
    """
    if workers <= 1:
        yield from map(work, pieces)
        return
    with ThreadPoolExecutor(workers) as pool:
        running: deque[Future[Result]] = deque()
        try:
            for piece in pieces:
                running.append(pool.submit(work, piece))
                if len(running) > workers:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:  # where a piece failed, or no more results are wanted
            for future in running:
                future.cancel()
