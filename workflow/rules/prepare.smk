rule prepare:
    input:
        reference=reference_file,
        query=prepared_query_file,
        reference_gene_table=gene_table_of("reference"),
        query_gene_table=gene_table_of("query"),
    output:
        reference="<prepared>/reference.h5ad",
        query="<prepared>/query.h5ad",
        truth="<prepared>/truth.parquet",
        genes="<prepared>/genes.tsv",
        report=shown(
            "<prepared>/report.json", "what was read, kept and dropped (JSON)", "data", "prepare"
        ),
    log:
        "<logs>/{dataset}/prepare.log",
    benchmark:
        "<benchmarks>/{dataset}/prepare.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=prepare_memory_mb,
        runtime=minutes_of("reference", "query"),
    params:
        dataset=prepared_dataset,
        code=code("prepare.py"),
    script:
        "../scripts/prepare.py"


rule mask:
    input:
        reference="<prepared>/reference.h5ad",
        genes="<prepared>/genes.tsv",
        gene_sets=gene_set_files,
    output:
        mask="<mask>/mask.npz",
        pathways=shown(
            "<mask>/pathways.tsv", "chosen gene sets (table)", "pathways", "pathways_table"
        ),
        genes="<mask>/genes.txt",
        gene_sets="<mask>/gene_sets.gmt",
        cost="<mask>/cost.json",
        png=shown("<mask>/pathways.png", "strongest gene sets", "pathways", "pathways"),
        pdf="<mask>/pathways.pdf",
    log:
        "<logs>/{dataset}/{variant}/mask.log",
    benchmark:
        "<benchmarks>/{dataset}/{variant}/mask.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=holding(LIGHT_MB, reference=NAMES.and_sample(SAMPLE_MB)),
    params:
        mask=mask_of,
        code=code("mask.py"),
    script:
        "../scripts/mask.py"


# Before any other step, because it may stop the run; apart from prepare, because what is expected changes
# nothing that is prepared.
rule expected_counts:
    input:
        report="<prepared>/report.json",
    output:
        comparison="<prepared>/expected.tsv",
    log:
        "<logs>/{dataset}/expected_counts.log",
    benchmark:
        "<benchmarks>/{dataset}/expected_counts.tsv"
    priority: 10
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=always(350),
    params:
        expected=expected_counts_of,
        code=code("expected_counts.py"),
    script:
        "../scripts/expected_counts.py"


rule counts_table:
    input:
        reports=[filled("<prepared>/report.json", dataset=dataset) for dataset in DATASETS],
        comparisons=[filled("<prepared>/expected.tsv", dataset=dataset) for dataset in DATASETS],
        paper=source_file("resources/paper/table1.tsv"),
    output:
        tsv="<results>/benchmark/datasets.tsv",
        html=shown(
            "<results>/benchmark/datasets.html", "counts beside the paper's", "data", "counts"
        ),
    log:
        "<logs>/counts_table.log",
    benchmark:
        "<benchmarks>/counts_table.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=always(350),
    params:
        about={
            name: part_of(dataset, ("paper_name", "organism", "description"))
            for name, dataset in DATASETS.items()
        },
        code=code("counts_table.py"),
    script:
        "../scripts/counts_table.py"
