# The same transfers with wrong labels, fewer genes or cells, or a shallower query.


rule perturb:
    input:
        reference="<results>/{base}/prepared/reference.h5ad",
        query="<results>/{base}/prepared/query.h5ad",
        truth="<results>/{base}/prepared/truth.parquet",
        genes="<results>/{base}/prepared/genes.tsv",
        report="<results>/{base}/prepared/report.json",
    output:
        reference="<results>/{base}.{kind}.{level}/prepared/reference.h5ad",
        query="<results>/{base}.{kind}.{level}/prepared/query.h5ad",
        truth="<results>/{base}.{kind}.{level}/prepared/truth.parquet",
        genes="<results>/{base}.{kind}.{level}/prepared/genes.tsv",
        report="<results>/{base}.{kind}.{level}/prepared/report.json",
    log:
        "<logs>/{base}.{kind}.{level}/perturb.log",
    benchmark:
        "<benchmarks>/{base}.{kind}.{level}/perturb.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=minutes_of("reference", "query"),
    params:
        kind="{kind}",
        level=lambda wildcards: float(wildcards.level),
        code=code("perturb.py"),
    script:
        "../scripts/perturb.py"


ruleorder: perturb > prepare


rule robustness_table:
    input:
        metrics=scored_runs("robustness", "evaluation/metrics.tsv", [*EVALUATED, *MADE_HARDER]),
        methods=METHODS_FILE,
    output:
        table="<results>/benchmark/robustness.tsv",
        png="<results>/benchmark/robustness.png",
        pdf="<results>/benchmark/robustness.pdf",
    log:
        "<logs>/robustness_table.log",
    benchmark:
        "<benchmarks>/robustness_table.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=always(1000),
    params:
        made=PERTURBED,
        code=code("robustness.py"),
    script:
        "../scripts/robustness.py"
