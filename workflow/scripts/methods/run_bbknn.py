"""BBKNN: a graph in which every cell has its 3 nearest neighbours in every batch (its defaults).

A graph is no space: this one is laid out by a diffusion map, the eigenvectors of its random walk,
each weighted by its eigenvalue; as many as the principal components that the graph was made of.
"""

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import eigsh

import exchange


def embed(job):
    import bbknn.matrix

    batches = job.batches.astype(str)
    _, graph, _ = bbknn.matrix.bbknn(job.components, batches, pynndescent_random_state=job.seed)
    return diffusion_map(sparse.csr_matrix(graph), job.components.shape[1], job.seed)


def diffusion_map(graph, n, seed):
    """Coordinates (cells, n) of a symmetric graph; the constant eigenvector is left out."""
    degree = np.asarray(graph.sum(axis=1)).ravel()
    root = sparse.diags(1 / np.sqrt(np.maximum(degree, 1e-12)))
    start = np.random.default_rng(seed).normal(size=len(degree))
    n = min(n, len(degree) - 2)
    values, vectors = eigsh(root @ graph @ root, k=n + 1, which="LA", v0=start)
    order = np.argsort(-values)[1:]
    return (root @ vectors)[:, order] * values[order] * np.sqrt(degree.sum())


if __name__ == "__main__":
    exchange.run_integration(embed, "bbknn")
