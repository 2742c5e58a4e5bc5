"""What the background of attributions is worth: how stable and how true they are with several.

``python tests/benchmarks/attribution_background.py results/DATASET`` (a finished run with the
variant ``default``). Each background is drawn twice; stability is the Jaccard index of a label's
ten genes between the draws, truth the area under the deletion curve.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import torch
from scipy import sparse

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[2] / "workflow" / "scripts")]

from measuring import Table, as_text  # noqa: E402

from plkd.evaluation.faithfulness import curve_areas, student_curves, summarise_areas  # noqa: E402
from plkd.interpret.gene_attribution import attribute_genes  # noqa: E402
from plkd.interpret.query_attribution import background_of  # noqa: E402
from plkd.interpret.sampling import sample_per_label  # noqa: E402
from plkd.model.background import Background  # noqa: E402
from plkd.model.reference import Reference  # noqa: E402
from plkd.model.trained_model import load_model  # noqa: E402
from plkd.prediction.table import read_predictions  # noqa: E402


class Unweighted(Background):
    """Cells as they come, each with the same weight."""

    @property
    def weights(self) -> np.ndarray:
        return np.full(len(self.labels), 1 / len(self.labels))


def as_they_come(reference: Reference, n_cells: int, seed: int) -> Background:
    rows = np.random.default_rng(seed).choice(len(reference.codes), n_cells, replace=False)
    rows = np.sort(rows)
    cells, labels = sparse.csr_matrix(reference.cells[rows]), reference.codes[rows]
    return Unweighted(cells, labels, Background.sample(reference, 0, seed).label_means)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="folder of a data set: results/DATASET")
    parser.add_argument("--seed", type=int, default=0, help="run that is looked at (default: 0)")
    parser.add_argument("--cells", type=int, default=15, help="cells per label (default: 15)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    run = options.results / "default" / f"seed{options.seed}"
    trained = load_model(run / "model")
    model = trained.require("student")
    cells = ad.read_h5ad(options.results / "prepared" / "reference.h5ad")
    reference = Reference.from_names(cells.X, cells.obs["label"], cells.var_names)
    predictions = read_predictions(run / "predictions" / "student.parquet")
    rows = sample_per_label(predictions["label"].to_numpy(), options.cells, 0)
    query = sparse.csr_matrix(ad.read_h5ad(options.results / "prepared" / "query.h5ad").X)[rows]
    labels = pd.Index(model.labels).get_indexer(pd.Index(predictions["label"].iloc[rows]))

    def top_genes(values: np.ndarray) -> dict[int, set[int]]:
        return {
            label: set(np.argsort(-abs(values[labels == label]).mean(axis=0))[:10])
            for label in np.unique(labels)
        }

    choices = [(f"{n} cells, even", Background.sample, n) for n in (25, 50, 100, 200)]
    choices.append(("the means of the labels", Background.sample, 0))
    choices.append(("100 cells as they come", as_they_come, 100))
    table: Table = [["background", "agreement", "area, by mean", "area, by zero"]]
    for name, draw, size in choices:
        tops, areas = [], []
        for seed in (0, 1):
            background = draw(reference, size, seed)
            found = attribute_genes(model, query, background, labels[:, None], progress=False)
            values = found.values[:, 0]
            tops.append(top_genes(values))
            # the same replacement for all, that of the model's own background
            curves = student_curves(model, query, labels, values, background_of(trained))
            summary = summarise_areas(curve_areas(curves)).query(
                "ranking == 'attribution' and curve == 'deletion'"
            )
            areas.append(summary.set_index("replaced_by")["area"])
        agreement = np.mean([len(tops[0][k] & tops[1][k]) / len(tops[0][k] | tops[1][k])
                             for k in tops[0]])  # fmt: skip
        area = sum(areas) / len(areas)
        table.append([name, f"{agreement:.2f}", f"{area['mean']:.3f}", f"{area['zero']:.3f}"])
    print(as_text("Backgrounds of attributions", table))


if __name__ == "__main__":
    main()
