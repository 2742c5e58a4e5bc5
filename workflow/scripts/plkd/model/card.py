"""The model card: what a model was made of, what to expect of it, and where it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from plkd.model import forecast
from plkd.model.shift import is_other_batch
from plkd.settings.models import Settings
from plkd.utils.text import listed

if TYPE_CHECKING:
    from plkd.model.trained_model import Model

_FEW_CELLS = 20


def model_card(model: Model) -> str:
    """Describe a model for people, in Markdown; the same text as in its folder's README.md."""
    parts = (
        _head(model),
        _reference(model),
        _expectation(model),
        _confidence(model),
        _settings(model),
        _limits(model),
    )
    return "\n".join(line for part in parts for line in part)


def _head(model: Model) -> Iterator[str]:
    tokens = [] if model.teacher is None else model.teacher.tokens
    yield f"# Model of {len(model.labels)} labels"
    yield ""
    yield (
        f"{len(model.genes):,} genes, {len(tokens)} pathways, {' and '.join(model.networks)}; seed "
        f"{model.seed}. It takes counts, or log-normalised values, of single cells: "
        "`plkd annotate QUERY.h5ad --model FOLDER -o LABELLED.h5ad`."
    )
    yield ""
    yield f"- genes: {listed(model.genes, quote='')}"
    if tokens:
        yield f"- pathways: {listed(tokens, quote='')}"


def _reference(model: Model) -> Iterator[str]:
    yield from ("", "## What it learnt from", "")
    about = dict(model.provenance)
    cells = about.pop("cells_per_label", {})
    batches = about.pop("cells_per_batch", None)
    yield from (f"- {name.replace('_', ' ')}: {value}" for name, value in about.items())
    if cells:
        yield f"- {sum(cells.values()):,} cells of {len(cells)} labels"
    if batches:
        sizes = f"of {min(batches):,} to {max(batches):,} cells"
        yield "- one batch" if len(batches) == 1 else f"- {len(batches)} batches {sizes}"
    held_out = {one["label"]: one for one in model.cross_fitting.get("labels", [])}
    yield ""
    yield "| label | cells | found again | right where given | else taken for |"
    yield "|---|--:|--:|--:|---|"
    for label, n in sorted(model.cells_per_label.items(), key=lambda item: -item[1]):
        one = held_out.get(label, {})
        yield (
            f"| {_in_table(label)} | {n:,} | {_percent(one.get('recall'))} | "
            f"{_percent(one.get('precision'))} | {_in_table(one.get('taken_for'))} |"
        )


def _expectation(model: Model) -> Iterator[str]:
    evidence = model.cross_fitting
    yield from ("", "## What to expect", "")
    scores = forecast.held_out_scores(evidence)
    if scores is not None:
        yield (
            f"- Of {forecast.held_out_cells(evidence)} of the reference {scores[0]:.1%} are "
            f"labelled rightly, macro F1 {scores[1]:.2f} ({evidence['folds']} folds of "
            f"{evidence['cells']:,} cells)."
        )
    for sentence in (forecast.on_whole_reference(evidence), forecast.on_held_out(evidence)):
        if sentence:
            yield f"- {sentence}"
    yield from (
        f"- {forecast.on_lost_label(one, evidence)}" for one in forecast.lost_labels(evidence)
    )
    if evidence.get("largest_offset"):
        yield (
            "- Held-out batches were labelled better once they were moved onto the others, so the "
            "batches of a query are moved too: name their column (`--batch`)."
        )
    around = evidence.get("surroundings", {}).get("neighbours")
    if around:
        yield (
            f"- Its labels name regions: the {around} cells around a cell on its slide say more of "
            "its label than the cell alone (`--slide`)."
        )
    shift = evidence.get("shift")
    if shift is not None:
        how = "another batch" if is_other_batch(shift) > 0 else "the same sample"
        yield (
            f"- The query that it was trained for can be told from the reference with an area "
            f"under the curve of {shift:.2f} among cells of one label, as cells of {how} can."
        )


def _confidence(model: Model) -> Iterator[str]:
    network = model.networks.get("student", next(iter(model.networks.values())))
    calibration = network.calibration
    yield from ("", "## Confidence and unknown cells", "")
    if network.unknown_above >= 1:
        yield "- not calibrated: no cell can be flagged unknown"
        return
    yield (
        f"- Of cells like the reference's at most {calibration.alpha:.0%} are flagged unknown, and "
        f"{calibration.alpha:.0%} have a label outside of their prediction set."
    )
    yield f"- Logits are divided by {calibration.temperature:.2f} before they become probabilities."
    if network.novelty is None:
        yield (
            f"- Unknown is a cell whose highest probability is below "
            f"{calibration.unknown_threshold:.2f}."
        )
    else:
        yield (
            f"- Unknown is a cell that lies further from {len(network.novelty.cells):,} remembered "
            "reference cells, or out along what varies in the query alone, and is more in doubt, "
            "than all but that share of "
            f"{len(network.novelty.surprises):,} held-out ones (score above "
            f"{network.unknown_above:.2f})."
        )


def _settings(model: Model) -> Iterator[str]:
    yield from ("", "## Settings", "")
    usual, own = dict(_flat(Settings().to_dict())), dict(_flat(model.settings.to_dict()))
    other = {name: value for name, value in own.items() if usual.get(name) != value}
    if other:
        yield "As in the default preset, but for"
        yield ""
        yield from (f"- {name}: {value}" for name, value in other.items())
    else:
        yield "As in the default preset."


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value


def _limits(model: Model) -> Iterator[str]:
    yield from ("", "## Where it ends", "")
    yield "- Every cell gets one of these labels; one of another type is at best flagged unknown."
    yield (
        "- Confidence is fitted on cells of the reference. A query that is shallower, lacks genes "
        "or comes from another technology is harder than that: `plkd report` says how far it is."
    )
    yield "- Genes that a query lacks are guessed from those that it has."
    few = [label for label, n in model.cells_per_label.items() if 0 < n < _FEW_CELLS]
    if few:
        yield f"- Learnt from fewer than {_FEW_CELLS} cells: {listed(few, 10)}."
    yield ""


def _in_table(name: str | None) -> str:
    return (name or "").replace("|", r"\|")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"
