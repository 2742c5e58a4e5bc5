# Why this label: what the Teacher's pathways say. The Student's side is in attribution.smk.


rule pathways:
    input:
        **MODEL,
        cells=explained_cells,
        predictions=explained_labels,
        gene_sets="<mask>/gene_sets.gmt",
    output:
        pathways=shown(
            "<run>/interpretation/pathways.tsv",
            "names of the pathways (table)",
            "why",
            "pathway_names",
        ),
        summary="<run>/interpretation/pathways.json",
        genes="<run>/interpretation/pathway_genes.tsv",
        label_pathways=shown(
            "<run>/interpretation/label_pathways.tsv",
            "pathways of the labels (table)",
            "why",
            "label_pathways_table",
        ),
        png=shown(
            "<run>/interpretation/label_pathways.png",
            "pathways of the labels",
            "why",
            "label_pathways",
        ),
        pdf="<run>/interpretation/label_pathways.pdf",
        attention_png=shown(
            "<run>/interpretation/attention.png", "attention to the pathways", "why", "attention"
        ),
        attention_pdf="<run>/interpretation/attention.pdf",
    log:
        "<logs>/<run_name>/pathways.log",
    benchmark:
        "<benchmarks>/<run_name>/pathways.tsv"
    priority: 1  # others wait for it
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=holding(cells=sample_per_label(INTERPRETATION["cells_per_label"])),
        gpu=GPUS,
    params:
        interpretation=explaining("cells_per_label", "axis", "pathways"),
        device=config["device"],
        code=code("pathways.py"),
    script:
        "../scripts/pathways.py"


rule networks:
    input:
        **MODEL,
        label_pathways="<run>/interpretation/label_pathways.tsv",
        genes="<run>/interpretation/pathway_genes.tsv",
    output:
        genes=shown(
            "<run>/interpretation/network_genes.tsv",
            "genes of the networks (table)",
            "why",
            "network_genes",
        ),
        edges="<run>/interpretation/network_edges.tsv",
        graphs=directory("<run>/interpretation/networks"),
        png=shown(
            "<run>/interpretation/networks.png", "gene networks of the labels", "why", "networks"
        ),
        pdf="<run>/interpretation/networks.pdf",
    log:
        "<logs>/<run_name>/networks.log",
    benchmark:
        "<benchmarks>/<run_name>/networks.tsv"
    priority: 1  # others wait for it
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=always(1200),
    params:
        interpretation=explaining("genes_per_pathway", "embedding", "chance"),
        code=code("networks.py"),
    script:
        "../scripts/networks.py"
