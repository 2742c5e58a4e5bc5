"""Annotate the query by one of the simple methods of plkd.evaluation.baselines."""

import exchange
from plkd.errors import InputError
from plkd.evaluation.baselines import BASELINES
from plkd.preparation.prepared import PreparedCells
from plkd.utils.logs import start_logging


def annotate(job):
    reference = PreparedCells.read(job.reference.path).in_memory()
    query = PreparedCells.read(job.query.path).in_memory()
    try:
        return BASELINES[job.method](reference, query, job.seed, timed=job.timed)
    except InputError as error:
        raise exchange.CannotRun(str(error)) from error


if __name__ == "__main__":
    start_logging()
    exchange.run(annotate, "scikit-learn")
