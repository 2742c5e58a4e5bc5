"""The API gives what the pipeline gives, for the same cells, settings and seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml

import plkd
from plkd.prediction.table import label_probabilities, read_predictions
from project import Project

# one worker, so that the run is made once
pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("finished")]


def test_training_and_annotation_give_the_labels_of_the_pipeline(finished: Project) -> None:
    config = yaml.safe_load((finished.folder / "config" / "config.yaml").read_text())
    dataset = config["datasets"][0]
    reference, query = dataset["reference"], finished.folder / dataset["query"]["url"]
    model = plkd.train(
        finished.folder / reference["url"],
        labels_key=reference["labels_key"],
        batch_key=reference["batch_key"],
        gene_sets=[finished.folder / source["url"] for source in dataset["gene_sets"]],
        query=query,
        overrides=config["variants"]["default"],
        seed=0,
        progress=False,
    )
    expected = plkd.load(finished.run_folder() / "model")
    assert model.genes == expected.genes
    assert model.settings == expected.settings
    assert model.cells_per_label == expected.cells_per_label
    assert model.require("teacher").tokens == expected.require("teacher").tokens
    pd.testing.assert_frame_equal(model.history, expected.history, rtol=1e-3, atol=1e-5)

    found = plkd.annotate(query, model, inplace=False, progress=False)
    of_pipeline = read_predictions(finished.run_folder() / "predictions" / "student.parquet")
    assert list(found["cell_id"]) == list(of_pipeline["cell_id"])
    assert list(found["label"]) == list(of_pipeline["label"])
    assert list(found["unknown"]) == list(of_pipeline["unknown"])
    np.testing.assert_allclose(
        label_probabilities(found), label_probabilities(of_pipeline), atol=1e-4
    )
