# Reference and query in one space: are batches mixed, and types kept apart? Ours beside other methods.


rule integrate:
    input:
        reference="<prepared>/reference.h5ad",
        query="<prepared>/query.h5ad",
        script=script_of,
        lock=lock_of,
        peaks=integrated_peaks,
        annotation=annotation_of_peaks,
    output:
        embedding="<methods>/embeddings/{integrator}.h5ad",
        outcome="<methods>/embeddings/{integrator}.json",
    log:
        "<logs>/{dataset}/methods/integrate_{integrator}.log",
    benchmark:
        "<benchmarks>/{dataset}/methods/integrate_{integrator}.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=integrator_memory_mb,
        runtime=limited_minutes,
        gpu=gpus_of_method,
    params:
        settings=integrator_settings,
        reading=reading_of_peaks,
        crossing=lambda wildcards: wildcards.dataset in CROSSING,
        code=code("integrate.py"),
    script:
        "../scripts/integrate.py"


# Methods that draw by chance, once for each seed.
use rule integrate as integrate_of_seed with:
    output:
        embedding="<methods_of_seed>/embeddings/{integrator}.h5ad",
        outcome="<methods_of_seed>/embeddings/{integrator}.json",
    log:
        "<logs>/{dataset}/methods/seed{seed}/integrate_{integrator}.log",
    benchmark:
        "<benchmarks>/{dataset}/methods/seed{seed}/integrate_{integrator}.tsv"


rule integration:
    input:
        teacher="<run>/embeddings/teacher.h5ad",
        student="<run>/embeddings/student.h5ad",
        others=spaces_of,
        reference="<prepared>/reference.h5ad",
        query="<prepared>/query.h5ad",
        truth="<prepared>/truth.parquet",
    output:
        scores=shown(
            "<run>/evaluation/integration.tsv",
            "scores (table)",
            "integration",
            "integration_table",
        ),
        png=shown("<run>/figures/integration.png", "maps", "integration", "integration"),
        pdf="<run>/figures/integration.pdf",
    log:
        "<logs>/<run_name>/integration.log",
    benchmark:
        "<benchmarks>/<run_name>/integration.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 2
    resources:
        mem_mb=holding(SCORING_MB, **SCORED_SPACES),
        runtime=scoring_minutes_of(INTEGRATION_MINUTES),
    params:
        mapped_cells=10_000,
        crossing=lambda wildcards: wildcards.dataset in CROSSING,
        methods={**METHODS["name"], **INTEGRATORS["name"]},
        code=code("integration.py"),
    script:
        "../scripts/integration.py"


# Expression and accessibility in one space, where the one has named the other.
rule omics:
    input:
        teacher="<run>/embeddings/teacher.h5ad",
        student="<run>/embeddings/student.h5ad",
        others=spaces_of,
        reference="<prepared>/reference.h5ad",
        query="<prepared>/query.h5ad",
        truth="<prepared>/truth.parquet",
        peaks=query_file,
    output:
        scores=shown("<run>/evaluation/omics.tsv", "omics (table)", "integration", "omics"),
    log:
        "<logs>/<run_name>/omics.log",
    benchmark:
        "<benchmarks>/<run_name>/omics.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 2
    resources:
        mem_mb=holding(SCORING_MB, **{**SCORED_SPACES, "reference": DENSE}),
        runtime=scoring_minutes_of(OMICS_MINUTES),
    params:
        reading=annotated_source,
        code=code("omics.py"),
    script:
        "../scripts/omics.py"
