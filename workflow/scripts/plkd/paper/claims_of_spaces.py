"""Claims on embeddings: batches (Table 3) and modalities (Figure 6) in one space."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pandas as pd

from plkd.evaluation.integration import PAIRED
from plkd.paper.numbers import OURS
from plkd.paper.verdicts import (
    OPEN,
    PLACE,
    TINY,
    Evidence,
    Verdict,
    judged,
    name_rivals,
    not_run,
    over_the_best,
    run_here,
    weigh_lead,
    with_modality,
)

INTEGRATORS = (
    "seurat", "glue", "harmony", "liger", "bindsc", "online_inmf", "covel", "unioncom",
    "scbutterfly", "kida",
)  # fmt: skip
"""The methods of Figure 6 by their ids here (section 3.2)."""
DATASETS = ("10x-Multiome", "Chen-2019", "Ma-2020", "Muto-2021")
"""The data sets of Figure 6 (section 3.1)."""
SCORES = {"overall": "", "biology": "query"}
"""What a lead in integration has to be one in, and of which cells."""


def ahead_of_pca(evidence: Evidence, measure: str) -> Verdict:
    table = with_modality(evidence.results["table3"])
    table = _scores(table, measure, "query")
    ours = evidence.ours(table, "teacher")
    lead = over_the_best(ours, run_here(table[table["method"] == "pca"]), PLACE)
    if lead.empty:
        return OPEN, "no embedding of ours and PCA of held-out batches in this run"
    return judged(*weigh_lead(lead, 0.0, f"PCA ({measure}, held-out batches, Teacher)"))


def best_integration(evidence: Evidence) -> Verdict:
    return _integration(evidence, lambda other: other, "as high as the best of the others")


def ten_percent(evidence: Evidence, rivals: Collection[str] = ()) -> Verdict:
    rule = "1.10 times the best of the others"
    return _integration(evidence, lambda other: 1.1 * other, rule, ["Chen-2019"], rivals)


def lead_over_kida(evidence: Evidence) -> Verdict:
    return _integration(
        evidence, lambda other: other + 0.033, ".033 above", ["10x-Multiome"], ["kida"]
    )


def above_most(evidence: Evidence) -> Verdict:
    """Above more than half of the paper's methods, which may be known before all of them ran."""
    table = evidence.results["figure6"]
    table = table[table["dataset"] == "Muto-2021"]
    half, said, below, ran = len(INTEGRATORS) / 2, [], [], []
    for measure, condition in SCORES.items():
        one = _scores(table, measure, condition)
        ours = evidence.ours(one)["here"].max()
        others = run_here(one[one["method"].isin(INTEGRATORS)])["here"]
        below.append(int((others < ours).sum()))
        ran.append(0 if pd.isna(ours) else len(others))
        cells = f"{measure} of {condition or 'all cells'}"
        said.append(f"{cells} {ours:.3f}, above {below[-1]} of the {ran[-1]} that ran")
    if not all(ran):
        return OPEN, "ours or another method of the paper did not run on Muto-2021"
    text = f"{'; '.join(said)}; to hold above more than half of all {len(INTEGRATORS)} in both"
    if min(below) > half:
        return judged(True, text)
    if any(n - fewer >= half for n, fewer in zip(ran, below, strict=True)):
        return judged(False, text)
    lacking = [f"{len(INTEGRATORS) - min(ran)} of the {len(INTEGRATORS)} methods, too many to tell"]
    ahead = all(2 * fewer > n for n, fewer in zip(ran, below, strict=True))
    return judged(True, text, lacking) if ahead else (OPEN, f"{text}; {lacking[0]}, did not run")


def _integration(
    evidence: Evidence,
    needed: Callable[[pd.Series], pd.Series],
    rule: str,
    datasets: Collection[str] = (),
    rivals: Collection[str] = (),
) -> Verdict:
    """Judge the overall score of all cells, and what cells say whose labels were not trained on.

    Parameters
    ----------
    evidence
        Of a run.
    needed
        The overall score of another method -> the one that ours has to reach.
    rule
        The same in words.
    datasets
        Those that the claim speaks of; none: all that ran, and all of the paper should have.
    rivals
        Methods that the claim speaks of; none: all that ran, and all of the paper should have.
    """
    table = evidence.results["figure6"]
    if datasets:
        table = table[table["dataset"].isin(datasets)]
    others = run_here(table[~table["method"].isin(OURS)])
    if rivals:
        others = others[others["method"].isin(rivals)]
    overall, unseen, trained = (
        _beside_the_best(evidence.ours(table), others, measure, condition)
        for measure, condition in (*SCORES.items(), ("biology", PAIRED))
    )
    # where no other cells were kept back, those of the reference, whose labels are no longer hidden
    trained = trained[~trained.index.isin(unseen.index)]
    biology = pd.concat([unseen, trained])
    if overall.empty:
        where = f" on {', '.join(datasets)}" if datasets else ""
        return OPEN, f"ours or {', '.join(rivals) or 'another method'} did not run{where}"
    reached = overall["ours"] >= needed(overall["best"]) - TINY
    ahead = biology["ours"] >= biology["best"]
    all_cells = _scores(others, "overall", "")
    ran, missing = name_rivals(
        all_cells, ["dataset"], [(name,) for name in overall.index], rivals or INTEGRATORS
    )
    missing += not_run([(name,) for name in datasets or DATASETS], [(n,) for n in overall.index])
    if lacking := [name for name in overall.index if name not in biology.index]:
        missing.append(f"the cells of {', '.join(lacking)} that training has not seen")
    if len(trained):
        missing.append(
            f"cells without trained labels of {', '.join(trained.index)}: measured twice, they are "
            "covered by the labels of the reference"
        )
    text = (
        f"overall score of all cells, to hold {rule}: {_versus(overall)}; biology of the query, to "
        f"hold ahead: {_versus(biology) or 'none'}; {ran}"
    )
    return judged(bool(reached.all() and ahead.all()), text, missing)


def _scores(table: pd.DataFrame, measure: str, condition: str) -> pd.DataFrame:
    """Rows of one score, of some of the cells ("" for all)."""
    return table[(table["measure"] == measure) & (table["condition"] == condition)]


def _beside_the_best(
    ours: pd.DataFrame, others: pd.DataFrame, measure: str, condition: str
) -> pd.DataFrame:
    """Our score and the best of the others, `ours` and `best`, of data sets that have both."""
    ours, others = (_scores(table, measure, condition) for table in (ours, others))
    best = others.groupby("dataset")["here"].max()
    return pd.DataFrame({"ours": ours.set_index("dataset")["here"], "best": best}).dropna()


def _versus(pairs: pd.DataFrame) -> str:
    return ", ".join(f"{row.Index} {row.ours:.3f} to {row.best:.3f}" for row in pairs.itertuples())
