# How methods of integration are run, and what steps took.


def integrator_script(wildcards):
    """The script of a method that puts cells into one space, and what it shares with others."""
    script = INTEGRATORS["script"][wildcards.integrator]
    names = [] if script == "-" else [script, "exchange.py"]
    return [source_file(f"workflow/scripts/methods/{name}") for name in names]


def integrator_lock(wildcards):
    environment = INTEGRATORS["environment"][wildcards.integrator]
    return [] if environment == "plkd" else source_file(f"envs/methods/{environment}.lock")


def integrator_memory_mb(wildcards, input, attempt):
    """As `method_memory_mb`."""
    if INTEGRATORS["environment"][wildcards.integrator] == "plkd":
        return memory_mb(wildcards, input, attempt)
    return limited_memory_mb(wildcards.integrator, LIBRARIES_MB)


def outcomes():
    """Data set, seed and method of every run of another method, and the file that holds its outcome."""
    found = []
    for dataset, method in product(EVALUATED, OTHERS):
        if METHODS["reads"][method] == "truth":
            continue
        seeds = config["seeds"][:1] if method in DETERMINISTIC else config["seeds"]
        outcome = predictions_by(method).removesuffix("parquet") + "json"
        for seed in seeds:
            names = {"dataset": dataset, "seed": int(seed), "method": method}
            found.append((names, filled(outcome, dataset=dataset, seed=seed)))
    return found


def measured_steps():
    """Of every run of our models: its names, what Snakemake measured of its steps, and the weights."""
    found = []
    for names, model in product(run_names(EVALUATED), MODELS):
        steps = ["teacher"]
        if model == "student":
            steps += ["student", *(["cross_fit"] if has_jury(names["variant"]) else [])]
        folder = "<benchmarks>/<run_name>"
        mask = filled("<benchmarks>/{dataset}/{variant}/mask.tsv", **names)
        files = {
            "training": [mask, *(filled(f"{folder}/{step}.tsv", **names) for step in steps)],
            "prediction": [filled(f"{folder}/predict_{model}.tsv", **names)],
        }
        named = {**names, "seed": int(names["seed"]), "method": model}
        weights = filled(f"<run>/model/{model}.safetensors", **names)
        found.append({"names": named, "files": files, "weights": weights})
    return found
