"""Commands of the documentation run as they are printed.

They run in a folder that looks like a clone, with small files under the names that the pages use
and a finished run of the README's five lines. What cannot run here, and what is tried instead,
is in `documentation.OTHERWISE`.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from documentation import (
    MADE,
    OTHERWISE,
    blocks_in,
    commands_in,
    printed_commands,
    printed_python,
    tried,
)
from plkd.cli import main
from plkd.settings.models import override
from plkd.settings.presets import PRESETS
from plkd.simulation import plant_annotation, simulate_atac, simulate_cells, write_gtf
from plkd.simulation.cells import write_cells
from project import REPOSITORY, SETTINGS, copy_workflow, write_sets
from simulated import MARKERS, make_cells

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("documentation")]


@pytest.fixture
def short_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the default preset train for a moment: that the commands run is what is tested here."""
    quick = {key: value for key, value in SETTINGS.items() if key != "preset"}
    monkeypatch.setitem(PRESETS, "default", override(PRESETS["fast"], quick, where="tests"))


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with the files that the pages name."""
    folder = copy_workflow(tmp_path_factory.mktemp("documentation") / "clone")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, folder)
    shutil.copytree(REPOSITORY / "tests", folder / "tests", ignore=shutil.ignore_patterns("__py*"))
    (folder / "profiles").symlink_to("workflow/profiles")
    (folder / ".venv").symlink_to(sys.prefix)
    write_command(folder / "commands" / "plkd")
    quick = {"datasets": ["config/datasets/pbmc68k.yaml"], "variants": {"default": SETTINGS}}
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(quick))

    reference = make_cells(300, 110, types=4, batches=2, seed=1)
    reference.obs["donor"] = reference.obs.pop("batch")
    ids = {label: f"CL:{place}" for place, label in enumerate(MARKERS, start=1)}
    reference.obs["cell_type_ontology_term_id"] = reference.obs["cell_type"].map(ids)
    reference.write_h5ad(folder / "reference.h5ad")
    terms = {"CL:0": "leukocyte", **{term: label for label, term in ids.items()}}
    (folder / "cl-basic.obo").write_text(
        "\n".join(f"[Term]\nid: {term}\nname: {name}\n" for term, name in terms.items())
    )
    query = make_cells(120, 110, types=4, batches=["donor9"], seed=2)
    query.obs_names = ["BARCODE", *query.obs_names[1:]]
    for name in ("query.h5ad", "QUERY.h5ad", "NEW.h5ad"):
        query.write_h5ad(folder / name)
    write_sets(folder / "reactome.gmt", MARKERS)
    (my_data,) = [
        text for text in blocks_in(REPOSITORY / "README.md", "yaml") if text.startswith("datasets:")
    ]
    short = yaml.safe_dump({"variants": {"default": SETTINGS}})
    (folder / "my_data.yaml").write_text(f"{my_data}\n{short}")
    cluster = blocks_in(REPOSITORY / "docs" / "how_to" / "cluster.md", "yaml")
    (partitions,) = [text for text in cluster if text.startswith("# partitions.yaml")]
    (folder / "partitions.yaml").write_text(partitions)
    write_queries(folder)
    scored = yaml.safe_load(my_data)
    scored["datasets"][0]["query"]["labels_key"] = "cell_type"
    (folder / "FILE").write_text(yaml.safe_dump(scored))

    cells = simulate_cells(60, seed=1)
    annotation = plant_annotation(cells.design.genes)
    write_gtf(annotation, folder / "GENES.gtf.gz")
    write_cells(simulate_atac(cells, annotation, seed=1).cells, folder / "ATAC.h5ad")
    for name in data_files(folder / "config"):
        (folder / "FOLDER" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "FOLDER" / name).touch()
    return folder


def write_queries(folder: Path) -> None:
    """Write the configuration of finished models and queries, and what it names, empty."""
    many = blocks_in(REPOSITORY / "docs" / "how_to" / "many_queries.md", "yaml")
    (text,) = [block for block in many if block.startswith("annotate_only:")]
    (folder / "my_queries.yaml").write_text(text)
    named = yaml.safe_load(text)["annotate_only"]
    files = ("model.json", "student.safetensors", "background.safetensors")
    models = [f"{place}/{name}" for place in named["models"].values() for name in files]
    for name in [*named["queries"].values(), *models]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def write_command(path: Path) -> None:
    """Write the command that an installation makes of `plkd`, for the library of the clone."""
    module, function = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"][
        "scripts"
    ]["plkd"].split(":")
    path.parent.mkdir()
    path.write_text(
        f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
    )
    path.chmod(0o755)


def data_files(configurations: Path) -> set[str]:
    """Files below `data_folder` that the shipped configurations read."""
    texts = [path.read_text() for path in configurations.rglob("*.yaml")]
    return {name for text in texts for name in re.findall(r"{data_folder}/([^\s\"'},]+)", text)}


@pytest.fixture(scope="session")
def finished(clone: Path) -> Path:
    """The clone after the run of the README."""
    command = "snakemake --cores all --configfile my_data.yaml"
    assert "README.md" in printed_commands()[command]
    done = shell(command, clone)
    assert done.returncode == 0, done.stdout
    return clone


def shell(command: str, clone: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a clone, with the library there."""
    path = f"{clone / 'commands'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euc", command],
        cwd=clone,
        env={
            **os.environ,
            "PATH": path,
            "PYTHONPATH": str(clone / "workflow" / "scripts"),
            "OMP_NUM_THREADS": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1800,  # against hanging, not for speed
    )


@pytest.mark.usefixtures("short_trainings")
@pytest.mark.parametrize("printed", printed_commands())
def test_command(finished: Path, printed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command, reason = tried(printed.replace("/path/to/data", "FOLDER"))
    if command is None:
        assert shlex.split(printed), reason
        return
    monkeypatch.chdir(finished)
    for path, made_by in MADE.items():  # if no test of a command before has made it
        if path in command and printed != made_by and not Path(path).exists():
            assert run_here(shlex.split(made_by)[1:]) == 0, made_by
    # as a process of its own it takes long to start
    if re.fullmatch(r"plkd [^|&;<>$*`]*", command):
        assert run_here(shlex.split(command)[1:]) == 0, f"{printed_commands()[printed]}: {command}"
        return
    done = shell(command, finished)
    assert done.returncode == 0, f"{printed_commands()[printed]}: {command}\n{done.stdout}"


def run_here(arguments: list[str]) -> int:
    """Exit code of the command `plkd` in this process."""
    try:
        return main(arguments)
    except SystemExit as end:  # of --help, and of arguments that cannot be
        return int(end.code or 0)


@pytest.mark.usefixtures("short_trainings")
@pytest.mark.parametrize("code", printed_python())
def test_python(clone: Path, tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code for a notebook, in which `reference` and `query` are AnnData objects."""
    for name in ("reference.h5ad", "query.h5ad", "reactome.gmt"):
        (tmp_path / name).symlink_to(clone / name)
    (tmp_path / "labelled").mkdir()
    (tmp_path / "queries").mkdir()
    (tmp_path / "queries" / "query.h5ad").symlink_to(clone / "query.h5ad")
    before = ["from pathlib import Path", "import anndata as ad", "import plkd"]
    before += [f'{side} = ad.read_h5ad("{side}.h5ad")' for side in ("reference", "query")]
    before += ['query.var["my_symbols"] = query.var_names']
    if "plkd.load" in code:
        before += ['plkd.train(reference, labels_key="cell_type").save("my_model")']
    code = code.replace("cuda:1", "cpu")  # a second GPU is not everywhere
    monkeypatch.chdir(tmp_path)
    exec(compile("\n".join([*before, code]), "a page", "exec"), {"__name__": "__main__"})


def test_every_exception_is_about_a_command() -> None:
    for other in OTHERWISE:
        assert any(re.search(other.pattern, command) for command in printed_commands()), other
    assert printed_commands().keys() >= set(MADE.values())


def test_commands_are_found_in_blocks_and_sentences() -> None:
    page = """
Run `plkd annotate A.h5ad
-o B.h5ad`, or look at `results/`; `plkd` alone says more.

```bash
# first
$ snakemake --cores all \\
    --configfile my.yaml   # then wait
plkd explain A.h5ad
```

```yaml
snakemake: no command
```
"""
    assert list(commands_in(page, ".md")) == [
        "plkd annotate A.h5ad -o B.h5ad",
        "snakemake --cores all --configfile my.yaml",
        "plkd explain A.h5ad",
    ]
    comments = "# Run:\n#   snakemake -n --configfile x.yaml\nkey: value  #  plkd\n"
    assert list(commands_in(comments, ".yaml")) == ["snakemake -n --configfile x.yaml"]
