# How the other methods are run.

METHOD_ENVIRONMENTS = tomllib.loads(
    Path(source_file("envs/methods/environments.toml")).read_text(encoding="utf-8")
)
DEPLOYMENT = workflow.deployment_settings.deployment_method
IN_CONDA = DeploymentMethod.CONDA in DEPLOYMENT
IN_CONTAINER = config["container"] is not None and DeploymentMethod.APPTAINER in DEPLOYMENT


def row_of(wildcards):
    """The row of a method, an annotator or an integrator, in its registry."""
    annotator = wildcards.get("method")
    return METHODS.loc[annotator] if annotator else INTEGRATORS.loc[wildcards.integrator]


def script_of(wildcards):
    """The script of a method, and what it shares with others."""
    script = row_of(wildcards)["script"]
    if script == "-":
        return []
    shared = ["exchange.R"] if script.endswith(".R") else ["exchange.py"]
    if row_of(wildcards)["runs"] == "weights":
        shared.append("finetuning.py")
    return [source_file(f"workflow/scripts/methods/{name}") for name in (script, *shared)]


def lock_of(wildcards):
    """The lock of a method's environment, if pip makes it."""
    environment = row_of(wildcards)["environment"]
    has_lock = "pip" in METHOD_ENVIRONMENTS.get(environment, {})
    return source_file(f"envs/methods/{environment}.lock") if has_lock else []


def conda_of(wildcards):
    row = row_of(wildcards)
    environment = "plkd" if missing(row) else row["environment"]
    folder = "" if environment == "plkd" else "methods/"
    return f"../../envs/{folder}{environment}.yaml"


def code_of(wildcards):
    """Parameter that changes when the library code behind a method's script does."""
    script = METHODS["script"][wildcards.method]
    return [code("run_method.py"), code(f"methods/{script}") if script.endswith(".py") else ""]


def limits_of(name):
    """What a method, an annotator or an integrator, may take before it is ended."""
    limits = part_of(config["limits"], ("seconds", "memory_mb"))
    limits |= config["limits"]["methods"].get(name, {})
    return {key: float(value) for key, value in limits.items()}


INSTALLING_MINUTES = 15  # and beginning


def limited_memory_mb(wildcards, watching_mb):
    """The limit of a method, and what watches it: it is ended with a reason, and by no cluster."""
    method = row_of(wildcards)
    return int(watching_mb + (0 if missing(method) else limits_of(method.name)["memory_mb"]))


def limited_minutes(wildcards):
    return int(limits_of(row_of(wildcards).name)["seconds"] / 60) + INSTALLING_MINUTES


def gpus_of_method(wildcards):
    method = row_of(wildcards)
    return GPUS if method["device"] == "gpu" and not missing(method) else None


WATCHING_MB = 500  # of the program that runs an annotator; that of an integrator reads the cells


def method_memory_mb(wildcards, input, attempt):
    """Of methods of others their limit."""
    if METHODS["kind"][wildcards.method] != "rival":
        return memory_mb(wildcards, input, attempt)
    return limited_memory_mb(wildcards, WATCHING_MB)


def locks_of_methods():
    """The lock of every environment that pip makes for the chosen methods that can run, by its name."""
    rows = [METHODS.loc[name] for name in OTHERS] + [INTEGRATORS.loc[name] for name in INTEGRATION]
    asked = dict.fromkeys(row["environment"] for row in rows if not missing(row))
    return {
        name: source_file(f"envs/methods/{name}.lock")
        for name in asked
        if "pip" in METHOD_ENVIRONMENTS.get(name, {})
    }


# Where the configuration names what no package holds, by the way in which methods run.
NAMED_UNDER = {"folder": "folders", "weights": "weights"}


def missing(row):
    """Why a method of a registry cannot run, whatever the data: "" if it can."""
    if row["script"] == "-":
        return f"cannot run here: {row['description'].removeprefix('No script runs it: ')}"
    key = NAMED_UNDER.get(row["runs"])
    if key is None or row.name in config[key]:
        return ""
    return f"{row['runs']} not provided: name a folder under '{key}' in the configuration"


def named_in_vain(key, method):
    """Why it has no effect that `folders` or `weights` names a method: "" if it has one."""
    rows = [registry.loc[method] for registry in (METHODS, INTEGRATORS) if method in registry.index]
    for row in rows:
        if row["script"] == "-":
            reason = missing(row)
        elif NAMED_UNDER.get(row["runs"]) == key:
            return ""
        else:
            right = NAMED_UNDER.get(row["runs"])
            reason = f"name it under `{right}`" if right else f"it needs none of the {key}"
    return reason


for key in NAMED_UNDER.values():
    for method in config[key]:
        if reason := named_in_vain(key, method):
            tell(f"`{key}: {method}` has no effect: {reason}")


def runs_once(row):
    """Does one run of a method serve all seeds: it draws nothing, or has nothing to run."""
    return bool(row["deterministic"] or missing(row))


def runs_of_methods(methods, file_by):
    """Data set, seed and method of every run of some methods, and the file that it leaves; `file_by` gives
    the file's path, without the seed where one run serves all."""
    found = []
    for dataset, method in product(EVALUATED, methods):
        path = PATHVARS.apply(file_by(dataset, method))
        for seed in config["seeds"] if "{seed}" in path else config["seeds"][:1]:
            names = {"dataset": dataset, "seed": int(seed), "method": method}
            found.append((names, path.format(dataset=dataset, seed=seed)))
    return found


def outcome_beside(path):
    """The file that says what a run of a method took, or why there is nothing of it."""
    return path.rsplit(".", 1)[0] + ".json"


def running_of(row, seed=0, in_conda=False):
    """How a method of a registry is run: an annotator, or an integrator."""
    environment = METHOD_ENVIRONMENTS.get(row["environment"], {})
    provided = config.get(NAMED_UNDER.get(row["runs"]), {}).get(row.name)
    return {
        "id": row.name,
        "environment": row["environment"],
        "environments": filled("<environments>"),
        "in_conda": in_conda,
        "missing": missing(row),
        "provided": beside(provided) if provided else None,
        "device": config["device"],
        "seed": seed,
        "limits": limits_of(row.name),
        "r_packages": environment.get("r", []),
        "debian": environment.get("debian", []),
    }


def method_settings(wildcards):
    """How a method is run, as JSON; see run_method.py."""
    row, seed = METHODS.loc[wildcards.method], int(wildcards.get("seed", 0))
    return json.dumps(running_of(row, seed, in_conda=IN_CONDA))
