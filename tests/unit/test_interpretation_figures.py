"""Figures of genes behind labels: whole files for any number of labels, any names, no warning."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from plkd.evaluation.faithfulness import summarise_areas, summarise_curves
from plkd.evaluation.marker_recovery import recovery_table
from plkd.figures.attribution import plot_beeswarm, plot_top_genes
from plkd.figures.faithfulness import plot_faithfulness
from plkd.figures.key_genes import plot_key_genes, plot_recovery, plot_stability
from plkd.figures.style import save_figure, style
from plkd.interpret.attributed_cells import AttributedCells
from plkd.interpret.key_genes import gene_table, key_genes, stability

ODD = [
    "CD4+ T / naïve",
    "$x^{$",
    "_a_b",
    "very long name of a cell type that no figure has room for",
]


@pytest.fixture(autouse=True)
def strict():
    with warnings.catch_warnings(), style():
        warnings.simplefilter("error", UserWarning)
        yield


def make_cells(n_labels: int, n_cells: int, n_genes: int = 15) -> AttributedCells:
    rng = np.random.default_rng(0)
    labels = np.arange(n_cells) % n_labels
    return AttributedCells(
        np.arange(n_cells).astype(str),
        [f"g_{i}$" for i in range(n_genes)],
        [*ODD, *(f"type {i}" for i in range(40))][:n_labels],
        labels,
        rng.normal(size=(n_cells, n_genes)).astype(np.float32),
        sparse.random(n_cells, n_genes, 0.5, format="csr", dtype=np.float32, random_state=rng),
        np.full(n_genes, 0.2, np.float32),
        np.zeros(n_labels),
        np.zeros(n_cells),
    )


def texts(figure) -> list[str]:
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text"))]


def saved(figure, tmp_path) -> None:
    save_figure(figure, tmp_path / "f.png", tmp_path / "f.pdf")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "f.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(("n_labels", "n_cells"), [(1, 1), (2, 300), (11, 15)])
def test_genes_of_labels(n_labels, n_cells, tmp_path):
    cells = make_cells(n_labels, n_cells)
    table = gene_table(cells)
    figure = plot_top_genes(table)
    shown = texts(figure)
    for label, genes in table.groupby("label"):
        assert genes["gene"].iloc[0].replace("$", r"\$") in shown
        assert any(label[:8].replace("$", r"\$") in text for text in shown)
    saved(figure, tmp_path)
    saved(plot_beeswarm(cells, table), tmp_path)
    network = table[table["rank"].isin([2, 3, 9])].assign(q=0.1)[["label", "gene", "q", "rank"]]
    keys = key_genes(table, network, {table["label"].iloc[0]: [table["gene"].iloc[1]]}, pool_size=5)
    figure = plot_key_genes(keys)
    shown = texts(figure)
    assert any(text.endswith(" *") for text in shown)
    assert sum("(2 of 3)" in text for text in shown) == table["label"].nunique()
    saved(figure, tmp_path)


def test_no_key_gene_at_all(tmp_path):
    table = gene_table(make_cells(3, 12))
    network = pd.DataFrame({"label": ["_a_b"], "gene": ["away"], "q": [0.1], "rank": [1]})
    figure = plot_key_genes(key_genes(table, network))
    assert sum("(0 of 0)" in text for text in texts(figure)) == 2
    saved(figure, tmp_path)
    missing = table.assign(present=False)
    assert texts(plot_key_genes(key_genes(missing, network))).count("none expressed") == 3


def test_key_genes_lead_with_expressed_genes_by_the_rank_of_the_student():
    table = gene_table(make_cells(1, 200)).assign(present=lambda t: t["rank"] % 2 == 0)
    network = table[table["rank"].isin([3, 4])].assign(q=0.1)[["label", "gene", "q", "rank"]]
    (panel,) = plot_key_genes(key_genes(table, network, pool_size=9)).axes
    expected = table.loc[table["rank"].isin([2, 4, 6, 8]), "gene"]
    drawn = [text.get_text().replace(r"\$", "$") for text in panel.get_yticklabels()]
    assert drawn == expected.tolist()
    dark = [bar.get_facecolor() == panel.patches[1].get_facecolor() for bar in panel.patches]
    assert dark == [False, True, False, False]


def test_recovery_and_stability(tmp_path):
    table = gene_table(make_cells(4, 40))
    expected = {label: ["g_0$", "away", "g_7$"] for label in table["label"].unique()}
    figure = plot_recovery(recovery_table(expected, {"attribution": table}, ["g_0$", "g_7$"]))
    assert texts(figure).count("not in the model") == 4
    saved(figure, tmp_path)
    saved(plot_stability(stability({"a": table, "b": table}, 15)), tmp_path)
    saved(plot_stability(stability({"a": table}, 15)), tmp_path)


@pytest.mark.parametrize("items", [["genes"], ["genes", "tokens", "pathways"]])
def test_faithfulness(items, tmp_path):
    rankings = {"genes": "attribution", "tokens": "contribution", "pathways": "contribution"}
    curves = pd.DataFrame(
        [
            {"model": "student" if item == "genes" else "teacher", "items": item, "cell": cell,
             "replaced_by": "mean", "curve": curve, "ranking": ranking, "k": k,
             "probability": 1 / (1 + k)}
            for item in items for curve in ("deletion", "insertion")
            for ranking in (rankings[item], "random") for cell in range(3) for k in (0, 1, 5)
        ]
    )  # fmt: skip
    areas = curves.drop(columns=["k", "probability"]).drop_duplicates().assign(area=0.25)
    saved(plot_faithfulness(summarise_curves(curves), summarise_areas(areas)), tmp_path)
