# The configuration, read and checked once, and the helpers that rules share.

import copy
import os
import re
import sys
from itertools import product
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlparse

import jsonschema
import pandas as pd
import yaml
from snakemake.exceptions import WorkflowError
from snakemake.utils import validate


# Folders of the results; <results>, <logs> and so on are Snakemake's own.
pathvars:
    run_name="{dataset}/{variant}/seed{seed}",
    run="<results>/<run_name>",
    prepared="<results>/{dataset}/prepared",
    mask="<results>/{dataset}/{variant}/mask",


# Kept here, because functions of inputs run when another workflow may be the current one.
PATHVARS = workflow.pathvars
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
    """Local path of a file beside the scripts, or None; see plkd.pipeline.fingerprint."""
    try:
        place = Path(source_file(f"workflow/scripts/{path}"))
    except (WorkflowError, OSError):
        return None
    return place if place.is_file() else None


sys.path.insert(0, str(locate("plkd/__init__.py").parents[1]))
for path in (
    "plkd/errors.py",
    "plkd/pipeline/__init__.py",
    "plkd/pipeline/fingerprint.py",
    "plkd/settings/__init__.py",
    "plkd/settings/models.py",
    "plkd/settings/datasets.py",
    "plkd/settings/presets.py",
):
    locate(path)

from plkd.errors import InputError
from plkd.pipeline.fingerprint import code_fingerprint
from plkd.settings.presets import resolve
from plkd.settings.datasets import READING, sources_in, with_paths


def filled(path, **names):
    """A path with its pathvars and these wildcards filled in."""
    return PATHVARS.apply(path).format(**names)


def model_files(folder, *networks):
    """Files of a folder with these networks by name; `model` is the one that says what it holds."""
    names = [*networks, "background"]
    return {
        "model": f"{folder}/model.json",
        **{name: f"{folder}/{name}.safetensors" for name in names},
    }


TEACHER = model_files("<run>/teacher", "teacher")  # alone, for the Student to learn from
MODEL = model_files("<run>/model", "teacher", "student")

CATEGORIES = {
    "labels": "1. Labels",
    "accuracy": "2. Accuracy",
    "pathways": "3. Pathways",
    "training": "4. Training",
    "data": "5. Data",
    "why": "6. Why this label",
}


def shown(path, item, category, caption, **options):
    """An output that the report shows, under a category of `CATEGORIES`, with the data set, variant and
    seed that its path names, and the caption report/<caption>.rst."""
    names = re.findall(r"{(\w+)}", PATHVARS.apply(path))
    return report(
        path,
        category=CATEGORIES[category],
        subcategory="{dataset}" if "dataset" in names else "all data sets",
        labels={
            **{name: f"{{{name}}}" for name in ("variant", "seed") if name in names},
            "item": item,
        },
        caption=f"../report/{caption}.rst",
        **options,
    )


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


def settings_of(name, variant):
    """Settings of a variant as plain dictionaries."""
    try:
        return resolve(checked(variant, "variant", f"variant '{name}'")).to_dict()
    except InputError as error:
        raise WorkflowError(f"variant '{name}': {error}") from error


def read_entry(entry):
    """The data sets of an entry of the configuration: a mapping, or the path of a YAML file that holds
    one or a list of them.

    Paths are looked for in the working directory first, then among those the workflow ships.
    """
    if isinstance(entry, dict):
        return [checked(entry, "dataset", "a data set of the configuration")]
    path = Path(entry) if os.path.exists(entry) else Path(source_file(entry))
    if not path.is_file():
        raise WorkflowError(f"the data set '{entry}' of the configuration does not exist.")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    listed = content if isinstance(content, list) else [content]
    # YAML anchors give several data sets the same mapping: each gets its own before defaults go in.
    return [checked(copy.deepcopy(one), "dataset", f"'{entry}'") for one in listed]


def read_datasets(entries):
    datasets = {}
    for entry in [entries] if isinstance(entries, (str, dict)) else entries:
        for dataset in read_entry(entry):
            if dataset["name"] in datasets:
                raise WorkflowError(f"two data sets are named '{dataset['name']}': rename one.")
            check_dataset(dataset)
            datasets[dataset["name"]] = dataset
    return datasets


def check_dataset(dataset):
    """What a schema cannot say."""
    name = f"data set '{dataset['name']}'"
    if "query" in dataset and "split" in dataset:
        raise WorkflowError(f"{name} has both 'query' and 'split': keep one.")
    if "query" not in dataset and "split" not in dataset:
        raise WorkflowError(
            f"{name} has no query: give the file under 'query', or 'split: {{}}' to make one out of the "
            "reference."
        )
    for side in ("reference", "query"):
        source = dataset.get(side)
        if source is None:
            continue
        if "url" not in source and "cells" not in dataset:
            raise WorkflowError(f"{name}: '{side}' needs a 'url', or the data set 'cells'.")
        if "url" not in source and "gene_activity" in source:
            raise WorkflowError(f"{name}: 'gene_activity' of '{side}' needs a 'url' of its own.")
    files = [file["name"] for file in dataset.get("cells", {}).get("files", [])]
    if len(set(files)) < len(files):
        raise WorkflowError(f"{name}: two files of 'cells' have the same name.")


def collection_of(dataset):
    """Folder of a data set's downloads."""
    return DATASETS[dataset].get("collection", dataset)


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
    require_writable(filled(f"<{pathvar}>"))
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
    collection="|".join(sorted({re.escape(collection_of(dataset)) for dataset in DATASETS})),
    side="reference|query",
    variant="|".join(map(re.escape, VARIANTS)),
    seed=r"\d+",
    model="|".join(MODELS),
    method=r"\w+",


# ----------------------------------------------------------------------------------------- sources


def address_of(url):
    """URL or path of a source, its variables filled in, its beginning exchanged where asked."""
    url = url.replace("{data_folder}", str(config["data_folder"] or "data_folder-is-not-set"))
    for beginning, other in config["url_rewrites"].items():
        if url.startswith(beginning):
            return other + url.removeprefix(beginning)
    return url


def local_path(source):
    """Path of a source that lies on this machine, or None."""
    address = address_of(source["url"])
    parts = urlparse(address)
    if parts.scheme == "repository":
        return source_file(parts.path)
    if parts.scheme == "file":
        return unquote(parts.path)
    return address if not parts.scheme else None


def file_name(source):
    """Name that a source is saved under."""
    if source.get("filename"):
        return source["filename"]
    return PurePosixPath(source.get("member") or unquote(urlparse(source["url"]).path)).name


def read_sources():
    """All sources by collection and the name of the file they become."""
    sources = {}
    for dataset, content in DATASETS.items():
        collection = sources.setdefault(collection_of(dataset), {})
        for source in sources_in(content):
            other = collection.setdefault(file_name(source), source)
            if (other["url"], other.get("member")) != (source["url"], source.get("member")):
                raise WorkflowError(
                    f"data set '{dataset}': two sources would both be saved as '{file_name(source)}'; "
                    "give one of them another 'filename'."
                )
    return sources


SOURCES = read_sources()


def fetched(dataset, source):
    """The file that rule download makes of a source; a local folder (10x mtx, zarr) is used in place."""
    path = local_path(source)
    if path is not None and os.path.isdir(path) and "member" not in source:
        return path
    return f"<resources>/datasets/{collection_of(dataset)}/{file_name(source)}"


def source_of(wildcards):
    return SOURCES[wildcards.collection][wildcards.file]


def source_of_download(wildcards):
    """A source with addresses to try, for the script; the URL itself is its name in the lock file."""
    source = source_of(wildcards)
    return {
        **{key: source.get(key) for key in ("url", "sha256", "size", "member")},
        "addresses": [address_of(url) for url in (source["url"], *source["mirrors"])],
    }


def offline_folder(wildcards):
    return config["offline_folder"] if config["offline"] else None


def local_source(wildcards):
    return local_path(source_of(wildcards)) or []


def source_of_side(dataset, side):
    """The configuration of one side; without a query of its own, that of the reference."""
    return DATASETS[dataset].get(side, DATASETS[dataset]["reference"])


def original_file(dataset, side):
    """The file that holds the cells of one side as they were published (several are assembled)."""
    source = source_of_side(dataset, side)
    return fetched(dataset, source) if "url" in source else f"<results>/{dataset}/assembled.h5ad"


def cells_file(dataset, side):
    """The file with the genes of one side: its own, or the gene activity made of it (once, if both
    sides come from the same file)."""
    source = source_of_side(dataset, side)
    if "gene_activity" in source:
        keys = ("url", "gene_activity", *READING)
        reference = DATASETS[dataset]["reference"]
        shared = all(reference.get(key) == source.get(key) for key in keys)
        return f"<results>/{dataset}/gene_activity/{'reference' if shared else side}.h5ad"
    return original_file(dataset, side)


def reference_file(wildcards):
    return cells_file(wildcards.dataset, "reference")


def prepared_query_file(wildcards):
    """The query's own file; none where it is split off the reference."""
    return cells_file(wildcards.dataset, "query") if "query" in DATASETS[wildcards.dataset] else []


def has_rows(source):
    """Whether the published file has a row per cell that can be labelled; fragments have not."""
    return "url" in source and source.get("gene_activity", {}).get("rule") != "signac"


def query_file(wildcards):
    """The file that is copied with labels: the query as it came, or cells made of fragments."""
    dataset = wildcards.dataset
    side = "query" if "query" in DATASETS[dataset] else "reference"
    published = has_rows(source_of_side(dataset, side))
    return original_file(dataset, side) if published else cells_file(dataset, side)


def gene_activity_cells(wildcards):
    return original_file(wildcards.dataset, wildcards.side)


def gene_activity_source(wildcards):
    return source_of_side(wildcards.dataset, wildcards.side)


def gene_activity_annotation(wildcards):
    annotation = gene_activity_source(wildcards)["gene_activity"]["annotation"]
    return fetched(wildcards.dataset, annotation)


def gene_activity_barcodes(wildcards):
    barcodes = gene_activity_source(wildcards)["gene_activity"].get("barcodes")
    return fetched(wildcards.dataset, barcodes) if barcodes else []


def gene_table_of(side):
    """Input function of the table of gene names of one side."""

    def table(wildcards):
        table = DATASETS[wildcards.dataset].get(side, {}).get("gene_table")
        return fetched(wildcards.dataset, table) if table else []

    return table


def assembled_files(wildcards):
    """Every source of `cells`, in the order of the configuration."""
    return [
        fetched(wildcards.dataset, source)
        for source in sources_in(DATASETS[wildcards.dataset]["cells"])
    ]


def cells_of(wildcards, input):
    """The key `cells` with the path of every source beside its `url`."""
    return with_paths(DATASETS[wildcards.dataset]["cells"], input)


def gene_set_files(wildcards):
    return [
        fetched(wildcards.dataset, source) for source in DATASETS[wildcards.dataset]["gene_sets"]
    ]


# ----------------------------------------------------------------------------- settings of the rules


def as_written(source):
    """The configuration of a side whose file the pipeline wrote itself: it is read as it is."""
    return {key: value for key, value in source.items() if key not in READING}


def prepared_dataset(wildcards):
    """The data set as rule prepare sees it."""
    dataset = dict(DATASETS[wildcards.dataset])
    for side in ("reference", "query"):
        source = dataset.get(side)
        if source is not None and ("url" not in source or "gene_activity" in source):
            dataset[side] = as_written(source)
    return dataset


def annotated_source(wildcards):
    """The configuration of the side whose file is copied with labels."""
    source = source_of_side(wildcards.dataset, "query")
    # the copy keeps the names of its genes
    source = {key: value for key, value in source.items() if key != "gene_table"}
    return source if has_rows(source) else as_written(source)


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


def run_names(datasets=DATASETS):
    """Data set, variant and seed of every run."""
    names = product(datasets, VARIANTS, config["seeds"])
    return [dict(zip(("dataset", "variant", "seed"), name)) for name in names]


def runs(suffix, datasets=DATASETS):
    """A file of every run, in the order of `run_names`."""
    return [filled(f"<run>/{suffix}", **name) for name in run_names(datasets)]


EVALUATED = [dataset for dataset in DATASETS if has_truth(dataset)]
SPATIAL = [dataset for dataset in DATASETS if DATASETS[dataset]["spatial"]]


def predictions_of(wildcards):
    """Predictions of our models and of every other method for the same data set and seed."""
    others = f"<results>/{wildcards.dataset}/baselines/seed{wildcards.seed}/predictions"
    return [filled(f"<run>/predictions/{model}.parquet", **wildcards) for model in MODELS] + [
        f"{others}/{method}.parquet" for method in BASELINES
    ]


MAPPED_CELLS = 20_000  # of reference and query together; more would not be told apart on a map


def reference_to_embed(wildcards):
    """The Student's embedding of the reference is for nothing; that of the Teacher is mapped."""
    return "<prepared>/reference.h5ad" if wildcards.model == "teacher" else []


# ------------------------------------------------------------------------------------ interpretation


def explained_cells(wildcards):
    side = config["interpretation"]["cells"]
    return filled(f"<prepared>/{side}.h5ad", **wildcards)


def explained_labels(wildcards):
    """Labels of the cells, where the file of cells does not hold them."""
    if config["interpretation"]["cells"] == "reference":
        return []
    return filled("<run>/predictions/student.parquet", **wildcards)


def list_of_markers(wildcards):
    source = DATASETS[wildcards.dataset].get("markers")
    return fetched(wildcards.dataset, source) if source else []


def list_of_pathways(wildcards):
    return fetched(wildcards.dataset, DATASETS[wildcards.dataset]["known_pathways"])


def gene_tables_of_seeds(wildcards):
    names = {"dataset": wildcards.dataset, "variant": wildcards.variant}
    genes = "<run>/interpretation/gene_attributions.tsv"
    return [filled(genes, **names, seed=seed) for seed in config["seeds"]]


WITH_MARKERS = [dataset for dataset in DATASETS if "markers" in DATASETS[dataset]]
WITH_PATHWAYS = [dataset for dataset in DATASETS if "known_pathways" in DATASETS[dataset]]
STABILITY = (
    expand("<results>/{dataset}/{variant}/stability.tsv", dataset=DATASETS, variant=VARIANTS)
    if len(config["seeds"]) > 1
    else []
)
# What rule summary asks for.
GENE_FIGURES = (
    runs("interpretation/key_genes.png")
    + runs("interpretation/faithfulness.png")
    + runs("interpretation/marker_recovery.png", WITH_MARKERS)
    + runs("interpretation/pathway_recovery.png", WITH_PATHWAYS)
    + ["<results>/benchmark/explanations.html"]
)
