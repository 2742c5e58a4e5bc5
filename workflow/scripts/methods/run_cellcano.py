"""Cellcano (Ma et al. 2023): the published networks and its two rounds, in torch.

First a network (64 and 16 units, dropout of a half before each layer) learns the reference. Of a
query of 1,000 cells and more, the 40 % surest cells of every label then teach a second network of
the same shape, from which a third is distilled; it labels the other cells. A smaller query is
scaled as the reference and labelled by the first network alone.
"""

from itertools import pairwise

import numpy as np
import torch
from sklearn.feature_selection import f_classif
from torch import nn

import exchange

HIDDEN = (64, 16)
EPOCHS, BATCH, SECOND_BATCH, DISTILLED_EPOCHS = 100, 16, 32, 30
MOST_GENES, LEAST_CELLS = 3000, 1000
SURE = 0.4  # share of the cells of a label that the second round learns from
HARD, TEMPERATURE = 0.1, 3.0  # weight of the labels beside the teacher's word, and how soft that is


def annotate(job):
    torch.manual_seed(job.seed)
    torch.set_num_threads(job.threads)
    rng = np.random.default_rng(job.seed)
    device = job.torch_device()
    genes = chosen_genes(job)
    reference = job.reference.log_values[:, genes].toarray()
    query = job.query.log_values[:, genes].toarray()
    mean, deviation = moments(reference)
    two_rounds = len(query) >= LEAST_CELLS
    if two_rounds:
        X_query = np.clip((query - moments(query)[0]) / moments(query)[1], -6, 6)
    else:
        X_query = (query - mean) / deviation
    X = np.clip((reference - mean) / deviation, -6, 6)
    n_labels = len(job.label_names)
    with job.timed("training"):
        first = fitted(X, job.label_codes, n_labels, BATCH, device)
    job.told["parameters"] = sum(part.numel() for part in first.parameters())
    with job.timed("prediction"):
        probabilities = predicted(first, X_query)
        if two_rounds:
            second_round(probabilities, X_query, rng, device)
    return job.label_names, probabilities


def second_round(probabilities, X, rng, device):
    """Replace the probabilities of the cells that the first network is not sure of."""
    labels = probabilities.argmax(axis=1)
    sure = surest(probabilities, labels, rng)
    if sure.all():
        return
    rows = oversampled(np.flatnonzero(sure), labels, rng)
    n_labels = probabilities.shape[1]
    teacher = fitted(X[rows], labels[rows], n_labels, SECOND_BATCH, device)
    student = distilled(teacher, X[rows], labels[rows], n_labels, device)
    probabilities[~sure] = predicted(student, X[~sure])


def chosen_genes(job):
    """Genes that are not mitochondrial; of many those that tell the labels apart best (F test)."""
    names = np.array([str(name).upper() for name in job.reference.genes])
    genes = np.flatnonzero([not name.startswith(("MT-", "ERCC")) for name in names])
    if len(genes) <= MOST_GENES:
        return genes
    with np.errstate(all="ignore"):
        scores, _ = f_classif(job.reference.log_values[:, genes], job.label_codes)
    return np.sort(genes[np.argsort(np.nan_to_num(scores))[-MOST_GENES:]])


def moments(cells):
    deviation = cells.std(axis=0, ddof=1)
    return cells.mean(axis=0), np.where(deviation > 0, deviation, 1)


def network(n_genes, n_labels):
    sizes = [n_genes, *HIDDEN, n_labels]
    layers = []
    for size, following in pairwise(sizes):
        layer = nn.Linear(size, following)
        nn.init.trunc_normal_(layer.weight, std=0.1, a=-0.2, b=0.2)
        nn.init.zeros_(layer.bias)
        layers += [nn.Dropout(0.5), layer, nn.ReLU()]
    del layers[-3], layers[-1]  # the last layer has neither dropout nor activation
    return nn.Sequential(*layers)


def fitted(X, codes, n_labels, batch, device):
    """A network that learned these labels."""
    model = network(X.shape[1], n_labels).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, eps=1e-7)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1000, gamma=0.95)
    for cells, labels in batches(X, codes, batch, EPOCHS, device):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(cells), labels).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def distilled(teacher, X, codes, n_labels, device):
    """A network that learned what another says of these cells, and a little of their labels."""
    model = network(X.shape[1], n_labels).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7)
    for cells, labels in batches(X, codes, SECOND_BATCH, DISTILLED_EPOCHS, device):
        with torch.no_grad():
            told = torch.log_softmax(teacher(cells) / TEMPERATURE, dim=1)
        logits = model(cells)
        said = torch.log_softmax(logits / TEMPERATURE, dim=1)
        soft = nn.functional.kl_div(said, told, reduction="batchmean", log_target=True)
        loss = HARD * nn.functional.cross_entropy(logits, labels) + (1 - HARD) * soft
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def batches(X, codes, size, epochs, device):
    cells = torch.as_tensor(X, dtype=torch.float32, device=device)
    labels = torch.as_tensor(codes, device=device)
    for _ in range(epochs):
        for rows in torch.randperm(len(cells), device=device).split(size):
            yield cells[rows], labels[rows]


def predicted(model, X):
    device = next(model.parameters()).device
    with torch.no_grad():
        logits = model(torch.as_tensor(X, dtype=torch.float32, device=device))
    return torch.softmax(logits, dim=1).cpu().numpy()


def surest(probabilities, labels, rng):
    """Cells of the least entropy among those of the same label."""
    entropy = -np.sum(probabilities * np.log(np.maximum(probabilities, 1e-30)), axis=1)
    sure = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        low = rows[entropy[rows] <= np.quantile(entropy[rows], SURE)]
        most = int(np.ceil(SURE * len(rows)))
        sure[low if len(low) <= most else rng.choice(low, most, replace=False)] = True
    return sure


def oversampled(rows, labels, rng):
    """The cells, those of rare labels as often as to be as many as the average label has."""
    found, counts = np.unique(labels[rows], return_counts=True)
    average = int(np.ceil(len(rows) / len(found)))
    return np.concatenate(
        [
            rows[labels[rows] == label]
            if count >= average
            else rng.choice(rows[labels[rows] == label], average)
            for label, count in zip(found, counts, strict=True)
        ]
    )


if __name__ == "__main__":
    exchange.run(annotate, "torch")
