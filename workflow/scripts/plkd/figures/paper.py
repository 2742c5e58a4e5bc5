"""Figures 6 and 7 of the paper: overall scores as bars, F1 of a minor type as it becomes rare."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from plkd.figures.labels import plain, short
from plkd.figures.style import PALETTE, new_figure, palette


def overall_scores(figure6: pd.DataFrame) -> pd.DataFrame:
    """What :func:`plot_overall_scores` draws: the overall score of all cells.

    Parameters
    ----------
    figure6
        `dataset`, `condition` (empty for all cells), `measure`, `here`, `paper`. Of data sets that
        were not run only what the paper says is drawn.
    """
    overall = figure6[(figure6["measure"] == "overall") & (figure6["condition"] == "")]
    ran = overall["dataset"].isin(overall["dataset"][overall["here"].notna()])
    return overall[ran | overall["paper"].notna()]


def plot_overall_scores(table: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """Draw the overall score of multi-omics integration: a panel per data set, a bar per method.

    Parameters
    ----------
    table
        Rows of one measure and one group of cells: `dataset`, `method`, `variant`, `here`, `low`,
        `high`, `paper` (NaN where there is none).
    names
        Method -> its name.
    """
    panels = list(table.groupby("dataset", sort=False))
    sizes = [len(one) for _, one in panels] or [1]
    figure, grid = new_figure(
        6.5, 0.7 + sum(0.6 + 0.24 * n for n in sizes), max(len(panels), 1), 1, squeeze=False,
        height_ratios=[0.6 + 0.24 * n for n in sizes],
    )  # fmt: skip
    for (dataset, part), (axes,) in zip(panels, grid, strict=False):
        part = part.assign(best=part[["here", "paper"]].max(axis=1)).sort_values("best")
        place = np.arange(len(part))
        ours = part["method"].isin(["student", "teacher"])
        colours = np.where(ours, PALETTE[0], "#999999")
        axes.barh(place, part["here"], color=colours, height=0.7)
        half = ((part["high"] - part["low"]) / 2).fillna(0)
        axes.errorbar(part["here"], place, xerr=half, fmt="none", ecolor="black", linewidth=1)
        axes.plot(part["paper"], place, "D", color=PALETTE[1], markersize=5, clip_on=False)
        texts = [
            names.get(method, method) + (f" ({variant})" if variant else "")
            for method, variant in part[["method", "variant"]].itertuples(index=False)
        ]
        axes.set_yticks(place, [short(text, 40) for text in texts])
        for y, value in zip(place, part["here"], strict=True):
            text = "not run" if np.isnan(value) else f"{value:.3f}"
            axes.annotate(text, (1.01, y), xycoords=axes.get_yaxis_transform(), va="center",
                          fontsize=8)  # fmt: skip
        axes.set_xlim(0, 1)
        axes.set_title(plain(dataset))
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
    grid[-1, 0].set_xlabel("overall score (diamonds: as the paper reports it)")
    return figure


def imbalance_lines(figure7: pd.DataFrame, variant: str) -> pd.DataFrame:
    """What :func:`plot_imbalance` draws: the Student's F1 with one variant of the settings.

    Parameters
    ----------
    figure7
        `method`, `variant` (empty where only the paper has a number), `condition` ("<minor>
        <ratio>:1"), `here`, `low`, `high`, `paper`.
    variant
        The variant to draw.
    """
    chosen = figure7[(figure7["method"] == "student") & figure7["variant"].isin(["", variant])]
    parts = chosen["condition"].str.extract(r"^(?P<minor>.*) (?P<ratio>\d+):1$")
    return chosen.assign(minor=parts["minor"], ratio=parts["ratio"].astype(int))


def plot_imbalance(table: pd.DataFrame) -> Figure:
    """Draw the F1 of minor types against the ratio: a panel per data set, a line per type.

    Parameters
    ----------
    table
        `dataset`, `minor`, `ratio` (cells of the major type for each of the minor), `here`, `low`,
        `high`, `paper` (NaN where there is none), of one method.
    """
    panels = list(table.groupby("dataset", sort=False))
    n = max(len(panels), 1)
    figure, grid = new_figure(3.8 * n + 0.4, 3.4, 1, n, squeeze=False, sharey=True)
    for (dataset, part), axes in zip(panels, grid[0], strict=False):
        minors = list(part.groupby("minor", sort=False))
        for (minor, line), colour in zip(minors, palette(len(minors)), strict=True):
            line = line.sort_values("ratio")
            # an interval of two draws may leave the range of the score
            below = line["here"] - line["low"].clip(lower=0)
            above = line["high"].clip(upper=1) - line["here"]
            axes.errorbar(
                line["ratio"], line["here"], yerr=np.nan_to_num([below, above]), marker="o",
                markersize=4, capsize=3, color=colour, label=short(minor),
            )  # fmt: skip
            said = line.dropna(subset="paper")
            axes.plot(said["ratio"], said["paper"], "D", color=colour, markersize=6, mfc="none")
        axes.set_title(plain(dataset))
        axes.set_ylim(0, 1.03)
        axes.set_xlabel("cells of the major type for each of the minor")
        axes.grid(axis="y")
        axes.legend(loc="lower left")
    grid[0, 0].set_ylabel("F1 of the minor type")
    if table["paper"].notna().any():
        figure.supxlabel("hollow diamonds: as the paper reports it", fontsize=8, color="#555555")
    return figure
