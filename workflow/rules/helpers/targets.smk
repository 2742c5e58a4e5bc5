# Files that runs end in.


def has_truth(dataset):
    """Can predictions be scored: were labels of the query given, or is it split off the reference?"""
    return "split" in DATASETS[dataset] or bool(DATASETS[dataset]["query"].get("labels_key"))


def run_names(datasets=DATASETS):
    """Data set, variant and seed of every run."""
    names = product(datasets, VARIANTS, config["seeds"])
    return [dict(zip(("dataset", "variant", "seed"), name)) for name in names]


def runs(suffix, datasets=DATASETS):
    """A file of every run, in the order of `run_names`."""
    return [filled(f"<run>/{suffix}", **name) for name in run_names(datasets)]


EVALUATED = [dataset for dataset in DATASETS if has_truth(dataset)]
MADE_HARDER = [name for name, made in PERTURBED.items() if made["dataset"] in EVALUATED]
# Expression that names the peaks of other cells, or of the same.
CROSSING = [
    name
    for name in EVALUATED
    if "gene_activity" not in source_of_side(name, "reference")
    and "gene_activity" in source_of_side(name, "query")
    and has_rows(source_of_side(name, "query"))
]


def scored_runs(target, suffix, datasets):
    """Input of what gathers scores: a file of every run with true labels. A run that asks for it and has
    none is stopped."""

    def of_all_runs(wildcards):
        if not EVALUATED:
            stop(
                f"{target} needs true labels: give the query a `labels_key`, or `split` the reference."
            )
        return runs(suffix, datasets)

    return of_all_runs


SPATIAL = [dataset for dataset in DATASETS if DATASETS[dataset]["spatial"]]


def predictions_by(method):
    """Path of the predictions of another method: of each data set, or of each of its seeds. No variant of
    ours concerns them."""
    folder = "methods" if runs_once(METHODS.loc[method]) else "methods_of_seed"
    return f"<{folder}>/{method}.parquet"


def predictions_of(wildcards):
    """Predictions of our models and of every other method for the same data set and seed."""
    ours = [f"<run>/predictions/{model}.parquet" for model in MODELS]
    drawn = wildcards.dataset in DRAWN  # of many draws; beside the controls ours alone
    others = [predictions_by(method) for method in (CONTROLS if drawn else OTHERS)]
    return [filled(path, **wildcards) for path in ours + others]


def reference_to_embed(wildcards):
    """The Teacher's embedding of the reference is mapped; that of the Student is for nothing but the
    scores of integration."""
    wanted = wildcards.model == "teacher" or INTEGRATION
    return "<prepared>/reference.h5ad" if wanted else []
