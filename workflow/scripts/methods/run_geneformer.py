"""Geneformer and LangCell's cell encoder: a BERT over the genes of a cell, ranked, fine-tuned.

A cell is its genes in the order of their expression beside the gene's median over the cells that
the model learned from; the weights, the tokens and the medians are files of one folder that the
user names. Learning rate, epochs and batches are those that the authors fine-tune with (Geneformer:
Theodoris et al. 2023, methods; LangCell: its script finetune.py).
"""

import os
from types import SimpleNamespace

import numpy as np
import torch

import exchange
from finetuning import (
    count,
    file_of,
    json_dictionary,
    known_genes,
    learn,
    padded,
    pickled_dictionary,
    probabilities,
)

PLANS = {
    "geneformer": SimpleNamespace(epochs=10, batch=12, cls=False),
    "langcell": SimpleNamespace(epochs=20, batch=16, cls=True),
}
SIZES = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "max_position_embeddings",
)  # fmt: skip
PRETRAINED = ("bert.embeddings.", "bert.encoder.")
RATE, WARM_UP, DECAY = 5e-5, 500, 0.001
AT_ONCE = 32  # cells


def annotate(job):
    torch.manual_seed(job.seed)
    torch.set_num_threads(job.threads)
    plan = PLANS[job.method]
    tokens, medians, ids = dictionaries(job.provided)
    model = classifier(job.provided, len(job.label_names)).to(job.torch_device())
    if plan.cls and "<cls>" not in tokens:
        tokens["<cls>"] = len(tokens)
        model.resize_token_embeddings(len(tokens), mean_resizing=False)
    if model.config.vocab_size != len(tokens):
        raise exchange.CannotRun(
            f"the weights know {model.config.vocab_size} tokens, and the token dictionary "
            f"{len(tokens)}: they do not belong together"
        )
    genes = [ids.get(str(gene), str(gene)) for gene in job.reference.genes]
    longest = model.config.max_position_embeddings
    sides = [
        ranked(cells.log_values, genes, tokens, medians, longest)
        for cells in (job.reference, job.query)
    ]
    job.told["parameters"] = count(model)

    def logits_of(sentences):
        def logits(rows):
            ids = padded([sentences[row] for row in rows], tokens["<pad>"])
            ids = torch.as_tensor(ids, device=model.device)
            return model(input_ids=ids, attention_mask=ids != tokens["<pad>"]).logits

        return logits

    def rate(_, step, n_steps):  # up in a line, then down
        left = (n_steps - step) / max(1, n_steps - WARM_UP)
        return RATE * max(0.0, min(1.0, step / WARM_UP, left))

    with job.timed("training"):
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=DECAY)
        learn(
            model, logits_of(sides[0]), job.label_codes, optimizer, epochs=plan.epochs,
            batch=plan.batch, rate=rate, clip=1.0, seed=job.seed,
        )  # fmt: skip
    with job.timed("prediction"):
        rows = np.arange(len(job.query.ids))
        found = probabilities(model, logits_of(sides[1]), rows, AT_ONCE)
    return job.label_names, found


def dictionaries(folder):
    """Token of every gene (by Ensembl id), its median, and ids of names."""
    tokens = file_of(folder, "token_dictionary*.pkl")
    others = ("gene_median_dictionary*.pkl", "gene_name_id_dict*.pkl")
    return [
        pickled_dictionary(tokens, "<pad>", "<mask>"),
        *(pickled_dictionary(file_of(folder, name)) for name in others),
    ]


def classifier(folder, n_labels):
    os.environ["HF_HUB_OFFLINE"] = "1"  # what is not in the folder is looked for nowhere else
    from transformers import BertForSequenceClassification

    about = json_dictionary(file_of(folder, "config.json"), "model_type", *SIZES)
    weights = file_of(folder, "model.safetensors", "pytorch_model.bin")
    if about["model_type"] != "bert":
        raise exchange.CannotRun(f"'{folder}' holds a model '{about['model_type']}', and no BERT")
    model, found = BertForSequenceClassification.from_pretrained(
        folder, num_labels=n_labels, output_loading_info=True
    )
    # what is absent is drawn by chance: right for what is learned here alone
    absent = [name for name in found["missing_keys"] if name.startswith(PRETRAINED)]
    if absent:
        raise exchange.CannotRun(
            f"'{weights.name}' of the weights lacks {len(absent)} parts of the model, "
            f"'{min(absent)}' among them"
        )
    return model


def ranked(log_values, genes, tokens, medians, longest):
    """Tokens of every cell: its genes by descending expression beside their medians.

    Models with tokens for it get the begin and, if there is one, the end of a cell.
    """
    places = known_genes(genes, medians.keys() & tokens.keys())
    token = np.array([int(tokens[genes[place]]) for place in places])
    median = np.array([float(medians[genes[place]]) for place in places])
    cells = log_values[:, places]
    first = [int(tokens["<cls>"])] if "<cls>" in tokens else []
    last = [int(tokens["<eos>"])] if "<eos>" in tokens else []
    most = longest - len(first) - len(last)
    found = []
    for row in range(cells.shape[0]):
        part = slice(cells.indptr[row], cells.indptr[row + 1])
        columns = cells.indices[part]
        values = np.expm1(cells.data[part]) / median[columns]
        order = np.argsort(-values, kind="stable")[:most]
        sentence = np.array([*first, *token[columns[order]], *last], dtype=np.int64)
        # a cell without a gene that the model knows is one unread place
        found.append(sentence if len(sentence) else np.array([int(tokens["<mask>"])]))
    return found


if __name__ == "__main__":
    exchange.run(annotate, "transformers")
