"""Does what the paper claims hold here? Each claim beside the numbers that speak to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from plkd.paper.claims_of_ablation import (
    losses_matter,
    mask_not_needed,
    noise_lowers,
    student_resists,
)
from plkd.paper.claims_of_genes import key_genes, markers_on_top
from plkd.paper.claims_of_labels import (
    best_annotation,
    cross_modal,
    degrades_gradually,
    fast_inference,
    modalities_agree,
    not_priors,
    novel_types,
    on_slices,
    rare_types,
    small_student,
    student_keeps,
)
from plkd.paper.claims_of_spaces import (
    above_most,
    ahead_of_pca,
    best_integration,
    lead_over_kida,
    ten_percent,
)
from plkd.paper.verdicts import FAILS, HOLDS, OPEN, PARTLY, Evidence, Verdict
from plkd.utils.tables import Columns

CLAIM_COLUMNS: Columns = dict.fromkeys(("id", "section", "claim"), str)
"""Columns of ``resources/paper/claims.tsv``."""
VERDICT_COLUMNS: Columns = {
    **dict.fromkeys(("id", "section", "claim", "variant", "verdict", "number"), str)
}
"""Columns of :func:`check_claims`."""
VERDICTS = (HOLDS, PARTLY, FAILS, OPEN)
"""What a verdict can be, and nothing else."""


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
        `table2` to `table6` and `figure4`, `figure6`, `figure7`
        (:func:`plkd.paper.numbers.beside`), `figure5`
        (:func:`plkd.paper.numbers.found_genes`), `efficiency`
        (:func:`plkd.paper.efficiency.efficiency_table`).
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
        Columns of :data:`VERDICT_COLUMNS`; `verdict` is one of :data:`VERDICTS`. The thresholds,
        and what a claim speaks of and was not run, stand in `number`.
    """
    rows = []
    for claim in claims.to_dict("records"):
        for variant in variants:
            evidence = Evidence(results, variant, n_weights.get(variant), unseen)
            verdict, number = CHECKS[claim["id"]](evidence)
            rows.append({**claim, "variant": variant, "verdict": verdict, "number": number})
    return pd.DataFrame(rows, columns=list(VERDICT_COLUMNS))


def _unchecked(reason: str) -> Callable[[Evidence], Verdict]:
    return lambda evidence: (OPEN, reason)


CHECKS: dict[str, Callable[[Evidence], Verdict]] = {
    "best_annotation": best_annotation,
    "strong_batch_effects": lambda evidence: best_annotation(evidence, ("Pan-cancer", "DLPFC")),
    "removes_batch_effects": lambda evidence: ahead_of_pca(evidence, "kbet"),
    "separates_types": lambda evidence: ahead_of_pca(evidence, "cell_type_asw"),
    "accurate_at_boundaries": lambda evidence: on_slices(
        evidence, "accuracy_boundary", "accuracy_inside"
    ),
    "spatially_coherent": lambda evidence: on_slices(evidence, "coherence", "coherence_true"),
    "small_student": small_student,
    "student_keeps_accuracy": student_keeps,
    "fast_inference": fast_inference,
    "key_genes": key_genes,
    "markers_on_top": markers_on_top,
    "housekeeping_genes": _unchecked(
        "the paper names no such gene, and there is no list of housekeeping genes here"
    ),
    "cross_modal": cross_modal,
    "modalities_agree": modalities_agree,
    "losses_matter": losses_matter,
    "mask_not_needed": mask_not_needed,
    "noise_lowers": noise_lowers,
    "student_resists_noise": student_resists,
    "best_integration": best_integration,
    "lead_over_kida": lead_over_kida,
    "ahead_on_chen": ten_percent,
    "ahead_of_covel_scbutterfly": lambda evidence: ten_percent(evidence, ("covel", "scbutterfly")),
    "ahead_on_muto": above_most,
    "rare_types": rare_types,
    "degrades_gradually": degrades_gradually,
    "patterns_not_priors": not_priors,
    "six_epochs": _unchecked(
        "the tables of the paper hold no losses by epoch, and the paper gives no criterion; "
        "`model/history.tsv` of every run has them"
    ),
    "novel_types": novel_types,
}
"""Claim (id in ``resources/paper/claims.tsv``) -> its check."""
