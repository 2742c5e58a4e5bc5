"""Figures: whole files in both formats for any number of labels and any names."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from plkd.evaluation.tables import evaluate
from plkd.figures.benchmark import plot_benchmark
from plkd.figures.confidence import plot_confidence
from plkd.figures.confusion import plot_confusion
from plkd.figures.embedding import plot_embedding, plot_integration
from plkd.figures.history import plot_history
from plkd.figures.labels import label_colours, plain, short
from plkd.figures.networks import plot_networks
from plkd.figures.pathways import pathway_labels, plot_attention, plot_label_pathways
from plkd.figures.per_label import plot_per_label
from plkd.figures.spatial import plot_slides, slide_table
from plkd.figures.style import save_figure, style
from plkd.interpret.networks import build_network, choose_genes, rank_genes
from plkd.prediction.table import prediction_table

ODD_NAMES = [
    "CD4+ T / naïve",
    "_hidden",
    "a$b$c",
    "$x^{$",
    "x_1^2",
    "γδ T",
    "50 %",
    "B\\cell",
    "very long name of a cell type that no figure has the room to show",
]
METHODS = {"student": "PLKD Student", "teacher": "Teacher $t$"}


@pytest.fixture(autouse=True)
def strict():
    """Figures are drawn in the shared style, and a warning is a mistake."""
    with warnings.catch_warnings(), style():
        warnings.simplefilter("error", UserWarning)
        yield


def case(n_labels: int) -> tuple[dict[str, pd.DataFrame], pd.DataFrame, dict[str, int]]:
    """Predictions of two methods; with more than two labels the reference lacks the last."""
    rng = np.random.default_rng(0)
    names = [*ODD_NAMES, *(f"type {i}" for i in range(30))][:n_labels]
    known = names if n_labels <= 2 else names[:-1]
    cells = [f"c{i}" for i in range(200)]
    truth = pd.DataFrame({"cell_id": cells, "label": rng.choice(names, size=200)})
    predictions = {
        method: prediction_table(cells, known, rng.dirichlet(np.ones(len(known)), size=200))
        for method in METHODS
    }
    return predictions, truth, {name: 700 * (i + 1) for i, name in enumerate(known)}


def coordinates(names: list[str], batches: list[str]) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 120
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "space": space,
                    "umap1": rng.normal(size=n),
                    "umap2": rng.normal(size=n),
                    "label": [*rng.choice(names, size=n - 1), None],
                    "role": ["reference"] * 60 + ["query"] * 60,
                    "batch": rng.choice(batches, size=n),
                }
            )
            for space in ("pca", "teacher")
        ]
    )


def saved(figure: Figure, tmp_path) -> None:
    png, pdf = tmp_path / "figure.png", tmp_path / "figure.pdf"
    save_figure(figure, png, pdf)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert pdf.read_bytes().startswith(b"%PDF")


def texts(figure: Figure) -> str:
    figure.draw_without_rendering()
    return "\n".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))


@pytest.mark.parametrize("n_labels", [1, 2, 30])
def test_evaluation_figures(n_labels, tmp_path):
    predictions, truth, counts = case(n_labels)
    tables = evaluate(predictions, truth, counts)
    confusion = tables["confusion"].query("method == 'student'")
    figure = plot_confusion(confusion, sorted(counts), title="Student $x$")
    saved(figure, tmp_path)
    shown = texts(figure)
    assert all(short(name) in shown for name in truth["label"].unique())
    saved(plot_per_label(tables["per_label"], METHODS), tmp_path)
    figure = plot_confidence(tables["confidence"], METHODS)
    error = tables["metrics"].set_index("method").loc["student", "calibration_error"]
    assert f"calibration error {error:.3f}" in texts(figure)
    saved(figure, tmp_path)


def test_confusion_shares_are_of_the_row(tmp_path):
    table = pd.DataFrame(
        {
            "true": ["A", "A", "B", "new"],
            "predicted": ["A", "B", "B", "A"],
            "n": [3, 1, 5, 8],
            "n_unknown": [0, 0, 0, 6],
        }
    )
    shown = texts(plot_confusion(table, ["A", "B", "C"]))
    for field in ("75%\n3", "25%\n1", "100%\n5", "25%\n2", "75%\n6", "A (4)", "new (8)"):
        assert field in shown
    assert "unknown" in shown.split("\n")
    assert "C" not in shown.split("\n")


def test_figures_without_cells_to_score(tmp_path):
    table = prediction_table(["c1"], ["A"], [[1.0]])
    truth = pd.DataFrame({"cell_id": ["c1"], "label": ["new"]})
    tables = evaluate({"student": table}, truth, {"A": 3})
    saved(plot_confusion(tables["confusion"], ["A"]), tmp_path)
    saved(plot_per_label(tables["per_label"], METHODS), tmp_path)
    saved(plot_confidence(tables["confidence"], {"student": "Student"}), tmp_path)


@pytest.mark.parametrize("n_labels", [1, 2, 30])
@pytest.mark.parametrize("batches", [["batch0"], ["_a", "$b$", "c"]])
def test_embedding_figure(n_labels, batches, tmp_path):
    names = [*ODD_NAMES, *(f"type {i}" for i in range(30))][:n_labels]
    figure = plot_embedding(coordinates(names, batches), names[:-1], subtitle="120 cells, $0")
    saved(figure, tmp_path)
    shown = texts(figure)
    assert f"{n_labels} {short(names[-1])} *" in shown
    if len(batches) > 1:
        assert all(plain(batch) in shown for batch in batches)


@pytest.mark.parametrize(("n_labels", "n_batches"), [(2, 1), (30, 40)])
def test_integration_figure_has_a_row_per_space_and_names_all_groups(n_labels, n_batches, tmp_path):
    names = [*ODD_NAMES, *(f"type {i}" for i in range(30))][:n_labels]
    batches = [f"batch {i}" for i in range(n_batches)]
    cells = coordinates(names, batches)
    figure = plot_integration(
        cells, names[:-1], spaces={space: f"{space} $" for space in cells["space"].unique()}
    )
    saved(figure, tmp_path)
    shown = texts(figure)
    assert f"{n_labels} {short(names[-1])} *" in shown
    assert all(plain(f"{space} $") in shown for space in cells["space"].unique())
    assert all(batch in shown for batch in cells["batch"].unique())


def slides(n_slices: int, n_labels: int, *, known: bool = True) -> pd.DataFrame:
    """Cells of slices, 30 each; the last label is not in the reference."""
    rng = np.random.default_rng(0)
    names = [*ODD_NAMES, *(f"type {i}" for i in range(30))][:n_labels]
    n = 30 * n_slices
    cells = [f"c{i}" for i in range(n)]
    predictions = prediction_table(cells, names[:-1], rng.dirichlet(np.ones(n_labels - 1), n))
    labels = rng.choice(names, size=n) if known else np.full(n, None)
    truth = pd.DataFrame(
        {"cell_id": cells, "label": labels, "batch": [f"slice{i // 30:02d}" for i in range(n)]}
    )
    return slide_table(predictions, truth.iloc[::-1], rng.uniform(size=(n, 3)), names[:-1])


def test_slide_table_says_which_cells_are_right():
    predictions = prediction_table(["a", "b", "c", "d"], ["A", "B"], [[0.9, 0.1]] * 4)
    truth = pd.DataFrame(
        {"cell_id": list("dcba"), "label": [None, "new", "B", "A"], "batch": ["2", "1", "1", "1"]}
    )
    table = slide_table(predictions, truth, np.arange(8).reshape(4, 2), ["A", "B"])
    assert table["agreement"].tolist() == ["right", "wrong", "not in the reference", None]
    assert table["slice"].tolist() == ["1", "1", "1", "2"]
    assert table[["x", "y"]].to_numpy().tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.parametrize(("n_slices", "n_figures"), [(1, 1), (4, 1), (12, 3), (26, 6)])
def test_slides_say_which_slices_they_show(n_slices, n_figures, tmp_path):
    table = slides(n_slices, 22)
    names = [*ODD_NAMES, *(f"type {i}" for i in range(30))][:21]
    figures = list(plot_slides(table, names, subtitle="$0"))
    assert len(figures) == n_figures
    if n_slices == 1:
        saved(figures[0], tmp_path)
    shown = [text.get_text() for text in figures[-1].findobj(lambda one: hasattr(one, "get_text"))]
    if n_slices > 4:
        last = min(n_slices, 24)
        beyond = " (of which the first 24 are drawn)" if n_slices > 24 else ""
        title = figures[-1].get_suptitle()
        assert title.endswith(f"to {last} of {n_slices}{beyond}")
    assert any(text.strip() == f"22 {short('type 12')} *" for text in shown)


def test_slides_show_the_axes_of_the_slide_and_only_what_is_known(tmp_path):
    table = slides(2, 5)
    (figure,) = plot_slides(table, ODD_NAMES[:4])
    panels = [axes for axes in figure.axes if axes.collections and axes.get_aspect() == 1]
    assert len(panels) == 8
    for axes in panels:
        assert axes.yaxis_inverted()
        assert len(axes.collections[0].get_offsets()) == 30
    unknown = slides(1, 5, known=False)
    (figure,) = plot_slides(unknown, ODD_NAMES[:4])
    saved(figure, tmp_path)
    panels = [axes for axes in figure.axes if axes.collections and axes.get_aspect() == 1]
    assert len(panels) == 2
    list(plot_slides(table.iloc[:1], ODD_NAMES[:4]))


def test_slides_show_labels_with_the_cells_around_where_there_are_some(tmp_path):
    table = slides(2, 5)
    table["slide_label"] = table["true_label"].where(
        table["agreement"] != "not in the reference", "?"
    )
    (figure,) = plot_slides(table, ODD_NAMES[:4])
    saved(figure, tmp_path)
    panels = [axes for axes in figure.axes if axes.collections and axes.get_aspect() == 1]
    assert len(panels) == 10
    assert panels[2].get_title("left") == "with the cells around"
    assert {axes.get_xlabel() for axes in (panels[2], panels[7])} == {"accuracy 1.000"}
    alone = {axes.get_xlabel() for axes in (panels[4], panels[9])}
    assert all(text.startswith("accuracy 0") for text in alone)


def test_history_figure_draws_whatever_columns_there_are(tmp_path):
    full = pd.DataFrame(
        {
            "epoch": [1, 2, 3],
            "loss": [3.0, 2, 1],
            "clustering": [0.3, 0.2, 0.1],
            "accuracy": [0.3, 0.4, 0.5],
            "validation_accuracy": [0.2, 0.3, np.nan],
            "learning_rate": [0.1, 0.05, 0.01],
        }
    )
    small = pd.DataFrame({"epoch": [1], "loss": [1.0], "validation_accuracy": [np.nan]})
    figure = plot_history({"Teacher": full, "Student": small})
    saved(figure, tmp_path)
    shown = texts(figure)
    assert "clustering" in shown
    assert "validation accuracy" in shown


def test_benchmark_figure_draws_baselines_once_and_our_variants_apart(tmp_path):
    methods = pd.DataFrame(
        {"name": ["PLKD Student", "Majority $"], "kind": ["ours", "control"]},
        index=["student", "majority"],
    )
    runs = pd.DataFrame(
        [
            (dataset, variant, seed, method, 0.9 - seed / 10, 0.8)
            for dataset in ("pbmc", "$data$")
            for variant in ("default", "no_mask")
            for seed in (0, 1)
            for method in ("student", "majority", "unlisted")
        ],
        columns=["dataset", "variant", "seed", "method", "accuracy", "macro_f1"],
    )
    figure = plot_benchmark(runs, methods)
    saved(figure, tmp_path)
    for axes in figure.axes[::2]:
        shown = sorted(label.get_text() for label in axes.get_yticklabels())
        ours = ["PLKD Student (default)", "PLKD Student (no_mask)"]
        assert shown == [plain("Majority $"), *ours, "unlisted"]
    saved(plot_benchmark(runs.query("seed == 0"), methods), tmp_path)


def test_thirty_classes_have_thirty_different_colours():
    colours = label_colours([str(i) for i in range(30)])
    rgb = np.array([to_rgb(colour) for colour in colours.values()])
    distance = np.linalg.norm(rgb[:, None] - rgb[None], axis=2)
    assert distance[~np.eye(30, dtype=bool)].min() > 0.1
    assert len(label_colours([str(i) for i in range(45)])) == 45


def test_long_names_keep_their_ends():
    name = "CD8-positive, alpha-beta cytotoxic T cell of the blood, type 1"
    assert len(short(name)) == 32
    assert short(name)[:10] == name[:10]
    assert short(name)[-6:] == "type 1"
    assert short("short") == "short"


def label_pathways(n_labels: int, n_tokens: int) -> tuple[pd.DataFrame, dict[str, str]]:
    """Pathways of labels with odd names; the last label has none of its own."""
    rng = np.random.default_rng(0)
    labels = [*ODD_NAMES, *(f"type {i}" for i in range(30))][:n_labels]
    names = {f"PATH_{'LONG_' * i}NAME": f"PATH_{'LONG_' * i}NAME" for i in range(n_tokens - 1)}
    names["fully_connected_1"] = "PATH_WITH_$_AND_\\frac"
    parts = []
    for label in labels:
        order = rng.permutation(list(names))
        rank = np.arange(1, len(order) + 1)
        parts.append(
            pd.DataFrame(
                {
                    "label": label,
                    "pathway": order,
                    "rank": rank,
                    "top": (rank <= 10) & (label != labels[-1] or n_labels == 1),
                    "mean": rng.normal(size=len(order)),
                    "auroc": rng.random(len(order)),
                    "attention": rng.dirichlet(np.full(len(order), 0.1)),
                }
            )
        )
    return pd.concat(parts, ignore_index=True), names


@pytest.mark.parametrize(("n_labels", "n_tokens"), [(1, 1), (2, 3), (9, 40), (25, 60)])
def test_pathways_of_labels(n_labels, n_tokens, tmp_path):
    table, names = label_pathways(n_labels, n_tokens)
    title = f"Pathways of the labels\n{'what there is to say of them; ' * 8}"
    figure = plot_label_pathways(table, names, title=title)
    saved(figure, tmp_path)
    assert figure.get_tightbbox().width < 1.1 * figure.get_figwidth()
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == list(
        map(short, dict.fromkeys(table["label"]))
    )
    own = table[table["top"] & (table["rank"] <= 5)]
    assert len(axes.get_yticklabels()) == own["pathway"].nunique()
    figure = plot_attention(table, names, top=30, title=title)
    saved(figure, tmp_path)
    assert figure.get_tightbbox().width < 1.1 * figure.get_figwidth()


def test_networks_of_labels(tmp_path):
    rng = np.random.default_rng(0)
    table, names = label_pathways(5, 12)
    genes_of = {name: [f"G${i}" for i in rng.permutation(60)[:20]] for name in names}
    networks, parts, own = {}, [], {}
    for i, (label, part) in enumerate(table.groupby("label", sort=False)):
        own[label] = list(part.loc[part["top"], "pathway"])
        genes = choose_genes(own[label], genes_of)
        vectors = rng.normal(size=(len(genes), 3))
        networks[label] = build_network(list(genes), vectors, similarity=0.5 if i else 1.0)
        parts.append(rank_genes(networks[label], genes).assign(label=label))
    figure = plot_networks(networks, pd.concat(parts), own, names, title="Networks")
    saved(figure, tmp_path)
    texts = {text.get_text() for axes in figure.axes for text in axes.texts}
    for graph in networks.values():
        assert {plain(gene) for gene in graph} <= texts


def test_names_of_pathways_are_words_and_never_alike():
    names = {
        "REACTOME_TCR_SIGNALING": "REACTOME_TCR_SIGNALING",
        "REACTOME_CELL_CYCLE": "REACTOME_CELL_CYCLE",
        "fully_connected_1": "REACTOME_CELL_CYCLE",
        "dense_2": "dense_2",
    }
    assert list(pathway_labels(names).values()) == [
        "TCR signaling", "Cell cycle", "Fully connected 1: Cell cycle", "Dense 2",
    ]  # fmt: skip
    long = {f"A_{'X' * 70}_{i}": f"A_{'X' * 70}_{i}" for i in range(4)}
    assert len(set(pathway_labels(long).values())) == 4
    assert pathway_labels({"A_B": "A_B", "C_D": "C_D"}) == {"A_B": "A B", "C_D": "C D"}
    numbered = {name: name for name in ("PROGRAMME_03", "PROGRAMME_24")}
    assert list(pathway_labels(numbered).values()) == ["Programme 03", "Programme 24"]
