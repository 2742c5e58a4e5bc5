"""The paper's numbers, and what is found here beside them.

What is found comes as a long table with the columns :data:`FOUND`: `dataset` by the name that the
paper gives it (or by its own), `condition` what distinguishes numbers of one data set (modality,
what was changed, group of abundance, ratio), `variant` the settings of our models, empty for other
methods.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import t

from plkd.evaluation.tables import SHARE_PAIRED
from plkd.utils.tables import Columns

NUMBER_COLUMNS: Columns = {
    **dict.fromkeys(("where", "dataset", "condition", "method", "measure"), str),
    "value": float,
}
"""Columns of the numbers that the paper gives, ``resources/paper/table2.tsv`` and so on."""
METHOD_COLUMNS: Columns = dict.fromkeys(("id", "name", "task", "reference", "here", "reason"), str)
"""Columns of ``resources/paper/methods.tsv``: `here` is the id in the registry of methods, if it is
another one, and `reason` why a method cannot be run here."""
CELL = ["dataset", "condition", "method", "measure"]
FOUND = [*CELL, "variant", "seed", "value"]
RESULT_COLUMNS: Columns = {
    **dict.fromkeys(("where", "dataset", "condition", "method", "variant", "measure"), str),
    **dict.fromkeys(("paper", "here", "difference", "low", "high"), float),
    "seeds": int, "note": str,
}  # fmt: skip
"""Columns of :func:`beside`."""
OURS = ("student", "teacher")
FULL = "full"
"""The condition of Table 5 in which nothing was changed."""


def found_table(
    table: pd.DataFrame,
    measures: Sequence[str],
    names: Mapping[str, str],
    condition: str | Callable[[pd.DataFrame], pd.Series] = "",
) -> pd.DataFrame:
    """Bring a table of scores into the form of :data:`FOUND`.

    Parameters
    ----------
    table
        `dataset`, `variant`, `seed`, `method` and columns of scores.
    measures
        The scores to take.
    names
        Data set -> its name in the paper, where it has one.
    condition
        The condition, or a function of the table that gives one for every row.
    """
    given = condition(table) if callable(condition) else condition
    wide = table.assign(
        condition=given,
        dataset=[names.get(name) or name for name in table["dataset"]],
        variant=table["variant"].where(table["method"].isin(OURS), ""),
    )
    long = wide.melt(
        ["dataset", "condition", "method", "variant", "seed"], measures, "measure", "value"
    )
    return long.dropna(subset="value").drop_duplicates([*CELL, "variant", "seed"])[FOUND]


def mean_and_interval(found: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Mean over the seeds of every number, with the interval of Student's t (NaN for one seed).

    Returns
    -------
    DataFrame
        :data:`CELL`, `variant`, `here`, `low`, `high`, `seeds`.
    """
    keys = [*CELL, "variant"]
    # of an empty table the columns have no types
    found = found.astype({**dict.fromkeys(keys, object), "value": float})
    groups = found.groupby(keys, sort=False)["value"]
    table = groups.agg(here="mean", sd="std", seeds="size").reset_index()
    half = t.ppf((1 + level) / 2, (table["seeds"] - 1).clip(lower=1)) * table["sd"]
    half /= np.sqrt(table["seeds"])
    return table.assign(low=table["here"] - half, high=table["here"] + half).drop(columns="sd")


def beside(
    paper: pd.DataFrame,
    found: pd.DataFrame,
    where: str,
    reason: Callable[[str, str], str] = lambda dataset, method: "not run",
    ids: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Put what is found beside what the paper says; every number of either is kept.

    Parameters
    ----------
    paper
        Columns of :data:`NUMBER_COLUMNS`.
    found
        Columns :data:`FOUND`.
    where
        Table or figure of the paper.
    reason
        Says of a data set and a method of the paper why there is nothing of them here.
    ids
        Method of the paper -> its id here, where that is another one.

    Returns
    -------
    DataFrame
        Columns of :data:`RESULT_COLUMNS`: `difference` is here minus paper, `low` and `high` are
        the 95 % interval of the mean over `seeds`.
    """
    said = paper.drop(columns="where").rename(columns={"value": "paper"})
    said = said.assign(method=said["method"].replace(dict(ids or {})))
    said = said.astype(dict.fromkeys(CELL, object))
    summary = mean_and_interval(found)
    table = said.merge(summary, on=CELL, how="outer", sort=False)
    order = {cell: i for i, cell in enumerate(map(tuple, said[CELL].to_numpy()))}
    place = [order.get(cell, len(order)) for cell in map(tuple, table[CELL].to_numpy())]
    table = table.iloc[np.argsort(place, kind="stable")].reset_index(drop=True)
    names = zip(table["dataset"], table["method"], table["here"].notna(), strict=True)
    return table.assign(
        where=where,
        variant=table["variant"].fillna(""),
        seeds=table["seeds"].fillna(0).astype(int),
        difference=table["here"] - table["paper"],
        note=["" if is_here else reason(dataset, method) for dataset, method, is_here in names],
    )[list(RESULT_COLUMNS)]


def with_expected(
    paper: pd.DataFrame, expected: pd.DataFrame, ids: Mapping[str, str]
) -> pd.DataFrame:
    """Add cells that the paper gives no number of, and in which there is to be one or a reason.

    Parameters
    ----------
    paper
        Columns of :data:`NUMBER_COLUMNS`.
    expected
        Columns :data:`CELL`, the methods by their ids here.
    ids
        Method of the paper -> its id here, where that is another one.
    """
    known = paper.assign(method=paper["method"].replace(dict(ids)))[CELL]
    new = expected.merge(known, on=CELL, how="left", indicator=True)["_merge"] == "left_only"
    return pd.concat([paper, expected[new.to_numpy()].assign(value=np.nan)], ignore_index=True)


def reasons(
    datasets: Collection[str],
    methods: pd.DataFrame,
    chosen: Collection[str],
    told: Mapping[tuple[str, str], str] | None = None,
) -> Callable[[str, str], str]:
    """Why a cell of the paper is empty here, as a function of data set and method.

    Parameters
    ----------
    datasets
        Names (in the paper) of the data sets of this run.
    methods
        Columns of :data:`METHOD_COLUMNS`.
    chosen
        Ids (here) of the methods of this run.
    told
        What methods said that could not run, by data set and id here.
    """
    here = dict(zip(methods["here"].where(methods["here"] != "", methods["id"]), methods["reason"],
                    strict=True))  # fmt: skip

    def reason(dataset: str, method: str) -> str:
        if dataset not in datasets:
            return "the data set is not among `datasets`"
        if (told or {}).get((dataset, method)):
            return (told or {})[dataset, method]
        if here.get(method):
            return here[method]
        if method not in chosen:
            return "not among the methods of the configuration"
        return "it gave no result on this data set"

    return reason


def ablation_of(variants: Collection[str]) -> dict[str, tuple[str, str]]:
    """Variants by what they change: ``paper.no_mask`` is the change no_mask of the variant paper.

    >>> ablation_of(["default", "default.no_mask", "other.x"])
    {'default': ('default', 'full'), 'default.no_mask': ('default', 'no_mask')}
    """
    found = {}
    for variant in variants:
        base, _, change = variant.partition(".")
        if base in variants:
            found[variant] = (base, change or FULL)
    return found


def agreement(one: pd.DataFrame, two: pd.DataFrame) -> float:
    """Share of the cells that two modalities measure which get the same label from both.

    Parameters
    ----------
    one, two
        `cell_id` and `label` of either modality.

    Returns
    -------
    float
        NaN where fewer than nine in ten cells of the smaller one are in the other.
    """
    first, second = (table.set_index("cell_id")["label"].astype(str) for table in (one, two))
    shared = first.index.intersection(second.index)
    if len(shared) < SHARE_PAIRED * min(len(first), len(second)):
        return np.nan
    return float((first[shared] == second[shared]).mean())


def found_genes(
    paper: pd.DataFrame, key_genes: pd.DataFrame, where: str = "Figure 5"
) -> pd.DataFrame:
    """The genes that the paper names, and where they stand here.

    Parameters
    ----------
    paper
        `dataset`, `label`, `gene`.
    key_genes
        `dataset`, `variant`, `seed`, and the columns of the key genes of a run.

    Returns
    -------
    DataFrame
        `where`, `dataset`, `label`, `gene`, `variant`, `runs` (with this label), `measured` (among
        the genes of either pool), `key` (runs in which it is a key gene), `attribution_rank` (the
        median over runs); without a run `variant` is empty.
    """
    rows = []
    for dataset, label, gene in paper[["dataset", "label", "gene"]].itertuples(index=False):
        of_label = key_genes[(key_genes["dataset"] == dataset) & (key_genes["label"] == label)]
        row = {"where": where, "dataset": dataset, "label": label, "gene": gene}
        if of_label.empty:
            rows.append({**row, "variant": "", "runs": 0})
        for variant, runs in of_label.groupby("variant", sort=False):
            found = runs[runs["gene"] == gene]
            rows.append(
                {
                    **row,
                    "variant": variant,
                    "runs": runs["seed"].nunique(),
                    "key": int(found["key"].sum()),
                    "attribution_rank": found["attribution_rank"].astype(float).median(),
                }
            )
    columns = ["where", "dataset", "label", "gene", "variant", "runs", "key", "attribution_rank"]
    return pd.DataFrame(rows).reindex(columns=columns)
