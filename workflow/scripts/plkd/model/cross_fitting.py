"""Evidence from the reference itself: every cell is judged by models that have not seen it.

Whole batches are held out where there are several, because a query is another batch; folds of
cells where there is one. What comes out decides how the members of the jury are weighed, and
calibrates the Student: for every fold a Student learns from the members that were fitted on the
others, so that every cell of the reference says how far a Student can be trusted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from scipy import sparse
from scipy.special import log_softmax
from torch import nn

from plkd.errors import InputError
from plkd.model.alignment import Offsets, farthest_allowed, find_offsets, probabilities_of
from plkd.model.calibration import fit_temperature
from plkd.model.distillation import SoftLabels, distil, soft_labels
from plkd.model.folds import Folds, make_folds
from plkd.model.gene_weights import label_means
from plkd.model.jury import (
    ACROSS_STUDIES,
    MEMBERS,
    NETWORK,
    Juror,
    Jury,
    NetworkMember,
    empty_member,
    fit_members,
    weigh,
)
from plkd.model.reference import Reference
from plkd.model.shift import is_other_batch, measure_shift
from plkd.model.slide import ALONE, Surroundings, find_surroundings
from plkd.settings.models import Settings
from plkd.utils.files import whole_file
from plkd.utils.logs import logger
from plkd.utils.progress import ProgressBar
from plkd.utils.text import listed

QUERY_CELLS = 5000  # of a query, from which is seen how far away it is


@dataclass(frozen=True)
class CrossFit:
    """What the reference says of the models that learn from it.

    Attributes
    ----------
    jurors
        The members, fitted on all cells that took part, with temperatures and weights.
    rows
        The cells that took part, ascending (cells,): all, or as many as the settings allow.
    folds
        Of these cells.
    logits
        What Students that had not seen them say of these cells, float32 (cells, labels); a label
        that no other fold has gets next to nothing.
    members
        One row per member: `member`, `accuracy`, `macro_f1`, `log_loss` on held-out cells, its
        `temperature` and its `weight`; last the Students (`student`), who have no weight.
    labels
        One row per label, by what Students said of held-out cells: `label`, `cells`, `recall`,
        `precision`, and the other label that its cells are most often given, `taken_for`.
    shift
        How far the query lies from the reference (:func:`plkd.model.shift.measure_shift`); None
        without a query.
    largest_offset
        How far the cells of a batch may be moved onto the reference (:mod:`plkd.model.alignment`);
        0 if held-out batches are not labelled better for it. If they are, `logits` and `members`
        are of cells that were moved.
    surroundings
        How the cells around a cell on its slide have a say in its label: not at all if held-out
        cells are labelled no better for it, or have no places.
    """

    jurors: dict[str, Juror]
    rows: NDArray[np.intp]
    folds: Folds
    logits: NDArray[np.float32]
    members: pd.DataFrame
    labels: pd.DataFrame
    shift: float | None = None
    largest_offset: float = 0.0
    surroundings: Surroundings = ALONE

    def save(self, path: str | Path) -> None:
        """Write one file, whole or not at all; :func:`load_cross_fit` reads it."""
        tensors = {
            f"{name}/{key}": tensor.contiguous()
            for name, one in self.jurors.items()
            for key, tensor in one.member.cpu().state_dict().items()
        }
        arrays = {"rows": self.rows, "folds": self.folds.of_cell, "logits": self.logits}
        tensors |= {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}
        about = {
            "by": self.folds.by,
            "shift": self.shift,
            "largest_offset": self.largest_offset,
            "surroundings": asdict(self.surroundings),
            "jurors": {name: [one.temperature, one.weight] for name, one in self.jurors.items()},
            "members": self.members.to_dict("list"),
            "labels": self.labels.to_dict("list"),
        }
        with whole_file(path) as temporary:
            save_file(tensors, temporary, metadata={"about": json.dumps(about)})

    def known(self, reference: Reference) -> NDArray[np.bool_]:
        """Which of the cells have a label that other folds have too, bool array (cells,)."""
        return _known(self.logits, reference.codes[self.rows])

    def describe(self) -> dict[str, Any]:
        """What was measured and chosen, ready for JSON."""
        return {
            "held_out": self.folds.by,
            "folds": int(self.folds.of_cell.max()) + 1,
            "cells": len(self.rows),
            "shift": self.shift,
            "largest_offset": self.largest_offset,
            "surroundings": asdict(self.surroundings),
            "members": _records(self.members),
            "labels": _records(self.labels),
        }


def cross_fit(
    reference: Reference,
    settings: Settings,
    *,
    seed: int = 0,
    query: sparse.csr_matrix | None = None,
    device: str = "cpu",
    n_jobs: int = 1,
    progress: bool = True,
) -> CrossFit:
    """Fit and weigh the members of the jury, and let Students label cells that they have not seen.

    Where batches were held out their evidence decides. Cells of one batch cannot say what holds
    across batches: their evidence counts as far as the query is of the same sample, and else, or
    without a query, what is right across studies.

    Whole batches are judged twice, as they are and moved onto the others: what makes their true
    labels more likely is what is done with the batches of a query.

    Parameters
    ----------
    reference
        Labelled cells, with their batches.
    settings
        All choices.
    seed
        Seed of folds, networks and choices of cells.
    query
        Some cells of the query, log-normalised, in the reference's genes.
    device
        A torch device.
    n_jobs
        Processes that fit folds side by side; the result is the same for any number.
    progress
        Show a progress bar.
    """
    reference = reference.with_label_noise(settings.label_noise, seed)
    rows = reference.some(settings.jury.max_cells, seed)
    taking_part = reference.take(rows)
    folds = make_folds(taking_part, settings.jury.folds, seed)
    n_folds = len(np.unique(folds.of_cell))
    n_steps = 2 * n_folds + 1 + (n_folds if _can_be_moved(folds, taking_part) else 0)
    bar = ProgressBar(total=n_steps, desc="cross-fitting", unit="fit", disable=not progress)
    # Each process loads torch anew: no more of them than there are fits, of the folds and of all.
    n_jobs = min(n_jobs, n_folds + 1)
    with bar, Parallel(n_jobs, return_as="generator") as parallel:

        def each(function: Callable[..., Any], jobs: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
            for done in parallel(delayed(function)(*job, settings, seed, device) for job in jobs):
                bar.update()
                yield done

        everything = np.arange(len(rows)), np.empty(0, dtype=np.intp)
        *fitted, (whole, _) = each(
            _fit_fold, [(taking_part, *fold) for fold in [*folds, everything]]
        )
        logits = _together([said for _, said in fitted], taking_part, folds)
        temperatures, evidence, likelihood = _evidence(logits, taking_part)
        largest_offset = 0.0
        if _can_be_moved(folds, taking_part):
            to_move = [
                (taking_part, *fold, _jurors(members, temperatures, evidence))
                for fold, (members, _) in zip(folds, fitted, strict=True)
            ]
            moved, offsets = zip(*each(_moved_fold, to_move), strict=True)
            after = _together(moved, taking_part, folds)
            better = _evidence(after, taking_part)
            if _more_likely(better[2], likelihood):
                logits, (temperatures, evidence, _) = after, better
                largest_offset = farthest_allowed(offsets)
        prior = np.array([ACROSS_STUDIES.get(name, 0.0) for name in MEMBERS])
        shift = None
        if query is not None:
            codes = (
                soft_labels(Jury(_jurors(whole, temperatures, prior)), query).numpy().argmax(axis=1)
            )
            shift = measure_shift(reference.cells, query, reference.codes, codes, seed)
        weights = evidence
        if folds.by == "cell":
            away = 1.0 if shift is None else is_other_batch(shift)
            weights = away * prior + (1 - away) * evidence
        of_student = _nothing(taking_part)
        jobs = [
            (taking_part, *fold, _jurors(members, temperatures, weights), largest_offset > 0)
            for fold, (members, _) in zip(folds, fitted, strict=True)
        ]
        for (fit, held_out), said in zip(folds, each(_student_of_fold, jobs), strict=True):
            of_student[np.ix_(held_out, np.unique(taking_part.codes[fit]))] = said
    said_by = {**logits, "student": of_student}
    table = pd.DataFrame([_scores(name, one, taking_part) for name, one in said_by.items()])
    table["temperature"] = [*temperatures, np.nan]
    table["weight"] = [*weights, np.nan]
    labels = _scores_of_labels(of_student, taking_part)
    around = _surroundings(of_student, taking_part, len(rows) / len(reference.codes))
    found = CrossFit(
        _jurors(whole, temperatures, weights),
        rows,
        folds,
        of_student,
        table,
        labels,
        shift,
        largest_offset,
        around,
    )
    _report(found)
    return found


def _fit_fold(
    reference: Reference,
    fit: NDArray[np.intp],
    held_out: NDArray[np.intp],
    settings: Settings,
    seed: int,
    device: str,
) -> tuple[dict[str, nn.Module], dict[str, NDArray[np.float32]]]:
    """Members fitted on some cells, and what they say of others."""
    members = fit_members(reference.only(fit)[0], settings, seed=seed, device=device)
    cells = reference.cells[held_out]
    return members, {
        name: soft_labels(one, cells).numpy() for name, one in members.items() if len(held_out)
    }


def _moved_fold(
    reference: Reference,
    fit: NDArray[np.intp],
    held_out: NDArray[np.intp],
    jurors: dict[str, Juror],
    settings: Settings,
    seed: int,
    device: str,
) -> tuple[dict[str, NDArray[np.float32]], Offsets]:
    """What members say of held-out cells that are moved to those that they were fitted on."""
    part, _ = reference.only(fit)
    moved = _moved_onto(part, Jury(jurors, device), reference, held_out, device)
    cells = reference.cells[held_out]
    said = {name: soft_labels(one.member, cells, **moved).numpy() for name, one in jurors.items()}
    return said, moved["offsets"]


def _student_of_fold(
    reference: Reference,
    fit: NDArray[np.intp],
    held_out: NDArray[np.intp],
    jurors: dict[str, Juror],
    moves: bool,
    settings: Settings,
    seed: int,
    device: str,
) -> NDArray[np.float32]:
    """What a Student that learns from these jurors and cells says of others, which are moved."""
    jury = Jury(jurors, device)
    part, _ = reference.only(fit)
    student, _ = distil(part, jury, settings, seed=seed, device=device, progress=False, watch=False)
    say, cells = NetworkMember(student.network), reference.cells[held_out]
    moved = _moved_onto(part, say, reference, held_out, student.device) if moves else {}
    return soft_labels(say, cells, **moved).numpy()


def _moved_onto(
    part: Reference,
    say: SoftLabels,
    reference: Reference,
    held_out: NDArray[np.intp],
    device: str | torch.device,
) -> dict[str, Any]:
    """Offsets and batches of held-out cells, for :func:`soft_labels`, by a model of a part."""
    batches = _batch_names(reference, held_out)
    means, _ = label_means(part.cells, part.codes, len(part.labels))
    said = probabilities_of(say, device=device)
    offsets = find_offsets(said, means, reference.cells[held_out], batches)
    return {"offsets": offsets, "batches": batches}


def _batch_names(reference: Reference, rows: NDArray[np.intp]) -> NDArray[np.str_]:
    """Batches of some cells, as text."""
    assert reference.batches is not None  # else no whole batches are held out
    return reference.batches[rows].astype(str)


def _together(
    said: Sequence[dict[str, NDArray[np.float32]]], reference: Reference, folds: Folds
) -> dict[str, NDArray[np.float32]]:
    """What members of every fold say of its held-out cells, (cells, labels) of every member."""
    logits = {name: _nothing(reference) for name in MEMBERS}
    for (fit, held_out), of_fold in zip(folds, said, strict=True):
        labels = np.unique(reference.codes[fit])
        for name in MEMBERS:
            logits[name][np.ix_(held_out, labels)] = of_fold[name]
    return logits


def _can_be_moved(folds: Folds, reference: Reference) -> bool:
    """Whether held-out batches can say if they should be moved.

    Of two batches a fold has learnt from one alone, onto which the other is moved, oddities and
    all; the final models know both.
    """
    if folds.by == "cell" or reference.batches is None:
        return False
    return len(np.unique(reference.batches)) >= _FEWEST_BATCHES


_FEWEST_BATCHES = 3


def _more_likely(after: NDArray[np.float64], before: NDArray[np.float64]) -> bool:
    """Whether the true labels of held-out cells have become more likely, beyond chance."""
    gain = after - before
    return bool(gain.mean() > _ERRORS * gain.std() / max(len(gain), 1) ** 0.5)


_ERRORS = 2.0


def _surroundings(logits: NDArray[np.float32], reference: Reference, share: float) -> Surroundings:
    """How cells around a cell have a say, where this share of a slide's cells is here."""
    places = reference.places
    if places is None or not places.shape[1]:
        return ALONE
    if not np.isfinite(places).all():
        logger.warning(
            "places of the reference's cells (obsm['spatial']) are not finite numbers: what is "
            "said of the cells around a cell is not looked at"
        )
        return ALONE
    known = _known(logits, reference.codes)
    found = find_surroundings(logits, reference.codes, known, places, reference.batches)
    return replace(found, neighbours=round(found.neighbours / share))


def _known(logits: NDArray[np.float32], codes: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Whether the true label of each cell was among those that its judges knew."""
    return logits[np.arange(len(codes)), codes] > _UNSEEN


def load_cross_fit(path: str | Path, reference: Reference, settings: Settings) -> CrossFit:
    """Read what :meth:`CrossFit.save` wrote for this reference and these settings.

    Raises
    ------
    InputError
        If the file is missing, damaged, or of another reference.
    """
    try:
        tensors = load_file(path)
        with safe_open(path, framework="pt") as opened:
            about = json.loads(opened.metadata()["about"])
        n_genes, n_labels = len(reference.genes), len(reference.labels)
        jurors = {}
        for name, (temperature, weight) in about["jurors"].items():
            member = empty_member(name, n_genes, n_labels, settings)
            start = f"{name}/"
            member.load_state_dict(
                {k.removeprefix(start): t for k, t in tensors.items() if k.startswith(start)}
            )
            jurors[name] = Juror(member.eval(), temperature, weight)
        rows, of_cell, logits = (tensors[name].numpy() for name in ("rows", "folds", "logits"))
        if len(rows) != len(logits) or rows.max() >= len(reference.codes):
            raise ValueError(f"{len(rows)} cells of a reference of {len(reference.codes)}")
        members, labels = pd.DataFrame(about["members"]), pd.DataFrame(about["labels"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"'{path}' cannot be read as the cross-fitting of this reference ({error}): delete it "
            "and run the pipeline again, rule cross_fit makes it anew."
        ) from error
    folds = Folds(of_cell, about["by"])
    return CrossFit(
        jurors,
        rows,
        folds,
        logits,
        members,
        labels,
        about["shift"],
        about["largest_offset"],
        Surroundings(**about["surroundings"]),
    )


def _nothing(reference: Reference) -> NDArray[np.float32]:
    """Logits (cells, labels) for labels that a fold has not seen."""
    return np.full((len(reference.codes), len(reference.labels)), _UNSEEN, dtype=np.float32)


_UNSEEN = -1e4


def _evidence(
    logits: dict[str, NDArray[np.float32]], reference: Reference
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Temperatures and weights of the members by what they said of held-out cells.

    And the log-likelihood of these cells' labels under the mixture, each by its importance. Cells
    whose label no other fold has say nothing. A label counts by the root of the root of its size
    less than it has cells: rare labels are heard, and do not drown out the others.
    """
    codes = reference.codes
    known = _known(logits[NETWORK], codes)
    importance = np.bincount(codes)[codes][known] ** _RARE_COUNT_MORE
    uniform = np.full(len(MEMBERS), 1 / len(MEMBERS))
    if not known.any():
        return np.ones(len(MEMBERS)), uniform, np.empty(0)
    chosen = {name: logits[name][known].astype(np.float64) for name in MEMBERS}
    truth, weight = torch.from_numpy(codes[known]), torch.from_numpy(importance)
    temperatures = np.array(
        [fit_temperature(torch.from_numpy(chosen[name]), truth, weight) for name in MEMBERS]
    )
    of_truth = np.array(
        [
            np.exp(log_softmax(chosen[name] / temperature, axis=1))[
                np.arange(int(known.sum())), codes[known]
            ]
            for name, temperature in zip(MEMBERS, temperatures, strict=True)
        ]
    )
    weights = weigh(of_truth.clip(min=_LEAST_LIKELY), importance)
    likelihood = np.log(weights @ of_truth.clip(min=_LEAST_LIKELY)) * importance
    return temperatures, weights, likelihood


_RARE_COUNT_MORE = -0.25
_RECOGNISED = 0.5  # recall below which a label is said not to carry over
_LEAST_LIKELY = 0.02  # a few cells whose label is wrong do not decide


def _jurors(
    members: dict[str, nn.Module],
    temperatures: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> dict[str, Juror]:
    return {
        name: Juror(members[name], float(temperature), float(weight))
        for name, temperature, weight in zip(MEMBERS, temperatures, weights, strict=True)
    }


def _scores(name: str, logits: NDArray[np.float32], reference: Reference) -> dict[str, Any]:
    """How well held-out cells were labelled, those whose label other folds have."""
    from sklearn.metrics import f1_score

    codes = reference.codes
    known = _known(logits, codes)
    truth, said = codes[known], logits[known]
    if not known.any():
        return {"member": name, "accuracy": np.nan, "macro_f1": np.nan, "log_loss": np.nan}
    found = said.argmax(axis=1)
    likelihood = log_softmax(said.astype(np.float64), axis=1)[np.arange(len(truth)), truth]
    return {
        "member": name,
        "accuracy": float((found == truth).mean()),
        "macro_f1": float(f1_score(truth, found, average="macro", labels=np.unique(truth))),
        "log_loss": float(-likelihood.mean()),
    }


def _scores_of_labels(logits: NDArray[np.float32], reference: Reference) -> pd.DataFrame:
    """How well each label was recognised on held-out cells; see :class:`CrossFit`."""
    known = _known(logits, reference.codes)
    n_labels = len(reference.labels)
    counts = np.zeros((n_labels, n_labels))  # of cells, by their label and by what was said
    np.add.at(counts, (reference.codes[known], logits[known].argmax(axis=1)), 1)
    right, cells, said = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    wrong = counts - np.diag(right)
    with np.errstate(invalid="ignore"):
        recall, precision = right / cells, right / said
    return pd.DataFrame(
        {
            "label": reference.labels,
            "cells": cells.astype(int),
            "recall": recall,
            "precision": precision,
            "taken_for": [reference.labels[row.argmax()] if row.any() else None for row in wrong],
        }
    )


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows, ready for JSON: nothing instead of what is no number."""
    plain = table.astype(object).where(table.notna(), None)
    return [dict(zip(plain.columns, row, strict=True)) for row in plain.itertuples(index=False)]


def _report(found: CrossFit) -> None:
    labels, by = found.labels, found.folds.by
    held_out = "whole batches" if by == "batch" else "cells"
    by_name = found.members.set_index("member")
    student = by_name.loc["student"]
    logger.info(
        "cross-fitting (%s held out): the Student labels %.1f %% rightly, macro F1 %.3f",
        held_out,
        100 * student["accuracy"],
        student["macro_f1"],
    )
    lost = labels[labels["recall"] < _RECOGNISED]
    if len(lost):
        logger.warning(
            "labels that do not carry over from the rest of the reference to held-out %s, where "
            "fewer than half of their cells are recognised: %s",
            "batches" if by == "batch" else "cells",
            listed(
                (
                    f"'{row.label}' ({row.recall:.0%}, most taken for '{row.taken_for}')"
                    for row in lost.sort_values("recall").itertuples()
                ),
                quote="",
            ),
        )
    if found.shift is not None:
        logger.info(
            "query and reference are told apart with an area under the curve of %.2f (.5: cells of "
            "one sample)",
            found.shift,
        )
    if found.largest_offset:
        logger.info("held-out batches are labelled better if they are moved onto the others")
    if found.surroundings.neighbours:
        logger.info(
            "the %d cells around a cell on its slide say more of its label than the cell alone",
            found.surroundings.neighbours,
        )
    heard = by_name["weight"].dropna().sort_values(ascending=False)
    logger.info(
        "the Student learns from: %s",
        ", ".join(f"{name} {weight:.2f}" for name, weight in heard.items() if weight >= 0.005),
    )
