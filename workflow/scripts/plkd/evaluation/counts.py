"""Counts of the data sets beside those of the paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from plkd.preparation.expected_counts import found_counts
from plkd.utils.tables import Columns

PAPER = ("cells", "types", "batches")
PAPER_COLUMNS: Columns = dict.fromkeys(("dataset", *PAPER), str)
"""Columns of Table 1 of the paper (resources/paper/table1.tsv) that are shown."""


def counts_table(
    reports: Mapping[str, Mapping[str, Any]],
    paper_names: Mapping[str, str | None],
    paper: pd.DataFrame,
) -> pd.DataFrame:
    """Counts of all data sets of a run beside those of Table 1 of the paper.

    Parameters
    ----------
    reports
        What :func:`plkd.preparation.prepare.prepare_dataset` reports, by data set.
    paper_names
        Name of each data set in Table 1, or None.
    paper
        Table 1, its index the names: columns `cells`, `types`, `batches` (texts, "" where the
        paper gives none).

    Returns
    -------
    DataFrame
        One row per data set: `dataset`, `reference cells`, `query cells`, `cells`, `types`,
        `batches`, `genes` (selected), then `.. in the paper`, and `as expected`: yes, or what
        differs from the configuration.
    """
    rows = []
    for dataset, report in reports.items():
        found = found_counts(report)
        name = paper_names.get(dataset)
        said = dict(paper.loc[name]) if name in paper.index else {}
        checks = report.get("expected", [])
        differing = [
            f"{row['quantity']}: expected {row['expected']}, found {row['found']}"
            for row in checks
            if not row["agrees"]
        ]
        rows.append(
            {
                "dataset": dataset,
                "reference cells": report["reference"]["cells"],
                "query cells": report["query"]["cells"],
                "cells": found["cells"],
                "types": len(found["labels"]),
                "batches": len(found["batches"]),
                "genes": report["genes"]["selected"],
                **{f"{one} in the paper": said.get(one, "") for one in PAPER},
                "as expected": "; ".join(differing) or ("yes" if checks else ""),
            }
        )
    return pd.DataFrame(rows)
