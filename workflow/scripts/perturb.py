"""Make prepared cells harder in one respect; the truth of the query stays what it is."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad

from plkd.preparation.perturbed import perturb
from plkd.preparation.prepared import PreparedCells
from plkd.utils.files import read_json, whole_file, write_json
from plkd.utils.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> None:
    paths, output = snakemake.input, snakemake.output
    sides = {}
    for name in ("reference", "query"):
        PreparedCells.read(paths[name])  # a file that is damaged is named
        sides[name] = ad.read_h5ad(paths[name])
    change = {key: snakemake.params[key] for key in ("kind", "level")}
    made = perturb(sides["reference"], sides["query"], **change)
    for name, cells in zip(sides, made, strict=True):
        with whole_file(output[name]) as temporary:
            cells.write_h5ad(temporary, compression="gzip")
    for name in ("truth", "genes"):
        with whole_file(output[name]) as temporary:
            shutil.copyfile(paths[name], temporary)
    report = read_json(paths.report, made_by="prepare")
    write_json(Path(output.report), report | {"perturbed": change})


if __name__ == "__main__":
    run_script(main, snakemake)
