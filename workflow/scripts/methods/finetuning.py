"""What the scripts of models with weights share: the user's files, learning, prediction."""

import copy
import json
import pickle
from collections.abc import Mapping

import numpy as np
import torch
from torch.nn.functional import cross_entropy

import exchange

# What a pickled dictionary of names and numbers is made of; anything else could run code.
_PLAIN = {
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
}


def file_of(folder, *patterns):
    """The file of a folder that the first of these patterns fits, if not the next.

    Raises
    ------
    CannotRun
        If there is no folder, none or several of these files.
    """
    if not folder.is_dir():
        raise exchange.CannotRun(f"weights not provided: there is no folder '{folder}'")
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if len(found) > 1:
            names = " and ".join(path.name for path in found)
            raise exchange.CannotRun(
                f"'{folder}' holds {names}: leave the one that belongs to the weights"
            )
        if found:
            return found[0]
    raise exchange.CannotRun(f"weights not provided: '{folder}' holds no {' or '.join(patterns)}")


def with_keys(content, path, *keys):
    """What a file of names and values holds, if these names are among them.

    Raises
    ------
    CannotRun
        If it is no such file, or one is absent.
    """
    if not isinstance(content, Mapping):
        raise exchange.CannotRun(f"'{path.name}' of the weights holds no values by names")
    absent = [repr(key) for key in keys if key not in content]
    if absent:
        raise exchange.CannotRun(f"'{path.name}' of the weights lacks {', '.join(absent)}")
    return content


def json_dictionary(path, *keys):
    """A dictionary of a JSON file, with these keys."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise exchange.CannotRun(f"'{path.name}' of the weights is no JSON: {error}") from error
    return with_keys(content, path, *keys)


def pickled_dictionary(path, *keys):
    """A dictionary of names and numbers, with these keys; a pickle of anything else is refused."""

    class Plain(pickle.Unpickler):
        def find_class(self, module, name):
            if (module, name) not in _PLAIN:
                raise exchange.CannotRun(
                    f"'{path}' is no dictionary of names and numbers: it holds {module}.{name}"
                )
            return super().find_class(module, name)

    try:
        with path.open("rb") as file:
            content = Plain(file).load()
    except (pickle.UnpicklingError, EOFError, ValueError) as error:
        raise exchange.CannotRun(f"'{path.name}' of the weights is no pickle: {error}") from error
    return with_keys(content, path, *keys)


def saved_tensors(path, *keys, under=None):
    """Tensors that torch saved, by name, these among them; of a saved training those in `under`."""
    scalar = np.float64(0).__reduce__()[0]
    numbers = [scalar, np.dtype, type(np.dtype("f8")), type(np.dtype("f4"))]
    try:
        with torch.serialization.safe_globals(numbers):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise exchange.CannotRun(
            f"'{path.name}' of the weights is none that torch reads: {said}"
        ) from error
    return with_keys(with_keys(content, path).get(under, content), path, *keys)


def known_genes(genes, vocabulary):
    """Places of the genes that a model knows.

    Raises
    ------
    CannotRun
        If they are fewer than a tenth: then these are other names, or another organism.
    """
    places = np.flatnonzero([gene in vocabulary for gene in genes])
    if len(places) < len(genes) / 10:
        raise exchange.CannotRun(
            f"the model knows {len(places)} of {len(genes)} genes, which is less than a tenth"
        )
    return places


def padded(rows, fill):
    """Rows of unlike lengths as one array, filled up at their ends."""
    out = np.full((len(rows), max(map(len, rows))), fill, dtype=np.asarray(rows[0]).dtype)
    for row, values in zip(out, rows, strict=True):
        row[: len(values)] = values
    return out


def learn(
    model, logits, codes, optimizer, *, epochs, batch, rate, at_once=None, held_out=0.0,
    better=None, patience=None, clip=None, seed=0,
):  # fmt: skip
    """Train a model to tell the labels of cells.

    Parameters
    ----------
    logits
        Gives logits (cells, labels) of cells by their places.
    codes
        Label of every cell of the reference.
    rate
        Gives the learning rate of an epoch and a step of `n_steps`.
    at_once
        Cells that fit into memory; a batch is a step all the same.
    held_out
        Share of the cells that is not learned from: of all epochs the one stays that is `better`
        there (a function of their probabilities and labels), and `patience` epochs without a
        better one are the end.
    clip
        Largest norm of the gradient.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(codes))
    n_held = round(held_out * len(codes))
    held, learned = order[:n_held], order[n_held:]
    targets = torch.as_tensor(codes, device=next(model.parameters()).device)
    n_steps, step = epochs * int(np.ceil(len(learned) / batch)), 0
    best = (-np.inf, 0, None)
    for epoch in range(epochs):
        model.train()
        for rows in parts(rng.permutation(learned), batch):
            for group in optimizer.param_groups:
                group["lr"] = rate(epoch, step, n_steps)
            optimizer.zero_grad()
            for some in parts(rows, at_once or batch):
                loss = cross_entropy(logits(some), targets[some], reduction="sum") / len(rows)
                loss.backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            step += 1
        if n_held:
            worth = better(probabilities(model, logits, held, at_once or batch), codes[held])
            if worth > best[0]:
                best = (worth, epoch, copy.deepcopy(model.state_dict()))
            elif patience is not None and epoch - best[1] >= patience:
                break
    if best[2] is not None:
        model.load_state_dict(best[2])


def probabilities(model, logits, rows, at_once):
    """Probabilities of the labels of cells by their places, (cells, labels)."""
    model.eval()
    with torch.no_grad():
        found = [torch.softmax(logits(some).float(), dim=1).cpu() for some in parts(rows, at_once)]
    return torch.cat(found).numpy()


def parts(rows, size):
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def accuracy(probabilities, codes):
    return float((probabilities.argmax(axis=1) == codes).mean())


def likelihood(probabilities, codes):
    return float(np.log(np.maximum(probabilities[np.arange(len(codes)), codes], 1e-30)).mean())


def count(model):
    """Number of its parameters."""
    return sum(part.numel() for part in model.parameters())
