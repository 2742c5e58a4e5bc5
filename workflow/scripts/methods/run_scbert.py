"""scBERT: a Performer over 16,906 genes and their binned expression, from the authors' weights.

The folder that the user names holds panglao_pretrain.pth and, for the order of the genes,
panglao_10000.h5ad (or genes.txt, a name a line). The network is that of the package
performer-pytorch, of which the authors took an older copy (it keeps the exponentials of the keys
in bounds by the largest of all, the package by that of each head). As in their script, the last
layer, the norm and a head on all genes learn, 180 cells a step, until ten epochs bring nothing more
on a fifth of the cells that is held out.
"""

from itertools import pairwise

import h5py
import numpy as np
import torch
from scipy import sparse
from torch import nn

import exchange
from finetuning import accuracy, count, file_of, known_genes, learn, probabilities, saved_tensors

EPOCHS, PATIENCE, HELD_OUT = 100, 10, 0.2
BATCH, AT_ONCE = 180, 3
RATE, LEAST_RATE, WARM_UP, FIRST_CYCLE, SMALLER = 1e-4, 1e-6, 5, 15, 0.9
HIDDEN = (512, 128)
LAYERS = "performer.net.layers."
ATTENTION = f"{LAYERS}0.0.fn."
# what the sizes of the network are found by
TOKENS, PLACES = "token_emb.weight", "pos_emb.emb.weight"
PROJECTION, QUERIES = f"{ATTENTION}fast_attention.projection_matrix", f"{ATTENTION}to_q.weight"
ASKED = (TOKENS, PLACES, PROJECTION, QUERIES)


class Head(nn.Module):
    """Logits of the labels of what is known of every gene, (cells, genes + 1, width)."""

    def __init__(self, length, width, n_labels):
        super().__init__()
        self.of_gene = nn.Linear(width, 1)
        sizes = [length, *HIDDEN]
        layers = [
            part
            for inner, outer in pairwise(sizes)
            for part in (nn.Linear(inner, outer), nn.ReLU())
        ]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], n_labels))

    def forward(self, tokens):
        return self.layers(torch.relu(self.of_gene(tokens)).squeeze(-1))


def annotate(job):
    torch.manual_seed(job.seed)
    torch.set_num_threads(job.threads)
    tensors = saved_tensors(file_of(job.provided, "*.pth"), *ASKED, under="model_state_dict")
    genes = gene_order(job.provided)
    n_tokens, width = tensors[TOKENS].shape
    length = len(tensors[PLACES])
    if length != len(genes) + 1:
        raise exchange.CannotRun(
            f"the weights are of {length - 1} genes, and the list names {len(genes)}: they do not "
            "belong together"
        )
    model = network(tensors)
    for part in model.parameters():
        part.requires_grad = False
    for learning in (model.norm, model.performer.net.layers[-2]):
        learning.requires_grad_(True)
    model.to_out = Head(length, width, len(job.label_names))
    model = model.to(job.torch_device())
    job.told["parameters"] = count(model)
    sides = [
        aligned(cells.log_values, job.reference.genes, genes)
        for cells in (job.reference, job.query)
    ]

    def logits_of(cells):
        def logits(rows):
            bins = bins_of(cells[rows], n_tokens - 2)
            return model(torch.as_tensor(bins, device=job.torch_device()))

        return logits

    with job.timed("training"):
        learned = [part for part in model.parameters() if part.requires_grad]
        learn(
            model, logits_of(sides[0]), job.label_codes, torch.optim.Adam(learned), epochs=EPOCHS,
            batch=BATCH, at_once=AT_ONCE, rate=lambda epoch, *_: rate_of(epoch),
            held_out=HELD_OUT, better=accuracy, patience=PATIENCE, seed=job.seed,
        )  # fmt: skip
    with job.timed("prediction"):
        rows = np.arange(len(job.query.ids))
        found = probabilities(model, logits_of(sides[1]), rows, AT_ONCE)
    return job.label_names, found


def network(tensors):
    """The network whose weights these are; all sizes are theirs."""
    from performer_pytorch import PerformerLM

    n_features, head_width = tensors[PROJECTION].shape
    n_tokens, width = tensors[TOKENS].shape
    model = PerformerLM(
        num_tokens=n_tokens,
        max_seq_len=len(tensors[PLACES]),
        dim=width,
        depth=len({name.split(".")[3] for name in tensors if name.startswith(LAYERS)}),
        heads=len(tensors[QUERIES]) // head_width,
        dim_head=head_width,
        nb_features=n_features,
        rotary_position_emb=False,
        qkv_bias=f"{ATTENTION}to_q.bias" in tensors,
        attn_out_bias=f"{ATTENTION}to_out.bias" in tensors,
    )
    # the package counts elsewhere since the authors took the code; there it names all layers again
    absent, strange = model.load_state_dict(tensors, strict=False)
    absent = [name for name in absent if not name.startswith("performer.proj_updater.")]
    strange = [name for name in strange if name != "performer.calls_since_last_redraw"]
    if absent or strange:
        raise exchange.CannotRun(
            f"the weights are not those of scBERT: {(absent + strange)[0]} is absent or unknown"
        )
    return model


def gene_order(folder):
    """Names of the genes, in the order of the weights."""
    path = file_of(folder, "genes.txt", "*.h5ad")
    if path.suffix == ".txt":
        return path.read_text(encoding="utf-8").split()
    try:
        with h5py.File(path) as file:
            var = file["var"]
            if isinstance(var, h5py.Dataset):  # as old versions of AnnData wrote it
                return [name.decode() for name in var["index"]]
            return list(var[var.attrs["_index"]].asstr()[:])
    except (OSError, KeyError, ValueError) as error:
        raise exchange.CannotRun(f"'{path.name}' of the weights holds no names of genes") from error


def aligned(log_values, genes, order):
    """Log values (cells, genes of the model); those that were not measured are zero."""
    place = {gene: column for column, gene in enumerate(order)}
    known = known_genes(list(map(str, genes)), place)
    cells = log_values[:, known].tocoo()
    columns = np.array([place[str(genes[column])] for column in known])[cells.col]
    shape = (cells.shape[0], len(order))
    return sparse.csr_matrix((cells.data, (cells.row, columns)), shape=shape)


def bins_of(log_values, largest):
    """Whole part of the logarithm to base 2, and a last place that holds nothing."""
    dense = np.minimum(log_values.toarray() / np.log(2), largest).astype(np.int64)
    return np.pad(dense, ((0, 0), (0, 1)))


def rate_of(epoch):
    """Cycles of 15, 25, 45 .. epochs: five up in a line, then down as a cosine."""
    cycle, place, length = 0, epoch, FIRST_CYCLE
    while place >= length:
        place, cycle = place - length, cycle + 1
        length = (length - WARM_UP) * 2 + WARM_UP
    most = RATE * SMALLER**cycle
    if place < WARM_UP:
        return LEAST_RATE + (most - LEAST_RATE) * place / WARM_UP
    turn = np.pi * (place - WARM_UP) / (length - WARM_UP)
    return LEAST_RATE + (most - LEAST_RATE) * (1 + np.cos(turn)) / 2


if __name__ == "__main__":
    exchange.run(annotate, "performer-pytorch")
