"""The Student beside the simple methods on simulated transfers that differ in one thing at a time.

``python tests/benchmarks/grid.py`` (``--help`` lists the options). Eight labels that resemble each
other, a reference of four batches and a query of two others; what is varied: the batch effect, how
far it looks like a change of label, the composition, the depth of the query, its genes, the size of
the reference, the number of its batches, wrong labels in it. For every point: accuracy and macro F1
of the Student and of the best simple method of each score, and where the Student is more than a
standard error (over the seeds, paired) behind.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.metrics import f1_score

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parent), str(HERE.parents[2] / "workflow" / "scripts")]

from measuring import as_text  # noqa: E402
from unknown_types import as_model_sees  # noqa: E402

import plkd  # noqa: E402
from plkd.evaluation.baselines import BASELINES  # noqa: E402
from plkd.simulation.cells import write_gmt  # noqa: E402

SIMPLE = [name for name in BASELINES if name not in ("majority", "random")]
# Similar labels in cells of moderate depth: neither hopeless nor solved.
HARD = {"marker_effect": 1.8, "programme_effect": 0.5, "depth": 1500.0}
POINTS: dict[str, Mapping[str, Any]] = {
    "as it is": {},
    "no batch effect": {"batch_effect": 0.0},
    "batch effect 0.6": {"batch_effect": 0.6},
    "confounding 0.3": {"confounding": 0.3},
    "confounding 0.6": {"confounding": 0.6},
    "batch effect 0.6, confounding 0.3": {"batch_effect": 0.6, "confounding": 0.3},
    "composition 1.0": {"composition_shift": 1.0},
    "a tenth of the depth": {"thinned": 0.1},
    "half of the genes": {"kept_genes": 0.5},
    "200 reference cells": {"n_cells": 200},
    "8,000 reference cells": {"n_cells": 8000},
    "one batch": {"n_batches": 1},
    "wrong labels 0.2": {"label_noise": 0.2},
}


def simulated(point: Mapping[str, Any], seed: int) -> tuple[ad.AnnData, ad.AnnData, dict[str, Any]]:
    """Reference, query, and programmes of a point."""
    settings = {**HARD, **point}
    depth, genes = settings.pop("thinned", 1.0), settings.pop("kept_genes", 1.0)
    reference, query = plkd.simulate(seed=seed, **settings)
    rng = np.random.default_rng(seed)
    cells = query.cells
    if depth < 1:
        counts = rng.binomial(cells.X.data.astype(int), depth).astype(np.float32)
        cells.X = sparse.csr_matrix((counts, cells.X.indices, cells.X.indptr), shape=cells.shape)
        cells.X.eliminate_zeros()
    if genes < 1:
        cells = cells[:, np.sort(rng.permutation(cells.n_vars)[: int(genes * cells.n_vars)])].copy()
    return reference.cells, cells, reference.programmes


def scores(labels: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Accuracy and macro F1."""
    names = np.unique(truth)
    f1 = f1_score(truth, labels, labels=names, average="macro", zero_division=0)
    return {"accuracy": float((labels == truth).mean()), "macro_f1": float(f1)}


def measure(point: Mapping[str, Any], seed: int, preset: str, folder: Path) -> list[dict[str, Any]]:
    """Scores of all methods on one draw."""
    reference, query, programmes = simulated(point, seed)
    write_gmt(programmes, folder / "sets.gmt")
    return beside_simple(
        reference,
        query,
        "label",
        seed=seed,
        gene_sets=folder / "sets.gmt",
        # as for a query that comes later: it may lack some of the genes
        prepare={"gene_universe": "reference"},
        preset=preset,
    )


def beside_simple(
    reference: ad.AnnData, query: ad.AnnData, labels_key: str, **options: Any
) -> list[dict[str, Any]]:
    """Scores of the Student and of the simple methods; all see the same genes on the same scale.

    Scored are the cells whose label the reference has. `options` are those of `plkd.train`.
    """
    begin = time.process_time()
    model = plkd.train(
        reference, labels_key, batch_key="batch", query=query, progress=False, **options
    )
    seconds = time.process_time() - begin
    sides = {}
    for role, cells in (("reference", reference), ("query", query)):
        network, X, batches, kept = as_model_sees(cells, model, labels_key, "batch")
        genes = pd.DataFrame(index=network.genes)
        known = np.isin(kept, network.labels)
        sides[role] = ad.AnnData(X[known], obs=pd.DataFrame({"label": kept[known]}), var=genes)
    truth = sides["query"].obs["label"].to_numpy()
    probabilities = network.predict(X, batches)[0][known]  # those of the query stay
    labels = np.asarray(network.labels)[probabilities.argmax(axis=1)]
    found = [{"method": "student", "seconds": seconds, **scores(labels, truth)}]
    found[0]["confidence"] = float(probabilities.max(axis=1).mean())
    for name in SIMPLE:
        begin = time.process_time()
        names, values = BASELINES[name](sides["reference"], sides["query"], options["seed"])
        said = np.asarray(names)[values.argmax(axis=1)]
        found.append(
            {"method": name, "seconds": time.process_time() - begin, **scores(said, truth)}
        )
    return found


def summary(table: pd.DataFrame) -> list[list[str]]:
    """A row per point: the Student beside the simple method that is best in the mean."""
    rows = [["point", "accuracy", "best simple", "", "macro F1", "best simple", "", "confidence"]]
    for point, here in table.groupby("point", sort=False):
        row = [str(point)]
        for score in ("accuracy", "macro_f1"):
            wide = here.pivot_table(score, "seed", "method")
            best = wide[SIMPLE].mean().idxmax()
            difference = wide["student"] - wide[best]
            error = difference.std() / np.sqrt(len(wide)) if len(wide) > 1 else 0.0
            behind = difference.mean() < -error
            row += [f"{wide['student'].mean():.3f}", f"{wide[best].mean():.3f} {best}"]
            row.append(f"{difference.mean():+.3f}" + (" behind" if behind else ""))
        ours = here[here["method"] == "student"]
        rows.append([*row, f"{ours['confidence'].mean():.3f}"])
    return rows


def run(
    points: Mapping[str, Callable[[int], list[dict[str, Any]]]],
    seeds: Iterable[int],
    output: Path,
    title: str,
) -> None:
    """Measure every point with every seed, write what is there, and print a row for each."""
    warnings.simplefilter("ignore")
    output.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        for point, measured in points.items():
            rows += [{"point": point, "seed": seed, **one} for one in measured(seed)]
            table = pd.DataFrame(rows)
            table.to_csv(output, sep="\t", index=False, float_format="%.4f")
            print(*summary(table[table["point"] == point])[1], sep="  ", flush=True)
    print(as_text(title, summary(table)))


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("--points", nargs="+", choices=POINTS, default=list(POINTS), metavar="P")
    command.add_argument("--preset", default="default")
    command.add_argument("--seeds", type=int, nargs="+", default=[0])
    command.add_argument("--output", type=Path, default=Path("results/benchmark/grid.tsv"))
    options = command.parse_args()
    points = {
        name: partial(measure, POINTS[name], preset=options.preset, folder=options.output.parent)
        for name in options.points
    }
    run(points, options.seeds, options.output, "Simulated transfers")


if __name__ == "__main__":
    main()
