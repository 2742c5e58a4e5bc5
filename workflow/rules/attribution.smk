# Why this label: the genes that the Student looks at, and whether the explanations are true.


rule attribute_genes:
    input:
        **MODEL,
        query="<prepared>/query.h5ad",
        predictions="<run>/predictions/student.parquet",
    output:
        values="<run>/interpretation/attributions.npz",
        genes=shown(
            "<run>/interpretation/gene_attributions.tsv",
            "genes of the labels (table)",
            "why",
            "gene_attributions_table",
        ),
        png=shown(
            "<run>/interpretation/gene_attributions.png",
            "genes of the labels",
            "why",
            "gene_attributions",
        ),
        pdf="<run>/interpretation/gene_attributions.pdf",
        cells_png=shown(
            "<run>/interpretation/gene_attributions_cells.png",
            "genes of the labels, cell by cell",
            "why",
            "gene_attributions_cells",
        ),
        cells_pdf="<run>/interpretation/gene_attributions_cells.pdf",
    log:
        "<logs>/<run_name>/attribute_genes.log",
    benchmark:
        "<benchmarks>/<run_name>/attribute_genes.tsv"
    priority: 1  # others wait for it
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=holding(query=sample_per_label(INTERPRETATION["attributed_cells"])),
    params:
        interpretation=explaining("attributed_cells", "explainer"),
        code=code("attribute_genes.py"),
    script:
        "../scripts/attribute_genes.py"


rule key_genes:
    input:
        values="<run>/interpretation/attributions.npz",
        genes="<run>/interpretation/gene_attributions.tsv",
        network="<run>/interpretation/network_genes.tsv",
        markers=list_of_markers,
    output:
        genes=shown(
            "<run>/interpretation/key_genes.tsv", "key genes (table)", "why", "key_genes_table"
        ),
        pools=shown(
            "<run>/interpretation/key_gene_pools.tsv",
            "sizes of the pools (table)",
            "why",
            "key_gene_pools",
        ),
        png=shown("<run>/interpretation/key_genes.png", "key genes", "why", "key_genes"),
        pdf="<run>/interpretation/key_genes.pdf",
    log:
        "<logs>/<run_name>/key_genes.log",
    benchmark:
        "<benchmarks>/<run_name>/key_genes.tsv"
    priority: 1  # others wait for it
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=always(800),
    params:
        interpretation=explaining("student_genes"),
        code=code("key_genes.py"),
    script:
        "../scripts/key_genes.py"


rule faithfulness:
    input:
        **MODEL,
        values="<run>/interpretation/attributions.npz",
    output:
        areas=shown(
            "<run>/interpretation/faithfulness.tsv",
            "are the explanations true? (table)",
            "why",
            "faithfulness_table",
        ),
        curves="<run>/interpretation/faithfulness_curves.tsv",
        png=shown(
            "<run>/interpretation/faithfulness.png",
            "are the explanations true?",
            "why",
            "faithfulness",
        ),
        pdf="<run>/interpretation/faithfulness.pdf",
    log:
        "<logs>/<run_name>/faithfulness.log",
    benchmark:
        "<benchmarks>/<run_name>/faithfulness.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
    params:
        interpretation=explaining("tested_cells"),
        code=code("faithfulness.py"),
    script:
        "../scripts/faithfulness.py"


rule marker_recovery:
    input:
        values="<run>/interpretation/attributions.npz",
        genes="<run>/interpretation/gene_attributions.tsv",
        key_genes="<run>/interpretation/key_genes.tsv",
        markers=list_of_markers,
    output:
        ranks=shown(
            "<run>/interpretation/marker_recovery.tsv",
            "known markers (table)",
            "why",
            "marker_recovery_table",
        ),
        summary=shown(
            "<run>/interpretation/marker_recovery_summary.tsv",
            "known markers: precision and recall (table)",
            "why",
            "marker_recovery_summary",
        ),
        png=shown(
            "<run>/interpretation/marker_recovery.png", "known markers", "why", "marker_recovery"
        ),
        pdf="<run>/interpretation/marker_recovery.pdf",
    log:
        "<logs>/<run_name>/marker_recovery.log",
    benchmark:
        "<benchmarks>/<run_name>/marker_recovery.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=always(800),
    params:
        item="gene",
        code=code("marker_recovery.py"),
    script:
        "../scripts/marker_recovery.py"


rule pathway_recovery:
    input:
        pathways="<run>/interpretation/label_pathways.tsv",
        markers=list_of_pathways,
    output:
        ranks=shown(
            "<run>/interpretation/pathway_recovery.tsv",
            "known pathways (table)",
            "why",
            "pathway_recovery_table",
        ),
        summary=shown(
            "<run>/interpretation/pathway_recovery_summary.tsv",
            "known pathways: precision and recall (table)",
            "why",
            "pathway_recovery_summary",
        ),
        png=shown(
            "<run>/interpretation/pathway_recovery.png",
            "known pathways",
            "why",
            "pathway_recovery",
        ),
        pdf="<run>/interpretation/pathway_recovery.pdf",
    log:
        "<logs>/<run_name>/pathway_recovery.log",
    benchmark:
        "<benchmarks>/<run_name>/pathway_recovery.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=always(800),
    params:
        item="pathway",
        code=code("marker_recovery.py"),
    script:
        "../scripts/marker_recovery.py"


rule stability:
    input:
        reference="<prepared>/reference.h5ad",
        genes=gene_tables_of_seeds,
    output:
        table=shown(
            "<results>/{dataset}/{variant}/stability.tsv",
            "agreement of the genes between seeds (table)",
            "why",
            "stability_table",
        ),
        png=shown(
            "<results>/{dataset}/{variant}/stability.png",
            "agreement of the genes between seeds",
            "why",
            "stability",
        ),
        pdf="<results>/{dataset}/{variant}/stability.pdf",
    log:
        "<logs>/{dataset}/{variant}/stability.log",
    benchmark:
        "<benchmarks>/{dataset}/{variant}/stability.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=holding(LIGHT_MB, reference=NAMES),
    params:
        code=code("stability.py"),
    script:
        "../scripts/stability.py"


rule explanations_table:
    input:
        areas=runs("interpretation/faithfulness.tsv"),
        markers=runs("interpretation/marker_recovery_summary.tsv", WITH_MARKERS),
        pathways=runs("interpretation/pathway_recovery_summary.tsv", WITH_PATHWAYS),
        origins=runs("interpretation/pathways.json"),
        stability=STABILITY,
    output:
        tsv="<results>/benchmark/explanations.tsv",
        html=shown(
            "<results>/benchmark/explanations.html",
            "are the explanations true? all runs (table)",
            "why",
            "explanations",
        ),
    log:
        "<logs>/explanations_table.log",
    benchmark:
        "<benchmarks>/explanations_table.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=always(500),
    params:
        runs={
            "areas": run_names(),
            "markers": run_names(WITH_MARKERS),
            "pathways": run_names(WITH_PATHWAYS),
            "origins": run_names(),
            "stability": [
                {"dataset": dataset, "variant": variant}
                for dataset, variant in product(DATASETS, VARIANTS)
                if STABILITY
            ],
        },
        code=code("explanations_table.py"),
    script:
        "../scripts/explanations_table.py"
