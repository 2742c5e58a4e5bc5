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


# A space is scored and mapped once: of other methods not again for every variant of ours, nor, where nothing is
# drawn by chance, for every seed.
rule integration_scores:
    input:
        **CELLS,
        spaces=spaces_of_data_set,
    output:
        scores="<methods>/embeddings/integration.tsv",
        maps="<methods>/embeddings/maps.tsv",
    log:
        "<logs>/{dataset}/methods/integration_scores.log",
    benchmark:
        "<benchmarks>/{dataset}/methods/integration_scores.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=scoring_memory_mb(**NAMED_CELLS),
        runtime=scoring_minutes_of(INTEGRATION_MINUTES),
    params:
        mapped_cells=10_000,
        crossing=lambda wildcards: wildcards.dataset in CROSSING,
        code=code("integration_scores.py"),
    script:
        "../scripts/integration_scores.py"


use rule integration_scores as integration_scores_of_seed with:
    input:
        **CELLS,
        spaces=spaces_of_seed,
    output:
        scores="<methods_of_seed>/embeddings/integration.tsv",
        maps="<methods_of_seed>/embeddings/maps.tsv",
    log:
        "<logs>/{dataset}/methods/seed{seed}/integration_scores.log",
    benchmark:
        "<benchmarks>/{dataset}/methods/seed{seed}/integration_scores.tsv"


use rule integration_scores as own_integration_scores with:
    input:
        **CELLS,
        spaces=OWN_SPACES,
    output:
        scores="<run>/embeddings/integration.tsv",
        maps="<run>/embeddings/maps.tsv",
    log:
        "<logs>/<run_name>/own_integration_scores.log",
    benchmark:
        "<benchmarks>/<run_name>/own_integration_scores.tsv"


rule integration:
    input:
        reference="<prepared>/reference.h5ad",
        scores=beside_spaces("integration.tsv"),
        maps=beside_spaces("maps.tsv"),
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
    threads: 1
    resources:
        mem_mb=holding(LIGHT_MB, reference=NAMES),
    params:
        spaces=SPACE_NAMES,
        code=code("integration.py"),
    script:
        "../scripts/integration.py"


# Expression and accessibility in one space, where the one has named the other.
rule omics_scores:
    input:
        **CELLS,
        spaces=spaces_of_data_set,
        peaks=query_file,
    output:
        scores="<methods>/embeddings/omics.tsv",
    log:
        "<logs>/{dataset}/methods/omics_scores.log",
    benchmark:
        "<benchmarks>/{dataset}/methods/omics_scores.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=scoring_memory_mb(**{**NAMED_CELLS, "reference": DENSE, "peaks": WHOLE}),
        runtime=scoring_minutes_of(OMICS_MINUTES),
    params:
        reading=annotated_source,
        code=code("omics_scores.py"),
    script:
        "../scripts/omics_scores.py"


use rule omics_scores as omics_scores_of_seed with:
    input:
        **CELLS,
        spaces=spaces_of_seed,
        peaks=query_file,
    output:
        scores="<methods_of_seed>/embeddings/omics.tsv",
    log:
        "<logs>/{dataset}/methods/seed{seed}/omics_scores.log",
    benchmark:
        "<benchmarks>/{dataset}/methods/seed{seed}/omics_scores.tsv"


use rule omics_scores as own_omics_scores with:
    input:
        **CELLS,
        spaces=OWN_SPACES,
        peaks=query_file,
    output:
        scores="<run>/embeddings/omics.tsv",
    log:
        "<logs>/<run_name>/own_omics_scores.log",
    benchmark:
        "<benchmarks>/<run_name>/own_omics_scores.tsv"


rule omics:
    input:
        scores=beside_spaces("omics.tsv"),
    output:
        scores=shown("<run>/evaluation/omics.tsv", "omics (table)", "integration", "omics"),
    log:
        "<logs>/<run_name>/omics.log",
    benchmark:
        "<benchmarks>/<run_name>/omics.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=always(LIGHT_MB),
    params:
        spaces=SPACE_NAMES,
        code=code("omics.py"),
    script:
        "../scripts/omics.py"
