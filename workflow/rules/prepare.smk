rule prepare:
    input:
        reference=reference_file,
        query=prepared_query_file,
        gene_tables=gene_tables,
    output:
        reference="<results>/{dataset}/prepared/reference.h5ad",
        query="<results>/{dataset}/prepared/query.h5ad",
        truth="<results>/{dataset}/prepared/truth.parquet",
        genes="<results>/{dataset}/prepared/genes.tsv",
        report=report(
            "<results>/{dataset}/prepared/report.json",
            category="5. Data",
            subcategory="{dataset}",
            labels={"item": "what was read, kept and dropped (JSON)"},
            caption="../report/prepare.rst",
        ),
    log:
        "<logs>/{dataset}/prepare.log",
    benchmark:
        "<benchmarks>/{dataset}/prepare.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
    params:
        dataset=prepared_dataset,
        code=code("prepare.py"),
    script:
        "../scripts/prepare.py"


rule mask:
    input:
        reference="<results>/{dataset}/prepared/reference.h5ad",
        genes="<results>/{dataset}/prepared/genes.tsv",
        gene_sets=gene_set_files,
    output:
        mask="<results>/{dataset}/{variant}/mask/mask.npz",
        pathways=report(
            "<results>/{dataset}/{variant}/mask/pathways.tsv",
            category="3. Pathways",
            subcategory="{dataset}",
            labels={"variant": "{variant}", "item": "chosen gene sets (table)"},
            caption="../report/pathways_table.rst",
        ),
        genes="<results>/{dataset}/{variant}/mask/genes.txt",
        gene_sets="<results>/{dataset}/{variant}/mask/gene_sets.gmt",
        png=report(
            "<results>/{dataset}/{variant}/mask/pathways.png",
            category="3. Pathways",
            subcategory="{dataset}",
            labels={"variant": "{variant}", "item": "strongest gene sets"},
            caption="../report/pathways.rst",
        ),
        pdf="<results>/{dataset}/{variant}/mask/pathways.pdf",
    log:
        "<logs>/{dataset}/{variant}/mask.log",
    benchmark:
        "<benchmarks>/{dataset}/{variant}/mask.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
    params:
        mask=mask_of,
        code=code("mask.py"),
    script:
        "../scripts/mask.py"


rule counts_table:
    input:
        reports=expand("<results>/{dataset}/prepared/report.json", dataset=DATASETS),
        paper=source_file("resources/paper/table1.tsv"),
    output:
        tsv="<results>/benchmark/datasets.tsv",
        html=report(
            "<results>/benchmark/datasets.html",
            category="5. Data",
            subcategory="all data sets",
            labels={"item": "counts beside the paper's"},
            caption="../report/counts.rst",
        ),
    log:
        "<logs>/counts_table.log",
    benchmark:
        "<benchmarks>/counts_table.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=500,
    params:
        paper_names={name: dataset.get("paper_name") for name, dataset in DATASETS.items()},
        code=code("counts_table.py"),
    script:
        "../scripts/counts_table.py"
