# The configuration, read and checked once, and the helpers that rules share.

import copy
import json
import os
import re
import shlex
import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from itertools import product
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlparse

import jsonschema
import yaml
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod
from snakemake.utils import validate


# Folders of the results; <results>, <logs> and so on are Snakemake's own.
pathvars:
    run_name="{dataset}/{variant}/seed{seed}",
    run="<results>/<run_name>",
    prepared="<results>/{dataset}/prepared",
    mask="<results>/{dataset}/{variant}/mask",
    methods="<results>/{dataset}/methods",
    methods_of_seed="<methods>/seed{seed}",
    environments="environments",


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


# Of a remote repository Snakemake fetches file by file what is asked for: the modules that are imported
# here, with all that they import. The module that finds these out is loaded on its own first.
sys.path.insert(0, str(locate("plkd/__init__.py").parents[1]))
spec = spec_from_file_location("fingerprint", locate("plkd/pipeline/fingerprint.py"))
fingerprint = module_from_spec(spec)
spec.loader.exec_module(fingerprint)
for module in (
    "pipeline/configuration",
    "pipeline/console",
    "pipeline/methods",
    "pipeline/plan",
    "settings/datasets",
    "settings/presets",
):
    fingerprint.reachable_modules(f"plkd/{module}.py", locate)
    locate(f"plkd/{module.split('/')[0]}/__init__.py")
fingerprint.reachable_modules("plkd/__init__.py", locate)

from plkd.errors import InputError
from plkd.pipeline.configuration import markup_in, suggestion, violation
from plkd.pipeline import console
from plkd.pipeline.methods import chosen_methods, read_integrators, read_registry
from plkd.pipeline.plan import DatasetPlan, Download, plan_text
from plkd.settings.datasets import READING, sources_in, with_paths
from plkd.settings.presets import resolve


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
    "integration": "7. Integration",
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
    return fingerprint.code_fingerprint(script, locate)


# A run that a person watches: a line for each step; everything goes into the file in .snakemake/log.
STEPS = console.StepFormatter(erase=sys.stderr.isatty())
IS_WATCHED = (
    workflow.is_main_process
    and workflow.modifier.parent_modifier is None  # not a module of another workflow
    and not workflow.output_settings.dryrun
    and not workflow.output_settings.verbose
)
if IS_WATCHED:
    for handler in logger.handlers:
        if handler.name == "DefaultStreamHandler":
            handler.setFormatter(STEPS)
            handler.addFilter(console.is_shown)


def announce():
    """Say what will run, and about how long it takes."""
    order = [rule.name for rule in workflow.rules]
    jobs = [job for job in workflow.dag.needrun_jobs() if job.log]
    jobs.sort(key=lambda job: order.index(job.rule.name))
    STEPS.n_steps = len(jobs)
    steps = [(job.rule.name, str(job.benchmark) if job.benchmark else None) for job in jobs]
    if steps:
        logger.info(console.plan(steps, filled("<benchmarks>"), workflow.cores or 1))


def stop(message):
    """End with a message to the user, who can mend this, instead of a traceback of these files."""
    logger.error(f"Error in the configuration: {message}")
    sys.exit(1)


def checked(content, schema, origin=""):
    """Validate a mapping against a schema of this workflow and fill in defaults."""
    if not isinstance(content, dict):
        stop(f"{origin or 'it'} is not a mapping of keys to values but: {content!r}")
    if text := markup_in(content):
        stop(
            f"{origin or 'the configuration'} holds the text '{text}', which would spoil the report: take it out."
        )
    try:
        validate(content, source_file(f"workflow/schemas/{schema}.schema.yaml"))
    except WorkflowError as error:
        # of the validator's error the place and the reason; not the whole schema
        cause = error.__context__
        reason = violation(cause) if isinstance(cause, jsonschema.ValidationError) else error
        stop(f"{origin}: {reason}" if origin else reason)
    return content


def settings_of(name, variant):
    """Settings of a variant as plain dictionaries."""
    try:
        return resolve(checked(variant, "variant", f"variant '{name}'")).to_dict()
    except InputError as error:
        stop(f"variant '{name}': {error}")


# Where relative paths are looked for that do not exist in the working directory: beside the files that
# name them.
FOLDERS = [Path(os.path.relpath(file)).parent for file in workflow.configfiles]
TOLD = set()


def tell(message):
    """Say something once, in the process that the user watches."""
    if workflow.is_main_process and message not in TOLD:
        logger.warning(message)
    TOLD.add(message)


def beside(path, folder=None):
    """A path as it is, or beside the file of a data set (in `folder`) or a configuration that names it,
    if it exists there and not here."""
    folders = [*([Path(folder)] if folder else []), *FOLDERS]
    places = [place for place in (str(one / path) for one in folders) if os.path.exists(place)]
    if not places:
        return path
    if not os.path.exists(path):
        tell(f"'{path}' is taken from '{Path(places[0]).parent}', beside the configuration")
        return places[0]
    if not os.path.samefile(path, places[0]):
        tell(
            f"'{path}' is taken from the working directory, not '{places[0]}' beside the configuration: "
            "give the whole path of the one you mean"
        )
    return path


def read_entry(entry):
    """The data sets of an entry of the configuration: a mapping, or the path of a YAML file that holds
    one or a list of them.

    Paths are looked for in the working directory first, then among those the workflow ships.
    """
    if isinstance(entry, dict):
        return [checked(entry, "dataset", named(entry, "a data set of the configuration"))]
    path = Path(beside(entry))
    if not path.exists():
        path = Path(source_file(entry))
    if not path.is_file():
        stop(f"the data set '{entry}' does not exist.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        stop(f"'{path}' is not YAML: {error}")
    listed = content if isinstance(content, list) else [content]
    # YAML anchors give several data sets the same mapping: each gets its own before defaults go in.
    datasets = [checked(copy.deepcopy(one), "dataset", named(one, f"'{entry}'")) for one in listed]
    for source in sources_in(datasets):
        source["beside"] = str(path.parent)
    return datasets


def named(dataset, where):
    """What a data set is called in messages."""
    name = dataset.get("name") if isinstance(dataset, dict) else None
    return f"data set '{name}'" if isinstance(name, str) else where


def part_of(content, keys):
    return {key: content[key] for key in keys if key in content}


class Datasets(dict):
    """Data sets by name, in the order of the configuration; those that are drawn from others are found
    by their names, but are not among them."""

    def __init__(self):
        self.drawn = {}

    def __missing__(self, name):
        return self.drawn[name]


def read_datasets(entries):
    datasets = Datasets()
    for entry in [entries] if isinstance(entries, (str, dict)) else entries:
        for dataset in read_entry(entry):
            if dataset["name"] in datasets:
                stop(f"two data sets are named '{dataset['name']}': rename one.")
            check_dataset(dataset)
            datasets[dataset["name"]] = dataset
    return datasets


def check_dataset(dataset):
    """What a schema cannot say."""
    name = f"data set '{dataset['name']}'"
    if "query" in dataset and "split" in dataset:
        stop(f"{name} has both 'query' and 'split': keep one.")
    if "query" not in dataset and "split" not in dataset:
        stop(
            f"{name} has no query: give the file under 'query', or 'split: {{}}' to make one out of the "
            "reference."
        )
    if not dataset["reference"].get("labels_key"):
        stop(f"{name}: 'reference' needs a 'labels_key': the column of obs that holds the labels.")
    for side in ("reference", "query"):
        source = dataset.get(side)
        if source is None:
            continue
        if "url" not in source and "cells" not in dataset:
            stop(f"{name}: '{side}' needs a 'url', or the data set 'cells'.")
        if "url" not in source and "gene_activity" in source:
            stop(f"{name}: 'gene_activity' of '{side}' needs a 'url' of its own.")
    if dataset["further_labels"]["groups"] and dataset["further_labels"]["cluster"]:
        stop(f"{name}: 'further_labels' has both 'groups' and 'cluster': keep one.")
    files = [file["name"] for file in dataset.get("cells", {}).get("files", [])]
    if len(set(files)) < len(files):
        stop(f"{name}: two files of 'cells' have the same name.")


def drawn_datasets(datasets, imbalances):
    """What is drawn from data sets to make labels rare: its content, and what it is, by its name."""
    contents, about = {}, {}
    for one in imbalances:
        if one["dataset"] not in datasets:
            tell(
                f"`imbalance` names '{one['dataset']}', which is not among the data sets: left out"
            )
            continue
        base = datasets[one["dataset"]]
        choices = product(enumerate(one["minor"]), one["ratios"], range(one["draws"]))
        for (number, minor), ratio, draw in choices:
            name = f"{one['dataset']}.minor{number}.{ratio}to1.draw{draw}"
            drawn = part_of(
                copy.deepcopy(base), ("reference", "query", "split", "gene_sets", "prepare")
            )
            for side in ("reference", "query"):
                if side in drawn:
                    drawn[side]["imbalance"] = {
                        "major": one["major"],
                        "minor": minor,
                        "ratio": ratio,
                        "seed": draw,
                    }
            contents[name] = {
                **part_of(base, ("cells", "organism")),
                **drawn,
                "name": name,
                "drawn_from": base["name"],
                "collection": base.get("collection", base["name"]),
                "spatial": False,
                "expected": {},
                "description": f"{one['major']} and {minor} at {ratio} to 1",
            }
            about[name] = {"dataset": one["dataset"], "minor": minor, "ratio": ratio, "draw": draw}
    return contents, about


def collection_of(dataset):
    """Folder of a data set's downloads."""
    return DATASETS[dataset].get("collection", dataset)


def require_writable(folder):
    """Stop before any work if results could not be written."""
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        stop(
            f"the folder '{folder}' cannot be written: '{place}' is "
            + ("not writable" if place.is_dir() else "not a folder")
            + ". Mend that, or choose another place with --directory or the key 'pathvars'."
        )


# `interpretation: false` leaves the explanations out of the run; their rules stay, with the defaults.
# (--config gives a truth value as text.)
switch = str(config.get("interpretation")).lower()
EXPLAINED = switch != "false"
if switch in ("true", "false"):
    config["interpretation"] = {}
checked(config, "config")
INTERPRETATION = config["interpretation"]
for pathvar in ("results", "resources", "logs", "benchmarks"):
    require_writable(filled(f"<{pathvar}>"))
DATASETS = read_datasets(config["datasets"])
DATASETS.drawn, DRAWN = drawn_datasets(DATASETS, config["imbalance"])
VARIANTS = {name: settings_of(name, dict(variant)) for name, variant in config["variants"].items()}
METHODS_FILE = source_file("config/methods.tsv")
METHODS = read_registry(METHODS_FILE)
INTEGRATORS = read_integrators(source_file("config/integrators.tsv"))
for method in config["integration"]:
    if method not in INTEGRATORS.index:
        stop(f"unknown method '{method}' of `integration`: {suggestion(method, INTEGRATORS.index)}")
MODELS = ["student", "teacher"]
try:
    OTHERS = chosen_methods(METHODS, config["methods"])
except InputError as error:
    stop(str(error))
CONTROLS = METHODS.index[METHODS["kind"] == "control"].to_list()
OTHERS += CONTROLS
DETERMINISTIC = METHODS.index[METHODS["deterministic"]]
for (name, dataset), (variant, settings) in product(DATASETS.items(), VARIANTS.items()):
    if settings["mask"]["kind"] == "pathways" and not dataset["gene_sets"]:
        stop(
            f"data set '{name}' has no gene sets, which variant '{variant}' makes its pathways of: name a "
            "GMT file under 'gene_sets', or choose 'mask: {kind: dense}' or 'random'."
        )
for key, named in (
    ("folders", config["folders"]),
    ("limits: methods", config["limits"]["methods"]),
):
    for method in named:
        if method not in METHODS.index and method not in INTEGRATORS.index:
            stop(f"'{key}' names the method '{method}': {suggestion(method, METHODS.index)}")


wildcard_constraints:
    dataset="|".join(map(re.escape, [*DATASETS, *DATASETS.drawn])) or "none",
    collection="|".join(sorted({re.escape(collection_of(dataset)) for dataset in DATASETS})),
    side="reference|query",
    variant="|".join(map(re.escape, VARIANTS)),
    seed=r"\d+",
    model="|".join(MODELS),
    method=r"\w+",
    integrator="|".join(config["integration"]) or "none",


# ----------------------------------------------------------------------------------------- sources


def address_of(url, folder=None):
    """URL or path of a source, its variables filled in, its beginning exchanged where asked; a path that
    exists, here or beside the file that names it (in `folder`)."""
    url = url.replace("{data_folder}", str(config["data_folder"] or "data_folder-is-not-set"))
    for beginning, other in config["url_rewrites"].items():
        if url.startswith(beginning):
            url = other + url.removeprefix(beginning)
            break
    return url if urlparse(url).scheme else beside(url, folder)


def addresses_of(source):
    """Addresses of a source, its mirrors behind its own."""
    return [address_of(url, source.get("beside")) for url in (source["url"], *source["mirrors"])]


def local_path(source):
    """Path of a source that lies on this machine, or None."""
    address = addresses_of(source)[0]
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
    name = PurePosixPath(source.get("member") or unquote(urlparse(source["url"]).path)).name
    if name in ("", ".."):
        stop(f"'{source['url']}' does not end with the name of a file: give one as 'filename'.")
    return name


def read_sources():
    """All sources by collection and the name of the file they become."""
    sources = {}
    for dataset, content in DATASETS.items():
        collection = sources.setdefault(collection_of(dataset), {})
        for source in sources_in(content):
            other = collection.setdefault(file_name(source), source)
            if (addresses_of(other)[0], other.get("member")) != (
                addresses_of(source)[0],
                source.get("member"),
            ):
                stop(
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
        **{
            key: source.get(key) for key in ("url", "sha256", "size", "member", "max_unpacked_size")
        },
        "addresses": addresses_of(source),
    }


def offline_folder(wildcards):
    return beside(config["offline_folder"]) if config["offline"] else None


def local_source(wildcards):
    return local_path(source_of(wildcards)) or []


def source_of_side(dataset, side):
    """The configuration of one side; without a query of its own, that of the reference."""
    return DATASETS[dataset].get(side, DATASETS[dataset]["reference"])


def drawn_from(dataset):
    """The data set whose files serve: its own, or those of the one that it was drawn from."""
    return DATASETS[dataset].get("drawn_from", dataset)


def original_file(dataset, side):
    """The file that holds the cells of one side as they were published (several are assembled)."""
    source = source_of_side(dataset, side)
    dataset = drawn_from(dataset)
    return fetched(dataset, source) if "url" in source else f"<results>/{dataset}/assembled.h5ad"


def cells_file(dataset, side):
    """The file with the genes of one side: its own, or the gene activity made of it (once, if both
    sides come from the same file)."""
    source = source_of_side(dataset, side)
    if "gene_activity" in source:
        keys = ("url", "gene_activity", *READING)
        reference = DATASETS[dataset]["reference"]
        shared = all(reference.get(key) == source.get(key) for key in keys)
        dataset = drawn_from(dataset)
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
    """How to read peaks or fragments and make genes of them."""
    source = source_of_side(wildcards.dataset, wildcards.side)
    made = part_of(
        source["gene_activity"], ("rule", "upstream", "chromosomes", "biotypes", "min_fragments")
    )
    return {**part_of(source, READING), "gene_activity": made}


def gene_activity_annotation(wildcards):
    source = source_of_side(wildcards.dataset, wildcards.side)
    return fetched(wildcards.dataset, source["gene_activity"]["annotation"])


def gene_activity_barcodes(wildcards):
    source = source_of_side(wildcards.dataset, wildcards.side)
    barcodes = source["gene_activity"].get("barcodes")
    return fetched(wildcards.dataset, barcodes) if barcodes else []


def gene_table_of(side):
    """Input function of the table of gene names of one side."""

    def table(wildcards):
        table = DATASETS[wildcards.dataset].get(side, {}).get("gene_table")
        return fetched(wildcards.dataset, table) if isinstance(table, dict) else []

    return table


def assembled_files(wildcards):
    """Every source of `cells`, in the order of the configuration."""
    return [
        fetched(wildcards.dataset, source)
        for source in sources_in(DATASETS[wildcards.dataset]["cells"])
    ]


def cells_of(wildcards, input):
    """The key `cells` with the path of every source beside its `url`."""
    cells = with_paths(DATASETS[wildcards.dataset]["cells"], input)
    for source in sources_in(cells):
        source.pop("beside", None)
    return cells


def gene_set_files(wildcards):
    return [
        fetched(wildcards.dataset, source) for source in DATASETS[wildcards.dataset]["gene_sets"]
    ]


# ----------------------------------------------------------------------------- settings of the rules


# Where a file is and how it was made is no concern of what reads it.
CELL_KEYS = ("labels_key", "batch_key", "keep", "drop", "drop_labels", "imbalance")
GENE_TABLE_KEYS = ("from", "to", "only_listed")


def prepared_dataset(wildcards):
    """What of a data set rule prepare uses, and no more, because a change of anything here
    repeats all that follows."""
    dataset = part_of(
        DATASETS[wildcards.dataset], ("name", "reference", "query", "split", "prepare")
    )
    for side in ("reference", "query"):
        source = dataset.get(side)
        if source is None:
            continue
        of_file = READING if "url" in source else ("scale",)
        dataset[side] = part_of(source, CELL_KEYS + (() if "gene_activity" in source else of_file))
        table = source.get("gene_table")
        if table:
            named = isinstance(table, str)  # human or mouse
            dataset[side]["gene_table"] = table if named else part_of(table, GENE_TABLE_KEYS)
    return dataset


def annotated_source(wildcards):
    """How to read the file that is copied with labels; the copy keeps the names of its genes."""
    source = source_of_side(wildcards.dataset, "query")
    return part_of(source, READING if has_rows(source) else ())


def further_labels(wildcards):
    """What else is said of the cells; the tree comes as a file."""
    asked = DATASETS[wildcards.dataset]["further_labels"]
    return {key: value for key, value in asked.items() if key != "label_tree"}


def label_tree_of(wildcards):
    tree = DATASETS[wildcards.dataset]["further_labels"].get("label_tree")
    return fetched(wildcards.dataset, tree) if tree else []


def expected_counts_of(wildcards):
    return DATASETS[wildcards.dataset]["expected"]


def explaining(*keys):
    """The choices of `interpretation` that a rule uses."""
    return part_of(INTERPRETATION, keys)


def variant_of(wildcards):
    return VARIANTS[wildcards.variant]


def teacher_settings(wildcards):
    """What the Teacher needs of a variant; its mask comes as files."""
    others = ("mask", "student", "student_training", "student_loss", "jury")
    return {key: value for key, value in variant_of(wildcards).items() if key not in others}


def jury_settings(wildcards):
    """What the members of the jury and the Students of the cross-fitting need of a variant."""
    others = ("mask", "teacher", "teacher_loss", "background_cells")
    return {key: value for key, value in variant_of(wildcards).items() if key not in others}


def has_jury(variant):
    return VARIANTS[variant]["jury"]["members"] == "all"


def jury_of(wildcards):
    """The other members of the jury that the Student learns from, if it does not learn from the Teacher
    alone."""
    return "<run>/jury/cross_fit.safetensors" if has_jury(wildcards.variant) else []


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
# Expression that names the peaks of other cells, or of the same.
CROSSING = [
    name
    for name in EVALUATED
    if "gene_activity" not in source_of_side(name, "reference")
    and "gene_activity" in source_of_side(name, "query")
    and has_rows(source_of_side(name, "query"))
]
SPATIAL = [dataset for dataset in DATASETS if DATASETS[dataset]["spatial"]]


def predictions_by(method):
    """Path of the predictions of another method: one for each data set if it is deterministic, else one
    for each seed. No variant of ours concerns them."""
    return (
        f"<methods>/{method}.parquet"
        if method in DETERMINISTIC
        else f"<methods_of_seed>/{method}.parquet"
    )


def predictions_of(wildcards):
    """Predictions of our models and of every other method for the same data set and seed."""
    ours = [f"<run>/predictions/{model}.parquet" for model in MODELS]
    drawn = wildcards.dataset in DATASETS.drawn  # of many draws; beside the controls ours alone
    others = [predictions_by(method) for method in (CONTROLS if drawn else OTHERS)]
    return [filled(path, **wildcards) for path in ours + others]


def reference_to_embed(wildcards):
    """The Teacher's embedding of the reference is mapped; that of the Student is for nothing but the
    scores of integration."""
    wanted = wildcards.model == "teacher" or config["integration"]
    return "<prepared>/reference.h5ad" if wanted else []


# -------------------------------------------------------------------------------- other methods


METHOD_ENVIRONMENTS = tomllib.loads(
    Path(source_file("envs/methods/environments.toml")).read_text(encoding="utf-8")
)
IN_CONDA = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method


def script_of(wildcards):
    """The script of a method, and what it shares with others."""
    script = METHODS["script"][wildcards.method]
    if script == "-":
        return []
    exchange = "exchange.R" if script.endswith(".R") else "exchange.py"
    return [source_file(f"workflow/scripts/methods/{name}") for name in (script, exchange)]


def lock_of(wildcards):
    """The lock of a method's environment, if pip makes it."""
    environment = METHODS["environment"][wildcards.method]
    has_lock = "pip" in METHOD_ENVIRONMENTS.get(environment, {})
    return source_file(f"envs/methods/{environment}.lock") if has_lock else []


def conda_of(wildcards):
    environment = METHODS["environment"][wildcards.method]
    folder = "" if environment == "plkd" else "methods/"
    return f"../../envs/{folder}{environment}.yaml"


def code_of(wildcards):
    """Parameter that changes when the library code behind a method's script does."""
    script = METHODS["script"][wildcards.method]
    return [code("run_method.py"), code(f"methods/{script}") if script.endswith(".py") else ""]


def method_settings(wildcards):
    """How a method is run, as JSON; see run_method.py."""
    method, row = wildcards.method, METHODS.loc[wildcards.method]
    limits = {key: config["limits"][key] for key in ("seconds", "memory_mb")}
    limits |= config["limits"]["methods"].get(method, {})
    environment = METHOD_ENVIRONMENTS.get(row["environment"], {})
    needs = (
        f"{row['runs']} not provided: name it under 'folders' in the configuration"
        if row["runs"] in ("folder", "weights")
        else ""
    )
    return json.dumps(
        {
            "id": method,
            "environment": row["environment"],
            "environments": filled("<environments>"),
            "in_conda": IN_CONDA,
            "needs": row["description"] if row["script"] == "-" else needs,
            "provided": beside(config["folders"][method]) if method in config["folders"] else None,
            "device": config["device"],
            "seed": int(wildcards.get("seed", 0)),
            "limits": {key: float(value) for key, value in limits.items()},
            "r_packages": environment.get("r", []),
            "debian": environment.get("debian", []),
        }
    )


# -------------------------------------------------------------------------------------- integration


def integrator_script(wildcards):
    """The script of a method that puts cells into one space, and what it shares with others."""
    script = INTEGRATORS["script"][wildcards.integrator]
    names = [] if script == "-" else [script, "exchange.py"]
    return [source_file(f"workflow/scripts/methods/{name}") for name in names]


def integrator_lock(wildcards):
    environment = INTEGRATORS["environment"][wildcards.integrator]
    return [] if environment == "plkd" else source_file(f"envs/methods/{environment}.lock")


def integrator_limits(wildcards):
    limits = part_of(config["limits"], ("seconds", "memory_mb"))
    return {**limits, **config["limits"]["methods"].get(wildcards.integrator, {})}


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
            "weights": filled(f"<run>/model/{model}.safetensors", **names),
        }
        named = {**names, "seed": int(names["seed"]), "method": model}
        found.append({"names": named, "files": files})
    return found


# ------------------------------------------------------------------------------------ interpretation


def explained_cells(wildcards):
    side = INTERPRETATION["cells"]
    return filled(f"<prepared>/{side}.h5ad", **wildcards)


def explained_labels(wildcards):
    """Labels of the cells, where the file of cells does not hold them."""
    if INTERPRETATION["cells"] == "reference":
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


def outputs_of(*names, datasets=DATASETS, variants=VARIANTS):
    """All outputs of some rules, for these data sets and variants and every seed and model."""
    variants = list(variants)
    return [
        path
        for name in names
        for path in expand(
            getattr(rules, name).output,
            dataset=datasets,
            variant=variants,
            seed=config["seeds"],
            model=MODELS,
        )
    ]


def explanations():
    """All that rules of the interpretation make."""
    made = outputs_of("pathways", "networks", "attribute_genes", "key_genes", "faithfulness")
    made += outputs_of("marker_recovery", datasets=WITH_MARKERS)
    made += outputs_of("pathway_recovery", datasets=WITH_PATHWAYS)
    return made + outputs_of("explanations_table", *(["stability"] if STABILITY else []))


def scores():
    """All that rules of the evaluation make, where there is something to compare with."""
    if not EVALUATED:
        return []
    names = {"dataset": EVALUATED, "seed": config["seeds"]}
    made = expand([PATHVARS.apply(predictions_by(method)) for method in OTHERS], **names)
    made += outputs_of("evaluate", "evaluate_figures", datasets=EVALUATED)
    if config["integration"]:
        made += outputs_of("integration", datasets=EVALUATED)
        made += outputs_of("omics", datasets=CROSSING)
    return made + outputs_of("benchmark_table")


def everything():
    """All that a run makes of its inputs: a target must name an output, or nobody misses it."""
    made = outputs_of("prepare", "expected_counts", "mask", "teacher", "student", "predict")
    made += outputs_of("map_cells", "annotate", "plot_history", "embedding_figure", "counts_table")
    made += outputs_of("query_page", "predicted_figures")
    made += outputs_of("cross_fit", variants=filter(has_jury, VARIANTS))
    made += outputs_of("spatial_figure", datasets=SPATIAL)
    made += outputs_of(
        "assemble", datasets=[name for name in DATASETS if "cells" in DATASETS[name]]
    )
    for name, side in product(DATASETS, ("reference", "query")):
        if "gene_activity" in source_of_side(name, side):
            activity = cells_file(name, side)
            made += [activity, activity.removesuffix(".h5ad") + ".json"]
    return made + scores() + (explanations() if EXPLAINED else [])


# ------------------------------------------------------------------------------------------ the paper

# A variant that is named <variant>.<change> changes another one, for Table 5.
WHOLE_VARIANTS = [name for name in VARIANTS if "." not in name]
CHANGES = [name for name in VARIANTS if name.split(".")[0] in WHOLE_VARIANTS and "." in name]
ABLATED = [name for name in config["ablated"] if name in DATASETS]
for name in config["ablated"]:
    if name not in DATASETS:
        tell(f"`ablated` names '{name}', which is not among the data sets: left out")


def modality_of(dataset):
    measured = [
        "ATAC" if "gene_activity" in source_of_side(dataset, side) else "RNA"
        for side in ("reference", "query")
    ]
    return measured[0] if measured[0] == measured[1] else " to ".join(measured)


def paper_runs(datasets, variants=WHOLE_VARIANTS, seeds=config["seeds"]):
    return [
        {"dataset": dataset, "variant": variant, "seed": int(seed)}
        for dataset, variant, seed in product(datasets, variants, seeds)
    ]


FIRST_SEED = config["seeds"][:1]
OF_PAPER = {"whole": paper_runs(EVALUATED), "first": paper_runs(EVALUATED, seeds=FIRST_SEED)}
# What the tables are made of: the runs, and the file of each.
PAPER_PARTS = {
    "metrics": (
        OF_PAPER["whole"] + paper_runs([one for one in ABLATED if one in EVALUATED], CHANGES),
        "<run>/evaluation/metrics.tsv",
    ),
    "abundance": (OF_PAPER["whole"], "<run>/evaluation/abundance.tsv"),
    "integration": (
        OF_PAPER["whole"] if config["integration"] else [],
        "<run>/evaluation/integration.tsv",
    ),
    "maps": (OF_PAPER["first"] if config["integration"] else [], "<run>/figures/integration.png"),
    "omics": (paper_runs(CROSSING), "<run>/evaluation/omics.tsv"),
    "spatial": (
        paper_runs([name for name in SPATIAL if name in EVALUATED]),
        "<run>/evaluation/spatial.tsv",
    ),
    "slices": (
        paper_runs([name for name in SPATIAL if name in EVALUATED], seeds=FIRST_SEED),
        "<run>/figures/slices.png",
    ),
    "key_genes": (
        paper_runs([name for name in DATASETS if DATASETS[name].get("paper_name") == "BMMC"]),
        "<run>/interpretation/key_genes.tsv",
    ),
    "gene_figures": (
        paper_runs(
            [name for name in DATASETS if DATASETS[name].get("paper_name") == "BMMC"],
            seeds=FIRST_SEED,
        ),
        "<run>/interpretation/key_genes.png",
    ),
    "models": (paper_runs(EVALUATED[:1], seeds=FIRST_SEED), "<run>/model/model.json"),
    "imbalance": (
        paper_runs(DRAWN, WHOLE_VARIANTS[:1], FIRST_SEED),
        "<run>/evaluation/per_label.tsv",
    ),
}


def paper_parts():
    return {
        kind: [filled(path, **run) for run in runs] for kind, (runs, path) in PAPER_PARTS.items()
    }


def names_of_runs():
    """The names that a table is joined with: of a drawn data set, what it was drawn from and how."""
    named = {kind: runs for kind, (runs, _) in PAPER_PARTS.items()}
    named["imbalance"] = [
        {
            **run,
            **part_of(DRAWN[run["dataset"]], ("dataset", "minor", "ratio")),
            "seed": DRAWN[run["dataset"]]["draw"],
        }
        for run in named["imbalance"]
    ]
    return named


def modality_pairs():
    """Data sets that are expression and accessibility of the same cells, each named within itself."""
    found = []
    for one, two in product(EVALUATED, EVALUATED):
        same = DATASETS[one].get("paper_name") == DATASETS[two].get("paper_name") is not None
        if same and (modality_of(one), modality_of(two)) == ("RNA", "ATAC"):
            for run, model in product(paper_runs([one]), MODELS):
                files = [
                    filled(
                        "<run>/predictions/{model}.parquet", **{**run, "dataset": name}, model=model
                    )
                    for name in (one, two)
                ]
                found.append({**run, "method": model, "predictions": files})
    return found


def outcomes_of_integration():
    return [
        (
            {"dataset": dataset, "method": method},
            filled("<methods>/embeddings/{method}.json", dataset=dataset, method=method),
        )
        for dataset, method in product(EVALUATED, config["integration"])
    ]


PAPER_NUMBERS = [f"table{n}" for n in range(2, 7)] + ["figure5", "figure6", "figure7", "claims"]


def planned_downloads():
    """Every file that the data sets need from elsewhere."""
    found = []
    for dataset, content in DATASETS.items():
        for source in sources_in(content):
            if local_path(source) is None:
                place = filled(fetched(dataset, source))
                found.append(
                    Download(dataset, file_name(source), source.get("size"), os.path.exists(place))
                )
    return {one.name: one for one in found}.values()


def planned_datasets():
    n_whole = len(WHOLE_VARIANTS) * len(config["seeds"])
    n_changes = len(CHANGES) * len(config["seeds"])
    return [
        DatasetPlan(
            name,
            (
                cells
                if isinstance(cells := content["expected"].get("error", {}).get("cells"), int)
                else None
            ),
            n_whole + (n_changes if name in ABLATED else 0),
        )
        for name, content in DATASETS.items()
    ]


def report_command(wildcards, input, output):
    """Command that makes the report, with the configuration of this run."""
    given = workflow.config_settings
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(workflow.main_snakefile)]
    command += ["--cores", "1", "--nolock", "--quiet", "all"]
    # with metadata it opens on the description, which begins with the labels, not on the graph of rules
    command += ["--report-metadata", source_file("workflow/report/metadata.yaml")]
    command += ["--report-stylesheet", source_file("workflow/report/report.css")]
    if given.configfiles:
        command += ["--configfile", *map(str, given.configfiles)]
    if given.config:
        command += [
            "--config",
            *(f"{key}={json.dumps(value)}" for key, value in given.config.items()),
        ]
    return shlex.join([*command, "--report", str(output), "--", str(input)])
