"""The rooms of the library: imports go down the list of rooms, never up and never in a circle."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from plkd.pipeline.fingerprint import what_runs

LIBRARY = Path(__file__).resolve().parents[2] / "workflow" / "scripts" / "plkd"

# From the top: a room may import from those below it and from itself.
ROOMS = (
    "api",
    "pages",
    "figures",
    "paper",
    "evaluation",
    "interpret",
    "prediction",
    "model",
    "pathways",
    "preparation",
    "gene_activity",
    "io",
    "simulation",
    "settings",
    "pipeline",
    "utils",
)
TOP = ("api", "cli", "__main__")  # modules of the root that stand above all rooms
FREE = ("errors", "__version__")  # whatever the room

HEAVY = {
    "anndata", "gseapy", "matplotlib", "networkx", "scanpy", "scipy.stats", "shap", "sklearn",
    "torch", "umap",
}  # fmt: skip
"""Libraries that take from a third of a second to two seconds of the processor to import."""

# Scripts by what is loaded when they start: each step what it has beside those before, then its
# scripts. scanpy, scikit-learn, gseapy, shap and umap are loaded where they are called.
STARTS = (
    (
        (
            "",
            "counts_table download evaluate expected_counts explanations_table imbalanced_draws"
            " method_environments run_method",
        ),
        (
            "anndata",
            "assemble integration_scores map_cells omics omics_scores perturb prepare summary"
            " true_labels",
        ),
        ("torch", "adapt annotate cross_fit label_query predict query_page train"),
    ),
    (
        (
            "matplotlib",
            "benchmark_table evaluate_figures key_genes marker_recovery plot_history robustness",
        ),
        ("anndata", "embedding_figure gene_activity integrate integration mask stability"),
        (
            "torch",
            "attribute_genes faithfulness pathways predicted_figures spatial_figure spatial_scores",
        ),
        ("networkx", "networks"),
        ("scipy.stats", "paper"),
    ),
)


def modules() -> dict[str, Path]:
    """Every module of the library by its name below ``plkd``; a package by its own name."""
    found = {}
    for path in sorted(LIBRARY.rglob("*.py")):
        parts = path.relative_to(LIBRARY).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(source: str) -> Iterator[str]:
    """What a module takes from the library, inside of functions too: names below ``plkd``.

    Names that a package loads lazily are not followed, as in the fingerprints of the rules.
    """
    for node in ast.walk(what_runs(source)):
        if isinstance(node, ast.Import):
            yield from (
                alias.name.removeprefix("plkd.")
                for alias in node.names
                if alias.name.startswith("plkd.")
            )
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            if node.module == "plkd":
                yield from (alias.name for alias in node.names)
            elif node.module and node.module.startswith("plkd."):
                name = node.module.removeprefix("plkd.")
                yield name
                # what is taken may itself be a module
                yield from (f"{name}.{alias.name}" for alias in node.names)


def room(name: str) -> str:
    first = name.split(".")[0]
    return "api" if first in TOP else first


def upward(name: str, imported: str) -> bool:
    """Does this import climb the list?"""
    if room(imported) in FREE:
        return False
    return ROOMS.index(room(imported)) < ROOMS.index(room(name))


def edges() -> dict[str, set[str]]:
    """Which modules every module imports; a package that is imported is its ``__init__``."""
    known = modules()
    found: dict[str, set[str]] = {}
    for name, path in known.items():
        targets = set(imports(path.read_text(encoding="utf-8")))
        found[name] = {target for target in targets if target in known}
    return found


def cycles(graph: dict[str, set[str]]) -> list[str]:
    """Modules that can be reached from themselves."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            for target in graph[ahead.pop()] - seen:
                seen.add(target)
                ahead.append(target)
        return seen

    return sorted(name for name in graph if name in reached(name))


def test_every_module_has_a_room() -> None:
    strangers = {room(name) for name in modules() if name} - set(ROOMS) - set(FREE)
    assert not strangers


@pytest.mark.parametrize("name", [name for name in modules() if name and room(name) in ROOMS])
def test_imports_go_down(name: str) -> None:
    source = modules()[name].read_text(encoding="utf-8")
    assert [one for one in imports(source) if upward(name, one)] == []


def test_imports_run_in_no_circle() -> None:
    assert cycles(edges()) == []


def test_a_climbing_import_would_be_found() -> None:
    source = """
def function():
    import plkd.figures.style
    from plkd import errors, __version__
    from plkd.utils import files
"""
    found = list(imports(source))
    assert sorted(found) == ["__version__", "errors", "figures.style", "utils", "utils.files"]
    assert [one for one in found if upward("model.folder", one)] == ["figures.style"]
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


def test_the_arrows_of_contributing_are_those_of_the_code() -> None:
    """Its table of rooms: every room below the public face, and what each imports from."""
    text = (LIBRARY.parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    written = {
        name: set(filter(None, sources.split(", ")))
        for name, sources in re.findall(r"^\| `(\w+)/` \|.*\| ?([\w, ]*?) ?\|$", text, re.MULTILINE)
    }
    found: dict[str, set[str]] = {name: set() for name in ROOMS if name != "api"}
    for name, targets in edges().items():
        if name and room(name) in found:
            found[room(name)] |= {room(target) for target in targets if target}
    assert written == {name: arrows - {name, *FREE} for name, arrows in found.items()}


def test_every_script_has_its_place_among_the_starts() -> None:
    placed = [name for steps in STARTS for _, scripts in steps for name in scripts.split()]
    assert sorted(placed) == sorted(path.stem for path in LIBRARY.parent.glob("*.py"))


@pytest.mark.parametrize("steps", STARTS, ids=["without figures", "with figures"])
def test_a_script_starts_with_no_heavier_library_than_it_needs(
    steps: tuple[tuple[str, str], ...],
) -> None:
    """A job of seconds must not take seconds to start; what a branch needs is loaded there."""
    code = f"""
import importlib, json, sys
sys.path[:0] = {[str(LIBRARY.parent)]!r}
for _, scripts in {steps!r}:
    for name in scripts.split():
        importlib.import_module(name)
    print(json.dumps(sorted({HEAVY!r} & {{*sys.modules}})))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    allowed: set[str] = set()
    for (further, scripts), line in zip(steps, ended.stdout.splitlines(), strict=True):
        allowed |= set(further.split())
        assert set(json.loads(line)) == allowed, scripts
