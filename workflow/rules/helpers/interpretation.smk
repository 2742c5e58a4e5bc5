# What is explained, and all that a whole run asks for.


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


def as_written(path):
    """A path as a rule gives it, without the place in a storage that Snakemake keeps it in."""
    stored = path.flags.get("storage_object")
    if stored is None:
        return path
    prefix = workflow.storage_settings.default_storage_prefix.removesuffix("/")
    return stored.query.removeprefix(f"{prefix}/")


def outputs_of(*names, datasets=DATASETS, variants=VARIANTS):
    """All outputs of some rules, for these data sets and variants and every seed and model."""
    variants = list(variants)
    return [
        path
        for name in names
        for path in expand(
            map(as_written, getattr(rules, name).output),
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
    made += [outcome for _, outcome in outcomes()]
    made += outputs_of("evaluate", "evaluate_figures", datasets=EVALUATED)
    if INTEGRATION:
        made += [outcome for _, outcome in outcomes_of_integration()]
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
