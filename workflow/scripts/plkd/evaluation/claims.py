"""Does what the paper claims hold here? Each claim beside the numbers that speak to it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from plkd.evaluation.paper import CELL, FULL, OURS
from plkd.utils.tables import Columns

CLAIM_COLUMNS: Columns = dict.fromkeys(("id", "section", "claim"), str)
"""Columns of ``resources/paper/claims.tsv``."""
VERDICT_COLUMNS: Columns = {
    **dict.fromkeys(("id", "section", "claim", "variant", "verdict", "number"), str)
}
"""Columns of :func:`check_claims`."""
HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be checked here"


def check_claims(
    claims: pd.DataFrame,
    results: Mapping[str, pd.DataFrame],
    variants: Sequence[str],
    n_weights: Mapping[str, tuple[int, int, int]],
    unseen: pd.DataFrame,
) -> pd.DataFrame:
    """Say of each claim of the paper whether it holds here, and by which number.

    Parameters
    ----------
    claims
        Columns of :data:`CLAIM_COLUMNS`.
    results
        `table2` to `table6` and `figure4`, `figure6`, `figure7` (:func:`beside`), `figure5`
        (:func:`found_genes`).
    variants
        Settings that are not an ablation; each is judged on its own.
    n_weights
        By variant the weights of the Teacher, with and without those that the mask makes zero, and
        of the Student.
    unseen
        `variant`, `auroc_unseen`, `share_unseen_unknown` of the Student's runs.

    Returns
    -------
    DataFrame
        Columns of :data:`VERDICT_COLUMNS`; `verdict` is :data:`HOLDS`, :data:`FAILS` or
        :data:`OPEN`. The thresholds stand in `number`.
    """
    checks = _checks(results, n_weights, unseen)
    rows = []
    for claim in claims.to_dict("records"):
        for variant in variants:
            holds, number = checks.get(claim["id"], _unchecked)(variant)
            verdict = OPEN if holds is None else HOLDS if holds else FAILS
            rows.append({**claim, "variant": variant, "verdict": verdict, "number": number})
    return pd.DataFrame(rows)[list(VERDICT_COLUMNS)]


Verdict = tuple[bool | None, str]


def _unchecked(variant: str) -> Verdict:
    return None, "no number of this run speaks to it"


def _checks(
    results: Mapping[str, pd.DataFrame],
    n_weights: Mapping[str, tuple[int, int, int]],
    unseen: pd.DataFrame,
) -> dict[str, Callable[[str], Verdict]]:
    annotation = pd.concat([results["table2"], results["table4"]], ignore_index=True)
    annotation = annotation[annotation["condition"] != "agreement"]

    def best(variant: str, only: Collection[str] = ()) -> Verdict:
        chosen = annotation[annotation["measure"].isin(["accuracy", "macro_f1"])]
        if only:
            chosen = chosen[chosen["dataset"].isin(only)]
        ours = _ours(chosen, variant, "student")
        others = chosen[~chosen["method"].isin((*OURS, "majority", "random", "true_labels"))]
        best_other = others.dropna(subset="here").groupby([*CELL[:2], "measure"])["here"].max()
        lead = (ours.set_index([*CELL[:2], "measure"])["here"] - best_other).dropna()
        return _lead(lead, -0.01, "the best of the other methods")

    def ahead_of_pca(variant: str, measure: str) -> Verdict:
        table = _here(results["table3"])
        held_out = table["condition"] == "query"
        table = table[(table["measure"] == measure) & held_out]
        ours = _ours(table, variant, "teacher").set_index("dataset")["here"]
        pca = table[table["method"] == "pca"].set_index("dataset")["here"]
        return _lead((ours - pca).dropna(), 0.0, f"PCA ({measure}, held-out batches)")

    def pair(variant: str, table: str, first: str, second: str, bound: float) -> Verdict:
        chosen = _here(results[table])
        ours = _ours(chosen[chosen["condition"].isin(["", "all"])], variant, "student")
        grid = ours.pivot_table(index="dataset", columns="measure", values="here")
        if not {first, second} <= set(grid):
            return None, "no data set with places in this run"
        return _lead((grid[first] - grid[second]).dropna(), bound, f"`{second}` ({first})")

    def small(variant: str) -> Verdict:
        if variant not in n_weights:
            return None, "no model in this run"
        teacher, stored, student = n_weights[variant]
        share = student / teacher
        return share <= 0.05, (
            f"Student {student:,}, Teacher {teacher:,} weights ({share:.1%}); without those that "
            f"the mask makes zero, which need not be stored, the Teacher has {stored:,}"
        )

    def keeps(variant: str) -> Verdict:
        chosen = annotation[annotation["measure"] == "accuracy"]
        keys = ["dataset", "condition"]
        both = [_ours(chosen, variant, one).set_index(keys)["here"] for one in OURS]
        return _lead((both[0] - both[1]).dropna(), -0.005, "the Teacher (accuracy)")

    def genes(variant: str) -> Verdict:
        table = results["figure5"]
        table = table[table["variant"] == variant]
        if table.empty:
            return None, "the data set is not in this run, or its labels were not explained"
        share = (table["key"] > 0).mean()
        named = ", ".join(table.loc[table["key"] > 0, "gene"]) or "none"
        return share >= 0.5, f"{share:.0%} of the named genes are key genes here: {named}"

    def modalities(variant: str) -> Verdict:
        table = results["table4"]
        ours = _ours(table[table["measure"] == "accuracy"], variant, "student")
        grid = ours.pivot_table(index="dataset", columns="condition", values="here")
        if not {"RNA", "ATAC"} <= set(grid):
            return None, "no data set with both modalities in this run"
        return _lead((grid["ATAC"] - grid["RNA"]).dropna(), -0.02, "RNA (accuracy of ATAC)")

    def agree(variant: str) -> Verdict:
        table = results["table4"]
        ours = _ours(table[table["measure"] == "agreement"], variant, "student")
        if ours.empty:
            return None, "no data set of this run has two modalities of the same cells"
        return bool((ours["here"] >= 0.9).all()), _listed(ours.set_index("dataset")["here"])

    def drops(variant: str, change: str) -> pd.DataFrame:
        """What a change costs: a row per data set, columns model and measure."""
        table = _here(results["table5"])
        table = table[table["variant"] == variant]
        keys = ["dataset", "method", "measure"]
        full = table[table["condition"] == FULL].set_index(keys)["here"]
        changed = table[table["condition"] == change].set_index(keys)["here"]
        cost = (full - changed).dropna().rename("cost").reset_index()
        return cost.pivot_table(index="dataset", columns=["method", "measure"], values="cost")

    def ablation(variant: str, change: str, check: Callable[[pd.DataFrame], bool]) -> Verdict:
        cost = drops(variant, change)
        if cost.empty:
            return None, "no ablation in this run"
        mean = cost.mean().reset_index().to_numpy()
        said = ", ".join(f"{model} {measure}: {-one:+.3f}" for model, measure, one in mean)
        return check(cost), f"{change}, mean over {len(cost)} data sets: {said}"

    def resists(cost: pd.DataFrame) -> bool:
        return bool((cost["student"]["accuracy"] < cost["teacher"]["accuracy"]).all())

    def severe(cost: pd.DataFrame) -> bool:
        by_measure = cost.T.groupby(level="measure").min().T
        return bool(
            (by_measure["accuracy"] > 0.02).all()
            and (by_measure["adjusted_rand_index"] > 0.05).all()
        )

    def integration(variant: str) -> Verdict:
        table = _here(results["figure6"])
        table = table[(table["measure"] == "overall") & (table["condition"] == "")]
        ours = _ours(table, variant, "student").set_index("dataset")["here"]
        others = table[~table["method"].isin(OURS)].groupby("dataset")["here"].max()
        return _lead((ours - others).dropna(), 0.0, "the other methods that ran (overall)")

    def rare(variant: str) -> Verdict:
        table = _ours(_here(results["table6"]), variant, "student")
        grid = table.pivot_table(index="dataset", columns=["condition", "measure"], values="here")
        groups = [group for group in ("high", "medium") if (group, "f1") in grid]
        if ("low", "f1") not in grid or not groups:
            return None, "no data set of this run has types of several groups"
        others = pd.concat([grid[group]["f1"] for group in groups], axis=1).mean(axis=1)
        return _lead((grid["low"]["f1"] - others).dropna(), -0.05, "the abundant types (F1)")

    def gradual(variant: str) -> Verdict:
        table = _here(results["figure7"])
        table = table[(table["method"] == "student") & (table["variant"] == variant)]
        if table.empty:
            return None, "no imbalance in this run"
        named = table["condition"].str.rsplit(" ", n=1, expand=True)
        table = table.assign(minor=named[0], ratio=named[1].str.split(":").str[0].astype(int))
        grid = table.pivot_table(index=["dataset", "minor"], columns="ratio", values="here")
        first, last = grid[grid.columns.min()], grid[grid.columns.max()]
        kept = last / first
        minors = zip(grid.index.get_level_values("minor"), first, last, strict=True)
        said = ", ".join(f"{minor} {start:.2f} to {end:.2f}" for minor, start, end in minors)
        return bool((kept > 0.5).all()), f"F1 at the least and the largest ratio: {said}"

    def novel(variant: str) -> Verdict:
        table = unseen[(unseen["variant"] == variant)].dropna(subset="auroc_unseen")
        if table.empty:
            return None, "no query of this run has types that the reference lacks"
        area, share = table["auroc_unseen"].mean(), table["share_unseen_unknown"].mean()
        return (
            share < 0.1,
            f"area under the curve {area:.3f}; {share:.0%} of such cells are flagged",
        )

    return {
        "best_annotation": best,
        "strong_batch_effects": lambda variant: best(variant, ("Pan-cancer", "DLPFC")),
        "removes_batch_effects": lambda variant: ahead_of_pca(variant, "kbet"),
        "separates_types": lambda variant: ahead_of_pca(variant, "cell_type_asw"),
        "accurate_at_boundaries": lambda variant: pair(
            variant, "figure4", "accuracy_boundary", "accuracy_inside", -0.05
        ),
        "spatially_coherent": lambda variant: pair(
            variant, "figure4", "coherence", "coherence_true", -0.05
        ),
        "small_student": small,
        "student_keeps_accuracy": keeps,
        "key_genes": genes,
        "cross_modal": modalities,
        "modalities_agree": agree,
        "losses_matter": lambda variant: ablation(variant, "no_losses", severe),
        "mask_not_needed": lambda variant: ablation(
            variant, "no_mask", lambda cost: bool((cost < 0.03).all(axis=None))
        ),
        "noise_lowers": lambda variant: ablation(
            variant, "noise_20", lambda cost: bool((cost > 0).all(axis=None))
        ),
        "student_resists_noise": lambda variant: ablation(variant, "noise_20", resists),
        "best_integration": integration,
        "rare_types": rare,
        "degrades_gradually": gradual,
        "novel_types": novel,
    }


def _here(table: pd.DataFrame) -> pd.DataFrame:
    return table.dropna(subset="here")


def _ours(table: pd.DataFrame, variant: str, method: str) -> pd.DataFrame:
    return _here(table[(table["method"] == method) & (table["variant"] == variant)])


def _lead(lead: pd.Series, least: float, whom: str) -> Verdict:
    """Whether a lead is at least so large everywhere, in words."""
    if lead.empty:
        return None, f"nothing to compare with: {whom}"
    worst: Any = lead.idxmin()
    place = " ".join(filter(None, worst)) if isinstance(worst, tuple) else worst
    n = int((lead >= least).sum())
    text = f"{lead.mean():+.3f} against {whom} in the mean of {len(lead)}"
    if len(lead) > 1:
        text += f"; not more than {-least:.3f} behind in {n}; least {lead.min():+.3f} ({place})"
    return n == len(lead), text


def _listed(values: pd.Series) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())
