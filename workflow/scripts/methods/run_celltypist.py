"""CellTypist: logistic regression on scaled genes, trained on the reference."""

import anndata as ad
import celltypist
import numpy as np
import pandas as pd

import exchange


def annotate(job):
    def cells(side, **obs):
        var = pd.DataFrame(index=side.genes)
        return ad.AnnData(side.log_values, obs=pd.DataFrame(obs, index=side.ids), var=var)

    reference, query = cells(job.reference, label=job.reference.labels), cells(job.query)
    with job.timed("training"):
        # the check wants all genes of a cell, and these are the selected ones
        model = celltypist.train(
            reference, labels="label", check_expression=False, n_jobs=job.threads
        )
    job.told["parameters"] = int(model.classifier.coef_.size + model.classifier.intercept_.size)
    with job.timed("prediction"):
        voting = job.method == "celltypist_voting"
        result = celltypist.annotate(query, model=model, majority_voting=voting)
    labels = list(map(str, result.probability_matrix.columns))
    if voting:
        return labels, votes(result.predicted_labels, labels)
    probabilities = result.probability_matrix.to_numpy()  # sigmoids, one label against the rest
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True)


def votes(predicted, labels):
    """Shares of the labels in the cluster of every cell; of equals CellTypist's choice is first."""
    place = pd.Index(labels)
    own = np.eye(len(labels))[place.get_indexer(predicted["predicted_labels"].astype(str))]
    shares = pd.DataFrame(own).groupby(predicted["over_clustering"].to_numpy()).transform("mean")
    chosen = np.eye(len(labels))[place.get_indexer(predicted["majority_voting"].astype(str))]
    raised = shares.to_numpy() + 1e-6 * chosen
    return raised / raised.sum(axis=1, keepdims=True)


if __name__ == "__main__":
    exchange.run(annotate, "celltypist")
