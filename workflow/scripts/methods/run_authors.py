"""TOSICA, and the PLKD of the paper's authors, from a folder with their code, with its defaults.

Both are packages of the same make: a training function that leaves weights, mask and labels in a
folder. Their prediction functions keep neither all probabilities nor, for some numbers of cells,
the cells apart, so their networks are applied here. Gene sets are the Reactome ones they bring.
"""

import importlib
import importlib.metadata
import os
import sys
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import torch

import exchange

PACKAGES = {
    "tosica": SimpleNamespace(
        name="TOSICA", files=("train.py", "pre.py", "TOSICA_model.py"), fit="fit_model"
    ),
    "plkd_authors": SimpleNamespace(
        name="PLKD", files=("train.py", "pre.py", "PLKD_model.py"), fit="fit_PLKD"
    ),
}
AT_ONCE = 64  # cells


def annotate(job):
    torch.set_num_threads(job.threads)
    package = PACKAGES[job.method]
    training, networks = load(job.provided, package)
    job.told["version"] = f"{package.name} {commit_of(job.provided)}"
    os.chdir(job.folder)  # where the training leaves its files
    cells = ad.AnnData(
        job.reference.log_values,
        obs=pd.DataFrame({"Celltype": list(map(str, job.reference.labels))}, job.reference.ids),
        var=pd.DataFrame(index=job.reference.genes),
    )
    human = np.mean([str(gene).isupper() for gene in job.reference.genes]) > 0.5
    gene_sets = "human_reactome" if human else "mouse_reactome"
    training.set_seed = with_seed(training.set_seed, job.seed)  # theirs is always 1
    with job.timed("training"):
        getattr(training, package.fit)(cells, gene_sets, project="fitted")
    model = fitted(job, networks)
    job.told["parameters"] = sum(one.numel() for one in model.parameters() if one.requires_grad)
    with job.timed("prediction"), torch.no_grad():
        probabilities = np.vstack(list(predicted(model, job.query.log_values)))
    return job.label_names, probabilities


def load(folder, package):
    """Modules for training and of the networks, out of the folder that the user named."""
    place = folder / package.name if (folder / package.name).is_dir() else folder
    missing = [name for name in package.files if not (place / name).is_file()]
    if missing or place.name != package.name:
        raise exchange.CannotRun(
            f"not provided: '{folder}' is no copy of the repository of {package.name}"
            + (f", it lacks {', '.join(missing)}" if missing else "")
        )
    sys.path.insert(0, str(place.parent))
    version = importlib.metadata.version

    def known_or_not(name):  # they ask for their own version, which only an installed package has
        try:
            return version(name)
        except importlib.metadata.PackageNotFoundError:
            return "0"

    importlib.metadata.version = known_or_not
    importlib.import_module(package.name)
    return sys.modules[f"{package.name}.train"], sys.modules[f"{package.name}.{package.name}_model"]


def commit_of(folder):
    """Commit of a clone, as far as its files say."""
    head = folder / ".git" / "HEAD"
    if not head.is_file():
        return "of an unknown commit"
    text = head.read_text().strip()
    branch = folder / ".git" / text.removeprefix("ref: ")
    return (branch.read_text().strip() if text.startswith("ref: ") and branch.is_file() else text)[
        :12
    ]


def with_seed(set_seed, seed):
    return lambda _: set_seed(seed + 1)


def fitted(job, networks):
    """The network after the last epoch."""
    n_labels, n_genes = len(job.label_names), len(job.reference.genes)
    if job.method == "plkd_authors":
        model = networks.Student(input_dim=n_genes, num_classes=n_labels, hidden_dims=[256, 128])
        files = (job.folder / "fitted").glob("student_model-*.pth")
    else:
        mask = np.load(job.folder / "fitted" / "mask.npy")
        model = networks.scTrans_model(
            num_classes=n_labels, num_genes=n_genes, mask=mask, has_logits=False
        )
        files = (job.folder / "fitted").glob("model-*.pth")
    last = max(files, key=lambda path: int(path.stem.rsplit("-", 1)[1]))
    model.load_state_dict(torch.load(last, map_location="cpu"))
    return model.eval()


def predicted(model, cells):
    """Probabilities of a few cells at a time."""
    for start in range(0, cells.shape[0], AT_ONCE):
        chunk = torch.as_tensor(cells[start : start + AT_ONCE].toarray())
        # a single cell would lose its dimension in their network
        doubled = torch.cat([chunk, chunk]) if len(chunk) == 1 else chunk
        output = model(doubled)
        logits = output[1] if isinstance(output, tuple) else output
        yield torch.softmax(logits, dim=1)[: len(chunk)].numpy()


if __name__ == "__main__":
    exchange.run(annotate)
