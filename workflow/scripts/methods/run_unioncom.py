"""UnionCom: matches batches by the distances within each, without common features (its defaults).

Every batch is given by its principal components; the others are matched with the largest. Distances
between all cells of a batch, and a match of every cell with every other, are kept in memory.
"""

import sys
from types import SimpleNamespace

import numpy as np

import exchange


def embed(job):
    import torch

    vars(np)["int"] = int  # which the package still uses; what follows it imports and no more
    sys.modules |= dict.fromkeys(("torchvision", "umap"), SimpleNamespace(models=None))
    from unioncom import UnionCom

    torch.set_num_threads(job.threads)
    batches = job.rows_of_batches()
    if len(batches) < 2:
        raise exchange.CannotRun("it needs two batches")
    by_size = sorted(range(len(batches)), key=lambda one: len(batches[one]))
    parts = [job.components[batches[one]].astype(np.float64) for one in by_size]
    found = UnionCom.UnionCom(manual_seed=job.seed).fit_transform(dataset=parts)
    return job.in_order([found[place] for place in np.argsort(by_size)])


if __name__ == "__main__":
    exchange.run_integration(embed, "unioncom")
