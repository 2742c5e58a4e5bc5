"""Put reference and query into one space by a method of config/integrators.tsv.

Whatever becomes of the method, there is a file and an outcome: of a method that could not run the
embedding is of no cell, and the outcome holds the reason.
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd

from plkd.errors import InputError
from plkd.evaluation.integrators import (
    all_components,
    batches_to_mix,
    paired_cells,
    split_sides,
)
from plkd.gene_activity.annotation import read_annotation
from plkd.gene_activity.peaks import parse_peaks
from plkd.gene_activity.weights import peaks_at_genes
from plkd.io.cells import open_cells
from plkd.io.embedding import write_embedding
from plkd.pipeline.environments import NotProvidedError
from plkd.pipeline.measured import Cost, machine, run_measured
from plkd.preparation.prepared import PreparedCells
from plkd.settings.datasets import ReadingOptions
from plkd.utils.files import scratch_folder, write_json
from plkd.utils.logs import logger, run_script
from run_method import absolute, interpreter_of, read_told, surroundings

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    given, method = snakemake.input, snakemake.params.settings
    components = all_components(given.reference, given.query)
    cost, told, reason = Cost("", 0.0, 0.0, 0.0), {}, ""
    embedding = components
    if given.script or method["runs"] != "library":  # else it is the components themselves
        try:
            embedding, cost, told = elsewhere(snakemake, components)
        except (NotProvidedError, InputError) as error:
            reason = str(error)
        reason = reason or told.pop("reason", "") or cost.reason or wrong(embedding, components)
    sides = split_sides(components if reason else embedding, given.reference, given.query)
    if reason:
        logger.warning("%s has no result: %s", method["id"], reason)
        sides = {role: (ids[:0], part[:0]) for role, (ids, part) in sides.items()}
    write_embedding(sides, snakemake.output.embedding)
    about = {**asdict(cost), **told, "reason": reason, "n_cells": len(components)}
    about |= {"threads": snakemake.threads, "machine": machine()}
    write_json(snakemake.output.outcome, {"method": method["id"], **about})


def elsewhere(snakemake, components: np.ndarray) -> tuple[np.ndarray | None, Cost, dict]:
    """Run the method's script: the embedding, what it took, and what it told of itself."""
    given, params = snakemake.input, snakemake.params
    method, crossing = params.settings, params.crossing
    pairs = paired_cells(given.reference, given.query) if crossing else np.empty((0, 2), int)
    require_what_it_reads(method["reads"], crossing, len(pairs))
    script = first(given.script)
    interpreter = interpreter_of(method, script, first(given.lock))
    with scratch_folder(Path(snakemake.output.outcome).parent) as folder:
        np.save(folder / "components.npy", components)
        if method["reads"] in ("peaks", "pairs"):
            peaks_of_query(given, params.reading).write_h5ad(folder / "peaks.h5ad")
        job = {
            "method": method["id"],
            "reference": absolute(given.reference),
            "query": absolute(given.query),
            "batches": list(map(str, batches_to_mix(given.reference, given.query, crossing))),
            "pairs": pairs.tolist(),
            "provided": method["provided"] and absolute(method["provided"]),
            "seed": method["seed"],
            "threads": snakemake.threads,
        }
        write_json(folder / "job.json", job)
        cost = run_measured(
            [interpreter, absolute(script), folder],
            seconds=method["limits"]["seconds"],
            memory_mb=method["limits"]["memory_mb"],
            log=snakemake.log[0],
            environment=surroundings(method, snakemake.threads),
            folder=folder,
        )
        path = folder / "embedding.npy"
        found = np.load(path) if path.exists() and not cost.reason else None
        return found, cost, read_told(folder / "told.json")


def require_what_it_reads(reads: str, crossing: bool, n_pairs: int) -> None:
    """Refuse, before anything is installed, a method for data that it has nothing to say of."""
    if reads in ("peaks", "pairs") and not crossing:
        raise NotProvidedError(
            "it puts expression and accessibility together, and these cells are of one modality"
        )
    if reads == "pairs" and not n_pairs:
        raise NotProvidedError(
            "it learns from cells that were measured twice, and these are different cells"
        )


def peaks_of_query(given, reading: dict) -> ad.AnnData:
    """Counts of the query's peaks, its cells as prepared; in `varm` the genes where they lie."""
    asked = PreparedCells.read(given.query)
    with open_cells(given.peaks, ReadingOptions.from_config(reading)) as file:
        counts = file.take(asked.source_rows)
        peaks = parse_peaks(file.var, f"'{given.peaks}', var")
    links = peaks_at_genes(peaks, read_annotation(given.annotation), asked.genes)
    if not links.nnz:
        raise InputError("no peak lies at any of these genes by the annotation of the query")
    return ad.AnnData(
        counts,
        obs=pd.DataFrame(index=asked.cell_ids),
        var=peaks.set_index("peak"),
        varm={"genes": links},
    )


def wrong(embedding: np.ndarray | None, components: np.ndarray) -> str:
    """What is wrong with an embedding; "" if nothing is."""
    if embedding is None:
        return "failed: it ended without a result"
    if embedding.ndim != 2 or len(embedding) != len(components):
        return "failed: its embedding is not of these cells"
    return "" if np.isfinite(embedding).all() else "failed: its embedding holds no numbers"


def first(given: str | list[str]) -> str | None:
    """The first file of an input that may have none."""
    return given if isinstance(given, str) else next(iter(given), None)


if __name__ == "__main__":
    run_script(main, snakemake)
