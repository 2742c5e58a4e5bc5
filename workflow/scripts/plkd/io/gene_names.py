"""From the names a file has to the names that are compared: versions, aliases, orthologues."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from plkd.errors import InputError
from plkd.io.ensembl import symbols_of_ids
from plkd.io.formats import open_text, separator_of
from plkd.io.genes import as_text, clean_gene_names, match_names
from plkd.io.stores import existing, readable


@dataclass(frozen=True)
class GeneTable:
    """New names for genes: aliases to symbols, Ensembl ids to symbols, orthologues.

    Attributes
    ----------
    new_name
        By the cleaned name in the file.
    ambiguous
        Names that the table gives several new names; its rows for them are not used.
    only_listed
        Leave out genes that the table has no new name for, instead of keeping their names.
    """

    new_name: Mapping[str, str]
    ambiguous: frozenset[str]
    only_listed: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | str) -> GeneTable:
        """Read the table that a configuration names: ``path``, ``from``, ``to``, ``only_listed``.

        ``"human"`` and ``"mouse"`` are the tables of Ensembl ids that come with the library
        (:func:`plkd.io.ensembl.symbols_of_ids`).

        Raises
        ------
        InputError
            As :meth:`read`, or if there is no ``path``.
        """
        if isinstance(config, str):
            return cls(symbols_of_ids(config), frozenset())
        if not config.get("path"):
            raise InputError(f"`gene_table` needs the path of a table; found {dict(config)}")
        return cls.read(
            config["path"],
            config.get("from"),
            config.get("to"),
            only_listed=bool(config.get("only_listed", False)),
        )

    @classmethod
    def read(
        cls,
        path: str | Path,
        from_column: str | None = None,
        to_column: str | None = None,
        *,
        only_listed: bool = False,
    ) -> GeneTable:
        """Read a table with a header, separated by tabs, commas or semicolons, packed or not.

        Rows that lack one of the two names are skipped. A name with several new names (an alias of
        two genes, one gene with two orthologues) is ambiguous.

        Parameters
        ----------
        path
            The table.
        from_column, to_column
            Columns of the names in the file and of the names to use; default: the first and the
            second column.
        only_listed
            See the attribute.

        Raises
        ------
        InputError
            If the file cannot be read, lacks a column, or names no gene.
        """
        path = existing(path)
        with open_text(path) as handle, readable(path, "the gene table"):
            separator = separator_of(handle.readline())
            handle.seek(0)
            if separator is None:
                raise InputError(
                    f"'{path}' is no gene table: its first line has a single field. Expected a "
                    "header and two columns, separated by tabs, commas or semicolons."
                )
            table = pd.read_csv(
                handle, sep=separator, dtype=str, keep_default_na=False, index_col=False
            )
        columns = [
            _column(table, name, place, path) for place, name in enumerate((from_column, to_column))
        ]
        pairs = pd.DataFrame(
            {
                name: clean_gene_names(table[column])
                for name, column in zip(("old", "new"), columns, strict=True)
            }
        )
        pairs = pairs[(pairs != "").all(axis=1)].drop_duplicates()
        if pairs.empty:
            raise InputError(
                f"'{path}': no row has both names, in the columns '{columns[0]}' and '{columns[1]}'"
            )
        repeated = pairs["old"].duplicated(keep=False)
        single = pairs[~repeated]
        return cls(
            dict(zip(single["old"], single["new"], strict=True)),
            frozenset(pairs.loc[repeated, "old"]),
            only_listed,
        )


def resolve_gene_names(
    names: Iterable[object], table: GeneTable | None = None
) -> tuple[list[str], dict[str, int]]:
    """Bring the names of a file to those that genes are compared by.

    Names are cleaned (:func:`plkd.io.genes.clean_gene_names`); then the table is asked, by
    the rule of :func:`plkd.io.genes.match_names`. Names that the table is ambiguous about or does
    not list stay as they are, or are left out with ``only_listed``. Columns that end with the same
    name are one gene and are added up (:class:`plkd.io.genes.GeneColumns`).

    Parameters
    ----------
    names
        Names in the file; a missing or empty one is a column to leave out.
    table
        New names, if there are any.

    Returns
    -------
    resolved : list of str
        One for each name; empty for a column to leave out.
    report : dict
        Numbers of names: ``in_file``; of these ``unnamed``, ``as_they_were``, ``cleaned``,
        ``renamed`` by the table (of these ``renamed_by_case``), and
        ``not_listed`` (left out). ``ambiguous`` counts those that the table has several new names
        for, whatever became of them.
    """
    original = [as_text(name) for name in names]
    cleaned = clean_gene_names(original)
    listed_as = {} if table is None else _names_in(table, cleaned)
    counts = dict.fromkeys(
        (
            *("in_file", "unnamed", "as_they_were", "cleaned", "renamed", "renamed_by_case"),
            *("ambiguous", "not_listed"),
        ),
        0,
    )
    counts["in_file"] = len(cleaned)
    resolved = []
    for before, name in zip(original, cleaned, strict=True):
        new = name
        if name and table is not None:
            old = listed_as.get(name)
            if old is None or old in table.ambiguous:
                counts["ambiguous"] += old is not None
                new = "" if table.only_listed else name
            else:
                new = table.new_name[old]
                counts["renamed_by_case"] += old != name and new != name
        resolved.append(new)
        if not name:
            counts["unnamed"] += 1
        elif not new:
            counts["not_listed"] += 1
        elif new != name:
            counts["renamed"] += 1
        else:
            counts["as_they_were" if name == before else "cleaned"] += 1
    return resolved, counts


def _names_in(table: GeneTable, names: Iterable[str]) -> dict[str, str]:
    """Under which of its names the table lists each name that it lists."""
    unique, known = list(dict.fromkeys(filter(None, names))), [*table.new_name, *table.ambiguous]
    places = match_names(unique, known)
    return {name: known[place] for name, place in zip(unique, places, strict=True) if place >= 0}


def _column(table: pd.DataFrame, name: str | None, place: int, path: Path) -> str:
    columns = list(table.columns)
    if name is None and len(columns) > place:
        return str(columns[place])
    if name not in columns:
        asked = "a second column" if name is None else f"the column '{name}'"
        raise InputError(
            f"'{path}' lacks {asked} (`gene_table`); its columns are: {', '.join(columns)}"
        )
    return str(name)
