"""Other methods: their environments, their limits, and what becomes of one that fails.

No package is installed here: the scripts are written by the tests and run by this very Python.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import textwrap
import time
import types
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import psutil
import pytest

import exchange
import run_method
from plkd.pipeline import environments
from plkd.pipeline import measured as measuring
from plkd.pipeline.environments import NotProvidedError, environment_key, python_of, r_with
from plkd.pipeline.measured import how_it_ended, machine, run_measured
from plkd.pipeline.methods import RUNS, read_registry
from plkd.prediction.table import label_names, label_probabilities, read_predictions
from plkd.preparation.prepare import PreparedPaths, prepare_dataset
from project import REPOSITORY
from simulated import make_cells

EXCHANGE = Path(exchange.__file__)


# ------------------------------------------------------------------------------ environments


@pytest.fixture
def made(monkeypatch) -> list[Path]:
    """Environments that are made; to make one takes seconds, so that it is only pretended."""
    places: list[Path] = []

    def make(place: Path, lock: Path) -> None:
        (place / "bin").mkdir(parents=True)
        places.append(place)

    monkeypatch.setattr(environments, "_make", make)
    return places


def test_an_environment_is_made_once_for_each_lock(tmp_path, made):
    locks = {name: tmp_path / f"{name}.lock" for name in ("one", "same", "other")}
    for name, lock in locks.items():
        lock.write_text(f"# {name}\n{'b==2' if name == 'other' else 'a==1'}\n")
    first = python_of("tool", locks["one"], tmp_path / "environments")
    assert python_of("tool", locks["same"], tmp_path / "environments") == first
    assert python_of("tool", locks["other"], tmp_path / "environments") != first
    assert len(made) == 2


def test_what_a_killed_process_left_is_made_anew(tmp_path, made):
    lock = tmp_path / "a.lock"
    lock.write_text("a==1\n")
    half = tmp_path / f"tool-{environment_key('a==1')}"
    (half / "bin").mkdir(parents=True)
    (half / "bin" / "left").touch()
    python_of("tool", lock, tmp_path)
    assert made == [half]
    assert not (half / "bin" / "left").exists()


def test_an_environment_is_another_python(tmp_path):
    """A real one, of no packages."""
    lock = tmp_path / "empty.lock"
    lock.write_text("# nothing\n")
    python = python_of("empty", lock, tmp_path / "environments")
    code = "import sys; print(sys.prefix)"
    cost = run_measured([python, "-c", code], seconds=60, memory_mb=1000, log=tmp_path / "log")
    assert cost.reason == ""
    assert Path((tmp_path / "log").read_text().strip()) == python.parents[1]


def test_what_cannot_be_installed_is_said(tmp_path, monkeypatch):
    lock = tmp_path / "a.lock"
    lock.write_text("no-such-package==1\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(NotProvidedError, match="no-such-package==1"):
        python_of("tool", lock, tmp_path / "environments")
    assert not list((tmp_path / "environments").glob("*/"))


def test_a_missing_r_and_a_missing_package_are_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotProvidedError, match=r"no R .* apt install r-cran-x"):
        r_with("x", install="apt install r-cran-x")
    pretended = tmp_path / "Rscript"
    pretended.write_text(f"#!{sys.executable}\nprint('x', end=' ')\n")
    pretended.chmod(0o755)
    with pytest.raises(NotProvidedError, match="lacks the package x"):
        r_with("x", "y", install="apt install r-cran-x")


# ------------------------------------------------------------------------------ limits


def measured(code: str, folder: Path, **limits: float):
    given = {"seconds": 60, "memory_mb": 2000, **limits}
    return run_measured([sys.executable, "-c", code], log=folder / "log", **given)


def test_time_and_memory_are_limits_of_all_that_is_started(tmp_path):
    started = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', {!r}])"  # a child of a child
    )
    sleeping = measured(started.format("import time; time.sleep(100)"), tmp_path, seconds=0.5)
    assert sleeping.reason == "out of time: more than 0.5 seconds"
    assert sleeping.seconds < 30
    hungry = "x = bytearray(600_000_000); import time; time.sleep(100)"
    eating = measured(started.format(hungry), tmp_path, memory_mb=300)
    assert eating.reason == "out of memory: more than 300 MB"
    assert eating.peak_mb > 300


def test_a_program_ends_with_the_one_that_measures_it(tmp_path):
    """Killed by a signal that cannot be caught, as Snakemake's jobs are."""
    pid = tmp_path / "pid"
    program = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    measuring = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from plkd.pipeline.measured import run_measured; "
            "run_measured([sys.executable, '-c', sys.argv[1]], seconds=60, memory_mb=9e9, "
            "log=sys.argv[2])",
            program,
            str(tmp_path / "log"),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    end = time.monotonic() + 30
    while not (pid.exists() and pid.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    program_id = int(pid.read_text())
    measuring.kill()
    measuring.wait()
    while psutil.pid_exists(program_id) and time.monotonic() < end:
        time.sleep(0.05)
    assert not psutil.pid_exists(program_id)


def test_processor_time_is_counted(tmp_path):
    code = "import time\nwhile time.process_time() < 0.5: pass"
    assert 0.4 < measured(code, tmp_path).cpu_seconds < 20
    assert measured("import time; time.sleep(0.5)", tmp_path).cpu_seconds < 0.45


STEP = r"""
import subprocess, sys, time
from types import SimpleNamespace
from plkd.pipeline.measured import measured

BURN = "import time; x = bytearray(150_000_000)\nwhile time.process_time() < 0.4: pass"

def main(snakemake):
    x = bytearray(250_000_000)
    del x
    while time.process_time() < before + 0.6:
        pass
    subprocess.run([sys.executable, "-c", BURN], check=True)
    return {"n_query": 3}

before = time.process_time()
measured(main)(SimpleNamespace(output=SimpleNamespace(cost=sys.argv[1])))
times = __import__("os").times()
print(sum(times[:4]))
"""


def test_a_step_measures_itself_and_what_it_starts(tmp_path):
    """Also what it does after a while, which Snakemake's own measurement does not see."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    start = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", STEP, tmp_path / "cost.json"],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    cost = json.loads((tmp_path / "cost.json").read_text())
    assert cost["cpu_seconds"] == pytest.approx(float(ended.stdout), abs=0.1)
    assert cost["cpu_seconds"] > 1.0  # the two loops
    assert 0.5 < cost["seconds"] <= time.monotonic() - start + 0.1
    assert cost["peak_mb"] > 250
    assert cost["n_query"] == 3
    assert cost["reason"] == ""
    assert "cores" in cost["machine"]


def test_memory_of_gpus_is_that_of_the_processes(monkeypatch, tmp_path):
    """A stand-in for NVIDIA's driver, with two GPUs and a process of somebody else's."""
    driver = types.ModuleType("pynvml")
    running = {
        0: [(os.getpid(), 600_000_000), (1, 9_000_000_000)],
        1: [(os.getpid(), None)],
    }
    driver.NVMLError = type("NVMLError", (Exception,), {})
    driver.nvmlInit = lambda: None
    driver.nvmlDeviceGetCount = lambda: len(running)
    driver.nvmlDeviceGetHandleByIndex = lambda index: index
    driver.nvmlDeviceGetComputeRunningProcesses = lambda gpu: [
        SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in running[gpu]
    ]
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    measuring._gpus.cache_clear()
    try:
        watch = measuring.Watch(os.getpid())
        watch.look()
        running.clear()  # the most that was seen stays
        measuring._gpus.cache_clear()
        watch.look()
        assert watch.cost().peak_gpu_mb == 600
        assert measuring.Watch(os.getpid()).cost().peak_gpu_mb is None
    finally:
        measuring._gpus.cache_clear()


def test_an_error_is_the_last_that_was_said(tmp_path):
    assert measured("raise ValueError('no cells')", tmp_path).reason == (
        "failed: ValueError: no cells"
    )
    (tmp_path / "log").unlink()
    assert measured("import os; os._exit(3)", tmp_path).reason == "failed: ended with the status 3"
    assert how_it_ended(-9) == "ended by the signal SIGKILL"
    assert "cores" in machine()


# ------------------------------------------------------------------------------ the registry


def test_every_method_of_the_registry_has_a_script_or_a_reason():
    registry = read_registry(REPOSITORY / "config" / "methods.tsv")
    assert registry.index.is_unique
    others = registry[registry["kind"].isin(["baseline", "rival"])]
    for method, row in others.iterrows():
        assert row["runs"] in RUNS, method
        assert row["reads"] in ("log_values", "counts"), method
        assert row["device"] in ("cpu", "gpu"), method
        if row["script"] == "-":
            assert row["description"].startswith("No script runs it: "), method
        else:
            assert (EXCHANGE.parent / row["script"]).is_file(), method


# ------------------------------------------------------------------------------ a whole method


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> PreparedPaths:
    folder = tmp_path_factory.mktemp("prepared")
    sources = []
    for seed, role in enumerate(("reference", "query")):
        cells = make_cells(60, 40, types=3, seed=seed)
        cells.obs["cell_type"] = cells.obs["cell_type"].cat.rename_categories(
            ["B, mature", "1", 'T "']
        )
        cells.write_h5ad(folder / f"{role}.h5ad")
        sources.append(folder / f"{role}.h5ad")
    keys = {"labels_key": "cell_type", "batch_key": "batch"}
    paths = PreparedPaths.in_folder(folder / "prepared")
    config = {"name": "small", "reference": keys, "query": keys, "prepare": {"n_genes": 30}}
    prepare_dataset(config, *sources, paths)
    return paths


GUESS = """
    import exchange
    import numpy as np

    def annotate(job):
        with job.timed("training"):
            labels = job.label_names
            places = np.random.default_rng(job.seed).integers(len(labels), size=len(job.query.ids))
        job.told["parameters"] = 7
        return labels, np.eye(len(labels))[places]

    exchange.run(annotate, "numpy")
"""


def run_script(code: str, files: PreparedPaths, folder: Path, **settings: object):
    """Predictions and outcome of a method whose script is `code`."""
    shutil.copy(EXCHANGE, folder)
    script = folder / "run_it.py"
    script.write_text(textwrap.dedent(code))
    method = {
        "id": "guess", "environment": "tool", "environments": "", "in_conda": False, "missing": "",
        "provided": None, "device": "cpu", "seed": 5,
        "limits": {"seconds": 60, "memory_mb": 2000}, "r_packages": [], "debian": [],
    }  # fmt: skip
    output = {"predictions": folder / "guess.parquet", "outcome": folder / "guess.json"}
    run_method.main(
        SimpleNamespace(
            input=SimpleNamespace(
                reference=files.reference, query=files.query, script=str(script), lock=None
            ),
            output=SimpleNamespace(**output),
            log=[folder / "log"],
            threads=1,
            settings={**method, **settings},
        )
    )
    return read_predictions(output["predictions"]), json.loads(output["outcome"].read_text())


def test_a_method_gives_predictions_and_what_they_cost(files, tmp_path):
    table, outcome = run_script(GUESS, files, tmp_path)
    labels = ["1", "B, mature", 'T "']
    assert label_names(table) == labels
    drawn = np.random.default_rng(5).integers(3, size=len(table))
    np.testing.assert_array_equal(label_probabilities(table), np.eye(3)[drawn])
    assert outcome["reason"] == ""
    assert outcome["parameters"] == 7
    assert outcome["version"] == f"numpy {np.__version__}"
    assert 0 <= outcome["training_seconds"] < outcome["seconds"]
    assert (outcome["n_reference"], outcome["n_query"], outcome["threads"]) == (60, 60, 1)
    assert outcome["peak_mb"] > 1


@pytest.mark.parametrize(
    ("device", "seen", "visible", "told"),
    [
        ("cpu", "0,1", "", "cpu"),
        ("cuda:1", None, "1", "cuda"),
        ("cuda:1", "4,6", "6", "cuda"),
        ("cuda", "4,6", "4,6", "cuda"),
        ("auto", None, None, "auto"),
    ],
)
def test_a_method_sees_no_other_gpu_than_the_one_of_the_configuration(
    device, seen, visible, told, files, tmp_path, monkeypatch
):
    """Packages take the first that they see, whatever they are told."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if seen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    code = """
    import os
    import exchange
    import numpy as np

    def annotate(job):
        job.told.update(device=job.device, visible=os.environ.get("CUDA_VISIBLE_DEVICES"))
        return ["1"], np.ones((len(job.query.ids), 1))

    exchange.run(annotate)
    """
    _, outcome = run_script(code, files, tmp_path, device=device)
    assert (outcome["reason"], outcome["visible"], outcome["device"]) == ("", visible, told)


def test_a_gpu_that_is_not_there_is_said(files, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    table, outcome = run_script(GUESS, files, tmp_path, device="cuda:1")
    assert table.empty
    assert outcome["reason"].startswith("there is no device 'cuda:1'")


def test_cells_are_matched_by_name_and_labels_that_are_not_known_have_no_probability(
    files, tmp_path
):
    code = """
    import exchange, json
    import numpy as np

    def annotate(job):
        job.query.ids[:] = job.query.ids[::-1].copy()
        return ["1"], np.ones((len(job.query.ids), 1))

    exchange.run(annotate)
    """
    table, outcome = run_script(code, files, tmp_path)
    assert outcome["reason"] == ""
    assert list(table["cell_id"]) == list(exchange.Cells(files.query).ids)
    assert set(table["label"]) == {"1"}
    assert label_names(table) == ["1", "B, mature", 'T "']


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        ('["2"], np.ones((len(job.query.ids), 1))', "labels '2' are not in the reference"),
        ('["1"], np.full((len(job.query.ids), 1), np.nan)', "no probability"),
        ('["1"], -np.ones((len(job.query.ids), 1))', "no probability"),
        ('["1"], np.ones((3, 1))', "ValueError"),
        ('exchange.CannotRun("never")', "never"),
        ("job.query.counts.nothing", "AttributeError"),
    ],
)
def test_what_went_wrong_stands_in_the_outcome(returned, reason, files, tmp_path):
    verb = "raise" if returned.startswith("exchange.") else "return"
    code = f"""
    import exchange
    import numpy as np

    def annotate(job):
        {verb} {returned}

    exchange.run(annotate)
    """
    table, outcome = run_script(code, files, tmp_path)
    assert reason in outcome["reason"]
    assert table.empty
    assert label_names(table) == ["1", "B, mature", 'T "']


def test_what_is_not_provided_stands_in_the_outcome(files, tmp_path):
    table, outcome = run_script(GUESS, files, tmp_path, missing="weights not provided")
    assert table.empty
    assert outcome["reason"].startswith("weights not provided")
    assert outcome["seconds"] == 0
    table, outcome = run_script(GUESS, files, tmp_path, limits={"seconds": 0.0, "memory_mb": 1e3})
    assert table.empty
    assert outcome["reason"].startswith("out of time")


def test_how_to_run_a_method_again_is_said_where_no_file_shows_that_it_can(
    files, tmp_path, monkeypatch
):
    """A package of R that is installed, a network that is back: after the command it is due."""
    monkeypatch.setenv("PATH", str(tmp_path))
    left = [tmp_path / f"results/d/methods/{name}" for name in ("tool.json", "seed0/tool.parquet")]
    kept = [tmp_path / "results/d/methods/tool_two.json", tmp_path / "results/d/tool.json"]
    for path in (*left, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    method = {
        "id": "tool", "missing": "", "environment": "tool", "environments": str(tmp_path / "made"),
        "in_conda": False, "r_packages": ["Tool"], "debian": ["r-tool"],
    }  # fmt: skip
    lock = tmp_path / "tool.lock"
    lock.write_text("--no-index\nno-such-package==1\n")
    for script in ("run_tool.R", "run_tool.py"):
        with pytest.raises(NotProvidedError) as error:
            run_method.interpreter_of(method, script, str(lock))
        _, command = str(error.value).split("; once that is mended, run it again: ")
        command = command.removesuffix(", and snakemake as before")
    subprocess.run(shlex.split(command), check=True, cwd=tmp_path, env={"PATH": os.defpath})
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)
    with pytest.raises(NotProvidedError) as error:  # the configuration shows this one
        run_method.interpreter_of(method | {"missing": "not provided"}, "run_tool.R", None)
    assert "again" not in str(error.value)


# ------------------------------------------------------------------------------ the exchange


def test_scripts_read_prepared_cells_as_the_library_does(files):
    import anndata as ad

    for path in (files.reference, files.query):
        stored, found = ad.read_h5ad(path), exchange.Cells(path)
        assert list(found.ids) == list(stored.obs_names)
        assert list(found.genes) == list(stored.var_names)
        assert (found.log_values != stored.X).nnz == 0
        assert (found.counts != stored.layers["counts"]).nnz == 0
        assert list(found.batches) == list(stored.obs["batch"].astype(str))
    reference = exchange.Cells(files.reference)
    assert list(reference.labels) == list(ad.read_h5ad(files.reference).obs["label"].astype(str))


def test_cells_without_counts_are_said(files, tmp_path):
    import anndata as ad

    stored = ad.read_h5ad(files.query)
    del stored.layers["counts"]
    stored.obs["number"] = pd.Categorical(np.arange(stored.n_obs) % 3)
    stored.write_h5ad(tmp_path / "bare.h5ad")
    bare = exchange.Cells(tmp_path / "bare.h5ad")
    with pytest.raises(exchange.CannotRun, match="needs counts"):
        _ = bare.counts
    assert list(bare._column("number"))[:4] == ["0", "1", "2", "0"]
