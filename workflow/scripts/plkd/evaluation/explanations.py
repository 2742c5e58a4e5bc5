"""Are the explanations true? What all runs say, in one table."""

from __future__ import annotations

import numpy as np
import pandas as pd

RUN = ["dataset", "variant", "seed"]
_MEASURED = ["check", "of", "ranking", "measure", "better"]


def explanations_table(
    areas: pd.DataFrame | None = None,
    markers: pd.DataFrame | None = None,
    pathways: pd.DataFrame | None = None,
    origins: pd.DataFrame | None = None,
    stability: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Gather the checks of many runs: mean and spread over seeds, beside chance.

    Parameters
    ----------
    areas
        Rows of :func:`plkd.evaluation.faithfulness.summarise_areas`, with the columns `dataset`,
        `variant` and `seed` in front, as all of these have.
    markers, pathways
        Rows of :func:`plkd.evaluation.marker_recovery.recovery_summary`.
    origins
        `origin_first_share` of ``pathways.json``, the share of the pathways made from a gene set
        that name it first (missing without a mask).
    stability
        Rows of :func:`plkd.interpret.key_genes.stability`, with `dataset` and `variant` alone.

    Returns
    -------
    DataFrame
        `dataset`, `variant`, `check`, `of` (model and items, or the size of the list), `ranking`,
        `measure`, `better` (lower or higher), `mean` and `sd` over the seeds (for the agreement of
        seeds the mean over labels, without `sd`), `n_seeds`, `by_chance` (a random ranking's).
    """
    parts = []
    if areas is not None:
        parts.append(_areas(areas))
    for check, table in (("known markers", markers), ("known pathways", pathways)):
        if table is not None:
            parts.append(_recovery(table, check))
    if origins is not None:
        parts.append(
            origins.dropna(subset="origin_first_share")
            .rename(columns={"origin_first_share": "value"})
            .assign(check="pathway of origin", of="Teacher: pathways", ranking="p-value",
                    measure="share in the first place", better="higher")
        )  # fmt: skip
    keys = ["dataset", "variant", *_MEASURED]
    tables = []
    if parts:
        runs = pd.concat(parts, ignore_index=True).reindex(
            columns=[*RUN, *_MEASURED, "value", "by_chance"]
        )
        grouped = runs.groupby(keys, sort=False)
        summary = grouped.agg(
            mean=("value", "mean"),
            sd=("value", "std"),
            n_seeds=("seed", "nunique"),
            by_chance=("by_chance", "mean"),
        )
        tables.append(summary.reset_index())
    if stability is not None and len(stability):
        tables.append(_agreement(stability))
    columns = [*keys, "mean", "sd", "n_seeds", "by_chance"]
    if not tables:
        return pd.DataFrame(columns=columns)
    joined = pd.concat(tables, ignore_index=True)[columns]
    # data sets and variants as they came, each with all its checks together
    order = joined.groupby(["dataset", "variant"], sort=False).ngroup()
    return joined.iloc[order.argsort(kind="stable")].reset_index(drop=True)


def _areas(areas: pd.DataFrame) -> pd.DataFrame:
    setting = [*RUN, "model", "items", "replaced_by", "curve"]
    random = areas[areas["ranking"] == "random"].set_index(setting)["area"]
    found = areas[areas["ranking"] != "random"].join(random.rename("by_chance"), on=setting)
    what = found["model"].str.capitalize() + ": " + found["items"] + ", by " + found["replaced_by"]
    return found.assign(
        check=found["curve"],
        of=what,
        measure="area under the curve",
        better=found["curve"].map({"deletion": "lower", "insertion": "higher"}),
        value=found["area"],
    )


def _recovery(summary: pd.DataFrame, check: str) -> pd.DataFrame:
    overall = summary[summary["label"] == "all labels"]
    of = "first " + overall["top"].astype(str)
    shared = overall.assign(check=check, of=of, better="higher")
    measures = {"precision": ("precision", "chance"), "recall": ("recall", None)}
    if "precision_planted" in overall:
        measures["precision, all planted genes"] = ("precision_planted", "chance_planted")
    tables = [
        shared.assign(
            measure=measure, value=overall[value], by_chance=overall[chance] if chance else np.nan
        )
        for measure, (value, chance) in measures.items()
    ]
    # data sets without planted genes have no such precision
    return pd.concat(tables).dropna(subset="value").sort_index(kind="stable")


def _agreement(stability: pd.DataFrame) -> pd.DataFrame:
    grouped = stability.groupby(["dataset", "variant", "top"], sort=False)
    table = grouped.agg(
        mean=("jaccard", "mean"), n_seeds=("runs", "max"), by_chance=("chance", "mean")
    ).reset_index()
    return table.assign(
        check="agreement of seeds",
        of="first " + table["top"].astype(str),
        ranking="attribution",
        measure="Jaccard index",
        better="higher",
        sd=float("nan"),
    )
