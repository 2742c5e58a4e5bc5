# The end of a run: where everything is. Included last, because it asks for what all rules make.


rule summary:
    input:
        annotated=runs("annotated.h5ad"),
        labels=runs("labels.tsv"),
        figures=runs("figures/embedding.png"),
        explained=runs("interpretation/networks.png") if EXPLAINED else [],
        explanations="<results>/benchmark/explanations.html" if EXPLAINED else [],
        scores="<results>/benchmark/annotation_summary.tsv" if EVALUATED else [],
        # everything that is made, so that it and the report come last
        everything=everything(),
    output:
        "<results>/summary.txt",
    log:
        "<logs>/summary.log",
    benchmark:
        "<benchmarks>/summary.tsv"
    conda:
        "../../envs/plkd.yaml"
    threads: 1
    resources:
        mem_mb=always(500),
    params:
        code=code("summary.py"),
    script:
        "../scripts/summary.py"


# The report of Snakemake, by a second Snakemake that looks at what this one has made. It is called by its
# path, so that the environment of the rule does not matter.
rule html_report:
    input:
        "<results>/summary.txt",
    output:
        "<results>/report.html",
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    localrule: True
    conda:
        "../../envs/plkd.yaml"
    container:
        None
    threads: 1
    resources:
        mem_mb=always(500),
    params:
        command=report_command,
    shell:
        "{params.command} > {log:q} 2>&1"
