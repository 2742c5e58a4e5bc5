"""scButterfly: autoencoders of expression and accessibility with a translator (its defaults).

It learns from cells that were measured twice, a fifth of them held out to stop by, without its
augmentation; the space is the middle of the translator, which both sides are mapped to.
"""

from collections import Counter

import numpy as np

import exchange

BATCH = 64


def embed(job):
    import pandas as pd
    import torch
    from anndata import AnnData

    if not torch.cuda.is_available():  # one line of the package asks for a GPU all the same
        torch.Tensor.cuda = lambda tensor, *_, **__: tensor
    from scButterfly.butterfly import Butterfly

    torch.set_num_threads(job.threads)
    orders = [
        pairs_first(rows, len(side.ids))
        for rows, side in zip(job.pairs.T, (job.reference, job.query), strict=True)
    ]
    chromosomes = job.peaks.feature("chrom")
    by_chromosome = np.argsort(chromosomes.astype(str), kind="stable")
    rna = AnnData(job.reference.counts[orders[0]], var=pd.DataFrame(index=job.reference.genes))
    atac = AnnData(
        job.peaks.log_values[orders[1]][:, by_chromosome],
        var=pd.DataFrame(
            {"chrom": chromosomes[by_chromosome]}, index=job.peaks.genes[by_chromosome]
        ),
    )
    paired = list(range(len(job.pairs)))
    butterfly = Butterfly()
    butterfly.load_data(rna, atac, paired, paired)
    butterfly.data_preprocessing()
    for table in (butterfly.RNA_data_p, butterfly.ATAC_data_p):
        table.X = table.X.astype(np.float32)  # as the package does where it has a GPU
    butterfly.augmentation(aug_type=None)
    peaks_of = Counter(butterfly.ATAC_data_p.var["chrom"])
    butterfly.construct_model(chrom_list=list(peaks_of.values()))
    butterfly.train_model(output_path=str(job.folder), seed=job.seed)
    model = butterfly.model
    model.set_eval()
    sides = (
        (model.RNA_data, model.RNA_encoder, "RNA"),
        (model.ATAC_data, model.ATAC_encoder, "ATAC"),
    )
    found = []
    for order, (values, encoder, name) in zip(orders, sides, strict=True):
        parts = [
            middle(encoder, model.translator, values[start : start + BATCH], name)
            for start in range(0, len(values), BATCH)
        ]
        place = np.empty((len(order), parts[0].shape[1]))
        place[order] = np.concatenate(parts)
        found.append(place)
    return np.concatenate(found)


def pairs_first(rows, n):
    """Order of the cells of a side in which those with a partner come first, as their pairs do."""
    return np.concatenate([rows, np.setdiff1d(np.arange(n), rows)])


def middle(encoder, translator, values, name):
    """Mean of the latent layer of the translator for some cells."""
    import torch

    device = next(encoder.parameters()).device
    with torch.no_grad():
        hidden = encoder(torch.as_tensor(np.asarray(values, np.float32), device=device))
        return translator.test_model(hidden, name)[2].cpu().numpy()


if __name__ == "__main__":
    exchange.run_integration(embed, "scButterfly")
