# Runs and files behind the tables of the paper.

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
SCORED_SPATIAL = [name for name in SPATIAL if name in EVALUATED]
WITH_KEY_GENES = [name for name in DATASETS if DATASETS[name].get("paper_name") == "BMMC"]
WHOLE_RUNS = paper_runs(EVALUATED)
# What the tables are made of: the runs, and the file of each.
PAPER_PARTS = {
    "metrics": (
        WHOLE_RUNS + paper_runs([one for one in ABLATED if one in EVALUATED], CHANGES),
        "<run>/evaluation/metrics.tsv",
    ),
    "abundance": (WHOLE_RUNS, "<run>/evaluation/abundance.tsv"),
    "integration": (
        WHOLE_RUNS if INTEGRATION else [],
        "<run>/evaluation/integration.tsv",
    ),
    "omics": (paper_runs(CROSSING), "<run>/evaluation/omics.tsv"),
    "spatial": (paper_runs(SCORED_SPATIAL), "<run>/evaluation/spatial.tsv"),
    "key_genes": (paper_runs(WITH_KEY_GENES), "<run>/interpretation/key_genes.tsv"),
    "models": (paper_runs(EVALUATED[:1], seeds=FIRST_SEED), "<run>/model/model.json"),
}
# What labels were made rare in: one run each, as draws are the spread.
DRAWN_RUNS = paper_runs(DRAWN, WHOLE_VARIANTS[:1], FIRST_SEED)
DRAWN_FROM = list(dict.fromkeys(drawn["dataset"] for drawn in DRAWN.values()))
# Figures of a run each, of the first seed: the runs, and the figure of each without its suffix.
RUN_FIGURES = {
    "figure3": (
        paper_runs(EVALUATED if INTEGRATION else [], seeds=FIRST_SEED),
        "<run>/figures/integration",
    ),
    "figure4": (paper_runs(SCORED_SPATIAL, seeds=FIRST_SEED), "<run>/figures/slices"),
    "figure5": (paper_runs(WITH_KEY_GENES, seeds=FIRST_SEED), "<run>/interpretation/key_genes"),
}


def figures_of_runs(suffix):
    return {
        f"{figure}_{suffix}": [filled(f"{path}.{suffix}", **run) for run in runs]
        for figure, (runs, path) in RUN_FIGURES.items()
    }


def figures_of_paper(suffix):
    """Where they are copied to."""
    path = "<results>/paper/{figure}/{dataset}/{variant}.{suffix}"
    return {
        f"{figure}_{suffix}": [filled(path, figure=figure, suffix=suffix, **run) for run in runs]
        for figure, (runs, _) in RUN_FIGURES.items()
    }


def paper_parts():
    return {
        kind: [filled(path, **run) for run in runs] for kind, (runs, path) in PAPER_PARTS.items()
    }


def file_of_draw(run):
    return filled("<run>/evaluation/per_label.tsv", **run)


def scores_of_draws(wildcards):
    """Files of the draws that the cells allow."""
    with open(checkpoints.imbalanced_draws.get().output.table, encoding="utf-8") as table:
        draws = csv.DictReader(table, delimiter="\t")
        allowed = {draw["name"] for draw in draws if not draw["reason"]}
    return [file_of_draw(run) for run in DRAWN_RUNS if run["dataset"] in allowed]


def runs_behind_paper(wildcards, input):
    """The names that a table is joined with: of a drawn data set, what it was drawn from and how."""
    named = {kind: runs for kind, (runs, _) in PAPER_PARTS.items()}
    named |= {figure: runs for figure, (runs, _) in RUN_FIGURES.items()}
    named |= {
        "outcomes": [names for names, _ in outcomes()],
        "outcomes_of_integration": [names for names, _ in outcomes_of_integration()],
    }
    named["imbalance"] = [
        {
            **run,
            **part_of(DRAWN[run["dataset"]], ("dataset", "minor", "ratio")),
            "seed": DRAWN[run["dataset"]]["draw"],
        }
        for run in DRAWN_RUNS
        if file_of_draw(run) in input.imbalance
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


PAPER_NUMBERS = [f"table{n}" for n in range(1, 7)] + ["figure5", "figure6", "figure7", "claims"]


def planned_downloads():
    """Every file that the data sets need from elsewhere, once."""
    found = {}
    for dataset, content in DATASETS.items():
        for source in sources_in(content):
            if local_path(source) is None:
                place = filled(fetched(dataset, source))
                file = (dataset, file_name(source), source.get("size"), os.path.exists(place))
                found.setdefault(place, Download(*file))
    return list(found.values())


def planned_cells(dataset):
    """Cells of a data set as its configuration expects them, the larger end of a range; None if it says
    nothing."""
    expected = DATASETS[dataset]["expected"]
    said = [
        part["cells"]
        for part in (expected.get("error", {}), expected.get("warning", {}))
        if "cells" in part
    ]
    return max(said[0]) if said and isinstance(said[0], list) else said[0] if said else None


def planned_spaces(dataset):
    """Spaces that are scored: ours of every run, and those of other methods that have something to run."""
    if not INTEGRATION:
        return 0
    others = [names for names, _ in outcomes_of_integration() if names["dataset"] == dataset]
    n_others = sum(not missing(INTEGRATORS.loc[names["method"]]) for names in others)
    return n_others + len(OWN_SPACES) * len(paper_runs([dataset]))


def planned_datasets():
    """The runs of our models: of every data set, and of what is drawn from it."""
    dense = [name for name in VARIANTS if VARIANTS[name]["mask"]["kind"] == "dense"]
    n_seeds, found = len(config["seeds"]), []
    for name in EVALUATED:
        variants = [*WHOLE_VARIANTS, *(CHANGES if name in ABLATED else [])]
        n_dense = sum(variant in dense for variant in variants) * n_seeds
        cells = planned_cells(name)
        found.append(
            DatasetPlan(
                name,
                cells,
                len(variants) * n_seeds,
                n_dense,
                n_spaces=planned_spaces(name),
                modalities=name in CROSSING,
            )
        )
        n_drawn = sum(drawn["dataset"] == name for drawn in DRAWN.values())
        if n_drawn:
            n_dense = n_drawn if WHOLE_VARIANTS[0] in dense else 0
            found.append(DatasetPlan(f"{name}, drawn", cells, n_drawn, n_dense, at_most=True))
    return found


def planned_methods():
    """The runs of other methods that have something to run, and the most that they may take."""
    kinds = {
        "label cells": (METHODS, outcomes()),
        "integrate": (INTEGRATORS, outcomes_of_integration()),
    }
    found = []
    for kind, (registry, runs) in kinds.items():
        limits = [
            limits_of(names["method"])
            for names, _ in runs
            if not missing(registry.loc[names["method"]])
        ]
        seconds = [limit["seconds"] for limit in limits]
        memory = max((limit["memory_mb"] for limit in limits), default=0)
        found.append(MethodPlan(kind, len(limits), sum(seconds), int(memory * 1e6)))
    return found


def planned():
    """What `paper` will download and run."""
    training = int(float(config["training"]["memory_mb"]) * 1e6)
    return plan_text(planned_downloads(), planned_datasets(), planned_methods(), training)


def report_command(wildcards, output):
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
    stored = workflow.storage_settings
    if stored.default_storage_provider:
        command += ["--default-storage-provider", stored.default_storage_provider]
        command += ["--default-storage-prefix", stored.default_storage_prefix]
    summary = filled("<results>/summary.txt")
    return shlex.join([*command, "--report", str(output), "--", summary])
