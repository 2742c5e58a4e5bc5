"""Known markers of labels: read a list, match it to the labels of the data, see what is found.

Works for any ranking and any list: genes by attribution beside genes by a Wilcoxon test on the very
same cells; pathways beside those that were planted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plkd.errors import InputError
from plkd.interpret.attributed_cells import AttributedCells
from plkd.pathways.gene_sets import read_gmt
from plkd.utils.logs import logger
from plkd.utils.tables import Columns, read_tsv
from plkd.utils.text import listed

Markers = dict[str, list[str]]

RECOVERY_COLUMNS: Columns = {
    "label": str,
    "ranking": str,
    "top": int,
    "expected": float,
    "found": float,
    "precision": float,
    "recall": float,
    "chance": float,
}
"""Columns of :func:`recovery_summary` that are always there."""
PLANTED_COLUMNS: Columns = {"precision_planted": float, "chance_planted": float}
"""Its further columns for simulated cells."""


def read_markers(path: str | Path, item: str = "gene") -> Markers:
    """Read markers of labels: a GMT file, or a table of two columns, label and gene.

    The ``truth.json`` of simulated cells (`plkd simulate`) is read as well. With `item` =
    "pathway" the file names pathways of labels, in a column ``pathway``.

    The table is tab-separated with the header ``label``, ``gene`` (further columns are left
    unread); a label may stand for several names of the same type, separated by ``|``.

    Raises
    ------
    InputError
        If the file is absent or neither of the two, or names no marker.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"the list of markers '{path}' does not exist.")
    markers: Markers = {}
    if path.suffix == ".json":
        return _read_truth(path, item)
    with open(path, encoding="utf-8", errors="replace") as handle:
        header = handle.readline().rstrip("\n").split("\t")
    if {"label", item} <= set(header):
        table = read_tsv(path, {"label": str, item: str})
        for labels, gene in table[["label", item]].itertuples(index=False):
            for label in labels.split("|"):
                genes = markers.setdefault(label.strip(), [])
                if gene.strip() not in genes:
                    genes.append(gene.strip())
    else:
        for name, gene_set in read_gmt(path).items():
            for label in name.split("|"):
                markers.setdefault(label.strip(), []).extend(gene_set.genes)
    if not markers:
        raise InputError(
            f"'{path}' names no marker. Expected a GMT file, or a table with the columns 'label' "
            f"and '{item}'."
        )
    return markers


def read_planted(path: str | Path) -> Markers | None:
    """Read all genes that are raised in each label of simulated cells; None for other lists.

    A label's own markers, those of its lineage, and the genes of its active programmes: whatever a
    true explanation may name, where the markers alone are what it should name first.

    Raises
    ------
    InputError
        If the file is a ``.json`` that is no truth of simulated cells.
    """
    path = Path(path)
    if path.suffix != ".json":
        return None
    truth = _load_truth(path)
    try:
        return {
            str(label): [
                *about["markers"],
                *about["lineage_markers"],
                *(
                    gene
                    for name in about["active_programmes"]
                    for gene in truth["programmes"][name]
                ),
            ]
            for label, about in truth["labels"].items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise _no_truth(path, error) from error


def match_labels(markers: Markers, labels: Sequence[str]) -> Markers:
    """Give the markers the labels' own names.

    Names agree if their letters and digits do, whatever their case and a plural s ("CD14 Mono.",
    "cd14 monos"); a plus sign counts as a sign of presence and is left out, a minus is not.

    Raises
    ------
    InputError
        If no label has markers.
    """
    by_key: Markers = {}
    for name, genes in markers.items():
        known = by_key.setdefault(_key(name), [])
        known += [gene for gene in genes if gene not in known]
    matched = {label: by_key[_key(label)] for label in labels if _key(label) in by_key}
    if not matched:
        raise InputError(
            f"the list of markers has none of the labels {listed(labels)}; it has "
            f"{listed(list(markers))}. Use the data's names in its first column."
        )
    missing = [label for label in labels if label not in matched]
    if missing:
        logger.info("no markers are listed for %s", listed(missing))
    return matched


def wilcoxon_table(attributed: AttributedCells) -> pd.DataFrame:
    """Genes of every label by scanpy's Wilcoxon test, on the same cells with the same labels.

    Returns
    -------
    DataFrame
        `label`, `gene`, `score`, `log_fold_change`, `adjusted_p_value`, `rank` (by score, from 1).
        Labels of one cell, which cannot be tested, are absent; so are all where there is only one
        label.
    """
    import anndata as ad
    import scanpy as sc

    columns = ["label", "gene", "score", "log_fold_change", "adjusted_p_value", "rank"]
    codes, counts = np.unique(attributed.codes, return_counts=True)
    tested = [str(code) for code in codes[counts > 1]]
    if not tested or len(codes) < 2:
        return pd.DataFrame(columns=columns)
    cells = ad.AnnData(attributed.cells.copy(), var=pd.DataFrame(index=attributed.genes))
    cells.obs["label"] = pd.Categorical(attributed.codes.astype(str))
    cells.uns["log1p"] = {"base": None}
    sc.tl.rank_genes_groups(cells, "label", groups=tested, method="wilcoxon")
    tables = []
    for code in tested:
        found = sc.get.rank_genes_groups_df(cells, group=code)
        found = found.rename(
            columns={"names": "gene", "scores": "score", "logfoldchanges": "log_fold_change",
                     "pvals_adj": "adjusted_p_value"}
        )  # fmt: skip
        tables.append(
            found.assign(label=attributed.labels[int(code)], rank=np.arange(1, len(found) + 1))
        )
    return pd.concat(tables, ignore_index=True)[columns]


def gene_rankings(
    genes: pd.DataFrame, keys: pd.DataFrame, wilcoxon: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Rankings to compare: ``attribution``, ``attribution_present``, ``key_genes``, ``wilcoxon``.

    Parameters
    ----------
    genes
        :func:`plkd.interpret.key_genes.gene_table`; ``attribution`` is its `rank`, over all genes,
        and ``attribution_present`` its `present_rank`, over those that the label expresses.
    keys
        :func:`plkd.interpret.key_genes.key_genes`, of which the key genes are taken in its order.
    wilcoxon
        :func:`wilcoxon_table`.
    """
    present = genes[genes["present_rank"].notna()]
    key = keys[keys["key"]]
    return {
        "attribution": genes,
        "attribution_present": present.assign(rank=present["present_rank"]),
        "key_genes": key.assign(rank=key.groupby("label", sort=False).cumcount() + 1),
        "wilcoxon": wilcoxon,
    }


def pathway_rankings(ranked: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Ranking of the Teacher's pathways, ``pathways``, of label_pathways.tsv."""
    return {"pathways": ranked[["label", "pathway", "rank"]]}


def recovery_table(
    expected: Mapping[str, Sequence[str]],
    rankings: Mapping[str, pd.DataFrame],
    candidates: Sequence[str],
    item: str = "gene",
) -> pd.DataFrame:
    """Where the expected genes (or pathways) of every label are in several rankings.

    Parameters
    ----------
    expected
        Label -> its items.
    rankings
        Tables with `label`, `rank` and the column `item`, by name.
    candidates
        All items that could have been found.
    item
        "gene" or "pathway".

    Returns
    -------
    DataFrame
        `label`, `item`, `measured` (is a candidate), and per ranking its rank, `<name>_rank`
        (missing where it is not ranked). Labels that no ranking knows are left out.
    """
    known = set(candidates)
    labels = {label for table in rankings.values() for label in table["label"].unique()}
    rows = [
        {"label": label, item: name, "measured": name in known}
        for label, names in expected.items()
        if label in labels
        for name in names
    ]
    table = pd.DataFrame(rows, columns=["label", item, "measured"])
    for name, ranking in rankings.items():
        ranks = ranking.drop_duplicates(["label", item]).set_index(["label", item])["rank"]
        places = pd.MultiIndex.from_frame(table[["label", item]])
        table[f"{name}_rank"] = pd.array(ranks.reindex(places).to_numpy(), dtype="Int64")
    return table


def recovery_summary(
    recovery: pd.DataFrame,
    rankings: Mapping[str, pd.DataFrame],
    candidates: Sequence[str],
    planted: Mapping[str, Sequence[str]] | None = None,
) -> pd.DataFrame:
    """Precision and recall of the first 10 and 20 of every ranking.

    Parameters
    ----------
    recovery
        As of :func:`recovery_table`.
    rankings
        As there.
    candidates
        All items that could have been found.
    planted
        Label -> all genes that are truly its own, as :func:`read_planted` gives them: the expected
        ones are its markers only.

    Returns
    -------
    DataFrame
        `label` ("all labels" last: the mean), `ranking`, `top` (10, 20), `expected` (expected items
        that are candidates), `found`, `precision` (of the first `top`, or of all that are ranked if
        fewer), `recall`, and `chance`, the precision of a random ranking; with `planted` also
        `precision_planted` and `chance_planted`.
    """
    known = set(candidates)
    rows = []
    for label, table in recovery[recovery["measured"]].groupby("label", sort=False):
        for name, ranking in rankings.items():
            ranked = int((ranking["label"] == label).sum())
            for top in (10, 20):
                found = int((table[f"{name}_rank"] <= top).sum())
                looked_at = min(top, ranked)
                row = {
                    "label": label,
                    "ranking": name,
                    "top": top,
                    "expected": len(table),
                    "found": found,
                    "precision": found / looked_at if looked_at else np.nan,
                    "recall": found / len(table),
                    "chance": len(table) / len(known),
                }
                if planted is not None:
                    own = known & set(planted.get(str(label), ()))
                    first = ranking[(ranking["label"] == label) & (ranking["rank"] <= top)]
                    right = int(first["gene"].isin(own).sum())
                    row["precision_planted"] = right / looked_at if looked_at else np.nan
                    row["chance_planted"] = len(own) / len(known)
                rows.append(row)
    columns = [*RECOVERY_COLUMNS, *(PLANTED_COLUMNS if planted is not None else ())]
    numbers = columns[columns.index("expected") :]
    summary = pd.DataFrame(rows, columns=columns)
    if summary.empty:  # no expected item was measured
        return summary
    groups = summary.groupby(["ranking", "top"], sort=False)
    means = groups[numbers].mean().reset_index()
    overall = means.assign(label="all labels")[columns]
    return pd.concat([summary, overall], ignore_index=True)


def _read_truth(path: Path, item: str) -> Markers:
    key = {"gene": "markers", "pathway": "active_programmes"}[item]
    truth = _load_truth(path)
    try:
        labels = truth["labels"].items()
        return {str(label): [str(name) for name in about[key]] for label, about in labels}
    except (KeyError, TypeError, AttributeError) as error:
        raise _no_truth(path, error) from error


def _load_truth(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _no_truth(path, error) from error


def _no_truth(path: Path, error: Exception) -> InputError:
    return InputError(
        f"'{path}' is no truth of simulated cells ({error!r}): give a GMT file, or a table with "
        "the columns 'label' and 'gene' (or 'pathway')."
    )


def _key(name: str) -> str:
    """Letters and digits of a name, small, without plural s; '-' after one counts as "minus"."""
    text = re.sub(r"(?<=[^\W_])-(?=[\W_]|$)", " minus ", str(name).lower())
    words = re.findall(r"[a-z0-9α-ω]+", text)
    return "".join(re.sub(r"(?<=[a-z]{2})s$", "", word) for word in words)
