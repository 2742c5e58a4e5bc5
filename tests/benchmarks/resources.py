"""What every rule takes beside what it asks for, at several sizes of reference and query.

``python tests/benchmarks/resources.py --cells 1000 10000`` simulates cells, runs the pipeline on
them, and makes one table of Snakemake's own measurements (``--help`` lists the options).
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

HERE = Path(__file__).resolve()
REPOSITORY = HERE.parents[2]
sys.path[:0] = [str(HERE.parent), str(REPOSITORY / "workflow/scripts")]

from measuring import Table, as_text, processor  # noqa: E402

import plkd  # noqa: E402
from plkd.simulation.project import write_project  # noqa: E402

GENES = 3000
NO_REQUEST_MB = 4000  # of profiles/slurm, for rules that ask for nothing


def run(n_cells: int, target: str, settings: dict[str, Any], cores: int, folder: Path) -> None:
    """Run the pipeline on so many reference cells, and half as many of a query."""
    sides = plkd.simulate(
        n_cells=n_cells, n_query_cells=n_cells // 2, n_genes=GENES, n_labels=12, seed=0
    )
    write_project(folder / "sim", *sides)
    configuration = yaml.safe_load((folder / "sim" / "my_data.yaml").read_text(encoding="utf-8"))
    configuration["variants"] = {"default": settings}
    (folder / "configuration.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
    command = ["-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
    command += ["--cores", str(cores), "--configfile", "configuration.yaml", "--keep-going"]
    command += ["--benchmark-extended", "--", target]
    subprocess.run([sys.executable, *command], cwd=folder, check=True)


def measured(folder: Path) -> pd.DataFrame:
    """The most that jobs of each rule took: `mb`, `cpu` (seconds), `input_mb`; `asked` (MB).

    Snakemake looks every half second at first and every half minute later, so that it may miss the
    end of a step; steps that measure themselves (`costs/`) miss nothing.
    """
    rows: list[dict[str, Any]] = []
    for path in (folder / "results").rglob("cost*/**/*.json"):
        cost = json.loads(path.read_text())
        rows.append({"rule": path.stem, "mb": cost["peak_mb"], "cpu": cost["cpu_seconds"]})
    for path in (folder / "benchmarks").rglob("*.tsv"):
        for row in pd.read_csv(path, sep="\t").to_dict("records"):
            resources = ast.literal_eval(row["resources"])
            rows.append(
                {
                    "rule": row["rule_name"],
                    "mb": row["max_rss"],
                    "cpu": row["cpu_time"],
                    "input_mb": sum(ast.literal_eval(row["input_size_mb"]).values()),
                    "asked": resources.get("mem_mb", NO_REQUEST_MB),
                }
            )
    return pd.DataFrame(rows).groupby("rule").max()


def table(found: dict[int, pd.DataFrame]) -> Table:
    """Of every rule at every size: memory taken and asked for, and processor time."""
    rows = [["rule"]]
    for n_cells in found:
        rows[0] += [f"{n_cells:,} cells: input", "takes", "asks for", "processor"]
    for rule in sorted({rule for one in found.values() for rule in one.index}):
        rows.append([rule])
        for one in found.values():
            if rule not in one.index:
                rows[-1] += [""] * 4
                continue
            taken = one.loc[rule]
            rows[-1] += [f"{taken['input_mb']:,.1f} MB", f"{taken['mb']:,.0f} MB"]
            rows[-1] += [f"{taken['asked']:,.0f} MB", f"{taken['cpu']:,.0f} s"]
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("results/benchmark/resources.md"))
    parser.add_argument("--cells", type=int, nargs="+", default=[1000, 10_000], help="sizes")
    parser.add_argument("--labels-from", type=int, default=100_000, metavar="N",
                        help="size from which on the target is `labels`, not `all`")  # fmt: skip
    parser.add_argument("--epochs", type=int, help="of the trainings, which then are short")
    parser.add_argument("--cores", type=int, default=2)
    choice = parser.parse_args(arguments)
    settings: dict[str, Any] = {"preset": "default"}
    if choice.epochs:
        short = {"epochs": choice.epochs, "min_steps": 0}
        settings |= {"teacher_training": short, "student_training": short}
    found = {}
    for n_cells in choice.cells:
        target = "labels" if n_cells >= choice.labels_from else "all"
        with tempfile.TemporaryDirectory() as folder:
            run(n_cells, target, settings, choice.cores, Path(folder))
            found[n_cells] = measured(Path(folder))
    title = "Memory and processor time of every rule"
    text = f"{processor()}.\n\n{as_text(title, table(found))}"
    choice.output.parent.mkdir(parents=True, exist_ok=True)
    choice.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
