# What rules are told of the configuration.

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
    dataset = DATASETS[wildcards.dataset]
    asked = {key: value for key, value in dataset["further_labels"].items() if key != "label_tree"}
    return asked | {"slide": dataset["spatial"] if asked["slide"] is None else asked["slide"]}


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


LIBRARIES_MB = 1200  # of which steps with few cells take up to two thirds


def size_mb(input):
    """Size of a job's inputs.

    Of a group of steps that goes to a cluster as one job, the files that it makes itself are not there
    yet: small ones, beside the cells that it reads.
    """
    try:
        return input.size_mb  # wherever they are stored
    except WorkflowError:
        return sum(os.path.getsize(path) for path in input if os.path.exists(path)) / 1e6


def memory_mb(wildcards, input, attempt):
    """Sparse matrices unpack to a few times their size on disk; a job that ran out is given more.

    What steps take is measured by tests/benchmarks/resources.py.
    """
    return int(LIBRARIES_MB + 8 * size_mb(input)) * attempt


def light_memory_mb(wildcards, input, attempt):
    """As `memory_mb`, for steps without a model."""
    return int(LIBRARIES_MB / 2 + 8 * size_mb(input)) * attempt


def map_memory_mb(wildcards, input, attempt):
    """For maps of cells and their neighbours, which take most beside what is read of a cell."""
    return int(LIBRARIES_MB + 30 * size_mb(input)) * attempt


def streaming_memory_mb(wildcards, input, attempt):
    """For steps that read cells piece by piece; files that cannot be read so are given more at last."""
    return int(LIBRARIES_MB + size_mb(input)) * attempt


def prepare_memory_mb(wildcards, input, attempt):
    """Formats that are read piece by piece, and others."""
    streamed = all(str(path).endswith((".h5ad", ".h5mu", ".zarr")) for path in input)
    return (streaming_memory_mb if streamed else memory_mb)(wildcards, input, attempt)


ON_DISK_MB = 4000  # a training whose cells stay on disk


def cross_fitting_memory_mb(wildcards, input, attempt):
    """What a training asks for. With less than its cells would take it leaves them on disk."""
    needed, limit = memory_mb(wildcards, input, attempt), float(config["training"]["memory_mb"])
    return needed if needed <= limit * attempt else int(min(ON_DISK_MB, limit)) * attempt


def training_memory_mb(wildcards, input, attempt):
    return TRAINING_PROCESSES * cross_fitting_memory_mb(wildcards, input, attempt)


def training_minutes(wildcards, input, attempt):
    """An hour, and four times what the epochs over a large reference take on one core."""
    settings = VARIANTS[wildcards.variant]
    epochs = max(settings[f"{kind}_training"]["epochs"] for kind in ("teacher", "student"))
    return int(60 + 0.007 * epochs * size_mb(input)) * attempt


TRAINING_PROCESSES = int(config["training"]["processes"])
if TRAINING_PROCESSES > 1 and ":" in config["device"]:
    stop(
        f"'device' names one GPU, '{config['device']}', for {TRAINING_PROCESSES} `processes` of `training`: say "
        "'device: cuda', and each takes one."
    )


# What steps ask for whose models run on the device: a GPU where the configuration names one. `auto` takes
# one that it finds, and asks for none; None is as if the resource were not there.
GPUS = 1 if config["device"].startswith("cuda") else None


# Finished models and what they label.
FINISHED = config["annotate_only"]["models"]
QUERIES = config["annotate_only"]["queries"]


def finished_model(wildcards):
    """What labels cells: a folder that is there, or one that this workflow makes."""
    files = model_files(beside(FINISHED[wildcards.finished]), "student")
    return part_of(files, ("model", "student", "background"))
