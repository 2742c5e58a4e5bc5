"""Draw the labels of the query on its slides, a row per slice."""

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.backends.backend_pdf import PdfPages

from plkd.evaluation.tables import label_counts, read_truth
from plkd.figures.spatial import plot_slides, slide_table
from plkd.figures.style import style
from plkd.prediction.table import read_predictions
from plkd.preparation.prepared import PreparedCells
from plkd.utils.files import whole_file, whole_folder
from plkd.utils.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    labels = sorted(label_counts(snakemake.input.reference))
    table = slide_table(
        read_predictions(snakemake.input.predictions, made_by="predict"),
        read_truth(snakemake.input.truth),
        PreparedCells.read(snakemake.input.query).require_spatial(),
        labels,
    )
    with (
        style(),
        whole_folder(snakemake.output.png) as folder,
        whole_file(snakemake.output.pdf) as pdf_path,
        PdfPages(pdf_path, metadata={"CreationDate": None}) as pdf,
    ):
        for number, figure in enumerate(plot_slides(table, labels), start=1):
            figure.savefig(Path(folder) / f"slides_{number}.png")
            pdf.savefig(figure)


if __name__ == "__main__":
    run_script(main, snakemake)
