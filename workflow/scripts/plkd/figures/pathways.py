"""Pathways of the labels: scores as dots, attention as a heat map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from plkd.figures.labels import plain, short
from plkd.figures.mask import readable_name
from plkd.figures.style import add_heading, new_figure

DIVERGING = "PuOr_r"  # orange above zero, purple below; safe with every kind of colour blindness

_NAME_WIDTH = 58
_LARGEST_DOT = 130.0  # points squared, for an AUROC of one


def pathway_labels(names: Mapping[str, str]) -> dict[str, str]:
    """Texts for pathways: words, without a first word that all pathways share, no two alike.

    Parameters
    ----------
    names
        pathway -> its name; where the two differ the pathway stands before the name it was given.

    Returns
    -------
    dict
        pathway -> text, safe for matplotlib.
    """
    pathways = [name for pathway, name in names.items() if "_" in name and name.isupper()]
    first = {name.split("_")[0] for name in pathways}
    numbered = any(name.partition("_")[2].isdigit() for name in pathways)  # nothing but a number
    shared = len(first) == 1 and len(pathways) > 1 and not numbered
    collection = readable_name(first.pop()) if shared else ""
    texts: dict[str, str] = {}
    for pathway, name in names.items():
        given = f"{readable_name(pathway, 24)}: " if name != pathway else ""
        text = readable_name(name, _NAME_WIDTH + len(collection) - len(given))
        if collection and name in pathways:
            text = text[len(collection) :].strip()
            text = text[:1].upper() + text[1:]
        text = given + text
        if text in texts.values():  # cut to the same words: the number tells them apart
            text = f"{text} ({sum(other.startswith(text) for other in texts.values()) + 1})"
        texts[pathway] = text
    return {pathway: plain(text) for pathway, text in texts.items()}


def plot_label_pathways(
    table: pd.DataFrame,
    names: Mapping[str, str],
    *,
    per_label: int = 5,
    outside: Mapping[str, float] | None = None,
    title: str = "",
) -> Figure:
    """Draw the best pathways of every label as dots: colour for the score, size for the AUROC.

    Parameters
    ----------
    table
        Pathways of the labels (:func:`plkd.interpret.pathway_scores.rank_label_pathways`).
    names
        pathway -> name.
    per_label
        Rows per label; a pathway that is among the best of several labels is drawn once, in the
        group of the first.
    outside
        label -> share of its attention that is outside of pathways, to stand beside its name.
    title
        Title of the figure.
    """
    labels = list(dict.fromkeys(table["label"]))
    own = table[table["top"] & (table["rank"] <= per_label)].drop_duplicates("pathway")
    rows = list(own["pathway"])
    texts = pathway_labels({pathway: names.get(pathway, pathway) for pathway in rows})
    values = {
        column: table.pivot_table(index="pathway", columns="label", values=column)
        .reindex(index=rows, columns=labels)
        .to_numpy()
        for column in ("mean", "auroc")
    }
    figure, axes = new_figure(
        4.6 + 0.42 * max(len(labels), 3), 1.9 + _margin(labels) + 0.2 * max(len(rows), 3)
    )
    x, y = np.meshgrid(np.arange(len(labels)), np.arange(len(rows)))
    limit = max(float(np.nanmax(np.abs(values["mean"]), initial=0.0)), 0.5)
    dots = axes.scatter(
        x.ravel(), y.ravel(), s=_dot(values["auroc"]).ravel(), c=values["mean"].ravel(),
        cmap=DIVERGING, vmin=-limit, vmax=limit, edgecolors="#666666", linewidths=0.3,
    )  # fmt: skip
    for position, label in enumerate(own["label"]):
        axes.plot(
            labels.index(label), position, marker="s", markersize=11.5, markerfacecolor="none",
            markeredgecolor="#000000", markeredgewidth=0.7,
        )  # fmt: skip
    _name_axes(figure, rows, labels, texts, outside)
    for start in np.flatnonzero(own["label"].ne(own["label"].shift()).to_numpy())[1:]:
        axes.axhline(start - 0.5, color="#bbbbbb", linewidth=0.6)
    add_heading(figure, title)
    bar = figure.colorbar(dots, ax=axes, shrink=0.5, aspect=18, pad=0.02, anchor=(0, 0))
    bar.set_label("mean score (standard deviations)")
    sizes = [0.5, 0.75, 0.9, 1.0]
    handles = [
        Line2D(
            [], [], linestyle="", marker="o", color="#888888", markersize=float(_dot(size)) ** 0.5
        )
        for size in sizes
    ]
    handles.append(
        Line2D([], [], linestyle="", marker="s", markersize=9, color="#000000", fillstyle="none")
    )
    figure.legend(
        handles, [*(f"AUROC {size:g}" for size in sizes), "group of the label"],
        loc="outside lower center", ncols=5, handletextpad=0.2, columnspacing=1.0,
    )  # fmt: skip
    return figure


def plot_attention(
    table: pd.DataFrame,
    names: Mapping[str, str],
    *,
    top: int = 30,
    outside: Mapping[str, float] | None = None,
    title: str = "",
) -> Figure:
    """Draw the attention of the cell token to the pathways that get most of it, per label.

    Parameters
    ----------
    table
        Pathways of the labels (:func:`plkd.interpret.pathway_scores.rank_label_pathways`).
    names
        pathway -> name.
    top
        Rows: the pathways with the largest attention in any label.
    outside
        label -> share of its attention that is outside of pathways, to stand beside its name.
    title
        Title of the figure.
    """
    labels = list(dict.fromkeys(table["label"]))
    shares = table.pivot_table(index="pathway", columns="label", values="attention")[labels]
    n_tokens = len(shares)
    chosen = shares.max(axis=1).nlargest(top).index
    shares = shares.loc[chosen].assign(mean=shares.mean(axis=1))
    shares = shares.sort_values("mean", ascending=False, kind="stable").drop(columns="mean")
    fold = np.log2((shares.to_numpy() * (n_tokens + 1)).clip(min=2**-10))
    texts = pathway_labels({pathway: names.get(pathway, pathway) for pathway in shares.index})
    figure, axes = new_figure(
        4.6 + 0.46 * max(len(labels), 3), 1.5 + _margin(labels) + 0.21 * max(len(shares), 4)
    )
    # one token that sees all genes can have half of it: the rest should still show
    limit = max(float(np.quantile(np.abs(fold), 0.95)) if fold.size else 0.0, 1.0)
    image = axes.imshow(fold, cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto")
    for (row, column), value in np.ndenumerate(shares.to_numpy()):
        axes.text(
            column, row, _percent(value), ha="center", va="center", fontsize=6,
            color="white" if abs(fold[row, column]) > 0.7 * limit else "#222222",
        )  # fmt: skip
    _name_axes(figure, list(shares.index), labels, texts, outside)
    axes.spines[:].set_visible(False)
    part = f"{len(shares)} of {n_tokens} pathways; " if len(shares) < n_tokens else ""
    beside = "; beside the label: % outside of pathways" if outside else ""
    axes.set_xlabel(f"{part}numbers: % of the attention{beside}")
    add_heading(figure, title)
    figure.colorbar(
        image,
        ax=axes,
        shrink=0.6,
        aspect=18,
        pad=0.02,
        label="log2 of attention over an even share",
        extend="both",
    )
    return figure


def _name_axes(
    figure: Figure,
    pathways: Sequence[str],
    labels: Sequence[str],
    texts: Mapping[str, str],
    outside: Mapping[str, float] | None = None,
) -> None:
    axes = figure.axes[0]
    shares = {label: f" ({share:.0%})" for label, share in (outside or {}).items()}
    axes.set_xticks(
        range(len(labels)), [short(label) + shares.get(label, "") for label in labels],
        rotation=45, ha="right", rotation_mode="anchor",
    )  # fmt: skip
    axes.set_yticks(range(len(pathways)), [texts[pathway] for pathway in pathways])
    axes.set_xlim(-0.6, len(labels) - 0.4)
    axes.set_ylim(len(pathways) - 0.5, -0.5)
    axes.tick_params(length=0)


def _margin(labels: Sequence[str]) -> float:
    """Inches that names at an angle need."""
    return 0.06 * max((len(short(label)) for label in labels), default=0)


def _dot(auroc: np.ndarray | float) -> np.ndarray:
    """Area of a dot: nothing to see below an AUROC of one half."""
    strength = np.clip((np.asarray(auroc) - 0.5) / 0.5, 0.0, 1.0)
    return 4.0 + (_LARGEST_DOT - 4.0) * strength**1.5


def _percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:.0f}" if percent >= 9.95 else f"{percent:.1f}" if percent >= 0.05 else "<.1"
