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
        digest.update(_meaning(source))
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


# Scripts share most modules: each is parsed once for all of them.
@cache
def _imported_modules(path: str, source: str) -> set[str]:
    """Dotted names under ``plkd`` that could be modules; names of functions simply find no file."""
    names: set[str] = set()
    packages = path.split("/")[:-1]
    for node in ast.walk(what_runs(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
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


@cache
def _meaning(source: str) -> bytes:
    """Source code without what cannot change a result."""
    return ast.dump(what_runs(source)).encode()


def what_runs(source: str) -> ast.Module:
    """Syntax tree without docstrings and without blocks for type checkers."""
    tree: ast.Module = _OnlyWhatRuns().visit(ast.parse(source))
    for node in ast.walk(tree):
        if isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ) and (ast.get_docstring(node, clean=False) is not None):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


class _OnlyWhatRuns(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return node.orelse
        return node
