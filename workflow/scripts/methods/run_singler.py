"""SingleR by its C++ library: rank correlations on marker genes, chosen by their AUC."""

import numpy as np
import singler
from scipy.special import softmax

import exchange

SHARPNESS = 20  # its scores are correlations, a tenth apart where it is sure


def annotate(job):
    genes = list(map(str, job.reference.genes))
    labels = list(map(str, job.reference.labels))
    with job.timed("training"):
        trained = singler.train_single(
            job.reference.log_values.T.tocsc(),
            labels,
            genes,
            test_features=genes,
            marker_method="auc",
            num_threads=job.threads,
        )
    with job.timed("prediction"):
        found = singler.classify_single(
            job.query.log_values.T.tocsc(), trained, num_threads=job.threads
        )
    scores = found["scores"]
    names = list(map(str, scores.get_column_names()))
    return names, probabilities_of(
        np.column_stack([scores[name] for name in names]),
        np.array([names.index(str(label)) for label in found["best"]]),
    )


def probabilities_of(scores, best):
    """Softmax of the scores before fine-tuning, with the label after fine-tuning as the first."""
    probabilities = softmax(SHARPNESS * scores, axis=1)
    rows = np.arange(len(best))
    probabilities[rows, best] = probabilities.max(axis=1) * (1 + 1e-6)
    return probabilities / probabilities.sum(axis=1, keepdims=True)


if __name__ == "__main__":
    exchange.run(annotate, "singler")
