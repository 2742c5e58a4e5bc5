"""Verdicts on claims: what speaks to them, and in which words.

A claim is refuted by one counterexample, and holds only if all that it speaks of was run: a lead
over the methods that happened to run is not one over the methods of the paper.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from scipy.stats import t

HOLDS, FAILS = "holds", "does not hold"
PARTLY = "cannot be checked in full"
"""It holds in all that was run, but a part of what the claim speaks of was not."""
OPEN = "cannot be checked here"
COMPARABLE = 0.015
"""A score so little behind another one is comparable, as the paper uses the word: in its Table 2
the macro F1 of PBMC is that much behind scBERT's."""
TINY = 1e-9
"""What floating point may take from a difference of numbers with three digits."""
CONTROLS = ("majority", "random", "true_labels")

Verdict = tuple[str, str]
"""One of the four, and the number that speaks to the claim."""


@dataclass(frozen=True)
class Evidence:
    """What speaks to the claims, of one variant of the settings.

    Attributes
    ----------
    results, unseen
        As for :func:`plkd.paper.claims.check_claims`.
    variant
        The settings that are judged.
    n_weights
        Weights of the Teacher, with and without those that the mask makes zero, and of the Student;
        None without a model.
    """

    results: Mapping[str, pd.DataFrame]
    variant: str
    n_weights: tuple[int, int, int] | None
    unseen: pd.DataFrame

    def ours(self, table: pd.DataFrame, method: str = "student") -> pd.DataFrame:
        """Rows of a model of ours that has a number here."""
        return run_here(table[(table["method"] == method) & (table["variant"] == self.variant)])


def judged(ok: bool, text: str, missing: Iterable[str] = ()) -> Verdict:
    """Verdict and number; `missing` is what the claim speaks of and was not run."""
    lacking = "; ".join(missing)
    if lacking:
        text += f". Not checked: {lacking}"
    return (FAILS if not ok else PARTLY if lacking else HOLDS), text


def name_rivals(
    others: pd.DataFrame, place: list[str], judged_on: list[Any], named: Collection[str]
) -> tuple[str, list[str]]:
    """Who ran beside ours, in words, and which of the named methods did not run everywhere."""
    ran_on = {
        str(name): set(table[place].itertuples(index=False, name=None))
        for name, table in others.groupby("method")
    }
    ran = sorted(name for name, places in ran_on.items() if places & set(judged_on))
    full = {name for name in ran if ran_on[name] >= set(judged_on)}
    lacking = [name for name in named if name not in full]
    text = f"beside {', '.join(ran)}"
    if not lacking:
        return text, []
    return text, [
        f"{len(lacking)} of the {len(named)} methods that it speaks of ({', '.join(lacking)})"
    ]


def not_run(asked: Iterable[tuple[str, ...]], judged_on: Collection[Any]) -> list[str]:
    """Data sets of the paper that a claim speaks of, and that were not judged."""
    lacking = [" ".join(filter(None, place)) for place in asked if place not in judged_on]
    return [f"the data of {', '.join(lacking)}"] if lacking else []


def run_here(table: pd.DataFrame) -> pd.DataFrame:
    """Rows that have a number here."""
    return table.dropna(subset="here")


def named(place: Any) -> str:
    """Where a number stands, in words: a data set, or a data set and what tells its numbers apart.

    >>> named("BMMC"), named(("Muto-2021", "ATAC")), named(("BMMC", ""))
    ('BMMC', 'Muto-2021 ATAC', 'BMMC')
    """
    return " ".join(filter(None, place)) if isinstance(place, tuple) else place


PLACE = ["dataset", "modality"]
"""What tells numbers of one condition apart, with :func:`with_modality`."""


def with_modality(table: pd.DataFrame) -> pd.DataFrame:
    """Put a modality that stands before the condition of a number into a column of its own.

    >>> table = pd.DataFrame({"condition": ["query", "ATAC, query"]})
    >>> with_modality(table).to_dict("list")
    {'condition': ['query', 'query'], 'modality': ['', 'ATAC']}
    """
    both = r"^(?:(?P<modality>.*), )?(?P<condition>.*)$"
    parts = table["condition"].astype(str).str.extract(both).fillna("")
    return table.assign(condition=parts["condition"], modality=parts["modality"])


def over_the_best(ours: pd.DataFrame, others: pd.DataFrame, keys: list[str]) -> pd.Series:
    """How far ours is ahead of the best of the others, by `keys`."""
    best = others.groupby(keys)["here"].max()
    return (ours.set_index(keys)["here"] - best).dropna()


def weigh_lead(lead: pd.Series, least: float, whom: str) -> tuple[bool, str]:
    """Whether a lead is at least so large everywhere, in words."""
    worst: Any = lead.idxmin()
    n = int((lead >= least - TINY).sum())
    bound = f"at most {abs(least):.3f} behind" if least < 0 else "not behind"
    text = (
        f"{lead.mean():+.3f} against {whom} in the mean of {len(lead)}; {bound} in {n}, to hold "
        f"in all; least {lead.min():+.3f} ({named(worst)})"
    )
    return n == len(lead), text


def never_rises(scores: pd.DataFrame) -> bool:
    """Whether no score is above the one before it by more than two standard errors of the change.

    Parameters
    ----------
    scores
        `here`, `low`, `high`, `seeds` in order; one seed allows no rise.
    """
    half = (scores["high"] - scores["low"]) / 2
    error = (half / t.ppf(0.975, (scores["seeds"] - 1).clip(lower=1))).fillna(0.0)
    allowed = 2 * (error**2 + error.shift() ** 2) ** 0.5
    return bool((scores["here"].diff() <= allowed).iloc[1:].all())


def short_name(measure: str) -> str:
    """A measure as a text calls it."""
    return {"adjusted_rand_index": "ARI", "macro_f1": "macro F1", "f1": "F1"}.get(measure, measure)


def digits(values: pd.Series) -> str:
    """Numbers with three digits, one after the other; a dash where there is none."""
    return " ".join("-" if pd.isna(value) else f"{value:.3f}" for value in values)
