"""Code of authors from a folder of the user: is it what it should be, and which commit is it of?

The packages here train nothing, but are called as the published ones are.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse

import exchange
import run_authors

GENES = np.array(["G1", "G2", "G3", "G4"], dtype=object)
SETS = "".join(f"SET{n}\thttp://sets/{n}\tG{n}\tG{n + 1}\n" for n in range(1, 4))
TRAIN = """
    import os
    import numpy as np
    import torch
    from .{name}_model import {network}

    def set_seed(seed):
        torch.manual_seed(seed)

    def {fit}(adata, gmt_path, project=None):
        set_seed(1)
        os.makedirs(project)
        labels = sorted(set(adata.obs["Celltype"]))
        sets = [line.split("\\t")[2:] for line in open(gmt_path).read().splitlines()]
        mask = np.array([[gene in one for one in sets] for gene in adata.var_names])
        np.save(project + "/mask.npy", mask)
        for epoch in (0, 2, 10):
            model = {network}(len(labels), adata.n_vars)
            with torch.no_grad():
                model.layer.weight.zero_()
                for code, label in enumerate(labels if epoch == 10 else []):
                    cells = adata.X[(adata.obs["Celltype"] == label).to_numpy()]
                    model.layer.weight[code] = torch.as_tensor(cells.mean(axis=0)).flatten()
            torch.save(model.state_dict(), project + "/" + "{weights}-%d.pth" % epoch)
"""
MODEL = """
    import torch

    class {network}(torch.nn.Module):
        def __init__(self, num_classes, num_genes=None, input_dim=None, **others):
            super().__init__()
            self.layer = torch.nn.Linear(num_genes or input_dim, num_classes, bias=False)

        def forward(self, cells):
            return {output}
"""
FORMS = {
    "tosica": {
        "name": "TOSICA", "fit": "fit_model", "network": "scTrans_model", "weights": "model",
        "output": "(None, self.layer(cells).squeeze(), None)",
    },
    "plkd_authors": {
        "name": "PLKD", "fit": "fit_PLKD", "network": "Student", "weights": "student_model",
        "output": "self.layer(cells)",
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def imports_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The working directory, what was imported, and from where, are as before in the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(importlib.metadata, "version", importlib.metadata.version)
    yield
    for name in [one for one in sys.modules if one.split(".")[0] in ("TOSICA", "PLKD")]:
        del sys.modules[name]


def clone_of(method: str, folder: Path) -> Path:
    """A folder with what the repository of a method holds."""
    form = FORMS[method]
    place = folder / form["name"]
    (place / "resources").mkdir(parents=True)
    texts = {
        "__init__.py": (
            "from importlib.metadata import version\nfrom . import pre, train\n"
            f'__version__ = version("{form["name"]}")\n'
        ),
        "pre.py": "",
        "train.py": textwrap.dedent(TRAIN).format(**form),
        f"{form['name']}_model.py": textwrap.dedent(MODEL).format(**form),
        "resources/reactome.gmt": SETS,
    }
    for name, text in texts.items():
        (place / name).write_text(text)
    return folder


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return clone_of("tosica", tmp_path / "clone")


def job_of(method: str, provided: Path, folder: Path, genes: np.ndarray = GENES) -> exchange.Job:
    """Two labels, each with a gene of its own; a query of 65 cells, so that one is left over."""

    def side(n_cells: int) -> SimpleNamespace:
        codes = np.arange(n_cells) % 2
        values = np.zeros((n_cells, len(genes)), dtype=np.float32)
        values[np.arange(n_cells), codes] = 3
        return SimpleNamespace(
            log_values=sparse.csr_matrix(values), genes=genes, ids=np.arange(n_cells).astype(str),
            labels=np.array(["B", "T"], dtype=object)[codes],
        )  # fmt: skip

    folder.mkdir()
    return exchange.Job(
        method=method, reference=side(20), query=side(65), folder=folder, seed=0, threads=1,
        device="cpu", provided=provided,
    )  # fmt: skip


@pytest.mark.parametrize("method", FORMS)
@pytest.mark.parametrize("inner", [False, True])
def test_the_network_after_the_last_epoch_labels_the_query(
    method: str, inner: bool, tmp_path: Path
) -> None:
    folder = clone_of(method, tmp_path / "clone")
    name = FORMS[method]["name"]
    job = job_of(method, folder / name if inner else folder, tmp_path / "job")
    labels, probabilities = run_authors.annotate(job)
    assert labels == ["B", "T"]
    assert probabilities.shape == (65, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert list(probabilities.argmax(axis=1)) == [code % 2 for code in range(65)]
    assert probabilities.max(axis=1) == pytest.approx(1 / (1 + np.exp(-9)), rel=1e-6)
    assert job.told["version"] == f"{name} of an unknown commit"
    assert job.told["parameters"] == 8
    assert job.told["training_seconds"] >= 0
    assert not (folder / "fitted").exists()  # the training leaves nothing in the user's folder


# ------------------------------------------------------------------------------ what is there


def reason_of(folder: Path, tmp_path: Path, genes: np.ndarray = GENES) -> str:
    with pytest.raises(exchange.CannotRun) as refused:
        run_authors.annotate(job_of("tosica", folder, tmp_path / "job", genes))
    return str(refused.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "lacks 'TOSICA/resources/reactome.gmt'"),
        ("", "'TOSICA/resources/reactome.gmt' holds no gene sets"),
        (SETS[:-4], "'TOSICA/resources/reactome.gmt' ends in the middle of a line"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "holds no gene sets"),
    ],
)
def test_gene_sets_that_are_absent_or_cut_off_are_said(
    content: str | None, told: str, clone: Path, tmp_path: Path
) -> None:
    path = clone / "TOSICA" / "resources" / "reactome.gmt"
    path.unlink()
    if content is not None:
        path.write_text(content)
    reason = reason_of(clone, tmp_path)
    assert reason.startswith("not provided: ")
    assert told in reason


def test_gene_sets_are_those_of_the_organism(clone: Path, tmp_path: Path) -> None:
    """Others are not asked for."""
    mouse = np.array(["Gene1", "Gene2", "Gene3", "G4"], dtype=object)
    assert "lacks 'TOSICA/resources/m_reactome.gmt'" in reason_of(clone, tmp_path, mouse)
    place = clone / "TOSICA"
    shutil.move(place / "resources" / "reactome.gmt", place / "resources" / "m_reactome.gmt")
    assert run_authors.gene_sets_of(place, mouse).name == "m_reactome.gmt"


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("train.py", "def fit_model", "def fit", "has no 'fit_model'"),
        ("train.py", "set_seed", "seeded", "has no 'set_seed'"),
        ("TOSICA_model.py", "scTrans_model", "Other", "has no 'scTrans_model'"),
    ],
)
def test_another_package_of_the_name_is_told_apart(
    file: str, old: str, new: str, told: str, clone: Path, tmp_path: Path
) -> None:
    for path in (clone / "TOSICA").glob("*.py"):
        if path.name == file or old == "scTrans_model":
            path.write_text(path.read_text().replace(old, new))
    reason = reason_of(clone, tmp_path)
    assert reason.startswith("not provided: ")
    assert told in reason


def test_a_folder_that_is_no_copy_is_said(clone: Path, tmp_path: Path) -> None:
    (clone / "TOSICA" / "pre.py").unlink()
    assert "is no copy of the repository of TOSICA, it lacks pre.py" in reason_of(clone, tmp_path)
    shutil.rmtree(tmp_path / "job")
    shutil.move(clone / "TOSICA", clone / "another")
    assert "is no copy of the repository" in reason_of(clone / "another", tmp_path)
    shutil.rmtree(tmp_path / "job")
    assert "is no copy of the repository" in reason_of(tmp_path / "nowhere", tmp_path)


# ------------------------------------------------------------------------------ which commit


def git(folder: Path, *command: str) -> str:
    who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
    ended = subprocess.run(
        ["git", "-C", folder, *who, *command], check=True, capture_output=True, text=True
    )
    return ended.stdout.strip()


@pytest.fixture
def committed(clone: Path) -> Path:
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    (clone / "TOSICA" / "resources" / "GO_bp.gmt").write_text("SET\tx\tG1\n")
    git(clone, "init", "-q")
    git(clone, "add", ".")
    git(clone, "commit", "-q", "-m", "all of it")
    return clone


def commit_of(folder: Path) -> str:
    place = folder / "TOSICA"
    return run_authors.commit_of(place, place / "resources" / "reactome.gmt")


def test_the_commit_is_found_however_git_keeps_it(committed: Path, tmp_path: Path) -> None:
    head = git(committed, "rev-parse", "HEAD")[:12]
    assert commit_of(committed) == head
    git(committed, "gc", "-q")  # packs the branches into one file
    assert commit_of(committed) == head
    git(committed, "worktree", "add", "-q", "--detach", str(tmp_path / "tree"))
    assert (tmp_path / "tree" / ".git").is_file()
    assert commit_of(tmp_path / "tree") == head
    git(committed, "checkout", "-q", "--detach")
    assert commit_of(committed) == head


def test_code_that_was_changed_is_said(committed: Path) -> None:
    head = git(committed, "rev-parse", "HEAD")[:12]
    place = committed / "TOSICA"
    (place / "resources" / "GO_bp.gmt").unlink()  # of no use here, and missing in many copies
    (place / "notes.txt").write_text("of mine")
    git(committed, "rm", "-q", "-r", "--cached", ".")  # an index that knows of no file
    assert commit_of(committed) == head
    for name in ("resources/reactome.gmt", "pre.py"):
        before = (place / name).read_text()
        (place / name).write_text(before + "\n")
        assert commit_of(committed) == f"{head} (changed)"
        (place / name).write_text(before)
    (place / "pre.py").unlink()
    assert commit_of(committed) == f"{head} (changed)"


def test_a_copy_without_its_history_is_of_no_commit(
    committed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even in a clone of something else, and where there is no git."""
    copied = tmp_path / "copied"
    shutil.copytree(committed / "TOSICA", copied / "TOSICA")
    assert commit_of(copied) == "of an unknown commit"
    (copied / "mine.txt").write_text("")
    git(copied, "init", "-q")
    git(copied, "add", "mine.txt")
    git(copied, "commit", "-q", "-m", "mine")
    assert commit_of(copied) == "of an unknown commit"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(committed) == "of an unknown commit"
