# How methods of integration are run, and what steps took.


READING_PEAKS = ("peaks", "pairs")


def needs_peaks(wildcards):
    """Does it read peaks, and are there any: does expression name accessibility?"""
    reads = INTEGRATORS["reads"][wildcards.integrator]
    return reads in READING_PEAKS and wildcards.dataset in CROSSING


def space_by(dataset, integrator):
    """Path of the space that a method makes of a data set: one, or one of each seed. What reads peaks has
    nothing to run where there are none."""
    row = INTEGRATORS.loc[integrator]
    without = row["reads"] in READING_PEAKS and dataset not in CROSSING
    folder = "methods" if without or runs_once(row) else "methods_of_seed"
    return f"<{folder}>/embeddings/{integrator}.h5ad"


OWN_SPACES = [f"<run>/embeddings/{model}.h5ad" for model in MODELS]
SPACE_NAMES = {**INTEGRATORS["name"][INTEGRATION], **METHODS["name"][MODELS]}
CELLS = {
    "reference": "<prepared>/reference.h5ad",
    "query": "<prepared>/query.h5ad",
    "truth": "<prepared>/truth.parquet",
}


def spaces_of_others(**names):
    """Spaces that other methods make of a data set: without a seed those that serve all seeds, with it those
    of this one alone."""
    paths = [space_by(names["dataset"], one) for one in INTEGRATION]
    folder = "<methods_of_seed>/" if "seed" in names else "<methods>/"
    return [filled(path, **names) for path in paths if path.startswith(folder)]


def spaces_of_data_set(wildcards):
    return spaces_of_others(dataset=wildcards.dataset)


def spaces_of_seed(wildcards):
    return spaces_of_others(dataset=wildcards.dataset, seed=wildcards.seed)


def beside_spaces(name):
    """A file beside the spaces of others, and beside ours, that is of all of a folder."""

    def of_run(wildcards):
        dataset, seed = wildcards.dataset, wildcards.seed
        folders = {
            "<methods>": spaces_of_others(dataset=dataset),
            "<methods_of_seed>": spaces_of_others(dataset=dataset, seed=seed),
            "<run>": OWN_SPACES,
        }
        return [
            filled(f"{folder}/embeddings/{name}", **wildcards)
            for folder, spaces in folders.items()
            if spaces
        ]

    return of_run


def integrated_peaks(wildcards):
    return query_file(wildcards) if needs_peaks(wildcards) else []


def annotation_of_peaks(wildcards):
    if not needs_peaks(wildcards):
        return []
    source = source_of_side(wildcards.dataset, "query")
    return fetched(wildcards.dataset, source["gene_activity"]["annotation"])


def reading_of_peaks(wildcards):
    return annotated_source(wildcards) if needs_peaks(wildcards) else None


def integrator_settings(wildcards):
    """How a method is run, as `method_settings`, and what it reads; see integrate.py."""
    row = INTEGRATORS.loc[wildcards.integrator]
    # a conda environment of the rule is that of the program which starts the method
    seed = int(wildcards.get("seed", 0))
    return {**running_of(row, seed), "runs": row["runs"], "reads": row["reads"]}


def integrator_memory_mb(wildcards, input, attempt):
    """As `method_memory_mb`; the program that runs the method reads the peaks as well."""
    if INTEGRATORS["runs"][wildcards.integrator] == "library":
        return memory_mb(wildcards, input, attempt)
    watching_mb = memory_mb(wildcards, input, 1) if needs_peaks(wildcards) else LIBRARIES_MB
    return limited_memory_mb(wildcards, watching_mb)


def annotators_ran():
    """Runs of the methods that label cells."""
    return runs_of_methods(OTHERS, lambda dataset, method: predictions_by(method))


def outcomes():
    """Of every run of another method its names, and the file that holds its outcome."""
    return [
        (names, outcome_beside(path))
        for names, path in annotators_ran()
        if METHODS["reads"][names["method"]] != "truth"
    ]


def outcomes_of_integration():
    """The same of methods of integration."""
    runs = runs_of_methods(INTEGRATION, space_by)
    return [(names, outcome_beside(path)) for names, path in runs]


def measured_steps(runs):
    """Of some runs of our models: their names, what their steps measured of themselves, and the weights."""
    found = []
    for names, model in product(runs, MODELS):
        steps = ["teacher"]
        if model == "student":
            steps += ["student", *(["cross_fit"] if has_jury(names["variant"]) else [])]
        predicted = [Path(part).name for part in PARTS]
        predicted = ["predict", *(["adapt", *predicted] if predicted else [])]
        mask = filled("<mask>/cost.json", **names)
        files = {
            "training": [mask, *(filled(f"<run>/costs/{step}.json", **names) for step in steps)],
            "prediction": [
                filled(f"<run>/costs/{model}/{step}.json", **names) for step in predicted
            ],
            "weights": filled(f"<run>/model/{model}.safetensors", **names),
        }
        named = {**names, "seed": int(names["seed"]), "method": model}
        found.append({"names": named, "files": files})
    return found


def measurements(steps):
    """Files of `measured_steps`, as input."""
    files = [step["files"] for step in steps]
    return {
        "costs": [cost for one in files for cost in one["training"] + one["prediction"]],
        "weights": [one["weights"] for one in files],
    }
