"""How the documentation is built (`make docs`): notebooks executed, nothing from the network."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from importlib.metadata import version as installed_version
from pathlib import Path, PurePosixPath
from typing import Any

from nbclient import NotebookClient

REPOSITORY = Path(__file__).parent.parent
LIBRARY = REPOSITORY / "workflow" / "scripts"
BUILD = Path(__file__).parent / "_build"

project = "PLKD"
author = "The PLKD developers"
project_copyright = f"2026, {author}"
version = release = installed_version("plkd")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

# --- pages -------------------------------------------------------------------------------------
html_theme = "furo"
html_title = "PLKD"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# --- reference, from the docstrings -------------------------------------------------------------
autosummary_generate = True
suppress_warnings = [
    "ref.python"
]  # several `genes`, say, to which a type such as "(genes,)" could link
autosummary_ignore_module_all = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # numpydoc sections name the types
napoleon_google_docstring = False
napoleon_use_param = False  # shapes such as (genes,) are no names to link
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
default_role = "code"

# --- notebooks: text without outputs, executed in a folder of their own ---------------------------
nb_execution_mode = "cache"
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
# what a command prints arrives in pieces of 100 characters, which are to be joined as they are
NotebookClient.coalesce_streams = True
nb_ipywidgets_js = {}
# nothing to see: the notebooks switch progress off
os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"
os.environ["PLKD_REPOSITORY"] = str(REPOSITORY)
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def _library_hash() -> str:
    """Name the state of the library, on which the outputs of notebooks depend."""
    digest = hashlib.sha256()
    for path in sorted(LIBRARY.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


nb_execution_cache_path = str(BUILD / "notebooks" / _library_hash())

# --- pages that are files of the repository ------------------------------------------------------
# config/README.md and others are read by whoever browses the repository, and are pages here too.
INCLUDED = {
    "config/README.md": "configuration.md",
    "config/presets.md": "reference/presets.md",
    "tests/benchmarks/README.md": "reference/benchmarks.md",
    "resources/gene_sets/README.md": "reference/gene_sets.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>[^)#:\s]*)(?P<anchor>#[^)\s]*)?\)")


def _links_of_pages(app: Any, path: Path, page: str, content: list[str]) -> None:
    """Turn links between files of the repository into links between pages.

    A file that is no page is named instead of linked.
    """
    folder = Path(app.srcdir, path).resolve().parent  # the path is relative to the pages
    here = PurePosixPath(page).parent

    def of_page(link: re.Match[str]) -> str:
        if not link["target"]:
            return link[0]
        target = (folder / link["target"]).resolve().relative_to(REPOSITORY.resolve()).as_posix()
        if target in INCLUDED:
            found = INCLUDED[target]
        elif target.startswith("docs/"):
            found = target.removeprefix("docs/")
        else:
            return link["text"] if "`" in link["text"] else f"{link['text']} (`{target}`)"
        up = "/".join(".." for _ in here.parts)
        return f"[{link['text']}]({up + '/' if up else ''}{found}{link['anchor'] or ''})"

    content[0] = LINK.sub(of_page, content[0])


def setup(app: Any) -> None:
    """Tell Sphinx what to call when it reads an included file."""
    app.connect("include-read", _links_of_pages)
