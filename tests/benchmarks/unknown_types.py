"""Are cells of a type that the reference lacks found? Each label is left out of it in turn.

``python tests/benchmarks/unknown_types.py DATA_FOLDER`` (the folder of
``config/development.yaml``; ``--help`` lists the options). For every transfer and label with at
least ten query cells: area under the ROC curve, and share of the unseen cells that is found where
5 % of the others are lost, by the Student's largest probability, its entropy, its score of unknown
cells and this score by distance alone, beside the largest probability of logistic regression; then
the shares that are flagged as the model stands. The label `none` are types that the published
reference lacks.

``python tests/benchmarks/unknown_types.py --like-reference 200000`` asks instead what share of so
many simulated cells is flagged that are like their reference (3,000 cells, of one batch and of
four): 5 % is meant.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.metrics import roc_auc_score

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[2] / "workflow" / "scripts")]

import plkd  # noqa: E402
from plkd.model.linear import fit_logistic_regression  # noqa: E402
from plkd.model.trained_network import TrainedNetwork  # noqa: E402
from plkd.prediction.model_input import model_input  # noqa: E402
from plkd.prediction.predict import predictions_of  # noqa: E402

TRANSFERS: dict[str, tuple[str, list[str], list[str]]] = {
    "pbmc_two_studies": ("pbmc_two_studies.h5ad", ["Zheng2017"], ["10x_pbmc3k"]),
    "pbmc_two_studies_back": ("pbmc_two_studies.h5ad", ["10x_pbmc3k"], ["Zheng2017"]),
    "pbmc_kang": (
        "pbmc_kang_ctrl_8donors.h5ad",
        ["donor101", "donor1015", "donor1016", "donor1039"],
        ["donor107", "donor1244", "donor1256", "donor1488"],
    ),
    "symphony_5p": ("symphony_pbmc.h5ad", ["3pv1", "3pv2"], ["5p"]),
    "starmap_types": (
        "spatial_starmap_mpfc_3slices.h5ad",
        ["20180417_BZ5_control", "20180419_BZ9_control"],
        ["20180424_BZ14_control"],
    ),
}
LOST = 0.05
LEAST_CELLS = 10
REFERENCE_CELLS = 3000


def measure(
    reference: ad.AnnData, query: ad.AnnData, left_out: str | None, seed: int, preset: str
) -> dict[str, Any]:
    """Scores of one training."""
    labels = reference.obs["cell_type"].astype(str)
    present = sorted(set(labels) - {left_out})
    reference = reference[labels.isin(present).to_numpy()].copy()
    options: dict[str, Any] = {"preset": preset, "seed": seed, "progress": False}
    model = plkd.train(reference, "cell_type", batch_key="batch", query=query, **options)
    _, known, _, codes = as_model_sees(reference, model)
    simple = fit_logistic_regression(known, pd.Index(present).get_indexer(codes), len(present))
    batch_key = "batch" if "batch" in query.obs else None
    student, cells, batches, truth = as_model_sees(query, model, batch_key=batch_key)
    probabilities, _ = student.predict(cells, batches)
    names = list(map(str, range(len(truth))))
    table = predictions_of(student, names, probabilities, student.surprise(cells))
    near = replace(student, new_variation=None)  # without what varies in the query alone
    by_distance = predictions_of(near, names, probabilities, near.surprise(cells))
    seen = np.isin(truth, present)
    unseen = ~seen if left_out is None else truth == left_out
    scores = {
        "largest probability": -table["confidence"],
        "entropy": table["entropy"],
        "distance": by_distance["unknown_score"],
        "score": table["unknown_score"],
        "logistic regression": pd.Series(-simple.probabilities(cells).max(axis=1)),
    }
    row: dict[str, Any] = {"unseen": int(unseen.sum())}
    for name, score in scores.items():
        row |= compare(score.to_numpy(dtype=float), seen, unseen, name)
    for words, one in (("flagged", table), ("flagged by distance", by_distance)):
        flagged = one["unknown"].to_numpy(dtype=bool)
        row |= {f"{words}, known": flagged[seen].mean(), f"{words}, unseen": flagged[unseen].mean()}
    return row


def as_model_sees(
    cells: ad.AnnData,
    model: plkd.Model,
    labels_key: str = "cell_type",
    batch_key: str | None = None,
) -> tuple[TrainedNetwork, sparse.csr_matrix, NDArray[np.str_], NDArray[np.object_]]:
    """Give the Student as it labels these cells; the cells in its genes, batches and labels."""
    with model_input(cells, model.require("student"), batch_key=batch_key) as given:
        parts, chunks = zip(*given.chunks(), strict=True)
    labels, rows = cells.obs[labels_key].astype(str).to_numpy(dtype=object), np.concatenate(parts)
    return given.network, sparse.vstack(chunks, format="csr"), given.batches[rows], labels[rows]


def compare(
    score: NDArray[np.float64], seen: NDArray[np.bool_], unseen: NDArray[np.bool_], name: str
) -> dict[str, float]:
    """Area under the curve, and share found, of a score that is high for unseen cells."""
    both = seen | unseen
    limit = np.quantile(score[seen], 1 - LOST)
    return {
        f"AUROC, {name}": float(roc_auc_score(unseen[both], score[both])),
        f"found, {name}": float((score[unseen] > limit).mean()),
    }


def flagged_like_reference(n_cells: int, n_batches: int, seed: int, preset: str) -> dict[str, Any]:
    """Share of simulated cells that is flagged, of the very batches of their reference."""
    both, _ = plkd.simulate(
        n_cells=REFERENCE_CELLS + n_cells, n_batches=n_batches, programme_effect=0.5, seed=seed
    )
    order = np.random.default_rng(seed).permutation(both.cells.n_obs)
    reference, query = (
        both.cells[np.sort(rows)].copy() for rows in np.split(order, [REFERENCE_CELLS])
    )
    options: dict[str, Any] = {"preset": preset, "seed": seed, "progress": False}
    model = plkd.train(reference, "label", batch_key="batch", **options)
    student, cells, batches, _ = as_model_sees(query, model, "label", batch_key="batch")
    score = predictions_of(
        student, query.obs_names, student.predict(cells, batches)[0], student.surprise(cells)
    )
    variation = student.new_variation
    return {
        "batches": n_batches,
        "seed": seed,
        "cells": len(score),
        "flagged": score["unknown"].mean(),
        "new directions": 0 if variation is None else variation.axes.shape[1],
    }


def left_out_of(reference: ad.AnnData, query: ad.AnnData) -> list[str | None]:
    """Labels to leave out; None first, where the query has types that the reference lacks."""
    sizes = query.obs["cell_type"].astype(str).value_counts()
    known = set(reference.obs["cell_type"].astype(str))
    labels: list[str | None] = sorted(
        label for label in known if sizes.get(label, 0) >= LEAST_CELLS
    )
    has_new = sizes[[label for label in sizes.index if label not in known]].sum() >= LEAST_CELLS
    return [None, *labels] if has_new else labels


def main() -> None:
    """Print a row for every training, and write them all."""
    command = argparse.ArgumentParser(description=__doc__)
    command.add_argument("data", type=Path, nargs="?")
    command.add_argument("--like-reference", type=int, metavar="CELLS", help="see above")
    command.add_argument("--transfers", nargs="+", choices=TRANSFERS, default=list(TRANSFERS))
    command.add_argument("--labels", nargs="+", help="only these (none: leave nothing out)")
    command.add_argument("--preset", default="default")
    command.add_argument("--seeds", type=int, nargs="+", default=[0])
    command.add_argument("--output", type=Path, help="table to write, .tsv")
    options = command.parse_args()
    warnings.simplefilter("ignore")
    if options.like_reference is not None:
        found = [
            flagged_like_reference(options.like_reference, n_batches, seed, options.preset)
            for n_batches in (1, 4)
            for seed in options.seeds
        ]
        print(pd.DataFrame(found).to_string(float_format="{:.4f}".format))
        return
    if options.data is None:
        command.error("the folder of the data is missing")
    rows = []
    for name in options.transfers:
        file, *batches = TRANSFERS[name]
        cells = ad.read_h5ad(options.data / file)
        reference, query = (
            cells[cells.obs["batch"].isin(some).to_numpy()].copy() for some in batches
        )
        for left_out in left_out_of(reference, query):
            if options.labels and (left_out or "none") not in options.labels:
                continue
            for seed in options.seeds:
                found = measure(reference, query, left_out, seed, options.preset)
                rows.append({"transfer": name, "label": left_out or "none", "seed": seed, **found})
                print(pd.Series(rows[-1]).to_string(float_format="{:.3f}".format), flush=True)
                if options.output is not None:
                    pd.DataFrame(rows).to_csv(options.output, sep="\t", index=False)
    table = pd.DataFrame(rows)
    table["left out"] = table["label"] != "none"
    means = table.groupby(["transfer", "left out"]).mean(numeric_only=True).drop(columns="seed")
    print(means.T.to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
