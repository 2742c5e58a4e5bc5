"""Hold the counts of a prepared data set against those that its configuration expects."""

from typing import TYPE_CHECKING

from plkd.preparation.expected_counts import compare_counts, require_expected
from plkd.utils.files import read_json
from plkd.utils.logs import logger, run_script
from plkd.utils.tables import write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    report = read_json(snakemake.input.report, made_by="prepare")
    comparison = compare_counts(snakemake.params.expected, report)
    for difference in require_expected(comparison):
        logger.warning("%s: %s", snakemake.wildcards.dataset, difference)
    write_tsv(comparison, snakemake.output.comparison)


if __name__ == "__main__":
    run_script(main, snakemake)
