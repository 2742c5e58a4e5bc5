"""See how much less the cells of a query say than the reference's, once for all its parts."""

from pathlib import Path
from typing import TYPE_CHECKING

from plkd.model.trained_model import load_model
from plkd.pipeline.measured import measured
from plkd.prediction.predict import model_for_prepared
from plkd.preparation.prepared import PreparedCells
from plkd.utils.files import write_json
from plkd.utils.logs import run_script

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def main(snakemake) -> dict[str, int]:
    model = load_model(Path(snakemake.input.model).parent).require(snakemake.wildcards.model)
    query = PreparedCells.read(snakemake.input.query)
    _, seen = model_for_prepared(model, query)
    write_json(snakemake.output.adaptation, seen.to_dict())
    return {"n_query": query.n_cells}


if __name__ == "__main__":
    run_script(measured(main), snakemake)
