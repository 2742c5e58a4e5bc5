"""scGPT: its transformer over genes and their binned expression, from the authors' weights.

The folder that the user names is one of theirs (args.json, vocab.json, best_model.pt). The network
is written here with torch's own layers, whose names their weights have; it learns as in their
tutorial on annotation: 10 epochs of batches of 32, of which the best on a held-out tenth stays.
"""

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

import exchange
from finetuning import (
    count,
    file_of,
    json_dictionary,
    known_genes,
    learn,
    likelihood,
    padded,
    probabilities,
    saved_tensors,
)

EPOCHS, BATCH, RATE, DECAY = 10, 32, 1e-4, 0.9
N_BINS, LONGEST, DROPOUT, HELD_OUT = 51, 3001, 0.2, 0.1
NO_VALUE, AT_ONCE = -2, 32
PRETRAINED = ("encoder.", "value_encoder.", "transformer_encoder.")


class Cells(nn.Module):
    """Logits of the labels (cells, labels) of genes and values, both (cells, longest)."""

    def __init__(self, n_genes, n_labels, width, heads, hidden, layers, head_layers):
        super().__init__()
        self.encoder = nn.ModuleDict(
            {"embedding": nn.Embedding(n_genes, width), "enc_norm": nn.LayerNorm(width)}
        )
        self.value_encoder = nn.ModuleDict(
            {
                "linear1": nn.Linear(1, width),
                "linear2": nn.Linear(width, width),
                "norm": nn.LayerNorm(width),
            }
        )
        self.dropout = nn.Dropout(DROPOUT)
        layer = nn.TransformerEncoderLayer(width, heads, hidden, DROPOUT, batch_first=True)
        self.transformer_encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        hidden_layers = [
            part
            for _ in range(head_layers - 1)
            for part in (nn.Linear(width, width), nn.ReLU(), nn.LayerNorm(width))
        ]
        self.head = nn.Sequential(*hidden_layers, nn.Linear(width, n_labels))

    def forward(self, genes, values, unread):
        named = self.encoder["enc_norm"](self.encoder["embedding"](genes))
        hidden = torch.relu(self.value_encoder["linear1"](values.unsqueeze(-1)))
        valued = self.value_encoder["norm"](self.value_encoder["linear2"](hidden))
        tokens = named + self.dropout(valued)
        out = self.transformer_encoder(tokens, src_key_padding_mask=unread)
        return self.head(out[:, 0])  # that of <cls>


def annotate(job):
    torch.manual_seed(job.seed)
    torch.set_num_threads(job.threads)
    rng = np.random.default_rng(job.seed)
    about = json_dictionary(
        file_of(job.provided, "args.json"), "embsize", "nheads", "d_hid", "nlayers"
    )
    shape = SimpleNamespace(**about)
    vocabulary = json_dictionary(file_of(job.provided, "vocab.json"), "<cls>", "<pad>")
    model = Cells(
        len(vocabulary), len(job.label_names), shape.embsize, shape.nheads, shape.d_hid,
        shape.nlayers, getattr(shape, "n_layers_cls", 3),
    )  # fmt: skip
    load(model, saved_tensors(file_of(job.provided, "best_model.pt", "*.pt")))
    model = model.to(job.torch_device())
    job.told["parameters"] = count(model)
    sides = [
        sentences(cells.log_values, job.reference.genes, vocabulary, rng)
        for cells in (job.reference, job.query)
    ]

    def logits_of(side):
        def logits(rows):
            genes = padded([side[row][0] for row in rows], vocabulary["<pad>"])
            values = padded([side[row][1] for row in rows], NO_VALUE)
            genes = torch.as_tensor(genes, device=job.torch_device())
            values = torch.as_tensor(values, device=job.torch_device())
            return model(genes, values, genes == vocabulary["<pad>"])

        return logits

    with job.timed("training"):
        learn(
            model, logits_of(sides[0]), job.label_codes, torch.optim.Adam(model.parameters()),
            epochs=EPOCHS, batch=BATCH, rate=lambda epoch, *_: RATE * DECAY**epoch,
            held_out=HELD_OUT, better=likelihood, clip=1.0, seed=job.seed,
        )  # fmt: skip
    with job.timed("prediction"):
        rows = np.arange(len(job.query.ids))
        found = probabilities(model, logits_of(sides[1]), rows, AT_ONCE)
    return job.label_names, found


def load(model, tensors):
    """Put the authors' weights into the network; those of flash attention have other names."""
    given = {}
    for name, one in tensors.items():
        plain = name.replace("self_attn._impl.", "self_attn.")
        given[plain.replace("self_attn.Wqkv.", "self_attn.in_proj_")] = one
    asked = {name: one for name, one in model.state_dict().items() if name.startswith(PRETRAINED)}
    unlike = [
        name for name, one in asked.items() if name not in given or given[name].shape != one.shape
    ]
    if unlike:
        raise exchange.CannotRun(
            f"the weights are not those of the network that args.json describes: {unlike[0]} is "
            f"absent or of another shape ({len(unlike)} of {len(asked)} are)"
        )
    model.load_state_dict({name: given[name] for name in asked}, strict=False)


def sentences(log_values, genes, vocabulary, rng):
    """Tokens of the expressed genes of every cell, after <cls>, and the bins of their values."""
    genes = list(map(str, genes))
    places = known_genes(genes, vocabulary)
    token = np.array([vocabulary[genes[place]] for place in places])
    cells = log_values[:, places]
    found = []
    for row in range(cells.shape[0]):
        part = slice(cells.indptr[row], cells.indptr[row + 1])
        columns, values = cells.indices[part], binned(cells.data[part], rng)
        if len(columns) >= LONGEST:
            kept = rng.choice(len(columns), LONGEST - 1, replace=False)
            columns, values = columns[kept], values[kept]
        found.append(
            (
                np.array([vocabulary["<cls>"], *token[columns]], dtype=np.int64),
                np.array([0, *values], dtype=np.float32),
            )
        )
    return found


def binned(values, rng):
    """Bins (1 to 50) of a cell's values between their quantiles; one that fits several draws."""
    if len(values) == 0:
        return values
    edges = np.quantile(values, np.linspace(0, 1, N_BINS - 1))
    high, low = np.digitize(values, edges), np.digitize(values, edges, right=True)
    return np.ceil(rng.random(len(values)) * (low - high) + high).astype(np.int64)


if __name__ == "__main__":
    exchange.run(annotate, "torch")
