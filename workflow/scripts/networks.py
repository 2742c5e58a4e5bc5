"""Gene networks of the labels and their key genes, from the Teacher's gene embeddings."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from plkd.figures.networks import plot_networks
from plkd.figures.style import save_figure, style
from plkd.interpret.columns import EDGE_COLUMNS, LABEL_PATHWAY_COLUMNS
from plkd.interpret.networks import (
    edge_table,
    file_slug,
    label_networks,
    write_graphml,
)
from plkd.interpret.pathway_names import PATHWAY_GENE_COLUMNS
from plkd.interpret.pathway_scores import teacher_of
from plkd.model.trained_model import load_model
from plkd.pathways.mask import coverage
from plkd.utils.files import whole_folder
from plkd.utils.logs import run_script
from plkd.utils.tables import read_tsv, write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    choice, output = snakemake.params.interpretation, snakemake.output
    given = snakemake.input
    ranked = read_tsv(given.label_pathways, LABEL_PATHWAY_COLUMNS, made_by="pathways")
    members = read_tsv(given.genes, PATHWAY_GENE_COLUMNS, made_by="pathways")
    teacher = load_model(Path(snakemake.input.model).parent).require("teacher")
    networks, table = label_networks(
        teacher,
        ranked,
        members,
        genes_per_pathway=choice["genes_per_pathway"],
        embedding=choice["embedding"],
        chance=choice["chance"],
        seed=int(snakemake.wildcards.seed),
    )
    edges = pd.concat([edge_table(graph).assign(label=label) for label, graph in networks.items()])
    write_tsv(table, output.genes)
    write_tsv(edges[list(EDGE_COLUMNS)], output.edges)
    with whole_folder(output.graphs) as folder:
        for number, (label, graph) in enumerate(networks.items(), start=1):
            write_graphml(
                graph,
                table[table["label"] == label],
                folder / f"{file_slug(number, label)}.graphml",
                label=label,
            )
    own = ranked[ranked["top"]]
    _, covered = coverage(teacher_of(teacher).navigator.mask(), teacher.tokens)
    with style():
        figure = plot_networks(
            networks,
            table,
            {label: list(own.loc[own["label"] == label, "pathway"]) for label in networks},
            dict(zip(ranked["pathway"], ranked["name"], strict=True)),
            title="Gene networks of the labels: genes that the Teacher reads more alike than "
            f"{1 - choice['chance']:.0%} of random pairs\n{covered}",
        )
        save_figure(figure, output.png, output.pdf)


if __name__ == "__main__":
    run_script(main, snakemake)
