"""Deletion and insertion curves of the genes of the Student and the tokens of the Teacher."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from plkd.evaluation.faithfulness import (
    curve_areas,
    student_curves,
    summarise_areas,
    summarise_curves,
    teacher_curves,
)
from plkd.figures.faithfulness import plot_faithfulness
from plkd.figures.style import save_figure, style
from plkd.interpret.attributed_cells import AttributedCells
from plkd.interpret.query_attribution import background_of
from plkd.interpret.sampling import sample_per_label
from plkd.model.trained_model import load_model
from plkd.utils.devices import choose_device
from plkd.utils.logs import run_script
from plkd.utils.tables import write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    choose_device("cpu", threads=snakemake.threads)
    seed = int(snakemake.wildcards.seed)
    model = load_model(Path(snakemake.input.model).parent)
    student, teacher = model.require("student"), model.require("teacher")
    attributed = AttributedCells.load(snakemake.input.values)
    chosen = sample_per_label(
        attributed.codes, snakemake.params.interpretation["tested_cells"], seed
    )
    cells = attributed.entered[chosen]
    background = background_of(model)
    of_teacher = teacher.predict(cells)[0].argmax(axis=1)
    curves = pd.concat(
        [
            student_curves(
                student,
                cells,
                attributed.codes[chosen],
                attributed.values[chosen],
                background,
                seed=seed,
            ),
            teacher_curves(teacher, cells, of_teacher, background, seed=seed),
        ],
        ignore_index=True,
    )
    means, areas = summarise_curves(curves), summarise_areas(curve_areas(curves))
    write_tsv(areas, snakemake.output.areas, exact=["area"])
    write_tsv(means, snakemake.output.curves)
    with style():
        save_figure(plot_faithfulness(means, areas), snakemake.output.png, snakemake.output.pdf)


if __name__ == "__main__":
    run_script(main, snakemake)
