"""Which cells to explain: one, those of a label, or those with a value in their table."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from plkd.errors import InputError
from plkd.prediction.model_input import ModelInput
from plkd.utils.text import listed


@dataclass(frozen=True)
class ChosenCells:
    """Cells that are to be explained.

    Attributes
    ----------
    cell_ids
        Names, (cells,).
    cells
        Log-normalised expression, CSR float32 (cells, genes), genes in the model's order.
    entering
        The same as it enters the networks: moved onto the reference, if it is.
    probabilities
        What the Student says of them, float32 (cells, labels).
    n_meant
        Cells that were meant; of more than were asked for so many are drawn.
    about
        What they are, in words.
    """

    cell_ids: NDArray[np.str_]
    cells: sparse.csr_matrix
    entering: sparse.csr_matrix
    probabilities: NDArray[np.float32]
    n_meant: int
    about: str


def choose_cells(
    cells: ModelInput,
    *,
    cell: str | None = None,
    label: str | None = None,
    obs: tuple[str, str] | None = None,
    most: int,
    seed: int,
) -> ChosenCells:
    """Find, draw and read the cells to explain; every cell is predicted once.

    Parameters
    ----------
    cells
        All cells of the query.
    cell, label, obs
        One of them: a name of a cell; a label that the Student gives; a column of the cells' table
        and a value.
    most, seed
        Of more cells so many are drawn, by the seed.

    Raises
    ------
    InputError
        If there is no such cell, label, column or value, not one of the three was given, or the
        cells have no counts.
    """
    if sum(choice is not None for choice in (cell, label, obs)) != 1:
        raise InputError("say which cells to explain: a cell, a label or a column with a value.")
    if label is not None:
        rows, probabilities = _labelled(cells, label)
    else:
        found = _named(cells, cell) if cell is not None else _with_value(cells, *(obs or ("", "")))
        rows, probabilities = found, None
    lot = np.random.default_rng(seed).random(cells.n_cells)
    drawn = np.sort(np.argsort(lot[rows])[:most])
    matrix = cells.take(rows[drawn])
    about = cell or label or "=".join(obs or ())
    measured = cells.reasons(rows[drawn]) == ""
    if not measured.any():
        raise InputError(
            f"'{cells.name}', {about}: there are no counts of any gene of the model, so nothing "
            "can be said and nothing explained. Choose other cells."
        )
    if not measured.all():
        about += f" (without {np.count_nonzero(~measured):,} cells that have no counts)"
    drawn, matrix = drawn[measured], matrix[measured]
    batches = cells.batches[rows[drawn]]
    if probabilities is None:
        said = cells.network.predict(matrix, batches)[0]
    else:
        said = probabilities[drawn]
    return ChosenCells(
        cells.obs.index[rows[drawn]].to_numpy(dtype=str),
        matrix,
        cells.network.entering(matrix, batches),
        said,
        len(rows),
        about,
    )


def _labelled(cells: ModelInput, label: str) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Ascending places of the cells that the Student gives a label, and what it says of them."""
    student, found, said = cells.network, [], []
    if label in student.labels:
        code = student.labels.index(label)
        for rows, part in cells.chunks():
            probabilities = student.predict(part, cells.batches[rows])[0]
            members = probabilities.argmax(axis=1) == code
            found.append(rows[members])
            said.append(probabilities[members])
    if not sum(map(len, found)):
        raise InputError(
            f"no cell of '{cells.name}' is labelled '{label}'; the model's labels are "
            f"{', '.join(student.labels)}."
        )
    return np.concatenate(found), np.concatenate(said)


def _named(cells: ModelInput, name: str) -> NDArray[np.intp]:
    """Place of the first cell of this name."""
    names = cells.obs.index
    rows = np.flatnonzero(names == name)
    if len(rows) == 0:
        near = difflib.get_close_matches(name, [str(one) for one in names], n=3)
        hint = f"Its cells are named like '{names[0]}'."
        if near:
            hint = f"Is it {' or '.join(repr(one) for one in near)}?"
        raise InputError(f"'{cells.name}' has no cell '{name}'. {hint}")
    return rows[:1]


def _with_value(cells: ModelInput, column: str, value: str) -> NDArray[np.intp]:
    """Ascending places of the cells with a value in a column of their table."""
    table = cells.obs
    if column not in table:
        raise InputError(
            f"'{cells.name}': obs has no column '{column}'; its columns are: "
            f"{', '.join(map(str, table.columns)) or 'none'}."
        )
    texts = table[column].astype(str)
    rows = np.flatnonzero(texts == value)
    if len(rows) == 0:
        raise InputError(
            f"'{cells.name}': no cell has {column} = '{value}'; there are "
            f"{listed(pd.unique(texts), 10)}."
        )
    return rows
