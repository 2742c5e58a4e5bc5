# Only the rules of this module read the truth.


rule baseline:
    input:
        reference="<results>/{dataset}/prepared/reference.h5ad",
        query="<results>/{dataset}/prepared/query.h5ad",
    output:
        "<results>/{dataset}/baselines/seed{seed}/predictions/{method}.parquet",
    log:
        "<logs>/{dataset}/baselines/seed{seed}/{method}.log",
    benchmark:
        "<benchmarks>/{dataset}/baselines/seed{seed}/{method}.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
    params:
        code=code("baseline.py"),
    script:
        "../scripts/baseline.py"


rule true_labels:
    input:
        reference="<results>/{dataset}/prepared/reference.h5ad",
        truth="<results>/{dataset}/prepared/truth.parquet",
    output:
        "<results>/{dataset}/baselines/seed{seed}/predictions/true_labels.parquet",
    log:
        "<logs>/{dataset}/baselines/seed{seed}/true_labels.log",
    benchmark:
        "<benchmarks>/{dataset}/baselines/seed{seed}/true_labels.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=2000,
    params:
        code=code("true_labels.py"),
    script:
        "../scripts/true_labels.py"


ruleorder: true_labels > baseline


rule evaluate:
    input:
        predictions=predictions_of,
        reference="<results>/{dataset}/prepared/reference.h5ad",
        truth="<results>/{dataset}/prepared/truth.parquet",
    output:
        metrics=report(
            "<results>/{dataset}/{variant}/seed{seed}/evaluation/metrics.tsv",
            category="2. Accuracy",
            subcategory="{dataset}",
            labels={"variant": "{variant}", "seed": "{seed}", "item": "scores (table)"},
            caption="../report/metrics.rst",
        ),
        per_label=report(
            "<results>/{dataset}/{variant}/seed{seed}/evaluation/per_label.tsv",
            category="2. Accuracy",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "scores per type (table)",
            },
            caption="../report/per_label_table.rst",
        ),
        confusion=report(
            "<results>/{dataset}/{variant}/seed{seed}/evaluation/confusion.tsv",
            category="2. Accuracy",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "confusion (table)",
            },
            caption="../report/confusion_table.rst",
        ),
        abundance=report(
            "<results>/{dataset}/{variant}/seed{seed}/evaluation/abundance.tsv",
            category="2. Accuracy",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "scores by abundance (table)",
            },
            caption="../report/abundance.rst",
        ),
    log:
        "<logs>/{dataset}/{variant}/seed{seed}/evaluate.log",
    benchmark:
        "<benchmarks>/{dataset}/{variant}/seed{seed}/evaluate.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=3000,
    params:
        dataset="{dataset}",
        variant="{variant}",
        seed="{seed}",
        code=code("evaluate.py"),
    script:
        "../scripts/evaluate.py"


rule evaluate_figures:
    input:
        predictions=predictions_of,
        reference="<results>/{dataset}/prepared/reference.h5ad",
        truth="<results>/{dataset}/prepared/truth.parquet",
        methods=METHODS_FILE,
    output:
        confusion_png=report(
            "<results>/{dataset}/{variant}/seed{seed}/figures/confusion.png",
            category="2. Accuracy",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "confusion of types",
            },
            caption="../report/confusion.rst",
        ),
        confusion_pdf="<results>/{dataset}/{variant}/seed{seed}/figures/confusion.pdf",
        per_label_png=report(
            "<results>/{dataset}/{variant}/seed{seed}/figures/per_label.png",
            category="2. Accuracy",
            subcategory="{dataset}",
            labels={"variant": "{variant}", "seed": "{seed}", "item": "F1 per type"},
            caption="../report/per_label.rst",
        ),
        per_label_pdf="<results>/{dataset}/{variant}/seed{seed}/figures/per_label.pdf",
        confidence_png=report(
            "<results>/{dataset}/{variant}/seed{seed}/figures/confidence.png",
            category="2. Accuracy",
            subcategory="{dataset}",
            labels={"variant": "{variant}", "seed": "{seed}", "item": "confidence"},
            caption="../report/confidence.rst",
        ),
        confidence_pdf="<results>/{dataset}/{variant}/seed{seed}/figures/confidence.pdf",
    log:
        "<logs>/{dataset}/{variant}/seed{seed}/evaluate_figures.log",
    benchmark:
        "<benchmarks>/{dataset}/{variant}/seed{seed}/evaluate_figures.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=3000,
    params:
        code=code("evaluate_figures.py"),
    script:
        "../scripts/evaluate_figures.py"


rule embedding_figure:
    input:
        embeddings=[
            "<results>/{dataset}/{variant}/seed{seed}/embeddings/teacher.h5ad",
        ],
        reference="<results>/{dataset}/prepared/reference.h5ad",
        query="<results>/{dataset}/prepared/query.h5ad",
        truth="<results>/{dataset}/prepared/truth.parquet",
        predictions="<results>/{dataset}/{variant}/seed{seed}/predictions/student.parquet",
    output:
        png=report(
            "<results>/{dataset}/{variant}/seed{seed}/figures/embedding.png",
            category="1. Labels",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "map of the cells",
            },
            caption="../report/embedding.rst",
        ),
        pdf="<results>/{dataset}/{variant}/seed{seed}/figures/embedding.pdf",
        coordinates="<results>/{dataset}/{variant}/seed{seed}/embeddings/umap.tsv",
        metrics=report(
            "<results>/{dataset}/{variant}/seed{seed}/evaluation/embedding.tsv",
            category="1. Labels",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "scores of the map (table)",
            },
            caption="../report/embedding_metrics.rst",
        ),
    log:
        "<logs>/{dataset}/{variant}/seed{seed}/embedding_figure.log",
    benchmark:
        "<benchmarks>/{dataset}/{variant}/seed{seed}/embedding_figure.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 2
    resources:
        mem_mb=memory_mb,
    params:
        seed="{seed}",
        max_cells=20000,
        code=code("embedding_figure.py"),
    script:
        "../scripts/embedding_figure.py"


rule plot_history:
    input:
        teacher="<results>/{dataset}/{variant}/seed{seed}/teacher/history.tsv",
        student="<results>/{dataset}/{variant}/seed{seed}/student/history.tsv",
    output:
        png=report(
            "<results>/{dataset}/{variant}/seed{seed}/figures/history.png",
            category="4. Training",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "training curves",
            },
            caption="../report/history.rst",
        ),
        pdf="<results>/{dataset}/{variant}/seed{seed}/figures/history.pdf",
    log:
        "<logs>/{dataset}/{variant}/seed{seed}/plot_history.log",
    benchmark:
        "<benchmarks>/{dataset}/{variant}/seed{seed}/plot_history.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=1000,
    params:
        code=code("plot_history.py"),
    script:
        "../scripts/plot_history.py"


rule benchmark_table:
    input:
        metrics=runs("evaluation/metrics.tsv", EVALUATED),
        methods=METHODS_FILE,
    output:
        annotation="<results>/benchmark/annotation.tsv",
        summary=report(
            "<results>/benchmark/annotation_summary.tsv",
            category="2. Accuracy",
            subcategory="all data sets",
            labels={"item": "all methods (table)"},
            caption="../report/benchmark_table.rst",
        ),
        overall=report(
            "<results>/benchmark/overall.tsv",
            category="2. Accuracy",
            subcategory="all data sets",
            labels={"item": "variants and methods over all data sets (table)"},
            caption="../report/overall.rst",
        ),
        png=report(
            "<results>/benchmark/annotation.png",
            category="2. Accuracy",
            subcategory="all data sets",
            labels={"item": "all methods"},
            caption="../report/benchmark.rst",
        ),
        pdf="<results>/benchmark/annotation.pdf",
    log:
        "<logs>/benchmark_table.log",
    benchmark:
        "<benchmarks>/benchmark_table.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=1000,
    params:
        code=code("benchmark_table.py"),
    script:
        "../scripts/benchmark_table.py"


rule summary:
    input:
        annotated=runs("annotated.h5ad"),
        figures=runs("figures/embedding.png") + runs("figures/history.png"),
        interpretation=runs("interpretation/networks.png") + GENE_FIGURES,
        evaluation=runs("figures/confusion.png", EVALUATED),
        slides=runs("figures/slides.pdf", SPATIAL),
        benchmark="<results>/benchmark/annotation_summary.tsv" if EVALUATED else [],
        explanations="<results>/benchmark/explanations.html",
        counts="<results>/benchmark/datasets.tsv",
    output:
        "<results>/summary.txt",
    log:
        "<logs>/summary.log",
    benchmark:
        "<benchmarks>/summary.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=500,
    params:
        code=code("summary.py"),
    script:
        "../scripts/summary.py"


rule spatial_figure:
    input:
        predictions="<results>/{dataset}/{variant}/seed{seed}/predictions/student.parquet",
        reference="<results>/{dataset}/prepared/reference.h5ad",
        query="<results>/{dataset}/prepared/query.h5ad",
        truth="<results>/{dataset}/prepared/truth.parquet",
    output:
        png=report(
            directory("<results>/{dataset}/{variant}/seed{seed}/figures/slides"),
            patterns=["slides_{page}.png"],
            category="1. Labels",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "labels on the slide",
            },
            caption="../report/spatial.rst",
        ),
        pdf="<results>/{dataset}/{variant}/seed{seed}/figures/slides.pdf",
    log:
        "<logs>/{dataset}/{variant}/seed{seed}/spatial_figure.log",
    benchmark:
        "<benchmarks>/{dataset}/{variant}/seed{seed}/spatial_figure.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=3000,
    params:
        code=code("spatial_figure.py"),
    script:
        "../scripts/spatial_figure.py"
