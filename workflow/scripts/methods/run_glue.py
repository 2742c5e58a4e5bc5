"""GLUE: autoencoders of genes and of peaks, which a graph holds together (scglue, its defaults).

As in its tutorial: counts of genes and peaks (negative binomial), 100 principal components of the
scaled genes and 100 of the peaks (latent semantic indexing) as input. The graph joins a gene with
the peaks in its body and the 2,000 bases before it, which is scglue's own choice of promoter and
range; peaks at none of the selected genes take part in the indexing alone. Training stops by
itself, at the latest after 150 epochs of each of its two rounds, where the package might take
thousands for few cells.
"""

import numpy as np

import exchange

COMPONENTS = 100
MOST_EPOCHS = 150


def embed(job):
    import pandas as pd
    import scanpy as sc
    import scglue
    import torch
    from anndata import AnnData

    torch.set_num_threads(job.threads)
    links = job.peaks.table("varm/genes")
    rna = AnnData(job.reference.log_values, var=pd.DataFrame(index=names("gene", links.shape[1])))
    rna.layers["counts"] = job.reference.counts
    n = min(COMPONENTS, *(size - 1 for size in rna.shape))
    scaled = sc.pp.scale(rna, copy=True)
    rna.obsm["X_pca"] = sc.pp.pca(scaled, n_comps=n, svd_solver="auto", copy=True).obsm["X_pca"]
    atac = AnnData(job.peaks.log_values, var=pd.DataFrame(index=names("peak", links.shape[0])))
    n = min(COMPONENTS, *(size - 1 for size in atac.shape))
    scglue.data.lsi(atac, n_components=n, n_iter=15)
    atac = atac[:, links.getnnz(axis=1) > 0].copy()
    # of two modalities with other cells the same names would be taken for pairs
    for table, prefix in ((rna, "r"), (atac, "a")):
        table.obs_names = names(prefix, table.n_obs)
        table.var["highly_variable"] = True
    scglue.models.configure_dataset(rna, "NB", use_layer="counts", use_rep="X_pca")
    scglue.models.configure_dataset(atac, "NB", use_rep="X_lsi")
    model = scglue.models.fit_SCGLUE(
        {"rna": rna, "atac": atac},
        guidance(links),
        init_kws={"random_seed": job.seed},
        fit_kws={"directory": str(job.folder / "glue"), "max_epochs": MOST_EPOCHS},
    )
    parts = [model.encode_data("rna", rna), model.encode_data("atac", atac)]
    return np.concatenate(parts)


def guidance(links):
    """Graph of genes and their peaks, in both directions, every one of them with itself."""
    import networkx as nx

    peaks, genes = links.nonzero()
    ends = [(f"gene{gene}", f"peak{peak}") for peak, gene in zip(peaks, genes, strict=True)]
    alone = {f"gene{gene}" for gene in range(links.shape[1])} | {peak for _, peak in ends}
    graph = nx.MultiDiGraph()
    edges = [*ends, *((peak, gene) for gene, peak in ends), *((one, one) for one in sorted(alone))]
    graph.add_edges_from(edges, weight=1.0, sign=1)
    return graph


def names(prefix, n):
    return [f"{prefix}{number}" for number in range(n)]


if __name__ == "__main__":
    exchange.run_integration(embed, "scglue")
