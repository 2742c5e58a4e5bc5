"""popV: the votes of five of its algorithms, which learn the reference anew.

These are kNN after Harmony, support vectors, XGBoost, a random forest and CellTypist. Its kNN after
BBKNN did not end on these cells, scVI and scANVI take hours without a GPU (scANVI runs by itself),
and OnClass needs an ontology of the labels. A probability is a share of the votes. It leaves out
cells with fewer than 30 counts: these get the frequencies of the labels in the reference.
"""

import anndata as ad
import numpy as np
import pandas as pd
import popv
from popv.annotation import annotate_data
from popv.preprocessing import Process_Query

import exchange

ALGORITHMS = ["KNN_HARMONY", "Support_Vector", "XGboost", "Random_Forest", "CELLTYPIST"]
MOST_FEATURES = 200  # of a tree, the package's default; more than there are genes is an error


def annotate(job):
    np.random.seed(job.seed)  # noqa: NPY002 (what the package draws by)
    popv.settings.n_jobs = job.threads
    popv.settings.compute_umap_embedding = False
    names = job.label_names
    unlabelled = "unlabelled"
    while unlabelled in names:
        unlabelled += "_"
    reference = cells(job.reference, "r")
    reference.obs["label"] = list(map(str, job.reference.labels))
    query = cells(job.query, "q")
    options = {
        "Random_Forest": {
            "classifier_dict": {"max_features": min(MOST_FEATURES, reference.n_vars)}
        },
        "CELLTYPIST": {"method_kwargs": {"n_jobs": job.threads}},
    }
    with job.timed("training"):  # and prediction, which the package does not tell apart
        both = Process_Query(
            query,
            reference,
            ref_labels_key="label",
            ref_batch_key="batch",
            query_batch_key="batch",
            cl_obo_folder=False,
            unknown_celltype_label=unlabelled,
            save_path_trained_models=str(job.folder / "models"),
            hvg=None,
        ).adata
        annotate_data(both, methods=ALGORITHMS, methods_kwargs=options)
    votes = both.obs.loc[both.obs["_dataset"] == "query", both.uns["prediction_keys"]]
    places = pd.Index(names).get_indexer(votes.to_numpy().astype(str).ravel())
    counts = np.eye(len(names))[places].reshape(*votes.shape, len(names)).sum(axis=1)
    rows = votes.index.str.extract(r"^q(\d+)", expand=False).astype(int)
    frequencies = np.bincount(job.label_codes) / len(job.label_codes)
    shares = np.tile(frequencies, (len(job.query.ids), 1))
    shares[rows] = counts / votes.shape[1]
    return names, shares


def cells(side, prefix):
    """Counts of a side; popV adds to the names of the cells, so they are numbers."""
    obs = pd.DataFrame(
        {"batch": [f"{prefix}{name}" for name in side.batches]},
        index=[f"{prefix}{row}" for row in range(len(side.ids))],
    )
    return ad.AnnData(side.counts, obs=obs, var=pd.DataFrame(index=list(map(str, side.genes))))


if __name__ == "__main__":
    exchange.run(annotate, "popv")
