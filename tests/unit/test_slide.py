"""Labels by what is said around a cell on its slide."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import plkd
from plkd.cli import main
from plkd.errors import InputError
from plkd.model.slide import NEIGHBOURS, Surroundings, find_surroundings, smoothed

RNG = np.random.default_rng(0)


def brute_force(
    probabilities: np.ndarray, places: np.ndarray, slides: np.ndarray, neighbours: int
) -> np.ndarray:
    """Cell by cell, all distances."""
    found = []
    for cell, place in enumerate(places):
        slide = np.flatnonzero(slides == slides[cell])
        distance = np.linalg.norm(places[slide] - place, axis=1)
        distance[slide == cell] = -1
        nearest = slide[np.argsort(distance, kind="stable")[: neighbours + 1]]
        found.append(probabilities[nearest].mean(axis=0))
    return np.array(found)


@pytest.mark.parametrize("neighbours", [1, 5, 200])
def test_the_mean_is_over_a_cell_and_those_around_it_on_its_slide(neighbours):
    probabilities = RNG.dirichlet(np.ones(3), 90)
    places, slides = RNG.uniform(size=(90, 2)), np.array(["a", "b", "b"] * 30)
    expected = brute_force(probabilities, places, slides, neighbours)
    assert smoothed(probabilities, places, slides, neighbours) == pytest.approx(expected, abs=1e-6)


def test_cells_in_one_place_are_their_own_neighbours():
    probabilities = np.eye(6)
    found = smoothed(probabilities, np.zeros((6, 2)), None, 1)
    assert (found.diagonal() == 0.5).all()
    assert found.sum(axis=1) == pytest.approx(1)


def on_a_grid(kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, labels and places of 900 cells; labels are stripes, or scattered."""
    places = np.array([(x, y) for x in range(30) for y in range(30)], dtype=float)
    codes = (places[:, 0] // 10).astype(int)
    if kind == "scattered":
        codes = np.random.default_rng(1).permutation(codes)
    logits = 1.5 * np.eye(3)[codes] + np.random.default_rng(2).normal(size=(900, 3))
    return logits, codes, places


def test_regions_are_told_from_kinds_of_cells():
    for kind, expected in (("stripes", NEIGHBOURS), ("scattered", [0])):
        logits, codes, places = on_a_grid(kind)
        found = find_surroundings(logits, codes, np.ones(900, dtype=bool), places, None)
        assert found.neighbours in expected


def test_without_a_label_that_was_known_nothing_is_found():
    logits, codes, places = on_a_grid("stripes")
    nothing = np.zeros(900, dtype=bool)
    assert find_surroundings(logits, codes, nothing, places, None) == Surroundings()


def test_the_confidence_of_many_is_that_of_their_labels():
    logits, codes, places = on_a_grid("stripes")
    found = find_surroundings(logits, codes, np.ones(900, dtype=bool), places, None)
    alone = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    said = found.probabilities(alone, places, None)
    assert said.sum(axis=1) == pytest.approx(1, abs=1e-5)
    accuracy, confidence = (said.argmax(axis=1) == codes).mean(), said.max(axis=1).mean()
    assert abs(accuracy - confidence) < 0.03
    as_they_are = smoothed(alone, places, None, found.neighbours).max(axis=1).mean()
    assert as_they_are < accuracy - 0.1


QUICK = {"min_steps": 150, "epochs": 1, "learning_rate": 0.005}


@pytest.fixture(scope="module")
def slides() -> ad.AnnData:
    """Three slides in stripes, whose cells alone say little of their region."""
    rng = np.random.default_rng(3)
    parts = []
    for slide in ("one", "two", "three"):
        places = rng.uniform(0, 30, size=(400, 2))
        region = np.array(["left", "middle", "right"])[(places[:, 0] // 10).astype(int)]
        rates = np.ones((400, 40))
        for place, name in enumerate(("left", "middle", "right")):
            rates[region == name, 5 * place : 5 * place + 5] = 1.6
        parts.append(
            ad.AnnData(
                sparse.csr_matrix(rng.poisson(rates).astype(np.float32)),
                obs=pd.DataFrame(
                    {"region": region, "slide": slide},
                    index=[f"{slide}{i}" for i in range(400)],
                ),
                obsm={"spatial": places},
            )
        )
    cells = ad.concat(parts)
    cells.var_names = [f"G{i}" for i in range(40)]
    return cells


def trained(reference: ad.AnnData, batch_key: str | None = None) -> plkd.Model:
    return plkd.train(
        reference,
        "region",
        batch_key=batch_key,
        prepare={"n_genes": "all", "min_genes": 1, "min_cells": 1},
        overrides={
            "mask": {"kind": "dense", "n_tokens": 4},
            "teacher_training": QUICK,
            "student_training": QUICK,
        },
        progress=False,
    )


@pytest.fixture(scope="module")
def model(slides: ad.AnnData) -> plkd.Model:
    return trained(slides[slides.obs["slide"] != "three"].copy(), "slide")


@pytest.fixture
def query(slides: ad.AnnData) -> ad.AnnData:
    return slides[slides.obs["slide"] == "three"].copy()


def test_the_reference_shows_whether_neighbours_help(model, query, tmp_path):
    assert model.student.surroundings.neighbours in NEIGHBOURS
    assert "cells around a cell" in model.card()
    model.save(tmp_path / "model")
    assert plkd.load(tmp_path / "model").student.surroundings == model.student.surroundings
    plkd.annotate(query, model, slide=True, progress=False)
    truth = query.obs["region"]
    alone = (query.obs["plkd_label"] == truth).mean()
    together = (query.obs["plkd_slide_label"] == truth).mean()
    assert together > alone + 0.1
    assert query.obs["plkd_slide_confidence"].between(1 / 3, 1).all()


def test_a_file_in_pieces_a_command_and_cells_without_counts_give_the_same(model, query, tmp_path):
    query.X[7] = 0
    query.write_h5ad(tmp_path / "query.h5ad")
    model.save(tmp_path / "model")
    command = ["annotate", str(tmp_path / "query.h5ad"), "--model", str(tmp_path / "model")]
    main([*command, "-o", str(tmp_path / "out.h5ad"), "--slide", "12", "--quiet"])
    written = ad.read_h5ad(tmp_path / "out.h5ad").obs
    plkd.annotate(query, model, slide=12, progress=False)
    columns = ["plkd_slide_label", "plkd_slide_confidence"]
    pd.testing.assert_frame_equal(written[columns], query.obs[columns], check_categorical=False)
    assert list(np.flatnonzero(written["plkd_slide_label"].isna())) == [7]


def test_what_cannot_be_meant_is_refused(model, query):
    with pytest.raises(InputError, match="give at least 1"):
        plkd.annotate(query, model, slide=-1, progress=False)
    query.obsm["spatial"][0, 1] = np.inf
    with pytest.raises(InputError, match="a place is not a finite number"):
        plkd.annotate(query, model, slide=5, progress=False)
    del query.obsm["spatial"]
    with pytest.raises(InputError, match=r"no places of its cells in obsm\['spatial'\]"):
        plkd.annotate(query, model, slide=5, progress=False)


@pytest.mark.parametrize("places", [None, np.nan])
def test_a_reference_without_places_says_so(query, caplog, places):
    reference = query.copy()
    if places is None:
        del reference.obsm["spatial"]
    else:
        reference.obsm["spatial"][3] = places
    other = trained(reference)
    assert other.student.surroundings == Surroundings()
    plkd.annotate(query, other, slide=True, progress=False)
    assert "plkd_slide_label" not in query.obs
    assert "does not show that labels are those of the cells around" in caplog.text
    assert ("are not finite numbers" in caplog.text) == (places is not None)
