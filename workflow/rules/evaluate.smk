# Only rules that score or draw (here, in integration.smk and paper.smk) read the truth, and `perturb`,
# which hands it on.


# Each method in its environment and within its limits; what becomes of it is in its outcome.
rule method:
    input:
        reference="<prepared>/reference.h5ad",
        query="<prepared>/query.h5ad",
        program=source_file("workflow/scripts/run_method.py"),
        script=script_of,
        lock=lock_of,
    output:
        predictions="<methods>/{method}.parquet",
        outcome="<methods>/{method}.json",
    log:
        "<logs>/{dataset}/methods/{method}.log",
    benchmark:
        "<benchmarks>/{dataset}/methods/{method}.tsv"
    conda:
        conda_of
    threads: 1
    resources:
        mem_mb=method_memory_mb,
        runtime=limited_minutes,
        gpu=gpus_of_method,
        # that of Snakemake, for the program that watches a method, whatever the method runs in; no
        # parameter, because where it is changes nothing
        python="python" if IN_CONTAINER else sys.executable,
    params:
        settings=method_settings,
        code=code_of,
    shell:
        "{resources.python:q} {input.program:q} --reference {input.reference:q} --query {input.query:q}"
        " --script {input.script:q} --lock {input.lock:q} --predictions {output.predictions:q}"
        " --outcome {output.outcome:q} --log {log:q} --threads {threads} --settings {params.settings:q}"


# A target: installs what the chosen methods need, where there is a network, before they run where there is none.
rule method_environments:
    input:
        locks=list(locks_of_methods().values()),
    log:
        "<logs>/method_environments.log",
    localrule: True
    conda:
        "../../envs/plkd.yaml"
    params:
        names=list(locks_of_methods()),
        environments=filled("<environments>"),
    script:
        "../scripts/method_environments.py"


# Methods that draw by chance, once for each seed.
use rule method as method_of_seed with:
    output:
        predictions="<methods_of_seed>/{method}.parquet",
        outcome="<methods_of_seed>/{method}.json",
    log:
        "<logs>/{dataset}/methods/seed{seed}/{method}.log",
    benchmark:
        "<benchmarks>/{dataset}/methods/seed{seed}/{method}.tsv"


rule true_labels:
    input:
        reference="<prepared>/reference.h5ad",
        truth="<prepared>/truth.parquet",
    output:
        predictions="<methods>/true_labels.parquet",
    log:
        "<logs>/{dataset}/methods/true_labels.log",
    benchmark:
        "<benchmarks>/{dataset}/methods/true_labels.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=holding(LIGHT_MB, reference=NAMES, truth=TRUTH),
        runtime=minutes_of("reference", "truth"),
    params:
        code=code("true_labels.py"),
    script:
        "../scripts/true_labels.py"


ruleorder: true_labels > method


rule evaluate:
    input:
        predictions=predictions_of,
        reference="<prepared>/reference.h5ad",
        truth="<prepared>/truth.parquet",
    output:
        metrics=shown("<run>/evaluation/metrics.tsv", "scores (table)", "accuracy", "metrics"),
        per_label=shown(
            "<run>/evaluation/per_label.tsv",
            "scores per type (table)",
            "accuracy",
            "per_label_table",
        ),
        confusion=shown(
            "<run>/evaluation/confusion.tsv", "confusion (table)", "accuracy", "confusion_table"
        ),
        confidence="<run>/evaluation/confidence.tsv",
        resampled="<run>/evaluation/resampled.tsv",
        batches="<run>/evaluation/batches.tsv",
        abundance=shown(
            "<run>/evaluation/abundance.tsv",
            "scores by abundance (table)",
            "accuracy",
            "abundance",
        ),
    log:
        "<logs>/<run_name>/evaluate.log",
    benchmark:
        "<benchmarks>/<run_name>/evaluate.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=holding(LIGHT_MB, reference=NAMES, truth=TRUTH),
        runtime=minutes_of("reference", "truth"),
    params:
        dataset="{dataset}",
        variant="{variant}",
        seed="{seed}",
        code=code("evaluate.py"),
    script:
        "../scripts/evaluate.py"


rule evaluate_figures:
    input:
        per_label="<run>/evaluation/per_label.tsv",
        confusion="<run>/evaluation/confusion.tsv",
        confidence="<run>/evaluation/confidence.tsv",
        reference="<prepared>/reference.h5ad",
        methods=METHODS_FILE,
    output:
        confusion_png=shown(
            "<run>/figures/confusion.png", "confusion of types", "accuracy", "confusion"
        ),
        confusion_pdf="<run>/figures/confusion.pdf",
        per_label_png=shown("<run>/figures/per_label.png", "F1 per type", "accuracy", "per_label"),
        per_label_pdf="<run>/figures/per_label.pdf",
        confidence_png=shown("<run>/figures/confidence.png", "confidence", "accuracy", "confidence"),
        confidence_pdf="<run>/figures/confidence.pdf",
    log:
        "<logs>/<run_name>/evaluate_figures.log",
    benchmark:
        "<benchmarks>/<run_name>/evaluate_figures.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=holding(LIGHT_MB, reference=NAMES),
    params:
        code=code("evaluate_figures.py"),
    script:
        "../scripts/evaluate_figures.py"


rule embedding_figure:
    input:
        embedding="<run>/embeddings/teacher.h5ad",
        umap="<run>/embeddings/umap.tsv",
        umap_pca="<run>/embeddings/umap_pca.tsv",
        reference="<prepared>/reference.h5ad",
        query="<prepared>/query.h5ad",
        truth="<prepared>/truth.parquet",
        predictions="<run>/predictions/student.parquet",
    output:
        png=shown("<run>/figures/embedding.png", "map of the cells", "labels", "embedding"),
        pdf="<run>/figures/embedding.pdf",
        metrics=shown(
            "<run>/evaluation/embedding.tsv",
            "scores of the map (table)",
            "labels",
            "embedding_metrics",
        ),
    log:
        "<logs>/<run_name>/embedding_figure.log",
    benchmark:
        "<benchmarks>/<run_name>/embedding_figure.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=holding(MAP_MB, **EMBEDDED_CELLS),
    params:
        code=code("embedding_figure.py"),
    script:
        "../scripts/embedding_figure.py"


# The labels on one page for a browser, beside the truth where it is known. The report links to it: held
# in it, the pages of many runs would make it too large.
rule query_page:
    input:
        **MODEL,
        prepared="<prepared>/query.h5ad",
        predictions="<run>/predictions/student.parquet",
        embedding="<run>/embeddings/student.h5ad",
        umap="<run>/embeddings/umap.tsv",
        truth="<prepared>/truth.parquet",
        parts=[source_file(f"resources/page/page.{kind}") for kind in ("html", "css", "js")],
    output:
        page="<run>/labels.html",
    log:
        "<logs>/<run_name>/query_page.log",
    benchmark:
        "<benchmarks>/<run_name>/query_page.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=holding(prepared=PIECES, embedding=EMBEDDED, truth=TRUTH),
        runtime=minutes_of("prepared"),
    params:
        code=code("query_page.py"),
    script:
        "../scripts/query_page.py"


rule predicted_figures:
    input:
        **MODEL,
        query="<prepared>/query.h5ad",
        predictions="<run>/predictions/student.parquet",
        umap="<run>/embeddings/umap.tsv",
        truth="<prepared>/truth.parquet",
    output:
        png=shown(
            "<run>/figures/predicted.png", "labels, confidence, unknown", "labels", "predicted"
        ),
        pdf="<run>/figures/predicted.pdf",
        markers_png=shown("<run>/figures/markers.png", "markers of the labels", "labels", "markers"),
        markers_pdf="<run>/figures/markers.pdf",
    log:
        "<logs>/<run_name>/predicted_figures.log",
    benchmark:
        "<benchmarks>/<run_name>/predicted_figures.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=holding(MAP_MB, query=NAMES.and_sample(SAMPLE_MB), truth=TRUTH),
    params:
        code=code("predicted_figures.py"),
    script:
        "../scripts/predicted_figures.py"


rule plot_history:
    input:
        history="<run>/model/history.tsv",
    output:
        png=shown("<run>/figures/history.png", "training curves", "training", "history"),
        pdf="<run>/figures/history.pdf",
    log:
        "<logs>/<run_name>/plot_history.log",
    benchmark:
        "<benchmarks>/<run_name>/plot_history.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=always(500),
    params:
        code=code("plot_history.py"),
    script:
        "../scripts/plot_history.py"


MEASURED_STEPS = measured_steps(run_names(EVALUATED))


rule benchmark_table:
    input:
        **measurements(MEASURED_STEPS),
        metrics=scored_runs("benchmark", "evaluation/metrics.tsv", EVALUATED),
        resampled=runs("evaluation/resampled.tsv", EVALUATED),
        batches=runs("evaluation/batches.tsv", EVALUATED),
        per_label=runs("evaluation/per_label.tsv", EVALUATED),
        outcomes=[outcome for _, outcome in outcomes()],
        methods=METHODS_FILE,
    output:
        annotation="<results>/benchmark/annotation.tsv",
        summary=shown(
            "<results>/benchmark/annotation_summary.tsv",
            "all methods (table)",
            "accuracy",
            "benchmark_table",
        ),
        overall=shown(
            "<results>/benchmark/overall.tsv",
            "variants and methods over all data sets (table)",
            "accuracy",
            "overall",
        ),
        costs="<results>/benchmark/costs.tsv",
        comparison="<results>/benchmark/comparison.tsv",
        ranks="<results>/benchmark/ranks.tsv",
        choice="<results>/benchmark/choice.tsv",
        trust="<results>/benchmark/trust.tsv",
        page=shown(
            "<results>/benchmark/benchmark.html",
            "which method for these cells",
            "accuracy",
            "benchmark_page",
        ),
        annotation_png=shown(
            "<results>/benchmark/annotation.png", "all methods", "accuracy", "benchmark"
        ),
        annotation_pdf="<results>/benchmark/annotation.pdf",
        choice_png="<results>/benchmark/choice.png",
        choice_pdf="<results>/benchmark/choice.pdf",
        ranks_png="<results>/benchmark/ranks.png",
        ranks_pdf="<results>/benchmark/ranks.pdf",
        f1_map_png="<results>/benchmark/f1_map.png",
        f1_map_pdf="<results>/benchmark/f1_map.pdf",
    log:
        "<logs>/benchmark_table.log",
    benchmark:
        "<benchmarks>/benchmark_table.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=always(800),
    params:
        runs=run_names(EVALUATED),
        outcomes=[names for names, _ in outcomes()],
        steps=MEASURED_STEPS,
        code=code("benchmark_table.py"),
    script:
        "../scripts/benchmark_table.py"


rule spatial_figure:
    input:
        **MODEL,
        predictions="<run>/predictions/student.parquet",
        reference="<prepared>/reference.h5ad",
        query="<prepared>/query.h5ad",
        truth="<prepared>/truth.parquet",
    output:
        png=shown(
            directory("<run>/figures/slides"),
            "labels on the slide",
            "labels",
            "spatial",
            patterns=["slides_{page}.png"],
        ),
        pdf="<run>/figures/slides.pdf",
    log:
        "<logs>/<run_name>/spatial_figure.log",
    benchmark:
        "<benchmarks>/<run_name>/spatial_figure.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=holding(MAP_MB, reference=NAMES, query=LABELLED, truth=TRUTH),
    params:
        code=code("spatial_figure.py"),
    script:
        "../scripts/spatial_figure.py"
