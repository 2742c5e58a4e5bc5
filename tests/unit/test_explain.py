"""plkd explain: the right cells, numbers that agree with the models, and helpful refusals."""

from __future__ import annotations

import dataclasses
import re

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from plkd.cli import main
from plkd.errors import InputError
from plkd.figures.explain import plot_explanation
from plkd.figures.style import save_figure, style
from plkd.interpret.explain import explain_file, explanation_table, explanation_text
from plkd.model.adaptation import Adaptation
from plkd.model.trained_model import load_model
from plkd.model.trained_network import TrainedNetwork
from plkd.prediction import model_input
from simulated import MARKERS, make_cells
from trained import TYPES, logged, trained_model, without_background


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models and a query, with its genes in another order and a few of them missing."""
    folder = tmp_path_factory.mktemp("explain")
    trained_model().save(folder / "model")
    cells = make_cells(80, 110, types=TYPES, batches=["new"], seed=4)
    order = np.random.default_rng(0).permutation(110)[:104]
    cells[:, order].copy().write_h5ad(folder / "query.h5ad")
    return folder


@pytest.fixture(scope="module")
def query(folder):
    return ad.read_h5ad(folder / "query.h5ad")


def explain(folder, **choice):
    return explain_file(
        load_model(folder / "model"),
        folder / "query.h5ad",
        **choice,
    )


def test_one_cell(folder, query):
    name = query.obs_names[3]
    found = explain(folder, cell=name)
    assert found.label == query.obs["cell_type"].iloc[3]
    assert (found.n_cells, found.n_explained, found.share) == (1, 1, 1)
    assert 0 < found.runner_up_probability < found.probability <= 1
    assert next(iter(found.prediction_set)) == found.label
    # in the whole of the genes the difference of the two logits, less that of the background
    model = load_model(folder / "model")
    row = query[[name]].to_df().reindex(columns=model.genes, fill_value=0)
    measured = np.isin(model.genes, query.var_names)
    total = float(query[[name]].X.sum())
    x = np.log1p(row.to_numpy() / total * 1e4).astype(np.float32)
    x = model.student.filled(sparse.csr_matrix(x), measured).toarray()
    both = [sparse.csr_matrix(x), model.background.cells]
    logits = [np.concatenate([batch for batch, _ in model.student.logits(part)]) for part in both]
    code, other = (model.labels.index(name) for name in (found.label, found.runner_up))
    mean = model.background.weights @ logits[1]
    expected = (logits[0][0, code] - logits[0][0, other]) - (mean[code] - mean[other])
    assert found.genes["against_runner_up"].sum() == pytest.approx(expected, abs=1e-3)
    genes = found.genes.set_index("gene")
    np.testing.assert_allclose(genes["expression"].reindex(model.genes), x[0], atol=1e-5)
    assert genes.loc[MARKERS[found.label][0], "typical"] > 0
    assert found.genes["against_runner_up"].abs().is_monotonic_decreasing
    assert set(found.pathways["pathway"]) == set(model.teacher.tokens)
    assert (~found.pathways["is_pathway"]).sum() == 1
    assert found.attributions.cell_ids.tolist() == [name]
    shown = found.attributions.to_shap(found.label)
    np.testing.assert_allclose(
        shown.values[0], genes["contribution"].reindex(model.genes), atol=1e-6
    )


def test_groups(folder, query):
    label = "NK cell"
    by_obs = explain(folder, obs=("cell_type", label))
    assert by_obs.label == label
    assert by_obs.n_cells == (query.obs["cell_type"] == label).sum()
    by_label = explain(folder, label=label)
    assert by_label.share == 1
    assert by_label.n_explained == by_label.n_cells
    top = by_obs.genes.query("expression > typical_of_runner_up").head(8)["gene"]
    assert len(set(top) & set(MARKERS[label])) >= 4


def test_every_cell_is_predicted_once(folder, query, monkeypatch):
    model = load_model(folder / "model")
    predicted = []
    predict = TrainedNetwork.predict

    def counted(self, cells, *batches, **options):
        if self.kind == "student":
            predicted.append(cells.shape[0])
        return predict(self, cells, *batches, **options)

    monkeypatch.setattr(TrainedNetwork, "predict", counted)
    monkeypatch.setattr(model_input, "adapt", lambda *given: Adaptation())
    found = explain_file(model, folder / "query.h5ad", label="NK cell")
    assert sum(predicted) == query.n_obs
    assert 0 < found.n_cells < query.n_obs


def test_a_mixed_group_explains_its_commonest_label(folder, query):
    found = explain(folder, obs=("batch", "new"))
    assert found.n_cells == 80
    assert found.share < 1
    assert found.n_explained == round(found.share * 80)
    assert f"{found.share:.0%} of the cells have this label" in explanation_text(found)


def test_a_large_group_is_drawn(tmp_path):
    model = trained_model()
    cells = make_cells(5000, 110, types=["B cell"], seed=2)  # read in more than one piece
    cells.write_h5ad(tmp_path / "query.h5ad")
    found = explain_file(model, tmp_path / "query.h5ad", obs=("cell_type", "B cell"))
    assert (found.n_cells, found.n_explained) == (5000, 200)
    again = explain_file(model, tmp_path / "query.h5ad", obs=("cell_type", "B cell"))
    pd.testing.assert_frame_equal(found.genes, again.genes)
    other = explain_file(model, tmp_path / "query.h5ad", obs=("cell_type", "B cell"), seed=1)
    here, there = (part.genes.set_index("gene")["expression"] for part in (found, other))
    assert not np.allclose(here, there.reindex(here.index))
    # drawn from the whole file: as much expressed as all of it is, within the error of 200 cells
    everywhere = logged(cells).toarray()
    position = [model.genes.index(gene) for gene in here.index]
    error = everywhere.std(axis=0)[position] / 200**0.5
    assert (abs(here - everywhere.mean(axis=0)[position]) < 4.5 * error + 1e-6).all()


def test_words_table_and_picture(folder, query, tmp_path):
    found = explain(folder, cell=query.obs_names[0])
    text = explanation_text(found, top=3)
    assert f"{query.obs_names[0]}: {found.label}" in text
    for gene in found.genes["gene"].head(3):
        assert gene in text
    assert found.genes["gene"].iloc[3] not in text.split()
    table = explanation_table(found)
    assert (table["label"] == found.label).all()
    assert table["kind"].value_counts().to_dict() == {"gene": 110, "pathway": 8, "other token": 1}
    with style():
        save_figure(plot_explanation(found), tmp_path / "a.png", tmp_path / "a.pdf")
        alone = dataclasses.replace(found, pathways=None)
        save_figure(plot_explanation(alone), tmp_path / "b.png", tmp_path / "b.pdf")
    assert (tmp_path / "b.png").stat().st_size > 1000


def test_command(folder, query, tmp_path, capsys):
    name = query.obs_names[5]
    given = [str(folder / "query.h5ad"), "--model", str(folder / "model")]
    out, table = tmp_path / "out.png", tmp_path / "out.tsv"
    arguments = ["explain", *given, "--cell", name]
    assert main([*arguments, "-o", str(out), "--table", str(table), "--top", "4"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{name}: ")
    assert "Pathways" in printed
    assert out.exists()
    assert out.with_suffix(".pdf").exists()
    assert len(pd.read_csv(table, sep="\t")) == 119
    assert main(["explain", *given, "--label", "B cell"]) == 0
    assert "B cell" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (["--cell", "s4-cell00x11"], "has no cell 's4-cell00x11'. Is it .*'s4-cell00011'"),
        (["--cell", "?"], "Its cells are named like 's4-cell00000'"),
        (
            ["--label", "Plasma"],
            "no cell of .* is labelled 'Plasma'; the model's labels are B cell",
        ),
        (["--obs", "type=B"], "obs has no column 'type'; its columns are: cell_type, batch"),
        (["--obs", "batch=old"], "no cell has batch = 'old'; there are 'new'"),
        (["--obs", "batch"], "expected COLUMN=VALUE"),
        (["--cell", "x", "-o", "x.pdf"], "must end in .png"),
        (["--cell", "x", "--top", "0"], "give at least 1"),
    ],
)
def test_what_cannot_be_explained(folder, choice, message, capsys):
    given = ["explain", str(folder / "query.h5ad"), "--model", str(folder / "model")]
    assert main([*given, *choice]) == 1
    assert re.search(message, capsys.readouterr().err)


def test_cells_without_counts_are_not_explained(query):
    cells = query.copy()
    X = cells.X.toarray()
    X[[0, 5]] = 0
    cells.X = X
    with pytest.raises(InputError, match=f"{cells.obs_names[5]}: there are no counts of any gene"):
        explain_file(trained_model(), cells, cell=cells.obs_names[5])
    found = explain_file(trained_model(), cells, obs=("batch", "new"))
    assert found.about == "batch=new (without 2 cells that have no counts)"
    assert found.n_explained + 2 <= found.n_cells == 80


def test_models_that_do_not_fit(folder, query):
    model = load_model(folder / "model")
    with pytest.raises(InputError, match="no background"):
        explain_file(
            without_background(model),
            folder / "query.h5ad",
            cell=query.obs_names[0],
        )
    with pytest.raises(InputError, match="no Student"):
        explain_file(
            dataclasses.replace(model, student=None), folder / "query.h5ad", cell=query.obs_names[0]
        )
    with pytest.raises(InputError, match="say which cells"):
        explain_file(model, folder / "query.h5ad")


def test_without_a_teacher_there_are_no_pathways(folder, query):
    model = dataclasses.replace(load_model(folder / "model"), teacher=None)
    found = explain_file(model, folder / "query.h5ad", cell=query.obs_names[0])
    assert found.pathways is None
    assert "Pathways" not in explanation_text(found)
