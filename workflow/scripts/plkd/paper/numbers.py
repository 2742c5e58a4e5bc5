"""The paper's numbers, and what is found here beside them.

What is found comes as a long table with the columns :data:`FOUND`: `dataset` by the name that the
paper gives it (or by its own), `condition` what distinguishes numbers of one name (modality, what
was changed, group of abundance, ratio), `variant` the settings of our models, empty for other
methods.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

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
METHOD_COLUMNS: Columns = dict.fromkeys(("id", "name", "task", "reference", "here"), str)
"""Columns of ``resources/paper/methods.tsv``: `here` is the id in the registry of methods, if it is
another one."""
CELL = ["dataset", "condition", "method", "measure"]
FOUND = [*CELL, "variant", "seed", "value"]
RESULT_COLUMNS: Columns = {
    **dict.fromkeys(("where", "dataset", "condition", "method", "variant", "measure"), str),
    **dict.fromkeys(("paper", "here", "difference", "low", "high"), float),
    "seeds": int, "note": str,
}  # fmt: skip
"""Columns of :func:`beside`."""
GENE_COLUMNS: Columns = {
    **dict.fromkeys(("where", "dataset", "label", "gene", "variant"), str),
    "runs": int, "key": "Int64", "attribution_rank": float, "note": str,
}  # fmt: skip
"""Columns of :func:`found_genes`: `runs` with the label; of these, those in which the gene is a key
gene; the median of its ranks."""
NO_DATASET = "the data set is not among `datasets`"
NO_TRUTH = "the query of this data set has no true labels (`labels_key`) to score by"
NO_LABEL = "no label of this name was explained in a run"
NO_POOL = "among the genes of neither pool"
NO_RANK = "among the genes of the network alone, which have no such rank"
OURS = ("student", "teacher")
VARIED = (*OURS, "student_slide")
"""Methods that the variants change."""
SAME = 1e-3
"""By so much may two results differ that are scores of the very same predictions or embedding."""
FULL = "full"
"""The condition of Table 5 in which nothing was changed."""


class Place(NamedTuple):
    """Where a data set stands in a table: its name there, and what tells it from others so called.

    Attributes
    ----------
    dataset
        Its name in the paper, or else its own.
    modality
        What is measured, where that belongs into the condition; else "".
    """

    dataset: str
    modality: str = ""

    def condition(self, within: str) -> str:
        """The condition of a number of this data set.

        >>> Place("Muto-2021", "ATAC").condition("query"), Place("BMMC").condition("query")
        ('ATAC, query', 'query')
        """
        return ", ".join(filter(None, (self.modality, within)))

    def within(self, dataset: str, condition: str) -> str | None:
        """What is left of a condition without the modality; None if it is not of this place.

        >>> Place("Muto-2021", "ATAC").within("Muto-2021", "ATAC, query")
        'query'
        >>> Place("Muto-2021", "RNA").within("Muto-2021", "RNA to ATAC")
        """
        if dataset != self.dataset:
            return None
        if not self.modality:
            return condition
        first, _, rest = condition.partition(", ")
        return rest if first == self.modality else None


def found_table(
    table: pd.DataFrame,
    measures: Sequence[str],
    places: Mapping[str, Place],
    condition: Callable[[pd.DataFrame], pd.Series] | None = None,
) -> pd.DataFrame:
    """Bring a table of scores into the form of :data:`FOUND`.

    Parameters
    ----------
    table
        `dataset`, `variant`, `seed`, `method` and columns of scores.
    measures
        The scores to take.
    places
        Where the data sets stand; others are left out.
    condition
        Gives what distinguishes rows of one data set, for every row.

    Raises
    ------
    ValueError
        If two numbers that differ would be one.
    """
    table = table[table["dataset"].isin(list(places))]
    where = [places[name] for name in table["dataset"]]
    within = condition(table) if condition else [""] * len(table)
    wide = table.assign(
        dataset=[place.dataset for place in where],
        condition=[place.condition(one) for place, one in zip(where, within, strict=True)],
        variant=table["variant"].where(table["method"].isin(VARIED), ""),
    )
    names = [*CELL[:3], "variant", "seed"]
    long = wide.melt(names, measures, "measure", "value").dropna(subset="value")
    values = long.astype({"value": float}).groupby([*names, "measure"])["value"]
    spread = values.max() - values.min()
    if (spread > SAME).any():
        largest: Any = spread.idxmax()
        cell = ", ".join(str(one) for one in largest if one != "")
        raise ValueError(f"numbers of different runs would be one in a table: {cell}")
    return long.drop_duplicates([*names, "measure"])[FOUND]


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
    reason: Callable[[str, str, str], str] = lambda *cell: "not run",
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
        Says of a data set, a condition and a method why there is nothing of them here.
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
    cells = zip(
        table["dataset"], table["condition"], table["method"], table["here"].notna(), strict=True
    )
    notes = ["" if is_here else reason(*cell) for *cell, is_here in cells]
    return table.assign(
        where=where,
        variant=table["variant"].fillna(""),
        seeds=table["seeds"].fillna(0).astype(int),
        difference=table["here"] - table["paper"],
        note=notes,
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


def completed(
    results: pd.DataFrame,
    variants: Sequence[str],
    reason: Callable[[str, str, str, str], str],
) -> pd.DataFrame:
    """Give every method a number, or the reason why it has none, in every column of a table.

    Parameters
    ----------
    results
        Columns of :data:`RESULT_COLUMNS`; a row without a variant stands for all variants of its
        method.
    variants
        Variants of which :data:`OURS` have rows, where any of them has a number.
    reason
        Says of a data set, a condition, a method and a variant why there is nothing.

    Returns
    -------
    DataFrame
        The same with the rows that were lacking behind, with what the paper says of the method.
    """
    column = ["dataset", "condition", "measure"]
    rows = list(results[["method", "variant"]].drop_duplicates().itertuples(index=False, name=None))
    if (results["method"].isin(OURS) & results["here"].notna()).any():
        rows = list(dict.fromkeys([*rows, *product(OURS, variants)]))
    varied = {method for method, variant in rows if variant}
    cells = results[["method", "variant", *column]]
    there = set(cells.itertuples(index=False, name=None))
    published = results.dropna(subset="paper").drop_duplicates(["method", *column])
    said = published.set_index(["method", *column])["paper"].to_dict()
    lacking = []
    for method, variant in rows:
        if method in varied and not variant:
            continue
        for cell in results[column].drop_duplicates().itertuples(index=False, name=None):
            if not there.isdisjoint({(method, variant, *cell), (method, "", *cell)}):
                continue
            dataset, condition, measure = cell
            lacking.append(
                {
                    "dataset": dataset, "condition": condition, "method": method,
                    "variant": variant, "measure": measure, "seeds": 0,
                    "paper": said.get((method, *cell), np.nan),
                    "note": reason(dataset, condition, method, variant),
                }
            )  # fmt: skip
    if not lacking:
        return results
    new = pd.DataFrame(lacking).assign(where=results["where"].iloc[0])
    new = new.reindex(columns=list(results)).astype(results.dtypes.to_dict())
    return pd.concat([results, new], ignore_index=True)


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
    paper: pd.DataFrame,
    key_genes: pd.DataFrame,
    datasets: Collection[str],
    where: str = "Figure 5",
) -> pd.DataFrame:
    """The genes that the paper names, and where they stand here.

    Parameters
    ----------
    paper
        `dataset`, `label`, `gene`.
    key_genes
        `dataset`, `variant`, `seed`, and the columns of the key genes of a run.
    datasets
        Names (in the paper) of the data sets of this run.

    Returns
    -------
    DataFrame
        Columns of :data:`GENE_COLUMNS`; without a run `variant` is empty.
    """
    rows = []
    for dataset, label, gene in paper[["dataset", "label", "gene"]].itertuples(index=False):
        of_label = key_genes[(key_genes["dataset"] == dataset) & (key_genes["label"] == label)]
        row = {"where": where, "dataset": dataset, "label": label, "gene": gene}
        if of_label.empty:
            note = NO_LABEL if dataset in datasets else NO_DATASET
            rows.append({**row, "variant": "", "runs": 0, "note": note})
        for variant, runs in of_label.groupby("variant", sort=False):
            found = runs[runs["gene"] == gene]
            rank = found["attribution_rank"].astype(float).dropna().median()
            rows.append(
                {
                    **row,
                    "variant": variant,
                    "runs": runs["seed"].nunique(),
                    "key": int(found["key"].sum()),
                    "attribution_rank": rank,
                    "note": NO_POOL if found.empty else NO_RANK if np.isnan(rank) else "",
                }
            )
    return pd.DataFrame(rows, columns=list(GENE_COLUMNS)).astype({"key": "Int64"})
