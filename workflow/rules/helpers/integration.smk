# How methods of integration are run, and what steps took.


def needs_peaks(wildcards):
    """Does it read peaks, and are there any: does expression name accessibility?"""
    reads = INTEGRATORS["reads"][wildcards.integrator]
    return reads in ("peaks", "pairs") and wildcards.dataset in CROSSING


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
    return {**running_of(row), "runs": row["runs"], "reads": row["reads"]}


def integrator_memory_mb(wildcards, input, attempt):
    """As `method_memory_mb`; the program that runs the method reads the peaks as well."""
    if INTEGRATORS["runs"][wildcards.integrator] == "library":
        return memory_mb(wildcards, input, attempt)
    watching_mb = memory_mb(wildcards, input, 1) if needs_peaks(wildcards) else LIBRARIES_MB
    return limited_memory_mb(wildcards, watching_mb)


def outcomes():
    """Data set, seed and method of every run of another method, and the file that holds its outcome."""
    found = []
    for dataset, method in product(EVALUATED, OTHERS):
        if METHODS["reads"][method] == "truth":
            continue
        seeds = config["seeds"][:1] if runs_once(method) else config["seeds"]
        outcome = predictions_by(method).removesuffix("parquet") + "json"
        for seed in seeds:
            names = {"dataset": dataset, "seed": int(seed), "method": method}
            found.append((names, filled(outcome, dataset=dataset, seed=seed)))
    return found


def measured_steps():
    """Of every run of our models: its names, what its steps measured of themselves, and the weights."""
    found = []
    for names, model in product(run_names(EVALUATED), MODELS):
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
