"""Put the counts of all data sets beside those of the paper."""

from typing import TYPE_CHECKING

from plkd.evaluation.counts import PAPER_COLUMNS, counts_table
from plkd.preparation.expected_counts import EXPECTED_COLUMNS
from plkd.utils.files import read_json
from plkd.utils.logs import run_script
from plkd.utils.tables import read_tsv, write_html, write_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    about = snakemake.params.about
    reports = {}
    for report, comparison in zip(
        snakemake.input.reports, snakemake.input.comparisons, strict=True
    ):
        content = read_json(report, made_by="prepare")
        expected = read_tsv(comparison, EXPECTED_COLUMNS, made_by="expected_counts")
        reports[content["dataset"]] = {**content, "expected": expected.to_dict("records")}
    paper = read_tsv(snakemake.input.paper, PAPER_COLUMNS).set_index("dataset")
    names = {name: about[name].get("paper_name") for name in reports}
    table = counts_table(reports, names, paper)
    for key in ("organism", "description"):
        table[key] = [about[name].get(key, "") for name in table["dataset"]]
    write_tsv(table, snakemake.output.tsv)
    write_html(
        table, snakemake.output.html, "Cells, types and batches, beside Table 1 of the paper"
    )


if __name__ == "__main__":
    run_script(main, snakemake)
