"""Shipped configurations of data sets, as they are true of a miniature twin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from plkd.settings.datasets import part_of_cell
from twins.common import Truth

GENES = 800


def for_twin(content: Mapping[str, Any], truth: Truth) -> dict[str, Any]:
    """A shipped configuration without what is true of the real files alone."""
    changed = without(content, {"sha256", "size", "mirrors"})
    sides = [expected_cells(changed, side, truth) for side in ("reference", "query")]
    if "split" in changed:
        sides = sides[:1]
    both = pd.concat(sides)
    changed["expected"] = {
        "error": {"cells": len(both), "labels": both["label"].value_counts().to_dict()}
    }
    if changed["reference"].get("batch_key"):
        changed["expected"]["error"]["batches"] = both["batch"].value_counts().to_dict()
    changed["prepare"] = {"n_genes": GENES}
    return changed


def without(content: Any, keys: set[str]) -> Any:
    """A copy without some keys, at any depth."""
    if isinstance(content, dict):
        return {key: without(value, keys) for key, value in content.items() if key not in keys}
    if isinstance(content, list):
        return [without(one, keys) for one in content]
    return content


def expected_cells(content: Mapping[str, Any], side: str, truth: Truth) -> pd.DataFrame:
    """The twin's cells of one side: of its modality, in the batches and the part that it keeps."""
    source = content.get(side, content["reference"])
    table = truth.cells["atac" if "gene_activity" in source else "rna"]
    for values in source.get("keep", {}).values():
        table = table[table["batch"].isin(list(map(str, values)))]
    for values in source.get("drop", {}).values():
        table = table[~table["batch"].isin(list(map(str, values)))]
    if part := source.get("part"):
        table = table[[part_of_cell(name, part["of"]) == part["number"] for name in table.index]]
    return table
