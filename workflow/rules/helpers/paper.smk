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
OF_PAPER = {"whole": paper_runs(EVALUATED), "first": paper_runs(EVALUATED, seeds=FIRST_SEED)}
# What the tables are made of: the runs, and the file of each.
PAPER_PARTS = {
    "metrics": (
        OF_PAPER["whole"] + paper_runs([one for one in ABLATED if one in EVALUATED], CHANGES),
        "<run>/evaluation/metrics.tsv",
    ),
    "abundance": (OF_PAPER["whole"], "<run>/evaluation/abundance.tsv"),
    "integration": (
        OF_PAPER["whole"] if INTEGRATION else [],
        "<run>/evaluation/integration.tsv",
    ),
    "maps": (OF_PAPER["first"] if INTEGRATION else [], "<run>/figures/integration.png"),
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
        for dataset, method in product(EVALUATED, INTEGRATION)
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
