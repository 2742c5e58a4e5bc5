"""The page of a query: what stands in the file, and what a browser makes of it."""

from __future__ import annotations

import base64
import copy
import io
import json
import re
import shutil
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import plkd
import query_page
from job import job
from plkd.cli import main
from plkd.errors import InputError
from plkd.evaluation.embeddings import place_between
from plkd.io.embedding import write_embedding
from plkd.pages.query import LEVELS, page_content
from plkd.pages.remarks import remarks_on
from plkd.pages.sources import label_file
from plkd.pages.write import write_page
from plkd.prediction.predict import predict_prepared
from plkd.prediction.table import write_predictions
from plkd.preparation.prepared import PreparedCells
from plkd.utils.resources import resource
from plkd.utils.tables import write_tsv
from simulated import make_cells
from trained import logged, trained_model, without_background

STRANGE = 'sly "</script><b>" & co, naïve'


class Page(HTMLParser):
    """Scripts by their column or id, all text, and what would be loaded from elsewhere."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.scripts: dict[str, str] = {}
        self.loaded: list[str] = []
        self.text = ""
        self._script: str | None = None
        self._open = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._open = tag
        if tag == "script":
            self._script = given.get("data-column") or given.get("id") or "code"
        self.loaded += [str(given[name]) for name in ("src", "href") if name in given]

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        elif self._open != "style":
            self.text += data

    def facts(self) -> dict[str, Any]:
        return json.loads(self.scripts["facts"])

    def column(self, name: str) -> np.ndarray:
        return np.frombuffer(self._bytes(name), dtype=f"<{self.facts()['columns'][name]}")

    def cell_ids(self) -> list[str]:
        return self._bytes("cell_ids").decode().split("\n")

    def _bytes(self, name: str) -> bytes:
        return zlib.decompress(base64.b64decode(self.scripts[name]))


@pytest.fixture(scope="module")
def query() -> ad.AnnData:
    """Cells of the reference's types, of one more, two batches, and a cell without counts."""
    cells = make_cells(260, 110, types=5, batches=["ward", STRANGE], seed=7)
    cells.X = sparse.diags_array(np.where(np.arange(260) == 3, 0.0, 1.0)).tocsr() @ cells.X
    cells.obs["cell_type"] = cells.obs["cell_type"].astype(object)
    cells.obs.iloc[5, cells.obs.columns.get_loc("cell_type")] = None
    return cells


@pytest.fixture(scope="module")
def file(query: ad.AnnData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "query page.html"
    plkd.report(
        query, trained_model(), path, batch_key="batch", truth_key="cell_type", progress=False
    )
    return path


@pytest.fixture(scope="module")
def page(file: Path) -> Page:
    return Page(file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def predicted(query: ad.AnnData) -> pd.DataFrame:
    table = plkd.annotate(query, trained_model(), inplace=False, progress=False)
    return table[table["label"].notna()].reset_index(drop=True)


def test_the_page_holds_what_the_model_says(page, predicted):
    facts = page.facts()
    names = np.array([one["name"] for one in facts["labels"]], dtype=object)
    assert page.cell_ids() == predicted["cell_id"].tolist()
    assert names[page.column("label")].tolist() == predicted["label"].tolist()
    for column, name in (("confidence", "confidence"), ("score", "unknown_score")):
        np.testing.assert_allclose(page.column(column) / 65535, predicted[name], atol=1e-5)
    assert page.column("unknown").tolist() == predicted["unknown"].astype(int).tolist()
    reasons = np.array(facts["reasons"], dtype=object)
    assert reasons[page.column("reason")].tolist() == predicted["reason"].tolist()
    probabilities = predicted[[f"probability:{name}" for name in names]].to_numpy()
    second = np.sort(probabilities, axis=1)[:, -2]
    np.testing.assert_allclose(page.column("probability0") / 65535, second, atol=1e-5)
    assert list(facts["left_out"].values()) == [1]


def test_batches_and_true_labels_are_those_of_the_query(page, query, predicted):
    facts, obs = page.facts(), query.obs.loc[predicted["cell_id"]]
    batches = np.array(facts["batch_names"], dtype=object)[page.column("batch")]
    assert batches.tolist() == obs["batch"].tolist()
    truth = np.array(facts["truth_names"], dtype=object)[page.column("truth")]
    assert truth.tolist() == obs["cell_type"].fillna("").tolist()
    by_batch = {one["name"]: one for one in facts["batches"]}
    for name, rows in predicted.groupby(obs["batch"].to_numpy(), observed=True):
        assert by_batch[name]["cells"] == len(rows)
        assert by_batch[name]["unknown"] == rows["unknown"].sum()
        assert sum(by_batch[name]["composition"]) == len(rows)
    shared = obs["cell_type"].isin(trained_model().labels).to_numpy()
    right = predicted["label"].to_numpy()[shared] == obs["cell_type"].to_numpy()[shared]
    assert facts["truth"]["accuracy"] == pytest.approx(right.mean())
    assert facts["truth"]["unseen"] == (obs["cell_type"].notna() & ~shared).sum() > 10


def test_genes_are_those_that_speak_for_a_label_and_keep_their_order(page, query, predicted):
    facts = page.facts()
    counts = query[predicted["cell_id"]].to_df()
    logged = np.log1p(counts.div(counts.sum(axis=1), axis=0) * 1e4)
    assert len(facts["genes"]) > 10
    new = facts["new_genes"]
    assert [gene["name"] for gene in facts["genes"][: len(new)]] == new
    for gene in facts["genes"][:10]:
        steps = page.column(f"gene:{gene['name']}")
        assert (steps > 0).tolist() == (counts[gene["name"]] > 0).tolist()
        assert gene["highest"] == pytest.approx(logged[gene["name"]].max(), rel=1e-3)
        expected = (logged[gene["name"]] / max(gene["highest"], 1e-6)).to_numpy()
        np.testing.assert_allclose(steps / LEVELS, expected, atol=1.05 / LEVELS)
    markers = query.var["marker_of"]
    for one in facts["labels"]:
        if one["cells"] > 20:
            assert markers[[gene["name"] for gene in one["genes"][:3]]].eq(one["name"]).any()
            assert one["n_explained"] <= one["cells"] - one["unknown"]


def test_nothing_is_loaded_from_elsewhere_and_names_are_only_text(page, file):
    assert page.loaded == []
    assert not re.search(r"@import|url\(http", file.read_text())
    assert STRANGE in page.text  # in the table of the batches, and no element of the page
    assert "<b>" not in re.sub(r"<b>[\d.]+%</b>", "", file.read_text().split("<script")[0])


def test_remarks_and_labels_can_be_read_without_a_script(page):
    for remark in remarks_on(page.facts()):
        assert remark.text in page.text
    assert all(one["name"] in page.text for one in page.facts()["labels"])


def test_a_map_that_the_query_brings_is_kept_and_cells_beside_it_are_put_between(query):
    annotated = plkd.annotate(query, trained_model(), copy=True, progress=False)
    places = np.random.default_rng(0).normal(size=(query.n_obs, 2)).astype(np.float32)
    places[::3] = np.nan
    annotated.obsm["X_plkd_umap"] = places
    with label_file(annotated, trained_model(), progress=False) as labelled:
        known = np.isfinite(places[labelled.rows]).all(axis=1)
        np.testing.assert_array_equal(labelled.places[known], places[labelled.rows][known])
        assert np.isfinite(labelled.places).all()
        content = page_content(labelled, trained_model(), progress=False)
    x, y = content.columns["x"].astype(float), content.columns["y"].astype(float)
    spread = labelled.places.max(axis=0) - labelled.places.min(axis=0)
    assert max(np.ptp(x), np.ptp(y)) == 65534
    assert np.ptp(x) / np.ptp(y) == pytest.approx(spread[0] / spread[1], rel=1e-3)


def test_a_cell_is_put_where_its_nearest_are():
    corners = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], dtype=np.float32)
    embedding = np.repeat(np.eye(4, dtype=np.float32), 5, axis=0)
    places = np.repeat(corners, 5, axis=0)
    found = place_between(np.eye(4, dtype=np.float32), embedding, places)
    np.testing.assert_allclose(found, corners, atol=1e-4)
    between = place_between(np.full((1, 4), 0.25, np.float32), embedding[::5], places[::5])
    np.testing.assert_allclose(between, [[5, 5]], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"gene_overlap": 0.42}, "has 42% of the model's"),
        ({"left_out": {"no counts": 90}}, "90 cells get no label (90: no counts)"),
        ({"overall": {"depth": 0.3}}, "shallow: 30% of the genes"),
        ({"overall": {"unknown": 80, "reasons": {"between labels": 80}}}, "flagged unknown"),
        ({"overall": {"oddness": 0.9}}, "further from the reference than 90%"),
        ({"model": {"unknown_above": 1.0}}, "not calibrated"),
    ],
)
def test_what_should_worry_is_a_warning(page, change, sentence):
    facts = copy.deepcopy(page.facts())
    calm = {
        "gene_overlap": 1.0,
        "left_out": {},
        "overall": {"unknown": 2, "reasons": {}, "oddness": 0.5, "depth": 1.0, "cells": 250},
        "batches": [],
        "forecast": {
            "held_out": "batch",
            "members": [{"member": "student", "accuracy": 0.95, "macro_f1": 0.9}],
            "labels": [],
        },
        "labels": [one | {"doubtful": False} for one in facts["labels"]],
    }  # fmt: skip
    for key, value in calm.items():
        facts[key] = facts[key] | value if isinstance(value, dict) and key != "left_out" else value
    assert not [one for one in remarks_on(facts) if one.level == "warning"]
    for key, value in change.items():
        facts[key] = facts[key] | value if isinstance(value, dict) else value
    assert [one.text for one in remarks_on(facts) if one.level == "warning"][0:1] != []
    assert any(sentence in one.text and one.level == "warning" for one in remarks_on(facts))


def test_labels_that_do_not_carry_over_and_those_in_doubt_are_named(page):
    facts = copy.deepcopy(page.facts())
    first, second = facts["labels"][:2]
    first |= {"doubtful": True, "expected_precision": 0.55, "next_label": second["name"]}
    facts["forecast"] = {
        "held_out": "batch",
        "members": [{"member": "student", "accuracy": 0.2, "macro_f1": 0.1}],
        "labels": [
            {"label": second["name"], "cells": 70, "recall": 0.1, "taken_for": first["name"]}
        ],
    }
    texts = [one.text for one in remarks_on(facts) if one.level == "warning"]
    assert any("only 20% of cells of held-out batches" in text for text in texts)
    assert any(
        f"'{second['name']}' does not carry over" in text and f"'{first['name']}'" in text
        for text in texts
    )
    assert any(text.startswith(f"Check '{first['name']}'") and "55%" in text for text in texts)


def test_a_batch_that_is_unlike_the_others_is_named(page):
    facts = copy.deepcopy(page.facts())
    one = facts["batches"][0] | {"depth": 1.0, "oddness": 0.5, "unknown": 1, "cells": 100}
    facts["batches"] = [
        one | {"name": "good"},
        one | {"name": "bad", "depth": 0.2, "oddness": 0.95, "unknown": 60},
    ]
    named = [remark.text for remark in remarks_on(facts) if "'bad'" in remark.text]
    assert len(named) == 3
    assert not any("'good'" in text for text in named)


def test_the_command_writes_it_and_names_a_missing_column(query, tmp_path, capsys):
    query.write_h5ad(tmp_path / "query.h5ad")
    trained_model().save(tmp_path / "model")
    given = [str(tmp_path / "query.h5ad"), "--model", str(tmp_path / "model"), "--no-progress"]
    assert main(["report", *given, "-o", str(tmp_path / "out" / "page.html")]) == 0
    page = Page((tmp_path / "out" / "page.html").read_text())
    assert page.facts()["name"] == "query.h5ad"
    assert {"batch", "truth"}.isdisjoint(page.facts()["columns"])
    assert main(["report", *given, "-o", str(tmp_path / "x.html"), "--batch", "wards"]) == 1
    assert "no column 'wards'" in capsys.readouterr().err
    assert main(["report", *given, "-o", str(tmp_path / "x.txt")]) == 1


@pytest.mark.parametrize("with_truth", [True, False])
def test_a_run_of_the_pipeline_becomes_the_same_page(tmp_path, with_truth):
    model = trained_model()
    model.save(tmp_path / "model")
    cells = make_cells(90, 110, types=5, batches=2, seed=4)
    truth = cells.obs["cell_type"].astype(str).to_numpy(dtype=object)
    cells.X = logged(cells)
    cells.obs = pd.DataFrame(
        {"batch": cells.obs["batch"].to_numpy(), "source_row": np.arange(90)}, cells.obs_names
    )
    cells.var["in_query"] = np.arange(110) != 100
    cells.write_h5ad(tmp_path / "query.h5ad")
    prepared = PreparedCells.read(tmp_path / "query.h5ad")
    table, embedding = predict_prepared(model.require("student"), prepared, progress=False)
    write_predictions(table[::-1].reset_index(drop=True), tmp_path / "student.parquet")
    write_embedding({"query": (table["cell_id"], embedding)}, tmp_path / "student.h5ad")
    mapped = pd.DataFrame({"cell_id": table["cell_id"], "role": "query", "umap1": np.arange(90.0)})
    mapped["umap2"] = 0.5
    write_tsv(mapped[:60], tmp_path / "umap.tsv")
    known = truth if with_truth else np.full(90, None, dtype=object)
    pd.DataFrame({"cell_id": cells.obs_names, "label": known}).to_parquet(
        tmp_path / "truth.parquet"
    )
    query_page.main(
        job(
            input={
                "model": tmp_path / "model" / "model.json",
                "prepared": tmp_path / "query.h5ad",
                "predictions": tmp_path / "student.parquet",
                "embedding": tmp_path / "student.h5ad",
                "umap": tmp_path / "umap.tsv",
                "truth": tmp_path / "truth.parquet",
                "parts": [
                    resource(f"resources/page/page.{kind}") for kind in ("html", "css", "js")
                ],
            },
            wildcards={"dataset": "blood", "variant": "default", "seed": "3"},
            output={"page": tmp_path / "labels.html"},
        )
    )
    page = Page((tmp_path / "labels.html").read_text(encoding="utf-8"))
    facts = page.facts()
    assert facts["name"] == "blood (default, seed 3)"
    assert facts["gene_overlap"] == pytest.approx(109 / 110)
    assert page.cell_ids() == table["cell_id"].tolist()
    names = np.array([one["name"] for one in facts["labels"]], dtype=object)
    assert names[page.column("label")].tolist() == table["label"].tolist()
    assert ("truth" in facts["columns"]) == with_truth
    if with_truth:
        assert np.array(facts["truth_names"])[page.column("truth")].tolist() == truth.tolist()
    x = page.column("x").astype(float)
    assert (np.diff(x[:60]) > 0).all()  # those of the map, in its order
    assert (x[60:] <= x[:60].max()).all()  # the others between them


def test_few_cells_of_a_model_without_background(tmp_path):
    model = without_background(trained_model())
    few = make_cells(4, 110, types=4, seed=3)[:2]
    with label_file(few, model, progress=False) as labelled:
        content = page_content(labelled, model, progress=False)
    assert content.facts["overall"]["depth"] is None
    assert content.facts["genes"] == []
    write_page(content, tmp_path / "page.html")
    assert Page((tmp_path / "page.html").read_text()).facts()["n_cells"] == 2


def test_a_modelless_query_is_refused(tmp_path):
    cells = ad.AnnData(sparse.csr_matrix(np.ones((5, 3))))
    cells.var_names = ["x", "y", "z"]
    with pytest.raises(InputError, match="0 of the model's"):
        plkd.report(cells, trained_model(), tmp_path / "page.html")


# ------------------------------------------------------------------------------------- in a browser

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if BROWSER is None:
        pytest.skip("there is no Chromium")
    software = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with driver.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=BROWSER, args=software)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Any, file: Path) -> Iterator[Any]:
    """The page in a browser; at the end nothing was asked of a server and nothing failed."""
    context = browser.new_context(viewport={"width": 1300, "height": 900}, accept_downloads=True)
    tab = context.new_page()
    asked: list[str] = []
    failed: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("pageerror", lambda error: failed.append(str(error)))
    tab.goto(file.as_uri())
    tab.wait_for_function("document.body.dataset.ready || document.body.dataset.failed")
    yield tab
    assert not failed
    assert [url for url in asked if not url.startswith(("file:", "blob:", "data:"))] == []
    context.close()


def place_of(tab: Any, cell: int) -> tuple[float, float]:
    """Where a cell is on the screen."""
    tab.locator("#map").scroll_into_view_if_needed()
    x, y = tab.evaluate(
        """([x, y]) => {
            const frame = Bokeh.index.roots[0].frame;
            return [frame.x_scale.compute(x), frame.y_scale.compute(y)];
        }""",
        [int(one) for one in cell],
    )
    box = tab.locator("#map .bk-Canvas, #map").first.bounding_box()
    return box["x"] + x, box["y"] + y


def test_a_click_on_a_cell_tells_of_it(opened, page, predicted):
    x, y = page.column("x"), page.column("y")
    far = [np.sort(np.hypot(x - float(a), y - float(b)))[1] for a, b in zip(x, y, strict=True)]
    cell = int(np.argmax(np.where(predicted["unknown"], 0, far)))
    opened.mouse.click(*place_of(opened, (x[cell], y[cell])))
    opened.wait_for_selector("#cell dl")
    told = opened.inner_text("#cell")
    assert predicted["cell_id"][cell] in told
    assert predicted["label"][cell] in told
    assert f"{predicted['confidence'][cell]:.3f}" in told
    gene = opened.locator("#cell .chips button").first
    name = gene.inner_text()
    gene.click()
    opened.wait_for_function(f"document.body.dataset.painted === {json.dumps(name)}")
    assert name in opened.inner_text("#scale")


def test_the_slider_says_what_a_cut_costs_and_gains(opened, query, predicted):
    opened.fill("#cut-slider", "90")
    said = opened.inner_text("#cut-says")
    truth = query.obs["cell_type"].reindex(predicted["cell_id"]).to_numpy(dtype=object)
    kept = (np.round(predicted["confidence"] * 65535) / 65535 >= 0.9) & ~predicted["unknown"]
    shared = np.isin(truth.astype(str), trained_model().labels)
    right = (predicted["label"].to_numpy() == truth)[kept & shared].mean()
    assert said.startswith(f"{kept.sum():,} of {len(predicted):,} cells keep their label")
    assert f"{100 * right:.0f}% are right" in said
    opened.uncheck("#cut-unknown")
    kept = np.round(predicted["confidence"] * 65535) / 65535 >= 0.9
    assert opened.inner_text("#cut-says").startswith(f"{kept.sum():,} of ")


def test_views_and_labels_change_the_map(opened, page):
    for view in ("confidence", "score", "batch", "truth", "right", "label"):
        opened.click(f"[data-view={view}]")
        opened.wait_for_function(f"document.body.dataset.painted === '{view}'")
    before = opened.locator("#map").screenshot()
    row = opened.locator("#labels [data-label]").first
    row.locator("button").click()
    opened.wait_for_timeout(300)
    assert "chosen" in row.get_attribute("class")
    assert opened.locator("#map").screenshot() != before
    assert opened.locator("#legend button[aria-pressed=true]").count() == 1


def test_the_download_is_the_table_of_labels(opened, predicted):
    opened.fill("#cut-slider", "0")
    with opened.expect_download() as waiting:
        opened.click("#download")
    text = Path(waiting.value.path()).read_text(encoding="utf-8")
    table = pd.read_csv(io.StringIO(text), keep_default_na=False)
    assert table["cell_id"].tolist() == predicted["cell_id"].tolist()
    assert table["label"].tolist() == predicted["label"].tolist()
    np.testing.assert_allclose(table["confidence"], predicted["confidence"], atol=1e-4)
    assert table["unknown"].tolist() == predicted["unknown"].tolist()
    assert (table["label_or_unassigned"] == "unassigned").tolist() == table["unknown"].tolist()
    assert set(table["batch"]) == {"ward", STRANGE}


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1300, "dark")])
def test_it_fits_narrow_and_dark_screens(browser, file, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    tab = context.new_page()
    tab.goto(file.as_uri())
    tab.wait_for_function("document.body.dataset.ready || document.body.dataset.failed")
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = sum(map(int, re.findall(r"\d+", ground))) < 200
    assert dark == (scheme == "dark")
    context.close()
