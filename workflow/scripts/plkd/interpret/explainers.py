"""Ways to attribute a label's logit to genes: ours, and those of the package shap to compare with.

``plkd``
    :func:`plkd.interpret.gene_attribution.attribute_genes`: additive, and close to the Shapley
    values. The default.
``deep``
    ``shap.DeepExplainer``: DeepLIFT's multipliers, but the slope of a LayerNorm for its multiplier,
    so that the values do not add up to the logit.
``gradient``
    ``shap.GradientExplainer``: the expected gradient, estimated from :data:`GRADIENT_SAMPLES`
    random points.
``kernel``
    ``shap.KernelExplainer``: weighted regression on cells of which random genes are replaced; knows
    nothing of the network. For its cost the background is the mean cell of every label.

In all of them every label of the background weighs the same: an attribution is linear in the
background, so those against the cells of each label are averaged.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from plkd.errors import InputError
from plkd.interpret.gene_attribution import GeneAttributions, attribute_genes, student_of
from plkd.model.background import Background
from plkd.model.student import Student
from plkd.model.trained_network import TrainedNetwork
from plkd.utils.logs import logger
from plkd.utils.progress import ProgressBar

Explainer = Literal["plkd", "deep", "gradient", "kernel"]
EXPLAINERS: tuple[Explainer, ...] = get_args(Explainer)
GRADIENT_SAMPLES = 200
"""Random points per cell and label of the background."""

_Attribute = Callable[[nn.Module, Tensor, Tensor], NDArray[np.float64]]


def attribute_labels(
    model: TrainedNetwork,
    cells: sparse.csr_matrix,
    background: Background,
    targets: np.ndarray | None = None,
    *,
    explainer: Explainer = "plkd",
    seed: int = 0,
    device: str = "cpu",
    progress: bool = True,
) -> GeneAttributions:
    """Attribute label logits of cells to their genes, by one of :data:`EXPLAINERS`.

    Parameters
    ----------
    model, cells, background, targets, device, progress
        As of :func:`plkd.interpret.gene_attribution.attribute_genes`; the explainers of shap run on
        the CPU.
    explainer
        See the module.
    seed
        Of what shap draws.

    Returns
    -------
    GeneAttributions
        `error` says how far the values of the cell are from adding up to its logit; `base` of
        "kernel" is the mean logit of the mean cells.

    Raises
    ------
    InputError
        If there is no such explainer, and those of
        :func:`plkd.interpret.gene_attribution.attribute_genes`.
    """
    if explainer == "plkd":
        return attribute_genes(model, cells, background, targets, device=device, progress=progress)
    if explainer not in EXPLAINERS:
        raise InputError(f"there is no explainer '{explainer}': choose of {', '.join(EXPLAINERS)}.")
    network = _layers(student_of(model))
    x = torch.from_numpy(cells.toarray().astype(np.float64))
    groups = _groups(background, explainer)
    with torch.no_grad():
        logits = network(x).numpy()
        base = np.mean([network(group).numpy().mean(axis=0) for group in groups], axis=0)
    chosen = logits.argmax(axis=1)[:, None] if targets is None else np.asarray(targets)
    values = np.zeros((*chosen.shape, cells.shape[1]))
    attribute = _explain_with(explainer, seed)
    bar = ProgressBar(
        np.unique(chosen), desc=f"shap, {explainer}", unit="label", disable=not progress
    )
    with _quiet():
        for target in bar:
            rows, columns = np.nonzero(chosen == target)
            some, place = np.unique(rows, return_inverse=True)
            single = _single_output(network, int(target))
            found = np.mean([attribute(single, x[some], group) for group in groups], axis=0)
            values[rows, columns] = found[place]
    reached = np.take_along_axis(logits, chosen, axis=1) - base[chosen]
    error = values.sum(axis=2) - reached
    logger.info(
        "explainer '%s': the values miss the logit by up to %.1e", explainer, abs(error).max()
    )
    return GeneAttributions(values.astype(np.float32), chosen, base, logits, error)


def _explain_with(explainer: Explainer, seed: int) -> _Attribute:
    """A function of network (cells -> one output), cells and background cells."""
    import shap

    def deep(network: nn.Module, x: Tensor, start: Tensor) -> NDArray[np.float64]:
        return shap.DeepExplainer(network, start).shap_values(x, check_additivity=False)

    def gradient(network: nn.Module, x: Tensor, start: Tensor) -> NDArray[np.float64]:
        # it makes its points in single precision
        single = copy.deepcopy(network).float()
        return shap.GradientExplainer(single, start.float()).shap_values(
            x.float(), nsamples=GRADIENT_SAMPLES, rseed=seed
        )

    def kernel(network: nn.Module, x: Tensor, start: Tensor) -> NDArray[np.float64]:
        def value(rows: NDArray[np.float64]) -> NDArray[np.float64]:
            with torch.no_grad():
                return cast(NDArray[np.float64], network(torch.from_numpy(rows)).numpy()[:, 0])

        # without its selection of few genes, which would leave out all others
        return shap.KernelExplainer(value, start.numpy(), seed=seed).shap_values(
            x.numpy(), silent=True, l1_reg=False
        )

    function: Any = {"deep": deep, "gradient": gradient, "kernel": kernel}[explainer]
    return lambda network, x, start: np.asarray(function(network, x, start)).reshape(x.shape)


def _groups(background: Background, explainer: Explainer) -> list[Tensor]:
    """Cells of every label that the background has; of all labels the mean cells for "kernel"."""
    cells = background.cells.toarray().astype(np.float64)
    groups = [cells[background.codes == code] for code in np.unique(background.codes)]
    if explainer == "kernel":
        groups = [np.stack([group.mean(axis=0) for group in groups])]
    return [torch.from_numpy(group) for group in groups]


def _layers(network: Student) -> nn.Sequential:
    """The Student as shap knows networks: a chain of layers from the genes to the logits."""
    network = copy.deepcopy(network).cpu().double().eval()
    layers: list[nn.Module] = []
    for block in network.blocks:
        layers += [block.linear, block.norm, nn.GELU()]
    layers.append(network.classifier)
    with torch.no_grad():
        cast(nn.Linear, layers[0]).weight.mul_(network.input_scale)
    return nn.Sequential(*layers)


def _single_output(network: nn.Sequential, target: int) -> nn.Sequential:
    """The same network with the logit of one label as its output."""
    *hidden, last = copy.deepcopy(network)
    classifier = cast(nn.Linear, last)
    output = nn.Linear(classifier.in_features, 1, dtype=torch.float64)
    with torch.no_grad():
        output.weight.copy_(classifier.weight[target][None])
        output.bias.copy_(classifier.bias[target][None])
    return nn.Sequential(*hidden, output)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without shap's remarks on layers that it takes as linear; numpy's own seed stays as it is."""
    log = logging.getLogger("shap")
    level, state = log.level, np.random.get_state()  # noqa: NPY002
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
        np.random.set_state(state)  # noqa: NPY002
