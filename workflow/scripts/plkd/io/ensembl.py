"""Ensembl ids and symbols of human and mouse genes (resources/gene_names)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from types import MappingProxyType

from plkd.errors import InputError
from plkd.utils.logs import logger
from plkd.utils.resources import resource
from plkd.utils.tables import read_tsv
from plkd.utils.text import listed

ENSEMBL = re.compile(r"(ENS[A-Z]{0,4}[GTP]\d{11})(\.\d+)?(_PAR_Y)?")
ORGANISMS = ("human", "mouse")
_ORGANISM_OF = {"ENSG": "human", "ENSMUSG": "mouse"}


@cache
def symbols_of_ids(organism: str) -> Mapping[str, str]:
    """Symbols of Ensembl gene ids without version; every id and every symbol once.

    Parameters
    ----------
    organism
        ``human`` (GENCODE 48) or ``mouse`` (GENCODE M37).

    Raises
    ------
    InputError
        If there is no table for the organism.
    """
    if organism not in ORGANISMS:
        raise InputError(
            f"there is no table of gene names for '{organism}': choose {listed(ORGANISMS)}, or "
            "give the `path` of a table of your own."
        )
    path = resource(f"resources/gene_names/{organism}.tsv.gz")
    table = read_tsv(path, {"ensembl_id": str, "symbol": str})
    return MappingProxyType(dict(zip(table["ensembl_id"], table["symbol"], strict=True)))


def are_ids(names: Sequence[str]) -> bool:
    """Whether more than half of the names are Ensembl ids."""
    return sum(bool(ENSEMBL.fullmatch(name)) for name in names) > len(names) / 2


def with_symbols(names: Iterable[str]) -> list[str]:
    """Exchange the Ensembl ids of human and mouse genes for symbols; other names stay.

    The length is that of the input. Different names stay different.
    """
    found = []
    taken = set(names := list(names))
    for name in names:
        organism = _ORGANISM_OF.get(name.rstrip("0123456789"))
        symbol = symbols_of_ids(organism).get(name) if organism else None
        found.append(name if symbol is None or symbol in taken else symbol)
        taken.add(found[-1])
    return found


def same_kind(one: Sequence[str], other: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Give names that can be compared: symbols, where one list holds Ensembl ids and the other not.

    The order stays, and different names stay different.
    """
    kinds = are_ids(one), are_ids(other)
    if kinds[0] == kinds[1] or not len(one) or not len(other):
        return one, other
    ids = one if kinds[0] else other
    try:
        symbols = with_symbols(ids)
    except InputError as error:  # a copy of the library without its tables still compares names
        logger.warning("Ensembl ids cannot be compared with symbols: %s", error)
        return one, other
    n_known = sum(name != symbol for name, symbol in zip(ids, symbols, strict=True))
    if n_known:
        logger.info(
            "one side is named by Ensembl ids and the other is not: %d of the %d ids are compared "
            "by their symbols in GENCODE",
            n_known,
            len(ids),
        )
    return (symbols, other) if kinds[0] else (one, symbols)
