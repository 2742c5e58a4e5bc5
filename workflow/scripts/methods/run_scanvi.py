"""scANVI: scVI on reference and query together, then its semi-supervised kin.

Layers, latent dimensions and likelihood are those of the tutorial of scvi-tools. The package trains
small data sets for 400 epochs, which a processor without GPU takes hours for; here are at most 100,
and 25 for the labels.
"""

import anndata as ad
import numpy as np
import pandas as pd
import scvi
import torch
from scipy import sparse

import exchange

MOST_EPOCHS, LABEL_EPOCHS = 100, 25


def annotate(job):
    scvi.settings.seed = job.seed
    torch.set_num_threads(job.threads)
    unlabelled = "unlabelled"
    while unlabelled in job.label_names:
        unlabelled += "_"
    n_query = len(job.query.ids)
    counts = sparse.vstack([job.reference.counts, job.query.counts], format="csr")
    obs = pd.DataFrame(
        {
            "label": [*map(str, job.reference.labels), *[unlabelled] * n_query],
            "batch": [*map(str, job.reference.batches), *map(str, job.query.batches)],
        },
        index=[*(f"r-{name}" for name in job.reference.ids), *job.query.ids],
    )
    cells = ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=job.reference.genes))
    trainer = {
        "accelerator": "gpu" if job.torch_device().startswith("cuda") else "cpu",
        "devices": 1,
        "enable_progress_bar": False,
    }
    with job.timed("training"):
        scvi.model.SCVI.setup_anndata(cells, batch_key="batch", labels_key="label")
        model = scvi.model.SCVI(cells, n_layers=2, n_latent=30, gene_likelihood="nb")
        epochs = min(MOST_EPOCHS, int(np.round(20_000 / len(obs) * 400)))
        model.train(max_epochs=max(1, epochs), **trainer)
        model = with_labels(model, unlabelled, trainer)
    job.told["parameters"] = sum(part.numel() for part in model.module.parameters())
    with job.timed("prediction"):
        soft = model.predict(cells[-n_query:].copy(), soft=True)
    return list(map(str, soft.columns)), soft.to_numpy()


def with_labels(model, unlabelled, trainer):
    """scANVI from scVI. Its samples of the labels may leave one cell to the last batch.

    This the package cannot normalise, and it fails in the first epoch: then with smaller batches.
    """
    for batch_size in (128, 127, 126):  # the first is the default
        started = scvi.model.SCANVI.from_scvi_model(model, unlabeled_category=unlabelled)
        try:
            started.train(
                max_epochs=LABEL_EPOCHS, n_samples_per_label=100, batch_size=batch_size, **trainer
            )
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
        else:
            return started
    raise exchange.CannotRun("failed: a batch of one cell is left with all sizes of batches")


if __name__ == "__main__":
    exchange.run(annotate, "scvi-tools")
