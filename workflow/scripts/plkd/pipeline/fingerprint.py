"""Which code a script depends on, as one short string.

Snakemake reruns a job when its script file changes, not when a module that the script imports does.
Rules therefore carry this fingerprint among their parameters: it covers the modules of the library
that a script reaches through imports, and nothing of them that cannot change a result (comments,
docstrings, layout, what only type checkers read). Standard library only: Snakemake imports this
module itself.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

Locate = Callable[[str], Path | None]
"""Path of a source file relative to the folder of the scripts -> where it lies, or None."""


class _Import(NamedTuple):
    """`import module`, or `from module import names` with a number of leading dots."""

    level: int
    module: str
    names: list[str]


class _Read(NamedTuple):
    """What matters of a source text: what it imports, and a digest of what it does."""

    imports: list[_Import]
    meaning: str


class Sources:
    """What was read of source texts, remembered from one start of Snakemake to the next.

    Reading them takes longer than all else that Snakemake does before it starts, and every job of
    a cluster starts it anew. A text is known by its content, so that what is remembered is true.

    Parameters
    ----------
    path
        Where it is remembered; None: nowhere.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._own = hashlib.sha256(Path(__file__).read_bytes() + sys.version.encode()).digest()
        self._known: dict[str, _Read] = {}
        self._used: dict[str, _Read] = {}
        if path is not None:
            # absent, damaged, or not readable: it is read anew
            with suppress(OSError, ValueError, TypeError, AttributeError):
                self._known = {
                    key: _Read([_Import(*one) for one in imports], str(meaning))
                    for key, (imports, meaning) in json.loads(path.read_text("utf-8")).items()
                }

    def read(self, source: str) -> _Read:
        """What matters of a source text."""
        key = hashlib.sha256(self._own + source.encode()).hexdigest()
        if key not in self._used:
            self._used[key] = self._known[key] if key in self._known else _read(source)
        return self._used[key]

    def remember(self) -> None:
        """Write what was read, for the next start; a folder that cannot be written to is left."""
        if self._path is None or self._used.keys() <= self._known.keys():
            return
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(self._used), "utf-8")
            temporary.replace(self._path)
        with suppress(OSError):
            temporary.unlink()  # where it could not replace


def place_of_sources() -> Path:
    """Where what was read of source texts is remembered: in the user's folder for caches."""
    folder = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(folder).expanduser() / "plkd" / "sources.json"


def code_fingerprint(script: str, locate: Locate, sources: Sources | None = None) -> str:
    """Fingerprint of the library modules that `script` imports, directly or through others.

    Parameters
    ----------
    script
        File name of the script, relative to the folder of the scripts.
    locate
        Finds a source file by its path relative to that folder.
    sources
        Reads them; scripts share most modules, and so should share this.

    Returns
    -------
    str
        Twelve hexadecimal digits.
    """
    sources = sources or Sources()
    digest = hashlib.sha256()
    for name, source in sorted(reachable_modules(script, locate, sources).items()):
        digest.update(name.encode())
        digest.update(sources.read(source).meaning.encode())
    return digest.hexdigest()[:12]


def reachable_modules(
    script: str, locate: Locate, sources: Sources | None = None
) -> dict[str, str]:
    """Source text by relative path of every library file that `script` reaches, itself not
    included."""
    sources = sources or Sources()
    start = locate(script)
    if start is None:
        raise FileNotFoundError(f"there is no script '{script}'")
    found: dict[str, str] = {}
    waiting = [(script, start.read_text(encoding="utf-8"))]
    while waiting:
        path, source = waiting.pop()
        for module in _imported_modules(path, sources.read(source).imports):
            for path, place in _files_of(module, locate):
                if path not in found:
                    found[path] = place.read_text(encoding="utf-8")
                    waiting.append((path, found[path]))
    return found


def _imported_modules(path: str, imports: list[_Import]) -> set[str]:
    """Dotted names under ``plkd`` that could be modules; names of functions simply find no file."""
    names: set[str] = set()
    packages = path.split("/")[:-1]
    for one in imports:
        around = packages[: len(packages) + 1 - one.level] if one.level else []
        module = ".".join([*around, *filter(None, [one.module])])
        names.update(f"{module}.{name}" for name in one.names)
        names.add(module)
    return {name for name in names if name == "plkd" or name.startswith("plkd.")}


def _files_of(module: str, locate: Locate) -> Iterator[tuple[str, Path]]:
    """Files that importing `module` runs: the packages around it and the module itself.

    Nothing is looked for below a file: what is imported from there is a name in it.
    """
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        stem = "/".join(parts[:end])
        if place := locate(f"{stem}.py"):
            yield f"{stem}.py", place
            return
        if not (place := locate(f"{stem}/__init__.py")):
            return
        yield f"{stem}/__init__.py", place


def _read(source: str) -> _Read:
    tree = what_runs(source)
    imports: list[_Import] = []
    for one in _statements(tree):
        if isinstance(one, ast.Import):
            imports += [_Import(0, alias.name, []) for alias in one.names]
        elif isinstance(one, ast.ImportFrom):
            imports.append(_Import(one.level, one.module or "", [name.name for name in one.names]))
    return _Read(imports, hashlib.sha256(ast.dump(tree).encode()).hexdigest())


def what_runs(source: str) -> ast.Module:
    """Syntax tree without docstrings and without blocks for type checkers."""
    tree = ast.parse(source)
    for node in [tree, *_statements(tree)]:
        for block in _blocks(node):
            block[:] = _without_type_checking(block)
        if isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ) and (ast.get_docstring(node, clean=False) is not None):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _without_type_checking(block: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in block:
        if (
            isinstance(node, ast.If)
            and isinstance(node.test, ast.Name)
            and node.test.id == "TYPE_CHECKING"
        ):
            yield from _without_type_checking(node.orelse)
        else:
            yield node


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """All statements; expressions, which hold none, are most of a tree and are not gone through."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        for block in _blocks(waiting.pop()):
            yield from block
            waiting += block


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """The lists of statements directly below a node."""
    for name in ("body", "orelse", "finalbody"):
        if isinstance(block := getattr(node, name, None), list):
            yield block
    for name in ("handlers", "cases"):  # of try and match
        for part in getattr(node, name, ()):
            yield part.body
