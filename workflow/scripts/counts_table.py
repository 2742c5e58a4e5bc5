"""Put the counts of all data sets beside those of the paper."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from plkd.evaluation.counts import PAPER_COLUMNS, counts_table
from plkd.utils.logs import run_script
from plkd.utils.tables import read_tsv, write_html, write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    names = dict(snakemake.params.paper_names)
    reports = {
        name: json.loads(Path(path).read_text(encoding="utf-8"))
        for name, path in zip(names, snakemake.input.reports, strict=True)
    }
    paper = read_tsv(snakemake.input.paper, PAPER_COLUMNS).set_index("dataset")
    table = counts_table(reports, names, paper)
    write_tsv(table, snakemake.output.tsv)
    write_html(
        table, snakemake.output.html, "Cells, types and batches, beside Table 1 of the paper"
    )


if __name__ == "__main__":
    run_script(main, snakemake)
