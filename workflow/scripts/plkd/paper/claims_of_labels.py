"""Claims on the labels of Student and Teacher: how good, where, and of which types."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from plkd.paper.numbers import OURS
from plkd.paper.verdicts import (
    COMPARABLE,
    CONTROLS,
    OPEN,
    PLACE,
    Evidence,
    Verdict,
    judged,
    name_rivals,
    named,
    never_rises,
    not_run,
    over_the_best,
    run_here,
    weigh_lead,
    with_modality,
)


def best_annotation(evidence: Evidence, only: Collection[str] = ()) -> Verdict:
    table = pd.concat([evidence.results["table2"], evidence.results["table4"]], ignore_index=True)
    table = table[table["measure"].isin(["accuracy", "macro_f1"])]
    if only:
        table = table[table["dataset"].isin(only)]
    place = ["dataset", "condition"]
    ours = evidence.ours(table)
    others = run_here(table[~table["method"].isin((*OURS, *CONTROLS))])
    lead = over_the_best(ours, others, [*place, "measure"])
    if lead.empty:
        return OPEN, "nothing to compare with: ours or another method did not run"
    said = table[table["paper"].notna()]
    rivals = sorted(set(said["method"]) - set(OURS))
    judged_on = list(dict.fromkeys((dataset, condition) for dataset, condition, _ in lead.index))
    ran, missing = name_rivals(others, place, judged_on, rivals)
    columns = said.loc[said["method"] == "student", place].drop_duplicates()
    missing += not_run(columns.itertuples(index=False, name=None), judged_on)
    ok, text = weigh_lead(lead, -COMPARABLE, "the best of the others")
    return judged(ok, f"{text}; {ran}", missing)


def student_keeps(evidence: Evidence) -> Verdict:
    table = pd.concat([evidence.results["table2"], evidence.results["table4"]], ignore_index=True)
    table = table[table["measure"].isin(["accuracy", "macro_f1"])]
    student, teacher = (evidence.ours(table, model) for model in OURS)
    lead = over_the_best(student, teacher, ["dataset", "condition", "measure"])
    if lead.empty:
        return OPEN, "no run of Student and Teacher"
    return judged(*weigh_lead(lead, -0.005, "the Teacher"))


def small_student(evidence: Evidence) -> Verdict:
    if evidence.n_weights is None:
        return OPEN, "no model in this run"
    teacher, stored, student = evidence.n_weights
    share = student / teacher
    return judged(
        share < 0.025,
        f"Student {student:,}, Teacher {teacher:,} weights ({share:.1%}, to hold under 2.5 %); "
        f"without those that the mask makes zero, which need not be stored, the Teacher has "
        f"{stored:,}",
    )


MANY = 20_000
"""From so many cells on a program takes longer to label them than to start."""


def fast_inference(evidence: Evidence) -> Verdict:
    table = evidence.results["efficiency"]
    table = table[table["variant"] == evidence.variant]
    if len(table) and not (table["n_passed"] >= MANY).any():
        return OPEN, f"no data set has {MANY:,} cells; of fewer the start of a program takes most"
    table = table[table["n_passed"] >= MANY]
    grid = table.pivot_table(index="dataset", columns="model", values="cells_per_second")
    if not {"student", "teacher"} <= set(grid):
        return OPEN, "no run of Student and Teacher"
    said = "; ".join(
        f"{name}: Student {row['student']:,.0f}, Teacher {row['teacher']:,.0f}"
        for name, row in grid.iterrows()
    )
    faster = bool((grid["student"] > grid["teacher"]).all())
    return judged(
        faster,
        f"cells per second, the start of the programs included: {said}; to hold it has to be the "
        "faster of the two everywhere, as the paper says no times",
    )


def on_slices(evidence: Evidence, first: str, second: str) -> Verdict:
    table = evidence.results["figure4"]
    ours = evidence.ours(table[table["condition"] == "all"])
    grid = ours.pivot_table(index="dataset", columns="measure", values="here")
    lead = (grid.reindex(columns=[first])[first] - grid.reindex(columns=[second])[second]).dropna()
    if lead.empty:
        return OPEN, "no data set with places in this run"
    return judged(*weigh_lead(lead, -0.05, f"`{second}` ({first})"))


def cross_modal(evidence: Evidence) -> Verdict:
    table = evidence.results["table4"]
    table = table[(table["measure"] == "accuracy") & table["condition"].isin(["RNA", "ATAC"])]
    ours = evidence.ours(table)
    if ours.empty:
        return OPEN, "no data set of Table 4 in this run"
    # what the paper calls accurate: its own number, or of other data the least of its numbers
    least = table.loc[table["method"] == "student", "paper"].min()
    floor = ours["paper"].fillna(least) - 0.02
    others = run_here(table[~table["method"].isin((*OURS, *CONTROLS))])
    best = others.groupby(["dataset", "condition"])["here"].max()
    said = []
    for row, at_least in zip(ours.itertuples(), floor, strict=True):
        place = (str(row.dataset), str(row.condition))
        rival = f", best of the others {best.loc[place]:.3f}" if place in best.index else ""
        said.append(f"{' '.join(place)} {row.here:.3f} (to hold {at_least:.3f}{rival})")
    lacking = [one for one in ("RNA", "ATAC") if one not in set(ours["condition"])]
    missing = [f"{one}, which no data set of Table 4 in this run has" for one in lacking]
    ok = bool((ours["here"] >= floor).all())
    return judged(ok, f"accuracy: {'; '.join(said)}; to hold: the paper's less .02", missing)


def modalities_agree(evidence: Evidence) -> Verdict:
    table = evidence.results["table4"]
    ours = evidence.ours(table[table["measure"] == "agreement"])
    if ours.empty:
        return OPEN, "no data set of this run has two modalities of the same cells"
    said = ", ".join(f"{row.dataset} {row.here:.3f}" for row in ours.itertuples())
    return judged(bool((ours["here"] >= 0.9).all()), f"share of the cells: {said}; to hold .9")


def rare_types(evidence: Evidence) -> Verdict:
    ours = with_modality(evidence.ours(evidence.results["table6"]))
    grid = ours.pivot_table(index=PLACE, columns=["condition", "measure"], values="here")
    groups = [group for group in ("high", "medium") if (group, "f1") in grid]
    if ("low", "f1") not in grid or not groups:
        return OPEN, "no data set of this run has types of several groups"
    f1 = pd.DataFrame(
        {
            "low": grid[("low", "f1")],
            "others": pd.concat([grid[(group, "f1")] for group in groups], axis=1).mean(axis=1),
            "recall": grid[("low", "recall")],
        }
    ).dropna()
    if f1.empty:
        return OPEN, "no data set of this run has types of several groups"
    ahead, text = weigh_lead(f1["low"] - f1["others"], -0.05, "the more abundant types (F1)")
    said = ", ".join(f"{named(place)} {one:.3f}" for place, one in f1["recall"].items())
    found = bool((f1["recall"] >= 0.995).all())
    return judged(ahead and found, f"{text}; recall {said}, to hold .995 (the paper: 1.000)")


def degrades_gradually(evidence: Evidence) -> Verdict:
    table = _imbalance(evidence)
    said, holds, missing = [], [], set()
    for (_, minor), scores in table.groupby(["dataset", "minor"], sort=False):
        scores = scores.sort_values("ratio")
        first, last = scores.iloc[0], scores.iloc[-1]
        holds.append(never_rises(scores) and last["here"] >= 0.5 * first["here"])
        pairs = zip(scores["ratio"], scores["here"], strict=True)
        said.append(f"{minor} " + ", ".join(f"{ratio}:1 {value:.3f}" for ratio, value in pairs))
        if first["ratio"] > 100 or last["ratio"] < 500:
            missing.add("the range from 100:1 to 500:1")
    if not said:
        return OPEN, _no_imbalance(evidence)
    text = (
        f"F1: {'; '.join(said)}; to hold no rise beyond two standard errors of the draws, and at "
        "the end half of what it was (the paper: .76 to .46)"
    )
    return judged(all(holds), text, missing)


def not_priors(evidence: Evidence) -> Verdict:
    table = _imbalance(evidence)
    if table.empty:
        return OPEN, _no_imbalance(evidence)
    # of all guesses that do not look at the cell, naming everything minor has the best F1: with
    # a share p = 1 / (ratio + 1) of minor cells 2 p / (1 + p)
    table = table.assign(guess=2 / (table["ratio"] + 2))
    table = table.assign(margin=table["here"] - table["guess"])
    worst = table.sort_values("margin").iloc[0]
    text = (
        f"F1 beside the best that a guess by frequencies can reach, where it is closest: "
        f"{worst['here']:.3f} to {worst['guess']:.3f} ({worst['condition']}); to hold above it at "
        "every ratio"
    )
    missing = [] if table["ratio"].max() >= 500 else ["500:1"]
    return judged(bool((table["margin"] > 0).all()), text, missing)


def _imbalance(evidence: Evidence) -> pd.DataFrame:
    """F1 of the Student on minor types, with `minor` and `ratio`."""
    ours = evidence.ours(evidence.results["figure7"])
    named = ours["condition"].astype(str).str.extract(r"^(?P<minor>.*) (?P<ratio>\d+):1$")
    return ours.assign(minor=named["minor"], ratio=named["ratio"].astype(int))


def _no_imbalance(evidence: Evidence) -> str:
    """Why no minor type has a number: Figure 7 is drawn with the first variant alone."""
    others = run_here(evidence.results["figure7"]).query("method == 'student'")["variant"].unique()
    if not len(others):
        return "no imbalance in this run"
    return f"imbalance is drawn with the first variant alone, here `{', '.join(others)}`"


def novel_types(evidence: Evidence) -> Verdict:
    table = evidence.unseen
    table = table[table["variant"] == evidence.variant].dropna(subset="auroc_unseen")
    if table.empty:
        return OPEN, "no query of this run has types that the reference lacks"
    area, share = table["auroc_unseen"].mean(), table["share_unseen_unknown"].mean()
    text = f"{share:.0%} of such cells are flagged, to hold under 10 %"
    return judged(bool(share < 0.1), f"{text}; area under the curve {area:.3f}")
