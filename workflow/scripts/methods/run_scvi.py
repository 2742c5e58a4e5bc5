"""scVI: a variational autoencoder of the counts with the batch as covariate, without labels.

As in run_scanvi.py, at most 100 epochs; the package would train small data sets for 400.
"""

import anndata as ad
import numpy as np
import pandas as pd

import exchange

MOST_EPOCHS = 100


def embed(job):
    import scvi
    import torch

    scvi.settings.seed = job.seed
    torch.set_num_threads(job.threads)
    obs = pd.DataFrame({"batch": job.batches.astype(str)}, index=np.arange(len(job.batches)))
    cells = ad.AnnData(job.counts, obs=obs.set_index(obs.index.astype(str)))
    scvi.model.SCVI.setup_anndata(cells, batch_key="batch")
    model = scvi.model.SCVI(cells)
    epochs = min(MOST_EPOCHS, int(np.round(20_000 / len(obs) * 400)))
    model.train(max_epochs=max(1, epochs), enable_progress_bar=False)
    return model.get_latent_representation()


if __name__ == "__main__":
    exchange.run_integration(embed, "scvi-tools")
