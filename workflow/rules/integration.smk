# Reference and query in one space: are batches mixed, and types kept apart? Ours beside other methods.


rule integrate:
    input:
        reference="<prepared>/reference.h5ad",
        query="<prepared>/query.h5ad",
    output:
        embedding="<methods>/embeddings/{integrator}.h5ad",
    log:
        "<logs>/{dataset}/methods/integrate_{integrator}.log",
    benchmark:
        "<benchmarks>/{dataset}/methods/integrate_{integrator}.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
    params:
        code=code("integrate.py"),
    script:
        "../scripts/integrate.py"


rule integration:
    input:
        teacher="<run>/embeddings/teacher.h5ad",
        student="<run>/embeddings/student.h5ad",
        others=expand("<methods>/embeddings/{integrator}.h5ad", integrator=config["integration"]),
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
        mem_mb=memory_mb,
    params:
        max_cells=10_000,  # the silhouettes take quadratic time
        methods=METHODS["name"].to_dict(),
        code=code("integration.py"),
    script:
        "../scripts/integration.py"
