"""Commands that the documentation prints, and how each can be tried in a folder of small files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from project import REPOSITORY

TOOLS = ("snakemake", "plkd", "make", "python", "snakedeploy", "cd", "source", "torchrun")
_SHORT = "--preset fast " + " ".join(
    f"--set {kind}_training.{key}={value}"
    for kind in ("teacher", "student")
    for key, value in (("epochs", 1), ("min_steps", 0))
)
SHELLS = ("bash", "sh", "shell", "console")

# What some commands need, and the commands that make it.
MADE = {
    "my_model": "plkd train reference.h5ad --labels cell_type --batch donor -o my_model",
    "sim/my_data.yaml": "plkd simulate sim --cells 2000 --labels 8 --batch-effect 0.3",
    "simulated": "plkd simulate simulated",
}


@dataclass(frozen=True)
class Otherwise:
    """What is tried in place of a command that cannot run here.

    Attributes
    ----------
    reason
        Why not.
    pattern
        Regular expression of the commands that this is about.
    replacement
        What to put in the place of the match; None to leave it at a look at its grammar.
    """

    reason: str
    pattern: str
    replacement: str | None


# The first that matches counts; a command that none matches is run as it stands.
OTHERWISE = (
    Otherwise("installs packages or runs everything", r"^make\b", "make -n"),
    Otherwise("changes the environment", r"^(pip|conda)\b", None),
    Otherwise("builds a container", r"^(docker|apptainer)\b", None),
    Otherwise("there may be no such device", r"--device cuda:1", "--device cpu"),
    Otherwise("asks a server", r"^snakedeploy\b", None),
    Otherwise("builds conda environments", r".*--conda-create-envs-only.*", None),
    Otherwise("conda may be absent", r"--sdm (conda|apptainer)", "--sdm env-modules -n"),
    Otherwise("its plugins are no part of the environment", r"--profile profiles/kubernetes", None),
    Otherwise("no such device or cluster", r"(--profile profiles/\w+)", r"\1 --sdm env-modules -n"),
    Otherwise(
        "gigabytes of downloads; the whole plan is tried with the next one",
        r"(--configfile config/paper\.yaml) -- paper$",
        r"\1 -n --config datasets='[config/datasets/pbmc.yaml]' -- paper",
    ),
    Otherwise("gigabytes of downloads", r"(--configfile config/paper\.yaml)", r"\1 -n"),
    Otherwise("a run of many minutes", r"(--configfile (?:config|sim)/\w+\.yaml)", r"\1 -n"),
    Otherwise("an hour", r"^(python tests/benchmarks/unknown_types\.py) .*", r"\1 --help"),
    Otherwise("minutes", r"^(python tests/benchmarks/\w+\.py)$", r"\1 --help"),
    Otherwise("there may be no GPUs", r"-node 4 (-m plkd .*) cuda$", rf"-node 2 \1 cpu {_SHORT}"),
    Otherwise("a plan is enough", r"(--configfile (?:FILE|my_queries\.yaml))", r"\1 -n"),
    # a command that is named in a sentence, without its arguments
    Otherwise("named, not called", r"^(plkd [\w-]+)( --[\w-]+)?$", r"\1 --help"),
)


def pages() -> list[Path]:
    """What is read: the manuals, and the comments of the shipped configurations."""
    found = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "config/README.md")]
    found += sorted((REPOSITORY / "docs").rglob("*.md"))
    found += sorted((REPOSITORY / "config").rglob("*.yaml"))
    return [page for page in found if "_build" not in page.parts]


def printed_commands() -> dict[str, list[str]]:
    """Every command in the order of reading, and the pages that print it."""
    found: dict[str, list[str]] = {}
    for page in pages():
        for command in commands_in(page.read_text(encoding="utf-8"), page.suffix):
            found.setdefault(command, []).append(str(page.relative_to(REPOSITORY)))
    return found


def commands_in(text: str, suffix: str) -> Iterator[str]:
    """Commands of a page: lines of shell blocks, and code in a sentence that starts with a tool.

    Of a file of YAML the lines of its comments.
    """
    if suffix == ".yaml":
        lines = re.findall(r"^ *#  +(.*)", text, flags=re.MULTILINE)
        yield from filter(_is_command, lines)
        return
    for block in re.finditer(r"^( *)```(\w*)[^\n]*\n(.*?)^ *```|`([^`]+)`", text, re.M | re.S):
        language, body, sentence = block[2], block[3], block[4]
        if sentence is not None:
            sentence = " ".join(sentence.split())
            if _is_command(sentence):
                yield sentence
        elif language in SHELLS:
            yield from _lines(body)


def blocks_in(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def printed_python() -> list[str]:
    """Python code of the pages, but for rules of Snakemake."""
    found = [code for page in pages() for code in blocks_in(page, "python")]
    return [code for code in found if not code.startswith("module ")]


def tried(command: str) -> tuple[str | None, str]:
    """The command to try in place of a printed one, and why it is another one (or "")."""
    for other in OTHERWISE:
        if re.search(other.pattern, command):
            if other.replacement is None:
                return None, other.reason
            return re.sub(other.pattern, other.replacement, command), other.reason
    return command, ""


def _is_command(text: str) -> bool:
    return text.startswith(tuple(f"{tool} " for tool in TOOLS))


def _lines(block: str) -> Iterator[str]:
    """Commands of a shell block, continued lines joined, comments and prompts left out."""
    for line in re.sub(r"\\\n\s*", "", block).splitlines():
        command = re.sub(r"(^|\s)#.*", "", line).strip().removeprefix("$ ")
        if command:
            yield command
