rule gene_activity:
    input:
        cells=gene_activity_cells,
        annotation=gene_activity_annotation,
        barcodes=gene_activity_barcodes,
    output:
        activity="<results>/{dataset}/gene_activity/{side}.h5ad",
        report=shown(
            "<results>/{dataset}/gene_activity/{side}.json",
            "gene activity of the {side} (JSON)",
            "data",
            "gene_activity",
        ),
    log:
        "<logs>/{dataset}/gene_activity/{side}.log",
    benchmark:
        "<benchmarks>/{dataset}/gene_activity/{side}.tsv"
    wildcard_constraints:
        side="reference|query",
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=gene_activity_memory_mb,
        runtime=minutes_of("cells", per_mb=ACTIVITY_MINUTES_PER_MB),
    params:
        source=gene_activity_source,
        code=code("gene_activity.py"),
    script:
        "../scripts/gene_activity.py"
