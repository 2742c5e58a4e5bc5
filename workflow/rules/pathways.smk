# Why this label: what the Teacher's pathways say. The Student's side is in attribution.smk.


rule pathways:
    input:
        model="<results>/{dataset}/{variant}/seed{seed}/teacher/model.json",
        weights="<results>/{dataset}/{variant}/seed{seed}/teacher/weights.safetensors",
        cells=explained_cells,
        predictions=explained_labels,
        gene_sets="<results>/{dataset}/{variant}/mask/gene_sets.gmt",
    output:
        pathways=report(
            "<results>/{dataset}/{variant}/seed{seed}/interpretation/pathways.tsv",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "names of the pathways (table)",
            },
            caption="../report/pathway_names.rst",
        ),
        summary="<results>/{dataset}/{variant}/seed{seed}/interpretation/pathways.json",
        genes="<results>/{dataset}/{variant}/seed{seed}/interpretation/pathway_genes.tsv",
        label_pathways=report(
            "<results>/{dataset}/{variant}/seed{seed}/interpretation/label_pathways.tsv",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "pathways of the labels (table)",
            },
            caption="../report/label_pathways_table.rst",
        ),
        png=report(
            "<results>/{dataset}/{variant}/seed{seed}/interpretation/label_pathways.png",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "pathways of the labels",
            },
            caption="../report/label_pathways.rst",
        ),
        pdf="<results>/{dataset}/{variant}/seed{seed}/interpretation/label_pathways.pdf",
        attention_png=report(
            "<results>/{dataset}/{variant}/seed{seed}/interpretation/attention.png",
            category="6. Why this label",
            subcategory="{dataset}",
            labels={
                "variant": "{variant}",
                "seed": "{seed}",
                "item": "attention to the pathways",
            },
            caption="../report/attention.rst",
        ),
        attention_pdf="<results>/{dataset}/{variant}/seed{seed}/interpretation/attention.pdf",
    log:
        "<logs>/{dataset}/{variant}/seed{seed}/pathways.log",
    benchmark:
        "<benchmarks>/{dataset}/{variant}/seed{seed}/pathways.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
    params:
        interpretation=config["interpretation"],
        device=config["device"],
        code=code("pathways.py"),
    script:
        "../scripts/pathways.py"


rule networks:
    input:
        model="<results>/{dataset}/{variant}/seed{seed}/teacher/model.json",
        weights="<results>/{dataset}/{variant}/seed{seed}/teacher/weights.safetensors",
        label_pathways="<results>/{dataset}/{variant}/seed{seed}/interpretation/label_pathways.tsv",
        genes="<results>/{dataset}/{variant}/seed{seed}/interpretation/pathway_genes.tsv",
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
