"""Read the Teacher's pathways: their genes and names, and which of them are a label's own."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from plkd.figures.pathways import plot_attention, plot_label_pathways
from plkd.figures.style import save_figure, style
from plkd.interpret.pathway_attribution import no_pathways
from plkd.interpret.pathway_names import (
    name_pathways,
    pathway_genes,
    summarise_names,
)
from plkd.interpret.pathway_scores import (
    labelled_cells,
    outside_share,
    pathway_scores,
    pathway_weights,
    rank_label_pathways,
    teacher_of,
    token_statistics,
)
from plkd.model.trained_model import load_model
from plkd.pathways.gene_sets import read_gmt
from plkd.pathways.mask import LITTLE_COVERED, coverage
from plkd.utils.devices import choose_device
from plkd.utils.files import intact, write_json
from plkd.utils.logs import logger, run_script
from plkd.utils.tables import write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    output, choice = snakemake.output, snakemake.params.interpretation
    model = load_model(Path(snakemake.input.model).parent).require("teacher")
    teacher = teacher_of(model)
    cells, labels, about = labelled_cells(
        snakemake.input.cells,
        model,
        predictions=snakemake.input.predictions or None,
        most=choice["cells_per_label"],
        seed=int(snakemake.wildcards.seed),
    )
    statistics = token_statistics(
        model,
        cells,
        labels,
        axis=choice["axis"],
        device=choose_device(snakemake.params.device, threads=snakemake.threads),
    )
    weights = pathway_weights(teacher, statistics.axes)
    members = pathway_genes(weights, model.genes, model.tokens)
    with intact(snakemake.input.gene_sets, "mask"):
        gene_sets = read_gmt(snakemake.input.gene_sets, may_be_empty=True)
    named = name_pathways(members, model.genes, gene_sets)
    named.insert(2, "variance_share", statistics.variance_share)
    ranked = rank_label_pathways(
        pathway_scores(cells, weights), labels, statistics.attention, top=choice["pathways"]
    )
    covered, words = coverage(teacher.navigator.mask(), model.tokens)
    n_genes = len(model.genes)
    (logger.warning if covered < LITTLE_COVERED * n_genes else logger.info)(words)
    outside = outside_share(ranked, np.asarray(model.tokens)[no_pathways(model)])
    names = dict(zip(named["pathway"], named["name"], strict=True))
    ranked.insert(2, "name", ranked["pathway"].map(names))
    summary = {
        **summarise_names(named),
        "axis": choice["axis"],
        "cells": about,
        "genes": n_genes,
        "covered_genes": covered,
        "attention_outside": outside,
    }
    logger.info("%d pathways of %d labels; %s", len(named), ranked["label"].nunique(), about)

    write_tsv(named, output.pathways)
    write_tsv(members, output.genes)
    write_tsv(ranked, output.label_pathways, exact=["attention"])  # the networks weigh by it
    write_json(output.summary, summary)
    below = f"{about}; {words}"
    drawn = {"names": names, "outside": outside}
    with style():
        figure = plot_label_pathways(ranked, **drawn, title=f"Pathways of the labels\n{below}")
        save_figure(figure, output.png, output.pdf)
        figure = plot_attention(ranked, **drawn, title=f"Attention of the cell token\n{below}")
        save_figure(figure, output.attention_png, output.attention_pdf)


if __name__ == "__main__":
    run_script(main, snakemake)
