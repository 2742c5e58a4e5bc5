# The configuration, read and checked once, and the helpers that rules share.

import os
import sys
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

import jsonschema
import pandas as pd
import yaml
from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

RULES_FOLDER = workflow.current_basedir


def source_file(path):
    """Local path of a file of this repository.

    Snakemake fetches it if the workflow is taken from a remote repository. A local file is used in
    place: Snakemake's copy of it would have another name in every run.
    """
    source = RULES_FOLDER.join(f"../../{path}")
    place = source.get_path_or_uri(secret_free=False)
    if os.path.isdir(RULES_FOLDER.get_path_or_uri(secret_free=False)):
        return os.path.normpath(place)
    return workflow.sourcecache.get_path(source)


def locate(path):
    """Local path of a file beside the scripts, or None; see plkd.fingerprint."""
    try:
        place = Path(source_file(f"workflow/scripts/{path}"))
    except (WorkflowError, OSError):
        return None
    return place if place.is_file() else None


sys.path.insert(0, str(locate("plkd/__init__.py").parents[1]))
for module in ("errors", "fingerprint", "settings", "presets"):
    locate(f"plkd/{module}.py")

from plkd.errors import InputError
from plkd.fingerprint import code_fingerprint
from plkd.presets import resolve


def code(script):
    """Parameter of a rule that changes when the library code behind its script does."""
    return code_fingerprint(script, locate)


def checked(content, schema, origin):
    """Validate a mapping against a schema of this workflow and fill in defaults."""
    try:
        validate(content, source_file(f"workflow/schemas/{schema}.schema.yaml"))
    except WorkflowError as error:
        # of the validator's error the place and the reason; not the whole schema
        cause = error.__context__
        reason = str(error)
        if isinstance(cause, jsonschema.ValidationError):
            place = ".".join(map(str, cause.absolute_path))
            reason = f"{place}: {cause.message}" if place else cause.message
        raise WorkflowError(f"{origin} is not valid: {reason}") from None
    return content


READING_KEYS = ("reader", "layer", "use_raw", "transpose", "gene_symbols_key", "modality")


def settings_of(name, variant):
    """Settings of a variant as plain dictionaries."""
    try:
        return resolve(checked(variant, "variant", f"variant '{name}'")).to_dict()
    except InputError as error:
        raise WorkflowError(f"variant '{name}': {error}") from error


def read_dataset(entry):
    """A data set of the configuration: a mapping, or the path of a YAML file that holds one.

    Paths are looked for in the working directory first, then among those the workflow ships.
    """
    if isinstance(entry, dict):
        return checked(entry, "dataset", "a data set of the configuration")
    path = Path(entry) if os.path.exists(entry) else Path(source_file(entry))
    if not path.is_file():
        raise WorkflowError(f"the data set '{entry}' of the configuration does not exist.")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return checked(content, "dataset", f"'{entry}'")


def read_datasets(entries):
    datasets = {}
    for entry in [entries] if isinstance(entries, (str, dict)) else entries:
        dataset = read_dataset(entry)
        if dataset["name"] in datasets:
            raise WorkflowError(f"two data sets are named '{dataset['name']}': rename one.")
        if "query" in dataset and "split" in dataset:
            raise WorkflowError(
                f"data set '{dataset['name']}' has both 'query' and 'split': keep one."
            )
        if "query" not in dataset and "split" not in dataset:
            raise WorkflowError(
                f"data set '{dataset['name']}' has no query: give the file under 'query', or 'split: {{}}' "
                "to make one out of the reference."
            )
        datasets[dataset["name"]] = dataset
    return datasets


def require_writable(folder):
    """Stop before any work if results could not be written."""
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise WorkflowError(
            f"the folder '{folder}' cannot be written: '{place}' is "
            + ("not writable" if place.is_dir() else "not a folder")
            + ". Mend that, or choose another place with --directory or the key 'pathvars'."
        )


checked(config, "config", "the configuration")
for pathvar in ("results", "resources", "logs", "benchmarks"):
    require_writable(workflow.pathvars.apply(f"<{pathvar}>"))
DATASETS = read_datasets(config["datasets"])
VARIANTS = {name: settings_of(name, dict(variant)) for name, variant in config["variants"].items()}
METHODS_FILE = source_file("config/methods.tsv")
METHODS = pd.read_csv(METHODS_FILE, sep="\t", index_col="id")
MODELS = ["student", "teacher"]
BASELINES = [*config["methods"], *METHODS.index[METHODS["kind"] == "control"]]
for method in config["methods"]:
    if method not in METHODS.index[METHODS["kind"] == "baseline"]:
        raise WorkflowError(
            f"unknown method '{method}': choose of "
            + ", ".join(METHODS.index[METHODS["kind"] == "baseline"])
        )


wildcard_constraints:
    dataset="|".join(map(re.escape, DATASETS)) or "none",
    variant="|".join(map(re.escape, VARIANTS)),
    seed=r"\d+",
    model="|".join(MODELS),
    method=r"\w+",


# ----------------------------------------------------------------------------------------- sources


def url_of(source):
    """URL or path of a source, its variables filled in."""
    return source["url"].replace(
        "{data_folder}", str(config["data_folder"] or "data_folder-is-not-set")
    )


def local_path(source):
    """Path of a source that lies on this machine, or None."""
    parts = urlparse(url_of(source))
    if parts.scheme == "repository":
        return source_file(parts.path)
    return parts.path if parts.scheme in ("", "file") else None


def file_name(source):
    return source.get("filename") or PurePosixPath(urlparse(source["url"]).path).name


def sources_of(dataset):
    """All sources of a data set by the name of the file they become."""
    sides = [DATASETS[dataset][side] for side in ("reference", "query") if side in DATASETS[dataset]]
    entries = [*sides, *DATASETS[dataset]["gene_sets"]]
    for side in sides:
        activity = side.get("gene_activity", {})
        entries += [activity[key] for key in ("annotation", "barcodes") if key in activity]
    sources = {}
    for entry in entries:
        other = sources.setdefault(file_name(entry), entry)
        if url_of(other) != url_of(entry):
            raise WorkflowError(
                f"data set '{dataset}': two sources would both be saved as '{file_name(entry)}'; give one "
                "of them another 'filename'."
            )
    return sources


def fetched(dataset, source):
    """The file that rule download makes of a source; a local folder (10x mtx, zarr) is used in place."""
    if os.path.isdir(local_path(source) or ""):
        return local_path(source)
    return f"<resources>/datasets/{dataset}/{file_name(source)}"


def source_of(wildcards):
    return sources_of(wildcards.dataset)[wildcards.file]


def source_url(wildcards):
    return url_of(source_of(wildcards))


def source_checksum(wildcards):
    return source_of(wildcards).get("sha256")


def source_mirrors(wildcards):
    return source_of(wildcards)["mirrors"]


def local_source(wildcards):
    return local_path(source_of(wildcards)) or []


def query_file(wildcards):
    dataset = DATASETS[wildcards.dataset]
    return fetched(wildcards.dataset, dataset.get("query", dataset["reference"]))


def genes_file(wildcards, side):
    """The file of one side that holds genes: its own, or the gene activity made of it."""
    if "gene_activity" in DATASETS[wildcards.dataset][side]:
        return f"<results>/{wildcards.dataset}/gene_activity/{side}.h5ad"
    return fetched(wildcards.dataset, DATASETS[wildcards.dataset][side])


def reference_to_prepare(wildcards):
    return genes_file(wildcards, "reference")


def query_to_prepare(wildcards):
    """The query's own file; none where it is split off the reference."""
    return genes_file(wildcards, "query") if "query" in DATASETS[wildcards.dataset] else []


def query_to_annotate(wildcards):
    """The file whose copy gets the labels: the query as it came, but cells for fragments."""
    dataset = DATASETS[wildcards.dataset]
    side = "query" if "query" in dataset else "reference"
    if dataset[side].get("gene_activity", {}).get("rule") == "signac":
        return genes_file(wildcards, side)
    return query_file(wildcards)


def gene_activity_source(wildcards):
    return DATASETS[wildcards.dataset][wildcards.side]


def gene_activity_cells(wildcards):
    return fetched(wildcards.dataset, gene_activity_source(wildcards))


def gene_activity_annotation(wildcards):
    return fetched(
        wildcards.dataset, gene_activity_source(wildcards)["gene_activity"]["annotation"]
    )


def gene_activity_barcodes(wildcards):
    barcodes = gene_activity_source(wildcards)["gene_activity"].get("barcodes")
    return fetched(wildcards.dataset, barcodes) if barcodes else []


def gene_set_files(wildcards):
    return [
        fetched(wildcards.dataset, source) for source in DATASETS[wildcards.dataset]["gene_sets"]
    ]


# ----------------------------------------------------------------------------- settings of the rules


def dataset_of(wildcards):
    return DATASETS[wildcards.dataset]


def dataset_to_prepare(wildcards):
    """The data set as rule prepare finds it: what tells how to read peaks is done with."""
    dataset = dict(DATASETS[wildcards.dataset])
    for side in ("reference", "query"):
        if "gene_activity" in dataset.get(side, {}):
            dataset[side] = {
                key: value for key, value in dataset[side].items() if key not in READING_KEYS
            }
    return dataset


def variant_of(wildcards):
    return VARIANTS[wildcards.variant]


def mask_of(wildcards):
    return VARIANTS[wildcards.variant]["mask"]


def memory_mb(wildcards, input, attempt):
    """Sparse matrices unpack to a few times their size on disk; a job that ran out is given more."""
    size_mb = sum(map(os.path.getsize, input)) / 1e6
    return max(3000, int(8 * size_mb)) * attempt


# ---------------------------------------------------------------------------------------- targets


def has_truth(dataset):
    """Can predictions be scored: were labels of the query given, or is it split off the reference?"""
    return "split" in DATASETS[dataset] or bool(DATASETS[dataset]["query"].get("labels_key"))


def runs(suffix, datasets=DATASETS):
    return expand(
        f"<results>/{{dataset}}/{{variant}}/seed{{seed}}/{suffix}",
        dataset=datasets,
        variant=VARIANTS,
        seed=config["seeds"],
    )


EVALUATED = [dataset for dataset in DATASETS if has_truth(dataset)]


def predictions_of(wildcards):
    """Predictions of our models and of every other method for the same data set and seed."""
    run = f"<results>/{wildcards.dataset}/{wildcards.variant}/seed{wildcards.seed}/predictions"
    others = f"<results>/{wildcards.dataset}/baselines/seed{wildcards.seed}/predictions"
    return [f"{run}/{model}.parquet" for model in MODELS] + [
        f"{others}/{method}.parquet" for method in BASELINES
    ]
