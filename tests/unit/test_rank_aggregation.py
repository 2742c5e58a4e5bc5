"""The Q statistic against its definition as an integral, a simulation, and published values."""

from __future__ import annotations

import itertools
from math import factorial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import nquad

from plkd.interpret.rank_aggregation import aggregate, q_statistic, rank_ratios

ratios = st.lists(st.floats(0.01, 1.0), min_size=1, max_size=6)


def by_integration(r: list[float]) -> float:
    """N! times the integral over 0 < s_1 < r_1, s_1 < s_2 < r_2, .. (Stuart et al. 2003)."""
    r = sorted(r)
    n = len(r)
    # nquad integrates the first argument innermost: the last variable comes first
    limits = [
        (lambda *outer, k=k: (outer[0] if outer else 0.0, r[k])) for k in range(n - 1, 0, -1)
    ] + [(0.0, r[0])]
    value, _ = nquad(lambda *_: 1.0, limits)
    return factorial(n) * value


@pytest.mark.parametrize(
    "r", [[0.3], [0.2, 0.7], [0.5, 0.5], [0.1, 0.4, 0.9], [0.05, 0.05, 0.6], [0.3, 0.4, 0.5, 0.6]]
)
def test_is_the_integral_of_the_definition(r: list[float]) -> None:
    assert q_statistic(r) == pytest.approx(by_integration(r), rel=1e-6)


def test_is_the_chance_of_ordered_uniform_numbers_below_the_ratios() -> None:
    r = np.array([0.15, 0.3, 0.35, 0.6, 0.8])
    draws = np.sort(np.random.default_rng(0).random((400_000, 5)), axis=1)
    share = (draws <= r).all(axis=1).mean()
    error = np.sqrt(share * (1 - share) / len(draws))
    assert q_statistic(r) == pytest.approx(share, abs=4 * error)


@given(st.floats(0.001, 1.0), st.floats(0.001, 1.0))
def test_closed_forms_of_one_and_two_lists(a: float, b: float) -> None:
    low, high = sorted([a, b])
    assert q_statistic([a]) == pytest.approx(a)
    assert q_statistic([a, b]) == pytest.approx(2 * low * high - low**2)


@pytest.mark.parametrize("n", range(1, 11))
def test_equal_ratios_give_their_power_and_one_gives_one(n: int) -> None:
    assert q_statistic([1.0] * n) == pytest.approx(1.0)
    assert q_statistic([0.4] * n) == pytest.approx(0.4**n, rel=1e-6)


@given(ratios)
def test_lies_between_zero_and_one_in_any_order(r: list[float]) -> None:
    q = q_statistic(r)
    assert 0 <= q <= 1
    for order in itertools.islice(itertools.permutations(r), 4):
        assert q_statistic(list(order)) == q


@given(ratios, st.floats(0.1, 0.99))
def test_better_ranks_never_make_it_larger(r: list[float], factor: float) -> None:
    assert q_statistic([factor * r[0], *r[1:]]) <= q_statistic(r) + 1e-12


def test_many_items_at_once() -> None:
    table = np.random.default_rng(1).uniform(0.05, 1, size=(30, 5))
    np.testing.assert_allclose(q_statistic(table), [q_statistic(row) for row in table])


@pytest.mark.parametrize("bad", [[0.0, 0.5], [0.5, 1.1], [np.nan, 0.5], []])
def test_what_is_no_rank_ratio_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="rank ratios"):
        q_statistic(bad)


def test_largest_value_is_first_and_ties_share_the_mean_rank() -> None:
    np.testing.assert_allclose(rank_ratios([5.0, 9.0, 5.0, 1.0]), [2.5 / 4, 0.25, 2.5 / 4, 1.0])
    np.testing.assert_allclose(rank_ratios([7.0, 7.0, 7.0]), [2 / 3] * 3)
    np.testing.assert_allclose(rank_ratios([0.0, 0.0]), [0.75] * 2)
    # rounding is no difference, at any scale
    np.testing.assert_allclose(rank_ratios([1e-8, 1e-8 * (1 + 1e-13), 0]), [0.5, 0.5, 1.0])


def test_the_item_that_leads_every_list_leads_the_aggregate() -> None:
    scores = pd.DataFrame(
        {"a": [3, 9, 1, 2], "b": [0.2, 0.9, 0.1, 0.1], "c": [0, 5, 0, 0]}, index=list("wxyz")
    )
    q = aggregate(scores)
    assert list(q.index) == list("wxyz")
    assert q.idxmin() == "x"
    assert q["x"] == pytest.approx(0.25**3)
    assert q["w"] < q["y"]
    assert aggregate(scores.iloc[:0]).empty
    assert aggregate(scores.iloc[:1]).tolist() == [1.0]
