"""Figure of the pathways that a mask is made of."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from plkd.figures.style import PALETTE, add_heading, new_figure

_PALE = "#d9d9d9"
_SIGNIFICANT = 0.05
# Abbreviations that have a vowel; those that have none are known by that.
_ABBREVIATIONS = {
    **{word: word for word in (
        "ADP", "AKT", "AMPA", "AMPK", "APC", "ATP", "ATR", "CA", "CREB", "DAG", "DAI", "DNA",
        "EGFR", "EMT", "ER", "ERK", "GABA", "GAG", "GPI", "GPVI", "HIF", "HIV", "IFN", "IGF", "II",
        "III", "IKK", "IL", "IV", "IRF", "JAK", "MAP", "MAPK", "NA", "NCAM", "NEF", "NMDA", "NOS",
        "PERK", "PI", "PKA", "RAC", "RAF", "RAS", "RIG", "RIP", "RNA", "ROS", "SIRP", "SNARE",
        "STAT", "TAT", "TCA", "TRIF", "TRKA", "UTR", "UV", "VEGF", "ZAP",
    )},
    "MIRNA": "miRNA", "MRNA": "mRNA", "RRNA": "rRNA", "TRNA": "tRNA",
}  # fmt: skip
_GO_NUMBER = re.compile(r"\s*\(GO:\d+\)$")


def plot_pathways(table: pd.DataFrame, about: str = "", *, top: int = 30) -> Figure:
    """Draw the best pathways: how much of each set is in the gene list, and how surely.

    Left, the genes of the set in total (pale) and those in the gene list (dark, with numbers);
    right, the over-representation as -log10 of the adjusted p-value. The right half is left out
    where it has nothing to tell because none of the sets is over-represented.

    Parameters
    ----------
    table
        Pathways as :func:`plkd.pathways.gene_sets.select_pathways` gives them, best first.
    about
        What stands below the title.
    top
        Number of pathways shown.
    """
    shown = table.head(top)
    p_values = shown["adjusted_p_value"].fillna(1.0).to_numpy(dtype=float)
    tested = bool((p_values < _SIGNIFICANT).any())
    rows = np.arange(len(shown))
    figure, axes = new_figure(
        8, 1.3 + 0.22 * len(shown), ncols=1 + tested, sharey=True, squeeze=False
    )
    left, *right = axes[0]
    left.barh(rows, shown["size"], color=_PALE, label="genes in the set")
    left.barh(rows, shown["overlap"], color=PALETTE[0], label="of these in the gene list")
    for row, overlap, size in zip(rows, shown["overlap"], shown["size"], strict=True):
        left.annotate(
            f"{overlap}/{size}",
            (size, row),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )
    left.set_yticks(rows, [readable_name(name) for name in shown["name"]])
    left.set_ylim(len(shown) - 0.4, -0.6)
    left.set_xlabel("genes")
    left.xaxis.get_major_locator().set_params(integer=True)
    left.set_xlim(0, 1.2 * shown["size"].max())
    left.tick_params(axis="y", length=0)
    for axis in right:
        # p = 0 is "smaller than a float can say"; it is drawn at the smallest float.
        strength = -np.log10(np.clip(p_values, np.finfo(float).tiny, 1.0))
        axis.barh(rows, strength, color=PALETTE[1])
        axis.axvline(-np.log10(_SIGNIFICANT), color="#444444", linewidth=0.8, linestyle="--")
        axis.set_xlim(0, max(1.05 * strength.max(), 2.0))
        axis.set_xlabel(f"-log10 adjusted p (dashed: {_SIGNIFICANT:g})")
        axis.tick_params(axis="y", length=0)
    part = "" if len(shown) == len(table) else f"the first {len(shown)} of "
    add_heading(
        figure, f"Pathways of the mask: {part}{len(table)}" + (f"\n{about}" if about else "")
    )
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def readable_name(name: str, width: int = 48) -> str:
    """Turn a set's name into words: no underscores, no GO number, at most `width` letters.

    Names in capitals become small, except abbreviations and words with a digit (MHC, PD1).

    >>> readable_name("REACTOME_PD1_SIGNALING")
    'Reactome PD1 signaling'
    """
    words = _GO_NUMBER.sub("", name).replace("_", " ").split()
    if "_" in name and name.isupper():
        words = [_word(word) for word in words]
    text = " ".join(words)
    text = text[:1].upper() + text[1:] if text[:2].islower() else text
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def _word(word: str) -> str:
    """A word of a name in capitals."""
    is_code = re.search(r"\d", word) or not re.search("[AEIOUY]", word)
    return word if is_code else _ABBREVIATIONS.get(word, word.lower())
