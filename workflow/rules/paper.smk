# Tables and figures of the paper, each number beside the paper's: snakemake paper, or make paper.

# What the paragraph on efficiency speaks of: whole variants, not what the ablation changes.
PAPER_STEPS = measured_steps(WHOLE_RUNS)


# How many cells of a type there are is known only when they are read: a draw that they do not allow is left
# out, and Figure 7 says why.
checkpoint imbalanced_draws:
    input:
        reports=[filled("<prepared>/report.json", dataset=dataset) for dataset in DRAWN_FROM],
    output:
        table="<results>/paper/draws.tsv",
    log:
        "<logs>/imbalanced_draws.log",
    benchmark:
        "<benchmarks>/imbalanced_draws.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=always(350),
    params:
        datasets=DRAWN_FROM,
        draws=DRAWN,
        code=code("imbalanced_draws.py"),
    script:
        "../scripts/imbalanced_draws.py"


rule paper:
    input:
        **paper_parts(),
        **figures_of_runs("png"),
        **figures_of_runs("pdf"),
        **{name: source_file(f"resources/paper/{name}.tsv") for name in PAPER_NUMBERS},
        **measurements(PAPER_STEPS),
        draws="<results>/paper/draws.tsv",
        imbalance=scores_of_draws,
        paper_methods=source_file("resources/paper/methods.tsv"),
        parameters=source_file("resources/paper/parameters.tsv"),
        datasets="<results>/benchmark/datasets.tsv",
        outcomes=[path for _, path in outcomes()],
        outcomes_of_integration=[path for _, path in outcomes_of_integration()],
        agreement=[path for pair in modality_pairs() for path in pair["predictions"]],
    output:
        **{name: f"<results>/paper/{name}.tsv" for name in [*PAPER_NUMBERS, "figure3", "figure4"]},
        **figures_of_paper("png"),
        **figures_of_paper("pdf"),
        overall_scores=["<results>/paper/figure6.png", "<results>/paper/figure6.pdf"],
        imbalance_lines=["<results>/paper/figure7.png", "<results>/paper/figure7.pdf"],
        efficiency="<results>/paper/efficiency.tsv",
        page="<results>/paper/paper.html",
    log:
        "<logs>/paper.log",
    benchmark:
        "<benchmarks>/paper.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=always(4000),
    params:
        runs=runs_behind_paper,
        annotators=[names for names, _ in annotators_ran()],
        steps=PAPER_STEPS,
        pairs=modality_pairs(),
        about={
            name: {
                "paper_name": DATASETS[name].get("paper_name") or "",
                "modality": modality_of(name),
            }
            for name in DATASETS
        },
        evaluated=EVALUATED,
        ablated=ABLATED,
        variants=list(VARIANTS),
        methods={
            **METHODS["name"],
            **INTEGRATORS["name"],
            "student_slide": "PLKD Student, on the slide",
        },
        code=code("paper.py"),
    script:
        "../scripts/paper.py"


# Figure 4: are labels right at the boundaries of regions, and as continuous as the true ones?
rule spatial_scores:
    input:
        **MODEL,
        predictions=predictions_of,
        reference="<prepared>/reference.h5ad",
        query="<prepared>/query.h5ad",
        truth="<prepared>/truth.parquet",
    output:
        scores="<run>/evaluation/spatial.tsv",
        png="<run>/figures/slices.png",
        pdf="<run>/figures/slices.pdf",
    log:
        "<logs>/<run_name>/spatial_scores.log",
    benchmark:
        "<benchmarks>/<run_name>/spatial_scores.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=holding(MAP_MB, reference=NAMES, query=LABELLED, truth=TRUTH),
    params:
        code=code("spatial_scores.py"),
    script:
        "../scripts/spatial_scores.py"


# What `paper` will download and run, without doing it.
rule paper_plan:
    log:
        "<logs>/paper_plan.log",
    localrule: True
    run:
        print(planned())
