"""Gather what all runs say about the truth of their explanations."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from plkd.evaluation.explanations import explanations_table
from plkd.utils.files import whole_file
from plkd.utils.logs import run_script
from plkd.utils.tables import write_html

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

NAMES = {"dataset": str, "variant": str, "label": str}
NUMBERS = ("area", "precision", "precision_planted")


def main(snakemake) -> None:
    def gathered(kind: str) -> pd.DataFrame | None:
        """Tables of all runs, with the names of the runs in front."""
        tables = []
        for path, run in zip(snakemake.input[kind], snakemake.params.runs[kind], strict=True):
            if kind == "origins":
                share = json.loads(Path(path).read_text(encoding="utf-8"))["origin_first_share"]
                table = pd.DataFrame({"origin_first_share": [share]}, dtype=float)
            else:
                table = pd.read_csv(path, sep="\t", dtype=NAMES, keep_default_na=False,
                                    na_values={name: [""] for name in NUMBERS})  # fmt: skip
            tables.append(table.assign(**dict(run)))
        return pd.concat(tables, ignore_index=True) if tables else None

    table = explanations_table(**{kind: gathered(kind) for kind in snakemake.params.runs})
    with whole_file(snakemake.output.tsv) as temporary:
        table.to_csv(temporary, sep="\t", index=False, float_format="%.4g")
    write_html(table, snakemake.output.html, "Are the explanations true?")


if __name__ == "__main__":
    run_script(main, snakemake)
