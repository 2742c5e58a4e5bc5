"""LIGER: integrative non-negative matrix factorisation of the batches, then quantile normalisation.

`liger` factorises by alternating least squares, `online_inmf` by small batches of cells (at most
5,000, and no more than the smallest of the batches has); both with 20 factors and the package's
defaults. The genes are those that were selected in the reference; a cell in which none of them has
a count is at zero.
"""

import numpy as np

import exchange

FACTORS = 20
MOST_AT_ONCE = 5000


def embed(job):
    import pyliger

    batches = job.rows_of_batches()
    if len(batches) < 2:
        raise exchange.CannotRun("it needs two batches")
    smallest = min(map(len, batches))
    k = min(FACTORS, smallest - 1)
    liger = pyliger.create_liger([table_of(job, rows, n) for n, rows in enumerate(batches)])
    pyliger.normalize(liger)
    liger.var_genes = genes_of_all(liger)
    pyliger.scale_not_center(liger)
    # the package's seed is 1 where none is given
    if job.method == "liger":
        pyliger.optimize_ALS(liger, k=k, rand_seed=job.seed + 1)
    else:
        at_once = min(MOST_AT_ONCE, smallest)
        pyliger.online_iNMF(liger, k=k, miniBatch_size=at_once, rand_seed=job.seed + 1)
    pyliger.quantile_norm(liger, rand_seed=job.seed + 1)
    embedding = np.zeros((len(job.batches), k))
    for table in liger.adata_list:
        embedding[table.obs_names.astype(int)] = table.obsm["H_norm"]
    return embedding


def table_of(job, rows, number):
    """Counts of a batch as the package wants it; the name of a cell is its row."""
    import anndata as ad
    import pandas as pd

    obs = pd.DataFrame(index=pd.Index(rows.astype(str), name="cell"))
    var = pd.DataFrame(index=pd.Index(job.reference.genes.astype(str), name="gene"))
    return ad.AnnData(job.counts[rows], obs=obs, var=var, uns={"sample_name": f"batch{number}"})


def genes_of_all(liger):
    """Genes that no batch lacks: the package leaves out those that have no count in one."""
    first, *others = (table.var_names for table in liger.adata_list)
    for names in others:
        first = first.intersection(names, sort=False)
    return np.asarray(first)


if __name__ == "__main__":
    exchange.run_integration(embed, "pyliger")
