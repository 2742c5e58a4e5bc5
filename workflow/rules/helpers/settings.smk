# What rules are told of the configuration, and what they ask for.

from snakemake.iocontainers import InputFiles

from plkd.pipeline.resources import (
    ACTIVITY_MINUTES_PER_MB,
    DENSE,
    EMBEDDED,
    INTEGRATION_MINUTES,
    LABELLED,
    LIBRARIES_MB,
    LIGHT_MB,
    MAP_MB,
    MINUTES_PER_MB,
    NAMES,
    OMICS_MINUTES,
    PIECES,
    SCORED,
    SCORING_MB,
    TRAINING_MINUTES_PER_MB,
    TRUTH,
    WHOLE,
    Held,
    folder_mb,
    is_copied_in_pieces,
    is_read_in_pieces,
    memory_in_mb,
    minutes,
    scoring_minutes,
)

# Where a file is and how it was made is no concern of what reads it.
CELL_KEYS = ("labels_key", "batch_key", "keep", "drop", "part", "drop_labels", "imbalance")
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


def size_mb(files):
    """Size of inputs wherever they are stored, of folders with all that lies below.

    Of a group of steps that goes to a cluster as one job, the files that it makes itself are not there
    yet: small ones, beside the cells that it reads.
    """
    folders = [str(path) for path in files if os.path.isdir(path)]
    files = [path for path in files if str(path) not in folders]
    try:
        size = InputFiles(files).size_mb
    except WorkflowError:
        size = sum(os.path.getsize(path) for path in files if os.path.exists(path)) / 2**20
    return size + sum(map(folder_mb, folders))


def of_input(input, name):
    """The files of an input by its name: none, one or several."""
    found = input.get(name) or []
    return [found] if isinstance(found, str) else list(found)


def holding(base_mb=LIBRARIES_MB, **held):
    """What a step asks for, by what it holds of its inputs; of those that are not named all, as WHOLE.

    What steps take is measured by tests/benchmarks/resources.py.
    """

    def asked(wildcards, input, attempt):
        named = {name: of_input(input, name) for name in held}
        others = list(input)
        for path in (path for files in named.values() for path in files):
            others.remove(path)
        parts = [held[name].of(size_mb(files)) for name, files in named.items()]
        return memory_in_mb([*parts, WHOLE.of(size_mb(others))], attempt, base_mb)

    return asked


memory_mb = holding()


def always(mb):
    """What a step asks for whose inputs are small."""
    return lambda wildcards, attempt: memory_in_mb([], attempt, mb)


def prepare_memory_mb(wildcards, input, attempt):
    """Formats that are read piece by piece, and others."""
    held = [(PIECES if is_read_in_pieces(path) else WHOLE).of(size_mb([path])) for path in input]
    return memory_in_mb(held, attempt)


def gene_activity_memory_mb(wildcards, input, attempt):
    """Fragments are read piece by piece, and so are peaks of some formats."""
    peaks = has_rows(source_of_side(wildcards.dataset, wildcards.side))
    held = WHOLE if peaks and not is_read_in_pieces(input.cells) else PIECES
    return holding(cells=held)(wildcards, input, attempt)


def label_query_memory_mb(wildcards, input, attempt):
    """As `prepare_memory_mb`; what is not copied piece by piece is read whole for the copy."""
    labels_only = config["annotate_only"]["labels_only"]
    in_pieces = is_read_in_pieces if labels_only else is_copied_in_pieces
    return holding(query=PIECES if in_pieces(input.query) else WHOLE)(wildcards, input, attempt)


def annotate_memory_mb(wildcards, input, attempt):
    """A file that is copied as it is, or, where only some of its cells are the query, read whole."""
    query = DATASETS[wildcards.dataset].get("query")
    all_cells = query and not any(query.get(key) for key in ("keep", "drop", "part", "imbalance"))
    as_it_is = all_cells and is_copied_in_pieces(input.query)
    held = {"prepared": NAMES, "embedding": EMBEDDED, "query": NAMES if as_it_is else WHOLE}
    return holding(**held)(wildcards, input, attempt)


def predict_memory_mb(wildcards, input, attempt):
    """A part of the cells, or all."""
    share = 1 / config["scatter"] if wildcards.get("scatteritem") else 1
    query = Held(max(NAMES.per_mb, LABELLED.per_mb * share))
    held = {"reference": PIECES, "query": query, "embedded": EMBEDDED}
    return holding(**held)(wildcards, input, attempt)


# What is held of the cells of a run: their names and labels, and their places in a space.
NAMED_CELLS = {"reference": NAMES, "query": NAMES, "truth": TRUTH}
EMBEDDED_CELLS = {**NAMED_CELLS, "embedding": EMBEDDED}
SAMPLE_MB = 500  # of 5,000 cells
MANY_LABELS = 100
SAMPLED_CELL_MB = 0.02  # with its scores of pathways, or attributions of genes


def sample_per_label(n_cells):
    """What is held of a file of which so many cells of every label are drawn."""
    return NAMES.and_sample(n_cells * MANY_LABELS * SAMPLED_CELL_MB)


def minutes_of(*names, per_mb=MINUTES_PER_MB):
    """Minutes of a step that goes through these inputs; without names, through all of them."""

    def asked(wildcards, input, attempt):
        files = [path for name in names for path in of_input(input, name)]
        return minutes(size_mb(files if names else list(input)), attempt, per_mb)

    return asked


def largest_mb(paths):
    """The largest of some files: a method without a result leaves one that is nearly empty."""
    return max(map(size_mb, ([path] for path in paths)))


def scoring_minutes_of(per_pair):
    """Minutes of a step that compares all cells with all, in every space."""

    def asked(wildcards, input, attempt):
        spaces = of_input(input, "spaces")
        return scoring_minutes(largest_mb(spaces), len(spaces), per_pair, attempt)

    return asked


def scoring_memory_mb(**held):
    """What such a step asks for: what it holds of the cells, and one space after the other."""

    def asked(wildcards, input, attempt):
        space = SCORED.of(largest_mb(of_input(input, "spaces")))
        cells = [of.of(size_mb(of_input(input, name))) for name, of in held.items()]
        return memory_in_mb([*cells, space], attempt, SCORING_MB)

    return asked


ON_DISK_MB = 4000  # a training whose cells stay on disk


def cross_fitting_memory_mb(wildcards, input, attempt):
    """What a training asks for. With less than its cells would take it leaves them on disk."""
    needed = holding(query=NAMES.and_sample(SAMPLE_MB))(wildcards, input, attempt)
    limit = float(config["training"]["memory_mb"])
    return needed if needed <= limit * attempt else int(min(ON_DISK_MB, limit)) * attempt


def training_memory_mb(wildcards, input, attempt):
    return TRAINING_PROCESSES * cross_fitting_memory_mb(wildcards, input, attempt)


def epochs_of(variant):
    return max(VARIANTS[variant][f"{kind}_training"]["epochs"] for kind in ("teacher", "student"))


def training_minutes(wildcards, input, attempt):
    """For the epochs over a large reference."""
    return minutes(size_mb(input), attempt, TRAINING_MINUTES_PER_MB * epochs_of(wildcards.variant))


PREPARED_CELL_MB = 0.002  # of a cell on disk, at most


def cross_fitting_minutes(wildcards, input, attempt):
    """For two trainings for each fold and one on all, of as many cells as take part."""
    jury = VARIANTS[wildcards.variant]["jury"]
    size = min(size_mb(of_input(input, "reference")), jury["max_cells"] * PREPARED_CELL_MB)
    trainings = (2 * jury["folds"] + 1) * epochs_of(wildcards.variant)
    return minutes(size, attempt, TRAINING_MINUTES_PER_MB * trainings)


TRAINING_PROCESSES = int(config["training"]["processes"])
if TRAINING_PROCESSES > 1 and ":" in config["device"]:
    stop(
        f"'device' names one GPU, '{config['device']}', for {TRAINING_PROCESSES} `processes` of `training`: say "
        "'device: cuda', and each takes one."
    )


# What steps ask for whose models run on the device: a GPU where the configuration names one. `auto` takes
# one that it finds, and asks for none; None is as if the resource were not there.
GPUS = 1 if config["device"].startswith("cuda") else None


def gpus_of_prediction(wildcards, input):
    """None for what only puts the parts of a query together."""
    only_gathers = input.get("parts") and not input.get("reference")
    return None if only_gathers else GPUS


# Finished models and what they label.
FINISHED = config["annotate_only"]["models"]
QUERIES = config["annotate_only"]["queries"]


def finished_model(wildcards):
    """What labels cells: a folder that is there, or one that this workflow makes."""
    files = model_files(beside(FINISHED[wildcards.finished]), "student")
    return part_of(files, ("model", "student", "background"))
