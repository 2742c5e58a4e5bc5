"""Gene networks of the labels and their key genes, from the Teacher's gene embeddings."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from plkd.figures.networks import plot_networks
from plkd.figures.style import save_figure, style
from plkd.interpret.networks import edge_table, file_slug, label_networks, write_graphml
from plkd.model.folder import load_model
from plkd.utils.files import whole_file, whole_folder
from plkd.utils.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    choice, output = snakemake.params.interpretation, snakemake.output
    # A gene or a label may be called NA: names are read as they stand.
    ranked, members = (
        pd.read_csv(path, sep="\t", keep_default_na=False)
        for path in (snakemake.input.label_pathways, snakemake.input.genes)
    )
    networks, table = label_networks(
        load_model(Path(snakemake.input.model).parent),
        ranked,
        members,
        genes_per_pathway=choice["genes_per_pathway"],
        embedding=choice["embedding"],
        similarity=choice["similarity"],
    )
    edges = pd.concat([edge_table(graph).assign(label=label) for label, graph in networks.items()])[
        ["label", "gene", "other", "similarity"]
    ]
    for path, content in ((output.genes, table), (output.edges, edges)):
        with whole_file(path) as temporary:
            content.to_csv(temporary, sep="\t", index=False)
    with whole_folder(output.graphs) as folder:
        for number, (label, graph) in enumerate(networks.items(), start=1):
            write_graphml(
                graph,
                table[table["label"] == label],
                folder / f"{file_slug(number, label)}.graphml",
                label=label,
            )
    own = ranked[ranked["top"].astype(str) == "True"]
    with style():
        figure = plot_networks(
            networks,
            table,
            {label: list(own.loc[own["label"] == label, "pathway"]) for label in networks},
            dict(zip(ranked["pathway"], ranked["name"], strict=True)),
            title=f"Gene networks of the labels (cosine of the embeddings at least "
            f"{choice['similarity']:g})",
        )
        save_figure(figure, output.png, output.pdf)


if __name__ == "__main__":
    run_script(main, snakemake)
