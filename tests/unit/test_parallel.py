"""Pieces are worked on side by side, and come back in their order."""

from __future__ import annotations

import threading

import pytest

from plkd.utils.parallel import in_order


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_are_in_the_order_of_the_pieces(workers):
    first_may_end = threading.Event()

    def work(piece: int) -> int:
        if piece == 0 and workers > 1:
            assert first_may_end.wait(10)  # by a later one
        first_may_end.set()
        return piece**2

    assert list(in_order(work, range(20), workers)) == [piece**2 for piece in range(20)]
    assert list(in_order(work, [], workers)) == []


def test_only_a_few_pieces_are_held():
    fetched = []

    def pieces():
        for piece in range(50):
            fetched.append(piece)
            yield piece

    for taken, _ in enumerate(in_order(str, pieces(), workers=2), start=1):
        assert len(fetched) <= taken + 3


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_in_a_piece_or_in_fetching_it_reaches_the_caller(workers):
    def broken():
        yield 1
        raise OSError("gone")

    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda piece: 1 // piece, [1, 0, 2], workers))
    with pytest.raises(OSError, match="gone"):
        list(in_order(str, broken(), workers))
