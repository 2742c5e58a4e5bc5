"""What one should know before the labels of a query are used: one plain sentence each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from plkd.io.genes import GOOD_OVERLAP
from plkd.model import forecast
from plkd.utils.text import listed

Facts = Mapping[str, Any]

SHALLOW, DEEP = 0.5, 2.0
"""Share of the genes seen in reference cells of a label that is seen here, worth a sentence."""
ODD = 0.7
"""Mean share of the reference's held-out cells that a cell is odder than; .5 if it is alike."""
DOUBTFUL = 0.8
"""Share of right labels to expect below which a label should be checked."""
MANY_LEFT_OUT = 0.01
_NAMED = 5
_FEWEST_CELLS = 20  # of a batch of fewer no share is told


@dataclass(frozen=True)
class Remark:
    """A sentence, and whether it should worry."""

    level: Literal["warning", "note"]
    text: str


def remarks_on(facts: Facts) -> list[Remark]:
    """All remarks on a query (:attr:`plkd.pages.query.PageContent.facts`), warnings first."""
    found = [
        *_on_input(facts),
        *_on_resemblance(facts),
        *_on_labels(facts),
        *_on_reference(facts),
        *_on_batches(facts),
        *_on_composition(facts),
    ]
    return sorted(found, key=lambda remark: remark.level != "warning")


def _on_input(facts: Facts) -> Iterator[Remark]:
    about, overlap, depth = facts["model"], facts["gene_overlap"], facts["overall"]["depth"]
    if overlap < GOOD_OVERLAP:
        yield Remark(
            "warning",
            f"The query has {overlap:.0%} of the model's {about['n_genes']:,} genes; the others "
            "are guessed as they go with these in the reference, and labels that need them suffer.",
        )
    n_left_out = sum(facts["left_out"].values())
    if n_left_out:
        many = n_left_out > MANY_LEFT_OUT * (n_left_out + facts["n_cells"])
        why = "; ".join(f"{n:,}: {reason}" for reason, n in facts["left_out"].items())
        yield Remark("warning" if many else "note", f"{n_left_out:,} cells get no label ({why}).")
    if depth is not None and depth < SHALLOW:
        yield Remark(
            "warning",
            f"The cells are shallow: {depth:.0%} of the genes are seen in them that are seen in "
            "reference cells of the same label. Labels are less certain than at full depth.",
        )
    if depth is not None and depth > DEEP:
        yield Remark(
            "note",
            f"The cells are {depth:.1f} times as deep as reference cells of the same label.",
        )


def _on_resemblance(facts: Facts) -> Iterator[Remark]:
    about, overall = facts["model"], facts["overall"]
    if about["unknown_above"] >= 1:
        yield Remark(
            "warning",
            "The model is not calibrated, because too few cells of its reference could be held "
            "out: it flags no cell unknown, and its confidence is not tested.",
        )
        return
    share = overall["unknown"] / max(overall["cells"], 1)
    if share > _many_unknown(about["alpha"]):
        why = ", ".join(
            f"{n / overall['cells']:.0%} {reason}" for reason, n in overall["reasons"].items()
        )
        yield Remark(
            "warning",
            f"{share:.0%} of the cells are flagged unknown, where {about['alpha']:.0%} is meant "
            f"for cells like the reference's ({why}). There may be cell types that the reference "
            "does not have, or the cells may differ by how they were measured. Untick the box "
            "beside the map to see their nearest labels.",
        )
    if facts["new_genes"]:
        yield Remark(
            "note",
            "The cells of the query vary in ways that those of the reference do not, in "
            f"{listed(facts['new_genes'])} above all. Where these genes are expressed the "
            "reference may lack a cell type, or a state; the map can show them.",
        )
    if overall["oddness"] > ODD:
        yield Remark(
            "warning",
            f"A cell lies on average further from the reference than {overall['oddness']:.0%} of "
            "the reference's own held-out cells (50 % for cells like the reference's): the query "
            "is of another kind, and more labels may be wrong than is forecast.",
        )


def _many_unknown(alpha: float) -> float:
    return max(2 * alpha, alpha + 0.05)


def _on_labels(facts: Facts) -> Iterator[Remark]:
    doubtful = [one for one in facts["labels"] if one["doubtful"] and one["next_label"]]
    doubtful.sort(key=lambda one: one["cells"] * (1 - one["expected_precision"]), reverse=True)
    for one in doubtful[:_NAMED]:
        yield Remark(
            "warning",
            f"Check '{one['name']}' ({_cells(one['cells'])}): {one['expected_precision']:.0%} of "
            f"these labels should be right; else the cell is most likely '{one['next_label']}'.",
        )
    if len(doubtful) > _NAMED:
        rest = listed((one["name"] for one in doubtful[_NAMED:]), 10)
        yield Remark("warning", f"Check also {rest}.")


def _on_reference(facts: Facts) -> Iterator[Remark]:
    evidence = facts["forecast"]
    if weak := forecast.on_whole_reference(evidence):
        yield Remark("warning", weak)
    present = {one["name"] for one in facts["labels"] if one["cells"]}
    lost = forecast.lost_labels(evidence)
    for one in lost[:_NAMED]:
        concerns = not present.isdisjoint({one["label"], one["taken_for"]})
        text = forecast.on_lost_label(one, evidence)
        yield Remark("warning" if concerns else "note", text)
    if len(lost) > _NAMED:
        rest = listed((one["label"] for one in lost[_NAMED:]), 10)
        yield Remark("warning", f"Neither do {rest}.")
    if caution := forecast.on_held_out(evidence):
        yield Remark("note", caution)


def _on_batches(facts: Facts) -> Iterator[Remark]:
    batches = [one for one in facts["batches"] if one["cells"] >= _FEWEST_CELLS]
    alpha = facts["model"]["alpha"]
    if facts["model"]["unknown_above"] < 1:
        share = {one["name"]: one["unknown"] / one["cells"] for one in batches}
        above = {n: s for n, s in share.items() if s > _many_unknown(alpha)}
        if above and len(above) < len(share):
            yield Remark("warning", f"Many unknown cells in some batches: {_shares(above)}.")
        odd = {one["name"]: one["oddness"] for one in batches if one["oddness"] > ODD}
        if odd and len(odd) < len(batches):
            yield Remark(
                "warning",
                "Some batches lie further from the reference than its own held-out cells "
                f"(50 % if alike): {_shares(odd)}.",
            )
    shallow = {
        one["name"]: one["depth"]
        for one in batches
        if one["depth"] is not None and one["depth"] < SHALLOW
    }
    if shallow and len(shallow) < len(batches):
        yield Remark(
            "warning",
            "Of the genes that reference cells of the same label show, few are seen in some "
            "batches: "
            f"{_shares(shallow)}.",
        )


def _cells(n: int) -> str:
    return "1 cell" if n == 1 else f"{n:,} cells"


def _shares(shares: Mapping[str, float]) -> str:
    ranked = sorted(shares.items(), key=lambda item: -item[1])
    return listed((f"'{name}' {share:.0%}" for name, share in ranked), 6, quote="")


def _on_composition(facts: Facts) -> Iterator[Remark]:
    absent = [one["name"] for one in facts["labels"] if not one["cells"] and one["reference_cells"]]
    if absent:
        yield Remark("note", f"No cell is called {listed(absent, 8)}, which the reference has.")
    shifted = [
        one
        for one in facts["labels"]
        if abs(one["share"] - one["reference_share"]) > 0.1
        and max(one["share"], one["reference_share"])
        > 3 * min(one["share"], one["reference_share"])
        and one["cells"]
    ]
    for one in shifted[:_NAMED]:
        yield Remark(
            "note",
            f"'{one['name']}' is {one['share']:.0%} of the query and "
            f"{one['reference_share']:.0%} of the reference.",
        )
