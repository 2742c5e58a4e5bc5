"""Train, annotate, explain, evaluate: what a notebook calls, and the command line too.

Cells are an :class:`~anndata.AnnData`, in memory or backed, or the path of a file, which is read in
chunks. For the same data, settings and seed the results are those of the pipeline, if `train` is
given the query, and both `train` and `annotate` the columns of batches that the pipeline is given.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import anndata as ad
import pandas as pd

from plkd.errors import InputError
from plkd.evaluation.tables import evaluate as evaluate_methods
from plkd.interpret import explain as interpretation
from plkd.io.cells import CellSource, read_obs
from plkd.model.cross_fitting import QUERY_CELLS
from plkd.model.reference import Reference
from plkd.model.trained_model import Model, load_model
from plkd.model.training import train_model
from plkd.pages.query import page_content
from plkd.pages.sources import label_file
from plkd.pages.write import write_page
from plkd.pathways.gene_sets import GeneSet, choose_gene_sets, read_gmts
from plkd.pathways.mask import build_mask
from plkd.pathways.modules import CELLS, gene_modules
from plkd.prediction.annotated_copy import add_annotation, annotate_file
from plkd.prediction.annotation import KEY_ADDED, OnSlide, annotation_of
from plkd.prediction.cell_ontology import ids_of_labels, read_ontology, tree_above
from plkd.prediction.further import FurtherLabels, surroundings_for
from plkd.prediction.groups import LEAST_AGREEMENT
from plkd.prediction.label_tree import LEVEL, LabelTree
from plkd.prediction.model_input import CHUNK_CELLS
from plkd.prediction.predict import predict_cells, provenance_of
from plkd.preparation.prepare import prepare_reference, sample_of_query
from plkd.preparation.prepared import PreparedCells, sample_rows
from plkd.settings.datasets import AS_IT_IS, PrepareSettings, ReadingOptions, SourceSettings
from plkd.settings.models import Settings
from plkd.settings.presets import resolve
from plkd.utils.devices import choose_device, one_thread_each, processes_for
from plkd.utils.logs import logger
from plkd.utils.processes import joined
from plkd.utils.tables import read_tsv

Values = str | int | float | Sequence[str | int | float]


def train(
    reference: CellSource,
    labels_key: str,
    *,
    batch_key: str | None = None,
    gene_sets: str | Path | Sequence[str | Path] | None = None,
    query: CellSource | None = None,
    keep: Mapping[str, Values] | None = None,
    drop: Mapping[str, Values] | None = None,
    layer: str | None = None,
    scale: str | None = None,
    reading: ReadingOptions = AS_IT_IS,
    query_reading: ReadingOptions = AS_IT_IS,
    prepare: Mapping[str, Any] | None = None,
    preset: str = "default",
    overrides: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int = 1,
    progress: bool = True,
) -> Model:
    """Train a Teacher and a Student on labelled cells.

    Parameters
    ----------
    reference
        Labelled cells, counts or log-normalised; an AnnData is not changed.
    labels_key
        Column of obs with the labels.
    batch_key
        Column of obs with the batches, within which variable genes are looked for.
    gene_sets
        GMT files whose sets become the pathways. Default: the programmes of blood cells that come
        with plkd if they fit the genes, else groups of genes that go together in the reference
        (the mask `modules`), with a warning.
    query
        Cells that are to be labelled: the model then uses only genes that they have, and what it
        learns from is weighed by how far away they are, as in the pipeline. Their labels are not
        read.
    keep, drop
        Columns of obs with the values that cells of the reference must, or must not, have.
    layer
        Layer with the values, instead of X; short for ``reading``.
    scale
        What the values are, if it is misjudged: counts, log1p, log2, log10 or linear (CPM, TPM,
        corrected counts); short for ``reading``.
    reading, query_reading
        How to read the reference, and the query.
    prepare
        Choice of cells and genes, the keys of `prepare` of a data set in the configuration:
        `n_genes`, `min_cells_per_gene`, `min_cells_per_label`, ..
    preset
        Settings to start from: default, fast, paper or authors_code.
    overrides
        Single settings, as in a variant of the configuration: ``{"teacher": {"width": 32}}``.
    seed
        Random state: the same seed gives the same model.
    device
        auto, cpu, cuda, cuda:1, ..
    threads
        Of torch, while it trains; a step is so small that more than one seldom gain anything, and
        wait for each other on a busy machine. Large references are cross-fitted in as many
        processes as there are cores all the same.
    progress
        Show progress bars.

    Returns
    -------
    Model
        For :func:`annotate` and :func:`explain`; ``model.save("folder")`` keeps it.

    Raises
    ------
    InputError
        If the cells, the gene sets or a setting cannot be used.
    """
    settings = resolve({"preset": preset, **(overrides or {})})
    source = SourceSettings(
        reading=_with(reading, layer=layer, scale=scale),
        labels_key=labels_key,
        batch_key=batch_key,
        keep=keep or {},
        drop=drop or {},
    )
    choices = PrepareSettings.from_config(prepare)
    prepared, measured = prepare_reference(
        reference,
        source,
        choices,
        query=query,
        query_reading=query_reading,
        progress=progress,
    )
    genes = prepared.genes
    sets, settings = _gene_sets(gene_sets, prepared, settings)
    mask = build_mask(
        genes=genes, gene_sets=sets, background=measured["gene"].tolist(), **vars(settings.mask)
    )
    some_of_query = None
    if query is not None and settings.jury.members == "all":
        some_of_query = sample_of_query(
            query, genes, QUERY_CELLS, choices, reading=query_reading, progress=progress
        )
    with one_thread_each(), joined(choose_device(device, threads=threads)) as own_device:
        return train_model(
            Reference.from_names(
                prepared.X, prepared.labels, genes, prepared.batches, prepared.spatial
            ),
            mask,
            settings,
            seed=seed,
            query=some_of_query,
            device=own_device,
            n_jobs=processes_for(len(prepared.obs), own_device),
            provenance={"reference": _name_of(reference), "labels_key": labels_key},
            progress=progress,
        )


def annotate(
    query: CellSource,
    model: Model | str | Path,
    *,
    output: str | Path | None = None,
    labels_only: bool = False,
    key_added: str = KEY_ADDED,
    groups: str | None = None,
    cluster: bool = False,
    least_agreement: float = LEAST_AGREEMENT,
    label_tree: str | Path | Mapping[str, list[str]] | None = None,
    level: float = LEVEL,
    top_labels: int = 1,
    slide: bool | int = False,
    batch_key: str | None = None,
    copy: bool = False,
    inplace: bool = True,
    layer: str | None = None,
    scale: str | None = None,
    reading: ReadingOptions = AS_IT_IS,
    device: str = "auto",
    chunk_cells: int = CHUNK_CELLS,
    progress: bool = True,
) -> ad.AnnData | pd.DataFrame | None:
    """Label cells with a trained model.

    An AnnData gets ``obs['plkd_label']``, ``plkd_confidence``, ``plkd_margin``, ``plkd_entropy``,
    ``plkd_unknown``, ``plkd_unknown_score``, ``plkd_reason``, ``plkd_label_or_unassigned``,
    ``plkd_prediction_set``, ``obsm['X_plkd']``,
    ``obsm['plkd_probabilities']`` and ``uns['plkd']``, see
    :func:`plkd.prediction.annotated_copy.write_annotated`. A file is not changed; with `output` an
    annotated copy of it is written.

    Parameters
    ----------
    query
        Cells, counts or log-normalised, genes in any order.
    model
        From :func:`train`, or the folder of one.
    output
        For a file: the annotated copy, an h5ad (of an h5mu also h5mu).
    labels_only
        The copy, an h5ad, holds what is added and the names of the cells, but no expression.
    key_added
        Stands for ``plkd`` in the names of what is added.
    groups
        Column of obs with groups of cells (``leiden``): ``plkd_group_label`` is the label that most
        cells of the group have, ``plkd_group_agreement`` their share.
    cluster
        Make the groups here: Leiden clusters of the embedding, ``plkd_cluster``.
    least_agreement
        A group whose most frequent label has a smaller share is "heterogeneous".
    label_tree
        Wider names above the labels, ``{"T cell": ["CD4 T", "CD8 T"]}`` or a YAML file of that:
        ``plkd_tree_label`` is the narrowest name that is sure enough, with ``plkd_tree_confidence``
        and what it is at every level, ``plkd_level_1``, .. from the widest.
    level
        Probability that a name of the tree must reach, above 0.5.
    top_labels
        So many labels of every cell: ``plkd_label_2``, ``plkd_confidence_2``, ..
    slide
        Add ``plkd_slide_label`` and ``plkd_slide_confidence``: what is said of a cell and of the
        cells around it (``obsm['spatial']``, each batch a slide) together. True asks as many as the
        reference has shown to help, a number so many.
    batch_key
        Column of obs with the batches of the cells (donors, samples). A model whose reference has
        shown that it helps moves every batch onto the reference by itself; without a column all
        cells are one batch.
    copy
        Leave the AnnData as it is and return an annotated copy.
    inplace
        False: add nothing and return the table of predictions.
    layer
        Layer with the values, instead of X; short for ``reading``.
    scale
        What the values are, if it is misjudged: counts, log1p, log2, log10 or linear (CPM, TPM,
        corrected counts); short for ``reading``.
    reading
        How to read the cells.
    device
        auto, cpu, cuda, cuda:1, ..
    chunk_cells
        Cells of a piece, at least 2,048; each worker has one in memory.
    progress
        Show a progress bar.

    Returns
    -------
    None, AnnData or DataFrame
        Nothing for an AnnData that was annotated; its annotated copy with `copy`; the table of
        predictions (`cell_id`, `label`, `confidence`, .., one row per cell; those without counts
        have no label and the reason) for a file, and with ``inplace=False``.

    Raises
    ------
    InputError
        If the cells cannot be read or have too few of the model's genes.
    """
    trained = _loaded(model)
    network = trained.require("student")
    reading = _with(reading, layer=layer, scale=scale)
    options: dict[str, Any] = {
        "batch_key": batch_key,
        "provenance": provenance_of(trained),
        "device": choose_device(device),
        "chunk_cells": chunk_cells,
        "progress": progress,
        "reading": reading,
    }
    tree = None
    if label_tree is not None:
        tree = (
            LabelTree.read(label_tree, trained.labels)
            if isinstance(label_tree, str | Path)
            else LabelTree.of(label_tree, trained.labels)
        )
    further = FurtherLabels(
        groups,
        cluster,
        least_agreement,
        tree,
        level,
        top_labels,
        surroundings_for(slide, network),
    )
    if output is not None:
        if isinstance(query, ad.AnnData):
            raise InputError(
                "`output` is for a file of cells; an AnnData is annotated itself: call "
                "`annotate(query, model)`, then `query.write_h5ad(..)`."
            )
        tables: list[pd.DataFrame] = []
        annotate_file(
            network,
            query,
            output,
            labels_only=labels_only,
            also=tables.append,
            key_added=key_added,
            further=further,
            **options,
        )
        return pd.concat(tables, ignore_index=True)
    predicted = predict_cells(network, query, **options)
    if not (inplace and isinstance(query, ad.AnnData)):
        return predicted.table_of_all()
    cells = query.copy() if copy else query
    on_slide = None
    if further.has_slide:
        slides = None if batch_key is None else cells.obs[batch_key]
        on_slide = OnSlide.of(cells.obsm.get("spatial"), slides, "the AnnData")
    annotation = annotation_of(
        predicted, key_added, further=further, obs=cells.obs, on_slide=on_slide
    )
    add_annotation(cells, annotation)
    return cells if copy else None


def label_tree(
    labels: CellSource | pd.DataFrame,
    labels_key: str,
    *,
    ids_key: str = "cell_type_ontology_term_id",
    ontology: str | Path,
) -> dict[str, list[str]]:
    """Make wider names above labels from their Cell Ontology ids.

    Parameters
    ----------
    labels
        Cells with the ids in `obs`, as those of CELLxGENE have them, or a table with a row for each
        label (a DataFrame, or a ``.tsv`` file).
    labels_key, ids_key
        Its columns of labels, and of ids such as ``CL:0000084``.
    ontology
        The Cell Ontology in OBO format, ``cl-basic.obo`` of the OBO Foundry.

    Returns
    -------
    dict
        ``{parent: [children]}``, the `label_tree` of :func:`annotate`.

    Raises
    ------
    InputError
        If a file or a column is missing, or an id is none of the ontology.

    Examples
    --------
    >>> tree = plkd.label_tree(
    ...     "reference.h5ad", "cell_type", ontology="cl-basic.obo"
    ... )  # doctest: +SKIP
    >>> plkd.annotate(query, model, label_tree=tree)  # doctest: +SKIP
    """
    name = "the table" if isinstance(labels, pd.DataFrame | ad.AnnData) else f"'{labels}'"
    if isinstance(labels, pd.DataFrame):
        table = labels
    elif isinstance(labels, str | Path) and Path(labels).suffix == ".tsv":
        table = read_tsv(labels, {labels_key: str, ids_key: str})
    else:
        table = read_obs(labels)
    ids = ids_of_labels(table, labels_key, ids_key, name)
    return tree_above(ids, read_ontology(ontology))


class Explanation(interpretation.Explanation):
    """Why cells got their label; what :func:`explain` returns.

    ``genes`` and ``pathways`` are tables, strongest first; further attributes are those of
    :class:`plkd.interpret.explain.Explanation`.
    """

    @property
    def table(self) -> pd.DataFrame:
        """One row per gene and token: `label`, `kind` (gene, pathway, other token), `name`, .."""
        return interpretation.explanation_table(self)

    def to_dict(self) -> dict[str, Any]:
        """All but the single cells as plain values, ready for JSON."""
        names = [one.name for one in fields(self) if one.name != "attributions"]
        plain = {name: getattr(self, name) for name in names}
        for name in ("genes", "pathways"):
            if plain[name] is not None:
                plain[name] = plain[name].to_dict("records")
        return plain

    def text(self, top: int = 10) -> str:
        """The explanation in lines, with the strongest genes and pathways."""
        return interpretation.explanation_text(self, top)

    def plot(self, *, top: int = 15) -> Any:
        """Draw it; returns the matplotlib figure."""
        from plkd.figures.explain import plot_explanation
        from plkd.figures.style import style

        with style():
            return plot_explanation(self, top=top)

    def __str__(self) -> str:
        return self.text()


def explain(
    query: CellSource,
    model: Model | str | Path,
    *,
    cell: str | None = None,
    label: str | None = None,
    obs: tuple[str, str] | None = None,
    batch_key: str | None = None,
    layer: str | None = None,
    scale: str | None = None,
    reading: ReadingOptions = AS_IT_IS,
    seed: int = 0,
) -> Explanation:
    """Say why a cell, or several, got their label: genes and pathways.

    Parameters
    ----------
    query
        Cells, as for :func:`annotate`.
    model
        From :func:`train`, or the folder of one.
    cell
        Barcode of the cell to explain; or
    label
        a label: the cells that the model gives it; or
    obs
        a column of obs and a value.
    batch_key
        As for :func:`annotate`.
    layer
        Layer with the values, instead of X; short for ``reading``.
    scale
        What the values are, if it is misjudged: counts, log1p, log2, log10 or linear (CPM, TPM,
        corrected counts); short for ``reading``.
    reading
        How to read the cells.
    seed
        Random state by which cells of a large group are drawn.

    Raises
    ------
    InputError
        If there is no such cell, label, column or value, or the cells cannot be read.
    """
    found = interpretation.explain_file(
        _loaded(model),
        query,
        cell=cell,
        label=label,
        obs=obs,
        batch_key=batch_key,
        seed=seed,
        reading=_with(reading, layer=layer, scale=scale),
    )
    return Explanation(**vars(found))


def report(
    query: CellSource,
    model: Model | str | Path,
    output: str | Path,
    *,
    batch_key: str | None = None,
    truth_key: str | None = None,
    layer: str | None = None,
    scale: str | None = None,
    reading: ReadingOptions = AS_IT_IS,
    seed: int = 0,
    device: str = "auto",
    progress: bool = True,
) -> None:
    """Write a page for a browser on a query and its labels: one HTML file that needs nothing else.

    What to know first, a map of the cells by label, confidence or gene, why a cell has its label,
    what a cut by confidence costs, every label beside the reference, and the labels as a table.

    Parameters
    ----------
    query
        Cells, as for :func:`annotate`; annotated ones are labelled anew, their map
        (``obsm['X_plkd_umap']``) is kept.
    model
        From :func:`train`, or the folder of one.
    output
        The HTML file.
    batch_key
        Column of obs with the batches, which are then compared with one another.
    truth_key
        Column of obs with known labels, which are then set beside those of the model.
    layer
        Layer with the values, instead of X; short for ``reading``.
    scale
        What the values are, if it is misjudged: counts, log1p, log2, log10 or linear (CPM, TPM,
        corrected counts); short for ``reading``.
    reading
        How to read the cells.
    seed
        Random state of the map and of the choice of the cells that are explained.
    device
        auto, cpu, cuda, cuda:1, ..
    progress
        Show progress bars.

    Raises
    ------
    InputError
        If the cells cannot be read, lack a column, or have too few of the model's genes.
    """
    trained = _loaded(model)
    with label_file(
        query,
        trained,
        _with(reading, layer=layer, scale=scale),
        batch_key=batch_key,
        truth_key=truth_key,
        seed=seed,
        device=choose_device(device),
        progress=progress,
    ) as labelled:
        content = page_content(labelled, trained, seed=seed, progress=progress)
    write_page(content, output)


def evaluate(
    predictions: pd.DataFrame | Mapping[str, pd.DataFrame],
    labels: pd.Series,
    model: Model | str | Path,
) -> dict[str, pd.DataFrame]:
    """Score predictions against known labels.

    Parameters
    ----------
    predictions
        Table of :func:`annotate` (``inplace=False``), or several by the name of the method.
    labels
        Known label of each cell, its index the cell ids: ``adata.obs["cell_type"]``.
    model
        Which labels the reference has: cells of others should come out as unknown.

    Returns
    -------
    dict of DataFrame
        `metrics` (accuracy, macro F1, calibration error, ..), `per_label`, `abundance`,
        `confusion` and `confidence`.

    Raises
    ------
    InputError
        If a cell has no known label in `labels`.
    """
    tables = {"plkd": predictions} if isinstance(predictions, pd.DataFrame) else dict(predictions)
    known = labels[labels.notna()].astype(str)
    truth = pd.DataFrame({"cell_id": known.index.astype(str), "label": known.to_numpy()})
    return evaluate_methods(tables, truth, _loaded(model).cells_per_label)


def compute_gene_activity(
    cells: CellSource, annotation: str | Path, *, output: str | Path | None = None, **options: Any
) -> ad.AnnData:
    """Turn open chromatin (peaks or fragments) into the activity of genes.

    Parameters
    ----------
    cells
        Counts of cells x peaks, or a file of fragments.
    annotation
        Genes: GTF, GFF3 or BED.
    output
        Keep the result in this h5ad.
    **options
        Of :func:`plkd.gene_activity.write_gene_activity`: `rule`, `upstream`, `chromosomes`, ..

    Returns
    -------
    AnnData
        Cells x genes, which can be annotated, or serve as a reference, like RNA.

    Raises
    ------
    InputError
        If the cells or the annotation cannot be used.
    """
    from plkd.gene_activity import write_gene_activity

    with tempfile.TemporaryDirectory(prefix="plkd-activity-") as scratch:
        path = Path(scratch) / "activity.h5ad" if output is None else Path(output)
        write_gene_activity(cells, annotation, path, **options)
        return ad.read_h5ad(path)


def _with(reading: ReadingOptions, **options: Any) -> ReadingOptions:
    """The reading options with those that were given by themselves."""
    return replace(reading, **{name: one for name, one in options.items() if one is not None})


def _loaded(model: Model | str | Path) -> Model:
    return model if isinstance(model, Model) else load_model(model)


def _gene_sets(
    files: str | Path | Sequence[str | Path] | None, prepared: PreparedCells, settings: Settings
) -> tuple[dict[str, GeneSet] | None, Settings]:
    """The gene sets to use, and settings for a mask of them; without any that fit, modules."""
    of_mask = settings.mask
    if of_mask.kind == "modules":
        if files is not None:
            logger.warning("the gene sets are not used: mask.kind is modules, which needs none")
    elif files is not None:
        return read_gmts([files] if isinstance(files, str | Path) else list(files)), settings
    else:
        sets = choose_gene_sets(
            prepared.genes, min_genes=of_mask.min_genes, max_genes=of_mask.max_genes
        )
        if sets is not None or of_mask.kind != "pathways":
            return sets, settings
        logger.warning("tokens are groups of genes that go together in the reference (modules)")
        settings = replace(settings, mask=replace(of_mask, kind="modules"))
    rows = sample_rows(prepared.n_cells, CELLS)
    sets = gene_modules(prepared.take(rows), prepared.genes, prepared.batches[rows])
    return sets, settings


def _name_of(cells: CellSource) -> str:
    return "AnnData" if isinstance(cells, ad.AnnData) else Path(cells).name
