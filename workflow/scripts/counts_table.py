"""Put the counts of all data sets beside those of the paper."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from plkd.evaluation.counts import counts_table
from plkd.utils.files import whole_file
from plkd.utils.logs import run_script
from plkd.utils.tables import write_html

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    names = dict(snakemake.params.paper_names)
    reports = {
        name: json.loads(Path(path).read_text(encoding="utf-8"))
        for name, path in zip(names, snakemake.input.reports, strict=True)
    }
    paper = pd.read_csv(
        snakemake.input.paper, sep="\t", dtype=str, keep_default_na=False, index_col="dataset"
    )
    table = counts_table(reports, names, paper)
    with whole_file(snakemake.output.tsv) as temporary:
        table.to_csv(temporary, sep="\t", index=False)
    write_html(
        table, snakemake.output.html, "Cells, types and batches, beside Table 1 of the paper"
    )


if __name__ == "__main__":
    run_script(main, snakemake)
