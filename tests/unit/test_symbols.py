"""Symbols beside Ensembl ids: used where the other side goes by symbols, and never unasked."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pytest

from plkd.errors import InputError
from plkd.io.cells import open_cells
from plkd.io.symbols import SYMBOL_COLUMNS, with_symbols_of_file
from plkd.prediction.model_input import model_input
from plkd.preparation.prepare import PreparedPaths, prepare_dataset, prepare_reference
from plkd.preparation.prepared import PreparedCells
from plkd.settings.datasets import PrepareSettings, ReadingOptions, SourceSettings
from simulated import make_cells
from trained import TYPES, trained_model

SOURCE = {"labels_key": "cell_type", "batch_key": "batch"}


def by_ids(cells: ad.AnnData, column: str | None = "feature_name") -> ad.AnnData:
    """The same cells, their genes named by ids that no table knows."""
    renamed = cells.copy()
    if column is not None:
        renamed.var[column] = list(cells.var_names)
    renamed.var_names = [f"ENSG9{i:010d}" for i in range(cells.n_vars)]
    return renamed


@pytest.fixture(scope="module")
def sides() -> tuple[ad.AnnData, ad.AnnData]:
    return make_cells(150, 120, seed=0), make_cells(60, 110, seed=1)


@pytest.mark.parametrize("renamed", ["reference", "query"])
def test_either_side_is_named_by_its_symbols(sides, tmp_path, renamed):
    config = {"reference": SOURCE, "query": SOURCE, "prepare": {"n_genes": 50}}
    plain = PreparedPaths.in_folder(tmp_path / "plain")
    prepare_dataset(config, *sides, plain)
    reference, query = sides
    given = (by_ids(reference), query) if renamed == "reference" else (reference, by_ids(query))
    paths = PreparedPaths.in_folder(tmp_path / "ids")
    report = prepare_dataset(config, *given, paths)
    for side in ("reference", "query"):
        one, other = (PreparedCells.read(getattr(found, side)) for found in (plain, paths))
        assert one.genes == other.genes
        assert (one.X != other.X).nnz == 0
        told = report[side]["gene_names"].get("symbols")
        if side == renamed:
            assert (told["column"], told["overlap_before"]) == ("feature_name", 0)
            assert told["overlap"] > 0.9
        else:
            assert told is None


def test_a_reference_alone_does_the_same(sides):
    reference, query = sides
    source, settings = SourceSettings.from_config(SOURCE), PrepareSettings(n_genes=50)
    expected, _ = prepare_reference(reference, source, settings, query=query)
    for one, other in ((by_ids(reference), query), (reference, by_ids(query))):
        found, _ = prepare_reference(one, source, settings, query=other)
        assert found.genes == expected.genes
        assert (found.X != expected.X).nnz == 0


@pytest.mark.parametrize("column", SYMBOL_COLUMNS)
def test_every_usual_column_serves_a_model(column, caplog):
    student = trained_model().require("student")
    cells = make_cells(20, 110, types=TYPES, seed=3)
    with model_input(cells, student) as plain:
        expected = plain.take(np.arange(20))
    with (
        caplog.at_level(logging.INFO, "plkd"),
        model_input(by_ids(cells, column), student) as renamed,
    ):
        assert (renamed.take(np.arange(20)) != expected).nnz == 0
    assert f"the symbols in var['{column}'] are used, which find 110 of 110 genes" in caplog.text


def test_genes_without_a_symbol_keep_their_id(sides):
    cells = by_ids(sides[0])
    cells.var["feature_name"] = cells.var["feature_name"].astype(object)
    cells.var.iloc[2, cells.var.columns.get_loc("feature_name")] = None
    with open_cells(cells) as opened:
        renamed = with_symbols_of_file(opened, list(sides[0].var_names))
    assert renamed.genes[:4] == [*sides[0].var_names[:2], cells.var_names[2], sides[0].var_names[3]]


def test_not_where_the_user_or_the_names_say_otherwise(sides):
    reference, query = sides
    cells = by_ids(reference)
    cells.var["mine"] = [f"mine{i}" for i in range(cells.n_vars)]
    for others, reading in (
        (list(reference.var_names), ReadingOptions(gene_symbols_key="mine")),
        (list(cells.var_names), ReadingOptions()),
        (["Unheard1", "Unheard2"], ReadingOptions()),
    ):
        with open_cells(cells, reading) as opened:
            assert with_symbols_of_file(opened, others) is opened
    with open_cells(query) as opened:
        assert with_symbols_of_file(opened, list(cells.var_names)) is opened


def test_without_symbols_the_two_ways_out_are_named(sides, tmp_path):
    reference, query = sides
    by_ids(query, None).write_h5ad(tmp_path / "query.h5ad")
    config = {"reference": SOURCE, "query": SOURCE}
    message = r"genes of the query '.*query.h5ad' are named by Ensembl ids, those of the reference "
    with pytest.raises(InputError, match=rf"{message}.*gene_symbols_key.*gene_table"):
        prepare_dataset(
            config, reference, tmp_path / "query.h5ad", PreparedPaths.in_folder(tmp_path)
        )
    student = trained_model().require("student")
    with (
        pytest.raises(InputError, match=r"query.h5ad' are named by Ensembl ids, those of the mod"),
        model_input(tmp_path / "query.h5ad", student),
    ):
        pass


@pytest.mark.parametrize("renamed", ["reference", "query"])
@pytest.mark.parametrize("way", ["pipeline", "train"])
def test_the_side_and_the_column_are_proposed(sides, tmp_path, renamed, way):
    given = dict(zip(("reference", "query"), (one.copy() for one in sides), strict=True))
    given[renamed].var["my_symbols"] = list(given[renamed].var_names)
    given[renamed].var["other"] = "nothing"
    given[renamed].var_names = [f"f{i}" for i in range(given[renamed].n_vars)]
    words = rf"'my_symbols' of `var` of the {renamed}.*`gene_symbols_key: my_symbols`"
    config = {"reference": SOURCE, "query": SOURCE}
    ways = {
        "pipeline": lambda: prepare_dataset(
            config, *given.values(), PreparedPaths.in_folder(tmp_path)
        ),
        "train": lambda: prepare_reference(
            given["reference"], SourceSettings.from_config(SOURCE), query=given["query"]
        ),
    }
    with pytest.raises(InputError, match=words):
        ways[way]()
