"""TOSICA, and the PLKD of the paper's authors, from a folder with their code, with its defaults.

Both are packages of the same make: a training function that leaves weights, mask and labels in a
folder. Their prediction functions keep neither all probabilities nor, for some numbers of cells,
the cells apart, so their networks are applied here. Gene sets are the Reactome ones they bring.
"""

import importlib
import importlib.metadata
import os
import subprocess
import sys
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import torch

import exchange

PACKAGES = {
    "tosica": SimpleNamespace(name="TOSICA", fit="fit_model", network="scTrans_model"),
    "plkd_authors": SimpleNamespace(name="PLKD", fit="fit_PLKD", network="Student"),
}
AT_ONCE = 64  # cells


def annotate(job):
    torch.set_num_threads(job.threads)
    package = PACKAGES[job.method]
    place = place_of(job.provided, package)
    gene_sets = gene_sets_of(place, job.reference.genes)
    training, networks = load(place, package)
    job.told["version"] = f"{package.name} {commit_of(place, gene_sets)}"
    os.chdir(job.folder)  # where the training leaves its files
    cells = ad.AnnData(
        job.reference.log_values,
        obs=pd.DataFrame({"Celltype": list(map(str, job.reference.labels))}, job.reference.ids),
        var=pd.DataFrame(index=job.reference.genes),
    )
    training.set_seed = with_seed(training.set_seed, job.seed)  # theirs is always 1
    with job.timed("training"):
        getattr(training, package.fit)(cells, str(gene_sets), project="fitted")
    model = fitted(job, networks)
    job.told["parameters"] = sum(one.numel() for one in model.parameters() if one.requires_grad)
    with job.timed("prediction"), torch.no_grad():
        probabilities = np.vstack(list(predicted(model, job.query.log_values)))
    return job.label_names, probabilities


def not_provided(what):
    return exchange.CannotRun(f"not provided: {what}")


def place_of(folder, package):
    """The folder of the package: inside the one that the user named, or that one itself."""
    place = folder / package.name if (folder / package.name).is_dir() else folder
    files = ("__init__.py", "train.py", "pre.py", f"{package.name}_model.py")
    missing = [name for name in files if not (place / name).is_file()]
    if missing or place.name != package.name:
        raise not_provided(
            f"'{folder}' is no copy of the repository of {package.name}"
            + (f", it lacks {', '.join(missing)}" if missing else "")
        )
    return place


def gene_sets_of(place, genes):
    """File with the Reactome sets of the organism; that it is there to its end.

    Copies of these repositories lack some of their gene sets, or hold the beginnings of them. Those
    of other collections are not asked for.
    """
    human = np.mean([str(gene).isupper() for gene in genes]) > 0.5
    path = place / "resources" / ("reactome.gmt" if human else "m_reactome.gmt")
    name = f"'{path.relative_to(place.parent)}'"
    if not path.is_file():
        raise not_provided(f"the folder lacks {name}")
    text = path.read_text(encoding="utf-8", errors="replace")
    if text and not text.endswith("\n"):
        raise not_provided(f"{name} ends in the middle of a line: it is the beginning of the file")
    if not text or not all(line.count("\t") >= 2 for line in text.splitlines()):
        raise not_provided(f"{name} holds no gene sets, or something else beside them")
    return path


def load(place, package):
    """Modules for training and of the networks of the package in its folder."""
    sys.path.insert(0, str(place.parent))
    version = importlib.metadata.version

    def known_or_not(name):  # they ask for their own version, which only an installed package has
        try:
            return version(name)
        except importlib.metadata.PackageNotFoundError:
            return "0"

    importlib.metadata.version = known_or_not
    training = importlib.import_module(f"{package.name}.train")
    networks = importlib.import_module(f"{package.name}.{package.name}_model")
    for module, name in (
        (training, package.fit),
        (training, "set_seed"),
        (networks, package.network),
    ):
        if not hasattr(module, name):
            raise not_provided(f"the package {package.name} in the folder has no '{name}'")
    return training, networks


def commit_of(place, gene_sets):
    """Commit of the clone with this folder; "(changed)" if what runs is no longer that commit's.

    What runs are the source files and the gene sets in use. They are compared by what they hold,
    because the index of a clone may know of no file; a folder that is only copied into another
    clone is not in that one's commit.
    """

    def git(*command):
        given = ["git", "-C", str(place), *command]
        return subprocess.run(given, check=True, capture_output=True, text=True).stdout

    try:
        head = git("rev-parse", "HEAD").strip()
        entries = [one.split("\t") for one in git("ls-tree", "-r", "-z", "HEAD").split("\0") if one]
        committed = {name: about.split()[2] for about, name in entries}  # names are of this folder
        if "train.py" not in committed:
            return "of an unknown commit"
        used = [name for name in committed if name.endswith(".py")]
        used.append(gene_sets.relative_to(place).as_posix())
        present = [name for name in used if (place / name).is_file()]
        found = git("hash-object", "--", *present).split()
    except (OSError, subprocess.CalledProcessError):  # no git, or no clone
        return "of an unknown commit"
    same = found == [committed.get(name) for name in used]
    return head[:12] + ("" if same else " (changed)")


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
