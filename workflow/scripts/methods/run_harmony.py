"""Harmony: principal components, moved so that batches share clusters (harmonypy, its defaults)."""

import numpy as np

import exchange


def embed(job):
    import harmonypy
    import pandas as pd

    found = harmonypy.run_harmony(
        job.components.astype(np.float64), pd.DataFrame({"batch": job.batches}), "batch",
        random_state=job.seed, verbose=False,
    )  # fmt: skip
    moved = np.asarray(found.Z_corr)
    return moved if len(moved) == len(job.batches) else moved.T


if __name__ == "__main__":
    exchange.run_integration(embed, "harmonypy")
