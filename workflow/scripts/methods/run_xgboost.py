"""XGBoost with the package's defaults: 100 rounds of trees of depth 6 on histograms."""

import xgboost

import exchange

ROUNDS = 100


def annotate(job):
    options = {
        "objective": "multi:softprob",
        "num_class": len(job.label_names),
        "tree_method": "hist",
        "nthread": job.threads,
        "seed": job.seed,
    }
    with job.timed("training"):
        cells = xgboost.DMatrix(job.reference.log_values, label=job.label_codes)
        model = xgboost.train(options, cells, num_boost_round=ROUNDS)
    with job.timed("prediction"):
        probabilities = model.predict(xgboost.DMatrix(job.query.log_values))
    return job.label_names, probabilities


if __name__ == "__main__":
    exchange.run(annotate, "xgboost-cpu")
