"""Options that several commands have, and what is checked before any work."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from plkd.errors import InputError
from plkd.settings.datasets import SCALES, ReadingOptions

Commands = argparse._SubParsersAction

EXIT_CODES = """\
exit codes:
  0    done
  1    something given cannot be used; the message says what to do
  2    the command was not understood
  130  interrupted"""


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of examples, and shows defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        says_nothing = any(action.default is one for one in (None, False, argparse.SUPPRESS))
        if action.help and action.option_strings and not says_nothing and action.default != []:
            return f"{action.help} (default: %(default)s)"
        return action.help


def add_command(
    commands: Commands, name: str, *, summary: str, description: str, example: str
) -> argparse.ArgumentParser:
    """Add a command whose help ends with an example and the exit codes."""
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=textwrap.fill(description, 90),
        epilog=f"example:\n  {example}\n\n{EXIT_CODES}",
        formatter_class=Formatter,
    )
    command.add_argument("--quiet", action="store_true", help="say nothing but warnings and errors")
    return command


def add_progress(command: argparse.ArgumentParser) -> None:
    """Add the option that hides progress bars; :func:`shows_progress` reads it."""
    command.add_argument("--no-progress", action="store_true", help="hide the progress bars")


def shows_progress(options: argparse.Namespace) -> bool:
    """Whether progress bars are wanted."""
    return not (options.no_progress or options.quiet)


def add_json(command: argparse.ArgumentParser, what: str) -> None:
    """Add ``--json``."""
    command.add_argument(
        "--json", action="store_true", help=f"print {what} as JSON to standard output"
    )


def print_json(content: Any) -> None:
    """Print for machines."""
    print(json.dumps(content, indent=2, ensure_ascii=False))


def add_device(command: argparse.ArgumentParser) -> None:
    """Add where torch computes."""
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ..")


def add_batch(command: argparse.ArgumentParser) -> None:
    """Add the column of batches of a query; it stands in ``options.batch``."""
    command.add_argument(
        "--batch",
        metavar="COLUMN",
        help="column of obs with the batches (donors, samples), each of which is compared with "
        "the reference by itself",
    )


def add_reading(command: argparse.ArgumentParser) -> None:
    """Add the options that say how to read a file of cells."""
    group = command.add_argument_group("how to read the cells")
    group.add_argument("--reader", default="auto", metavar="FORMAT", help="h5ad, 10x_mtx, csv, ..")
    group.add_argument("--modality", help="rna, GEX, atac, .. where the file mixes features")
    group.add_argument("--layer", help="layer to use instead of X")
    group.add_argument("--raw", dest="use_raw", action="store_true", help="use .raw instead of X")
    group.add_argument("--transpose", action="store_true", help="csv with cells in columns")
    group.add_argument(
        "--scale", choices=SCALES, default="auto", help="what the values are, if it is misjudged"
    )
    group.add_argument(
        "--gene-symbols-key", metavar="COLUMN", help="column of var with the names to use"
    )


def reading_of(options: argparse.Namespace) -> ReadingOptions:
    """What the options of :func:`add_reading` say."""
    return ReadingOptions.from_config(vars(options))


def column_values(pairs: Sequence[str], option: str) -> dict[str, list[str]]:
    """Turn COLUMN=VALUE pairs into column -> values; a column may come several times."""
    found: dict[str, list[str]] = {}
    for pair in pairs:
        column, value = column_value(pair, option)
        found.setdefault(column, []).append(value)
    return found


def column_value(pair: str, option: str) -> tuple[str, str]:
    """Split one COLUMN=VALUE."""
    column, equals, value = pair.partition("=")
    if not (column and equals):
        raise InputError(f"{option} '{pair}': expected COLUMN=VALUE.")
    return column, value


def at_least_one(value: int, option: str) -> None:
    """Refuse a number below one."""
    if value < 1:
        raise InputError(f"{option} {value}: give at least 1.")


def check_files(
    inputs: Mapping[str, Path | None],
    outputs: Mapping[str, tuple[Path | None, Collection[str]]],
    *,
    model: Path | None = None,
) -> None:
    """See that inputs exist and that no output would overwrite one, before any work.

    Nothing is created; writers make their folders themselves.

    Parameters
    ----------
    inputs
        Name as in the usage -> file or folder of cells, ..
    outputs
        Option -> file to write and the suffixes that it may have.
    model
        Folder of a model that is read.

    Raises
    ------
    InputError
        If an input is missing, or an output is an input, another output, a folder, lies in a folder
        that is read, or has another suffix.
    """
    read = {name: path for name, path in inputs.items() if path is not None}
    for name, source in read.items():
        if not source.exists():
            raise InputError(f"{name} '{source}': there is no such file or folder.")
    stores = [path for path in read.values() if path.is_dir() and path.suffix == ".zarr"]
    stores += [model] if model is not None and (model / "model.json").is_file() else []
    written: dict[Path, str] = {}
    for option, (path, suffixes) in outputs.items():
        if path is None:
            continue
        if path.suffix not in suffixes:
            raise InputError(f"{option} '{path}': the name must end in {' or '.join(suffixes)}.")
        if path.is_dir():
            raise InputError(f"{option} '{path}' is a folder: give the name of a file.")
        place = path.resolve()
        for name, source in read.items():
            if place == source.resolve():
                raise InputError(
                    f"{option} '{path}' is the input itself ({name}): choose another name."
                )
        for store in stores:
            if store.resolve() in place.parents:
                raise InputError(
                    f"{option} '{path}' lies in the folder '{store}', which is read: choose "
                    "another place."
                )
        if place in written:
            raise InputError(f"{option} and {written[place]} are the same file '{path}'.")
        written[place] = option
