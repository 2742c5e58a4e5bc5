# Why this label: what the Teacher's patterns say. The Student's side is in attribution.smk.


rule patterns:
    input:
        model="<results>/{dataset}/{variant}/seed{seed}/teacher/model.json",
        weights="<results>/{dataset}/{variant}/seed{seed}/teacher/weights.safetensors",
        cells=explained_cells,
        predictions=explained_labels,
        gene_sets=gene_set_files,
    output:
        patterns=report(
            "<results>/{dataset}/{variant}/seed{seed}/interpretation/patterns.tsv",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "names of the patterns (table)",
            },
            caption="../report/pattern_names.rst",
        ),
        summary="<results>/{dataset}/{variant}/seed{seed}/interpretation/patterns.json",
        genes="<results>/{dataset}/{variant}/seed{seed}/interpretation/pattern_genes.tsv",
        label_patterns=report(
            "<results>/{dataset}/{variant}/seed{seed}/interpretation/label_patterns.tsv",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "patterns of the labels (table)",
            },
            caption="../report/label_patterns_table.rst",
        ),
        png=report(
            "<results>/{dataset}/{variant}/seed{seed}/interpretation/label_patterns.png",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "patterns of the labels",
            },
            caption="../report/label_patterns.rst",
        ),
        pdf="<results>/{dataset}/{variant}/seed{seed}/interpretation/label_patterns.pdf",
        attention_png=report(
            "<results>/{dataset}/{variant}/seed{seed}/interpretation/attention.png",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "attention to the patterns",
            },
            caption="../report/attention.rst",
        ),
        attention_pdf="<results>/{dataset}/{variant}/seed{seed}/interpretation/attention.pdf",
    log:
        "<logs>/{dataset}/{variant}/seed{seed}/patterns.log",
    benchmark:
        "<benchmarks>/{dataset}/{variant}/seed{seed}/patterns.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
    params:
        interpretation=config["interpretation"],
        device=config["device"],
        code=code("patterns.py"),
    script:
        "../scripts/patterns.py"


rule networks:
    input:
        model="<results>/{dataset}/{variant}/seed{seed}/teacher/model.json",
        weights="<results>/{dataset}/{variant}/seed{seed}/teacher/weights.safetensors",
        label_patterns="<results>/{dataset}/{variant}/seed{seed}/interpretation/label_patterns.tsv",
        genes="<results>/{dataset}/{variant}/seed{seed}/interpretation/pattern_genes.tsv",
    output:
        genes=report(
            "<results>/{dataset}/{variant}/seed{seed}/interpretation/network_genes.tsv",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "genes of the networks (table)",
            },
            caption="../report/network_genes.rst",
        ),
        edges="<results>/{dataset}/{variant}/seed{seed}/interpretation/network_edges.tsv",
        graphs=directory("<results>/{dataset}/{variant}/seed{seed}/interpretation/networks"),
        png=report(
            "<results>/{dataset}/{variant}/seed{seed}/interpretation/networks.png",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "gene networks of the labels",
            },
            caption="../report/networks.rst",
        ),
        pdf="<results>/{dataset}/{variant}/seed{seed}/interpretation/networks.pdf",
    log:
        "<logs>/{dataset}/{variant}/seed{seed}/networks.log",
    benchmark:
        "<benchmarks>/{dataset}/{variant}/seed{seed}/networks.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=2000,
    params:
        interpretation=config["interpretation"],
        code=code("networks.py"),
    script:
        "../scripts/networks.py"
