"""Run one of the methods of config/methods.tsv on prepared cells, within limits; say what it cost.

Whatever becomes of the method, there are predictions and an outcome: of a method that could not
run the predictions are of no cell, and the outcome holds the reason.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from methods.exchange import Cells
from plkd.errors import InputError
from plkd.pipeline.environments import NotProvidedError, python_of, r_with
from plkd.pipeline.measured import Cost, machine, run_measured
from plkd.prediction.table import prediction_table, write_predictions
from plkd.utils.files import intact, scratch_folder, write_json
from plkd.utils.logs import logger, run_script
from plkd.utils.text import listed

SCRIPTS = Path(__file__).resolve().parent
# Numerical libraries start a thread per core each, unless one of these says otherwise.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
R_PACKAGES = ("hdf5r", "jsonlite")  # that methods/exchange.R needs


def main(job) -> None:
    method, output = job.settings, job.output
    # by h5py alone: to import anndata takes longer than a control takes
    with intact(job.input.reference, "prepare"):
        labels_of_cells = list(map(str, Cells(job.input.reference).labels))
    with intact(job.input.query, "prepare"):
        cells = pd.Index(Cells(job.input.query).ids)
    labels = sorted(set(labels_of_cells))
    told: dict = {}
    cost = Cost("", 0.0, 0.0, 0.0)
    probabilities = np.zeros((0, len(labels)))
    with scratch_folder(Path(output.outcome).parent) as folder:
        try:
            interpreter = interpreter_of(method, job.input.script, job.input.lock)
            write_json(folder / "job.json", content_of(job))
            cost = run_measured(
                [interpreter, job.input.script, folder],
                seconds=method["limits"]["seconds"],
                memory_mb=method["limits"]["memory_mb"],
                log=job.log[0],
                environment=surroundings(method, job.threads),
                folder=folder,
            )
            told = read_told(folder / "told.json")
            reason = told.pop("reason", "") or cost.reason
            if not reason:
                probabilities = read_probabilities(folder / "probabilities.csv", cells, labels)
        except (NotProvidedError, InputError) as error:
            reason = str(error)
    if reason:
        logger.warning("%s has no result: %s", method["id"], reason)
    named = cells if len(probabilities) else cells[:0]
    write_predictions(prediction_table(named, labels, probabilities), output.predictions)
    costs = {**asdict(cost), **told, "reason": reason}
    n_cells = {"n_reference": len(labels_of_cells), "n_query": len(cells)}
    about = {**n_cells, "threads": job.threads}
    write_json(output.outcome, {"method": method["id"], **costs, **about, "machine": machine()})


def interpreter_of(method: dict, script: str, lock: str | None) -> Path:
    """What runs a method's script; that of the conda environment where Snakemake made one."""
    if method["missing"]:
        raise NotProvidedError(method["missing"])
    try:
        if script.endswith(".R"):
            packages = [*R_PACKAGES, *method["r_packages"]]
            return r_with(*packages, install=f"apt install {' '.join(method['debian'])}")
        if method["in_conda"]:
            return Path("python")
        if lock is None:
            return Path(sys.executable)
        return python_of(method["environment"], lock, method["environments"])
    except NotProvidedError as error:  # what mends that is no file that Snakemake looks at
        again = f"find results -path '*/methods/*' -name '{method['id']}.*' -delete"
        raise NotProvidedError(
            f"{error}; once that is mended, run it again: {again}, and snakemake as before"
        ) from error


def content_of(job) -> dict:
    """What the script is told; see methods/exchange.py."""
    method = job.settings
    return {
        "method": method["id"],
        "reference": absolute(job.input.reference),
        "query": absolute(job.input.query),
        "seed": int(method["seed"]),
        "threads": job.threads,
        "device": method["device"].split(":")[0],  # of the one that it sees; see surroundings
        "provided": method["provided"] and absolute(method["provided"]),
    }


def surroundings(method: dict, threads: int) -> dict[str, str]:
    """Variables of the script's environment.

    Many packages take a GPU wherever they see one, and the first: a script sees none but that of
    the configuration.
    """
    around = {**os.environ, **dict.fromkeys(THREADS, str(threads)), "PYTHONUNBUFFERED": "1"}
    seen = visible_devices(method["device"], os.environ.get("CUDA_VISIBLE_DEVICES"))
    if seen is not None:
        around["CUDA_VISIBLE_DEVICES"] = seen
    around.pop("PYTHONPATH", None)
    if method["environment"] == "plkd":
        around["PYTHONPATH"] = str(SCRIPTS)
    return around


def visible_devices(device: str, seen: str | None) -> str | None:
    """What CUDA_VISIBLE_DEVICES should be, so that a device is the only one; None: as it is.

    >>> visible_devices("cpu", None), visible_devices("cuda:1", None), visible_devices("auto", None)
    ('', '1', None)
    >>> visible_devices("cuda:1", "4,6")  # numbers count what this process sees
    '6'
    """
    if device == "cpu":
        return ""
    index = device.partition(":")[2]
    if not index or seen is None:
        return index or None
    names = [name for name in seen.split(",") if name]
    if int(index) >= len(names):
        raise NotProvidedError(
            f"there is no device '{device}': CUDA_VISIBLE_DEVICES is '{seen}' on this machine"
        )
    return names[int(index)]


def absolute(path: str) -> str:
    return str(Path(path).absolute())


def read_told(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def read_probabilities(path: Path, cells: pd.Index, labels: list[str]) -> np.ndarray:
    """Probabilities of all labels of the reference for all cells, in their order.

    A label that the method does not know of has none.
    """
    if not path.exists():
        raise InputError("failed: it ended without a result")
    table = pd.read_csv(path, dtype={"cell_id": str}, keep_default_na=False, na_values={})
    table = table.set_index("cell_id")
    strange = table.columns.difference(labels)
    if len(strange):
        raise InputError(f"failed: its labels {listed(strange)} are not in the reference")
    if not table.index.is_unique or set(table.index) != set(cells):
        raise InputError("failed: its cells are not those of the query")
    matrix = table.reindex(index=cells, columns=labels).fillna(0.0).to_numpy(dtype=float)
    sums = matrix.sum(axis=1, keepdims=True)
    if not np.isfinite(matrix).all() or (matrix < 0).any() or (sums <= 0).any():
        raise InputError("failed: it gave something that is no probability")
    return matrix / sums


def parsed() -> SimpleNamespace:
    """The job of the command line, as Snakemake gives it to scripts."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("reference", "query", "predictions", "outcome", "log"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--script", nargs="*", type=absolute, help="the method's; what it shares")
    parser.add_argument("--lock", nargs="?", help="requirements of the environment to make")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--settings", type=json.loads, required=True)
    given = parser.parse_args()
    return SimpleNamespace(
        input=SimpleNamespace(
            reference=given.reference,
            query=given.query,
            script=(given.script or [None])[0],
            lock=given.lock,
        ),
        output=SimpleNamespace(predictions=given.predictions, outcome=given.outcome),
        log=[given.log],
        threads=given.threads,
        settings=given.settings,
    )


if __name__ == "__main__":
    run_script(main, parsed())
