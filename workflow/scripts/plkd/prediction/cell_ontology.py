"""Wider names above labels from the Cell Ontology: its terms that hold several of the labels.

The ontology is a network: CD8 T cells are T cells, and cytotoxic cells too. A label tree
(:mod:`plkd.prediction.label_tree`) gives every name one parent. Of terms that hold the same labels
the narrowest is taken, of terms that cut through each other the one that cuts through fewest.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from plkd.errors import InputError
from plkd.utils.logs import logger
from plkd.utils.text import listed

if TYPE_CHECKING:
    import networkx as nx

TERM = "CL:"
"""Start of the ids of the Cell Ontology."""


def read_ontology(path: str | Path) -> nx.DiGraph:
    """Read an ontology in OBO format (``cl-basic.obo`` of the OBO Foundry, also as .gz).

    Returns
    -------
    networkx.DiGraph
        Terms with their `name`; an edge goes from a term to each that it is a kind of (is_a).

    Raises
    ------
    InputError
        If it cannot be read, or holds no term of cells.
    """
    import networkx as nx
    import obonet

    if not Path(path).is_file():
        raise InputError(f"the ontology '{path}' does not exist")
    logging.getLogger("obonet").setLevel(logging.WARNING)
    try:
        whole = obonet.read_obo(path)
    except Exception as error:  # whatever the reader raises on text that is no OBO
        raise InputError(f"the ontology '{path}' cannot be read as OBO: {error}") from error
    graph = nx.DiGraph()
    graph.add_nodes_from((term, about) for term, about in whole.nodes(data=True) if "name" in about)
    graph.add_edges_from(
        (term, wider)
        for term, wider, relation in whole.edges(keys=True)
        if relation == "is_a" and wider in graph
    )
    if not any(term.startswith(TERM) for term in graph):
        raise InputError(f"the ontology '{path}' has no term of cells ('{TERM}..')")
    return graph


def ids_of_labels(
    table: pd.DataFrame, labels_key: str, ids_key: str, name: str = "the table"
) -> dict[str, str]:
    """The id of every label, from a table with a row for each label or each cell.

    Parameters
    ----------
    table
        `obs` of a reference, or a table of labels.
    labels_key, ids_key
        Its columns of labels and ids. Labels without an id are left out, with a notice.
    name
        What the table is called in messages.

    Raises
    ------
    InputError
        If a column is missing, or a label has several ids.
    """
    missing = [key for key in (labels_key, ids_key) if key not in table.columns]
    if missing:
        raise InputError(
            f"{name} has no column {listed(missing)}; its columns are {listed(table.columns, 20)}"
        )
    texts = table[[labels_key, ids_key]].astype(object)
    pairs = texts.dropna(subset=[labels_key]).astype({labels_key: str}).drop_duplicates()
    known = pairs[pairs[ids_key].astype(str).str.startswith(TERM)]
    twice = known.loc[known[labels_key].duplicated(keep=False)]
    if len(twice):
        label = twice[labels_key].iloc[0]
        ids = listed(twice.loc[twice[labels_key] == label, ids_key])
        raise InputError(f"{name}: the label '{label}' has several ids, {ids}; keep one of them")
    without = sorted(set(pairs[labels_key]) - set(known[labels_key]))
    if without:
        logger.warning(
            "%s: %s without an id '%s..' will stand alone in the tree", name, listed(without), TERM
        )
    return dict(zip(known[labels_key], known[ids_key].astype(str), strict=True))


def tree_above(ids: Mapping[str, str], ontology: nx.DiGraph) -> dict[str, list[str]]:
    """Children by the name of their parent, for :meth:`LabelTree.of`.

    Parameters
    ----------
    ids
        Label -> id of its term.
    ontology
        From :func:`read_ontology`.

    Returns
    -------
    dict
        The widest names first. A label whose term holds others stands above them by its own name.
        A term that holds all labels is left out: it says nothing.

    Raises
    ------
    InputError
        If the ontology lacks an id, or two labels have the same one.

    Examples
    --------
    >>> import networkx as nx
    >>> terms = nx.DiGraph([("CL:1", "CL:9"), ("CL:2", "CL:9"), ("CL:3", "CL:0"), ("CL:9", "CL:0")])
    >>> terms.nodes["CL:9"]["name"] = "T cell"
    >>> tree_above({"CD4": "CL:1", "CD8": "CL:2", "B": "CL:3"}, terms)
    {'T cell': ['CD4', 'CD8']}
    """
    import networkx as nx

    lost = sorted(term for term in ids.values() if term not in ontology)
    if lost:
        raise InputError(
            f"the ontology has no {listed(lost)}: replaced by another term or from a newer release?"
        )
    label_of = {term: label for label, term in ids.items()}
    if len(label_of) < len(ids):
        same = [one for one, term in ids.items() if label_of[term] != one]
        raise InputError(
            f"{listed([*same, label_of[ids[same[0]]]])} have one id, so that no tree can tell "
            "them apart; give their own ids, or leave one out"
        )
    held: dict[str, set[str]] = {}  # by each term
    for label, term in ids.items():
        for wider in {term} | nx.descendants(ontology, term):  # edges lead to wider terms
            held.setdefault(wider, set()).add(label)
    groups: dict[frozenset[str], str] = {}
    for term, labels in held.items():
        if not term.startswith(TERM) or not 1 < len(labels) < len(ids):
            continue
        before = groups.get(frozenset(labels))
        if before is None or term in label_of or _is_narrower(ontology, term, before, label_of):
            groups[frozenset(labels)] = term
    chosen: list[frozenset[str]] = []
    for group in sorted(groups, key=lambda one: (_crossed(one, groups), -len(one), sorted(one))):
        if not _crossed(group, chosen):
            chosen.append(group)
    chosen.sort(key=lambda one: (-len(one), sorted(one)))
    names = {
        group: label_of.get(groups[group]) or str(ontology.nodes[groups[group]]["name"])
        for group in chosen
    }
    taken = set(ids)
    for group, name in names.items():  # a label may be called as a term is that is not its own
        if name in taken and label_of.get(groups[group]) != name:
            names[group] = f"{name} ({groups[group]})"
    children: dict[str, list[str]] = {}
    for place, group in enumerate(chosen):
        inside = [other for other in chosen[place + 1 :] if other < group]
        direct = [one for one in inside if not any(one < other for other in inside)]
        alone = group - {names[group]} - frozenset().union(*direct)
        children[names[group]] = sorted([*(names[one] for one in direct), *alone])
    return children


def _crossed(group: frozenset[str], others: Iterable[frozenset[str]]) -> int:
    """How many of other groups share labels with a group without either holding the other."""
    return sum(bool(group & one) and not (group <= one or one <= group) for one in others)


def _is_narrower(ontology: nx.DiGraph, term: str, other: str, label_of: Mapping[str, str]) -> bool:
    """Whether a term should stand for the labels that both hold."""
    import networkx as nx

    if other in label_of:
        return False
    if other in nx.descendants(ontology, term):
        return True
    return term not in nx.descendants(ontology, other) and term < other
