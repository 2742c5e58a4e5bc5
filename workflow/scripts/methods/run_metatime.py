"""MetaTiME: the labels of reference cells that are in the same of its states.

MetaTiME learns no labels: it names clusters of cells by components of tumour-infiltrating cells,
which come with the package. Here reference and query are clustered and named together, by its
functions and with their defaults, and a query cell gets the labels of the reference cells of its
state. So the scores say how far its states tell these labels apart, and not whether the names of
the states are right, which nothing here could say. It knows human genes; of other tissue than the
immune and stromal cells of tumours it has no states.
"""

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc

vars(np)["float"] = float  # gone from numpy, named by the package

from metatime import annotator, mecmapper, mecs  # noqa: E402

import exchange  # noqa: E402

LEAST_GENES = 50  # of the prepared ones that have weights in its components
RESOLUTION = 8  # of its tutorial: many small clusters


def annotate(job):
    n_reference = len(job.reference.ids)
    components = mecs.MetatimeMecs.load_mec_precomputed().mec_score
    known = np.intersect1d(components.index, list(map(str, job.reference.genes)))
    if len(known) < LEAST_GENES:
        raise exchange.CannotRun(
            f"its components have weights for {len(known)} of {len(job.reference.genes)} genes, "
            f"and need {LEAST_GENES}: they are of human genes"
        )
    with job.timed("training"):
        states = states_of(joined(job), components, job.seed)
    names = job.label_names
    found, codes = np.unique(states, return_inverse=True)
    counts = np.zeros((len(found), len(names)))
    np.add.at(counts, (codes[:n_reference], job.label_codes), 1)
    frequency = np.bincount(job.label_codes, minlength=len(names)) / n_reference
    counts += frequency  # all that is known of a state that no reference cell has
    return names, (counts / counts.sum(axis=1, keepdims=True))[codes[n_reference:]]


def joined(job):
    """Reference and query as one table of cells."""
    sides = []
    for prefix, side in (("r", job.reference), ("q", job.query)):
        obs = pd.DataFrame(index=[f"{prefix}-{name}" for name in side.ids])
        var = pd.DataFrame(index=list(map(str, side.genes)))
        sides.append(ad.AnnData(side.log_values, obs=obs, var=var))
    return ad.concat(sides)


def states_of(cells, components, seed):
    """State of every cell: that of its cluster, by the package's functions."""
    n_components = min(50, min(cells.shape) - 1)
    sc.pp.pca(cells, n_comps=n_components, random_state=seed)
    sc.pp.neighbors(cells, random_state=seed)
    sc.tl.leiden(cells, resolution=RESOLUTION, key_added="overcluster", random_state=seed)
    scores = mecmapper.projectMecAnn(cells, components)
    table = mecs.load_mecname(mode="table")
    used = mecs.getmecnamedict_ct(table)
    projected, _ = annotator.pdataToTable(scores, table, gcol="overcluster")
    projected, _, _ = annotator.annotator(projected, used, gcol="overcluster")
    return projected["MetaTiME_overcluster"].to_numpy().astype(str)


if __name__ == "__main__":
    exchange.run(annotate, "metatime")
