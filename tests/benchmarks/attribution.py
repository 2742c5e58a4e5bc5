"""How close attributions come to Shapley values, beside those of the package shap, and how fast.

``python tests/benchmarks/attribution.py results/DATASET/VARIANT/seed0/model
results/DATASET/prepared/query.h5ad``. The Shapley values of 2,000 genes cannot be summed up; they
are estimated from random orders of the genes (each with its reverse, each with a background cell
drawn anew). Half of the orders against all of them says how well.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[2] / "workflow" / "scripts")]

from measuring import Table, as_text  # noqa: E402

from plkd.interpret.gene_attribution import attribute_genes  # noqa: E402
from plkd.interpret.query_attribution import background_of  # noqa: E402
from plkd.model.background import Background  # noqa: E402
from plkd.model.trained_model import load_model  # noqa: E402
from plkd.model.trained_network import TrainedNetwork  # noqa: E402


class Logits(nn.Module):
    """The logits alone, as shap wants them."""

    def __init__(self, model: TrainedNetwork) -> None:
        super().__init__()
        self.network = model.network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)[0]


def sampled_shapley(
    model: TrainedNetwork,
    background: Background,
    x: np.ndarray,
    target: int,
    orders: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Estimates (genes,) from all orders, and from half of them."""
    network = copy.deepcopy(model.network).double()
    entrance, *others = network.blocks
    first = entrance.linear
    weights = first.weight * network.input_scale
    known = torch.from_numpy(background.cells.toarray()).double()
    cell = torch.from_numpy(x).double()
    rng = np.random.default_rng(seed)
    total = torch.zeros(len(x), dtype=torch.float64)
    half = total.clone()
    with torch.no_grad():
        for number in range(orders // 2):
            start = known[rng.choice(len(known), p=background.weights)]
            change = cell - start
            order = torch.from_numpy(rng.permutation(len(x)))
            for some in (order, order.flip(0)):
                some = some[change[some] != 0]
                steps = torch.cumsum((weights[:, some] * change[some]).T, dim=0)
                entered = first(start * network.input_scale) + torch.cat([0 * steps[:1], steps])
                hidden = torch.nn.functional.gelu(entrance.norm(entered))
                for block in others:
                    hidden = block(hidden)
                logits = network.classifier(hidden)[:, target]
                total[some] += logits.diff()
            if number + 1 == orders // 4:
                half = total.clone()
    return (total / orders).numpy(), (half / (orders // 2)).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("query", type=Path)
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--orders", type=int, default=2000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    import shap

    trained = load_model(options.model)
    model, background = trained.require("student"), background_of(trained)
    rng = np.random.default_rng(0)
    query = ad.read_h5ad(options.query)
    rows = np.sort(rng.choice(query.n_obs, options.cells, replace=False))
    cells = sparse.csr_matrix(query[rows].X)
    plain = attribute_genes(model, cells, background, progress=False)
    targets = plain.targets[:, 0]
    # shap's explainers weigh the background's cells alike, so they are repeated by their weights
    copies = rng.choice(background.cells.shape[0], 500, p=background.weights)
    known = torch.from_numpy(background.cells[copies].toarray())
    network = Logits(model)

    def of_segments(segments: int) -> Callable[[int], np.ndarray]:
        return lambda i: attribute_genes(
            model, cells[i], background, targets[i : i + 1, None], segments=segments, progress=False
        ).values[0, 0]

    def of_attribution(explainer: type, **options: object) -> Callable[[int], np.ndarray]:
        def found(i: int) -> np.ndarray:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = explainer(network, known)
                x = torch.from_numpy(cells[i].toarray())
                return np.asarray(made.shap_values(x, **options))[0, :, targets[i]]

        return found

    truth = [
        sampled_shapley(
            model, background, cells[i].toarray()[0], int(targets[i]), options.orders, i
        )
        for i in range(options.cells)
    ]
    halves = iter([half for _, half in truth])
    methods: dict[str, Callable[[int], np.ndarray]] = {
        **{f"here, {n} step(s)": of_segments(n) for n in (1, 2, 4, 16)},
        "shap.DeepExplainer": of_attribution(shap.DeepExplainer, check_additivity=False),
        "shap.GradientExplainer": of_attribution(shap.GradientExplainer, nsamples=1000),
        "sampled, half of the orders": lambda i: next(halves),
    }
    table: Table = [["method", "distance", "correlation", "top 10 shared", "additivity error", "s"]]
    for name, method in methods.items():
        rows_of: list[list[float]] = []
        for i in range(options.cells):
            begin = time.perf_counter()
            values = method(i).astype(float)
            seconds = time.perf_counter() - begin
            exact, difference = truth[i][0], plain.logits[i, targets[i]] - plain.base[targets[i]]
            best = [set(np.argsort(-abs(part))[:10]) for part in (values, exact)]
            rows_of.append(
                [
                    float(np.linalg.norm(values - exact) / np.linalg.norm(exact)),
                    float(np.corrcoef(values, exact)[0, 1]),
                    len(best[0] & best[1]),
                    abs(float(values.sum()) - difference),
                    seconds,
                ]
            )
        mean = np.mean(rows_of, axis=0)
        largest = np.max(rows_of, axis=0)[3]
        table.append(
            [name, f"{mean[0]:.3f}", f"{mean[1]:.4f}", f"{mean[2]:.1f}", f"{largest:.1e}",
             f"{mean[4]:.2f}"]
        )  # fmt: skip
    print(as_text("Attributions beside sampled Shapley values", table))


if __name__ == "__main__":
    main()
