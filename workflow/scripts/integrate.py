"""Put reference and query into one space by a method of config/integrators.tsv.

Whatever becomes of the method, there is a file and an outcome: of a method that could not run the
embedding is of no cell, and the outcome holds the reason.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from plkd.evaluation.integrators import all_components, batches_to_mix, split_sides
from plkd.pipeline.environments import NotProvidedError, python_of
from plkd.pipeline.measured import run_measured
from plkd.prediction.predict import write_embedding
from plkd.utils.files import scratch_folder, write_json
from plkd.utils.logs import logger, run_script
from run_method import read_told, surroundings

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    reference, query = snakemake.input.reference, snakemake.input.query
    components = all_components(reference, query)
    embedding, told = components, {"reason": ""}
    if snakemake.params.method["script"] != "-":
        batches = batches_to_mix(reference, query, snakemake.params.crossing)
        embedding, told = elsewhere(snakemake, components, batches)
    if told["reason"]:
        logger.warning("%s has no result: %s", snakemake.wildcards.integrator, told["reason"])
        sides = {role: (ids[:0], part[:0]) for role, (ids, part) in
                 split_sides(components, reference, query).items()}  # fmt: skip
    else:
        sides = split_sides(embedding, reference, query)
    write_embedding(sides, snakemake.output.embedding)
    write_json(snakemake.output.outcome, {"method": snakemake.wildcards.integrator, **told})


def elsewhere(snakemake, components, batches) -> tuple[np.ndarray, dict]:
    """Run the method's script in the environment of its lock: the embedding, and what is known."""
    method, limits = snakemake.params.method, snakemake.params.limits
    with scratch_folder(Path(snakemake.output.outcome).parent) as folder:
        np.save(folder / "components.npy", components)
        job = {
            "reference": str(Path(snakemake.input.reference).absolute()),
            "query": str(Path(snakemake.input.query).absolute()),
            "batches": list(map(str, batches)),
            "seed": 0,
            "threads": snakemake.threads,
        }
        write_json(folder / "job.json", job)
        try:
            python = python_of(
                method["environment"], snakemake.input.lock, snakemake.params.environments
            )
        except NotProvidedError as error:
            return components, {"reason": str(error)}
        cost = run_measured(
            [python, Path(snakemake.input.script[0]).absolute(), folder],
            seconds=limits["seconds"],
            memory_mb=limits["memory_mb"],
            log=snakemake.log[0],
            environment=surroundings(method, snakemake.threads),
            folder=folder,
        )
        told = read_told(folder / "told.json")
        reason = told.pop("reason", "") or cost.reason
        embedding = components if reason else np.load(folder / "embedding.npy")
    if not reason and (len(embedding) != len(components) or not np.isfinite(embedding).all()):
        reason = "failed: its embedding is not of these cells"
    return embedding, {**told, "reason": reason, "seconds": cost.seconds}


if __name__ == "__main__":
    run_script(main, snakemake)
