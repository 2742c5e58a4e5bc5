"""Counts of a data set: what was expected, and what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from plkd.errors import InputError
from plkd.utils.tables import Columns
from plkd.utils.text import listed

LEVELS = ("error", "warning")
EXPECTED_COLUMNS: Columns = {
    **dict.fromkeys(("quantity", "level", "expected", "found"), str),
    "agrees": bool,
}
"""Columns of the comparison that :func:`compare_counts` makes."""
LISTED = 10


def compare_counts(expected: Mapping[str, Any], report: Mapping[str, Any]) -> pd.DataFrame:
    """Hold the counts of a prepared data set against those that its configuration expects.

    Reference and query are counted together; a group (label or batch) may be on both sides.

    Parameters
    ----------
    expected
        The key `expected` of a data set: under `error` and `warning` any of `cells`, `genes` (of
        the reference's file): a number or [least, most]; `labels`, `batches`: a number,
        [least, most], names, or numbers of cells by name; `cells_of_label`: numbers of cells of
        some labels.
    report
        What :func:`plkd.preparation.prepare.prepare_dataset` reports.

    Returns
    -------
    DataFrame
        `quantity`, `level` (error or warning), `expected`, `found` (texts), `agrees` (bool).
    """
    found = found_counts(report)
    rows = []
    for level in LEVELS:
        for quantity, wanted in (expected.get(level) or {}).items():
            kind = {"cells_of_label": "labels"}.get(quantity, quantity)
            agrees, wanted_text, found_text = _compare(wanted, found[kind], quantity == kind)
            rows.append((quantity, level, wanted_text, found_text, agrees))
    return pd.DataFrame(rows, columns=list(EXPECTED_COLUMNS))


def require_expected(comparison: pd.DataFrame) -> list[str]:
    """Warnings for what differs at the level `warning`.

    Raises
    ------
    InputError
        If anything differs at the level `error`.
    """
    texts = {
        level: [
            f"{row.quantity}: expected {row.expected}, found {row.found}"
            for row in comparison[~comparison["agrees"]].itertuples()
            if row.level == level
        ]
        for level in LEVELS
    }
    if texts["error"]:
        raise InputError(
            "the data set is not the expected one (`expected.error`): "
            + "; ".join(texts["error"])
            + ". Check that the files are the published ones and that nothing was left out; if the "
            "publisher has changed them, change `expected`."
        )
    return texts["warning"]


def found_counts(report: Mapping[str, Any]) -> dict[str, Any]:
    """Cells, genes, and cells per label and batch of reference and query together."""
    sides = [report["reference"], report["query"]]
    return {
        "cells": sum(side["cells"] for side in sides),
        "genes": report["reference"]["genes_read"],
        "labels": dict(sum((Counter(side["labels"]) for side in sides), Counter())),
        "batches": dict(sum((Counter(side["batches"]) for side in sides), Counter())),
    }


def _compare(wanted: Any, found: Any, all_groups: bool) -> tuple[bool, str, str]:
    """Whether a quantity agrees, and both sides as text."""
    is_group = isinstance(found, Mapping)
    if isinstance(wanted, Mapping):
        sizes = {str(name): size for name, size in wanted.items()}
        names = sorted(sizes.keys() | found.keys()) if all_groups else sorted(sizes)
        differing = [name for name in names if sizes.get(name) != found.get(name)]
        if not differing:
            return True, f"{len(sizes)} with their sizes", "the same"
        return (
            False,
            _named(f"{name} {sizes.get(name, 'absent')}" for name in differing),
            _named(f"{name} {found.get(name, 'absent')}" for name in differing),
        )
    if isinstance(wanted, Sequence) and is_group and not _is_range(wanted):
        asked = {str(name) for name in wanted}
        lacking, surplus = sorted(asked - found.keys()), sorted(found.keys() - asked)
        if not lacking and not surplus:
            return True, f"{len(asked)} by name", "the same"
        parts = [f"without {_named(lacking)}"] * bool(lacking)
        parts += [f"with {_named(surplus)}"] * bool(surplus)
        return False, f"{len(asked)} by name", ", ".join(parts)
    number = len(found) if is_group else found
    least, most = (wanted, wanted) if isinstance(wanted, int) else wanted
    text = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return least <= number <= most, text, f"{number:,}"


def _named(names: Iterable[str]) -> str:
    return listed(names, LISTED, quote="")


def _is_range(wanted: Sequence[Any]) -> bool:
    return len(wanted) == 2 and all(isinstance(one, int) for one in wanted)
