"""The fingerprint changes with code that a script runs, and with nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from plkd.pipeline.fingerprint import Sources, code_fingerprint, reachable_modules
from project import REPOSITORY

SOURCES = {
    "script.py": """
from plkd.first import one
def main():
    import plkd.lazy
""",
    "plkd/__init__.py": '"""The package."""\nif TYPE_CHECKING:\n    from plkd import unused\n',
    "plkd/first.py": '''"""A module."""
from plkd import second
from plkd.package.inner import thing

def one(x=1):
    """What it does."""
    return second.two() + x  # a comment

class Kept:
    """Only described."""
''',
    "plkd/second.py": "def two():\n    return 2\n",
    "plkd/lazy.py": "import plkd.deep.down as d\n",
    "plkd/deep/__init__.py": "level = 1\n",
    "plkd/deep/down.py": "from plkd.first import one  # a circle\n",
    "plkd/package/__init__.py": "flag = True\n",
    "plkd/package/inner.py": "thing = 3\n",
    "plkd/package/beside.py": "other = 4\n",
    "plkd/unused.py": "nothing = 0\n",
    "plkd/one.py": "trap = 'a module named as a function elsewhere'\n",
}
REACHED = set(SOURCES) - {"script.py", "plkd/package/beside.py", "plkd/unused.py", "plkd/one.py"}


class Tree:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in SOURCES.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text, encoding="utf-8")

    def locate(self, name: str) -> Path | None:
        path = self.folder / name
        return path if path.is_file() else None

    def fingerprint(self, sources: Sources | None = None) -> str:
        return code_fingerprint("script.py", self.locate, sources)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_modules_are_reached_through_imports_of_every_form(tree):
    assert set(reachable_modules("script.py", tree.locate)) == REACHED


def test_it_is_short_and_the_same_again_and_elsewhere(tree, tmp_path_factory):
    found = tree.fingerprint()
    assert len(found) == 12
    assert int(found, 16) >= 0
    assert found == tree.fingerprint()
    assert found == Tree(tmp_path_factory.mktemp("elsewhere")).fingerprint()


@pytest.mark.parametrize("name", sorted(REACHED))
def test_code_that_is_reached_changes_it(tree, name):
    before = tree.fingerprint()
    tree.write(name, SOURCES[name] + "\nadded = 1\n")
    assert tree.fingerprint() != before


@pytest.mark.parametrize("name", sorted(set(SOURCES) - REACHED - {"script.py"}))
def test_code_that_is_not_reached_does_not(tree, name):
    before = tree.fingerprint()
    tree.write(name, SOURCES[name] + "\nadded = 1\n")
    assert tree.fingerprint() == before


EDITS: dict[str, tuple[Callable[[str], str], bool]] = {
    "value": (lambda text: text.replace("x=1", "x=2"), True),
    "operator": (lambda text: text.replace("() + x", "() - x"), True),
    "name": (lambda text: text.replace("Kept", "Kept2"), True),
    "string that is no docstring": (lambda text: text + "text = 'new'\n", True),
    "what type checkers read": (
        lambda text: text + "if TYPE_CHECKING:\n    from plkd import unused\n    x: int\n",
        False,
    ),
    "comment": (lambda text: text.replace("a comment", "another comment"), False),
    "docstring of the module": (lambda text: text.replace("A module.", "The module."), False),
    "docstring of a function": (lambda text: text.replace("What it does.", "Adds."), False),
    "docstring removed": (lambda text: text.replace('    """What it does."""\n', ""), False),
    "docstring of a label": (lambda text: text.replace("Only described.", "Empty."), False),
    "only a docstring or only pass": (
        lambda text: text.replace('"""Only described."""', "pass"),
        False,
    ),
    "blank lines": (lambda text: text.replace("\n", "\n\n").replace("    ", "  "), False),
    "brackets": (
        lambda text: text.replace("second.two() + x", "(\n        second.two() + x)"),
        False,
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_only_edits_that_can_change_a_result_count(tree, name):
    change, counts = EDITS[name]
    before = tree.fingerprint()
    assert change(SOURCES["plkd/first.py"]) != SOURCES["plkd/first.py"]
    tree.write("plkd/first.py", change(SOURCES["plkd/first.py"]))
    assert (tree.fingerprint() != before) is counts


def test_code_that_moves_between_modules_counts(tree):
    before = tree.fingerprint()
    tree.write("plkd/second.py", SOURCES["plkd/package/inner.py"])
    tree.write("plkd/package/inner.py", SOURCES["plkd/second.py"])
    assert tree.fingerprint() != before


def test_what_was_read_is_remembered_and_never_taken_for_something_else(tree, tmp_path):
    place = tmp_path / "cache" / "sources.json"
    first = Sources(place)
    before = tree.fingerprint(first)
    assert before == tree.fingerprint()
    first.remember()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plkd.pipeline.fingerprint.ast.parse", None)  # nothing is read anew
        assert tree.fingerprint(Sources(place)) == before
    tree.write("plkd/second.py", "def two():\n    return 3\n")
    changed = tree.fingerprint()
    assert changed != before
    assert tree.fingerprint(Sources(place)) == changed


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"a": 1}', b"\xff", None])
def test_a_damaged_memory_is_read_over(tree, tmp_path, content):
    place = tmp_path / "sources.json"
    place.mkdir() if content is None else place.write_bytes(content)
    sources = Sources(place)
    assert tree.fingerprint(sources) == tree.fingerprint()
    sources.remember()
    assert [path.name for path in tmp_path.glob("sources.json.*")] == []


def test_imports_relative_to_a_module_are_followed(tree):
    tree.write("plkd/second.py", "from . import unused\nfrom .package.beside import other\n")
    assert {"plkd/unused.py", "plkd/package/beside.py"} <= set(
        reachable_modules("script.py", tree.locate)
    )
    tree.write("plkd/second.py", "def two():\n    return 2\n")
    tree.write("plkd/package/inner.py", "from .. import unused\nfrom ..one import trap\n")
    assert {"plkd/unused.py", "plkd/one.py"} <= set(reachable_modules("script.py", tree.locate))


def test_a_missing_script_is_named(tree):
    with pytest.raises(FileNotFoundError, match=r"absent\.py"):
        code_fingerprint("absent.py", tree.locate)


SCRIPTS = REPOSITORY / "workflow" / "scripts"


def locate_script(name: str) -> Path | None:
    path = SCRIPTS / name
    return path if path.is_file() else None


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.py")))
def test_every_script_of_the_workflow_has_a_fingerprint(script):
    reached = reachable_modules(script, locate_script)
    assert "plkd/__init__.py" in reached
    assert len(code_fingerprint(script, locate_script)) == 12


def test_training_depends_on_losses_and_not_on_figures_or_metrics():
    reached = set(reachable_modules("train.py", locate_script))
    assert {
        "plkd/model/losses.py",
        "plkd/model/navigator.py",
        "plkd/model/teacher.py",
        "plkd/model/__init__.py",
        "plkd/model/calibration.py",
        "plkd/settings/models.py",
    } <= reached
    assert not [name for name in reached if "figures" in name or "metrics" in name]
