"""Gather what all runs say about the truth of their explanations."""

from typing import TYPE_CHECKING

import pandas as pd

from plkd.evaluation.columns import AREA_COLUMNS
from plkd.evaluation.explanations import explanations_table
from plkd.evaluation.marker_recovery import RECOVERY_COLUMNS
from plkd.interpret.key_genes import STABILITY_COLUMNS
from plkd.utils.files import read_json
from plkd.utils.logs import run_script
from plkd.utils.tables import read_tsv, write_html, write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

# Columns of the tables and the rules that write them; further columns are numbers.
TABLES = {
    "areas": (AREA_COLUMNS, "faithfulness"),
    "markers": (RECOVERY_COLUMNS, "marker_recovery"),
    "pathways": (RECOVERY_COLUMNS, "pathway_recovery"),
    "stability": (STABILITY_COLUMNS, "stability"),
}


def main(snakemake) -> None:
    def gathered(kind: str) -> pd.DataFrame | None:
        """Tables of all runs, with the names of the runs in front."""
        tables = []
        for path, run in zip(snakemake.input[kind], snakemake.params.runs[kind], strict=True):
            if kind == "origins":
                share = read_json(path, made_by="pathways")["origin_first_share"]
                table = pd.DataFrame({"origin_first_share": [share]}, dtype=float)
            else:
                columns, rule = TABLES[kind]
                table = read_tsv(path, columns, others=float, made_by=rule)
            tables.append(table.assign(**dict(run)))
        return pd.concat(tables, ignore_index=True) if tables else None

    table = explanations_table(**{kind: gathered(kind) for kind in snakemake.params.runs})
    write_tsv(table, snakemake.output.tsv)
    write_html(table, snakemake.output.html, "Are the explanations true?")


if __name__ == "__main__":
    run_script(main, snakemake)
