"""Scanorama: mutual nearest neighbours of all pairs of batches (scanorama.integrate)."""

import numpy as np
from scipy import sparse

import exchange


def embed(job):
    import scanorama

    X = sparse.vstack([job.reference.log_values, job.query.log_values], format="csr")
    names, codes = np.unique(job.batches, return_inverse=True)
    members = [np.flatnonzero(codes == one) for one in range(len(names))]
    genes = [list(job.reference.genes)] * len(names)
    parts, _ = scanorama.integrate([X[rows] for rows in members], genes, seed=job.seed, verbose=0)
    embedding = np.zeros((X.shape[0], parts[0].shape[1]))
    for rows, part in zip(members, parts, strict=True):
        embedding[rows] = part
    return embedding


if __name__ == "__main__":
    exchange.run_integration(embed, "scanorama")
