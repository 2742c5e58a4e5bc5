"""One cell's, or one group's, label explained in a picture."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from plkd.figures.attribution import name_rows
from plkd.figures.labels import short
from plkd.figures.pathways import pathway_labels
from plkd.figures.style import PALETTE, add_heading, new_figure
from plkd.interpret.explain import Explanation

_FOR, _AGAINST = PALETTE[0], PALETTE[1]


def plot_explanation(found: Explanation, *, top: int = 15) -> Figure:
    """Draw genes, their values beside typical ones, and pathways if there are any.

    Parameters
    ----------
    found
        As of :func:`plkd.interpret.explain.explain_file`.
    top
        Genes and pathways shown.
    """
    genes = found.genes.head(top)
    pathways = found.pathways
    n_panels = 2 if pathways is None else 3
    widths = [3.0, 2.6, 6.0][:n_panels]
    figure, axes = new_figure(
        sum(widths), 1.9 + 0.21 * max(len(genes), 4), 1, n_panels, width_ratios=widths
    )
    rows = np.arange(1, len(genes) + 1)
    adds, values = axes[0], axes[1]
    _bars(adds, rows, genes["against_runner_up"].to_numpy())
    name_rows(adds, genes["gene"], top)
    adds.set_xlabel("adds to the difference of logits")
    adds.set_title("genes", fontsize=9)

    for row, here, typical, other in zip(
        rows, genes["expression"], genes["typical"], genes["typical_of_runner_up"], strict=True
    ):
        values.hlines(row, min(here, typical, other), max(here, typical, other), color="#cccccc",
                      linewidth=1, zorder=0)  # fmt: skip
    here = "this cell" if found.n_cells == 1 else "these cells"
    for name, colour, marker, text in (
        ("expression", PALETTE[6], "D", here),
        ("typical", _FOR, "o", f"typical {short(found.label, 18)}"),
        ("typical_of_runner_up", _AGAINST, "s", f"typical {short(found.runner_up, 18)}"),
    ):
        values.plot(genes[name], rows, linestyle="", marker=marker, markersize=4, color=colour,
                    label=text)  # fmt: skip
    values.set_yticks([])
    values.set_ylim(adds.get_ylim())
    values.set_xlabel("log-normalised expression")
    values.set_title("their expression", fontsize=9)
    if pathways is not None:
        panel = axes[2]
        shown = pathways[pathways["is_pathway"]].head(top)
        _bars(panel, np.arange(1, len(shown) + 1), shown["contribution"].to_numpy())
        names = pathway_labels({name: name for name in shown["pathway"]}).values()
        attended = [
            f"{name}  ({look:.0%})" for name, look in zip(names, shown["attention"], strict=True)
        ]
        name_rows(panel, shown["pathway"].iloc[:0], top)
        others, share = found.outside
        outside = f"; {share:.0%} from outside of pathways" if others else ""
        panel.set_yticks(range(1, len(shown) + 1), attended)
        panel.set_xlabel(f"adds to the Teacher's logit of {short(found.teacher_label, 20)}")
        panel.set_title(f"pathways (attention){outside}", fontsize=9)
    inside = ", ".join(short(name, 24) for name in found.prediction_set)
    add_heading(
        figure,
        f"{short(found.about, 40)}: {short(found.label)} ({found.probability:.2f}), "
        f"then {short(found.runner_up)} ({found.runner_up_probability:.2f})\n"
        f"cannot be excluded: {short(inside, 90)}"
        + (f"; unknown: {found.unknown:.0%}" if found.unknown else ""),
    )
    figure.legend(*values.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _bars(panel, rows: np.ndarray, widths: np.ndarray) -> None:  # type: ignore[no-untyped-def]
    panel.barh(rows, widths, color=np.where(widths >= 0, _FOR, _AGAINST), height=0.7)
    panel.axvline(0, color="#888888", linewidth=0.7)
    panel.tick_params(axis="y", length=0, labelsize=7)
    panel.xaxis.get_major_locator().set_params(nbins=5)
