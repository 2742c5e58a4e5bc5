"""Why these cells got their label: genes and pathways of one cell, or of a group of cells.

Everything comes from the folders of the models: their weights, and the background that they keep.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import sparse

from plkd.interpret.attributed_cells import AttributedCells
from plkd.interpret.cell_choice import ChosenCells, choose_cells
from plkd.interpret.gene_attribution import attribute_genes
from plkd.interpret.pathway_attribution import attribute_tokens, no_pathways
from plkd.interpret.query_attribution import background_of
from plkd.io.cells import CellSource
from plkd.model.background import Background
from plkd.model.trained_model import Model
from plkd.model.trained_network import TrainedNetwork
from plkd.prediction.model_input import model_input
from plkd.prediction.predict import predictions_of
from plkd.prediction.table import label_probabilities, prediction_sets
from plkd.settings.datasets import AS_IT_IS, ReadingOptions
from plkd.utils.devices import one_thread_each

MOST_CELLS = 200
"""Of a larger group so many cells are drawn and explained."""


@dataclass(frozen=True)
class Explanation:
    """What is behind a label.

    Attributes
    ----------
    about
        The cells in words: a barcode, or what they have in common.
    label, runner_up
        The label, and the label with the next highest mean probability.
    n_cells, n_explained
        Cells that were meant, and those of them that were explained.
    share
        Share of the explained cells that have this label.
    probability, runner_up_probability
        Mean calibrated probabilities.
    prediction_set
        Labels that cannot be excluded, with the share of the cells for which this is so.
    unknown
        Share of the cells flagged unknown.
    genes
        `gene`, `contribution` to the logit of the label, `against_runner_up` (contribution to the
        difference of the two logits), `expression` of the cells, `typical` of the label and
        `typical_of_runner_up` in the reference; strongest absolute `against_runner_up` first.
    pathways
        `pathway`, `contribution` to the Teacher's logit of its label, `attention`, `is_pathway`
        (False: a token that sees every gene, or those that no pathway covers); strongest first.
        None without a Teacher.
    teacher_label
        What the Teacher calls most of the cells; None without one.
    attributions
        The explained cells with the attributions of the label, cell by cell;
        ``attributions.to_shap()`` gives them to the plots of shap.
    """

    about: str
    label: str
    runner_up: str
    n_cells: int
    n_explained: int
    share: float
    probability: float
    runner_up_probability: float
    prediction_set: dict[str, float]
    unknown: float
    genes: pd.DataFrame
    pathways: pd.DataFrame | None
    teacher_label: str | None
    attributions: AttributedCells = field(repr=False)

    @property
    def outside(self) -> tuple[list[str], float]:
        """Tokens that are no pathways, and their share of all contributions in absolute value."""
        if self.pathways is None:
            return [], 0.0
        others = self.pathways[~self.pathways["is_pathway"]]
        total = float(self.pathways["contribution"].abs().sum())
        share = float(others["contribution"].abs().sum()) / total if total else 0.0
        return others["pathway"].tolist(), share


def explain_file(
    model: Model,
    query: CellSource,
    *,
    cell: str | None = None,
    label: str | None = None,
    obs: tuple[str, str] | None = None,
    batch_key: str | None = None,
    seed: int = 0,
    reading: ReadingOptions = AS_IT_IS,
) -> Explanation:
    """Explain the label of cells of a file.

    Parameters
    ----------
    model
        A trained model: its Student's genes are explained, and its Teacher's pathways.
    query
        File or folder of cells, or an AnnData, see
        :func:`plkd.prediction.model_input.model_input`.
    cell
        Barcode of the cell to explain; or
    label
        a label: the cells that the Student gives it; or
    obs
        a column of the cells' table and a value.
    batch_key
        Column of obs with the batches, see :func:`plkd.prediction.model_input.model_input`.
    seed
        Seed by which :data:`MOST_CELLS` cells of a larger group are drawn.
    reading
        How to read the query.

    Raises
    ------
    InputError
        If there is no such cell, label, column or value, or the models are not fit for it.
    """
    background_of(model)
    student = model.require("student")
    with model_input(query, student, reading, batch_key=batch_key) as cells:
        chosen = choose_cells(cells, cell=cell, label=label, obs=obs, most=MOST_CELLS, seed=seed)
    return explain_cells(model, chosen)


@one_thread_each()
def explain_cells(model: Model, chosen: ChosenCells) -> Explanation:
    """Explain the label that most of some cells have; of the cells those that have it."""
    background, student = background_of(model), model.require("student")
    cells, probabilities = chosen.cells, chosen.probabilities
    labels = probabilities.argmax(axis=1)
    code = int(np.bincount(labels).argmax())  # the first of equals
    share = float((labels == code).mean())
    cells, entering = cells[labels == code], chosen.entering[labels == code]
    probabilities = probabilities[labels == code]
    mean = probabilities.mean(axis=0)
    other = int(np.argsort(-np.where(np.arange(len(mean)) == code, -1.0, mean), kind="stable")[0])
    table = predictions_of(
        student,
        [str(row) for row in range(len(probabilities))],
        probabilities,
        student.surprise(cells),
    )
    sets = prediction_sets(table).to_pylist()
    inside = {
        name: sum(name in found for found in sets) / len(sets)
        for name in np.asarray(student.labels)[np.argsort(-mean, kind="stable")]
    }
    targets = np.tile([code, other], (cells.shape[0], 1))
    found = attribute_genes(student, entering, background, targets, progress=False)
    contribution = found.values.mean(axis=0, dtype=np.float64)
    genes = pd.DataFrame(
        {
            "gene": student.genes,
            "contribution": contribution[0],
            "against_runner_up": contribution[0] - contribution[1],
            "expression": np.asarray(cells.mean(axis=0)).ravel(),
            "typical": background.label_means[code],
            "typical_of_runner_up": background.label_means[other],
        }
    )
    order = np.argsort(-genes["against_runner_up"].abs().to_numpy(), kind="stable")
    pathways, teacher_label = None, None
    if model.teacher is not None:
        pathways, teacher_label = _pathways(model.teacher, background, entering)
    return Explanation(
        about=chosen.about,
        label=student.labels[code],
        runner_up=student.labels[other],
        n_cells=chosen.n_meant,
        n_explained=cells.shape[0],
        share=share,
        probability=float(label_probabilities(table)[:, code].mean()),
        runner_up_probability=float(mean[other]),
        prediction_set={name: value for name, value in inside.items() if value > 0},
        unknown=float(table["unknown"].mean()),
        genes=genes.iloc[order].reset_index(drop=True),
        pathways=pathways,
        teacher_label=teacher_label,
        attributions=AttributedCells(
            cell_ids=chosen.cell_ids[labels == code],
            genes=student.genes,
            labels=student.labels,
            codes=found.targets[:, 0],
            values=found.values[:, 0],
            cells=cells,
            background_mean=background.mean().astype(np.float32),
            base=found.base,
            error=found.error[:, 0],
            entering=entering,
        ),
    )


def explanation_text(found: Explanation, top: int = 10) -> str:
    """Write an explanation in words and numbers, with the `top` genes and pathways."""
    cells = "the cell" if found.n_cells == 1 else f"{found.n_explained} of {found.n_cells} cells"
    lines = [
        f"{found.about}: {found.label} (probability {found.probability:.3f}, mean over {cells})",
        f"  runner-up: {found.runner_up} ({found.runner_up_probability:.3f})",
        "  cannot be excluded: "
        + ", ".join(
            name if share == 1 else f"{name} ({share:.0%} of cells)"
            for name, share in found.prediction_set.items()
        ),
        f"  resembles the reference: {'no, flagged unknown' if found.unknown == 1 else 'yes'}"
        if found.n_explained == 1
        else f"  flagged unknown: {found.unknown:.0%} of cells",
    ]
    if found.share < 1:
        lines.append(f"  {found.share:.0%} of the cells have this label; they are explained")
    shown = found.genes.head(top)
    lines += [
        "",
        f"Genes, by what they add to {found.label} against {found.runner_up} (logit):",
        f"  {'gene':<16}{'against':>9}{'to label':>10}{'here':>8}{'typical':>9}{'runner-up':>11}",
    ]
    lines += [
        f"  {row.gene:<16}{row.against_runner_up:>+9.3f}{row.contribution:>+10.3f}"
        f"{row.expression:>8.2f}{row.typical:>9.2f}{row.typical_of_runner_up:>11.2f}"
        for row in shown.itertuples()
    ]
    if found.pathways is not None:
        lines += ["", f"Pathways, by what they add to the Teacher's {found.teacher_label} (logit):"]
        others, share = found.outside
        if others:
            lines.append(
                f"  {share:.0%} of all contributions come from outside of pathways "
                f"({', '.join(others)}); the pathways share the rest"
            )
        lines.append(f"  {'adds':>8}{'attention':>11}  pathway")
        lines += [
            f"  {row.contribution:>+8.3f}{row.attention:>11.3f}  {row.pathway}"
            for row in found.pathways[found.pathways["is_pathway"]].head(top).itertuples()
        ]
    return "\n".join(lines)


def explanation_table(found: Explanation) -> pd.DataFrame:
    """One row per gene and token: `kind` (gene, pathway, other token), `name`, columns of both."""
    parts = [found.genes.rename(columns={"gene": "name"}).assign(kind="gene")]
    if found.pathways is not None:
        kinds = np.where(found.pathways["is_pathway"], "pathway", "other token")
        parts.append(
            found.pathways.drop(columns="is_pathway").rename(columns={"pathway": "name"})
            .assign(kind=kinds)
        )  # fmt: skip
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "label", found.label)
    return table[
        ["label", "kind", "name", *(c for c in table if c not in ("label", "kind", "name"))]
    ]


def _pathways(
    teacher: TrainedNetwork, background: Background, cells: sparse.csr_matrix
) -> tuple[pd.DataFrame, str]:
    code = int(np.bincount(teacher.predict(cells)[0].argmax(axis=1)).argmax())
    found = attribute_tokens(teacher, cells, background, np.full(cells.shape[0], code))
    table = pd.DataFrame(
        {
            "pathway": teacher.tokens,
            "contribution": found.contributions.mean(axis=0, dtype=np.float64),
            "attention": found.attention.mean(axis=0, dtype=np.float64),
            "is_pathway": ~no_pathways(teacher),
        }
    )
    order = np.argsort(-table["contribution"].abs().to_numpy(), kind="stable")
    return table.iloc[order].reset_index(drop=True), teacher.labels[code]
