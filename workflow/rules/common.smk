# The configuration, read and checked once, and the helpers that rules share.

import copy
import csv
import json
import os
import re
import shlex
import sys
import tomllib
from functools import cache
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
        return local(os.path.normpath(place))  # not in a storage that results may be kept in
    return workflow.sourcecache.get_path(source)


@cache
def locate(path):
    """Local path of a file beside the scripts, or None; see plkd.pipeline.fingerprint.

    Most scripts ask for the same files, and a remote repository takes its time for each.
    """
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
SOURCE_TEXTS = fingerprint.Sources(fingerprint.place_of_sources())
for module in (
    "pipeline/configuration",
    "pipeline/console",
    "pipeline/methods",
    "pipeline/plan",
    "pipeline/resources",
    "pipeline/scheduling",
    "settings/datasets",
    "settings/presets",
):
    fingerprint.reachable_modules(f"plkd/{module}.py", locate, SOURCE_TEXTS)
    locate(f"plkd/{module.split('/')[0]}/__init__.py")
fingerprint.reachable_modules("plkd/__init__.py", locate, SOURCE_TEXTS)

from plkd.errors import InputError
from plkd.pipeline.configuration import markup_in, suggestion, violation
from plkd.pipeline import console
from plkd.pipeline.methods import chosen_methods, read_integrators, read_registry
from plkd.pipeline.plan import DatasetPlan, Download, MethodPlan, plan_text
from plkd.pipeline.scheduling import look_when_jobs_end
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
        "history": f"{folder}/history.tsv",
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
    return fingerprint.code_fingerprint(script, locate, SOURCE_TEXTS)


# A run that a person watches: a line for each step; everything goes into the file in .snakemake/log.
STEPS = console.StepFormatter(erase=sys.stderr.isatty())
IS_MODULE = workflow.modifier.parent_modifier is not None
IS_WATCHED = (
    workflow.is_main_process
    and not IS_MODULE
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
        part = source.get("part")
        if part and part["number"] > part["of"]:
            stop(
                f"{name}: '{side}' asks for part {part['number']} of {part['of']}: give a 'number' from 1 to 'of'."
            )
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
            about[name] = {
                **part_of(one, ("dataset", "major")),
                "minor": minor,
                "ratio": ratio,
                "draw": draw,
            }
    return contents, about


def perturbed_datasets(datasets, levels):
    """What is made of data sets by making them harder: its content, and what was done, by its name."""
    contents, about = {}, {}
    for (base, content), (kind, shares) in product(datasets.items(), levels.items()):
        for share in map(float, shares):
            name = f"{base}.{kind}.{share:g}"
            contents[name] = {
                **copy.deepcopy(content),
                "name": name,
                "drawn_from": base,
                "collection": content.get("collection", base),
                "spatial": False,
                "expected": {},
            }
            about[name] = {"dataset": base, "kind": kind, "level": share}
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
# Snakemake joins mappings: variants of another file would run beside those of config/config.yaml.
if not IS_MODULE:
    config |= part_of(workflow.config_settings.overwrite_config, ("variants",))
checked(config, "config")
INTERPRETATION = config["interpretation"]
for pathvar in ("results", "resources", "logs", "benchmarks"):
    require_writable(filled(f"<{pathvar}>"))
DATASETS = read_datasets(config["datasets"])
DATASETS.drawn, DRAWN = drawn_datasets(DATASETS, config["imbalance"])
harder, PERTURBED = perturbed_datasets(DATASETS, config["robustness"])
DATASETS.drawn |= harder
VARIANTS = {name: settings_of(name, dict(variant)) for name, variant in config["variants"].items()}
METHODS_FILE = source_file("config/methods.tsv")
METHODS = read_registry(METHODS_FILE)
INTEGRATORS = read_integrators(source_file("config/integrators.tsv"))
MODELS = ["student", "teacher"]
try:
    OTHERS = chosen_methods(METHODS, config["methods"])
    INTEGRATION = chosen_methods(INTEGRATORS, config["integration"])
except InputError as error:
    stop(str(error))
CONTROLS = METHODS.index[METHODS["kind"] == "control"].to_list()
OTHERS += CONTROLS
for (name, dataset), (variant, settings) in product(DATASETS.items(), VARIANTS.items()):
    if settings["mask"]["kind"] == "pathways" and not dataset["gene_sets"]:
        stop(
            f"data set '{name}' has no gene sets, which variant '{variant}' makes its pathways of: name a "
            "GMT file under 'gene_sets', or choose 'mask: {kind: modules}', 'dense' or 'random'."
        )
for key, named in (
    ("folders", config["folders"]),
    ("weights", config["weights"]),
    ("limits: methods", config["limits"]["methods"]),
):
    for method in named:
        if method not in METHODS.index and method not in INTEGRATORS.index:
            stop(f"'{key}' names the method '{method}': {suggestion(method, METHODS.index)}")
