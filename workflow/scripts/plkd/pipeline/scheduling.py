"""When Snakemake looks for jobs to start. Standard library only: Snakemake imports this module."""

from __future__ import annotations

from typing import Any

DEFAULT_RATE = (100, 1)  # jobs, seconds: what Snakemake's --max-jobs-per-timespan is without asking


def look_when_jobs_end(scheduler: Any) -> None:
    """Let a scheduler look over the waiting jobs when one has ended, and at no other time.

    For the sake of its limit of jobs per second, Snakemake (9.25) looks over all of them again a
    second after each look, and every job that ends begins one more such chain: with hundreds of
    waiting and of finished jobs that takes most of a core. A limit that was asked for is kept.

    Parameters
    ----------
    scheduler
        Of Snakemake, before its first look.
    """
    limit = getattr(scheduler, "job_rate_limiter", None)  # other versions may have no such thing
    if limit is not None and (limit.max_jobs, limit.timespan) == DEFAULT_RATE:
        scheduler.job_rate_limiter = None
