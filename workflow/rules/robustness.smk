# The same transfers with wrong labels, fewer genes or cells, or a shallower query.


rule perturb:
    input:
        unpack(prepared_as_it_is),
    output:
        reference="<prepared>/reference.h5ad",
        query="<prepared>/query.h5ad",
        truth="<prepared>/truth.parquet",
        genes="<prepared>/genes.tsv",
        report="<prepared>/report.json",
    log:
        "<logs>/{dataset}/perturb.log",
    benchmark:
        "<benchmarks>/{dataset}/perturb.tsv"
    wildcard_constraints:
        dataset="|".join(map(re.escape, PERTURBED)) or "none",
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
    params:
        kind=lambda wildcards: PERTURBED[wildcards.dataset]["kind"],
        level=lambda wildcards: PERTURBED[wildcards.dataset]["level"],
        code=code("perturb.py"),
    script:
        "../scripts/perturb.py"


ruleorder: perturb > prepare


rule robustness_table:
    input:
        metrics=runs("evaluation/metrics.tsv", [*EVALUATED, *MADE_HARDER]),
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
        mem_mb=1000,
    params:
        made=PERTURBED,
        code=code("robustness.py"),
    script:
        "../scripts/robustness.py"
