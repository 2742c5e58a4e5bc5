# Why this label: the genes that the Student looks at, and whether the explanations are true.


rule attribute_genes:
    input:
        model="<results>/{dataset}/{variant}/seed{seed}/student/model.json",
        weights="<results>/{dataset}/{variant}/seed{seed}/student/weights.safetensors",
        background="<results>/{dataset}/{variant}/seed{seed}/student/background.safetensors",
        query="<results>/{dataset}/prepared/query.h5ad",
        predictions="<results>/{dataset}/{variant}/seed{seed}/predictions/student.parquet",
    output:
        values="<results>/{dataset}/{variant}/seed{seed}/interpretation/attributions.npz",
        genes=report(
            "<results>/{dataset}/{variant}/seed{seed}/interpretation/gene_attributions.tsv",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "genes of the labels (table)",
            },
            caption="../report/gene_attributions_table.rst",
        ),
        png=report(
            "<results>/{dataset}/{variant}/seed{seed}/interpretation/gene_attributions.png",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "genes of the labels",
            },
            caption="../report/gene_attributions.rst",
        ),
        pdf="<results>/{dataset}/{variant}/seed{seed}/interpretation/gene_attributions.pdf",
        cells_png=report(
            "<results>/{dataset}/{variant}/seed{seed}/interpretation/gene_attributions_cells.png",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "genes of the labels, cell by cell",
            },
            caption="../report/gene_attributions_cells.rst",
        ),
        cells_pdf="<results>/{dataset}/{variant}/seed{seed}/interpretation/gene_attributions_cells.pdf",
    log:
        "<logs>/{dataset}/{variant}/seed{seed}/attribute_genes.log",
    benchmark:
        "<benchmarks>/{dataset}/{variant}/seed{seed}/attribute_genes.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
    params:
        interpretation=config["interpretation"],
        code=code("attribute_genes.py"),
    script:
        "../scripts/attribute_genes.py"


rule key_genes:
    input:
        values="<results>/{dataset}/{variant}/seed{seed}/interpretation/attributions.npz",
        genes="<results>/{dataset}/{variant}/seed{seed}/interpretation/gene_attributions.tsv",
        network="<results>/{dataset}/{variant}/seed{seed}/interpretation/network_genes.tsv",
        markers=list_of_markers,
    output:
        genes=report(
            "<results>/{dataset}/{variant}/seed{seed}/interpretation/key_genes.tsv",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "key genes (table)",
            },
            caption="../report/key_genes_table.rst",
        ),
        pools=report(
            "<results>/{dataset}/{variant}/seed{seed}/interpretation/key_gene_pools.tsv",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "sizes of the pools (table)",
            },
            caption="../report/key_gene_pools.rst",
        ),
        png=report(
            "<results>/{dataset}/{variant}/seed{seed}/interpretation/key_genes.png",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "key genes",
            },
            caption="../report/key_genes.rst",
        ),
        pdf="<results>/{dataset}/{variant}/seed{seed}/interpretation/key_genes.pdf",
    log:
        "<logs>/{dataset}/{variant}/seed{seed}/key_genes.log",
    benchmark:
        "<benchmarks>/{dataset}/{variant}/seed{seed}/key_genes.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=2000,
    params:
        interpretation=config["interpretation"],
        code=code("key_genes.py"),
    script:
        "../scripts/key_genes.py"


rule faithfulness:
    input:
        student="<results>/{dataset}/{variant}/seed{seed}/student/model.json",
        student_weights="<results>/{dataset}/{variant}/seed{seed}/student/weights.safetensors",
        student_background="<results>/{dataset}/{variant}/seed{seed}/student/background.safetensors",
        teacher="<results>/{dataset}/{variant}/seed{seed}/teacher/model.json",
        teacher_weights="<results>/{dataset}/{variant}/seed{seed}/teacher/weights.safetensors",
        values="<results>/{dataset}/{variant}/seed{seed}/interpretation/attributions.npz",
    output:
        areas=report(
            "<results>/{dataset}/{variant}/seed{seed}/interpretation/faithfulness.tsv",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "are the explanations true? (table)",
            },
            caption="../report/faithfulness_table.rst",
        ),
        curves="<results>/{dataset}/{variant}/seed{seed}/interpretation/faithfulness_curves.tsv",
        png=report(
            "<results>/{dataset}/{variant}/seed{seed}/interpretation/faithfulness.png",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "are the explanations true?",
            },
            caption="../report/faithfulness.rst",
        ),
        pdf="<results>/{dataset}/{variant}/seed{seed}/interpretation/faithfulness.pdf",
    log:
        "<logs>/{dataset}/{variant}/seed{seed}/faithfulness.log",
    benchmark:
        "<benchmarks>/{dataset}/{variant}/seed{seed}/faithfulness.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
    params:
        interpretation=config["interpretation"],
        code=code("faithfulness.py"),
    script:
        "../scripts/faithfulness.py"


rule marker_recovery:
    input:
        values="<results>/{dataset}/{variant}/seed{seed}/interpretation/attributions.npz",
        genes="<results>/{dataset}/{variant}/seed{seed}/interpretation/gene_attributions.tsv",
        key_genes="<results>/{dataset}/{variant}/seed{seed}/interpretation/key_genes.tsv",
        markers=list_of_markers,
    output:
        ranks=report(
            "<results>/{dataset}/{variant}/seed{seed}/interpretation/marker_recovery.tsv",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "known markers (table)",
            },
            caption="../report/marker_recovery_table.rst",
        ),
        summary=report(
            "<results>/{dataset}/{variant}/seed{seed}/interpretation/marker_recovery_summary.tsv",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "known markers: precision and recall (table)",
            },
            caption="../report/marker_recovery_summary.rst",
        ),
        png=report(
            "<results>/{dataset}/{variant}/seed{seed}/interpretation/marker_recovery.png",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "known markers",
            },
            caption="../report/marker_recovery.rst",
        ),
        pdf="<results>/{dataset}/{variant}/seed{seed}/interpretation/marker_recovery.pdf",
    log:
        "<logs>/{dataset}/{variant}/seed{seed}/marker_recovery.log",
    benchmark:
        "<benchmarks>/{dataset}/{variant}/seed{seed}/marker_recovery.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=2000,
    params:
        item="gene",
        code=code("marker_recovery.py"),
    script:
        "../scripts/marker_recovery.py"


rule pathway_recovery:
    input:
        pathways="<results>/{dataset}/{variant}/seed{seed}/interpretation/label_pathways.tsv",
        markers=list_of_pathways,
    output:
        ranks=report(
            "<results>/{dataset}/{variant}/seed{seed}/interpretation/pathway_recovery.tsv",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "known pathways (table)",
            },
            caption="../report/pathway_recovery_table.rst",
        ),
        summary=report(
            "<results>/{dataset}/{variant}/seed{seed}/interpretation/pathway_recovery_summary.tsv",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "known pathways: precision and recall (table)",
            },
            caption="../report/pathway_recovery_summary.rst",
        ),
        png=report(
            "<results>/{dataset}/{variant}/seed{seed}/interpretation/pathway_recovery.png",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "known pathways",
            },
            caption="../report/pathway_recovery.rst",
        ),
        pdf="<results>/{dataset}/{variant}/seed{seed}/interpretation/pathway_recovery.pdf",
    log:
        "<logs>/{dataset}/{variant}/seed{seed}/pathway_recovery.log",
    benchmark:
        "<benchmarks>/{dataset}/{variant}/seed{seed}/pathway_recovery.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=2000,
    params:
        item="pathway",
        code=code("marker_recovery.py"),
    script:
        "../scripts/marker_recovery.py"


rule stability:
    input:
        genes=gene_tables_of_seeds,
        model=f"<results>/{{dataset}}/{{variant}}/seed{config['seeds'][0]}/student/model.json",
    output:
        table=report(
            "<results>/{dataset}/{variant}/stability.tsv",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "item": "agreement of the genes between seeds (table)",
            },
            caption="../report/stability_table.rst",
        ),
        png=report(
            "<results>/{dataset}/{variant}/stability.png",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "item": "agreement of the genes between seeds",
            },
            caption="../report/stability.rst",
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
        mem_mb=2000,
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
        html=report(
            "<results>/benchmark/explanations.html",
            category="6. Why this label",
            subcategory="all data sets",
            labels={"item": "are the explanations true? all runs (table)"},
            caption="../report/explanations.rst",
        ),
    log:
        "<logs>/explanations_table.log",
    benchmark:
        "<benchmarks>/explanations_table.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=500,
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
