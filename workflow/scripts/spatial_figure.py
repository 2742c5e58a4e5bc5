"""Draw the labels of the query on its slides, a row per slice."""

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.backends.backend_pdf import PdfPages

from plkd.evaluation.tables import label_counts, read_truth
from plkd.figures.spatial import plot_slides, slide_table
from plkd.figures.style import style
from plkd.model.trained_model import load_model
from plkd.prediction.further import labels_on_slide
from plkd.prediction.table import read_predictions
from plkd.preparation.prepared import PreparedCells
from plkd.utils.files import whole_file, whole_folder
from plkd.utils.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    given = snakemake.input
    labels, query = sorted(label_counts(given.reference)), PreparedCells.read(given.query)
    said = query.in_order(read_predictions(given.predictions, made_by="predict"), "the predictions")
    network = load_model(Path(given.model).parent).require("student")
    table = slide_table(
        said,
        read_truth(given.truth),
        query.require_spatial(),
        labels,
        labels_on_slide(said, query, network),
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
