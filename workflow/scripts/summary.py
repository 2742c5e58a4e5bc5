"""Say in a few lines where the results are and how good they are."""

from pathlib import Path
from typing import TYPE_CHECKING

from plkd.evaluation.tables import SUMMARY_COLUMNS
from plkd.io.stores import open_store
from plkd.prediction.columns import LABEL_COLUMNS
from plkd.utils.files import whole_file
from plkd.utils.logs import run_script
from plkd.utils.tables import read_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

DOUBTFUL = 0.8  # share of right labels below which a label is named
SHOWN = ("student", "teacher", "logistic_regression", "majority")


def main(snakemake) -> None:
    lines = ["Labels (annotated copies of the query):"]
    for path, labels in zip(snakemake.input.annotated, snakemake.input.labels, strict=True):
        remarks = [*_expected(labels), *_remarks(path)]
        page = Path(path).with_name("labels.html")
        lines += [f"  {path}", f"    to look at: {page}", *(f"    {text}" for text in remarks)]
    lines += ["Figures:"]
    lines += sorted({f"  {Path(path).parent}/" for path in snakemake.input.figures})
    if snakemake.input.get("explanations"):
        lines += ["Why these labels, and are the explanations true:"]
        lines += sorted({f"  {Path(path).parent}/" for path in snakemake.input.explained})
        lines += [f"  {snakemake.input.explanations}"]
    if snakemake.input.get("scores"):
        table = read_tsv(snakemake.input.scores, SUMMARY_COLUMNS, made_by="benchmark_table")
        lines += [f"Scores ({snakemake.input.scores}):"]
        for (dataset, variant), rows in table.groupby(["dataset", "variant"], sort=False):
            lines += [f"  {dataset}, variant {variant}:"]
            rows = rows.set_index("method")
            lines += [
                f"    {method:<20} accuracy {rows.loc[method, 'accuracy']:.3f}   "
                f"macro F1 {rows.loc[method, 'macro_f1']:.3f}"
                for method in SHOWN
                if method in rows.index
            ]
    # made last of all, by rule html_report
    lines += [f"Report: {Path(snakemake.output[0]).with_name('report.html')}"]
    with whole_file(snakemake.output[0]) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def _expected(path: str) -> list[str]:
    """How many labels should be right, by their calibrated confidence, and which to check."""
    table = read_tsv(path, LABEL_COLUMNS, made_by="annotate")
    share = (table["cells"] * table["expected_precision"]).sum() / table["cells"].sum()
    unknown = table["unknown"].sum() / table["cells"].sum()
    lines = [f"expected: {share:.0%} of the labels right; {unknown:.0%} of the cells unknown"]
    doubtful = table[(table["expected_precision"] < DOUBTFUL) & table["next_label"].notna()]
    for row in doubtful.sort_values("expected_precision").head(5).itertuples():
        lines.append(
            f"check '{row.label}' ({row.cells} cells): {row.expected_precision:.0%} expected to be "
            f"right, else most likely '{row.next_label}'"
        )
    if len(doubtful) > 5:
        lines.append(f"check {len(doubtful) - 5} more labels: {path}")
    return lines


def _remarks(annotated: str) -> list[str]:
    """What one should know before the labels are used."""
    with open_store(annotated) as store:
        threshold = store.get("uns/plkd/unknown_above")
        if threshold is not None and threshold[()] == 1:
            return ["not calibrated (no reference cell could be held out): flags no cell unknown"]
    return []


if __name__ == "__main__":
    run_script(main, snakemake)
