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
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

Locate = Callable[[str], Path | None]
"""Path of a source file relative to the folder of the scripts -> where it lies, or None."""


def code_fingerprint(script: str, locate: Locate) -> str:
    """Fingerprint of the library modules that `script` imports, directly or through others.

    Parameters
    ----------
    script
        File name of the script, relative to the folder of the scripts.
    locate
        Finds a source file by its path relative to that folder.

    Returns
    -------
    str
        Twelve hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, source in sorted(reachable_modules(script, locate).items()):
        digest.update(name.encode())
        digest.update(_read(source).meaning)
    return digest.hexdigest()[:12]


def reachable_modules(script: str, locate: Locate) -> dict[str, str]:
    """Source text by relative path of every library file that `script` reaches, itself not
    included."""
    start = locate(script)
    if start is None:
        raise FileNotFoundError(f"there is no script '{script}'")
    found: dict[str, str] = {}
    waiting = [(script, start.read_text(encoding="utf-8"))]
    while waiting:
        for module in _imported_modules(*waiting.pop()):
            for path, place in _files_of(module, locate):
                if path not in found:
                    found[path] = place.read_text(encoding="utf-8")
                    waiting.append((path, found[path]))
    return found


def _imported_modules(path: str, source: str) -> set[str]:
    """Dotted names under ``plkd`` that could be modules; names of functions simply find no file."""
    names: set[str] = set()
    packages = path.split("/")[:-1]
    for node in _read(source).imports:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        else:
            around = packages[: len(packages) + 1 - node.level] if node.level else []
            module = ".".join([*around, *filter(None, [node.module])])
            names.update(f"{module}.{alias.name}" for alias in node.names)
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


class _Read(NamedTuple):
    """What matters of a source text."""

    imports: list[ast.Import | ast.ImportFrom]
    meaning: bytes


@cache  # scripts share most modules
def _read(source: str) -> _Read:
    tree = what_runs(source)
    found = [one for one in _statements(tree) if isinstance(one, ast.Import | ast.ImportFrom)]
    return _Read(found, ast.dump(tree).encode())


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
