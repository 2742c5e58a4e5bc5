"""Maps of what was said of the query, and markers of its labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import predicted_figures
from job import job
from plkd.figures.predicted import marker_genes, plot_markers, plot_predicted
from plkd.figures.style import save_figure, style
from plkd.prediction.table import prediction_table, write_predictions
from simulated import make_cells
from trained import logged, trained_model


def texts(figure) -> str:
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    for axes in figure.axes:
        found += [axes.get_title(loc="left"), *(tick.get_text() for tick in axes.get_yticklabels())]
        found += [tick.get_text() for tick in axes.get_xticklabels()]
        if axes.get_legend():
            found += [text.get_text().strip() for text in axes.get_legend().get_texts()]
    return "\n".join(found)


@pytest.mark.parametrize("with_truth", [True, False])
@pytest.mark.parametrize("n_labels", [1, 45])
def test_maps_of_the_query(n_labels: int, with_truth: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = [f"type {i}" for i in range(n_labels)]
    cells = pd.DataFrame(
        {
            "umap1": rng.normal(size=200),
            "umap2": rng.normal(size=200),
            "label": rng.choice(labels, 200),
            "confidence": rng.random(200),
            "unknown": rng.random(200) < 0.1,
            "unknown_score": rng.random(200),
            "truth": rng.choice([*labels, "new"], 200) if with_truth else None,
        }
    )
    with style():
        figure = plot_predicted(cells, labels, title="cells $x$")
        save_figure(figure, tmp_path / "a.png", tmp_path / "a.pdf")
    assert ("true label" in texts(figure)) == with_truth
    assert ("new *" in texts(figure)) == with_truth
    assert all(name in texts(figure) for name in set(cells["label"][~cells["unknown"]]))


def test_dots_are_the_share_of_cells_that_express_a_gene(tmp_path: Path) -> None:
    expression = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    said = pd.Series(["A", "A", "B", "unknown"], dtype=object)
    true = pd.Series(["A", "A", "B", None], dtype=object)
    groups = {"predicted": said, "true": true}
    with style():
        figure = plot_markers(expression, ["g1", "g2"], groups, ["A", "B"])
        save_figure(figure, tmp_path / "a.png", tmp_path / "a.pdf")
    shown = texts(figure).split("\n")
    assert {"A (2)", "B (1)", "unknown (1)", "g1", "g2"} <= set(shown)
    sizes = [dots.get_sizes() for dots in figure.axes[0].collections]
    assert sizes[0][0] == sizes[1][1] > 0  # all of A express g1, all of B g2
    assert sizes[0][1] == sizes[1][0] == sizes[2][0] == 0
    colours = [dots.get_array() for dots in figure.axes[0].collections]
    assert colours[0].tolist() == [1, 0]
    assert colours[1].tolist() == [0, 1]


def test_markers_are_those_of_one_label_alone() -> None:
    means = np.array([[5.0, 1.0, 1.0, 2.0], [0.0, 4.0, 1.0, 2.0], [0.0, 1.0, 1.0, 2.0]])
    assert marker_genes(means, ["a", "b", "everywhere", "flat"], 3) == ["a", "b"]


def test_the_script_draws_what_the_pipeline_knows(tmp_path: Path) -> None:
    model = trained_model()
    model.save(tmp_path / "model")
    query = make_cells(60, 110, types=5, batches=1, seed=2)
    truth = query.obs["cell_type"].astype(str)
    query.X = logged(query)
    query.obs = pd.DataFrame({"batch": "b", "source_row": range(60)}, index=query.obs_names)
    query.var["in_query"] = True
    query.write_h5ad(tmp_path / "query.h5ad")
    probabilities = model.require("student").predict(query.X)[0]
    table = prediction_table(query.obs_names, model.labels, probabilities, unknown_threshold=0.6)
    write_predictions(table, tmp_path / "student.parquet")
    umap = pd.DataFrame({"cell_id": query.obs_names, "role": "query", "umap1": 0.5, "umap2": 1.5})
    umap.iloc[:40].to_csv(tmp_path / "umap.tsv", sep="\t", index=False)
    pd.DataFrame({"cell_id": query.obs_names, "label": truth.to_numpy()}).to_parquet(
        tmp_path / "truth.parquet"
    )
    output = {
        "png": tmp_path / "a.png", "pdf": tmp_path / "a.pdf",
        "markers_png": tmp_path / "b.png", "markers_pdf": tmp_path / "b.pdf",
    }  # fmt: skip
    predicted_figures.main(
        job(
            input={
                "model": tmp_path / "model" / "model.json",
                "query": tmp_path / "query.h5ad",
                "predictions": tmp_path / "student.parquet",
                "umap": tmp_path / "umap.tsv",
                "truth": tmp_path / "truth.parquet",
            },
            output=output,
        )
    )
    assert all(path.stat().st_size > 5000 for path in output.values())
