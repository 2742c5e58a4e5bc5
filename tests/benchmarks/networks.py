"""Do genes with similar embeddings vary together over the cells? For both choices of an embedding.

``python tests/benchmarks/networks.py results/DATASET`` (finished runs with the variant
``default``): for the genes of every label's network Spearman's rho between the cosines of their
embeddings and their correlations over all reference cells; the mean over labels, by seed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy.stats import spearmanr

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[2] / "workflow" / "scripts")]

from measuring import Table, as_text  # noqa: E402

from plkd.interpret.networks import gene_embeddings  # noqa: E402
from plkd.interpret.pathway_scores import teacher_of  # noqa: E402
from plkd.model.trained_model import load_model  # noqa: E402

EMBEDDINGS = ("attended", "pathway")


def rows_of(run: Path, reference: ad.AnnData) -> Table:
    """Spread of the cosines, and rho, of every choice of an embedding."""
    model = load_model(run / "model").require("teacher")
    folder = run / "interpretation"
    pathways, genes = (
        pd.read_csv(folder / f"{name}.tsv", sep="\t", keep_default_na=False)
        for name in ("label_pathways", "network_genes")
    )
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in EMBEDDINGS}
    for label, table in pathways.groupby("label", sort=False):
        here = genes[genes["label"] == label]
        members = {
            gene: joined.split(";")
            for gene, joined in zip(here["gene"], here["pathway"], strict=True)
        }
        attention = table.set_index("pathway")["attention"].reindex(model.tokens).to_numpy()
        pairs = np.triu_indices(len(members), 1)
        together = np.corrcoef(reference[:, list(members)].X.toarray().T)[pairs]
        for name in EMBEDDINGS:
            vectors = gene_embeddings(
                teacher_of(model), members, model.genes, model.tokens, attention, embedding=name
            )
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
            cosines = (vectors @ vectors.T)[pairs]
            found[name].append((float(cosines.std()), float(spearmanr(cosines, together)[0])))
    means = {name: np.mean(values, axis=0) for name, values in found.items()}
    return [[run.name, name, f"{sd:.2f}", f"{rho:.2f}"] for name, (sd, rho) in means.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="folder of a data set: results/DATASET")
    options = parser.parse_args()
    reference = ad.read_h5ad(options.results / "prepared" / "reference.h5ad")
    table: Table = [["run", "embedding", "spread of the cosines", "rho"]]
    for run in sorted((options.results / "default").glob("seed*")):
        if (run / "interpretation" / "network_genes.tsv").exists():
            table += rows_of(run, reference)
    print(as_text(f"Networks of {options.results.name}", table))


if __name__ == "__main__":
    main()
