"""The paper's numbers, and what is found here beside them."""

from __future__ import annotations

from plkd.utils.tables import Columns

NUMBER_COLUMNS: Columns = {
    **dict.fromkeys(("where", "dataset", "condition", "method", "measure"), str),
    "value": float,
}
"""Columns of the numbers that the paper gives, ``resources/paper/table2.tsv`` and so on."""
CLAIM_COLUMNS: Columns = dict.fromkeys(("id", "section", "claim"), str)
"""Columns of ``resources/paper/claims.tsv``."""
