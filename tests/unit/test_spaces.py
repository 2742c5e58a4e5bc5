"""Scores and maps of spaces that were made apart, put together for a run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from plkd.errors import InputError
from plkd.evaluation.embeddings import umap_coordinates
from plkd.evaluation.integration import (
    INTEGRATION_COLUMNS,
    SCORES,
    SPACE_COLUMNS,
    groups_of_cells,
    score_integration,
)
from plkd.evaluation.spaces import (
    MAP_COLUMNS,
    map_of_space,
    of_all_spaces,
    read_maps,
    scores_of_run,
)
from plkd.utils.tables import EXACT, write_tsv

RUN = {"dataset": "blood", "variant": "default", "seed": "2"}


@pytest.fixture(scope="module")
def cells():
    """Sixty cells of two types in three batches, of which the last is the query."""
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "cell_id": [f"cell{k}" for k in range(60)],
            "role": np.where(np.arange(60) < 40, "reference", "query"),
            "batch": np.repeat(["x", "y", "z"], 20),
            "label": rng.choice(["01", "NA"], 60),
        }
    )


@pytest.fixture(scope="module")
def spaces(cells):
    rng = np.random.default_rng(4)
    far = 3.0 * (cells["label"] == "NA").to_numpy()[:, None]
    return {
        name: (rng.normal(size=(60, 4)) + far).astype(np.float32)
        for name in ("pca", "harmony", "student")
    }


def test_scores_made_apart_are_those_made_together_in_the_order_of_the_spaces(
    tmp_path, cells, spaces
):
    groups = groups_of_cells(cells, ["01", "NA"])
    for parts in (["pca"], ["student", "harmony"]):
        made = [score_integration({name: spaces[name]}, cells, groups) for name in parts]
        table = of_all_spaces(made, SPACE_COLUMNS)
        write_tsv(table, tmp_path / f"{parts[0]}.tsv", digits=EXACT)
    paths = [tmp_path / "pca.tsv", tmp_path / "student.tsv"]
    order = ["pca", "harmony", "student"]
    table = scores_of_run(paths, INTEGRATION_COLUMNS, order, RUN, "integration_scores")
    assert list(table) == list(INTEGRATION_COLUMNS)
    assert list(table["method"]) == order * 2
    assert list(table["cells"]) == ["all"] * 3 + ["query"] * 3
    assert set(zip(table["dataset"], table["variant"], table["seed"], strict=True)) == {
        ("blood", "default", 2)
    }
    together = score_integration({name: spaces[name] for name in order}, cells, groups)
    scores = table[[*SCORES]].reset_index(drop=True)
    pd.testing.assert_frame_equal(scores, together[[*SCORES]], check_exact=True)


def test_a_method_without_a_space_has_no_row_and_one_alone_leaves_an_empty_table(
    tmp_path, cells, spaces
):
    write_tsv(of_all_spaces([], SPACE_COLUMNS), tmp_path / "none.tsv", digits=EXACT)
    groups = groups_of_cells(cells, ["01", "NA"])
    write_tsv(
        score_integration({"student": spaces["student"]}, cells, groups), tmp_path / "own.tsv"
    )
    paths, order = [tmp_path / "none.tsv", tmp_path / "own.tsv"], ["glue", "student"]
    table = scores_of_run(paths, INTEGRATION_COLUMNS, order, RUN, "integration_scores")
    assert list(table["method"]) == ["student", "student"]


def test_maps_name_their_cells_and_come_back_as_they_were(tmp_path, cells, spaces):
    maps = [map_of_space(name, spaces[name], cells) for name in ("pca", "student")]
    for name, one in zip(("pca", "student"), maps, strict=True):
        write_tsv(one, tmp_path / f"{name}.tsv", digits=EXACT)
    found = read_maps([tmp_path / "pca.tsv", tmp_path / "student.tsv"], "integration_scores")
    assert list(found) == list(MAP_COLUMNS)
    assert list(found["space"]) == ["pca"] * 60 + ["student"] * 60
    pd.testing.assert_frame_equal(
        found.iloc[60:].reset_index(drop=True)[["label"]], cells[["label"]]
    )
    np.testing.assert_allclose(
        found.loc[60:, ["umap1", "umap2"]], umap_coordinates(spaces["student"], 0), rtol=1e-6
    )


def test_a_table_of_something_else_says_which_rule_makes_it(tmp_path):
    (tmp_path / "scores.tsv").write_text("method\tcells\nstudent\tall\n")
    with pytest.raises(InputError, match="rule integration_scores makes it anew"):
        scores_of_run(
            [tmp_path / "scores.tsv"], INTEGRATION_COLUMNS, ["student"], RUN, "integration_scores"
        )
    with pytest.raises(InputError, match="does not exist"):
        read_maps([tmp_path / "maps.tsv"], "integration_scores")
