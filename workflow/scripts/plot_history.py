"""Draw the training curves of the models of one run."""

from typing import TYPE_CHECKING

from plkd.figures.history import plot_history
from plkd.figures.style import save_figure, style
from plkd.utils.logs import run_script
from plkd.utils.tables import read_tsv

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    history = read_tsv(
        snakemake.input.history, {"model": str, "epoch": int}, others=float, made_by="student"
    )
    histories = {name.capitalize(): rows for name, rows in history.groupby("model", sort=False)}
    with style():
        save_figure(plot_history(histories), snakemake.output.png, snakemake.output.pdf)


if __name__ == "__main__":
    run_script(main, snakemake)
