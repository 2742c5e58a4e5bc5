"""All methods on all data sets."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from plkd.figures.labels import plain, short
from plkd.figures.style import new_figure

KIND_COLOURS = {
    "ours": "#0072B2", "baseline": "#E69F00", "rival": "#D55E00", "control": "#888888",
}  # fmt: skip
SCORES = {"accuracy": "accuracy", "macro_f1": "macro F1"}


def plot_benchmark(runs: pd.DataFrame, methods: pd.DataFrame) -> Figure:
    """Draw accuracy and macro F1 of every run: one row of panels per data set.

    Parameters
    ----------
    runs
        Columns `dataset`, `variant`, `seed`, `method`, `accuracy`, `macro_f1`.
    methods
        Registry of the methods: index id, columns `name` and `kind` (ours, baseline, rival,
        control).
        Only our own methods depend on the variant; the others are drawn once.
    """
    runs = runs.dropna(subset=list(SCORES))  # of a method that could not run there is nothing
    runs = runs.assign(entry=_entries(runs, methods)).drop_duplicates(["dataset", "entry", "seed"])
    panels = list(runs.groupby("dataset", sort=True))
    entries = [table["entry"].nunique() for _, table in panels]
    figure, grid = new_figure(
        8.5, 0.6 + sum(0.75 + 0.26 * n for n in entries), len(panels), len(SCORES),
        squeeze=False, height_ratios=[0.75 + 0.26 * n for n in entries],
    )  # fmt: skip
    for (dataset, table), row in zip(panels, grid, strict=True):
        order = table.groupby("entry")["macro_f1"].mean().sort_values(ascending=False).index
        for axes, (score, score_name) in zip(row, SCORES.items(), strict=True):
            for position, entry in enumerate(order):
                member = table[table["entry"] == entry]
                colour = KIND_COLOURS[_kind(member["method"].iloc[0], methods)]
                mean = member[score].mean()
                axes.plot(
                    [member[score].min(), member[score].max()], [position] * 2,
                    color=colour, linewidth=1.2, alpha=0.6,
                )  # fmt: skip
                axes.plot(
                    member[score], [position] * len(member), "o", color=colour, alpha=0.4,
                    markersize=4, markeredgewidth=0, clip_on=False,
                )  # fmt: skip
                axes.plot(mean, position, "|", color=colour, markersize=11, markeredgewidth=2)
                axes.annotate(
                    f"{mean:.3f}", (1.02, position), xycoords=axes.get_yaxis_transform(),
                    va="center", fontsize=8, color=colour,
                )  # fmt: skip
            axes.set_ylim(len(order) - 0.5, -0.5)
            axes.set_xlim(0, 1)
            axes.grid(axis="x")
            axes.set_xlabel(score_name)
            axes.tick_params(axis="y", length=0)
        row[0].set_title(short(dataset), fontweight="bold")
        row[0].set_yticks(range(len(order)), [plain(entry) for entry in order])
        row[1].set_yticks(range(len(order)), [""] * len(order))
    return figure


def entries(runs: pd.DataFrame, methods: pd.DataFrame) -> tuple[dict[str, str], dict[str, str]]:
    """Names and kinds of the methods of some runs, by their ids.

    Our models of several variants are told apart: their ids are ``<method>@<variant>``, in the
    order of the runs, ours first.
    """
    variants = list(runs["variant"].unique())
    names: dict[str, str] = {}
    kinds: dict[str, str] = {}
    present = set(runs["method"])
    for method in [one for one in methods.index if one in present]:
        name, kind = str(methods["name"][method]), _kind(method, methods)
        if kind == "ours" and len(variants) > 1:
            for variant in variants:
                names[f"{method}@{variant}"], kinds[f"{method}@{variant}"] = (
                    f"{name} ({variant})",
                    kind,
                )
        else:
            names[method], kinds[method] = name, kind
    return names, kinds


def _kind(method: str, methods: pd.DataFrame) -> str:
    return str(methods["kind"].get(method, "baseline"))


def _entries(runs: pd.DataFrame, methods: pd.DataFrame) -> list[str]:
    """Name of every run's method, with the variant where that tells two of ours apart."""
    n_variants = runs.groupby("dataset")["variant"].nunique()
    entries = []
    for dataset, variant, method in runs[["dataset", "variant", "method"]].itertuples(index=False):
        name = str(methods["name"].get(method, method))
        if n_variants[dataset] > 1 and _kind(method, methods) == "ours":
            name += f" ({variant})"
        entries.append(name)
    return entries
