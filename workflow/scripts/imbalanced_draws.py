"""Say which draws that make a label rare the cells of the data sets allow."""

from typing import TYPE_CHECKING

from plkd.paper.draws import draws_table
from plkd.utils.files import read_json
from plkd.utils.logs import logger, run_script
from plkd.utils.tables import write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    paths = zip(snakemake.params.datasets, snakemake.input.reports, strict=True)
    reports = {name: read_json(path, made_by="prepare") for name, path in paths}
    draws = draws_table(snakemake.params.draws, reports)
    for row in draws[draws["reason"] != ""].itertuples():
        logger.warning("%s, left out: %s", row.name, row.reason)
    write_tsv(draws, snakemake.output.table)


if __name__ == "__main__":
    run_script(main, snakemake)
