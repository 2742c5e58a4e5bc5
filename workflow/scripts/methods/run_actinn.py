"""ACTINN (Ma & Pellegrini 2020): the published network and filter of genes, in torch.

Three layers of 100, 50 and 25 units, Glorot's initial weights, Adam with a rate of 1e-4 that falls
by 5 % every 1,000 steps, an L2 penalty of 0.005 on the weights, 50 epochs in batches of 128. Genes
in the outer hundredths of total expression, then of the coefficient of variation, over reference
and query, are left out. Cells are normalised over all their genes, as the prepared cells are, with
logarithms to base 2.
"""

from itertools import pairwise

import numpy as np
import torch
from scipy import sparse
from torch import nn

import exchange

HIDDEN = (100, 50, 25)
EPOCHS, BATCH = 50, 128


def annotate(job):
    torch.manual_seed(job.seed)
    torch.set_num_threads(job.threads)
    device = job.torch_device()
    n_reference = len(job.reference.ids)
    cells = sparse.vstack([job.reference.log_values, job.query.log_values], format="csc")
    values = torch.as_tensor(kept_genes(cells).toarray(), dtype=torch.float32) / np.log(2)
    X, X_query = values[:n_reference].to(device), values[n_reference:].to(device)
    y = torch.as_tensor(job.label_codes, device=device)
    with job.timed("training"):
        model = network(X.shape[1], len(job.label_names)).to(device)
        train(model, X, y)
    job.told["parameters"] = sum(part.numel() for part in model.parameters())
    with job.timed("prediction"), torch.no_grad():
        probabilities = torch.softmax(model(X_query), dim=1).cpu().numpy()
    return job.label_names, probabilities


def kept_genes(cells):
    """Columns between the first and the last hundredth of total expression, then of variation."""
    cells = cells[:, between(np.asarray(cells.sum(axis=0)).ravel())]
    mean = np.asarray(cells.mean(axis=0)).ravel()
    square = np.asarray(cells.multiply(cells).mean(axis=0)).ravel()
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    with np.errstate(invalid="ignore"):
        return cells[:, between(np.nan_to_num(deviation / mean))]


def between(values):
    low, high = np.percentile(values, [1, 99])
    return (values >= low) & (values <= high)


def network(n_genes, n_labels):
    sizes = [n_genes, *HIDDEN, n_labels]
    layers = []
    for size, following in pairwise(sizes):
        layer = nn.Linear(size, following)
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def train(model, X, y):
    weights = [part for name, part in model.named_parameters() if name.endswith("weight")]
    biases = [part for name, part in model.named_parameters() if name.endswith("bias")]
    # half the squared weights times 0.005 in the loss: Adam's weight_decay, not AdamW's
    groups = [{"params": weights, "weight_decay": 0.005}, {"params": biases}]
    optimizer = torch.optim.Adam(groups, lr=1e-4)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1000, gamma=0.95)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(X), device=X.device).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(X[rows]), y[rows]).backward()
            optimizer.step()
            schedule.step()


if __name__ == "__main__":
    exchange.run(annotate, "torch")
